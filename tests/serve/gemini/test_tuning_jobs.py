"""Tuning jobs of Vertex: what is asked becomes a job; what became of it is told in its words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2 as httpx
import pytest
from contract.specs import Exchange, Json
from hypothesis import given
from hypothesis import strategies as st
from resources import PLACE, VERTEX, call, of_the_contract, recorded, send

from stepladder.database.records import Checkpoint, TunedModel, TuningJob
from stepladder.serve.gemini import own
from stepladder.serve.gemini.own import listed
from stepladder.serve.gemini.page import Page
from stepladder.serve.gemini.tuning_bodies import job_body
from stepladder.serve.server import Server
from stepladder.serve.settings import ServeSettings

pytestmark = pytest.mark.anyio

JOBS = f"{VERTEX}/tuningJobs"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BASES = ("gemini-3.5-flash", "gemini-2.5-flash", "qwen/qwen3@qwen3-4b")


@pytest.fixture
def serve_settings(tmp_path: Path) -> ServeSettings:
    aliases = dict.fromkeys(BASES, "fake")
    return ServeSettings(aliases=aliases, database=f"sqlite:///{tmp_path / 'serve.db'}")


class Waking:
    """Stands for the queue of trainings: counts how often there was something new."""

    def __init__(self) -> None:
        self.times = 0

    def wake(self) -> None:
        self.times += 1


@pytest.fixture(autouse=True)
def waking(server: Server) -> Waking:
    server.tuning = Waking()
    return server.tuning


def asked(base: str = "gemini-3.5-flash", **spec: Json) -> dict[str, Json]:
    return {
        "baseModel": base,
        "supervisedTuningSpec": {"trainingDatasetUri": "gs://b/train.jsonl", **spec},
    }


def job_in(server: Server, answer: Json) -> TuningJob:
    job = server.database.job(answer["name"].rpartition("/")[2])
    assert job is not None
    return job


def tuned(id: str, job: str = "77", owner: str = "local", **more: Any) -> TunedModel:
    return TunedModel(
        id=id, owner=owner, job=job, base="gemini-3.5-flash", model="local:fake", created_at=NOW,
        updated_at=NOW, files={}, **more,
    )  # fmt: skip


def finished(server: Server, **more: Any) -> TuningJob:
    """A job that has succeeded, with two checkpoints and the models they are."""
    job = TuningJob(
        id="77", owner="local", protocol="vertex", base="gemini-3.5-flash", model="local:fake",
        method="supervised", training_file="gs://b/t.jsonl", created_at=NOW, updated_at=NOW,
        started_at=NOW + timedelta(minutes=1), finished_at=NOW + timedelta(minutes=9),
        request=asked(), state="succeeded", tuned_model="902", name="mine",
        options={"epochs": 2, "adapter_rank": 4, "learning_rate_multiplier": 1.0, "batch_size": 8},
        checkpoints=(Checkpoint("1", 10, 1.0, "901"), Checkpoint("2", 20, 2.0, "902")),
        statistics={
            "examples": 500, "billable_tokens": 25_000, "steps": 60, "dropped": 1,
            "dropped_rows": [4], "dropped_reasons": ["row 4 has 9,000 tokens"], "truncated": 0,
            "input_tokens": {
                "sum": 20_000, "min": 3, "max": 900, "mean": 40.1, "median": 33, "p5": 5,
                "p95": 120, "buckets": [{"left": 0, "right": 100, "count": 5}],
            },
        },
    )  # fmt: skip
    job = replace(job, **more)
    server.database.add_job(job)
    for id in ("901", "902"):
        server.database.add_tuned(tuned(id, name="mine"))
    return job


# --- what was really sent -----------------------------------------------------------------------

REFUSED = {
    "tune_evaluation_config": "pointwise_metric_spec",
    "tune_vertex_dataset_resource": "training_dataset_uri should be a GCS object of type JSONL",
    "tune_open_model": "customBaseModel",
    "tune_distillation": "distillationSpec",
    "tune_reinforcement": "reinforcementTuningSpec",
    "invalid_argument": "Base model x is not supported",
}


async def test_captured_requests_are_answered(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    finished(server, id="777")
    server.database.add_tuned(tuned("9", job="777", name="before"))
    server.database.add_tuned(tuned("1", job="777"))
    for case, exchange in of_the_contract("tunings_vertex"):
        status = 404 if case == "not_found" else 400 if case in REFUSED else 200
        if case == "list_paged-2":
            status = 400  # a token of another service's
        answer = await call(app_client, exchange.method, exchange.path, exchange.body, status)
        assert REFUSED.get(case, "") in json.dumps(answer)
        if case == "get_succeeded":
            assert answer["state"] == "JOB_STATE_SUCCEEDED"


@pytest.mark.parametrize(("case", "exchange"), recorded("tunings_dev"))
async def test_the_developer_api_tells_where_to_tune(
    case: str, exchange: Any, app_client: httpx.AsyncClient
) -> None:
    status = 400 if exchange.path.endswith("/tunedModels") else 404
    answer = await call(app_client, exchange.method, exchange.path, exchange.body, status)
    if status == 400:
        assert "enterprise=True" in answer["error"]["message"]


# --- creating -----------------------------------------------------------------------------------


async def test_a_job_is_what_was_asked_for(
    app_client: httpx.AsyncClient, server: Server, waking: Waking
) -> None:
    body = asked(
        validationDatasetUri="gs://b/val.jsonl",
        hyperParameters={
            "epochCount": "3", "learning_rate_multiplier": 0.5,
            "adapterSize": "ADAPTER_SIZE_THIRTY_TWO", "batchSize": 4,
        },
        exportLastCheckpointOnly=True,
    )  # fmt: skip
    body |= {"tunedModelDisplayName": "mine", "description": "d", "labels": {"team_a": "x"}}
    answer = await call(app_client, "POST", JOBS, body)
    job = job_in(server, answer)
    assert job.options == {
        "epochs": 3, "learning_rate_multiplier": 0.5, "adapter_rank": 32, "batch_size": 4,
        "last_checkpoint_only": True,
    }  # fmt: skip
    assert (job.base, job.model) == ("gemini-3.5-flash", "local:fake")
    assert (job.training_file, job.validation_file) == ("gs://b/train.jsonl", "gs://b/val.jsonl")
    assert (job.owner, job.protocol, job.method, job.state) == (
        "local", "vertex", "supervised", "queued",
    )  # fmt: skip
    assert (job.name, job.pre_tuned) == ("mine", None)
    assert waking.times == 1
    assert answer["name"] == f"{PLACE}/tuningJobs/{job.id}"
    assert answer["state"] == "JOB_STATE_PENDING"
    assert answer["supervisedTuningSpec"]["hyperParameters"]["epochCount"] == "3"
    assert answer["labels"] == {"team_a": "x"}
    assert await call(app_client, "GET", f"/v1beta1/{answer['name']}") == answer
    of_v1 = await send(app_client, Exchange("GET", f"/v1/{answer['name']}"))
    assert of_v1.json() == answer


def preferred(**hyper: Json) -> dict[str, Json]:
    spec = {"trainingDatasetUri": "gs://b/train.jsonl", "hyperParameters": hyper}
    return {"baseModel": "gemini-3.5-flash", "preferenceOptimizationSpec": spec}


async def test_a_job_may_learn_from_preferences(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    body = preferred(beta=0.2, epochCount="2", adapterSize="ADAPTER_SIZE_ONE")
    answer = await call(app_client, "POST", JOBS, body)
    job = job_in(server, answer)
    assert (job.method, job.training_file) == ("preference", "gs://b/train.jsonl")
    assert job.options == {"beta": 0.2, "epochs": 2, "adapter_rank": 1}
    told = answer["preferenceOptimizationSpec"]["hyperParameters"]
    assert (told["beta"], told["epochCount"]) == (0.2, "2")
    assert "supervisedTuningSpec" not in answer


async def test_statistics_of_preferences_are_told_in_their_own_form(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    options = {"epochs": 2, "batch_size": 8, "beta": 0.1}
    finished(server, method="preference", request=preferred(), options=options)
    answer = await call(app_client, "GET", f"{JOBS}/77")
    told = answer["tuningDataStats"]["preferenceOptimizationDataStats"]
    assert (told["tuningDatasetExampleCount"], told["droppedExampleIndices"]) == ("500", ["4"])
    assert told["userInputTokenDistribution"]["sum"] == 20_000
    hyper = answer["preferenceOptimizationSpec"]["hyperParameters"]
    assert hyper == {"epochCount": "2", "beta": 0.1}


async def test_what_has_no_effect_here_is_named(app_client: httpx.AsyncClient) -> None:
    body = {**asked(), "encryptionSpec": {"kms_key_name": "k"}, "serviceAccount": "a@b"}
    response = await send(app_client, Exchange("POST", JOBS, body))
    assert response.headers["x-stepladder-ignored"] == "encryptionSpec, serviceAccount"
    assert not {"encryptionSpec", "serviceAccount"} & response.json().keys()


@pytest.mark.parametrize("name", ["publishers/google/models/gemini-3.5-flash", "models/fake"])
async def test_a_base_may_be_named_by_its_resource(
    name: str, app_client: httpx.AsyncClient, server: Server
) -> None:
    answer = await call(app_client, "POST", JOBS, asked(name))
    assert answer["baseModel"] == name
    assert job_in(server, answer).model == "local:fake"


async def test_what_was_not_said_is_left_to_the_trainer(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    spec = {"hyperParameters": {"adapterSize": "ADAPTER_SIZE_UNSPECIFIED"}}
    assert job_in(server, await call(app_client, "POST", JOBS, asked(**spec))).options == {}


async def test_a_file_of_this_server_can_be_learned_from(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    file = server.database.add_file(
        owner="local", name="t", purpose="media", media_type="application/jsonl", chunks=[b"{}"]
    )
    for uri in (f"files/{file.id}", f"http://127.0.0.1/v1beta/files/{file.id}"):
        answer = await call(app_client, "POST", JOBS, asked(trainingDatasetUri=uri))
        assert job_in(server, answer).training_file == file.id
        assert answer["supervisedTuningSpec"]["trainingDatasetUri"] == uri
    await call(app_client, "POST", JOBS, asked(trainingDatasetUri="files/123"), 400)


@pytest.mark.parametrize(
    ("checkpoint", "default", "wanted"),
    [(None, None, "902"), ("1", None, "901"), (None, "1", "901"), ("2", "1", "902")],
)
async def test_tuning_goes_on_from_a_tuned_model(
    checkpoint: str | None,
    default: str | None,
    wanted: str,
    app_client: httpx.AsyncClient,
    server: Server,
) -> None:
    finished(server)
    if default:
        server.database.change_tuned("902", default_checkpoint=default)
    given = {"tuned_model_name": f"{PLACE}/models/902@1"}
    given |= {"checkpoint_id": checkpoint} if checkpoint else {}
    body = {"preTunedModel": given, "supervisedTuningSpec": asked()["supervisedTuningSpec"]}
    answer = await call(app_client, "POST", JOBS, body)
    job = job_in(server, answer)
    assert (job.pre_tuned, job.base, job.model) == (wanted, "gemini-3.5-flash", "local:fake")
    assert job.name == "mine", "the name stays unless another is given"
    assert answer["preTunedModel"]["baseModel"] == "gemini-3.5-flash"
    assert "baseModel" not in answer


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"baseModel": None}, "exactly one of"),
        ({"preTunedModel": {"tunedModelName": "a"}}, "exactly one of"),
        ({"baseModel": None, "preTunedModel": {}}, "tunedModelName"),
        ({"baseModel": "gemini-9"}, "Base model gemini-9 is not supported"),
        ({"supervisedTuningSpec": None}, "supervisedTuningSpec"),
        ({"supervisedTuningSpec": {}}, "trainingDatasetUri"),
        ({"supervisedTuningSpec": {"trainingDatasetUri": "gs://b/t.csv"}}, "GCS object of type"),
        ({"supervisedTuningSpec": {"trainingDatasetUri": "s3://b/t.jsonl"}}, "training_dataset_"),
        ({"epochCount": 0}, "epochCount"),
        ({"epochCount": 101}, "epochCount"),
        ({"epochCount": "3.5"}, "epochCount"),
        ({"learningRateMultiplier": 0}, "learningRateMultiplier"),
        ({"learningRateMultiplier": "x"}, "learningRateMultiplier"),
        ({"learningRate": 1e-4}, "learningRateMultiplier"),
        ({"batchSize": 0}, "batchSize"),
        ({"adapterSize": "ADAPTER_SIZE_THREE"}, "ADAPTER_SIZE_FOUR"),
        ({"epochs": 3}, "epochCount"),
        ({"preferenceOptimizationSpec": preferred()["preferenceOptimizationSpec"]}, "exactly one"),
        ({"supervisedTuningSpec": None, **preferred(beta=0)}, "beta"),
        ({"supervisedTuningSpec": None, **preferred(batchSize=4)}, "batchSize"),
        ({"fullFineTuningSpec": {}}, "fullFineTuningSpec"),
        ({"outputUri": "gs://b/o"}, "outputUri"),
        ({"tunedModelDisplayName": "x" * 129}, "tunedModelDisplayName"),
        ({"labels": {"a": 1}}, "labels"),
        ({"tunedModelDisplay": "x"}, "did you mean 'tunedModelDisplayName'"),
    ],
    ids=lambda one: str(one)[:40],
)  # fmt: skip
async def test_what_cannot_be_trained_is_refused_and_makes_no_job(
    change: dict[str, Json], word: str, app_client: httpx.AsyncClient, server: Server
) -> None:
    body = asked(hyperParameters={})
    hyper = {
        "epochCount",
        "learningRateMultiplier",
        "learningRate",
        "batchSize",
        "adapterSize",
        "epochs",
    }
    for name, value in change.items():
        place = body["supervisedTuningSpec"]["hyperParameters"] if name in hyper else body
        place[name] = value
    answer = await call(app_client, "POST", JOBS, body, 400)
    assert word in json.dumps(answer)
    assert server.database.jobs() == []


@pytest.mark.parametrize(
    ("name", "checkpoint"), [("903@1", ""), ("901", "7"), ("../902", "3"), ("904", "")]
)
async def test_what_is_not_there_cannot_be_gone_on_from(
    name: str, checkpoint: str, app_client: httpx.AsyncClient, server: Server
) -> None:
    finished(server)
    server.database.add_tuned(tuned("904", job="1", default_checkpoint="5"))
    given = {"tunedModelName": f"{PLACE}/models/{name}", "checkpointId": checkpoint}
    body = {"preTunedModel": given, "supervisedTuningSpec": asked()["supervisedTuningSpec"]}
    assert await call(app_client, "POST", JOBS, body, 404)


async def test_a_server_that_does_not_tune_says_so(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    server.settings = replace(server.settings, tuning=False)
    assert "does not tune" in json.dumps(await call(app_client, "POST", JOBS, asked(), 503))


# --- telling ------------------------------------------------------------------------------------


async def test_a_job_that_succeeded_tells_model_endpoints_and_statistics(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    finished(server)
    answer = await call(app_client, "GET", f"{JOBS}/77")
    assert answer["tunedModel"] == {
        "model": f"{PLACE}/models/902@1",
        "endpoint": f"{PLACE}/endpoints/902",
        "checkpoints": [
            {"checkpointId": "1", "epoch": "1", "step": "10", "endpoint": f"{PLACE}/endpoints/901"},
            {"checkpointId": "2", "epoch": "2", "step": "20", "endpoint": f"{PLACE}/endpoints/902"},
        ],
    }
    told = answer["tuningDataStats"]["supervisedTuningDataStats"]
    assert told["tuningDatasetExampleCount"] == "500"
    assert (told["totalTruncatedExampleCount"], told["truncatedExampleIndices"]) == ("1", ["4"])
    assert told["userInputTokenDistribution"]["sum"] == "20000"
    assert told["userInputTokenDistribution"]["buckets"] == [{"left": 0, "right": 100, "count": 5}]
    hyper = answer["supervisedTuningSpec"]["hyperParameters"]
    assert hyper == {
        "epochCount": "2", "adapterSize": "ADAPTER_SIZE_FOUR", "learningRateMultiplier": 1.0,
        "batchSize": "8",
    }  # fmt: skip
    assert answer["startTime"] == "2026-11-22T12:01:00.000000Z"
    assert answer["endTime"] == "2026-11-22T12:09:00.000000Z"


async def test_checkpoints_are_told_unless_only_the_last_was_wanted(server: Server) -> None:
    job = finished(server, options={"last_checkpoint_only": True})
    assert "checkpoints" not in job_body(job, PLACE)["tunedModel"]


async def test_a_job_that_failed_tells_the_rows(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    error = {
        "reason": "invalid", "code": "invalid_training_file", "message": "2 rows are bad",
        "param": "training_file", "rows": [{"line": 3, "message": "no contents"}],
    }  # fmt: skip
    finished(server, state="failed", error=error, tuned_model=None, checkpoints=())
    answer = await call(app_client, "GET", f"{JOBS}/77")
    assert answer["state"] == "JOB_STATE_FAILED"
    assert "tunedModel" not in answer
    assert answer["error"]["code"] == 3
    assert answer["error"]["message"] == "2 rows are bad"
    (detail,) = answer["error"]["details"]
    assert detail["fieldViolations"] == [{"field": "line 3", "description": "no contents"}]


async def test_lists_are_filtered_and_go_on_page_by_page(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    made = []
    for n in range(5):
        body = asked() | {"labels": {"even": str(n % 2 == 0)}, "tunedModelDisplayName": f"job {n}"}
        made.append((await call(app_client, "POST", JOBS, body))["name"])
    server.database.change_job(made[1].rpartition("/")[2], state="failed")

    async def names(**query: str) -> list[str]:
        found, token = [], ""
        while True:
            asked = httpx.QueryParams({"pageSize": "2", "pageToken": token, **query})
            page = await call(app_client, "GET", f"{JOBS}?{asked}")
            found += [one["name"] for one in page["tuningJobs"]]
            token = page.get("nextPageToken", "")
            if not token:
                return found

    assert await names() == made[::-1]
    assert await names(filter="labels.even=True") == [made[4], made[2], made[0]]
    assert await names(filter='state="JOB_STATE_FAILED"') == [made[1]]
    assert await names(filter="NOT state=JOB_STATE_FAILED AND labels.even=False") == [made[3]]
    assert await names(filter='tuned_model_display_name:"job 3"') == [made[3]]
    error = await call(app_client, "GET", f"{JOBS}?filter=colour%3Dred", status=400)
    assert "colour" in error["error"]["message"]


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 9), st.integers(0, 30), st.booleans())
def test_a_page_has_what_fits_after_the_last_one_and_one_more(
    fitting: list[bool], size: int, start: int, begins: bool
) -> None:
    ids = [str(n) for n in range(len(fitting))]
    after = None if begins or start >= len(ids) else ids[start]

    def read(after: str | None, limit: int) -> list[str]:
        return ids[0 if after is None else ids.index(after) + 1 :][:limit]

    with mock.patch.object(own, "AT_ONCE", 3):
        found = listed(read, Page(size, after), lambda id: id, lambda id: fitting[int(id)])
    wanted = [id for id in read(after, len(ids)) if fitting[int(id)]]
    assert found[: size + 1] == wanted[: size + 1]


# --- cancelling ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [("queued", "cancelled"), ("running", "cancelling"), ("cancelling", "cancelling"),
     ("succeeded", "succeeded"), ("failed", "failed")],
)  # fmt: skip
async def test_a_job_is_cancelled_unless_it_is_over(
    before: Any, after: str, app_client: httpx.AsyncClient, server: Server, waking: Waking
) -> None:
    finished(server, state=before, finished_at=None)
    assert await call(app_client, "POST", f"{JOBS}/77:cancel") == {}
    job = server.database.job("77")
    assert job is not None
    assert job.state == after
    assert (job.finished_at is not None) == (after == "cancelled")
    assert waking.times == (before in ("queued", "running", "cancelling"))
    body = await call(app_client, "GET", f"{JOBS}/77")
    assert body["state"] == f"JOB_STATE_{after.upper()}"


async def test_only_vertex_jobs_that_are_there_are_found(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    finished(server, protocol="openai")
    for method, path in (("GET", "77"), ("POST", "77:cancel"), ("GET", "1"), ("POST", "x:cancel")):
        assert await call(app_client, method, f"{JOBS}/{path}", status=404)
    assert await call(app_client, "GET", JOBS) == {"tuningJobs": []}
    other = await call(app_client, "POST", f"{JOBS}:rebaseTunedModel", {}, 400)
    assert "rebaseTunedModel" in other["error"]["message"]


# --- the SDK ------------------------------------------------------------------------------------


@pytest.fixture
def sdk(running_server: Any) -> Iterator[Any]:
    import google.oauth2.credentials
    from google import genai
    from google.genai import types

    client = genai.Client(
        enterprise=True,
        project="p",
        location="us-central1",
        credentials=google.oauth2.credentials.Credentials(token="fake"),  # type: ignore[no-untyped-call]
        http_options=types.HttpOptions(base_url=running_server.url),
    )
    yield client
    client.close()


@pytest.mark.network
@pytest.mark.filterwarnings("ignore:The SDK's tuning implementation is experimental")
def test_the_sdk_tunes_waits_lists_and_cancels(sdk: Any, server: Server) -> None:
    from google.genai import types

    job = sdk.tunings.tune(
        base_model="gemini-3.5-flash",
        training_dataset=types.TuningDataset(gcs_uri="gs://b/train.jsonl"),
        config=types.CreateTuningJobConfig(
            tuned_model_display_name="mine", epoch_count=3, learning_rate_multiplier=0.5,
            adapter_size="ADAPTER_SIZE_FOUR", export_last_checkpoint_only=True,
            validation_dataset=types.TuningValidationDataset(gcs_uri="gs://b/val.jsonl"),
            labels={"k": "v"},
        ),
    )  # fmt: skip
    assert job.state == types.JobState.JOB_STATE_PENDING
    assert job.supervised_tuning_spec.hyper_parameters.epoch_count == 3
    assert [one.name for one in sdk.tunings.list(config={"page_size": 1})] == [job.name]
    sdk.tunings.cancel(name=job.name)
    assert sdk.tunings.get(name=job.name).state == types.JobState.JOB_STATE_CANCELLED
    finished(server)
    done = sdk.tunings.get(name="tuningJobs/77")
    assert done.has_succeeded
    assert done.tuned_model.endpoint == f"{PLACE}/endpoints/902"
    assert [one.epoch for one in done.tuned_model.checkpoints] == [1, 2]
    stats = done.tuning_data_stats.supervised_tuning_data_stats
    assert stats.total_billable_token_count == 25_000
    more = sdk.tunings.tune(
        base_model=done.tuned_model.model,
        training_dataset=types.TuningDataset(gcs_uri="gs://b/train.jsonl"),
        config=types.CreateTuningJobConfig(epoch_count=1, pre_tuned_model_checkpoint_id="1"),
    )
    assert server.database.job(more.name.rpartition("/")[2]).pre_tuned == "901"  # type: ignore[union-attr]
