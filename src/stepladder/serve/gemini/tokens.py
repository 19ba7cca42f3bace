"""`countTokens` and `computeTokens`: how many tokens a request is, and which."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from ...core import Json
from .. import Ask, Refusal
from ..answering import model_for
from .answers import as_json, token_details
from .asking import ask_for_count
from .bodies import read_body, read_raw
from .contents import to_messages
from .generate import Asked, ask_of, check_model
from .media import with_files
from .request_forms import COMPUTE, COUNT

__all__ = ["compute", "count"]

JSON = "application/json"


async def count(request: Request, asked: Asked) -> Response:
    """The tokens of contents, or at the Developer API of a whole request."""
    raw = await read_raw(request)
    body = COUNT(raw, "")
    whole = body.get("generateContentRequest")
    if whole is not None:
        if "contents" in body:
            raise Refusal(
                "invalid",
                "'contents' and 'generateContentRequest' cannot go together",
                param="generateContentRequest",
            )
        given = raw.get("generateContentRequest", raw.get("generate_content_request"))
        ask = await ask_of(asked, given)
    else:
        check_model(body, asked.model)
        body = await with_files(asked.server, asked.caller, _of_instances(body))
        ask = ask_for_count(asked.model, body)
    model = model_for(asked.server, asked.caller, asked.model)
    tokens = await model.count_tokens(ask)
    told: dict[str, Json] = {"totalTokens": tokens, "promptTokensDetails": token_details(tokens)}
    if asked.api == "vertex":
        told["totalBillableCharacters"] = _characters(ask)
    return Response(as_json(told), media_type=JSON)


async def compute(request: Request, asked: Asked) -> Response:
    """The tokens of the text of each content, without what a chat puts around it."""
    body = await read_body(request, COMPUTE)
    check_model(body, asked.model)
    body = await with_files(asked.server, asked.caller, _of_instances(body))
    contents = body.get("contents")
    if not contents:
        raise Refusal("invalid", "'contents' is missing or empty", param="contents")
    model: Any = model_for(asked.server, asked.caller, asked.model)
    if not hasattr(model, "tokens"):
        raise Refusal("unsupported", f"the model {asked.model!r} does not show its tokens")
    told: list[Json] = []
    for content, text in zip(contents, _texts(contents), strict=True):
        tokens = await model.tokens(Ask(asked.model, prompt=text))
        told.append(
            {
                "role": content.get("role", "user"),
                "tokens": [base64.b64encode(data).decode("ascii") for _, data in tokens],
                "tokenIds": [str(id) for id, _ in tokens],
            }
        )
    return Response(as_json({"tokensInfo": told}), media_type=JSON)


def _texts(contents: list[Mapping[str, Json]]) -> list[str]:
    return [
        "".join(str(message.content) for message in to_messages([one], place=f"contents[{index}]"))
        for index, one in enumerate(contents)
    ]


def _of_instances(body: Mapping[str, Json]) -> Mapping[str, Json]:
    """The older way to say what is counted, as contents."""
    instances = body.get("instances")
    if instances is None or "contents" in body:
        return body
    texts = []
    for index, one in enumerate(instances):
        text = one.get("prompt", one.get("content")) if isinstance(one, dict) else None
        if not isinstance(text, str):
            raise Refusal(
                "invalid",
                "an instance has to be an object with a text as its 'prompt' or 'content'",
                param=f"instances[{index}]",
            )
        texts.append(text)
    return {**body, "contents": [{"role": "user", "parts": [{"text": text}]} for text in texts]}


def _characters(ask: Ask) -> int:
    """Vertex counts all but white space."""
    texts = [one.content for one in ask.messages if isinstance(one.content, str)]
    return sum(len("".join(text.split())) for text in texts)
