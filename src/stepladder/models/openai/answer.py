"""A chat completion, as plain JSON, as a response. Pure.

Works on what the service sent and not on the SDK's objects, since other services leave fields out,
and batch files hold the same JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from ...core import Call, Json, Request, Response, Tier, Usage
from .body import CHOICE
from .endpoints import Endpoint

__all__ = ["NotACompletion", "read_answer"]


class NotACompletion(Exception):
    """What came back as a success is no chat completion: cut off, or another service's page."""


class _Damaged(Exception):
    """The model asked for a call with arguments that cannot be read."""


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
        text = _text(message.get("content"))
        billed = _tier(completion.get("service_tier"), endpoint, tier)
        usage = read_usage(completion.get("usage"), name, request, billed)
        logprob = _logprob(choice.get("logprobs")) if request.logprob else None
        calls = tuple(_call(call) for call in message.get("tool_calls") or ())
    except _Damaged as error:  # the model's mistake, and paid for
        return Response("", usage, finish="error", error=str(error))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        if words := _error_in(completion):
            raise NotACompletion(f"an error in the place of an answer: {words}") from error
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


_THOUGHTS = re.compile(
    r"\A\s*<think>.*?(?:</think>\s*|\Z)", re.S
)  # of a server that leaves them in
_TIERED = ("openai", "azure")
_STANDARD = (None, "auto", "default")
_FINISH: dict[str, Literal["stop", "length"]] = {"length": "length", "max_tokens": "length"}


def _tier(told: Json, endpoint: Endpoint, asked: Tier) -> Tier:
    """The tier that is billed: a project of OpenAI's may be set to another one than the standard.

    What other services mean by such words is not known.
    """
    if asked == "standard" and endpoint.name in _TIERED and told not in _STANDARD:
        return "other"
    return asked


def read_usage(reported: Json, name: str, request: Request, tier: Tier) -> Usage:
    """What was consumed. What was not reported is None, but without sound there is no sound.

    A report that cannot be read is none: the answer beside it is paid for, and not asked for again.
    """
    told = _object(reported)
    of_input = _object(told.get("prompt_tokens_details"))
    of_output = _object(told.get("completion_tokens_details"))
    return Usage(
        name,
        input_tokens=_count(told.get("prompt_tokens")),
        output_tokens=_count(told.get("completion_tokens")),
        cached_tokens=_count(of_input.get("cached_tokens")),
        thinking_tokens=_count(of_output.get("reasoning_tokens")),
        audio_tokens=_count(of_input.get("audio_tokens")) if _has_audio(request) else 0,
        cache_write_tokens=float(_count(of_input.get("cache_write_tokens")) or 0),
        tier=tier,
    )


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


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
    """The text of the answer; some services send it in parts, some with the thoughts before it."""
    if content is None:
        return ""
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content)
    return _THOUGHTS.sub("", content)


def _choice(text: str, request: Request, endpoint: Endpoint) -> str:
    """Of an answer held to choices by a schema, the plain choice; else the text as it is."""
    if not request.choices or endpoint.choices != "schema":
        return text
    try:
        chosen = json.loads(text)[CHOICE]
    except (ValueError, KeyError, TypeError):
        return text  # cut off, or a server that ignores schemas: what was said is for the parser
    return chosen if isinstance(chosen, str) else text


def _call(call: Mapping[str, Any]) -> Call:
    function = call["function"]
    arguments = function.get("arguments") or "{}"
    try:
        read = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError as error:
        raise _Damaged(f"the arguments of a call of {function['name']!r} are not JSON") from error
    if not isinstance(read, dict):
        raise _Damaged(f"the arguments of a call of {function['name']!r} are no object")
    return Call(function["name"], read, id=call.get("id") or "")


def _logprob(reported: Json) -> float | None:
    """The sum over the answer's tokens, in OpenAI's form or Together's; None if not reported."""
    told = _object(reported)
    try:
        if told.get("content"):
            return float(sum(token["logprob"] for token in told["content"]))
        if told.get("token_logprobs"):
            return float(sum(one for one in told["token_logprobs"] if one is not None))
    except (TypeError, KeyError, ValueError):
        return None
    return None


def _error_in(body: Json) -> str:
    """The message of an error that came as a success, as gateways send it; empty without one."""
    error = body.get("error") if isinstance(body, Mapping) else None
    words = error.get("message") if isinstance(error, Mapping) else error
    return str(words or "")


def _has_audio(request: Request) -> bool:
    return any(
        part.kind in ("audio", "video")
        for message in request.messages
        if not isinstance(message.content, str)
        for part in message.content
    )
