"""What measuring will take at most, before it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from climbing import Ask, climb_on, fake, number_split, number_task

from stepladder.climb import Climb, plan
from stepladder.core import Estimate, Example, Hardware, Skipped, Task
from stepladder.measuring import MEASURING
from stepladder.solvers.prompt import PromptSolver
from stepladder.steps.baseline import Baseline
from stepladder.steps.prompt_variants import plain_prompt
from stepladder.store import open_run

LOCAL = "local:a"


@dataclass(frozen=True)
class Says(Ask):
    """A step that says what it will have measured."""

    unknown: bool = False

    def measured(self, task: Task, train: Sequence[Example]) -> list[PromptSolver | None]:
        known = [plain_prompt(task, name) for name in self.models]
        return [*known, None] if self.unknown else [*known]


@pytest.fixture
def on(tmp_path: Path):
    hardware = Hardware(dollars_per_hour=1.0)
    task = replace(number_task(tmp_path), models=(LOCAL,), hardware=hardware)
    with open_run(tmp_path / "runs", "plan-test") as folder:
        models = {LOCAL: fake(0.9, LOCAL)}
        yield climb_on(folder, task, number_split(dev=200, test=300), models)


def measured(on: Climb, *steps: Ask) -> Estimate:
    name, estimate = plan(steps, on)[-1]
    assert name == MEASURING
    assert not isinstance(estimate, Skipped)
    return estimate


def test_each_candidate_is_asked_dev_and_one_the_test(on: Climb) -> None:
    one, two = measured(on, Says((LOCAL,))), measured(on, Says((LOCAL, LOCAL)))
    assert (one.calls, two.calls) == (200 + 300, 2 * 200 + 300)
    assert one.dollars
    assert two.dollars
    assert one.dollars < two.dollars < 2 * one.dollars  # the test is opened once


def test_what_is_unknown_stays_so_with_what_is_known_beside_it(on: Climb) -> None:
    found = measured(on, Says((LOCAL,), unknown=True))
    assert found.calls == 2 * 200 + 300
    assert found.dollars is None
    assert "of it is known" in found.note


def test_a_step_that_does_not_say_leaves_the_sum_unknown(on: Climb) -> None:
    found = measured(on, Says((LOCAL,)), Ask((LOCAL,), name="mine"))
    assert (found.seconds, found.dollars) == (None, None)
    assert "without mine" in found.note


def test_solvers_without_a_model_take_no_calls(on: Climb) -> None:
    estimate = dict(plan([Baseline()], on))[MEASURING]
    assert isinstance(estimate, Estimate)
    assert (estimate.calls, estimate.dollars) == (0, 0.0)
