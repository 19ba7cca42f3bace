"""One request of a batch: run as its route would answer it, and told as a line of the output.

Called by whoever works batches off (`serve/batching.py`); nothing here knows queues or priorities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...core import Json
from ...database.records import BatchItem
from .. import Caller, Refusal
from . import chat, completions, embeddings
from .errors import error_body
from .fields import Fields

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["ENDPOINTS", "error_of", "output_line", "run_item"]

ENDPOINTS = {
    chat.ROUTE: chat.chat_body,
    completions.ROUTE: completions.completion_body,
    embeddings.ROUTE: embeddings.embedding_body,
}
NEVER_RUN = {"expired": "batch_expired", "cancelled": "batch_cancelled"}


async def run_item(
    server: Server, caller: Caller, route: str, body: Mapping[str, Json]
) -> dict[str, Json]:
    """The answer's body, as the route would give it.

    Raises:
        Refusal: As the route would refuse it.
    """
    return await ENDPOINTS[route](server, caller, Fields.of(dict(body)))


def error_of(refusal: Refusal) -> dict[str, Json]:
    """What is kept of an item that was refused: the status and the envelope of its answer."""
    return {
        "reason": refusal.reason,
        "message": refusal.message,
        "status": refusal.status,
        "body": error_body(refusal),
    }


def output_line(item: BatchItem) -> dict[str, Json]:
    """The line of the output file, or of the error file, for an item that is done."""
    name = f"batch_req_{item.batch}_{item.index}"
    line: dict[str, Json] = {"id": name, "custom_id": item.key, "response": None, "error": None}
    if item.error is None:
        line["response"] = {"status_code": 200, "request_id": name, "body": item.answer}
        return line
    reason, message = item.error.get("reason", "internal"), item.error.get("message", "")
    if reason in NEVER_RUN:
        return {**line, "error": {"code": NEVER_RUN[reason], "message": message}}
    told = Refusal(reason, message, param=item.error.get("param"))
    body = item.error.get("body") or error_body(told)
    status = item.error.get("status") or told.status
    return {**line, "response": {"status_code": status, "request_id": name, "body": body}}
