"""The worker over a tiny model: jobs that succeed, fail, are cancelled, killed or shared."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuning_jobs import (
    at_step,
    gemini_pair_row,
    gemini_row,
    lines,
    now_of,
    openai_pair_row,
    openai_row,
    post,
    upload,
)  # fmt: skip

from stepladder.core import Json
from stepladder.database import open_database
from stepladder.database.database import Database
from stepladder.database.records import TuningJob
from stepladder.errors import ModelError
from stepladder.serve.tuning import telling
from stepladder.serve.tuning.holding import Hold, Lost
from stepladder.serve.tuning.run_job import Workplace
from stepladder.serve.tuning.worker import Signals, sweep, work
from stepladder.trainers import TrainingJob
from stepladder.trainers.local import LocalTrainer

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

ROWS = lines([openai_row(number) for number in range(24)])


def run(database: Database, place: Workplace, signals: Signals) -> None:
    """One job, in this process."""
    assert work(database, place, signals, lease_seconds=30, poll_seconds=0.01)


def said(database: Database, job: TuningJob) -> list[str]:
    return [event.message for event in database.events(job.id, limit=1000)]


def adapter_of(database: Database, id: str) -> dict[str, bytes]:
    tuned = database.tuned(id)
    assert tuned is not None
    return {name: b"".join(database.read_file(file)) for name, file in tuned.files.items()}


def error_of(database: Database, job: TuningJob) -> dict[str, Json]:
    found = now_of(database, job)
    assert found.state == "failed"
    assert found.error is not None
    assert found.finished_at is not None
    assert not database.tuned_models()
    return dict(found.error)


def test_a_job_ends_in_models_that_load(
    database: Database, place: Workplace, signals: Signals, tiny_base: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    validation = upload(database, lines([openai_row(number) for number in range(90, 94)]))
    options = {"epochs": 3, "adapter_rank": 4, "batch_size": 6, "learning_rate_multiplier": 5.0}
    job = post(database, tiny_base, ROWS, validation_file=validation, options=options)
    run(database, place, signals)
    done = now_of(database, job)
    assert done.state == "succeeded"
    assert done.statistics is not None
    assert (done.statistics["examples"], done.statistics["steps"]) == (24, 12)
    assert done.trained_tokens == 3 * done.statistics["billable_tokens"]
    assert done.options == {**options, "seed": 0}
    assert [(one.id, one.step, one.epoch) for one in done.checkpoints] == [
        ("1", 4, 1.0), ("2", 8, 2.0), ("3", 12, 3.0),
    ]  # fmt: skip
    assert done.tuned_model == done.checkpoints[-1].tuned_model
    losses = [one.metrics["full_valid_loss"] for one in done.checkpoints]
    assert losses == sorted(losses, reverse=True)
    assert {tuned.id for tuned in database.tuned_models(owner="me")} == {
        one.tuned_model for one in done.checkpoints
    }
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name, content in adapter_of(database, done.tuned_model).items():
        (folder / name).write_bytes(content)
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 8)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        plain = base(ids).logits
        tuned = PeftModel.from_pretrained(base, folder)(ids).logits
    assert not torch.allclose(plain, tuned, atol=1e-3)
    assert not place.of(job).exists()  # everything is in the database now


@pytest.mark.parametrize(
    ("protocol", "row"), [("openai", openai_pair_row), ("vertex", gemini_pair_row)]
)
def test_a_job_over_preferences_learns_which_answer_is_better(
    protocol: str,
    row: Any,
    database: Database,
    place: Workplace,
    signals: Signals,
    tiny_base: Path,
) -> None:
    more: dict[str, Any] = {
        "protocol": protocol,
        "method": "preference",
        "validation_file": upload(database, lines([row(number) for number in range(90, 98)])),
        "options": {"epochs": 3, "adapter_rank": 4, "learning_rate_multiplier": 50.0},
    }
    job = post(database, tiny_base, lines([row(number) for number in range(24)]), **more)
    run(database, place, signals)
    done = now_of(database, job)
    assert done.state == "succeeded", done.error
    assert done.options["beta"] == 0.1
    assert [one.metrics["full_valid_mean_token_accuracy"] for one in done.checkpoints][-1] == 1.0
    losses = [one.metrics["full_valid_loss"] for one in done.checkpoints]
    assert losses[-1] < losses[0] < math.log(2)  # where neither answer is preferred
    assert set(adapter_of(database, done.tuned_model or "")) == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip


def test_results_and_events_tell_the_same_losses(
    database: Database, place: Workplace, signals: Signals, tiny_base: Path
) -> None:
    job = post(database, tiny_base, ROWS)
    run(database, place, signals)
    (results,) = now_of(database, job).result_files
    table = list(csv.reader(io.StringIO(b"".join(database.read_file(results)).decode())))
    assert tuple(table[0]) == telling.COLUMNS
    metrics = [event for event in database.events(job.id) if "train_loss" in event.data]
    assert [int(line[0]) for line in table[1:]] == [event.data["step"] for event in metrics]
    assert [float(line[1]) for line in table[1:]] == [event.data["train_loss"] for event in metrics]
    assert metrics[0].message.startswith("Step 1/6: training loss=")
    assert said(database, job)[-1] == "The job has successfully completed"


def test_a_job_of_vertex_reads_from_the_folder_that_stands_for_cloud_storage(
    database: Database, place: Workplace, signals: Signals, tiny_base: Path
) -> None:
    assert place.gs_folder is not None
    (place.gs_folder / "b").mkdir(parents=True)
    rows = [gemini_row(number) for number in range(5)]
    long = {
        "contents": [*rows[0]["contents"][:1], {"role": "model", "parts": [{"text": "x" * 300}]}]
    }
    (place.gs_folder / "b" / "train.jsonl").write_bytes(lines([*rows, long]))
    vertex: dict[str, Any] = {
        "protocol": "vertex",
        "training_file": "gs://b/train.jsonl",
        "options": {"epochs": 12, "last_checkpoint_only": False},
        "request": {"labels": {"k": "v"}, "description": "d"},
        "name": "mine",
    }
    job = post(database, tiny_base, b"", **vertex)
    run(database, place, signals)
    done = now_of(database, job)
    assert done.state == "succeeded"
    assert done.statistics is not None
    assert (done.statistics["dropped"], done.statistics["dropped_rows"]) == (1, [6])
    assert len(done.checkpoints) == 10  # of 12 epochs
    assert done.checkpoints[-1].epoch == 12
    tuned = database.tuned(done.tuned_model or "")
    assert tuned is not None
    assert (tuned.name, tuned.description, dict(tuned.labels)) == ("mine", "d", {"k": "v"})


def test_only_the_last_checkpoint_where_that_is_asked_for(
    database: Database, place: Workplace, signals: Signals, tiny_base: Path
) -> None:
    job = post(database, tiny_base, ROWS, options={"epochs": 3, "last_checkpoint_only": True})
    run(database, place, signals)
    done = now_of(database, job)
    assert done.checkpoints == ()
    assert [tuned.id for tuned in database.tuned_models()] == [done.tuned_model]


def test_a_tuned_model_is_gone_on_from(
    database: Database, place: Workplace, signals: Signals, tiny_base: Path
) -> None:
    first = post(database, tiny_base, ROWS, options={"epochs": 4, "learning_rate_multiplier": 5.0})
    run(database, place, signals)
    before = now_of(database, first)
    second = post(database, tiny_base, ROWS, pre_tuned=before.tuned_model, options={"epochs": 1})
    run(database, place, signals)
    after = now_of(database, second)
    assert after.state == "succeeded"
    assert after.options["adapter_rank"] == before.options["adapter_rank"]

    def first_loss(job: TuningJob) -> float:
        return float(telling.metrics_table(database, job.id)[1]["train_loss"])

    assert first_loss(second) < first_loss(first)


def test_bad_rows_fail_the_job_by_line(
    database: Database, place: Workplace, signals: Signals, tiny_base: Path
) -> None:
    job = post(database, tiny_base, ROWS + b"{}\n" + b"no json\n")
    run(database, place, signals)
    error = error_of(database, job)
    assert (error["reason"], error["code"]) == ("invalid", "invalid_training_file")
    assert error["param"] == "training_file"
    assert error["message"] == (
        "2 lines cannot be used, the first of them line 25: the field 'messages' is missing"
    )
    assert [row["line"] for row in error["rows"]] == [25, 26]
    assert database.events(job.id)[-1].level == "error"


def test_too_few_rows_fail_the_job_of_openai(
    database: Database, place: Workplace, signals: Signals, tiny_base: Path
) -> None:
    job = post(database, tiny_base, lines([openai_row(number) for number in range(9)]))
    run(database, place, signals)
    error = error_of(database, job)
    assert (error["code"], error["param"]) == ("invalid_training_file", "training_file")
    assert "has 9 examples; at least 10" in error["message"]


FAILING: list[tuple[dict[str, Any], str, str]] = [
    ({"method": "preference"}, "invalid", "preferences"),
    ({"training_file": "123"}, "invalid", "not there any more"),
    ({"training_file": "gs://b/none.jsonl"}, "invalid", "there is no object"),
    ({"training_file": "gs://../../kept.sqlite"}, "invalid", "there is no object"),
    ({"model": "local:/nowhere"}, "unavailable", "no local model"),
    ({"pre_tuned": "123"}, "invalid", "go on from is not there"),
    ({"options": {"adapter_rank": 3}}, "invalid", "adapter_rank"),
]


@pytest.mark.parametrize(
    ("change", "reason", "words"), FAILING, ids=[words for _, _, words in FAILING]
)
def test_why_a_job_fails_is_told(
    change: dict[str, Any],
    reason: str,
    words: str,
    database: Database,
    place: Workplace,
    signals: Signals,
    tiny_base: Path,
) -> None:
    job = post(database, tiny_base, ROWS, **change)
    run(database, place, signals)
    error = error_of(database, job)
    assert error["reason"] == reason
    assert words in error["message"]


@pytest.mark.parametrize("given", [True, False])
def test_a_rate_that_was_ours_to_choose_is_cut_once(
    given: bool,
    database: Database,
    place: Workplace,
    signals: Signals,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ordinary = LocalTrainer.train
    rates: list[float] = []

    def train(self: LocalTrainer, job: TrainingJob, artifacts: Path, tell: Any) -> Any:
        rates.append(job.options.learning_rate)
        if len(rates) == 1:
            raise ModelError("training diverged: loss rose", hint="lower learning_rate")
        return ordinary(self, job, artifacts, tell)

    monkeypatch.setattr(LocalTrainer, "train", train)
    options = {"epochs": 1, **({"learning_rate_multiplier": 1.0} if given else {})}
    job = post(database, tiny_base, ROWS, options=options)
    run(database, place, signals)
    if given:
        assert error_of(database, job)["code"] == "training_failed"
        return
    done = now_of(database, job)
    assert done.state == "succeeded"
    assert rates[1] == pytest.approx(rates[0] / 5)
    assert done.options["learning_rate_multiplier"] == pytest.approx(0.2)
    assert [event.level for event in database.events(job.id)].count("warn") == 1


def test_a_validation_file_is_named_where_it_is_at_fault(
    database: Database, place: Workplace, signals: Signals, tiny_base: Path
) -> None:
    job = post(database, tiny_base, ROWS, validation_file=upload(database, b"[]\n"))
    run(database, place, signals)
    error = error_of(database, job)
    assert (error["code"], error["param"]) == ("invalid_validation_file", "validation_file")


def worker_name() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


def test_a_job_is_cancelled_within_a_step(
    database: Database,
    place: Workplace,
    signals: Signals,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = post(database, tiny_base, ROWS)
    at_step(monkeypatch, 2, lambda: database.change_job(job.id, state="cancelling"))
    run(database, place, signals)
    done = now_of(database, job)
    assert done.state == "cancelled"
    assert max(telling.metrics_table(database, job.id)) == 1
    assert said(database, job)[-1] == "The job was cancelled"
    assert not place.of(job).exists()


def test_a_job_cancelled_while_it_is_announced_leaves_nothing(
    database: Database,
    place: Workplace,
    signals: Signals,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = post(database, tiny_base, ROWS)
    add = database.add_tuned

    def announce(model: Any) -> None:
        add(model)
        database.change_job(job.id, only_in=("running",), state="cancelling")

    monkeypatch.setattr(database, "add_tuned", announce)
    run(database, place, signals)
    assert now_of(database, job).state == "cancelled"
    assert not database.tuned_models()
    assert not database.files(purpose="adapter")


def test_a_job_that_was_to_be_cancelled_when_its_worker_died_is_cancelled(
    database: Database, place: Workplace, signals: Signals, tiny_base: Path
) -> None:
    job = post(database, tiny_base, ROWS)
    assert database.claim_job("dead", 0.0) is not None
    database.change_job(job.id, state="cancelling")
    run(database, place, signals)
    assert now_of(database, job).state == "cancelled"


@pytest.mark.parametrize("point", ["add_file", "add_tuned", "change_job"])
def test_a_crash_while_finishing_ends_in_the_same_models(
    point: str,
    database: Database,
    place: Workplace,
    signals: Signals,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever was written before the crash is used or replaced, not left beside."""

    class Crash(BaseException):
        pass

    job = post(database, tiny_base, ROWS)
    ordinary = getattr(database, point)

    def crash(*arguments: Any, **named: Any) -> Any:
        if point != "change_job" or named.get("state") == "succeeded":
            ordinary_calls.append(1)
            if len(ordinary_calls) == 2 or point == "change_job":
                raise Crash
        return ordinary(*arguments, **named)

    ordinary_calls: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(database, point, crash)
        with pytest.raises(Crash):
            work(database, place, signals, lease_seconds=30, poll_seconds=0.01)
    assert now_of(database, job).state == "running"
    assert database.keep_claim(job.id, worker_name(), 0.0)  # the time that its lease takes goes by
    work(database, place, signals, lease_seconds=30, poll_seconds=0.01)
    done = now_of(database, job)
    assert done.state == "succeeded"
    models = {one.tuned_model for one in done.checkpoints}
    assert {tuned.id for tuned in database.tuned_models()} == models
    assert len(models) == 2
    assert len(database.files(purpose="adapter")) == 4
    assert len(database.files(purpose="fine-tune-results")) == 1
    for id in models:
        assert adapter_of(database, id).keys() == {
            "adapter_config.json", "adapter_model.safetensors",
        }  # fmt: skip


def test_a_worker_that_lost_its_job_writes_nothing_more(
    database: Database,
    place: Workplace,
    signals: Signals,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = post(database, tiny_base, ROWS)
    holds: list[Hold] = []
    ordinary = Hold.__enter__
    monkeypatch.setattr(Hold, "__enter__", lambda self: holds.append(self) or ordinary(self))
    events: list[int] = []

    def lose() -> None:
        assert database.keep_claim(job.id, worker_name(), 0.0)
        assert database.claim_job("another", 300.0) is not None
        with pytest.raises(Lost):
            holds[0].renew()
        events.append(len(said(database, job)))

    at_step(monkeypatch, 2, lose)
    run(database, place, signals)
    assert len(said(database, job)) == events[0]
    assert now_of(database, job).state == "running"
    assert place.of(job).exists()  # whoever has it may be on this machine


def test_a_worker_that_is_told_to_stop_lets_go_and_the_next_goes_on(
    database: Database,
    place: Workplace,
    signals: Signals,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = post(database, tiny_base, ROWS)
    with monkeypatch.context() as patched:
        at_step(patched, 4, signals.end)
        assert work(database, place, signals, lease_seconds=300)
    assert now_of(database, job).state == "running"
    run(database, place, Signals(threading.Event(), threading.Event()))
    assert now_of(database, job).state == "succeeded"
    # the checkpoint at the end of the first epoch, step 3, is what it goes on from
    assert "Training goes on from its checkpoint at step 3" in said(database, job)
    steps = [event.data["step"] for event in database.events(job.id) if "train_loss" in event.data]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_job_that_breaks_off_again_and_again_is_given_up(
    database: Database, place: Workplace, signals: Signals, tiny_base: Path
) -> None:
    job = post(database, tiny_base, ROWS)
    for start in range(1, 6):
        database.add_event(job.id, "info", "Tuning job started", {"start": start})
    run(database, place, signals)
    assert "broke off 5 times" in error_of(database, job)["message"]


def test_what_jobs_left_behind_is_swept_up(
    database: Database, place: Workplace, tiny_base: Path
) -> None:
    waiting = post(database, tiny_base, ROWS)
    over = replace(waiting, id="123456789012345678", state="failed")
    database.add_job(over)
    for name in (waiting.id, over.id, "987654321098765432", "not-ours"):
        (place.folder / name).mkdir(parents=True)
    sweep(database, place)
    assert {path.name for path in place.folder.iterdir()} == {waiting.id, "not-ours"}


# --- in processes of their own ------------------------------------------------------------------

KILLED = """
import os, signal, sys
from stepladder.serve.tuning import telling, worker
tell = telling.Teller.__call__
def told(self, event, fields):
    tell(self, event, fields)
    if fields.get("step") == 4:
        os.kill(os.getpid(), signal.SIGKILL)
telling.Teller.__call__ = told
worker.main(sys.argv[1:])
"""


def command(url: str, place: Workplace) -> list[str]:
    return [
        "--database", url, "--work", str(place.folder), "--threads", "1", "--device", "cpu",
        "--lease", "2", "--poll", "0.1", "--longest", "256",
    ]  # fmt: skip


def weights(database: Database, job: TuningJob) -> dict[str, Any]:
    from safetensors.numpy import load

    content = adapter_of(database, now_of(database, job).tuned_model or "")
    return load(content["adapter_model.safetensors"])


@pytest.mark.slow
def test_killed_and_resumed_gives_the_undisturbed_weights(
    database: Database, database_url: str, place: Workplace, signals: Signals, tiny_base: Path
) -> None:
    whole = post(database, tiny_base, ROWS)
    run(database, place, signals)
    job = post(database, tiny_base, ROWS)
    arguments = command(database_url, place)
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert now_of(database, job).state == "running"
    subprocess.run([sys.executable, "-m", "stepladder.serve.tuning.worker", *arguments], check=True)
    assert now_of(database, job).state == "succeeded"
    assert "Training goes on from its checkpoint at step 3" in said(database, job)
    mine, theirs = weights(database, job), weights(database, whole)
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        assert abs(values - theirs[name]).max() < 1e-4, name


@contextmanager
def started(arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "stepladder.serve.tuning.worker", *arguments, "--attached"],
        stdin=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.slow
def test_two_workers_do_one_job_once(
    database: Database, database_url: str, place: Workplace, tiny_base: Path
) -> None:
    job = post(database, tiny_base, ROWS)
    arguments = command(database_url, place)
    with started(arguments) as one, started(arguments) as other:
        for _ in range(600):
            if one.poll() is not None or other.poll() is not None:
                break
            with suppress(subprocess.TimeoutExpired):
                (one if other.poll() is not None else other).wait(0.1)
        first, second = (one, other) if one.poll() is not None else (other, one)
        assert first.poll() == 0
        assert now_of(database, job).state == "succeeded"
        assert second.stdin is not None
        second.stdin.close()  # its server is gone
        assert second.wait(30) == 0
    assert said(database, job).count("Tuning job started") == 1
    assert len(database.tuned_models()) == 2


@pytest.fixture
def _signals_as_they_were() -> Iterator[None]:
    """A worker sets its own, as its process is its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals_as_they_were")
def test_a_database_that_cannot_be_had_is_an_exit_status(place: Workplace, tmp_path: Path) -> None:
    arguments = ["--database", f"sqlite:///{tmp_path}", "--work", str(place.folder)]
    from stepladder.serve.tuning.worker import main

    assert main(arguments) == 1


def test_it_stands_back_by_the_priority_it_is_given(
    database_url: str, place: Workplace, tmp_path: Path
) -> None:
    open_database(database_url).close()
    with started([*command(database_url, place), "--nice", "7"]) as process:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        until = datetime.now(UTC) + timedelta(seconds=30)
        while os.getpriority(os.PRIO_PROCESS, process.pid) != before + 7:
            assert datetime.now(UTC) < until
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
