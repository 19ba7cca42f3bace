"""Who answers a solver's inputs: this process, or the workers of a cluster.

    here ...... this process, the default
    ray ....... the workers of a Ray cluster, through Ray Data (`ray_data.py`)

The seam is below `evaluate.py`: rows, metrics, prices, kept answers and the budget stay in the
process that climbs, whoever answers. What a model is asked at once is not decided here but in
`Model.generate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..core import Input, Output, Solver, Task, Workshop
from ..errors import StepladderError

if TYPE_CHECKING:
    from ..store import RunFolder

__all__ = ["HERE", "Executor", "Here", "open_executor"]


@runtime_checkable
class Executor(Protocol):
    """Has a solver answer, wherever that is."""

    def answer(
        self, solver: Solver, inputs: Sequence[Input], workshop: Workshop
    ) -> Iterator[tuple[int, Output]]:
        """Each answer as it is known, with the index of its input, in any order.

        The answers are those that `solver.answer` gives in this process. What a solver or its
        models raise is raised here; an input without an answer has none in what is yielded.
        """
        ...

    def close(self) -> None:
        """Free what the executor holds; it can be called more than once."""
        ...


@dataclass(frozen=True)
class Here:
    """This process."""

    def answer(
        self, solver: Solver, inputs: Sequence[Input], workshop: Workshop
    ) -> Iterator[tuple[int, Output]]:
        """What the solver answers."""
        return solver.answer(inputs, workshop)

    def close(self) -> None:
        """There is nothing to free."""


HERE = Here()


def open_executor(on: str, task: Task, run: RunFolder) -> Executor:
    """The executor called `on`: "here", "ray", "ray:auto" or "ray:HOST:PORT".

    Nothing is started before it is needed.

    Raises:
        MissingExtra: the package of a cluster is not installed.
        StepladderError: nothing is called so.
    """
    kind, _, address = on.partition(":")
    if on == "here":
        return HERE
    if kind == "ray" and not address.startswith("//"):
        from .ray_data import RayCluster

        return RayCluster(task, run.answers, address=address or None)
    raise StepladderError(
        f"nothing that answers is called {on!r}",
        hint="here, ray (workers on this machine), ray:auto (the cluster that this machine is part "
        "of) or ray:HOST:PORT; from outside a cluster, run the command on one of its machines",
    )
