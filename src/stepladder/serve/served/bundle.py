"""A task's bundle as many callers see it: they send an input, its solver answers.

The solver runs in a thread, since solvers are synchronous; its local models are on live engines, so
that callers are batched all the same. Which bundle is current is for `following.py`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ...bundles.bundle import Bundle, BundledModel
from ...bundles.served import said
from ...core import Input, Message, Model, Output, Usage, Workshop
from ...errors import ModelError, StepladderError
from ...solvers.calling import CallingSolver
from ...solvers.calling_answers import served_calls
from .. import Ask, End, Event, ModelCard, Piece, Refusal, Spoken, Totals
from .bases import LOCAL, Bases
from .heard import Heard, listen
from .inputs import input_of
from .leaving import Leaving
from .live_model import LiveModel
from .sampling_fields import unused
from .scoring import Scores

__all__ = ["BundleServed", "open_bundle"]


class BundleServed:
    """A bundle that is open. `retire` lets what is under way finish, then frees its memory."""

    def __init__(
        self,
        bundle: Bundle,
        workshop: Workshop,
        threads: Executor,
        close: ExitStack,
    ) -> None:
        self.card = _card(bundle)
        self.bundle = bundle
        self._workshop = workshop
        self._threads = threads
        self._close = close
        self._guard = threading.Lock()
        self._under_way = 0
        self._retired = False

    async def generate(self, ask: Ask) -> AsyncIterator[Event]:
        """The solver's answer in one piece; several candidates are that one, made once.

        Raises Refusal for what a bundle does not take, and where the solver has no answer.
        """
        input = input_of(self.bundle, ask)
        heard = None
        if ask.top_logprobs is not None:
            heard = listen(self.bundle, self._live_model(), ask.top_logprobs)
        output = await self._answer(input, heard)
        usage = _together(self.card.name, output.usage)
        tokens = () if heard is None else heard.told()
        for event in _events(self.bundle, output, tokens, ask.n):
            yield event
        yield Totals(
            usage,
            output.usage,
            self._workshop.price(output.usage) if output.usage else 0.0,
            unused(ask.given),
            failure="unparsed" if output.value is None else "",
        )

    async def count_tokens(self, ask: Ask) -> int:
        """The input's tokens for the bundle's model, without what the bundle adds to them.

        Without a model that counts tokens, its words.
        """
        input_of(self.bundle, ask)
        messages = [Message("user", text) for text in _texts(ask)]
        for model in self.bundle.models:
            if not model.name.startswith("encoder:"):
                opened = self._workshop.model(model.name)
                return await asyncio.to_thread(opened.count_tokens, messages)
        return sum(len(text.split()) for text in _texts(ask))

    def retire(self) -> None:
        """Free what it holds once nobody waits for it any more. From any thread."""
        with self._guard:
            self._retired = True
            idle = self._under_way == 0
        if idle:
            self._close.close()

    def _live_model(self) -> Model | None:
        """The model of a prompt, where it is on an engine of this server."""
        name = getattr(self.bundle.solver, "model", None)
        model = None if name is None else self._workshop.model(name)
        return model if isinstance(model, LiveModel) else None

    async def _answer(self, input: Input, heard: Heard | None) -> Output:
        leaving = Leaving()
        work = partial(self._in_thread, input, leaving, heard)
        try:
            output = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            leaving.leave()
        if output.error is not None:
            raise Refusal(
                "unavailable",
                f"the solver of {self.card.name!r} has no answer: {output.error}",
                hint="ask again",
            )
        return output

    def _in_thread(self, input: Input, leaving: Leaving, heard: Heard | None) -> Output:
        with self._guard:
            self._under_way += 1
        try:
            leaving.check()
            workshop = replace(
                self._workshop,
                model=lambda name: _within(self._workshop.model(name), leaving, heard),
            )
            for _, output in self.bundle.solver.answer([input], workshop):
                return output
        except Refusal:
            raise
        except StepladderError as error:
            raise Refusal("unavailable", error.message, hint=error.hint) from error
        finally:
            self._done()
        raise Refusal("internal", f"the solver of {self.card.name!r} answered nothing")

    def _done(self) -> None:
        with self._guard:
            self._under_way -= 1
            last = self._retired and self._under_way == 0
        if last:
            self._close.close()


def open_bundle(bundle: Bundle, bases: Bases, threads: Executor) -> BundleServed:
    """Open a bundle and load all that it asks; takes seconds.

    Raises StepladderError when one of its models cannot be had or is not the one measured.
    """
    with ExitStack() as stack:
        opening = _Opening(bundle, bases, stack)
        workshop = stack.enter_context(bundle.open(replace=opening.model))
        for model in bundle.models:
            if not model.name.startswith("encoder:"):
                workshop.model(model.name)
        return BundleServed(bundle, workshop, threads, stack.pop_all())


@dataclass(frozen=True)
class _Opening:
    """The bundle's local models on live engines, held until `stack` is closed."""

    bundle: Bundle
    bases: Bases
    stack: ExitStack

    def model(self, bundled: BundledModel) -> Model | None:
        if not bundled.name.startswith(LOCAL):
            return None
        if bundled.inside is None:
            base = self.stack.enter_context(self.bases.hold(bundled.name))
            return LiveModel(bundled.name, base, base.scores, base.fingerprint)
        return self._tuned(bundled)

    def _tuned(self, bundled: BundledModel) -> Model:
        """On the engine of its base, with its adapter; without one, on an engine of its own."""
        artifacts = self.bundle.folder / "artifacts"
        merged = self.bases.measured(bundled.name, artifacts)
        if bundled.adapter is None:
            base = self.stack.enter_context(self.bases.hold(bundled.name, artifacts))
            return LiveModel(bundled.name, base, base.scores, merged.fingerprint)
        base = self.stack.enter_context(self.bases.hold(bundled.base))
        if base.sha256() != bundled.sha256:
            raise ModelError(
                f"the base model {bundled.base!r} here is not the one that {bundled.name!r} was "
                "tuned from",
                hint=bundled.fetch,
            )
        return LiveModel(
            bundled.name,
            base,
            Scores(merged.scorer),
            merged.fingerprint,
            adapter=self.bundle.folder / bundled.adapter,
        )


def _events(
    bundle: Bundle, output: Output, tokens: tuple[Spoken, ...], candidates: int
) -> Iterator[Event]:
    """The answer: calls in the protocol's own form where the caller is to make them, else text."""
    solver = bundle.solver
    calling = served_calls(solver, output) if isinstance(solver, CallingSolver) else None
    for index in range(candidates):
        if calling is None:
            yield Piece(index, said(output.value, output.text), tokens)
            yield End(index, "stop", output.citations)
        else:
            calls, text = calling
            yield Piece(index, text, calls=calls)
            yield End(index, "calls" if calls else "stop")


def _within(model: Any, leaving: Leaving, heard: Heard | None) -> Any:
    return model.within(leaving, heard) if isinstance(model, LiveModel) else model


def _card(bundle: Bundle) -> ModelCard:
    seen = bundle.evaluation
    confirmed = seen["confirmed"] or {}
    shown = confirmed or seen["trial"]
    score = {name: shown.get(name) for name in ("score", "low", "n")}
    return ModelCard(
        bundle.task.name,
        "bundle",
        datetime.fromtimestamp(bundle.folder.stat().st_mtime, UTC),
        version=bundle.id,
        title=bundle.task.name,
        description=f"{bundle.task.kind}: {seen['step']}/{seen['solver']}",
        base=next((model.base for model in bundle.models), None),
        facts={"confirmed": bundle.confirmed, **score},
    )


def _texts(ask: Ask) -> list[str]:
    if ask.prompt is not None:
        return [ask.prompt]
    said = [message.content for message in ask.messages[-1:]]
    return [one if isinstance(one, str) else "".join(part.text for part in one) for one in said]


def _together(name: str, calls: Iterable[Usage]) -> Usage:
    """What all calls to models took; none is nothing, and what one does not tell is unknown."""
    every = list(calls)
    return Usage(
        name,
        input_tokens=_sum([one.input_tokens for one in every]),
        output_tokens=_sum([one.output_tokens for one in every]),
        cached_tokens=_sum([one.cached_tokens for one in every]),
        seconds=sum(one.seconds or 0.0 for one in every),
        compute_seconds=sum(one.compute_seconds or 0.0 for one in every),
    )


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
