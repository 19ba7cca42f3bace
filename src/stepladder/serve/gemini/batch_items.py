"""One request of a batch: run as its method would answer it, and told as a line of the output.

Called by whoever works batches off (`serve/batching.py`); nothing here knows queues or priorities.
An item's request is `{"api", "model", "line"}`: the protocol, the served model, and the line as it
came, whose other fields (`key`, `metadata` or the caller's own) are told back.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ...core import Json
from ...database.records import Batch, BatchItem
from .. import Caller, EmbedAsk, Refusal
from ..answering import answer, embed, whole
from .answers import Frame, to_response, version_of
from .embed import EMBED, to_embedding, wanted_of
from .generate import Asked, ask_of
from .objects import write_object
from .tuning_bodies import status_of

if TYPE_CHECKING:
    from ..server import Server

__all__ = [
    "KINDS", "as_item", "error_of", "items_of", "output_line", "result_of", "run_item",
    "write_output",
]  # fmt: skip

KINDS: Mapping[str, str] = {
    "generateContent": "GenerateContentBatch", "embedContent": "EmbedContentBatch",
}  # fmt: skip
LIFE = timedelta(hours=48)  # of a file of responses


def as_item(batch: Batch, index: int, line: Mapping[str, Json]) -> BatchItem:
    """The item of a line; its key is the caller's where there is one."""
    metadata = line.get("metadata")
    key = line.get("key", metadata.get("key") if isinstance(metadata, Mapping) else None)
    shown = key if isinstance(key, str) else str(index)
    request = {"api": batch.protocol, "model": batch.model, "line": dict(line)}
    return BatchItem(batch.id, index, shown, request)


async def run_item(
    server: Server, caller: Caller, route: str, body: Mapping[str, Json]
) -> dict[str, Json]:
    """The answer's body, as the method `route` would give it.

    Raises:
        Refusal: as the method would refuse it.
    """
    request: Json = body["line"]["request"]
    asked = Asked(server, caller, body["api"], body["model"])
    return await (_embedding if route == "embedContent" else _answer)(asked, request)


async def _answer(asked: Asked, request: Json) -> dict[str, Json]:
    begun = await answer(
        asked.server,
        asked.caller,
        await ask_of(asked, request),
        protocol=asked.api,
        route="batchGenerateContent",
        body=request,
    )
    frame = Frame(asked.api, begun.id, version_of(begun.card), datetime.now(UTC))
    return to_response(await whole(begun), frame)


async def _embedding(asked: Asked, request: Json) -> dict[str, Json]:
    wanted = await wanted_of(asked, EMBED(request, ""), "")
    embedded = await embed(
        asked.server,
        asked.caller,
        EmbedAsk(asked.model, [wanted.text], wanted.dimensions, wanted.cut_long),
        protocol=asked.api,
        route="asyncBatchEmbedContent",
        body=request,
    )
    return to_embedding(embedded, asked.api == "vertex")


def error_of(refusal: Refusal) -> dict[str, Json]:
    """What is kept of an item that was refused."""
    message = f"{refusal.message}; {refusal.hint}" if refusal.hint else refusal.message
    return {"reason": refusal.reason, "message": message, "param": refusal.param}


def output_line(item: BatchItem) -> dict[str, Json]:
    """The line of the Developer API's file of responses for an item that is done."""
    line = item.request["line"]
    kept = {name: line[name] for name in ("key", "metadata") if name in line}
    return {**kept, **result_of(item)}


def result_of(item: BatchItem) -> dict[str, Json]:
    """The response, or the error as a google.rpc.Status."""
    if item.error is None:
        return {"response": item.answer}
    return {"error": status_of(item.error)}


def items_of(server: Server, batch: Batch) -> Iterator[BatchItem]:
    """Every item that is done, in the order of the input."""
    after = -1
    while items := server.database.items(batch.id, after=after):
        yield from (item for item in items if item.done)
        after = items[-1].index


def write_output(server: Server, batch: Batch) -> dict[str, Json]:
    """Write what has been answered to where it belongs; gives the changes of the batch's record.

    Inline answers are told with the batch and written nowhere. Written again, for instance after a
    restart, it is the same output. A file is the batch's, so that it expires by itself.

    Raises:
        Refusal: the folder that stands for Cloud Storage cannot be written.
        ModelError: the bucket cannot be written.
    """
    if batch.protocol == "vertex":
        return {"output_file": _write_object(server, batch)}
    if batch.input_file is None:
        return {}
    stored = server.database.add_file(
        owner=batch.owner,
        name=f"batch-{batch.id}.jsonl",
        purpose="batch_output",
        media_type="application/jsonl",
        chunks=(_as_line(output_line(item)) for item in items_of(server, batch)),
        expires_at=datetime.now(UTC) + LIFE,
    )
    return {"output_file": stored.id}


def _write_object(server: Server, batch: Batch) -> str:
    """The folder `predictions.jsonl` is in, under the prefix of the request."""
    destination = batch.request["outputConfig"]["gcsDestination"]["outputUriPrefix"]
    when = f"{batch.created_at.astimezone(UTC):%Y-%m-%dT%H-%M-%SZ}"
    uri = f"{destination.rstrip('/')}/prediction-{batch.id}-{when}/predictions.jsonl"
    with tempfile.TemporaryDirectory() as place:
        written = Path(place) / "predictions.jsonl"
        with written.open("wb") as file:
            file.writelines(_as_line(_prediction(item)) for item in items_of(server, batch))
        write_object(uri, written, server.settings.gs_folder)
    return uri.rpartition("/")[0]


def _prediction(item: BatchItem) -> dict[str, Json]:
    """The line as it came, with its response and status; the status of what went well is empty."""
    line = dict(item.request["line"])
    if item.error is None:
        return {**line, "status": "", "response": item.answer}
    status = status_of(item.error)
    return {**line, "status": json.dumps(status, ensure_ascii=False), "response": {}}


def _as_line(value: Mapping[str, Json]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
