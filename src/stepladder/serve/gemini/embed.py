"""Embeddings: `embedContent`, `batchEmbedContents`, and Vertex's older `predict`.

The encoders here make one vector of a text whatever it is for, so the type of the task and the
title of a document are taken and told back as not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import Response

from ...core import Json
from .. import EmbedAsk, Embedded, Refusal
from ..answering import embed as embed_texts
from .answers import as_json, token_details
from .bodies import read_raw
from .contents import to_messages
from .forms import anything, each, flag, mapped, message, one_of, text, whole
from .generate import Asked, check_model
from .media import with_files
from .request_forms import CONTENT

__all__ = ["EMBED", "Wanted", "embed_batch", "embed_one", "predict", "to_embedding", "wanted_of"]

TASKS = (
    "UNSPECIFIED", "TASK_TYPE_UNSPECIFIED", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING", "QUESTION_ANSWERING",
    "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY",
)  # fmt: skip
OPTIONS = {
    "taskType": one_of(*TASKS), "title": text, "outputDimensionality": whole, "autoTruncate": flag,
    "documentOcr": flag, "audioTrackExtraction": flag,
}  # fmt: skip
EMBED = message({
    "model": text, "content": CONTENT, "embedContentConfig": message(OPTIONS), **OPTIONS,
})  # fmt: skip
BATCH = message({"requests": each(EMBED)})
INSTANCE = message({
    "content": text, "taskType": one_of(*TASKS), "title": text, "mimeType": text,
})  # fmt: skip
PREDICT = message({
    "instances": each(anything), "labels": mapped(text),
    "parameters": message({"outputDimensionality": whole, "autoTruncate": flag}),
})  # fmt: skip
MOST_TEXTS = 250
UNUSED = ("taskType", "title")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A text to embed, in how many dimensions, and which fields its vector does not depend on.

    Without `cut_long`, it is refused where it is longer than the model reads.
    """

    text: str
    dimensions: int | None
    unused: tuple[str, ...]
    cut_long: bool = True


async def embed_one(request: Request, asked: Asked) -> Response:
    """The vector of one content, all parts of it together."""
    raw = await read_raw(request)
    wanted = await wanted_of(asked, EMBED(raw, ""), "")
    embedded = await _embed(asked, [wanted], "embedContent", raw)
    told = to_embedding(embedded, asked.api == "vertex")
    return Response(
        as_json(told), media_type="application/json", headers=_headers([wanted], embedded)
    )


async def embed_batch(request: Request, asked: Asked) -> Response:
    """The vectors of many contents, in their order."""
    raw = await read_raw(request)
    requests = BATCH(raw, "").get("requests")
    if not requests or len(requests) > MOST_TEXTS:
        raise Refusal("invalid", f"'requests' has to hold 1 to {MOST_TEXTS}", param="requests")
    wanted = [
        await wanted_of(asked, one, f"requests[{index}]") for index, one in enumerate(requests)
    ]
    embedded = await _embed(asked, wanted, "batchEmbedContents", raw)
    told: dict[str, Json] = {
        "embeddings": [{"values": _values(vector)} for vector in embedded.vectors],
        "usageMetadata": _usage(sum(embedded.tokens), asked.api == "vertex"),
    }
    return Response(
        as_json(told), media_type="application/json", headers=_headers(wanted, embedded)
    )


async def predict(request: Request, asked: Asked) -> Response:
    """The same as older models of Vertex were asked it. Here, too, names come in both spellings."""
    raw = await read_raw(request)
    body = PREDICT(raw, "")
    instances = body.get("instances")
    if not instances or len(instances) > MOST_TEXTS:
        raise Refusal("invalid", f"'instances' has to hold 1 to {MOST_TEXTS}", param="instances")
    options = body.get("parameters", {})
    dimensions = _dimensions(options, "parameters")
    cut_long = options.get("autoTruncate", True)
    wanted = []
    for index, given in enumerate(instances):
        place = f"instances[{index}]"
        one = INSTANCE(given, place)
        if "content" not in one:
            raise Refusal("invalid", f"{place!r} has no 'content'", param=f"{place}.content")
        unused = tuple(name for name in UNUSED if name in one)
        wanted.append(Wanted(one["content"], dimensions, unused, cut_long))
    embedded = await _embed(asked, wanted, "predict", raw)
    predictions = [
        {
            "embeddings": {
                "values": _values(vector),
                "statistics": {"token_count": count, "truncated": cut},
            }
        }
        for vector, count, cut in zip(embedded.vectors, embedded.tokens, embedded.cut, strict=True)
    ]
    told: dict[str, Json] = {"predictions": predictions}
    return Response(
        as_json(told), media_type="application/json", headers=_headers(wanted, embedded)
    )


async def wanted_of(asked: Asked, body: Mapping[str, Json], place: str) -> Wanted:
    """What one request, as read by `EMBED`, wants embedded."""
    check_model(body, asked.model)
    before = f"{place}." if place else ""
    if "content" not in body:
        raise Refusal("invalid", f"'{before}content' is missing", param=f"{before}content")
    inlined = await with_files(asked.server, asked.caller, {"contents": [body["content"]]})
    messages = to_messages(inlined["contents"], place=f"{before}content")
    if any(one.calls or one.result_of for one in messages):
        raise Refusal("invalid", "only text can be embedded", param=f"{before}content")
    options = {**body, **body.get("embedContentConfig", {})}
    for name in ("documentOcr", "audioTrackExtraction"):
        if options.get(name):
            raise Refusal(
                "unsupported", f"{name!r} cannot be used: only text is embedded", param=name
            )
    return Wanted(
        "".join(str(one.content) for one in messages),
        _dimensions(options, place),
        tuple(name for name in UNUSED if name in options),
        options.get("autoTruncate", True),
    )


def to_embedding(embedded: Embedded, vertex: bool) -> dict[str, Json]:
    """The answer to `embedContent`."""
    told: dict[str, Json] = {
        "embedding": {"values": _values(embedded.vectors[0])},
        "usageMetadata": _usage(sum(embedded.tokens), vertex),
    }
    return {**told, "truncated": embedded.cut[0]} if vertex else told


async def _embed(asked: Asked, wanted: Sequence[Wanted], route: str, raw: Json) -> Embedded:
    first = wanted[0]
    for name, differ in (
        ("outputDimensionality", any(one.dimensions != first.dimensions for one in wanted)),
        ("autoTruncate", any(one.cut_long != first.cut_long for one in wanted)),
    ):
        if differ:
            raise Refusal(
                "invalid", f"{name!r} has to be the same for all contents of one call", param=name
            )
    texts = [one.text for one in wanted]
    return await embed_texts(
        asked.server,
        asked.caller,
        EmbedAsk(asked.model, texts, first.dimensions, first.cut_long),
        protocol=asked.api,
        route=route,
        body=raw,
    )


def _dimensions(options: Mapping[str, Json], place: str) -> int | None:
    found: int | None = options.get("outputDimensionality")
    if found is not None and found < 1:
        where = f"{place}.outputDimensionality" if place else "outputDimensionality"
        raise Refusal("invalid", f"{where!r} has to be 1 or more, not {found}", param=where)
    return found


def _headers(wanted: Sequence[Wanted], embedded: Embedded) -> dict[str, str]:
    """What changed nothing, and which texts were cut: not every answer has a field for that."""
    headers = {}
    if unused := sorted({name for one in wanted for name in one.unused}):
        headers["x-stepladder-ignored"] = ", ".join(unused)
    if cut := [str(place) for place, one in enumerate(embedded.cut) if one]:
        headers["x-stepladder-truncated"] = ", ".join(cut)
    return headers


def _usage(tokens: int, vertex: bool) -> dict[str, Json]:
    if vertex:
        return {"promptTokenCount": tokens, "totalTokenCount": tokens}
    return {"promptTokenCount": tokens, "promptTokenDetails": token_details(tokens)}


def _values(vector: Sequence[float]) -> list[float]:
    return [float(value) for value in vector]
