"""vLLM's completions at the level of token ids: what is sent, and what its stream says.

Opens no connection; `vllm_live.py` does. The fields are those of vLLM 0.32; older servers without
`structured_outputs` (before 0.12) are not spoken to.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import ModelError
from ..messages import Json
from .live import Prompt, Token

__all__ = [
    "End",
    "Stream",
    "completion_body",
    "fault_of",
    "is_looked_up",
    "is_refusal",
    "look_up_body",
    "looked_up",
    "message_of",
    "server_events",
]

_SMALLEST_SHARE = 1e-6  # of top_p, which must be more than nothing: the most probable token
_SEEDS = 1 << 63
_TOKEN = "token_id:"  # what names a token where vLLM would write its text
_UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError)


def fault_of(prompt: Prompt, context_tokens: int) -> str | None:
    """Why a prompt cannot be run, whatever the model says; None when it can."""
    sampling = prompt.sampling
    numbers = (
        sampling.temperature, sampling.top_p,
        sampling.presence_penalty, sampling.frequency_penalty,
    )  # fmt: skip
    if not prompt.ids:
        return "the prompt has no tokens"
    if min(prompt.ids) < 0:
        return "the prompt has ids that are no tokens of this model"
    if len(prompt.ids) >= context_tokens:
        return f"the prompt has {len(prompt.ids)} tokens, but this model reads {context_tokens}"
    if prompt.max_output_tokens < 1:
        return "max_output_tokens must be at least 1"
    if not all(map(math.isfinite, numbers)) or not 0 <= sampling.top_p <= 1:
        return "temperature and penalties must be numbers, and top_p between 0 and 1"
    if sum((prompt.schema is not None, bool(prompt.choices), prompt.grammar is not None)) > 1:
        return "only one of schema, choices and grammar can bound an answer"
    return None


def completion_body(
    prompt: Prompt, model: str, *, context_tokens: int, eos_id: int
) -> dict[str, Json]:
    """The request for a prompt, streamed. Whatever the server has defaults for is said."""
    sampling = prompt.sampling
    room = context_tokens - len(prompt.ids) - is_looked_up(prompt)  # that makes a token more
    body: dict[str, Json] = {
        "model": model,
        "prompt": list(prompt.ids),
        "max_tokens": max(1, min(prompt.max_output_tokens, room)),
        "temperature": sampling.temperature,
        "top_p": max(sampling.top_p, _SMALLEST_SHARE),
        "top_k": sampling.top_k or 0,  # 0 is no limit
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "stop_token_ids": [eos_id],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed % _SEEDS
    if prompt.top_logprobs is not None and not is_looked_up(prompt):
        body["logprobs"] = prompt.top_logprobs
        body["return_tokens_as_token_ids"] = True
    if form := _form(prompt):
        body["structured_outputs"] = form
    return body


def is_looked_up(prompt: Prompt) -> bool:
    """Whether the probabilities are asked for afterwards.

    While an answer is bound to a form, vLLM tells those among the tokens that the form allows.
    """
    return prompt.top_logprobs is not None and bool(_form(prompt))


def look_up_body(prompt: Prompt, made: Sequence[int], model: str) -> dict[str, Json]:
    """The request for the probabilities of what was made, as the model has them."""
    return {
        "model": model,
        "prompt": [*prompt.ids, *made],
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": prompt.top_logprobs,
    }


def looked_up(answer: Mapping[str, Json], prompt: Prompt, made: Sequence[int]) -> list[Token]:
    """What was made, with its probabilities; raises ModelError where the answer has none."""
    try:
        told = answer["choices"][0]["prompt_logprobs"][len(prompt.ids) :]
        tokens = []
        for id, others in zip(made, told, strict=True):
            values = {int(other): float(one["logprob"]) for other, one in others.items()}
            tokens.append(Token(id, values[id], _most_probable(values, prompt.top_logprobs or 0)))
    except _UNREADABLE as error:
        raise ModelError(
            f"the vLLM server does not tell the probabilities of an answer: {error!r}",
            hint="stepladder was tried with vLLM 0.32",
        ) from error
    return tokens


def _form(prompt: Prompt) -> dict[str, Json]:
    if prompt.schema is not None:
        return {"json": dict(prompt.schema)}
    if prompt.choices:
        return {"choice": list(prompt.choices)}
    return {} if prompt.grammar is None else {"grammar": prompt.grammar}


@dataclass(frozen=True, slots=True)
class End:
    """How a sequence ended; `error` is what the server said where it could not go on.

    `refused` says that it was the request's fault.
    """

    finish: Literal["stop", "length", "error"]
    error: str | None = None
    refused: bool = False
    token: Token | None = None  # that ended it
    cached_tokens: int | None = None


class Stream:
    """One sequence's stream, event by event: `take` gives the tokens of each, `end` what it was."""

    def __init__(self, prompt: Prompt) -> None:
        self._top = None if is_looked_up(prompt) else prompt.top_logprobs
        self._finish: str | None = None
        self._last: Token | None = None
        self._cached: int | None = None
        self._error: End | None = None
        self._whole = False

    def take(self, data: bytes) -> tuple[Token, ...]:
        """The tokens of one event, without the one that ends the sequence.

        Raises ModelError when it is not what vLLM says.
        """
        if data == b"[DONE]":
            self._whole = True
            return ()
        try:
            return self._read(json.loads(data))
        except _UNREADABLE as error:
            raise ModelError(
                f"the stream of the vLLM server cannot be read: {error!r}",
                hint="stepladder was tried with vLLM 0.32; is this another server?",
            ) from error

    def end(self) -> End:
        """How it ended, once there are no more events."""
        if self._error is not None:
            return self._error
        if not self._whole or self._finish not in ("stop", "length"):
            why = f" ({self._finish})" if self._finish else ""
            return End("error", f"the vLLM server broke off in the middle of an answer{why}")
        stop = self._finish == "stop"
        return End("stop" if stop else "length", token=self._last, cached_tokens=self._cached)

    def _read(self, event: Mapping[str, Json]) -> tuple[Token, ...]:
        if "error" in event:
            said = event["error"]
            code = said.get("code") if isinstance(said, dict) else None
            self._error = End("error", message_of(event), refused=is_refusal(code))
            return ()
        if usage := event.get("usage"):
            self._cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        if not event["choices"]:
            return ()
        choice = event["choices"][0]
        tokens = _tokens(choice, self._top)
        self._finish = choice.get("finish_reason") or self._finish
        if self._finish == "stop" and tokens:
            # the token that ended it is told like any other; `stop_reason` names it unless it is
            # the end-of-sequence token of the server's own
            ending = choice.get("stop_reason")
            if ending is None or ending == tokens[-1].id:
                *rest, self._last = tokens
                return tuple(rest)
        return tokens


def _tokens(choice: Mapping[str, Json], top: int | None) -> tuple[Token, ...]:
    ids = choice["token_ids"]
    if top is None:
        return tuple(Token(id) for id in ids)
    found = choice["logprobs"]
    return tuple(
        Token(id, chosen, _top(others, top))
        for id, chosen, others in zip(
            ids, found["token_logprobs"], found["top_logprobs"], strict=True
        )
    )


def _top(others: Mapping[str, float], count: int) -> tuple[tuple[int, float], ...]:
    return _most_probable({int(name.removeprefix(_TOKEN)): p for name, p in others.items()}, count)


def _most_probable(values: Mapping[int, float], count: int) -> tuple[tuple[int, float], ...]:
    return tuple(sorted(values.items(), key=lambda one: (-one[1], one[0]))[:count])


def is_refusal(status: int | None) -> bool:
    """Whether a status says that it is the request's fault, and would fail again."""
    return status in (400, 413, 422)


def message_of(body: Mapping[str, Json] | Sequence[Json] | Json) -> str:
    """What went wrong, in the server's words."""
    if isinstance(body, dict):
        error = body.get("error", body)
        said = error.get("message") if isinstance(error, dict) else error
        said = said or body.get("detail")
        if said:
            return str(said)
    return "no reason was given"


async def server_events(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The data of each server-sent event, out of pieces cut anywhere."""
    held = b""
    async for piece in pieces:
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
