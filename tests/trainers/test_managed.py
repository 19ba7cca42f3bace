"""A managed tuning job: started once whatever happens, followed, resumed, told of."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepladder.data.chat_gemini import from_gemini
from stepladder.errors import BudgetExceeded, ModelError, StoreError
from stepladder.models.hosted.api import Failure
from stepladder.trainers import TrainedModel, managed
from stepladder.trainers.jobs import JobRecord, read_job, tuning_hash, write_job
from stepladder.trainers.managed import ManagedTrainer, follow_pause

from .tuning_fake import Clock, FakeService, failing, job

PASSING = Failure("503: try later", retry=True)
LOST = Failure("the connection broke", retry=True, maybe_billed=True)
REFUSED = Failure("400: no such model", hint="name another")
FULL = Failure("429: one job at a time", retry=True, throttled=True)


def trainer(service: FakeService, **options: Any) -> ManagedTrainer:
    return ManagedTrainer(service, clock=service.clock, sleep=service.clock.sleep, **options)  # type: ignore[arg-type]


def train(service: FakeService, folder: Path, **options: Any) -> TrainedModel:
    return trainer(service, **options).train(job(), folder, quiet)


def quiet(event: str, fields: Mapping[str, Any]) -> None:
    """Nobody is watching."""


def record_in(folder: Path) -> JobRecord:
    (path,) = folder.glob("*/job.json")
    found = read_job(path.parent)
    assert found is not None
    return found


def test_a_job_becomes_a_model(tmp_path: Path) -> None:
    service = FakeService()
    found = train(service, tmp_path)
    assert found.name == "fake:base-1@endpoints/1"
    assert (found.seconds, found.tokens) == (600.0, 12_000)
    assert found.facts["billed_tokens"] == 12_000
    assert found.cautions == ("the service left 2 training rows out",)
    assert [point.train_loss for point in found.learning] == [1.0, 0.5, 1 / 3]
    record = record_in(tmp_path)
    assert (record.stage, record.job) == ("finished", "jobs/1")
    assert record.state is not None
    assert record.state.checkpoints[0].model == "endpoints/c1"


def test_what_is_uploaded_are_the_rows_in_the_services_own_form(tmp_path: Path) -> None:
    service = FakeService()
    train(service, tmp_path)
    order = service.jobs[0].order
    assert order.model == "base-1"
    lines = service.files[order.train].decode().splitlines()
    assert order.held_out is not None
    assert len(lines) == 20
    assert len(service.files[order.held_out].splitlines()) == 4
    messages, answer, _ = from_gemini(json.loads(lines[1]))
    assert (messages, answer) == (job().train[1].messages, "balance")


def test_the_same_job_again_asks_the_service_nothing(tmp_path: Path) -> None:
    service = FakeService()
    first = train(service, tmp_path)

    def at(moment: str) -> None:
        raise AssertionError(moment)

    service.at = at
    assert train(service, tmp_path) == first


def test_other_data_choices_or_places_are_other_jobs(tmp_path: Path) -> None:
    service = FakeService()
    asked = trainer(service)
    for one in (job(), job(21), job(epochs=3), replace(job(), base="fake:base-2")):
        asked.train(one, tmp_path, quiet)
    service.place = "fake:elsewhere"
    asked.train(job(), tmp_path, quiet)
    labels = [one.order.label for one in service.jobs]
    assert len(set(labels)) == len(labels) == 5


def test_a_choice_that_is_new_and_not_made_does_not_make_another_job() -> None:
    # the name that this job had before a learning rate could be chosen: it is paid for
    assert tuning_hash(job(), "fake:here") == "54680fb532a2c6bc2ef8"
    assert tuning_hash(job(learning_rate=0.001), "fake:here") != "54680fb532a2c6bc2ef8"


def test_progress_is_told_with_its_loss(tmp_path: Path) -> None:
    service = FakeService(looks=4)
    told: list[Mapping[str, Any]] = []
    notes: list[str] = []

    def tell(event: str, fields: Mapping[str, Any]) -> None:
        if event == "training":
            told.append(fields)
        elif event == "note":
            notes.append(fields["text"])

    trainer(service).train(job(), tmp_path, tell)
    losses = [fields["train_loss"] for fields in told if "train_loss" in fields]
    assert losses == [1.0, 0.5, 1 / 3, 1 / 3]
    assert "jobs/1" in notes[0]
    assert "cancel_on_interrupt" in notes[0]


# --- never twice --------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone at this moment."""


class Fates:
    """What becomes of a run at each of its moments, in order: goes on, dies, or loses a call."""

    def __init__(self, drawn: list[str]) -> None:
        self._drawn = iter(drawn)

    def __call__(self, moment: str) -> None:
        fate = next(self._drawn, "on")
        if fate == "killed":
            raise Killed
        if fate == "lost" and "ledger" not in moment:
            raise managed.ServiceFailed(LOST)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fates=st.lists(st.sampled_from(["on", "on", "on", "killed", "lost"]), max_size=60),
    delay=st.sampled_from([0.0, 5.0, 55.0]),
    ends=st.sampled_from(["succeeded", "failed"]),
)
def test_whatever_happens_one_job_is_made(
    fates: list[str],
    delay: float,
    ends: Any,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("jobs")
    fate = Fates(fates)

    def write(where: Path, record: JobRecord) -> JobRecord:
        fate("before ledger")
        written = write_job(where, record)
        fate("after ledger")
        return written

    monkeypatch.setattr(managed, "write_job", write)
    service = FakeService(delay=delay, ends=ends, at=fate)
    done: TrainedModel | None = None
    for _ in range(len(fates) + 2):
        try:
            done = train(service, folder)
            break
        except Killed:
            service.clock.sleep(0.5)  # the next run begins almost at once
        except ModelError as error:
            if "rows 3 and 4" in error.message:
                break
    assert len(service.jobs) == 1
    assert (done is not None) == (ends == "succeeded")


def test_a_creation_that_was_cut_off_is_looked_for_before_another(tmp_path: Path) -> None:
    service = FakeService(delay=40.0, at=failing(times=1, moment="after create", failure=LOST))
    began = service.clock()
    assert train(service, tmp_path).name == "fake:base-1@endpoints/1"
    assert len(service.jobs) == 1
    assert service.clock() - began >= 40


def test_a_creation_that_never_arrived_is_made_again(tmp_path: Path) -> None:
    service = FakeService(at=failing(times=2, moment="before create", failure=LOST))
    assert train(service, tmp_path).name == "fake:base-1@endpoints/1"
    assert len(service.jobs) == 1


def test_a_job_that_somebody_else_started_is_taken_over(tmp_path: Path) -> None:
    service = FakeService()
    train(service, tmp_path / "there")
    train(service, tmp_path / "here")
    assert len(service.jobs) == 1


def test_two_at_a_time_start_one_job(tmp_path: Path) -> None:
    service = FakeService(looks=50)
    found: list[TrainedModel] = []
    waited = threading.Event()

    def tell(event: str, fields: Mapping[str, Any]) -> None:
        if "another process" in str(fields.get("waiting")):
            waited.set()

    second = threading.Thread(
        target=lambda: found.append(trainer(service).train(job(), tmp_path, tell))
    )

    def at(moment: str) -> None:
        if moment == "after create":
            second.start()
            assert waited.wait(30)

    service.at = at
    found.append(train(service, tmp_path))
    second.join(30)
    assert len(service.jobs) == 1
    assert found[0] == found[1]


def test_a_damaged_ledger_is_not_taken_for_none(tmp_path: Path) -> None:
    service = FakeService()
    train(service, tmp_path)
    (path,) = tmp_path.glob("*/job.json")
    for content in ("", "{}", "[]", '{"schema": "stepladder.tuning-job/9"}'):
        path.write_text(content)
        with pytest.raises(StoreError, match=r"job\.json"):
            train(service, tmp_path)
    assert len(service.jobs) == 1


# --- what goes wrong ----------------------------------------------------------------------------


def test_a_refusal_is_an_error_and_leaves_nothing_to_look_for(tmp_path: Path) -> None:
    service = FakeService(at=failing(times=1, moment="before create", failure=REFUSED))
    with pytest.raises(ModelError, match="no such model") as caught:
        train(service, tmp_path)
    assert caught.value.hint == "name another"
    assert record_in(tmp_path).stage == "prepared"
    began = service.clock()
    train(service, tmp_path)
    assert service.clock() - began < managed.LONGEST_PAUSE


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    service = FakeService(at=failing(times=40, moment="before create", failure=FULL))
    train(service, tmp_path)
    assert len(service.jobs) == 1


@pytest.mark.parametrize("moment", ["before upload", "before find", "before state"])
def test_what_passes_is_waited_out(moment: str, tmp_path: Path) -> None:
    service = FakeService(at=failing(times=3, moment=moment, failure=PASSING))
    train(service, tmp_path)
    assert len(service.jobs) == 1


@pytest.mark.parametrize("moment", ["before upload", "before find", "before create"])
def test_what_does_not_pass_is_an_error(moment: str, tmp_path: Path) -> None:
    service = FakeService(at=failing(times=99, moment=moment, failure=PASSING))
    with pytest.raises(ModelError, match="try later") as caught:
        train(service, tmp_path)
    assert "same command again" in caught.value.hint


def test_a_job_out_of_sight_is_given_an_hour_and_found_again(tmp_path: Path) -> None:
    service = FakeService(at=failing(times=10**6, moment="before state", failure=LOST))
    began = service.clock()
    with pytest.raises(ModelError, match="lost sight of the tuning job 'jobs/1'"):
        train(service, tmp_path)
    assert managed.LOST_SECONDS <= service.clock() - began < 2 * managed.LOST_SECONDS
    service.at = lambda moment: None
    train(service, tmp_path)
    assert len(service.jobs) == 1


GONE = Failure("404: no such job", fatal=True)


def test_a_job_that_is_too_new_to_be_known_is_looked_for_again(tmp_path: Path) -> None:
    service = FakeService(at=failing(times=5, moment="before state", failure=GONE))
    assert train(service, tmp_path).name == "fake:base-1@endpoints/1"


def test_a_job_that_is_gone_says_how_to_start_anew(tmp_path: Path) -> None:
    service = FakeService(looks=50)
    interrupted_at(service, 20)
    with pytest.raises(KeyboardInterrupt):
        train(service, tmp_path)
    service.clock.sleep(1000)
    service.at = failing(times=1, moment="before state", failure=GONE)
    with pytest.raises(ModelError, match=r"lost sight .* no such job") as caught:
        train(service, tmp_path)
    (folder,) = tmp_path.glob("*/")
    assert f"delete {str(folder)!r}" in caught.value.hint


def test_a_clock_that_was_set_back_does_not_make_it_wait_for_ever(tmp_path: Path) -> None:
    service = FakeService(at=failing(times=1, moment="before create", failure=LOST))
    with pytest.raises(KeyboardInterrupt):
        replace(trainer(service), sleep=interrupt).train(job(), tmp_path, quiet)
    service.clock.now -= 10**6
    before = service.clock()
    train(service, tmp_path)
    assert service.clock() - before < 100


def interrupt(seconds: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("ends", ["failed", "cancelled", "expired"])
def test_a_job_that_came_to_nothing_is_not_started_again_unasked(ends: Any, tmp_path: Path) -> None:
    service = FakeService(ends=ends)
    for _ in range(3):
        with pytest.raises(ModelError, match=f"{ends}.*rows 3 and 4") as caught:
            train(service, tmp_path)
        assert "retry_failed" in caught.value.hint
    assert len(service.jobs) == 1
    service.ends = "succeeded"
    assert train(service, tmp_path, retry_failed=True).name == "fake:base-1@endpoints/2"
    assert train(service, tmp_path, retry_failed=True).facts["attempt"] == 2
    first, second = service.jobs
    assert first.order.label != second.order.label


# --- leaving ------------------------------------------------------------------------------------


def interrupted_at(service: FakeService, look: int) -> None:
    def at(moment: str) -> None:
        if moment == "before state" and service.jobs[0].looks == look:
            raise KeyboardInterrupt

    service.at = at


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(tmp_path: Path) -> None:
    service = FakeService(looks=5)
    interrupted_at(service, 2)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(service, tmp_path)
    (said,) = caught.value.__notes__
    assert "the same command resumes it" in said
    assert service.jobs[0].phase == "running"
    service.at = lambda moment: None
    train(service, tmp_path)
    assert (len(service.jobs), service.jobs[0].looks) == (1, 5)


def test_ctrl_c_cancels_the_job_where_the_user_says_so(tmp_path: Path) -> None:
    service = FakeService(looks=5)
    interrupted_at(service, 2)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(service, tmp_path, cancel_on_interrupt=True)
    assert "being cancelled" in caught.value.__notes__[0]
    service.at = lambda moment: None
    with pytest.raises(ModelError, match="was cancelled"):
        train(service, tmp_path)
    assert len(service.jobs) == 1


def test_ctrl_c_while_a_job_is_made_says_that_it_may_be_there(tmp_path: Path) -> None:
    def at(moment: str) -> None:
        if moment == "after create":
            raise KeyboardInterrupt

    service = FakeService(at=at)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(service, tmp_path)
    assert "may have been started" in caught.value.__notes__[0]
    service.at = lambda moment: None
    train(service, tmp_path)
    assert len(service.jobs) == 1


def test_when_the_minutes_are_used_up_the_job_goes_on(tmp_path: Path) -> None:
    service = FakeService(looks=5)

    def tell(event: str, fields: Mapping[str, Any]) -> None:
        if event == "training" and service.jobs and service.jobs[0].looks == 2:
            raise BudgetExceeded("training stopped: 5 minutes are used up", hint="give more")

    with pytest.raises(BudgetExceeded, match=r"jobs/1.*goes on at the service") as caught:
        trainer(service).train(job(), tmp_path, tell)
    assert "the same command resumes it" in caught.value.hint
    train(service, tmp_path)
    assert len(service.jobs) == 1


@given(st.floats(0, 1e9))
def test_a_look_is_never_late_by_more_than_a_tenth(seconds: float) -> None:
    assert follow_pause(seconds) <= max(1.0, seconds / 10)
    assert 1.0 <= follow_pause(seconds) <= managed.LONGEST_PAUSE


def test_the_clock_of_these_tests_moves_only_by_sleeping() -> None:
    clock = Clock()
    before = clock()
    clock.sleep(2.0)
    assert clock() == before + 2.0
