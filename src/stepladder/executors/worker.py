"""What runs in a worker of a cluster: it opens a workshop of its own and answers batches.

A batch comes in and its replies go out as bytes. No key is in either: a provider that needs one
would look for it in the worker's own environment. Nothing here knows which cluster it runs on.
"""

from __future__ import annotations

import os
import pickle
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ..answers import Answers, CachedModel
from ..catalogue import Catalogue
from ..core import Input, Json, Model, Output, Response, Solver, Task, Usage, Workshop
from ..cost import Prices, price_all
from ..errors import ModelError, StepladderError
from ..models import ProviderSettings
from ..registry import look_up
from ..solvers import solver_from_record

__all__ = ["Answerer", "Ask", "Recall", "Reply", "Shop"]

Fetch = Callable[[Path], Path]  # the artifacts folder of the climb -> the one to use here


@dataclass(frozen=True)
class Shop:
    """What a worker answers with: the solver as its record, and what its workshop is made of.

    `fingerprints` are those of the models where the climb runs; `fetch` brings artifacts that the
    worker cannot see.
    """

    solver: Mapping[str, Json]
    task: Task
    artifacts: Path
    catalogue: Catalogue
    prices: Prices
    fetch: Fetch
    fingerprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """A batch: inputs, where they stand among all, and model calls that were answered before."""

    indices: Sequence[int]
    inputs: Sequence[Input]
    known: Mapping[str, Response] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What became of a batch: outputs by index, model calls to keep, or what ended it all."""

    outputs: Sequence[tuple[int, Output]] = ()
    calls: Mapping[str, Response] = field(default_factory=dict)
    end: StepladderError | AssertionError | None = None


class Recall:
    """Kept answers in memory, in the place of `answers.Answers`: what is known, what is new.

    With `behind`, what is found there counts as known from then on.
    """

    def __init__(
        self, known: Mapping[str, Response] | None = None, behind: Answers | None = None
    ) -> None:
        self.known = dict(known or {})
        self.new: dict[str, Response] = {}
        self.hits = self.misses = 0
        self._behind = behind

    def find(self, keys: Iterable[str]) -> dict[str, Response]:
        """Those answers that there are."""
        keys = list(keys)
        held = {key: self.known.get(key) or self.new.get(key) for key in keys}
        found = {key: answer for key, answer in held.items() if answer is not None}
        if self._behind is not None:
            behind = self._behind.find(key for key in keys if key not in found)
            self.known.update(behind)
            found.update(behind)
        return found

    def put(self, key: str, response: Response) -> None:
        """Keep a new answer."""
        self.new[key] = response


class Answerer:
    """A solver with its workshop, opened when the first batch comes."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._providers: dict[str, Any] = {}
        self._opened: tuple[Solver, Path] | None = None

    def __call__(self, ask: bytes) -> bytes:
        """The `Reply` to an `Ask`, both pickled: they are our own."""
        return pickle.dumps(self._reply(pickle.loads(ask)))

    def _reply(self, ask: Ask) -> Reply:
        recall = Recall(ask.known)
        try:
            if self._opened is None:
                artifacts = self._shop.fetch(self._shop.artifacts)
                self._opened = solver_from_record(self._shop.solver), artifacts
            outputs = list(self._answers(ask, self._workshop(recall)))
        except StepladderError as error:
            return Reply(end=_placed(error, ask.indices))
        except AssertionError as error:  # a bug: it ends the climb, as it does in one process
            error.add_note(f"in a worker, {_where(ask.indices)}")
            return Reply(end=error)
        return Reply(outputs, recall.new)

    def _answers(self, ask: Ask, workshop: Workshop) -> Iterator[tuple[int, Output]]:
        """Every input of the batch; one that breaks the solver costs no other its answer."""
        solver = self._solver
        found: dict[int, Output] = {}
        try:
            for place, output in solver.answer(ask.inputs, workshop):
                found.setdefault(place, output)
        except (StepladderError, AssertionError):
            raise
        except Exception:  # told apart below, input by input
            for place in range(len(ask.inputs)):
                if place not in found:
                    found[place] = _alone(solver, ask.inputs[place], workshop)
        for place, output in found.items():
            if 0 <= place < len(ask.indices):
                yield ask.indices[place], output

    @property
    def _solver(self) -> Solver:
        assert self._opened is not None
        return self._opened[0]

    def _workshop(self, recall: Recall) -> Workshop:
        assert self._opened is not None
        artifacts = self._opened[1]
        shop = self._shop

        def price(usage: Iterable[Usage]) -> float | None:
            return price_all(usage, shop.prices, shop.task.hardware).dollars

        def settings(kind: str) -> ProviderSettings:
            return ProviderSettings(
                kind,
                artifacts=artifacts,
                jobs=artifacts.parent / "jobs",
                options=shop.task.providers.get(kind, {}),
                catalogue=shop.catalogue,
                prices=shop.prices,
                folder=shop.task.folder,
            )

        def model(name: str) -> Model:
            kind = name.partition(":")[0]
            if kind not in self._providers:
                self._providers[kind] = look_up("provider", kind)(settings(kind))
            opened: Model = self._providers[kind].model(name)
            self._check_same(name, opened)
            return CachedModel(opened, cast(Answers, recall))

        return Workshop(model, artifacts, lambda event, told: None, price, settings)

    def _check_same(self, name: str, model: Model) -> None:
        wanted = self._shop.fingerprints.get(name)
        found = getattr(model, "fingerprint", None)
        if wanted is not None and found != wanted:
            raise ModelError(
                f"the model {name!r} on {platform.node()!r} is not the one that the climb has: its "
                f"fingerprint is {found}, not {wanted}",
                hint="install the same versions of stepladder and of the weights on all machines",
            )


def _alone(solver: Solver, input: Input, workshop: Workshop) -> Output:
    try:
        outputs = dict(solver.answer([input], workshop))
    except (StepladderError, AssertionError):
        raise
    except Exception as error:  # one bad example must not cost a night's run: it becomes a row
        return Output(None, error=repr(error))
    return outputs.get(0, Output(None, error="the solver gave no answer"))


def _placed(error: StepladderError, indices: Sequence[int]) -> StepladderError:
    """The error, which says in addition where it happened."""
    return type(error)(f"{error.message} ({_where(indices)})", hint=error.hint)


def _where(indices: Sequence[int]) -> str:
    first, last = min(indices), max(indices)
    rows = f"row {first + 1}" if first == last else f"rows {first + 1} to {last + 1}"
    return f"{rows}, worker {os.getpid()} on {platform.node()!r}"
