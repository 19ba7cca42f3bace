"""What services answer of a job, in every form that their SDKs may give it."""

from __future__ import annotations

from typing import Any

import pytest

from stepladder.core import LearningPoint
from stepladder.models.hosted.api import Failure
from stepladder.models.openai.endpoints import load_endpoints
from stepladder.trainers.curves import MOST_POINTS
from stepladder.trainers.openai_jobs import OpenAIService
from stepladder.trainers.service import Choices, Order, ServiceFailed, TuningState

genai_types = pytest.importorskip("google.genai.types")
pytest.importorskip("openai")

from stepladder.trainers.vertex_jobs import VertexService  # noqa: E402 (needs the SDK)

JOB = "projects/1/locations/us-central1/tuningJobs/777"


# --- Google Cloud -------------------------------------------------------------------------------


class Tunings:
    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record

    def get(self, name: str) -> Any:
        return genai_types.TuningJob.model_validate(self.record)

    def tune(self, **asked: Any) -> Any:
        return genai_types.TuningJob.model_validate(self.record)


class Client:
    def __init__(self, record: dict[str, Any]) -> None:
        self.tunings = Tunings(record)


def vertex(**record: Any) -> VertexService:
    return VertexService(Client(record), None, "p", "us-central1")  # type: ignore[arg-type]


def state(**record: Any) -> TuningState:
    return vertex(name=JOB, **record).state(JOB)


@pytest.mark.parametrize(
    ("said", "phase"),
    [
        ("JOB_STATE_QUEUED", "waiting"),
        ("JOB_STATE_PENDING", "waiting"),
        ("JOB_STATE_PAUSED", "waiting"),
        ("JOB_STATE_RUNNING", "running"),
        ("JOB_STATE_UPDATING", "running"),
        ("JOB_STATE_CANCELLING", "running"),
        ("JOB_STATE_FAILED", "failed"),
        ("JOB_STATE_CANCELLED", "cancelled"),
        ("JOB_STATE_EXPIRED", "expired"),
        ("JOB_STATE_PARTIALLY_SUCCEEDED", "failed"),  # without a model
        pytest.param(
            "JOB_STATE_NEW",
            "running",
            marks=pytest.mark.filterwarnings("ignore:JOB_STATE_NEW is not a valid"),
        ),
    ],
)
def test_every_state_of_a_job_has_a_phase(said: str, phase: str) -> None:
    assert state(state=said).phase == phase


def test_a_job_without_a_word_about_it_waits() -> None:
    assert state() == TuningState("waiting", doing="the service has not begun")


def test_what_a_job_waits_for_is_told() -> None:
    waiting = "TUNING_JOB_STATE_WAITING_FOR_QUOTA"
    assert "quota" in state(state="JOB_STATE_PENDING", tuning_job_state=waiting).doing


def test_a_model_that_is_partly_there_is_one_with_a_caution() -> None:
    found = state(
        state="JOB_STATE_PARTIALLY_SUCCEEDED",
        tuned_model={"endpoint": "projects/1/locations/us/endpoints/5"},
    )
    assert (found.phase, found.model) == ("succeeded", "projects/1/locations/us/endpoints/5")
    assert "partially" in found.cautions[0]


def billed(**record: Any) -> int | None:
    stats = {"supervised_tuning_data_stats": {"total_billable_token_count": 1000}}
    return state(state="JOB_STATE_SUCCEEDED", tuning_data_stats=stats, **record).billed_tokens


def test_the_rows_are_billed_once_for_each_epoch() -> None:
    assert billed(supervised_tuning_spec={"hyper_parameters": {"epoch_count": 3}}) == 3000
    assert billed(tuning_job_metadata={"completed_epoch_count": 4}) == 4000
    points = [{"checkpoint_id": "1", "epoch": 1}, {"checkpoint_id": "2", "epoch": 2}]
    assert billed(tuned_model={"checkpoints": points}) == 2000


def test_what_is_billed_is_unknown_where_the_epochs_are() -> None:
    assert billed() is None
    spec = {"hyper_parameters": {"epoch_count": 3}}
    assert state(supervised_tuning_spec=spec).billed_tokens is None


def test_how_far_a_job_is() -> None:
    found = state(
        state="JOB_STATE_RUNNING",
        tuning_job_metadata={"completed_epoch_count": 2, "completed_step_count": 40},
        tuning_data_stats={"supervised_tuning_data_stats": {"tuning_step_count": 120}},
    )
    assert (found.step, found.steps, found.epoch) == (40, 120, 2)


def test_pairs_that_were_left_out_are_a_caution() -> None:
    reasons = {"dropped_example_indices": [2, 3], "dropped_example_reasons": ["long", "long"]}
    found = state(tuning_data_stats={"preference_optimization_data_stats": reasons})
    assert found.cautions == ("the service left 2 training rows out: long",)


def test_a_key_in_an_error_is_not_passed_on() -> None:
    error = {"code": 3, "message": "denied for key=AIzaSyA1234567890123456789012345"}
    assert "AIza" not in state(state="JOB_STATE_FAILED", error=error).error


def test_a_job_without_a_name_may_have_been_made() -> None:
    order = Order("label", "gemini-3.5-flash", "gs://b/t.jsonl", None, "supervised", Choices())
    with pytest.raises(ServiceFailed) as caught:
        vertex(state="JOB_STATE_PENDING").create(order)
    assert caught.value.failure == Failure(
        "the service took a tuning job but did not say under which name", maybe_billed=True
    )


# --- OpenAI's protocol --------------------------------------------------------------------------


class Said:
    """An answer of the SDK: what is not in it is None, as it makes of it."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> None:
        return None

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


class Page(list[Any]):
    @property
    def data(self) -> list[Any]:
        return list(self[:2])


class Jobs:
    def __init__(self, job: Said, events: list[Said], points: list[Said]) -> None:
        self._job, self._events, self._points = job, events, points
        self.checkpoints = Said(list=lambda job, limit: self._points)

    def retrieve(self, job: str) -> Said:
        return self._job

    def list_events(self, job: str, limit: int) -> Page:
        return Page(self._events)


def openai_state(
    job: dict[str, Any], events: list[Said] | None = None, points: list[Said] | None = None
) -> TuningState:
    jobs = Jobs(Said(**{"id": "ftjob-1", **job}), events or [], points or [])
    client = Said(fine_tuning=Said(jobs=jobs), base_url="http://x")
    return OpenAIService(load_endpoints()["openai"], client).state("ftjob-1")


def metric(step: int, loss: float, **more: Any) -> Said:
    return Said(type="metrics", level="info", data={"step": step, "train_loss": loss, **more})


@pytest.mark.parametrize(
    ("said", "phase"),
    [
        ("validating_files", "waiting"),
        ("queued", "waiting"),
        ("paused", "waiting"),
        ("running", "running"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
        ("pondering", "running"),
    ],
)
def test_every_status_of_a_job_has_a_phase(said: str, phase: str) -> None:
    assert openai_state({"status": said}).phase == phase


def test_a_running_job_tells_its_newest_loss() -> None:
    events = [metric(30, 0.5, total_steps=60), metric(20, 0.6), metric(10, 0.9)]
    found = openai_state(
        {"status": "running", "hyperparameters": Said(n_epochs=3)}, [*events, Said(level="info")]
    )
    assert (found.step, found.steps, found.epoch) == (30, 60, 1.5)
    assert [point.step for point in found.learning] == [20, 30]  # one page, not all of them


def test_epochs_that_are_not_known_yet_are_not_made_up() -> None:
    found = openai_state(
        {"status": "running", "method": Said(type="supervised", supervised=Said())},
        [metric(30, 0.5)],
    )
    assert (found.step, found.steps, found.epoch) == (30, None, None)


def test_checkpoints_add_what_the_held_out_rows_say() -> None:
    events = [metric(10, 0.9, total_steps=20), metric(20, 0.5, valid_loss=0.8)]
    points = [
        Said(id="b", step_number=20, fine_tuned_model_checkpoint="ft:b",
             metrics=Said(train_loss=0.5, full_valid_loss=0.7)),
        Said(id="a", step_number=10, fine_tuned_model_checkpoint="ft:a", metrics=None),
    ]  # fmt: skip
    method = Said(type="dpo", dpo=Said(hyperparameters=Said(n_epochs=2)))
    found = openai_state({"status": "succeeded", "method": method}, events, points)
    assert found.learning == (LearningPoint(10, 1.0, 0.9), LearningPoint(20, 2.0, 0.5, 0.7))
    assert [point.id for point in found.checkpoints] == ["a", "b"]
    assert found.checkpoints[1].held_out_loss == 0.7


def test_a_long_curve_keeps_its_shape_and_what_was_held_out() -> None:
    events = [metric(step, 1 / step) for step in range(1, 1001)]
    events[500] = metric(501, 1 / 501, valid_loss=0.1)
    found = openai_state({"status": "succeeded"}, events)
    assert MOST_POINTS / 2 < len(found.learning) <= MOST_POINTS + 2
    steps = [point.step for point in found.learning]
    assert (steps[0], steps[-1]) == (1, 1000)
    assert 501 in steps


def test_warnings_of_the_service_are_cautions() -> None:
    events = [Said(level="warn", message="3 rows are odd"), Said(level="info", message="begun")]
    found = openai_state({"status": "succeeded"}, events)
    assert found.cautions == ("the service: 3 rows are odd",)


def test_why_a_job_failed_names_the_file() -> None:
    error = Said(code="invalid_file", message="line 3 is no JSON", param="training_file")
    found = openai_state({"status": "failed", "error": error})
    assert found.error == "line 3 is no JSON (training_file)"
