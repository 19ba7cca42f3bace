"""A model of a hosted service as a served one: whoever asks here is answered from there.

Over the provider's synchronous `Model`, in a thread; the answer comes in one piece. What the
provider has no words for is refused, so that nobody gets an answer drawn otherwise than asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Literal

from ...catalogue import Catalogue
from ...core import Json, Model, Request, Response, Usage
from ...errors import StepladderError
from ...models.live import Sampling
from .. import Ask, End, Event, ModelCard, Piece, Refusal, Totals
from .sampling_fields import LENGTHS, unused

__all__ = ["OUTPUT_TOKENS", "HostedServed"]

DRAWN = frozenset({"topp", "topk", "presencepenalty", "frequencypenalty"})
OUTPUT_TOKENS = 8192  # at most, where the caller does not say and the service takes so many


class HostedServed:
    """`model` of a provider, called in `threads`, and under its bare name here."""

    def __init__(self, model: Model, catalogue: Catalogue, threads: Executor) -> None:
        facts = catalogue.facts(model.name)
        provider, _, name = model.name.partition(":")
        self.card = ModelCard(
            name,
            "base",
            datetime.now(UTC),
            version=model.name,
            description=f"asked at its service, {provider}",
            context_tokens=facts.context_tokens if facts else None,
            most_output_tokens=facts.output_tokens if facts else None,
            inputs=facts.inputs if facts else ("text",),
        )
        self.full_name = model.name
        self._model = model
        self._threads = threads

    async def generate(self, ask: Ask) -> AsyncIterator[Event]:
        """The service's answer, each candidate in one piece.

        Raises Refusal for what cannot be passed on, and where the service does not answer.
        """
        requests = self._requests(ask)
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._call, requests)
        responses = await work
        for index, response in enumerate(responses):
            yield Piece(index, response.text, calls=response.calls)
            yield End(index, _finish(response))
        calls = tuple(response.usage for response in responses)
        ignored = unused(ask.given, LENGTHS)
        yield Totals(_together(self._model.name, calls), calls, ignored=ignored)

    async def count_tokens(self, ask: Ask) -> int:
        """The provider's estimate."""
        _check(self.card.name, ask)
        return await asyncio.to_thread(self._model.count_tokens, ask.messages)

    def _requests(self, ask: Ask) -> list[Request]:
        _check(self.card.name, ask)
        schema: Json = ask.schema
        if schema is None and ask.any_json:
            schema = {"type": "object"}
        most = min(OUTPUT_TOKENS, self.card.most_output_tokens or OUTPUT_TOKENS)
        return [
            Request(
                ask.messages,
                max_output_tokens=ask.max_output_tokens or most,
                temperature=ask.sampling.temperature,
                seed=(ask.sampling.seed or 0) + index,
                stop=ask.stop,
                schema=schema,
                choices=ask.choices,
                functions=() if ask.function_choice == "none" else ask.functions,
                thinking_tokens=ask.thinking_tokens,
            )
            for index in range(ask.n)
        ]

    def _call(self, requests: Sequence[Request]) -> list[Response]:
        try:
            found = dict(self._model.generate(requests))
        except StepladderError as error:
            raise Refusal("unavailable", error.message, hint=error.hint) from error
        responses = [found[index] for index in range(len(requests))]
        for response in responses:
            if response.error is not None:
                raise Refusal(
                    "unavailable",
                    f"{self._model.name!r} did not answer: {response.error}",
                    hint="ask again",
                )
        return responses


def _check(name: str, ask: Ask) -> None:
    """Raise Refusal for what a provider's `Request` has no field for."""
    drawn = Sampling(ask.sampling.temperature, seed=ask.sampling.seed)
    # what nobody asked for are the protocol's own defaults, and the service has its own
    is_given = bool(DRAWN & {name.replace("_", "").lower() for name in ask.given})
    unspeakable = {
        "prompt": ask.prompt is not None,
        "top_logprobs": ask.top_logprobs is not None,
        "top_p, top_k or a penalty": is_given and ask.sampling != drawn,
        "a required function": bool(ask.functions) and ask.function_choice == "required",
        "parallel_tool_calls": bool(ask.functions) and not ask.parallel_calls,
    }
    for what, asked in unspeakable.items():
        if asked:
            raise Refusal(
                "unsupported",
                f"{what} cannot be passed on to the service of {name!r}",
                hint="leave it out, or ask a model that runs here",
                param=what if what.isidentifier() else None,
            )


def _finish(response: Response) -> Literal["stop", "length", "calls"]:
    if response.calls:
        return "calls"
    return "length" if response.finish == "length" else "stop"


def _together(name: str, calls: Sequence[Usage]) -> Usage:
    """The prompt once, since it is the same; what was said, of all."""
    outputs = [one.output_tokens for one in calls]
    thoughts = [one.thinking_tokens for one in calls]
    return Usage(
        name,
        input_tokens=calls[0].input_tokens,
        output_tokens=sum(one or 0 for one in outputs) if None not in outputs else None,
        cached_tokens=calls[0].cached_tokens,
        seconds=max((one.seconds or 0.0 for one in calls), default=0.0),
        thinking_tokens=sum(one or 0 for one in thoughts) if None not in thoughts else None,
    )
