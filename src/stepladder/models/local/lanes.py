"""A pipeline and the sequences in it: one lane for the base model, one for all its adapters.

A lane admits a sequence when it is told to, steps, and says what came out. Long prompts it gives to
the engine piece by piece, so that prompts that come later are computed in between. Who is admitted
when is decided in `live_loop.py`.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..live import Prompt, Ticket, Token
from .adapters import AdapterFile
from .pipeline import constraint
from .prefixes import Prefixes

__all__ = ["AdapterLane", "Finish", "Lane", "Sequence", "Stepped"]

Finish = Literal["stop", "length", "cancelled", "error"]

_SEEDS = 1 << 32
_SMALLEST_SHARE = 1e-6  # of top_p, which must be more than nothing: the most probable token
_FULL_PERCENT = 90
_ADAPTER_BYTES = 1 << 30  # of adapters kept in memory; the one in use is always kept


@dataclass(slots=True, eq=False)
class Sequence:
    """One sequence from its arrival to its end."""

    ticket: Ticket
    prompt: Prompt
    arrived: float
    room: int  # tokens that may be made
    adapter: AdapterFile | None = None
    config: Any = None  # the engine's
    handle: Any = None
    began: float | None = None
    share: float = 0.0
    cached: int | None = None  # tokens of the prompt that were found in the cache
    known: int = -1  # tokens of a long prompt that were computed when its latest piece began
    ids: npt.NDArray[np.int64] = field(init=False)  # what the engine goes on with
    made: list[Token] = field(default_factory=list)
    end: Token | None = None  # the end-of-sequence token, which is not among those made
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.ids = np.array(self.prompt.ids, dtype=np.int64)

    @property
    def group(self) -> Hashable:
        """What it shares computed beginnings with: sequences of the same adapter, or of none."""
        return None if self.adapter is None else self.adapter.stamp

    @property
    def wants_top(self) -> bool:
        """Whether the most probable other tokens are asked for."""
        return bool(self.prompt.top_logprobs)


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step made of one sequence; `finish` None: it goes on."""

    sequence: Sequence
    tokens: tuple[Token, ...]
    finish: Finish | None


class Lane:
    """The base model's pipeline.

    Of a prompt of which more than `piece_tokens` are to be computed, the engine is first asked for
    one token after each piece. What it has computed for that is in its cache when the next piece
    comes, and behind each piece are those who came in the meantime. One prompt is computed in
    pieces at a time: nobody waits for several.
    """

    def __init__(self, pipeline: Any, eos_id: int, prefixes: Prefixes, piece_tokens: int) -> None:
        import openvino_genai as genai

        self._genai = genai
        self._pipeline = pipeline
        self._eos_id = eos_id
        self._prefixes = prefixes
        self._piece_tokens = piece_tokens
        self._flying: dict[Ticket, Sequence] = {}
        self._in_pieces: Sequence | None = None
        self._next_id = 0

    @property
    def running(self) -> int:
        """How many sequences are in it, those that were cancelled since the last step included."""
        return len(self._flying)

    def must_wait(self, sequence: Sequence) -> bool:
        """Whether its prompt is too long to start now, or begins as one that is being computed."""
        if self._in_pieces is not None and self._end_of_piece(sequence) < len(sequence.ids):
            return True
        return self._prefixes.must_wait(sequence.ids, sequence.group)

    def admit(self, sequence: Sequence, now: float) -> None:
        """Start a sequence. Raises RuntimeError when the engine does not take its settings."""
        sequence.config = _config(self._genai, sequence, self._eos_id)
        sequence.config.validate()
        sequence.cached = self._add(sequence)
        sequence.began = now
        self._flying[sequence.ticket] = sequence

    def step(self, clock: Callable[[], float]) -> list[Stepped]:
        """Move every sequence on by one token, or by a piece of its prompt."""
        before = clock()
        self._pipeline.step()
        share = (clock() - before) / len(self._flying)
        if self._pipeline.get_metrics().cache_usage > _FULL_PERCENT:
            self._prefixes.forget()
        stepped = []
        for sequence in list(self._flying.values()):
            sequence.share += share
            if sequence is self._in_pieces and self._goes_on(sequence):
                continue
            tokens = self._read(sequence)
            finish = self._finish(sequence, tokens)
            if tokens:
                self._prefixes.computed(sequence.ticket)
            if tokens and tokens[-1].id == self._eos_id:
                tokens, sequence.end = tokens[:-1], tokens[-1]
            sequence.made.extend(tokens)
            if sequence.cancelled or finish is not None:
                self._leave(sequence)
            if not sequence.cancelled:
                stepped.append(Stepped(sequence, tokens, finish))
        return stepped

    def _add(self, sequence: Sequence) -> int:
        """Give the engine a prompt or its next piece; how many of its tokens it has computed."""
        import openvino

        end = self._end_of_piece(sequence)
        is_piece = end < len(sequence.ids)
        config = _bare_config(self._genai, 1, self._eos_id) if is_piece else sequence.config
        ids, cached = self._prefixes.admit(sequence.ticket, sequence.ids[:end], sequence.group)
        self._next_id += 1
        try:
            sequence.handle = self._pipeline.add_request(
                self._next_id, openvino.Tensor(ids[None].copy()), config
            )
        except RuntimeError:
            self._prefixes.gone(sequence.ticket)
            raise
        if is_piece:
            self._in_pieces, sequence.known = sequence, cached
        return cached

    def _end_of_piece(self, sequence: Sequence) -> int:
        """Up to where a prompt is computed next: its end, if that is near."""
        size = len(sequence.ids)
        alone = not self._flying.keys() - {sequence.ticket}
        piece = self._piece_tokens * (2 if alone else 1)  # all that a step of the engine takes
        if size <= piece:
            return size
        cached = self._prefixes.cached_tokens(sequence.ids, sequence.group)
        # where its last piece has been dropped from the cache already, pieces would never end
        return size if size - cached <= piece or cached <= sequence.known else cached + piece

    def _goes_on(self, sequence: Sequence) -> bool:
        """Whether a sequence is still being computed in pieces; its next one is begun."""
        status = self._genai.GenerationStatus
        state = sequence.handle.get_status()
        if state == status.RUNNING and not sequence.cancelled:
            return True
        self._in_pieces = None
        if state == status.IGNORED or sequence.cancelled:
            return False
        self._prefixes.computed(sequence.ticket)
        self._prefixes.gone(sequence.ticket)
        self._add(sequence)
        return True

    def _leave(self, sequence: Sequence) -> None:
        del self._flying[sequence.ticket]
        self._prefixes.gone(sequence.ticket, [token.id for token in sequence.made])

    def _read(self, sequence: Sequence) -> tuple[Token, ...]:
        if not sequence.handle.can_read():
            return ()
        with_logprob = sequence.prompt.top_logprobs is not None
        tokens = []
        for output in sequence.handle.read().values():
            pairs = zip(output.generated_ids, output.generated_log_probs, strict=True)
            tokens += [Token(id, logprob if with_logprob else None) for id, logprob in pairs]
        return tuple(tokens)

    def _finish(self, sequence: Sequence, tokens: tuple[Token, ...]) -> Finish | None:
        status = self._genai.GenerationStatus
        state = sequence.handle.get_status()
        if state == status.RUNNING:
            return None
        if state == status.IGNORED:
            return "error"
        return "stop" if tokens and tokens[-1].id == self._eos_id else "length"


class AdapterLane(Lane):
    """A pipeline that computes with one adapter at a time; to its cache each is a group."""

    def __init__(self, pipeline: Any, eos_id: int, prefixes: Prefixes, piece_tokens: int) -> None:
        super().__init__(pipeline, eos_id, prefixes, piece_tokens)
        self._loaded: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._in_use: Any = None

    def admit(self, sequence: Sequence, now: float) -> None:
        """Start a sequence; when its adapter is not the one in use, no other may be running."""
        assert sequence.adapter is not None
        if sequence.adapter.stamp != self._in_use:
            self._use(sequence.adapter)
        super().admit(sequence, now)

    def _use(self, adapter: AdapterFile) -> None:
        """Put an adapter's matrices into the pipeline.

        Only `generate` does that, so it is asked for one token. It wants the pipeline empty.
        """
        import openvino

        while self._pipeline.has_non_finished_requests():  # what was cancelled in the meantime
            self._pipeline.step()
        config = _bare_config(self._genai, 1, self._eos_id)
        config.adapters = self._genai.AdapterConfig(self._load(adapter), adapter.scale)
        self._in_use = None  # until it is known to have worked
        ids = np.array([[self._eos_id]], dtype=np.int64)
        self._pipeline.generate([openvino.Tensor(ids)], [config])
        self._in_use = adapter.stamp

    def _load(self, adapter: AdapterFile) -> Any:
        """The engine's object of an adapter; the latest are kept in memory.

        Read into memory, not mapped: a file that is overwritten would change under the engine.
        """
        import openvino

        if adapter.stamp not in self._loaded:
            raw = np.fromfile(adapter.path, dtype=np.uint8)
            self._loaded[adapter.stamp] = (self._genai.Adapter(openvino.Tensor(raw)), raw.nbytes)
        self._loaded.move_to_end(adapter.stamp)
        while len(self._loaded) > 1 and sum(n for _, n in self._loaded.values()) > _ADAPTER_BYTES:
            self._loaded.popitem(last=False)
        return self._loaded[adapter.stamp][0]


def _config(genai: Any, sequence: Sequence, eos_id: int) -> Any:
    prompt, sampling = sequence.prompt, sequence.prompt.sampling
    config = _bare_config(genai, sequence.room, eos_id)
    config.logprobs = int(prompt.top_logprobs is not None)
    config.presence_penalty = sampling.presence_penalty
    config.frequency_penalty = sampling.frequency_penalty
    config.do_sample = sampling.temperature > 0
    if config.do_sample:
        seed = random.getrandbits(32) if sampling.seed is None else sampling.seed
        config.rng_seed = seed % _SEEDS
        config.temperature = sampling.temperature
        config.top_p = max(sampling.top_p, _SMALLEST_SHARE)
        if sampling.top_k is not None:
            config.top_k = sampling.top_k
    config.structured_output_config = constraint(prompt.schema, prompt.choices, prompt.grammar)
    return config


def _bare_config(genai: Any, tokens: int, eos_id: int) -> Any:
    config = genai.GenerationConfig()
    config.max_new_tokens = tokens
    config.set_eos_token_id(eos_id)
    config.apply_chat_template = False
    return config
