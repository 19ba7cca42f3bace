"""One line per request, for a person or for a machine. Never what was asked or answered, or a key.

Writes to standard error by Python's logging, under the name "stepladder.serve".
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO
from urllib.parse import parse_qsl, urlencode

from ..models.hosted.keys import redact
from .visits import Visit

__all__ = ["LOGGER", "log_request", "set_up_log", "without_key"]

LOGGER = logging.getLogger("stepladder.serve")
LONGEST = 1000  # characters of a path or an error, which callers can make as long as they like
SECRET = frozenset({"key", "access_token", "upload_id"})  # each of them opens something


def set_up_log(form: Literal["text", "json"] | None, to: TextIO | None = None) -> None:
    """Send the server's lines to standard error: as text on a terminal, else as JSON."""
    to = to or sys.stderr
    if form is None:
        form = "text" if to.isatty() else "json"
    handler = logging.StreamHandler(to)
    handler.setFormatter(_Text() if form == "text" else _Json())
    for name in ("stepladder.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False


def without_key(query: bytes) -> str:
    """A query string as it may be logged."""
    if not query:
        return ""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    kept = [(name, "..." if name in SECRET else value) for name, value in pairs]
    return "?" + urlencode(kept)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        fields = getattr(record, "fields", {})
        told = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        line = _seen(f"{clock} {level}{record.getMessage()} {told}".rstrip())
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return _hidden(line, record)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        fields = {k: v for k, v in getattr(record, "fields", {}).items() if v is not None}
        told = json.dumps({**line, **fields}, ensure_ascii=False, default=str)
        return _hidden(_seen(told), record)


def _seen(line: str) -> str:
    """The line with what cannot be seen escaped, as JSON has it.

    A path that a caller made up must not end the line, turn it around, or speak to the terminal.
    """
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else _escaped(one) for one in line)


def _escaped(one: str) -> str:
    return "\\u007f" if one == "\x7f" else json.dumps(one)[1:-1]


def _hidden(text: str, record: logging.LogRecord) -> str:
    """Without what looks like a key; the line of a call that went well has no place for one."""
    fields = getattr(record, "fields", None)
    return text if fields is not None and fields.get("error") is None else redact(text)


def log_request(scope: Mapping[str, Any], visit: Visit, status: int, seconds: float) -> None:
    """The line of one request."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return
    path = scope.get("stepladder.path", scope["path"]) + without_key(scope["query_string"])
    fields = {
        "status": status,
        "ms": round(seconds * 1000, 1),
        "id": visit.id,
        "key": visit.key or None,
        "model": visit.model or None,
        "trace": visit.traceparent,
        "error": visit.error and visit.error[:LONGEST],
    }
    LOGGER.info("%s %s", scope["method"], path[:LONGEST], extra={"fields": fields})
