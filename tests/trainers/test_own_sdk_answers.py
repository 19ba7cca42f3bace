"""What Together and Fireworks answer of a job, in the types of their SDKs, and what errors mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from stepladder.core import LearningPoint
from stepladder.models.openai.endpoints import load_endpoints
from stepladder.trainers.own_sdks import call, wait_until
from stepladder.trainers.service import ServiceFailed, TuningState

pytest.importorskip("openai")
fireworks = pytest.importorskip("fireworks")
together = pytest.importorskip("together")

from stepladder.trainers.fireworks_jobs import FireworksService  # noqa: E402
from stepladder.trainers.fireworks_losses import (  # noqa: E402
    FireworksLosses,
    LossesUnread,
    curve_of,
)
from stepladder.trainers.together_jobs import TogetherService  # noqa: E402

LABEL = "stepladder-0123456789abcdef0123"
SUPERVISED = f"accounts/tester/supervisedFineTuningJobs/{LABEL}"
MODEL = f"accounts/tester/models/{LABEL}"


def answering(**methods: Any) -> SimpleNamespace:
    """A resource of an SDK whose methods give these things, whatever they are asked."""
    gives: dict[str, Callable[..., Any]] = {
        name: (lambda *_, given=given, **__: given) for name, given in methods.items()
    }
    return SimpleNamespace(**gives)


# --- Fireworks ----------------------------------------------------------------------------------


def of_fireworks(**resources: Any) -> FireworksService:
    client: Any = SimpleNamespace(**resources)
    endpoint = load_endpoints()["fireworks"]
    return FireworksService(endpoint, client, "https://api.example.org", "tester", fireworks)


def fireworks_state(**record: Any) -> TuningState:
    from fireworks.types import SupervisedFineTuningJob

    job = SupervisedFineTuningJob.construct(name=SUPERVISED, dataset="d", **record)
    return of_fireworks(supervised_fine_tuning_jobs=answering(get=job)).state(SUPERVISED)


@pytest.mark.parametrize(
    ("said", "phase"),
    [
        ("JOB_STATE_CREATING", "waiting"),
        ("JOB_STATE_VALIDATING", "waiting"),
        ("JOB_STATE_PENDING", "waiting"),
        ("JOB_STATE_RE_QUEUEING", "waiting"),
        ("JOB_STATE_PAUSED", "waiting"),
        ("JOB_STATE_RUNNING", "running"),
        ("JOB_STATE_WRITING_RESULTS", "running"),
        ("JOB_STATE_CANCELLING", "running"),
        ("JOB_STATE_NEWER_THAN_THIS", "running"),
        ("JOB_STATE_COMPLETED", "succeeded"),
        ("JOB_STATE_EARLY_STOPPED", "succeeded"),
        ("JOB_STATE_FAILED", "failed"),
        ("JOB_STATE_CANCELLED", "cancelled"),
        ("JOB_STATE_DELETING", "cancelled"),
        ("JOB_STATE_EXPIRED", "expired"),
        (None, "waiting"),
    ],
)
def test_every_state_of_fireworks_has_a_phase(said: str | None, phase: str) -> None:
    assert fireworks_state(state=said).phase == phase


def test_every_state_that_the_sdk_knows_is_in_the_table() -> None:
    from typing import get_args

    from fireworks.types import SupervisedFineTuningJob

    from stepladder.trainers.fireworks_jobs import _PHASES

    (literal, _) = get_args(SupervisedFineTuningJob.model_fields["state"].annotation)
    assert set(get_args(literal)) == _PHASES.keys()


def test_a_model_without_a_name_of_its_own_has_the_job_s() -> None:
    assert fireworks_state(state="JOB_STATE_COMPLETED").model == MODEL
    named = fireworks_state(state="JOB_STATE_COMPLETED", outputModel="mine")
    assert named.model == "accounts/tester/models/mine"
    whole = fireworks_state(state="JOB_STATE_COMPLETED", outputModel="accounts/a/models/m")
    assert whole.model == "accounts/a/models/m"
    assert fireworks_state(state="JOB_STATE_RUNNING", outputModel="mine").model is None


@pytest.mark.parametrize(
    ("cost", "dollars"),
    [
        ({"currencyCode": "USD", "units": "1", "nanos": 750_000_000}, 1.75),
        ({"currencyCode": "USD", "nanos": 20_000_000}, 0.02),
        ({"currencyCode": "EUR", "units": "1"}, None),
        (None, None),
    ],
)
def test_only_an_estimate_in_dollars_is_one(
    cost: dict[str, Any] | None, dollars: float | None
) -> None:
    found = fireworks_state(state="JOB_STATE_COMPLETED", estimatedCost=cost)
    assert found.billed_dollars == dollars
    assert len(found.cautions) == (dollars is not None)


def test_how_far_a_job_of_fireworks_is() -> None:
    progress = {"percent": 40, "epoch": 1}
    found = fireworks_state(state="JOB_STATE_RUNNING", jobProgress=progress)
    assert (found.step, found.steps, found.epoch) == (40, 100, 1)


def test_a_key_in_what_a_job_says_is_not_passed_on() -> None:
    status = {"code": "INTERNAL", "message": "denied: Bearer fw_1234567890"}
    found = fireworks_state(state="JOB_STATE_FAILED", status=status)
    assert "denied" in found.error
    assert "fw_1234567890" not in found.error


def deployed(refs: Iterable[dict[str, Any]], deployments: Iterable[dict[str, Any]]) -> str | None:
    from fireworks.types import Deployment, Model

    model = Model.construct(name=MODEL, deployedModelRefs=list(refs))
    listed = [Deployment.construct(**one) for one in deployments]
    service = of_fireworks(models=answering(get=model), deployments=answering(list=listed))
    return service.deployment(MODEL).name


def test_where_a_model_of_fireworks_answers() -> None:
    other = {"name": "accounts/tester/deployments/o", "baseModel": "other", "state": "READY"}
    ours = {"name": "accounts/tester/deployments/d", "baseModel": MODEL, "state": "READY"}
    added = {"deployment": "accounts/tester/deployments/a", "state": "DEPLOYED"}
    assert deployed([], [other, {**ours, "state": "CREATING"}]) is None
    assert deployed([{**added, "state": "DEPLOYING"}], []) is None
    assert deployed([], [other, ours]) == f"{MODEL}#accounts/tester/deployments/d"
    assert deployed([added], []) == f"{MODEL}#accounts/tester/deployments/a"
    assert deployed([{**added, "default": True}], []) == MODEL


def test_rows_that_fireworks_refuses_are_not_waited_for() -> None:
    from fireworks.types import Dataset

    status = {"code": "INVALID_ARGUMENT", "message": "line 3 is no JSON"}
    bad = Dataset.construct(name="d", state="UPLOADING", status=status)
    service = of_fireworks(datasets=answering(get=bad))
    with pytest.raises(ServiceFailed, match="line 3 is no JSON") as caught:
        service._is_ready("d")
    assert caught.value.failure.fatal


# --- Together -----------------------------------------------------------------------------------


def of_together(**resources: Any) -> TogetherService:
    client: Any = SimpleNamespace(**resources)
    endpoint = load_endpoints()["together"]
    return TogetherService(endpoint, client, "https://api.example.org/v1", together)


def together_state(
    metrics: Iterable[dict[str, float]] = (), events: Iterable[dict[str, Any]] = (), **record: Any
) -> TuningState:
    from together.types import FinetuneEvent, FinetuneResponse

    jobs = answering(
        retrieve=FinetuneResponse.construct(id="ft-1", **record),
        list_metrics=SimpleNamespace(metrics=list(metrics)),
        list_events=SimpleNamespace(data=[FinetuneEvent.construct(**one) for one in events]),
        list_checkpoints=SimpleNamespace(data=[]),
    )
    return of_together(fine_tuning=jobs).state("ft-1")


@pytest.mark.parametrize(
    ("said", "phase"),
    [
        ("pending", "waiting"),
        ("queued", "waiting"),
        ("running", "running"),
        ("compressing", "running"),
        ("uploading", "running"),
        ("cancel_requested", "running"),
        ("newer_than_this", "running"),
        ("completed", "succeeded"),
        ("error", "failed"),
        ("user_error", "failed"),
        ("cancelled", "cancelled"),
    ],
)
def test_every_status_of_together_has_a_phase(said: str, phase: str) -> None:
    assert together_state(status=said).phase == phase


def test_looks_at_held_out_rows_belong_to_the_step_they_were_made_at() -> None:
    metrics = [
        {"train/global_step": 1, "train/epoch": 0.5, "train/loss": 2.0},
        {"train/global_step": 2, "train/epoch": 1.0, "train/loss": 1.0},
        {"eval/global_step": 2, "eval/epoch": 1.0, "eval/loss": 1.5},
        {"eval/global_step": 3, "eval/loss": 1.4},  # without a training loss there is no point
        {"timestamp": 5.0},
    ]
    found = together_state(metrics, status="running")
    assert [(p.step, p.epoch, p.train_loss, p.held_out_loss) for p in found.learning] == [
        (1, 0.5, 2.0, None),
        (2, 1.0, 1.0, 1.5),
    ]
    assert found.step == 2


def test_the_last_error_says_why_a_job_of_together_failed() -> None:
    events = [
        {"type": "warning", "level": "warning", "message": "3 rows are odd"},
        {"type": "job_error", "level": "error", "message": "out of memory"},
    ]
    found = together_state(events=events, status="error")
    assert found.error == "out of memory"
    assert found.cautions == ("the service: 3 rows are odd",)


def test_a_price_is_told_in_billionths_of_a_dollar() -> None:
    assert together_state(status="completed", total_price=1_750_000_000).billed_dollars == 1.75
    assert together_state(status="completed").billed_dollars is None


def test_rows_that_together_refuses_are_not_waited_for() -> None:
    report = SimpleNamespace(error="line 3 has no messages")
    bad = SimpleNamespace(processing_status="INVALID_FORMAT", validation_report=report)
    service = of_together(files=answering(retrieve=bad))
    with pytest.raises(ServiceFailed, match="line 3 has no messages") as caught:
        service._is_read("file-1")
    assert caught.value.failure.fatal


# --- errors -------------------------------------------------------------------------------------


def failed(error: Exception, sdk: Any) -> Any:
    def fail() -> None:
        raise error

    with pytest.raises(ServiceFailed) as caught:
        call(fail, load_endpoints()["together"], sdk, "https://api.example.org")
    return caught.value.failure


@pytest.mark.parametrize("sdk", [together, fireworks], ids=["together", "fireworks"])
@pytest.mark.parametrize("packed", [True, False])
def test_errors_of_the_sdks_mean_what_openai_s_do(sdk: Any, packed: bool) -> None:
    httpx = pytest.importorskip("httpx")
    request = httpx.Request("POST", "https://api.example.org/v1")

    def refused(status: int, message: str, **headers: str) -> Any:
        body: Any = {"message": message}
        body = {"error": body} if packed else body
        answer = httpx.Response(status, request=request, headers=headers, json=body)
        return failed(sdk.APIStatusError("said", response=answer, body=body), sdk)

    full = refused(429, "slowly", **{"retry-after": "7"})
    assert (full.throttled, full.wait_seconds) == (True, 7.0)
    assert "slowly" in full.message
    assert refused(401, "no").fatal
    assert refused(500, "sorry").retry
    assert not refused(400, "bad rows").retry
    assert failed(sdk.APITimeoutError(request), sdk).maybe_billed
    broken = sdk.APIConnectionError(message="gone", request=request)
    broken.__cause__ = httpx.ReadError("gone")
    assert failed(broken, sdk).maybe_billed
    broken.__cause__ = httpx.ConnectError("refused")
    assert not failed(broken, sdk).maybe_billed
    assert failed(sdk.APIError.__base__("odd"), sdk).fatal


def test_an_answer_that_the_sdk_cannot_read_may_have_made_a_job() -> None:
    from pydantic import TypeAdapter, ValidationError

    with pytest.raises(ValidationError) as caught:
        TypeAdapter(int).validate_python("no")
    failure = failed(caught.value, together)
    assert (failure.fatal, failure.maybe_billed) == (True, True)
    assert "cannot read" in failure.message


def test_a_bug_of_ours_is_no_failure_of_the_service() -> None:
    def fail() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        call(fail, load_endpoints()["together"], together, "https://api.example.org")


def test_rows_that_are_never_read_are_given_up_on_in_passing() -> None:
    slept: list[float] = []
    with pytest.raises(ServiceFailed) as caught:
        wait_until(lambda: False, "still reading", slept.append)
    assert caught.value.failure.retry
    assert sum(slept) == pytest.approx(600)


def test_the_metrics_of_fireworks_are_read_in_both_forms_that_were_seen() -> None:
    flat = '{"step": 2, "train/step": 2, "train/loss": 1.1, "train/lr": 0.0001}'
    nested = '{"step": 1, "timestamp": 5.0, "data": {"train/epoch": 0, "train/loss": 1.4}}'
    looks = '{"step": 2, "eval/loss": 1.2}'
    broken = '{"step": 3, "train/loss": NaN}'
    cut = '{"step": 4, "trai'
    assert curve_of("\n".join([flat, nested, looks, broken, cut])) == [
        LearningPoint(1, 0.0, 1.4),
        LearningPoint(2, 0.0, 1.1, 1.2),
    ]
    assert curve_of("") == []
    with pytest.raises(LossesUnread, match="in no form that is known"):
        curve_of('{"loss": 1.0}')


def test_metrics_are_fetched_encrypted_and_their_address_is_told_to_nobody() -> None:
    losses = FireworksLosses(fireworks, local=False)
    for address in ("http://127.0.0.1:9/metrics?signature=hidden", "https://127.0.0.1:9/?s=hidden"):
        with pytest.raises(LossesUnread) as caught:
            losses.curve(address)
        assert "hidden" not in str(caught.value)
    losses.close()


def together_at(answers: Mapping[str, Any]) -> TogetherService:
    """The real SDK before a service that knows these paths and no others."""
    httpx = pytest.importorskip("httpx")

    def handle(request: Any) -> Any:
        found = answers.get(request.url.path)
        return httpx.Response(404 if found is None else 200, json=found or {})

    root = "https://api.example.org"
    versions = int(together.__version__.partition(".")[0]) >= 3
    client = together.Together(
        api_key="key",
        base_url=root if versions else f"{root}/v1",
        max_retries=0,
        http_client=httpx.Client(transport=httpx.MockTransport(handle)),
    )
    return TogetherService(load_endpoints()["together"], client, f"{root}/v1", together)


def second_version(**changes: str) -> dict[str, Any]:
    deployment = {
        "id": "dep-1",
        "name": "mine/tickets/d1",
        "model": "projects/p-1/models/ml_1/revisions/rv_1",
        "state": "DEPLOYMENT_STATE_READY",
        **changes,
    }
    job = {"id": "ft-1", "status": "completed", "model_output_name": "mine/tuned"}
    return {
        "/v1/endpoints": {"data": []},
        "/v1/fine-tunes": {"data": [job, {**job, "id": "ft-2", "model_output_name": "other"}]},
        "/v1/fine-tunes/ft-1": {**job, "model_object_id": "ml_1"},
        "/v1/whoami": {"project_id": "p-1"},
        "/v3/whoami": {"project_id": "p-1"},  # as newer SDKs ask
        "/v2/projects/p-1/endpoints": {
            "data": [{"id": "ep-1", "name": "mine/tickets", "deployments": [deployment]}]
        },
    }


def test_a_deployment_of_togethers_second_version_is_found_by_the_models_id() -> None:
    assert together_at(second_version()).deployment("mine/tuned").name == "mine/tickets/d1"
    elsewhere = second_version(model="projects/p-1/models/ml_2/revisions/rv_1")
    for other in (elsewhere, second_version(state="DEPLOYMENT_STATE_STOPPED")):
        found = together_at(other).deployment("mine/tuned")
        assert found.name is None
        assert found.how.startswith("tg endpoints create --model 'mine/tuned'")
