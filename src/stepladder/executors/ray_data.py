"""A solver on a Ray cluster: batches of inputs go through Ray Data, the solver is its actor.

    kept answers ..... model calls that were answered before are found in this process
    batches .......... into the object store, to whichever worker is free
    replies .......... back as each batch is done, with the index of each input

A worker that dies is started anew and its batch is answered again. A batch that kills that one too
is answered in parts, and those input by input (`salvage.py`), so that the one which does it costs
no other its answer; that one becomes a failed row. Solvers that ask hosted models or call functions
answer in this process: limits, budgets and keys belong to it, and no machine more makes a service
faster.
"""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ..answers import Answers, CachedModel
from ..core import Input, Model, Output, Request, Response, Solver, Task, Usage, Workshop
from ..errors import StepladderError
from ..models import ProviderSettings
from ..registry import need
from ..solvers import artifacts_of, models_of, solver_record
from .ray_start import connect, disconnect, machines, quiet_ray, sees_everywhere
from .salvage import TRIES, in_tasks
from .shipping import Shipment, pack
from .worker import Answerer, Ask, Recall, Reply, Shop

__all__ = ["RayCluster"]

TUNED = "local:tuned/"
WITHOUT_MODEL = 1024  # inputs of a batch, a multiple of what solvers compute at once
ASKING = 16  # the same where a model is asked: a row is to be on disk soon
LEAST = {WITHOUT_MODEL: 2 * WITHOUT_MODEL, ASKING: 4 * ASKING}  # fewer are answered here
AGAIN = 1  # times a batch is answered again after its worker died
PARTS = 32  # of a batch whose worker died each time
STALLED_SECONDS = 900  # without any progress: what is left is answered without Ray Data


@dataclass
class RayCluster:
    """The workers at `address` ("auto", "HOST:PORT"), or on this machine where that is None.

    There are `workers`, each with `cores`. Left out, a solver that asks no model has one worker
    for each core, and a local model, which uses all cores of its machine, one for each machine.
    """

    task: Task
    answers: Answers
    address: str | None = None
    workers: int | None = None
    cores: float | None = None
    ship: bool | None = None  # artifacts through the object store; None: where some do not see them
    _mine: bool = field(default=False, init=False)
    _shared: bool | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        need("ray", extra="ray", what="a cluster")
        if self.address is not None:
            os.environ["RAY_ADDRESS"] = self.address  # training on Ray finds the same cluster

    def answer(
        self, solver: Solver, inputs: Sequence[Input], workshop: Workshop
    ) -> Iterator[tuple[int, Output]]:
        """Each answer as its batch is done. Small sets, and what cannot travel, are answered here.

        Raises:
            StepladderError: the cluster cannot be had or used, or what the solver raised in a
                worker, with the rows that it was at.
        """
        size = ASKING if models_of(solver) else WITHOUT_MODEL
        if len(inputs) < LEAST[size] or not _travels(solver):
            yield from solver.answer(inputs, workshop)
            return
        asks = _Asks(inputs, size)
        if models_of(solver):
            for batch in asks.places:
                known = _recall(solver, [inputs[at] for at in batch], workshop, self.answers)
                if isinstance(known, Recall):
                    asks.known[batch.start] = known.known
                else:
                    asks.answered.add(batch.start)
                    yield from ((batch[at], output) for at, output in known)
        if asks.left:
            yield from self._on_cluster(solver, asks, workshop)

    def close(self) -> None:
        """Leave the cluster, and end it where it was started here."""
        if self._mine:
            self._mine = False
            disconnect()

    def _on_cluster(
        self, solver: Solver, asks: _Asks, workshop: Workshop
    ) -> Iterator[tuple[int, Output]]:
        self._connect(workshop)
        shop, asking = self._shop(solver, workshop), bool(models_of(solver))
        left = set(asks.left_places())
        yield from self._first(shop, asks, asking, left)
        size = asks.size
        while left and size > 1:
            size = max(1, size // PARTS)
            how = f"{size} at a time" if size > 1 else "one by one"
            why = "a worker died or the run stood still"
            told = f"{len(left)} inputs without an answer ({why}) are answered {how} now"
            workshop.tell("note", {"text": told})
            workers, cores = self._places(asking)
            replies = in_tasks(
                shop,
                asks.inputs,
                sorted(left),
                size,
                workers=workers,
                cores=cores,
            )
            with closing(replies):
                yield from self._new(replies, left)
        for index in sorted(left):
            died = f"the worker that answered this alone died {TRIES + 1} times: out of memory?"
            yield index, Output(None, error=died)

    def _first(
        self, shop: Shop, asks: _Asks, asking: bool, left: set[int]
    ) -> Iterator[tuple[int, Output]]:
        """What the run of Ray Data answers of all that is `left`; its workers are gone after it."""
        try:
            with closing(self._replies(shop, asks, asking)) as replies:
                yield from self._new(replies, left)
        finally:
            # a worker ends with its last handle, and Ray Data leaves handles in reference cycles:
            # until these are collected it would keep its core from all that comes next
            gc.collect()

    def _new(self, replies: Iterator[Reply], left: set[int]) -> Iterator[tuple[int, Output]]:
        """Outputs of what is `left`, each once; model calls are kept as they come.

        Raises:
            StepladderError: a reply that ends it all, or the cluster broke off.
        """
        import ray

        try:
            for reply in replies:
                if reply.end is not None:
                    raise reply.end
                for key, response in reply.calls.items():
                    self.answers.put(key, response)
                for index, output in reply.outputs:
                    if index in left:
                        left.discard(index)
                        yield index, output
        except ray.exceptions.RayError as error:
            raise StepladderError(
                f"the Ray cluster broke off: {str(error).splitlines()[0]}",
                hint="mend what the message names and run the same command again; finished rows "
                "of models are kept",
            ) from error

    def _connect(self, workshop: Workshop) -> None:
        if self._shared is not None:
            return
        self._mine = connect(self.address)
        alone = self.address is None and len(machines()) == 1
        self._shared = alone or sees_everywhere(workshop.artifacts)
        cores = sum(node["Resources"].get("CPU", 0.0) for node in machines())
        where = f"{len(machines())} machine{'s' if len(machines()) > 1 else ''}"
        workshop.tell("note", {"text": f"answering on a Ray cluster: {where}, {cores:g} cores"})

    def _shop(self, solver: Solver, workshop: Workshop) -> Shop:
        settings = workshop.settings("local") or ProviderSettings("local")
        models = [workshop.model(name) for name in models_of(solver)]
        artifacts = workshop.artifacts.resolve()
        ship = not self._shared if self.ship is None else self.ship
        return Shop(
            solver_record(solver),
            replace(self.task, steps={}),
            artifacts,
            settings.catalogue,
            settings.prices,
            pack(artifacts, _needed(solver)) if ship else Shipment(),
            {model.name: model.fingerprint for model in models if hasattr(model, "fingerprint")},
        )

    def _replies(self, shop: Shop, asks: _Asks, asking: bool) -> Generator[Reply]:
        """The replies of one run of Ray Data, which is stopped when nobody wants more of them."""
        import ray

        workers, cores = self._places(asking)
        with quiet_ray():
            import pyarrow
            import ray.data

            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            context.print_on_execution_start = False
            context.max_errored_blocks = -1  # what is missing is answered in parts
            context.execution_no_progress_timeout_s = STALLED_SECONDS
            blocks = cast(list[Any], asks)  # iterated, so that one block at a time is made
            rows = ray.data.from_blocks(blocks).map_batches(
                _Actor,
                fn_constructor_args=(shop,),
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=min(workers, asks.left)),
                num_cpus=cores,
                max_restarts=-1,
                max_task_retries=AGAIN,
            )
            found = iter(rows.iter_batches(batch_size=None, batch_format="pyarrow"))
        try:
            while True:
                with quiet_ray():
                    batch: pyarrow.Table | None = next(found, None)
                if batch is None:
                    return
                for told in batch["reply"].to_pylist():
                    yield pickle.loads(told)  # made by our own worker
        except ray.data.exceptions.ExecutionTimeoutError:
            return  # what is left is answered in parts
        finally:
            stop = getattr(found, "close", None)
            if stop is not None:
                stop()

    def _places(self, asking: bool) -> tuple[int, float]:
        """How many workers, and the cores of each."""
        each = [node["Resources"].get("CPU", 0.0) for node in machines()]
        each = [cores for cores in each if cores > 0]
        if not each:
            raise StepladderError(
                "no machine of the Ray cluster has a core to work on",
                hint="start one with `ray start`, with --num-cpus above zero",
            )
        cores = self.cores or (min(each) if asking else 1.0)
        return self.workers or max(1, int(sum(one // cores for one in each))), cores


class _Asks:
    """Inputs in batches, made into blocks of a data set only as they are iterated.

    `known` has the kept model calls of a batch by its start, `answered` those that are done.
    """

    def __init__(self, inputs: Sequence[Input], size: int) -> None:
        self.inputs = inputs
        self.size = size
        self.known: dict[int, dict[str, Response]] = {}
        self.answered: set[int] = set()
        self.places = [range(at, min(at + size, len(inputs))) for at in range(0, len(inputs), size)]

    @property
    def left(self) -> int:
        """Batches that are not answered."""
        return len(self.places) - len(self.answered)

    def left_places(self) -> Iterator[int]:
        """Inputs that are not answered."""
        for batch in self.places:
            if batch.start not in self.answered:
                yield from batch

    def __iter__(self) -> Iterator[Any]:
        import pyarrow

        for batch in self.places:
            if batch.start in self.answered:
                continue
            ask = Ask(
                batch,
                [self.inputs[at] for at in batch],
                self.known.get(batch.start, {}),
            )
            yield pyarrow.table({"ask": pyarrow.array([pickle.dumps(ask)], pyarrow.large_binary())})


class _Actor:
    """What Ray Data runs in a worker."""

    def __init__(self, shop: Shop) -> None:
        self._answerer = Answerer(shop)

    def __call__(self, batch: Any) -> Any:
        import pyarrow

        told = [self._answerer(ask) for ask in batch["ask"].to_pylist()]
        return pyarrow.table({"reply": pyarrow.array(told, pyarrow.large_binary())})


class _Nobody:
    """A model in whose place nobody answers: what is not kept is missed."""

    def __init__(self, model: Model) -> None:
        self.name = model.name
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        for place in range(len(requests)):
            yield place, Response("", Usage(self.name), finish="error", error="not kept")


def _recall(
    solver: Solver, inputs: Sequence[Input], workshop: Workshop, answers: Answers
) -> Recall | list[tuple[int, Output]]:
    """The outputs where every model call was answered before; else those calls that were."""
    recall = Recall(behind=answers)

    def model(name: str) -> Model:
        nobody = cast(Model, _Nobody(workshop.model(name)))
        return CachedModel(nobody, cast(Answers, recall))

    try:
        outputs = list(solver.answer(inputs, replace(workshop, model=model)))
    except StepladderError:
        raise
    except Exception:  # whatever it is, the worker meets it again and tells whose it is
        return recall
    return recall if recall.misses else outputs


def _travels(solver: Solver) -> bool:
    """Whether workers may answer: no hosted model is asked, and nothing is called."""
    from ..solvers.calling import CallingSolver

    local = all(name.startswith("local:") for name in models_of(solver))
    return local and not isinstance(solver, CallingSolver)


def _needed(solver: Solver) -> list[str]:
    """The artifacts that the solver answers with, tuned models among them."""
    tuned = [
        f"{name.removeprefix(TUNED)}/model" for name in models_of(solver) if name.startswith(TUNED)
    ]
    return [*artifacts_of(solver), *tuned]
