"""Many sequences on one OpenVINO engine: what is admitted when, and what each step made of whom.

Runs in the engine's own process (`live_worker.py`) and knows nothing of it. Base sequences and
those of adapters have a pipeline each, stepped in turn; places are given in the order of arrival,
to the first whose lane can take it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from ...errors import ModelError
from ...messages import Json
from ..live import Made, Prompt, Ticket, Token
from .adapters import adaptable, read_adapter
from .grammars import Grammars, form_of
from .graph import stride
from .lanes import AdapterLane, Finish, Lane, Sequence, Stepped
from .live_messages import Ended, Settings
from .pipeline import cache_tokens, open_pipeline
from .prefixes import Prefixes
from .top_tokens import TopTokens
from .turns import Turns

__all__ = ["LiveLoop"]

_LOOK_AHEAD = 64  # sequences of the base or an adapter that are looked through for one to start
_TURN_SECONDS = 2.0  # of an adapter while others wait
_MOST_TOP = 20
_LONGEST_FORM = 200_000  # characters; forms are tried one after the other, and others wait
_LISTEN_SECONDS = 0.005  # between two looks at a form that is tried out, with nothing else to do

_LookUp = Iterator[tuple[Token, ...] | None]


class LiveLoop:
    """Sequences wait, run, and end; `step` moves all that run by one token.

    Every method is called from one thread, which has to be the one that made the loop.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        turn_seconds: float = _TURN_SECONDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        import openvino_genai as genai

        self._settings = settings
        self._clock = clock
        config = (settings.folder / "config.json").read_text(encoding="utf-8")
        self._config: Mapping[str, Json] = json.loads(config)
        self._tokenizer = genai.Tokenizer(str(settings.engine))
        self._base = Lane(self._open(), settings.eos_id, self._prefixes(), settings.piece_tokens)
        self._adapters: AdapterLane | None = None  # opened for the first one who asks
        self._turns = Turns(turn_seconds, clock)
        vocabulary = int(self._config["vocab_size"])
        self._grammars = Grammars(self._tokenizer, vocabulary, settings.eos_id)
        self._top = TopTokens(settings.folder, exact=settings.exact)
        self._waiting: dict[
            Hashable, dict[Ticket, Sequence]
        ] = {}  # by adapter; None is the base model
        self._forming: dict[Ticket, tuple[Sequence, str]] = {}  # whose form is tried out first
        self._running: dict[Ticket, Sequence] = {}
        self._looked_up: dict[Ticket, tuple[Sequence, Finish]] = {}  # in the order of their ends
        self._look_up: _LookUp | None = None  # of the first of them

    @property
    def running(self) -> int:
        """How many sequences run, those whose probabilities are being looked up included."""
        return len(self._running) + len(self._looked_up)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do until another sequence comes."""
        return not (self._forming or self._busy())

    @property
    def patience(self) -> float | None:
        """Seconds that another order may be waited for before the next step; None: for ever."""
        if self._busy():
            return 0
        return _LISTEN_SECONDS if self._forming else None

    def start(self, ticket: Ticket, prompt: Prompt, arrived: float) -> Ended | None:
        """Queue a sequence; its end at once if it cannot be run. `arrived` is by the clock."""
        room = min(prompt.max_output_tokens, self._settings.context_tokens - len(prompt.ids))
        sequence = Sequence(ticket, prompt, arrived, room)
        if (fault := self._fault(prompt)) is not None:
            return self._refused(sequence, fault)
        try:
            if prompt.adapter is not None:
                sequence.adapter = read_adapter(prompt.adapter, self._config)
        except ModelError as error:
            return self._end(sequence, "error", error.message)
        form = form_of(prompt)
        if form is not None and len(form) > _LONGEST_FORM:
            fault = f"the form of the answer has {len(form)} characters, more than {_LONGEST_FORM}"
            return self._refused(sequence, fault)
        if form is not None:
            self._forming[ticket] = (sequence, form)
        else:
            self._wait(sequence)
        return None

    def cancel(self, ticket: Ticket) -> Ended | None:
        """The end of a sequence that is not over; what it has cost until then is in it."""
        if ticket in self._forming:
            return self._end(self._forming.pop(ticket)[0], "cancelled")
        for group in self._waiting.values():
            if ticket in group:
                waiting = group[ticket]
                self._leave(waiting)
                return self._end(waiting, "cancelled")
        if ticket in self._looked_up:
            if next(iter(self._looked_up)) == ticket:
                self._look_up = None
            return self._end(self._looked_up.pop(ticket)[0], "cancelled")
        if (running := self._running.pop(ticket, None)) is not None:
            running.cancelled = True
            running.handle.stop()  # its place in the engine is free after the next step
            return self._end(running, "cancelled")
        return None

    def admit(self) -> tuple[list[Ticket], list[Ended]]:
        """Start as many of those who wait as there are places: the started, and the failed."""
        started: list[Ticket] = []
        failed = self._tried_out()
        firsts = [islice(group.values(), _LOOK_AHEAD) for group in self._waiting.values()]
        for sequence in sorted(chain(*firsts), key=lambda one: one.ticket):
            if self._flying() >= self._settings.most_running:
                break
            if not self._may_start(sequence):
                continue
            self._leave(sequence)
            try:
                self._start(sequence)
            except RuntimeError as error:  # what the engine thinks of its settings
                failed.append(self._refused(sequence, str(error)))
            else:
                self._running[sequence.ticket] = sequence
                started.append(sequence.ticket)
        return started, failed

    def step(self) -> list[Ended]:
        """One step of each pipeline in which something runs, and what it made of whom."""
        made: list[Ended] = []
        for lane in self._lanes():
            if lane.running:
                before = lane.running
                stepped = lane.step(self._clock)
                made.extend(told for one in stepped for told in self._told(one))
                if lane is self._adapters:
                    self._turns.ended(before - lane.running)
        made.extend(self._step_look_up())
        return made

    def _open(self, adapters: Any = None) -> Any:
        settings = self._settings
        return open_pipeline(
            settings.engine,
            exact=settings.exact,
            most_running=settings.most_running,
            tokenizer=self._tokenizer,
            adapters=adapters,
        )

    def _prefixes(self) -> Prefixes:
        return Prefixes(
            cache_tokens(self._config, exact=self._settings.exact), stride(self._config)
        )

    def _lanes(self) -> tuple[Lane, ...]:
        return (self._base,) if self._adapters is None else (self._base, self._adapters)

    def _busy(self) -> bool:
        return bool(self._waiting or self._looked_up) or self._flying() > 0

    def _flying(self) -> int:
        return sum(lane.running for lane in self._lanes())

    def _fault(self, prompt: Prompt) -> str | None:
        """Why a prompt cannot be run, whatever the model says."""
        sampling = prompt.sampling
        numbers = (
            sampling.temperature, sampling.top_p,
            sampling.presence_penalty, sampling.frequency_penalty,
        )  # fmt: skip
        if not prompt.ids:
            return "the prompt has no tokens"
        if not 0 <= min(prompt.ids) <= max(prompt.ids) < self._config["vocab_size"]:
            return "the prompt has ids that are no tokens of this model"
        if len(prompt.ids) >= self._settings.context_tokens:
            most = self._settings.context_tokens
            return f"the prompt has {len(prompt.ids)} tokens, but this model reads {most}"
        if prompt.max_output_tokens < 1:
            return "max_output_tokens must be at least 1"
        if not all(map(math.isfinite, numbers)) or not 0 <= sampling.top_p <= 1:
            return "temperature and penalties must be numbers, and top_p between 0 and 1"
        if not 0 <= (prompt.top_logprobs or 0) <= _MOST_TOP:
            return f"top_logprobs must be between 0 and {_MOST_TOP}"
        if sum((prompt.schema is not None, bool(prompt.choices), prompt.grammar is not None)) > 1:
            return "only one of schema, choices and grammar can bound an answer"
        return None

    def _tried_out(self) -> list[Ended]:
        """Let those wait whose form was found to be right; the ends of the others."""
        failed: list[Ended] = []
        for sequence, form in list(self._forming.values()):
            if (judged := self._grammars.judge(form)) is None:
                continue
            del self._forming[sequence.ticket]
            if judged.fault is None:
                self._wait(sequence)
            else:
                fault = f"no answer can be made in this form: {judged.fault}"
                failed.append(self._refused(sequence, fault))
        return failed

    def _wait(self, sequence: Sequence) -> None:
        self._waiting.setdefault(sequence.group, {})[sequence.ticket] = sequence

    def _leave(self, sequence: Sequence) -> None:
        del self._waiting[sequence.group][sequence.ticket]
        if not self._waiting[sequence.group]:
            del self._waiting[sequence.group]

    def _may_start(self, sequence: Sequence) -> bool:
        if sequence.group is None:
            return not self._base.must_wait(sequence)
        waiting = {next(iter(q)): group for group, q in self._waiting.items() if group is not None}
        adapters = [waiting[ticket] for ticket in sorted(waiting)]
        if not self._turns.may_start(sequence.group, adapters):
            return False
        return self._adapters is None or not self._adapters.must_wait(sequence)

    def _start(self, sequence: Sequence) -> None:
        now = self._clock()
        if sequence.adapter is None:
            self._base.admit(sequence, now)
            return
        if self._adapters is None:
            pipeline = self._open(adaptable(self._config))
            self._adapters = AdapterLane(
                pipeline, self._settings.eos_id, self._prefixes(), self._settings.piece_tokens
            )
        self._adapters.admit(sequence, now)
        self._turns.started(sequence.group)

    def _told(self, stepped: Stepped) -> Iterator[Ended]:
        """What a caller is told of a step, if anything."""
        sequence, finish = stepped.sequence, stepped.finish
        if finish is not None:
            del self._running[sequence.ticket]
        if finish == "error":
            yield self._end(sequence, "error", "the sequence does not fit the engine's cache")
        elif not sequence.wants_top:
            if stepped.tokens or finish is not None:
                yield sequence.ticket, self._made(sequence, stepped.tokens, finish)
        elif finish is not None:
            self._looked_up[sequence.ticket] = (sequence, finish)

    def _step_look_up(self) -> Iterator[Ended]:
        """A piece of the work on the first sequence whose probabilities were asked for."""
        if not self._looked_up:
            return
        ticket, (sequence, finish) = next(iter(self._looked_up.items()))
        before = self._clock()
        try:
            if self._look_up is None:
                chosen = [*sequence.made, *([sequence.end] if sequence.end else [])]
                self._look_up = self._top.look_up(
                    sequence.prompt.ids,
                    [token.id for token in chosen],
                    sequence.prompt.top_logprobs or 0,
                    sequence.adapter,
                )
            tokens = next(self._look_up)
        except ModelError as error:
            self._look_up = None
            del self._looked_up[ticket]
            yield self._end(sequence, "error", error.message)
            return
        sequence.share += self._clock() - before
        if tokens is not None:
            self._look_up = None
            del self._looked_up[ticket]
            if sequence.end is not None:
                tokens, sequence.end = tokens[:-1], tokens[-1]
            yield ticket, self._made(sequence, tokens, finish)

    def _end(self, sequence: Sequence, finish: Finish, error: str | None = None) -> Ended:
        return sequence.ticket, self._made(sequence, (), finish, error)

    def _refused(self, sequence: Sequence, error: str) -> Ended:
        return sequence.ticket, replace(self._end(sequence, "error", error)[1], refused=True)

    def _made(
        self,
        sequence: Sequence,
        tokens: tuple[Token, ...],
        finish: Finish | None,
        error: str | None = None,
    ) -> Made:
        now = self._clock()
        began = now if sequence.began is None else sequence.began
        return Made(
            tokens,
            finish,
            error,
            seconds=now - sequence.arrived,
            waited_seconds=began - sequence.arrived,
            compute_seconds=sequence.share,
            cached_tokens=sequence.cached,
            end_logprob=sequence.end.logprob if sequence.end and finish == "stop" else None,
        )
