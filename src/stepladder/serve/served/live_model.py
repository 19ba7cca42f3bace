"""The model that a bundle's solver asks: a synchronous `Model` over a live engine.

Solvers in many threads are batched by the engine. It answers as `models/local` does when it
measures: same template, same refusals, same confidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ...core import Call, Message, Request, Response, Usage
from ...models.live import Sampling
from .. import Ask, End, Event, Piece, Refusal
from .bases import Base
from .candidate import Candidate, usage_of
from .heard import Heard
from .leaving import Leaving
from .planning import measured_plan, prompt_ids
from .scoring import Scores
from .sequences import follow_in_thread

__all__ = ["LiveModel"]


@dataclass
class LiveModel:
    """The model called `name` on the engine of `base`, or with `adapter` one tuned from it.

    `fingerprint` is that of what was measured under this name. `scores` scores choices. What it
    says goes to `heard` too, where there is one; that changes no answer.
    """

    name: str
    base: Base
    scores: Scores
    fingerprint: str | None = None
    adapter: Path | None = None
    leaving: Leaving = field(default_factory=Leaving, compare=False)
    heard: Heard | None = field(default=None, compare=False)

    @property
    def context_tokens(self) -> int:
        """The most tokens that prompt and answer may have together."""
        return self.base.tokenizer.context_tokens

    def within(self, leaving: Leaving, heard: Heard | None = None) -> LiveModel:
        """The same for one caller: its sequences end when the caller leaves."""
        return replace(self, leaving=leaving, heard=heard)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """How many input tokens these messages are."""
        return len(self.base.tokenizer.chat_ids(messages))

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        """Each answer as it finishes, with the index of its request; closing it ends the rest.

        Raises Refusal when the caller has left.
        """
        self.leaving.check()
        asks = [_ask(self.name, request) for request in requests]
        prompts = [prompt_ids(self.base.tokenizer, ask) for ask in asks]
        scored: list[int] = []
        said: list[Candidate] = []
        for index, (prompt, request) in enumerate(zip(prompts, requests, strict=True)):
            if len(prompt) + request.max_output_tokens > self.context_tokens:
                yield index, self._too_long(len(prompt), request)
            elif request.score_choices:
                scored.append(index)
            else:
                said.append(self._candidate(asks[index], prompt, index))
        if scored:
            yield from self._score(scored, prompts, requests)
        yield from self._say(said)

    def _candidate(self, ask: Ask, prompt: Sequence[int], index: int) -> Candidate:
        room = ask.max_output_tokens or 0
        if self.heard is not None:
            ask = replace(ask, top_logprobs=self.heard.top)
        plan = measured_plan(ask, prompt, room, self.base.tokenizer, self.adapter)
        return Candidate(plan, index, seed_offset=0)

    def _say(self, candidates: Sequence[Candidate]) -> Iterator[tuple[int, Response]]:
        texts: dict[int, str] = {}
        calls: dict[int, tuple[Call, ...]] = {}
        with closing(follow_in_thread(self.base.engine, candidates, self.leaving)) as following:
            for candidate, event in following:
                index = candidate.index
                if isinstance(event, Piece):
                    if self.heard is not None:
                        self.heard.tokens.extend(event.tokens)
                    texts[index] = texts.get(index, "") + event.text
                    calls[index] = event.calls
                else:
                    said = self._response(candidate, texts.pop(index, ""), event)
                    yield index, replace(said, calls=calls.pop(index, ()))

    def _response(self, candidate: Candidate, text: str, end: Event | Refusal) -> Response:
        usage = usage_of(self.name, [candidate])
        if isinstance(end, Refusal):
            return Response(text, usage, "error", error=end.message)
        cut_off = isinstance(end, End) and end.finish == "length"
        finish: Literal["stop", "length"] = "length" if cut_off else "stop"
        asked = candidate.prompt.top_logprobs is not None
        return Response(text, usage, finish, candidate.logprob if asked else None)

    def _score(
        self, chosen: Sequence[int], prompts: Sequence[Sequence[int]], requests: Sequence[Request]
    ) -> Iterator[tuple[int, Response]]:
        encode = self.base.tokenizer.encode
        options = [[encode(choice) for choice in requests[index].choices] for index in chosen]
        scores = self.scores.score([prompts[index] for index in chosen], options)
        for index, (logprobs, seconds) in zip(chosen, scores, strict=True):
            if self.heard is not None:
                self.heard.scores = logprobs
            usage = Usage(self.name, len(prompts[index]), 0, None, seconds, seconds)
            yield index, Response("", usage, choice_logprobs=logprobs)

    def _too_long(self, tokens: int, request: Request) -> Response:
        message = (
            f"the prompt has {tokens} tokens and {request.max_output_tokens} are kept for the "
            f"answer, but {self.name} reads {self.context_tokens}"
        )
        return Response("", Usage(self.name, tokens), "error", error=message)


def _ask(name: str, request: Request) -> Ask:
    return Ask(
        name,
        request.messages,
        max_output_tokens=request.max_output_tokens,
        sampling=Sampling(request.temperature, seed=request.seed),
        stop=request.stop,
        schema=request.schema,
        choices=request.choices,
        functions=request.functions,
        top_logprobs=0 if request.logprob else None,
    )
