"""A search tries real trainings, goes on where it was killed, and says what it found and cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from trainers.tiny import COLOURS, NAMES, make_model

from stepladder.core import DataSource, Example, MetricSpec, Target, Task, Workshop
from stepladder.errors import StepladderError
from stepladder.steps.fine_tune import FineTune
from stepladder.testing import FakeModel

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("optuna")


class Killed(BaseException):
    """What a signal would be."""


def colours(n: int) -> list[Example]:
    return [
        Example(str(i), f"{NAMES[i % 10]} {i} {COLOURS[i % 4]}", COLOURS[i % 4]) for i in range(n)
    ]


@pytest.fixture
def task(tmp_path: Path) -> Task:
    model = f"local:{make_model(tmp_path / 'tiny')}"
    target, metric = Target(0.9), MetricSpec("exact_match")
    return Task("t", "classification", "Which colour?", target, metric, DataSource(),
                labels=COLOURS, models=(model,))  # fmt: skip


def shop(folder: Path, tell: Any = lambda event, fields: None) -> Workshop:
    return Workshop(lambda name: FakeModel(name=name), folder / "artifacts", tell)


def step(**more: Any) -> FineTune:
    given: dict[str, Any] = {"method": "lora", "search": 4, "threads": 1, "device": "cpu"}
    return FineTune(**{**given, **more})


@pytest.mark.slow
def test_a_search_is_told_in_the_report_and_paid_for(task: Task, tmp_path: Path) -> None:
    events: list[Mapping[str, Any]] = []
    on = shop(tmp_path, lambda event, fields: events.append(fields))
    (found,) = step(epochs=1).propose(task, colours(40), None, on)
    assert len(found.tried) == 4
    assert sum(one.note.endswith("chosen") for one in found.tried) == 1
    assert found.tried[0].name == "learning rate 0.002, rank 16"
    assert "by search over 4 trainings" in found.changed
    assert "chosen from the data: learning rate" not in found.changed
    assert {fields["trial"] for fields in events if "trial" in fields} >= {1, 2}
    losses = {one.name: float(one.note.split()[2].rstrip(",")) for one in found.tried}
    chosen = next(one.name for one in found.tried if one.note.endswith("chosen"))
    assert losses[chosen] == min(losses.values()), "a stopped one was worse than it"
    alone = [one for one in (tmp_path / "artifacts").iterdir() if (one / "done").exists()]
    kept = sum("trained" in one.note for one in found.tried)
    assert len(alone) == kept, "nothing is left of those that were stopped"

    events.clear()
    (again,) = step(epochs=1).propose(task, colours(40), None, on)
    assert again == found
    assert not events, "a finished search is not repeated"


@pytest.mark.slow
def test_a_killed_search_goes_on_and_ends_as_if_it_had_not_been(task: Task, tmp_path: Path) -> None:
    (whole,) = step(epochs=1).propose(task, colours(40), None, shop(tmp_path / "whole"))

    def kill(event: str, fields: Mapping[str, Any]) -> None:
        if fields.get("trial") == 2 and fields.get("step", 0) >= 2:
            raise Killed

    with pytest.raises(Killed):
        step(epochs=1).propose(task, colours(40), None, shop(tmp_path / "cut", kill))
    journal = next((tmp_path / "cut" / "artifacts").glob("search-*/study.jsonl"))
    with journal.open("a") as file:
        file.write('{"op_code": 5, "wor')  # as a kill within a write leaves it
    (gone_on,) = step(epochs=1).propose(task, colours(40), None, shop(tmp_path / "cut"))
    assert len(gone_on.tried) == 4
    assert [one.name for one in gone_on.tried][:2] == [one.name for one in whole.tried][:2]


def test_what_the_user_gave_is_not_searched(task: Task, tmp_path: Path) -> None:
    given = step(search=2, rank=8, epochs=1)
    (found,) = given.propose(task, colours(24), None, shop(tmp_path))
    assert all(one.name.startswith("learning rate") and "rank" not in one.name
               for one in found.tried)  # fmt: skip
    assert "LoRA of rank 8" in found.changed


def test_time_that_is_over_ends_the_search(task: Task, tmp_path: Path) -> None:
    short = step(search=None, search_minutes=1e-6, epochs=1)
    (found,) = short.propose(task, colours(24), None, shop(tmp_path))
    assert len(found.tried) == 1, "the automatic choice is trained all the same"
    assert "the automatic choice was the best" in found.changed


def test_the_estimate_says_the_search(task: Task, tmp_path: Path) -> None:
    usual = step(search=None).estimate(task, colours(40), shop(tmp_path))
    four = step().estimate(task, colours(40), shop(tmp_path))
    timed = step(search=None, search_minutes=20).estimate(task, colours(40), shop(tmp_path))
    assert usual.seconds is not None
    assert four.seconds == pytest.approx(usual.seconds * 7)  # three more of twice the epochs
    assert timed.seconds == pytest.approx(usual.seconds + 1200)
    assert "the search takes at most 20 minutes more" in timed.note


def test_a_search_needs_a_held_out_slice() -> None:
    with pytest.raises(StepladderError, match="held_out = 0"):
        step(held_out=0.0)
