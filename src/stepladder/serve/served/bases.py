"""Open models in memory: one engine each, however many names, tuned models and bundles are on it.

Loading takes seconds, so whoever needs one holds it, and the last to let go frees it. Callers'
requests never come here; see `local.py` and `live_model.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import ModelError
from ...models.live import LiveEngine
from .scoring import Scores
from .text import TextTokenizer

__all__ = [
    "LOCAL", "VLLM", "Base", "Bases", "Measured", "measured_model", "on_vllm", "open_base",
]  # fmt: skip

LOCAL = "local:"
TUNED = f"{LOCAL}tuned/"
VLLM = "vllm:"


def on_vllm(name: str) -> tuple[str, str] | None:
    """Of `vllm:NAME=MODEL` the name at the vLLM server and `local:MODEL`; None for any other."""
    served, equals, model = name.removeprefix(VLLM).partition("=")
    if not (name.startswith(VLLM) and served and equals and model):
        return None
    return served, f"{LOCAL}{model}"


@dataclass(frozen=True)
class Base:
    """An open model and what runs it. `fingerprint` is that of what is said.

    `name` is `local:...`, also of one that runs on a vLLM server. `sha256()` is over the weights,
    as adapters name their base.
    """

    name: str
    engine: LiveEngine
    tokenizer: TextTokenizer
    fingerprint: str
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    scores: Scores = field(default_factory=lambda: Scores(_no_scorer), repr=False)
    sha256: Callable[[], str] = field(default=lambda: "", repr=False)


@dataclass(frozen=True)
class Measured:
    """A model as it was measured, without an engine for it."""

    fingerprint: str
    scorer: Callable[[], Any]


class Bases:
    """Bases by name, each loaded by the first who holds it. Thread-safe.

    `open_base(name, artifacts)` loads one; `artifacts` has the models that a run or bundle tuned.
    `measured(name, artifacts)` looks at one that needs no engine of its own. `elsewhere` has, by
    their names, the models that are to be opened under another: `vllm:...` for those on a server.
    """

    def __init__(
        self,
        open_base: Callable[[str, Path], Base],
        measured: Callable[[str, Path], Measured] | None = None,
        elsewhere: Mapping[str, str] | None = None,
    ) -> None:
        self.measured = measured or measured_model
        self._open_base = open_base
        self._elsewhere = dict(elsewhere or {})
        self._lock = threading.RLock()  # held while loading: two at once would take twice as long
        self._held: dict[tuple[str, Path | None], tuple[Base, int]] = {}

    @contextmanager
    def hold(self, name: str, artifacts: Path = Path()) -> Iterator[Base]:
        """The base, in memory for as long as the context is open.

        Raises ModelError when it cannot be had.
        """
        name = self._elsewhere.get(name, name)
        key = (name, artifacts.resolve() if name.startswith(TUNED) else None)
        with self._lock:
            base, holders = self._held.get(key) or (self._open_base(name, artifacts), 0)
            self._held[key] = (base, holders + 1)
        try:
            yield base
        finally:
            self._let_go(key)

    def _let_go(self, key: tuple[str, Path | None]) -> None:
        with self._lock:
            base, holders = self._held.pop(key)
            if holders > 1:
                self._held[key] = (base, holders - 1)
                return
        base.engine.close()


def open_base(name: str, artifacts: Path = Path(), *, most_running: int = 32) -> Base:
    """Load an open model by its name, `local:...`; takes seconds.

    Of `vllm:NAME=MODEL` only the tokenizer is loaded: a vLLM server has the weights.

    Raises:
        ModelError: there is none, its weights are damaged, or the vLLM server does not have it.
        MissingExtra: what runs it is not installed.
    """
    from ...models.local import LocalProvider
    from ...models.local.live_openvino import open_live
    from ...models.vllm_live import open_vllm
    from ...models.vllm_server import vllm_server
    from ...trainers import base_fingerprint

    provider = LocalProvider(artifacts)
    served = on_vllm(name)
    model = provider.model(name if served is None else served[1])
    tokenizer = model.tokenizer
    engine: LiveEngine
    if served is None:
        engine = open_live(model.folder, tokenizer, most_running=most_running)
    else:
        there = open_vllm(vllm_server(served[0]), tokenizer, most_running=most_running)
        tokenizer = replace(tokenizer, context_tokens=there.context_tokens)
        engine = there
    return Base(
        model.name,
        engine,
        tokenizer,
        model.fingerprint,
        scores=Scores(_once(lambda: provider.scorer(model))),
        sha256=_once(lambda: base_fingerprint(model.folder)),
    )


def measured_model(name: str, artifacts: Path) -> Measured:
    """A local model by its name, as it was measured.

    Raises ModelError when there is none.
    """
    from ...models.local import LocalProvider

    provider = LocalProvider(artifacts)
    model = provider.model(name)
    return Measured(model.fingerprint, _once(lambda: provider.scorer(model)))


def _once(make: Callable[[], Any]) -> Callable[[], Any]:
    """The same thing every time, made when it is first asked for, by one thread."""
    lock = threading.Lock()
    made: list[Any] = []

    def get() -> Any:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return get


def _no_scorer() -> Any:
    raise ModelError(
        "this engine does not score given answers",
        hint="use a model on which choices can be scored, or scoring = 'none'",
    )
