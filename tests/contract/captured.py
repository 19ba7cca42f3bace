"""The captured traffic in `wire/`, as exchanges. What it is and is not: `wire/README.md`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

from .specs import Exchange, Json

WIRE = Path(__file__).parent / "wire"


@dataclass(frozen=True)
class Captured:
    """One exchange of a case, `file/case` or `file/case-2` for the second one."""

    id: str
    exchange: Exchange

    def __str__(self) -> str:
        return self.id


def captured(*files: str) -> Iterator[Captured]:
    """Every exchange of these files, in order."""
    for file in files:
        cases = json.loads((WIRE / f"{file}.json").read_text("utf-8"))["cases"]
        for case in cases:
            for number, one in enumerate(case["exchanges"], start=1):
                name = f"{file}/{case['case']}" + (f"-{number}" if number > 1 else "")
                yield Captured(name, _exchange(one))


def _exchange(one: Json) -> Exchange:
    sent, given = one["request"], one["response"]
    body = sent["body"]
    if sent["content_type"].startswith("multipart/"):
        body = form_fields(sent["content_type"], body["__raw__"].encode())
    return Exchange(sent["method"], sent["path"], body, given["status"], given["body"])


def form_fields(content_type: str, raw: bytes) -> dict[str, Json]:
    """The fields of a multipart body; a file is its content as text."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    parts = message_from_bytes(head + raw).get_payload()
    assert isinstance(parts, list)
    fields: dict[str, Json] = {}
    for part in parts:
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        fields[str(name)] = content.decode()
    return fields


def events(stream: str) -> list[Json]:
    """The JSON of each server-sent event."""
    lines = [line.removeprefix("data: ") for line in stream.splitlines() if line.strip()]
    return [json.loads(line) for line in lines if line != "[DONE]"]
