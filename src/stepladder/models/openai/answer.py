"""A chat completion, as plain JSON, as a response. Pure.

Works on what the service sent and not on the SDK's objects, since other services leave fields out,
and batch files hold the same JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from ...core import Call, Json, Request, Response, Tier, Usage
from .body import CHOICE
from .endpoints import Endpoint

__all__ = ["NotACompletion", "read_answer"]


class NotACompletion(Exception):
    """What came back as a success is no chat completion: cut off, or another service's page."""


def read_answer(
    completion: Json, name: str, request: Request, endpoint: Endpoint, tier: Tier = "standard"
) -> Response:
    """The response to `request` by the model called `name` (with its provider).

    What the service withheld, refused or left empty is a response with `error`.

    Raises:
        NotACompletion: It does not have the form of a chat completion.
    """
    try:
        choice = completion["choices"][0]
        message = choice["message"]
        finish = choice.get("finish_reason")
        calls = tuple(_call(call) for call in message.get("tool_calls") or ())
        text = _text(message.get("content"))
        usage = read_usage(completion.get("usage"), name, request, tier)
        logprob = _logprob(choice.get("logprobs")) if request.logprob else None
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise NotACompletion(
            f"the answer has not the form of a chat completion: {error!r}"
        ) from error
    if wrong := _wrong(message, finish, text, calls):
        return Response("", usage, finish="error", error=wrong)
    return Response(
        _choice(text, request, endpoint),
        usage,
        finish=_FINISH.get(str(finish), "stop"),
        logprob=logprob,
        calls=calls,
    )


_FINISH: dict[str, Literal["stop", "length"]] = {"length": "length", "max_tokens": "length"}


def read_usage(reported: Json, name: str, request: Request, tier: Tier) -> Usage:
    """What was consumed. What was not reported is None, but without sound there is no sound."""
    told = reported or {}
    of_input = told.get("prompt_tokens_details") or {}
    of_output = told.get("completion_tokens_details") or {}
    return Usage(
        name,
        input_tokens=told.get("prompt_tokens"),
        output_tokens=told.get("completion_tokens"),
        cached_tokens=of_input.get("cached_tokens"),
        thinking_tokens=of_output.get("reasoning_tokens"),
        audio_tokens=of_input.get("audio_tokens") if _has_audio(request) else 0,
        tier=tier,
    )


def _wrong(
    message: Mapping[str, Any], finish: Json, text: str, calls: tuple[Call, ...]
) -> str | None:
    """Why this is no answer; None when it is one."""
    if finish == "content_filter":
        return "the service withheld the answer (content filter)"
    if message.get("refusal"):
        return f"the model refused: {message['refusal']}"
    if finish == "error":
        return "the service broke the answer off with an error"
    if text or calls:
        return None
    if finish == "length":
        return "no answer: the longest output was used up by thinking; raise max_output_tokens"
    return "the service sent an empty answer"


def _text(content: Json) -> str:
    """The text of the answer; some services send it in parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _choice(text: str, request: Request, endpoint: Endpoint) -> str:
    """Of an answer held to choices by a schema, the plain choice; else the text as it is."""
    if not request.choices or request.schema is not None or endpoint.choices != "schema":
        return text
    try:
        chosen = json.loads(text)[CHOICE]
    except (ValueError, KeyError, TypeError):
        return text  # cut off, or a server that ignores schemas: what was said is for the parser
    return chosen if isinstance(chosen, str) else text


def _call(call: Mapping[str, Any]) -> Call:
    function = call["function"]
    arguments = function.get("arguments") or "{}"
    read = json.loads(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(read, dict):
        raise ValueError(f"the arguments of {function['name']!r} are no object")
    return Call(function["name"], read, id=call.get("id") or "")


def _logprob(reported: Json) -> float | None:
    """The sum over the answer's tokens, in OpenAI's form or Together's; None if not reported."""
    if not reported:
        return None
    if reported.get("content"):
        return float(sum(token["logprob"] for token in reported["content"]))
    if reported.get("token_logprobs"):
        return float(sum(one for one in reported["token_logprobs"] if one is not None))
    return None


def _has_audio(request: Request) -> bool:
    return any(
        part.kind in ("audio", "video")
        for message in request.messages
        if not isinstance(message.content, str)
        for part in message.content
    )
