"""What came and what was answered: in memory, never on disk, since keys are in it."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Entry", "Journal", "content_of"]


def content_of(path: str, body: bytes) -> bytes:
    """What makes two calls the same: where they went and what they said."""
    return hashlib.blake2b(path.encode() + b"\n" + body, digest_size=12).digest()


@dataclass
class Entry:
    """One call; what went wrong with it is its `fault`.

    `made`: the work was done, and a provider would bill it. `answered`: all of it went out.
    """

    number: int
    method: str
    path: str
    query: str
    key: str
    body: bytes
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)
    until: float | None = None
    under_way: int = 0  # calls under way when it came, itself among them
    status: int | None = None
    fault: str = ""
    made: bool = False
    answered: bool = False

    def record(self, *, bodies: bool) -> dict[str, Any]:
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "key": self.key,
            "content": content_of(self.path, self.body).hex(),
            "at": self.at,
            "until": self.until,
            "under_way": self.under_way,
            "status": self.status,
            "fault": self.fault,
            "made": self.made,
            "answered": self.answered,
            "headers": self.headers,
            "body": _readable(self.body) if bodies else None,
        }


class Journal:
    """All calls in the order they came."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.under_way = 0

    def open(self, scope: Any, key: str, body: bytes) -> Entry:
        entry = Entry(
            len(self.entries),
            scope["method"],
            scope["path"],
            scope["query_string"].decode(),
            key,
            body,
            {k.decode(): v.decode("latin-1") for k, v in scope["headers"]},
        )
        self.under_way += 1
        entry.under_way = self.under_way
        self.entries.append(entry)
        return entry

    def close(self, entry: Entry) -> None:
        self.under_way -= 1
        entry.until = time.monotonic()


def _readable(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode("utf-8", "replace")
