"""How often a race asks: candidate by candidate, or together where each answer waits for a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from climbing import Ask, answers_right, climb_on, number_split, number_task

from stepladder.climb import climb
from stepladder.core import Request, Response
from stepladder.store import open_run
from stepladder.testing import FakeModel


@dataclass
class Jobs(FakeModel):
    """Answers each `generate` by what would be one batch job."""

    batching: bool = True
    jobs: list[int] = field(default_factory=list)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        if requests:
            self.jobs.append(len(requests))
        yield from super().generate(requests)


class Worded(Ask):
    """Two prompts on one model, which answers both alike."""

    def propose(self, task, train, base, workshop):  # type: ignore[no-untyped-def]
        (one,) = super().propose(task, train, base, workshop)
        yield one
        other = replace(one.solver, instructions="Even or odd?")  # type: ignore[type-var]
        yield replace(one, name="other", solver=other)


@pytest.mark.parametrize(
    ("batching", "jobs"),
    [(False, [32, 32, 32, 32, 64, 64, 72, 72]), (True, [256, 144])],
)
def test_candidates_are_one_job_where_a_service_answers_by_jobs(
    tmp_path: Path, batching: bool, jobs: list[int]
) -> None:
    model = Jobs(answers_right(0.5), name="a:1", batching=batching)
    step = Worded(("a:1",))
    with open_run(tmp_path / "runs", "racing") as run:
        on = climb_on(run, number_task(tmp_path, score=0.5), number_split(dev=200), {"a:1": model})
        decision = climb([step], on)
    assert [trial.evaluation.n for trial in decision.trials] == [200, 200]
    asked_on_dev = model.jobs[: len(jobs)]
    assert asked_on_dev == jobs
