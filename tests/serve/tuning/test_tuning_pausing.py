"""A job is paused within a step, lets the next one train, and goes on where it was."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from tuning_jobs import at_step, lines, now_of, openai_row, post

from stepladder.database.database import Database
from stepladder.database.records import TuningJob
from stepladder.serve.cancelling import cancelled
from stepladder.serve.tuning.pausing import paused, resumed
from stepladder.serve.tuning.run_job import Workplace
from stepladder.serve.tuning.worker import Signals, work

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

ROWS = lines([openai_row(number) for number in range(24)])


def run(database: Database, place: Workplace) -> None:
    """One job, in this process."""
    signals = Signals(threading.Event(), threading.Event())
    assert work(database, place, signals, lease_seconds=30, poll_seconds=0.01)


def steps_of(database: Database, job: TuningJob) -> list[int]:
    return [event.data["step"] for event in database.events(job.id) if "train_loss" in event.data]


def paused_at(
    database: Database, place: Workplace, base: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> TuningJob:
    job = post(database, base, ROWS)
    with monkeypatch.context() as patched:
        at_step(patched, step, lambda: paused(database, job.id))
        run(database, place)
    assert now_of(database, job).state == "paused"
    return job


def test_a_paused_job_goes_on_where_it_was(
    database: Database, place: Workplace, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = paused_at(database, place, tiny_base, monkeypatch, 4)
    assert steps_of(database, job) == [1, 2, 3]
    other = post(database, tiny_base, ROWS)
    run(database, place)
    assert now_of(database, other).state == "succeeded", "it does not wait for the paused one"
    assert database.claim_job("idle", 1.0) is None
    assert resumed(database, job.id) is not None
    run(database, place)
    done = now_of(database, job)
    assert done.state == "succeeded"
    assert done.tuned_model is not None
    said = [event.message for event in database.events(job.id)]
    assert "Training goes on from its checkpoint at step 3" in said
    assert steps_of(database, job) == [1, 2, 3, 4, 5, 6]


def test_a_job_that_is_resumed_before_it_stopped_does_not_stop(
    database: Database, place: Workplace, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = post(database, tiny_base, ROWS)

    def act() -> None:
        paused(database, job.id)
        resumed(database, job.id)

    at_step(monkeypatch, 2, act)
    run(database, place)
    assert now_of(database, job).state == "succeeded"
    assert "paused" not in str([event.data for event in database.events(job.id)])


def test_a_job_paused_while_it_is_announced_leaves_nothing_until_it_goes_on(
    database: Database, place: Workplace, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = post(database, tiny_base, ROWS)
    add = database.add_tuned

    def announce(model: Any) -> None:
        add(model)
        paused(database, job.id)

    with monkeypatch.context() as patched:
        patched.setattr(database, "add_tuned", announce)
        run(database, place)
    assert now_of(database, job).state == "paused"
    assert not database.tuned_models()
    resumed(database, job.id)
    run(database, place)
    assert now_of(database, job).state == "succeeded"
    assert len(database.tuned_models()) == len(now_of(database, job).checkpoints) == 2


def test_a_job_whose_worker_died_is_paused_by_the_next(
    database: Database, place: Workplace, tiny_base: Path
) -> None:
    job = post(database, tiny_base, ROWS)
    assert database.claim_job("dead", 0.0) is not None
    told = paused(database, job.id)
    assert told is not None
    assert told.state == "pausing"
    run(database, place)
    assert now_of(database, job).state == "paused"


def test_pauses_are_not_starts_in_vain(
    database: Database, place: Workplace, tiny_base: Path
) -> None:
    job = post(database, tiny_base, ROWS)
    for start in range(1, 6):
        database.add_event(job.id, "info", "Tuning job started", {"start": start})
        database.add_event(job.id, "info", "The job was paused", {"paused": True})
    run(database, place)
    assert now_of(database, job).state == "succeeded"


def test_what_is_paused_can_be_cancelled_and_what_is_over_not_be_paused(
    database: Database, tiny_base: Path
) -> None:
    job = post(database, tiny_base, ROWS)
    assert resumed(database, job.id) is None
    for _ in range(2):
        told = paused(database, job.id)
        assert told is not None
        assert told.state == "paused"
    ended = cancelled(database.change_job, job.id)
    assert ended is not None
    assert ended.state == "cancelled"
    assert paused(database, job.id) is None
    assert resumed(database, job.id) is None
