"""`chat/completions`: OpenAI's protocol to what is asked, and the answer back."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from .answering import Scores, answer, prompt_tokens
from .asking import Asked, Declared, Refused, Said, Token, count, cut
from .models import Traits, traits

__all__ = ["Prefixes", "completed", "completion", "read"]

_FINISH = {"stop": "stop", "length": "length", "call": "tool_calls"}
_EFFORT = {"none": 0, "minimal": 0, "low": 64, "medium": 256, "high": 1024}
_IMAGE_TOKENS = 85
_CACHED_FROM, _CACHED_STEP = 1024, 128


class Prefixes:
    """Which openings of prompts were seen: what a service that caches by itself would reuse."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def reused(self, asked: Asked) -> int:
        """How many tokens of the prompt are one that came before; remembers this one."""
        tokens = cut("\x00".join([asked.model, asked.system, *(text for _, text in asked.turns)]))
        found = 0
        for end in range(_CACHED_FROM, len(tokens) + 1, _CACHED_STEP):
            mark = hash(tuple(tokens[:end]))
            if mark in self._seen:
                found = end
            self._seen.add(mark)
        return found


def completion(
    body: Mapping[str, Any], scores: Scores | None, base: str, prefixes: Prefixes, outcome: str
) -> Response:
    """The response to a request, as a whole or in events."""
    whole = completed(body, scores, base, prefixes, outcome)
    if not body.get("stream"):
        return JSONResponse(whole)
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    events = "".join(f"data: {json.dumps(event)}\n\n" for event in _events(whole, with_usage))
    return Response(f"{events}data: [DONE]\n\n", media_type="text/event-stream")


def completed(
    body: Mapping[str, Any], scores: Scores | None, base: str, prefixes: Prefixes, outcome: str
) -> dict[str, Any]:
    """A chat.completion; `base` is the model that was asked for, or that a tuned one is made of."""
    kind = traits(base)
    asked = read(body, kind)
    said = answer(asked, closer=kind.closer, tuned=scores)
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
    finish = _FINISH[said.finish]
    if said.calls:
        message["content"] = None
        message["tool_calls"] = [
            {
                "id": f"call_{uuid.uuid4().hex[:12]}",
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
            }
            for call in said.calls
        ]
    if outcome:
        message["content"] = "" if outcome == "empty" else None
        finish = "stop" if outcome == "empty" else "content_filter"
    choice: dict[str, Any] = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish,
    }
    if body.get("logprobs") and said.tokens:
        choice["logprobs"] = {"content": [_token(t) for t in said.tokens], "refusal": None}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex[:16]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [choice],
        "usage": _usage(asked, said, prefixes.reused(asked)),
    }


def read(body: Mapping[str, Any], kind: Traits) -> Asked:
    """What a request asks for; raises Refused as the service would."""
    messages = body.get("messages")
    if not messages:
        raise Refused(400, "Missing required parameter: 'messages'.", param="messages")
    system, turns, images = [], [], 0
    for message in messages:
        text, shown = _content(message)
        images += shown
        role = message["role"]
        if role in ("system", "developer"):
            system.append(text)
        elif role in ("user", "assistant", "tool"):
            turns.append(("function" if role == "tool" else role, text))
        else:
            raise Refused(400, f"Invalid value: {role!r}.", param="messages[0].role")
    choices, schema, plain = _form(body)
    declared, calling = _functions(body)
    stop = body.get("stop") or ()
    return Asked(
        model=str(body["model"]),
        system="\n\n".join(system),
        turns=tuple(turns),
        choices=choices,
        schema=schema,
        json=plain,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        temperature=body.get("temperature") or 0.0,
        seed=body.get("seed"),
        functions=declared,
        calling=calling,
        thinking=_thinking(body, kind),
        top_logprobs=_top(body),
        media={"IMAGE": images * _IMAGE_TOKENS} if images else {},
        overhead=sum(count(f"{d.name}{d.description}{d.parameters}") for d in declared),
    )


def _content(message: Mapping[str, Any]) -> tuple[str, int]:
    content = message.get("content") or ""
    if message.get("tool_calls"):
        return json.dumps(message["tool_calls"]), 0
    if isinstance(content, str):
        return content, 0
    texts = [part["text"] for part in content if part["type"] == "text"]
    return "".join(texts), len(content) - len(texts)


def _form(body: Mapping[str, Any]) -> tuple[tuple[str, ...], Mapping[str, Any] | None, bool]:
    """The form of the answer; vLLM's way of giving choices is read as well."""
    structured = body.get("structured_outputs") or {}
    if choices := structured.get("choice") or body.get("guided_choice"):
        return tuple(choices), None, False
    wanted = body.get("response_format") or {"type": "text"}
    if wanted["type"] == "json_schema":
        return (), wanted["json_schema"].get("schema", {}), True
    if wanted["type"] == "json_object" and "json" not in json.dumps(body["messages"]).lower():
        raise Refused(
            400,
            "'messages' must contain the word 'json' in some form, to use 'response_format' of "
            "type 'json_object'.",
            param="messages",
        )
    return (), None, wanted["type"] == "json_object"


def _functions(body: Mapping[str, Any]) -> tuple[tuple[Declared, ...], Any]:
    declared = tuple(
        Declared(
            tool["function"]["name"],
            tool["function"].get("description", ""),
            tool["function"].get("parameters") or {},
        )
        for tool in body.get("tools") or ()
        if tool["type"] == "function"
    )
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        wanted = choice["function"]["name"]
        return tuple(item for item in declared if item.name == wanted), "any"
    return declared, {"required": "any", "none": "none"}.get(choice, "auto")


def _thinking(body: Mapping[str, Any], kind: Traits) -> int:
    effort = body.get("reasoning_effort")
    if effort is None:
        return _EFFORT["medium"] if kind.thinks or kind.name.startswith("o4-") else 0
    if effort not in _EFFORT:
        raise Refused(400, f"Invalid value: {effort!r}.", param="reasoning_effort")
    return _EFFORT[effort]


def _top(body: Mapping[str, Any]) -> int:
    top = body.get("top_logprobs")
    if top is not None and not body.get("logprobs"):
        raise Refused(400, "'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    if top is not None and not 0 <= top <= 20:
        raise Refused(400, "'top_logprobs' must be at most 20.", param="top_logprobs")
    return max(1, top or 0) if body.get("logprobs") else 0


# --- the answer in OpenAI's words ---------------------------------------------------------------


def _token(token: Token) -> dict[str, Any]:
    return {
        **_ranked(token.text, token.logprob),
        "top_logprobs": [_ranked(text, value) for text, value in token.top],
    }


def _ranked(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _usage(asked: Asked, said: Said, cached: int) -> dict[str, Any]:
    completion = said.said_tokens + said.thought_tokens
    return {
        "prompt_tokens": said.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": said.prompt_tokens + completion,
        "prompt_tokens_details": {
            "cached_tokens": min(cached, said.prompt_tokens),
            "audio_tokens": asked.media.get("AUDIO", 0),
        },
        "completion_tokens_details": {"reasoning_tokens": said.thought_tokens},
    }


def _events(whole: dict[str, Any], with_usage: bool) -> Sequence[dict[str, Any]]:
    choice = whole["choices"][0]
    head = {
        "id": whole["id"],
        "object": "chat.completion.chunk",
        "created": whole["created"],
        "model": whole["model"],
    }

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish, **more}]
        return {**head, "choices": choices, **({"usage": None} if with_usage else {})}

    events = [chunk({"role": "assistant", "content": ""})]
    text = choice["message"]["content"] or ""
    events += [chunk({"content": text[at : at + 12]}) for at in range(0, len(text), 12)]
    if calls := choice["message"].get("tool_calls"):
        events.append(chunk({"tool_calls": [{"index": i, **c} for i, c in enumerate(calls)]}))
    events.append(chunk({}, choice["finish_reason"], logprobs=choice["logprobs"]))
    if with_usage:
        events.append({**head, "choices": [], "usage": whole["usage"]})
    return events


def counted(body: Mapping[str, Any]) -> int:
    """The tokens of a request, for limits on training rows."""
    return prompt_tokens(read(body, traits("gpt-4o-mini")))
