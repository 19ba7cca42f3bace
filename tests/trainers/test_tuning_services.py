"""The trainers of services, through the official SDKs, against a service of this repository.

What is shown: the whole life of a job over real HTTP, with faults, restarts and kill -9. What the
real services do was never seen.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hosted_service import Seen, Service, start

from stepladder.catalogue import load_catalogue
from stepladder.core import Message, Model, Request
from stepladder.errors import ModelError, NotApplicable
from stepladder.models import ProviderSettings
from stepladder.registry import known, look_up
from stepladder.trainers import TrainedModel
from stepladder.trainers.jobs import read_job
from stepladder.trainers.managed import ManagedTrainer
from stepladder.trainers.service import Choices, TuningJob, TuningRow

pytest.importorskip("google.genai")
pytest.importorskip("google.cloud.storage")
pytest.importorskip("openai")
pytest.importorskip("together")
pytest.importorskip("fireworks")
# the emulator's own handling of requests
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

BUCKET = "rows-of-tests"
WORDS = {"refund": "money back", "card_lost": "my card is gone", "balance": "how much is left"}
TODAY = date(2026, 11, 22)


@dataclass(frozen=True)
class Route:
    provider: str
    base: str
    jobs: str  # the path under which jobs are made
    options: Mapping[str, Any]
    lists: bool = True  # jobs are looked for in the list of all, at the path where they are made


VERTEX = Route(
    "vertex",
    "vertex:gemini-3.1-flash-lite",
    "/tuningJobs",
    {"bucket": BUCKET, "location": "us-central1"},
)
OPENAI = Route("openai", "openai:gpt-4o-mini-2024-07-18", "/fine_tuning/jobs", {})
TOGETHER = Route("together", "together:Qwen/Qwen3-8B", "/fine-tunes", {})
FIREWORKS = Route(
    "fireworks",
    "fireworks:accounts/fireworks/models/qwen3-8b",
    "/supervisedFineTuningJobs",
    {},
    lists=False,
)
ALL = {route.provider: route for route in (VERTEX, OPENAI, TOGETHER, FIREWORKS)}
ROUTES = pytest.mark.parametrize("route", list(ALL.values()), ids=list(ALL))
RENTED = pytest.mark.parametrize("route", [TOGETHER, FIREWORKS], ids=["together", "fireworks"])


def rows(n: int, first: int = 0) -> tuple[TuningRow, ...]:
    labels = list(WORDS)
    return tuple(
        TuningRow(
            (
                Message("system", "Sort the message.\n\nAnswer with one label only."),
                Message("user", f"{WORDS[labels[i % 3]]} please, number {i}"),
            ),
            labels[i % 3],
            place=f"train.csv:{i + 2}",
        )
        for i in range(first, first + n)
    )


def job(route: Route, n: int = 60, **choices: Any) -> TuningJob:
    return TuningJob(route.base, rows(n), rows(12, n), choices=Choices(**choices))


def settings(route: Route) -> ProviderSettings:
    catalogue = load_catalogue(today=TODAY)
    return ProviderSettings(route.provider, options=route.options, catalogue=catalogue)


def quiet(event: str, fields: Mapping[str, Any]) -> None:
    """Nobody is watching."""


def open_trainer(route: Route, **options: Any) -> ManagedTrainer:
    """The real one, whose pauses are short."""
    opened: ManagedTrainer = look_up("trainer", route.provider)(settings(route))
    if route in (TOGETHER, FIREWORKS):  # they look at the rows before a job is made of them
        opened.service.sleep = shortly  # type: ignore[attr-defined]
    return replace(opened, sleep=shortly, **options)


def shortly(seconds: float) -> None:
    time.sleep(min(seconds, 0.02))


def others(service: Service) -> dict[str, str]:
    """What to set so that the service is taken for Together and Fireworks."""
    return {
        "TOGETHER_API_KEY": "key-of-tests-together",
        "TOGETHER_BASE_URL": f"{service.url}/together",
        "FIREWORKS_API_KEY": "key-of-tests-fireworks",
        "FIREWORKS_BASE_URL": f"{service.url}/fireworks",
        "FIREWORKS_ACCOUNT_ID": "tester",
    }


def train(route: Route, folder: Path, asked: TuningJob | None = None, **more: Any) -> TrainedModel:
    trainer = open_trainer(route, **more)
    try:
        trained = trainer.train(asked or job(route), folder, quiet)
        return trainer.served(trained, quiet)
    finally:
        trainer.close()


def made(service: Service, route: Route) -> list[Seen]:
    """The calls that made a job."""
    return [
        call
        for call in service.requests(route.jobs)
        if call.method == "POST" and call.path.endswith(route.jobs) and call.made
    ]


@pytest.fixture
def away(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service in the place of the providers, with an empty bucket."""
    for name, value in (service.environment(tmp_path / "key.json") | others(service)).items():
        monkeypatch.setenv(name, value)
    service.make_bucket(BUCKET)
    return service


@ROUTES
def test_a_tuned_model_answers_what_it_has_learned(
    route: Route, away: Service, tmp_path: Path
) -> None:
    trained = train(route, tmp_path / "artifacts", job(route, epochs=4))
    base, _, tuned = trained.name.partition("@")
    assert base == route.base
    assert tuned
    assert (trained.tokens > 0) == (route is not FIREWORKS)  # it tells a price, and no tokens
    assert trained.tokens % 4 == 0  # the rows' tokens, in each of four epochs
    assert (trained.facts["billed_tokens"] or 0) == trained.tokens
    provider = look_up("provider", route.provider)(settings(route))
    try:
        model: Model = provider.model(trained.name)
        asked = [Request(row.messages, thinking_tokens=0) for row in rows(9, 100)]
        answers = dict(model.generate(asked))
    finally:
        provider.close()
    assert [answers[n].text for n in range(9)] == [row.answer for row in rows(9, 100)]
    assert answers[0].usage.model == trained.name


@ROUTES
def test_a_job_asks_for_nothing_that_was_not_chosen(
    route: Route, away: Service, tmp_path: Path
) -> None:
    train(route, tmp_path)
    (call,) = made(away, route)
    if route is TOGETHER:  # its SDK writes out defaults of its own
        assert call.body["suffix"].startswith("stepladder-")
        assert (call.body["n_epochs"], call.body["learning_rate"]) == (1, 1e-5)
        assert {"training_type", "random_seed"} & call.body.keys() == set()
    elif route is FIREWORKS:
        assert call.body.keys() == {"baseModel", "dataset", "displayName", "evaluationDataset"}
        assert call.body["displayName"] in call.query
    elif route is OPENAI:
        assert call.body["method"] == {"type": "supervised", "supervised": {"hyperparameters": {}}}
        assert call.body["suffix"] == call.body["metadata"]["stepladder"]
    else:
        assert "hyperParameters" not in call.body["supervisedTuningSpec"]
        assert call.body["tunedModelDisplayName"] == call.body["labels"]["stepladder"]


def test_what_was_chosen_reaches_the_service(away: Service, tmp_path: Path) -> None:
    chosen = job(VERTEX, epochs=2, learning_rate_multiplier=0.5, adapter_size=8)
    train(VERTEX, tmp_path, chosen)
    (call,) = made(away, VERTEX)
    assert call.body["supervisedTuningSpec"]["hyperParameters"] == {
        "epochCount": 2,
        "learningRateMultiplier": 0.5,
        "adapterSize": "ADAPTER_SIZE_EIGHT",
    }
    chosen = job(OPENAI, epochs=2, learning_rate_multiplier=0.5, batch_size=8, seed=3)
    train(OPENAI, tmp_path, chosen)
    (call,) = made(away, OPENAI)
    assert call.body["method"]["supervised"]["hyperparameters"] == {
        "n_epochs": 2,
        "learning_rate_multiplier": 0.5,
        "batch_size": 8,
    }
    assert call.body["seed"] == 3


def test_the_loss_that_openai_reports_is_the_learning_curve(away: Service, tmp_path: Path) -> None:
    trained = train(OPENAI, tmp_path, job(OPENAI, epochs=4))
    losses = [point.train_loss for point in trained.learning]
    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)
    assert [point.epoch for point in trained.learning] == [1.0, 2.0, 3.0, 4.0]
    assert all(point.held_out_loss is not None for point in trained.learning)
    state = read_job(trained.folder)
    assert state is not None
    assert state.state is not None
    assert len(state.state.checkpoints) == 3
    assert all(point.model for point in state.state.checkpoints)


def test_the_checkpoints_of_vertex_are_kept(away: Service, tmp_path: Path) -> None:
    trained = train(VERTEX, tmp_path, job(VERTEX, epochs=3))
    record = read_job(trained.folder)
    assert record is not None
    assert record.state is not None
    assert [point.epoch for point in record.state.checkpoints] == [1, 2, 3]
    assert all("/endpoints/" in (point.model or "") for point in record.state.checkpoints)
    assert "tuning-experiment" in trained.facts["experiment"]


def test_the_loss_of_a_vertex_job_is_read_from_its_experiment(
    away: Service, tmp_path: Path
) -> None:
    told: list[Mapping[str, Any]] = []
    trainer = open_trainer(VERTEX)
    trained = trainer.train(job(VERTEX, epochs=3), tmp_path, lambda event, of: told.append(of))
    trainer.close()
    losses = [point.train_loss for point in trained.learning]
    assert losses == sorted(losses, reverse=True)
    assert [point.epoch for point in trained.learning] == [1.0, 2.0, 3.0]
    assert all(point.held_out_loss is not None for point in trained.learning)
    assert told[-1]["train_loss"] == losses[-1]  # as it is shown while the job runs
    assert not trained.cautions


def test_the_loss_of_a_preference_job_has_another_name(away: Service, tmp_path: Path) -> None:
    pairs = tuple(replace(row, rejected="nonsense") for row in rows(40))
    asked = TuningJob("vertex:gemini-2.5-flash", pairs, pairs[:8], method="preference")
    trained = train(VERTEX, tmp_path, asked)
    assert len(trained.learning) > 1
    assert all(point.held_out_loss is not None for point in trained.learning)


@pytest.mark.parametrize("method", ["supervised", "preference"])
def test_the_loss_of_a_job_at_fireworks_is_read_from_its_file_without_a_key(
    away: Service, tmp_path: Path, method: Any
) -> None:
    asked = job(FIREWORKS, epochs=3)
    if method == "preference":
        pairs = tuple(replace(row, rejected="nonsense") for row in asked.train)
        asked = replace(asked, train=pairs, held_out=(), method=method)
    trained = train(FIREWORKS, tmp_path, asked)
    losses = [point.train_loss for point in trained.learning]
    assert len(losses) == 3
    assert losses == sorted(losses, reverse=True)
    read = [call for call in away.requests("metrics.jsonl") if call.answered]
    assert read
    assert not any(call.key for call in read)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"signed-by-the-service" not in kept


def test_losses_of_fireworks_that_cannot_be_read_are_a_caution(
    away: Service, tmp_path: Path
) -> None:
    away.faults({"kinds": ["denied"], "path": "metrics.jsonl"})
    trained = train(FIREWORKS, tmp_path, job(FIREWORKS, epochs=1))
    assert trained.learning == ()
    assert "the losses of the tuning cannot be read: 403" in trained.cautions


def test_losses_that_cannot_be_read_are_a_caution_and_no_failure(
    away: Service, tmp_path: Path
) -> None:
    away.faults({"kinds": ["denied"], "path": "/timeSeries"})
    trained = train(VERTEX, tmp_path, job(VERTEX, epochs=1))
    assert trained.learning == ()
    (caution,) = trained.cautions
    assert caution.startswith("the losses of the tuning cannot be read: 403")


def test_rows_that_vertex_leaves_out_are_a_caution(away: Service, tmp_path: Path) -> None:
    long = TuningRow((Message("user", "word " * 200_000),), "refund")
    one = replace(job(VERTEX, epochs=1), train=(*rows(30), long))
    trained = train(VERTEX, tmp_path, one)
    (caution,) = trained.cautions
    assert "1 training rows" in caution
    assert "Too many tokens" in caution


def test_preferences_are_tuned_on_where_they_can_be(away: Service, tmp_path: Path) -> None:
    pairs = tuple(replace(row, rejected="nonsense") for row in rows(40))
    gemini = TuningJob("vertex:gemini-2.5-flash", pairs, method="preference")
    train(VERTEX, tmp_path, gemini)
    (call,) = made(away, VERTEX)
    assert "preferenceOptimizationSpec" in call.body
    openai = TuningJob(OPENAI.base, pairs, method="preference", choices=Choices(epochs=1))
    train(OPENAI, tmp_path, openai)
    (call,) = made(away, OPENAI)
    assert call.body["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1}}}


# --- services that answer from a rented machine --------------------------------------------------


@RENTED
def test_a_tuned_model_waits_for_a_machine_and_is_found_once_there_is_one(
    route: Route, away: Service, tmp_path: Path
) -> None:
    away.settings(deployed=False)
    for _ in range(2):
        with pytest.raises(NotApplicable, match=r"is tuned \(for \$0\.\d+\) and waits") as caught:
            train(route, tmp_path)
        assert f"'{route.base}@" in caught.value.message
        how = "tg endpoints create" if route is TOGETHER else "firectl deployment create"
        assert how in caught.value.hint
    away.settings(deployed=True)
    served = train(route, tmp_path)
    assert "rented by time" in served.cautions[-1]
    assert len(made(away, route)) == 1
    rented = [call for call in away.requests() if call.method == "POST" and "deploy" in call.path]
    assert not rented


@RENTED
def test_what_the_job_cost_is_what_the_service_says(
    route: Route, away: Service, tmp_path: Path
) -> None:
    trained = train(route, tmp_path, job(route, epochs=2))
    twice = train(route, tmp_path, job(route, epochs=4))
    dollars = trained.facts["billed_dollars"]
    assert twice.facts["billed_dollars"] == pytest.approx(2 * dollars)
    if route is TOGETHER:
        assert dollars == pytest.approx(trained.tokens * 0.48 / 1e6)
    else:
        assert "own estimate" in trained.cautions[0]


def test_the_loss_that_together_reports_is_the_learning_curve(
    away: Service, tmp_path: Path
) -> None:
    trained = train(TOGETHER, tmp_path, job(TOGETHER, epochs=4))
    losses = [point.train_loss for point in trained.learning]
    assert losses == sorted(losses, reverse=True)
    assert [point.epoch for point in trained.learning] == [1.0, 2.0, 3.0, 4.0]
    assert all(point.held_out_loss is not None for point in trained.learning)


def test_what_was_chosen_reaches_services_with_jobs_of_their_own(
    away: Service, tmp_path: Path
) -> None:
    chosen = {"epochs": 2, "learning_rate": 0.001, "adapter_size": 16, "batch_size": 8}
    train(TOGETHER, tmp_path, job(TOGETHER, seed=3, **chosen))
    (call,) = made(away, TOGETHER)
    assert [call.body[name] for name in ("n_epochs", "learning_rate", "batch_size")] == [
        2, 0.001, 8
    ]  # fmt: skip
    assert (call.body["training_type"]["lora_r"], call.body["random_seed"]) == (16, 3)
    assert call.body["validation_file"]
    assert call.body["n_evals"] > 0
    train(FIREWORKS, tmp_path, job(FIREWORKS, **chosen))
    (call,) = made(away, FIREWORKS)
    named = {"epochs": 2, "learningRate": 0.001, "loraRank": 16, "batchSizeSamples": 8}
    assert named.items() <= call.body.items()


def test_what_the_sdk_of_together_refuses_is_said(away: Service, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="batch size of 64 is higher"):
        train(TOGETHER, tmp_path, job(TOGETHER, adapter_size=16, batch_size=64))
    assert not made(away, TOGETHER)


@RENTED
def test_preferences_are_tuned_on_by_services_with_jobs_of_their_own(
    route: Route, away: Service, tmp_path: Path
) -> None:
    pairs = tuple(replace(row, rejected="nonsense") for row in rows(40))
    asked = TuningJob(route.base, pairs, method="preference", choices=Choices(epochs=1))
    assert "@" in train(route, tmp_path, asked).name
    if route is TOGETHER:
        (call,) = made(away, route)
        assert call.body["training_method"]["method"] == "dpo"
    else:
        (call,) = (c for c in away.requests("/dpoJobs") if c.method == "POST")
        assert call.body["lossConfig"] == {"method": "DPO"}
        assert call.body["trainingConfig"]["epochs"] == 1


@RENTED
def test_the_rows_are_sent_once(route: Route, away: Service, tmp_path: Path) -> None:
    trainer = open_trainer(route)
    file = tmp_path / "train.jsonl"
    file.write_text('{"messages": []}\n' * 3)
    first = trainer.service.upload(file, "stepladder-1")
    assert trainer.service.upload(file, "stepladder-1") == first
    trainer.close()
    sent = [c for c in away.requests() if c.path.endswith(":upload") or c.method == "PUT"]
    assert len(sent) == 1


# --- never twice --------------------------------------------------------------------------------


@ROUTES
def test_the_same_job_again_makes_no_call(route: Route, away: Service, tmp_path: Path) -> None:
    first = train(route, tmp_path)
    before = len(away.requests(route.jobs))
    assert train(route, tmp_path) == first
    assert len(away.requests(route.jobs)) == before


@ROUTES
@pytest.mark.parametrize("kind", ["500", "503", "drop", "cut", "truncated", "429"])
def test_one_job_is_made_however_its_making_fails(
    route: Route, kind: str, away: Service, tmp_path: Path
) -> None:
    # the first call lists the jobs, the second makes one
    after = int(route.lists)
    away.faults({"kinds": [kind], "path": f"{route.jobs}$", "after": after, "times": 1})
    train(route, tmp_path, settle_seconds=0.1)
    assert len(made(away, route)) == 1


@ROUTES
def test_faults_while_it_runs_do_not_matter(route: Route, away: Service, tmp_path: Path) -> None:
    away.settings(polls=12)
    away.faults({"kinds": ["500", "503", "drop", "429"], "path": f"{route.jobs}/.+", "share": 0.4})
    train(route, tmp_path, settle_seconds=0.1)
    assert len(made(away, route)) == 1
    assert any(call.fault for call in away.requests(route.jobs))


PROGRAM = """
import sys
from pathlib import Path
from datetime import date
sys.path[:0] = [{tests!r}]
from trainers.test_tuning_services import ALL, job, open_trainer

route = ALL[sys.argv[1]]

def tell(event, fields):
    print(event, dict(fields), flush=True)

try:
    print(open_trainer(route).train(job(route), Path(sys.argv[2]), tell).name, flush=True)
except KeyboardInterrupt as error:
    print(*error.__notes__, flush=True)
    sys.exit(130)
"""


def process(route: Route, folder: Path) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(tests=tests), route.provider, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": tests},
    )


def read_until(one: subprocess.Popen[str], word: str) -> None:
    assert one.stdout is not None
    seen = []
    for line in one.stdout:
        seen.append(line)
        if word in line:
            return
    raise AssertionError("".join(seen))


@ROUTES
def test_after_kill_9_the_job_is_found_again_by_its_id(
    route: Route, away: Service, tmp_path: Path
) -> None:
    away.settings(polls=10**6)
    with process(route, tmp_path / "artifacts") as first:
        read_until(first, "train_loss")
        first.kill()
        assert first.wait() == -signal.SIGKILL
    away.settings(polls=1)
    assert "@" in train(route, tmp_path / "artifacts").name
    assert len(made(away, route)) == 1


@ROUTES
def test_after_kill_9_between_a_job_and_its_id_no_other_is_made(
    route: Route, away: Service, tmp_path: Path
) -> None:
    slow = {"kinds": ["slow"], "seconds": 4.0, "path": f"POST .*{route.jobs}$"}
    away.faults(slow)
    with process(route, tmp_path / "artifacts") as first:
        while not made(away, route):
            assert first.poll() is None
            shortly(1)
        first.kill()
        assert first.wait() == -signal.SIGKILL
    (ledger,) = (tmp_path / "artifacts").glob("*/job.json")
    record = read_job(ledger.parent)
    assert record is not None
    assert (record.stage, record.job) == ("intended", None)
    away.faults()
    assert "@" in train(route, tmp_path / "artifacts").name
    assert len(made(away, route)) == 1


@ROUTES
def test_ctrl_c_in_a_real_process_leaves_the_job(
    route: Route, away: Service, tmp_path: Path
) -> None:
    away.settings(polls=10**6)
    with process(route, tmp_path / "artifacts") as first:
        read_until(first, "train_loss")
        first.send_signal(signal.SIGINT)
        assert first.stdout is not None
        said = first.stdout.read()
        assert first.wait() == 130
    assert "the same command resumes it" in said
    assert not [call for call in away.requests(route.jobs) if call.path.endswith("cancel")]
    away.settings(polls=1)
    train(route, tmp_path / "artifacts")
    assert len(made(away, route)) == 1


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: Service) -> Iterator[Service]:
    """A service of this test's own, whose jobs outlive it."""
    own = start(tmp_path / "service")
    for name, value in (own.environment(tmp_path / "key.json") | others(own)).items():
        monkeypatch.setenv(name, value)
    own.make_bucket(BUCKET)
    yield own
    own.stop()


@ROUTES
def test_a_job_ends_well_although_the_service_was_away(
    route: Route, kept: Service, tmp_path: Path
) -> None:
    kept.settings(polls=3)
    looked = 0

    def tell(event: str, fields: Mapping[str, Any]) -> None:
        nonlocal looked
        looked += "train_loss" in fields
        if looked == 1 and "train_loss" in fields:
            kept.restart()
            kept.settings(polls=3)

    trainer = open_trainer(route)
    trained = trainer.train(job(route), tmp_path / "artifacts", tell)
    trainer.close()
    assert "@" in trained.name
    assert looked > 1
    assert not made(kept, route)  # in its second life it was asked for none


# --- what goes wrong ----------------------------------------------------------------------------


@ROUTES
def test_a_job_that_fails_says_why_and_is_not_made_again(
    route: Route, away: Service, tmp_path: Path
) -> None:
    away.settings(fail_jobs="Dataset has 3 rows of the wrong form.")
    for _ in range(2):
        with pytest.raises(ModelError, match="3 rows of the wrong form") as caught:
            train(route, tmp_path)
        assert "retry_failed" in caught.value.hint
    assert len(made(away, route)) == 1
    away.settings(fail_jobs="")
    assert "@" in train(route, tmp_path, retry_failed=True).name
    assert len(made(away, route)) == 2


@ROUTES
def test_what_the_service_refuses_is_said(route: Route, away: Service, tmp_path: Path) -> None:
    one = replace(job(route), base=f"{route.provider}:gemini-9")
    with pytest.raises(ModelError, match=r"cannot start tuning .*gemini-9"):
        train(route, tmp_path, one)
    with pytest.raises(ModelError, match=r"gemini-9"):
        train(route, tmp_path, one)


@ROUTES
def test_a_key_that_does_not_hold_is_an_error_without_the_key(
    route: Route, away: Service, tmp_path: Path
) -> None:
    away.faults({"kinds": ["expired"], "path": route.jobs, "echo_key": True})
    with pytest.raises(ModelError) as caught:
        train(route, tmp_path)
    assert "of-tests" not in str(caught.value)
    assert caught.value.hint


@ROUTES
def test_a_cancelled_job_is_told_as_such(route: Route, away: Service, tmp_path: Path) -> None:
    away.settings(polls=10**6)

    def tell(event: str, fields: Mapping[str, Any]) -> None:
        if "train_loss" in fields:
            raise KeyboardInterrupt

    trainer = open_trainer(route, cancel_on_interrupt=True)
    with pytest.raises(KeyboardInterrupt) as caught:
        trainer.train(job(route), tmp_path, tell)
    trainer.close()
    assert "being cancelled" in caught.value.__notes__[0]
    with pytest.raises(ModelError, match="was cancelled"):
        train(route, tmp_path)


def test_a_full_queue_is_waited_for_over_real_http(away: Service, tmp_path: Path) -> None:
    away.settings(jobs_at_once=1, polls=10**6)
    other = open_trainer(VERTEX)  # its job is in the way

    def tell(event: str, fields: Mapping[str, Any]) -> None:
        if "train_loss" in fields:
            raise KeyboardInterrupt

    with closing(other), pytest.raises(KeyboardInterrupt):
        other.train(job(VERTEX, 30), tmp_path, tell)
    waited = 0

    def patient(event: str, fields: Mapping[str, Any]) -> None:
        nonlocal waited
        if "Quota" in str(fields.get("waiting")):
            waited += 1
            if waited == 3:
                away.settings(jobs_at_once=2, polls=1)

    with closing(replace(open_trainer(VERTEX), settle_seconds=0.1)) as trainer:
        trainer.train(job(VERTEX, 40), tmp_path, patient)
    assert waited == 3


# --- opening ------------------------------------------------------------------------------------


def test_vertex_needs_a_bucket(away: Service) -> None:
    with pytest.raises(ModelError, match="needs a bucket") as caught:
        look_up("trainer", "vertex")(ProviderSettings("vertex"))
    assert "[providers.vertex]" in caught.value.hint


def test_fireworks_needs_to_know_the_account(
    away: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIREWORKS_ACCOUNT_ID")
    with pytest.raises(ModelError, match="to which account") as caught:
        look_up("trainer", "fireworks")(ProviderSettings("fireworks"))
    assert "FIREWORKS_ACCOUNT_ID" in caught.value.hint


@RENTED
def test_services_with_jobs_of_their_own_need_their_key(
    route: Route, away: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(f"{route.provider.upper()}_API_KEY")
    with pytest.raises(ModelError, match="no key"):
        open_trainer(route)


def test_an_endpoint_of_the_users_own_tunes_where_it_says_so(
    away: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "configuration"
    folder.mkdir()
    (folder / "endpoints.toml").write_text(
        f"""
[[endpoint]]
name = "lab"
base_url = "{away.openai_url}"
key_env = "OPENAI_API_KEY"
tuning = "openai"
read_on = 2026-11-22
source = "ours"
"""
    )
    monkeypatch.setattr("stepladder.models.openai.endpoints.user_file", folder_file(folder))
    own = replace(OPENAI, provider="lab", base="lab:gpt-4o-mini-2024-07-18")
    assert train(own, tmp_path, job(own)).name.startswith("lab:gpt-4o-mini-2024-07-18@ft:")
    assert "lab" in known("trainer")
    assert "ollama" not in known("trainer")


def folder_file(folder: Path) -> Callable[[], Path]:
    return lambda: folder / "endpoints.toml"


@pytest.mark.parametrize(
    ("location", "region"),
    [
        ("us-central1", "us-central1"),
        ("us", "us-central1"),
        ("eu", "europe-west4"),
        ("global", "us-central1"),
        ("asia-east1", "asia-east1"),  # refused by the limits of the model, not here
    ],
)
def test_jobs_run_where_they_can_near_to_where_calls_go(location: str, region: str) -> None:
    from stepladder.trainers.vertex import tuning_region

    assert tuning_region(location, load_catalogue(today=TODAY)) == region
