"""What a model said, in OpenAI's words: messages, log-probabilities, calls, usage. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from ...core import Call, Citation, Json, Usage
from .. import Spoken
from ..citing import address

__all__ = [
    "FINISHES", "call_chunks", "function_call", "json_bytes", "logprobs", "sse",
    "tool_calls", "url_citations", "usage_body",
]  # fmt: skip

FINISHES = {"stop": "stop", "length": "length", "calls": "tool_calls"}
DONE = b"data: [DONE]\n\n"
Finish = Literal["stop", "length", "calls"]


def json_bytes(value: Json) -> bytes:
    """JSON as it goes out, compact."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def sse(value: Json) -> bytes:
    """One server-sent event."""
    return b"data: " + json_bytes(value) + b"\n\n"


def usage_body(usage: Usage) -> dict[str, Json]:
    """Tokens in and out; the total is their sum."""
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens or 0,
            "audio_tokens": usage.audio_tokens or 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.thinking_tokens or 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def logprobs(tokens: Sequence[Spoken]) -> dict[str, Json]:
    """The tokens of an answer with what else each could have been."""
    told = [{**_token(one), "top_logprobs": [_token(top) for top in one.top]} for one in tokens]
    return {"content": told, "refusal": None}


def url_citations(citations: Sequence[Citation], length: int) -> list[dict[str, Json]]:
    """What a text of `length` characters cites; the URL is the indexed file and a passage id."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": 0,
                "end_index": max(0, length - 1),  # of the last character
                "title": one.title or one.source,
                "url": address(one),
            },
        }
        for one in citations
    ]


def tool_calls(calls: Sequence[Call], answer: str, index: int) -> list[dict[str, Json]]:
    """The calls of candidate `index`; those without an id get one of the answer's own."""
    return [
        {"id": _call_id(call, answer, index, place), "type": "function", "function": _body(call)}
        for place, call in enumerate(calls)
    ]


def call_chunks(
    calls: Sequence[Call], answer: str, index: int, before: int
) -> list[dict[str, Json]]:
    """The same in a stream, where `before` calls of the candidate went out already."""
    return [
        {
            "index": place,
            "id": _call_id(call, answer, index, place),
            "type": "function",
            "function": _body(call),
        }
        for place, call in enumerate(calls, before)
    ]


def function_call(call: Call) -> dict[str, Json]:
    """A call in the older form, which has no ids."""
    return _body(call)


def _body(call: Call) -> dict[str, Json]:
    return {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}


def _call_id(call: Call, answer: str, index: int, place: int) -> str:
    return call.id or f"call_{answer}_{index}_{place}"


def _token(token: Spoken) -> dict[str, Json]:
    return {"token": token.text, "logprob": _finite(token.logprob), "bytes": list(token.data)}


def _finite(logprob: float) -> float:
    """JSON has no infinity: OpenAI says -9999 of what is as good as impossible."""
    return max(logprob, -9999.0)
