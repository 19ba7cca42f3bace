"""The lines of a batch's input file: what is wrong with them, and the requests they are.

The file is read piece by piece, twice: a file with a fault makes no items at all. What a request
asks is looked at when it runs, since a faulty one spoils no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ...core import Json
from ...database.records import BatchItem
from .. import Refusal
from ..bodies import read_json

__all__ = ["MOST_LINES", "Checked", "check_lines", "items_of", "lines_of"]

MOST_LINES = 50_000
MOST_FAULTS = 100
KEYS = {"custom_id", "method", "url", "body"}


@dataclass
class Checked:
    """What a look at all lines found. `model` is the one that all of them ask; None for several."""

    total: int = 0
    model: str | None = None
    faults: list[dict[str, Json]] = field(default_factory=list)


def lines_of(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1."""
    number, held = 0, bytearray()
    for piece in pieces:
        start = len(held)
        held += piece
        if b"\n" not in piece:
            continue
        end = held.rindex(b"\n", start)
        whole, held = bytes(held[:end]), held[end + 1 :]
        for line in whole.split(b"\n"):
            number += 1
            if line.strip():
                yield number, line
    if held.strip():
        yield number + 1, bytes(held)


def check_lines(lines: Iterable[tuple[int, bytes]], endpoint: str, most_bytes: int) -> Checked:
    """What all lines come to; each fault is told by its line, up to 100 of them."""
    found, ids, models = Checked(), set[str](), set[str]()
    for number, line in lines:
        found.total += 1
        if found.total > MOST_LINES:
            message = f"a batch has at most {MOST_LINES} requests"
            found.faults.append(_fault("too_many_requests", message, number))
            break
        try:
            request = _request(line, endpoint, most_bytes)
            if request["custom_id"] in ids:
                message = f"the custom_id {request['custom_id']!r} is there twice"
                raise _Faulty("duplicate_custom_id", message, "custom_id")
        except _Faulty as fault:
            found.faults.append(_fault(fault.code, str(fault), number, fault.param))
            if len(found.faults) >= MOST_FAULTS:
                break
            continue
        ids.add(request["custom_id"])
        models.add(request["body"]["model"])
    if not found.total:
        found.faults.append(_fault("empty_file", "the input file has no requests", None))
    found.model = models.pop() if len(models) == 1 else None
    return found


def items_of(batch: str, lines: Iterable[tuple[int, bytes]]) -> Iterator[BatchItem]:
    """The requests of lines that were checked."""
    for index, (_, line) in enumerate(lines):
        request = read_json(line)
        yield BatchItem(batch, index, request["custom_id"], request["body"])


class _Faulty(Exception):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


def _request(line: bytes, endpoint: str, most_bytes: int) -> dict[str, Json]:
    request = _object(line, most_bytes)
    key = request.get("custom_id")
    if not isinstance(key, str) or not 0 < len(key) <= 512:
        message = "a 'custom_id' of 1 to 512 characters is needed"
        raise _Faulty("missing_custom_id", message, "custom_id")
    if request.get("method") != "POST":
        raise _Faulty("invalid_method", "'method' has to be 'POST'", "method")
    if request.get("url") != endpoint:
        raise _Faulty("invalid_url", f"'url' has to be the batch's endpoint, {endpoint!r}", "url")
    body = request.get("body")
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise _Faulty("invalid_request", "'body' has to be an object with a 'model'", "body")
    if body.get("stream"):
        raise _Faulty("invalid_request", "an answer of a batch cannot be streamed", "body.stream")
    return request


def _object(line: bytes, most_bytes: int) -> dict[str, Json]:
    if len(line) > most_bytes:
        raise _Faulty("request_too_large", f"the line has more than {most_bytes} bytes")
    try:
        request = read_json(line)
    except Refusal as refusal:
        message = refusal.message.replace("the body", "the line")
        raise _Faulty("invalid_json_line", message) from refusal
    if not isinstance(request, dict):
        raise _Faulty("invalid_json_line", "the line is no JSON object")
    for name in request:
        if name not in KEYS:
            raise _Faulty("invalid_request", f"a request has no {name!r}", name)
    return request


def _fault(code: str, message: str, line: int | None, param: str | None = None) -> dict[str, Json]:
    return {"code": code, "message": message, "line": line, "param": param}
