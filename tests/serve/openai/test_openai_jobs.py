"""Fine-tuning jobs through the official SDK; what a worker would do is written to the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2 as httpx
import pytest
from openai import (
    AsyncOpenAI,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
)

from stepladder.database import new_id
from stepladder.database.records import Checkpoint, TunedModel
from stepladder.serve.keys import hash_of
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def upload(sdk: AsyncOpenAI, purpose: Any = "fine-tune") -> str:
    return (await sdk.files.create(file=("a.jsonl", b'{"messages": []}\n'), purpose=purpose)).id


async def started(sdk: AsyncOpenAI, **options: Any) -> Any:
    asked = {"model": "fake", "training_file": await upload(sdk), **options}
    return await sdk.fine_tuning.jobs.create(**asked)


def trained(server: Server, job_id: str, steps: tuple[int, ...] = (10, 20)) -> str:
    """What a worker leaves behind; the id of the tuned model."""
    bare = job_id.removeprefix("ftjob-")
    job = server.database.job(bare)
    assert job is not None
    models = [
        TunedModel(new_id(), job.owner, bare, job.base, job.model, NOW, NOW, {}, name=job.name)
        for _ in steps
    ]
    for model in models:
        server.database.add_tuned(model)
    points = tuple(
        Checkpoint(str(place), step, place, model.id, {"train_loss": 0.5, "own": 1})
        for place, (step, model) in enumerate(zip(steps, models, strict=True), 1)
    )
    server.database.change_job(
        bare, state="succeeded", finished_at=NOW, tuned_model=models[-1].id, checkpoints=points,
        trained_tokens=100, options={**job.options, "epochs": 2, "batch_size": 4},
    )  # fmt: skip
    return models[-1].id


async def test_a_job_waits_until_a_worker_takes_it(sdk: AsyncOpenAI, server: Server) -> None:
    job = await started(sdk, suffix="try", seed=42, metadata={"a": "b"})
    assert (job.status, job.model, job.seed) == ("queued", "fake", 42)
    assert (job.fine_tuned_model, job.finished_at, job.error) == (None, None, None)
    assert job.hyperparameters.n_epochs == "auto"
    assert job.metadata == {"a": "b"}
    assert await sdk.fine_tuning.jobs.retrieve(job.id) == job
    kept = server.database.job(job.id.removeprefix("ftjob-"))
    assert kept is not None
    assert (kept.state, kept.protocol, kept.method) == ("queued", "openai", "supervised")
    assert (kept.base, kept.model, kept.name) == ("fake", "local:fake", "try")
    assert kept.options == {"seed": 42}
    assert kept.training_file == job.training_file.removeprefix("file-")


@pytest.mark.parametrize("legacy", [False, True])
async def test_how_to_train_is_kept_and_told(
    sdk: AsyncOpenAI, server: Server, legacy: bool
) -> None:
    hyper = {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 2.0}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyper}}
    job = await started(sdk, **({"hyperparameters": hyper} if legacy else {"method": method}))
    kept = server.database.job(job.id.removeprefix("ftjob-"))
    assert kept is not None
    assert {**kept.options, "seed": 0} == {
        "epochs": 3, "learning_rate_multiplier": 2.0, "seed": 0
    }  # fmt: skip
    assert job.method.supervised.hyperparameters.n_epochs == 3
    assert job.hyperparameters.batch_size == "auto"


async def test_without_a_seed_one_is_drawn_and_told(sdk: AsyncOpenAI, server: Server) -> None:
    job = await started(sdk)
    kept = server.database.job(job.id.removeprefix("ftjob-"))
    assert kept is not None
    assert kept.options["seed"] == job.seed


async def test_an_integration_is_told_not_to_run(sdk: AsyncOpenAI) -> None:
    job = await started(sdk, integrations=[{"type": "wandb", "wandb": {"project": "p"}}])
    (event,) = (await sdk.fine_tuning.jobs.list_events(job.id)).data
    assert event.level == "warn"
    assert "wandb" in event.message
    assert job.integrations[0].wandb.project == "p"


async def test_a_finished_job_tells_its_model_under_the_base_s_name(
    sdk: AsyncOpenAI, server: Server
) -> None:
    job = await started(sdk, suffix="my try")
    tuned = trained(server, job.id)
    done = await sdk.fine_tuning.jobs.retrieve(job.id)
    assert done.status == "succeeded"
    assert done.fine_tuned_model == f"ft:fake:stepladder:my-try:{tuned}"
    assert (done.trained_tokens, done.finished_at) == (100, int(NOW.timestamp()))
    assert done.hyperparameters.n_epochs == 2


async def test_checkpoints_have_names_of_their_own(sdk: AsyncOpenAI, server: Server) -> None:
    job = await started(sdk)
    assert (await sdk.fine_tuning.jobs.checkpoints.list(job.id)).data == []
    trained(server, job.id, (5, 10, 15))
    shown = [one async for one in sdk.fine_tuning.jobs.checkpoints.list(job.id, limit=2)]
    assert [one.step_number for one in shown] == [15, 10, 5]
    names = [one.fine_tuned_model_checkpoint for one in shown]
    assert len(set(names)) == 3
    assert names[0].endswith(":ckpt-step-15")
    assert shown[0].metrics.train_loss == 0.5
    assert shown[0].fine_tuning_job_id == job.id


async def test_a_tuned_model_is_listed_asked_for_and_deleted(
    sdk: AsyncOpenAI, server: Server
) -> None:
    job = await started(sdk)
    tuned = trained(server, job.id, (1,))
    name = f"ft:fake:stepladder::{tuned}"
    assert name in [one.id async for one in sdk.models.list()]
    server.models.models[tuned] = server.models.get("fake")  # as the directory serves it
    assert (await sdk.models.retrieve(name)).id == name
    hi: Any = [{"role": "user", "content": "hi"}]
    answer = await sdk.chat.completions.create(model=name, messages=hi)
    assert (answer.model, answer.choices[0].message.content) == (name, "hi")
    text = await sdk.completions.create(model=f"{name}:ckpt-step-1", prompt="hi")
    assert text.model.endswith(":ckpt-step-1")
    assert (await sdk.models.delete(name)).deleted
    assert name not in [one.id async for one in sdk.models.list()]
    with pytest.raises(NotFoundError):
        await sdk.models.delete(name)


async def test_a_tuned_model_is_gone_on_from(sdk: AsyncOpenAI, server: Server) -> None:
    first = await started(sdk)
    tuned = trained(server, first.id, (1,))
    second = await started(sdk, model=f"ft:fake:stepladder::{tuned}")
    kept = server.database.job(second.id.removeprefix("ftjob-"))
    assert kept is not None
    assert (kept.base, kept.model, kept.pre_tuned) == ("fake", "local:fake", tuned)
    assert second.model == f"ft:fake:stepladder::{tuned}"
    with pytest.raises(NotFoundError) as told:
        await started(sdk, model="ft:fake:stepladder::1")
    assert told.value.code == "model_not_found"


async def test_events_come_newest_first_by_the_page(sdk: AsyncOpenAI, server: Server) -> None:
    job = await started(sdk)
    bare = job.id.removeprefix("ftjob-")
    for step in range(5):
        data = {"step": step, "train_loss": 1.0}
        server.database.add_event(bare, "info", f"step {step}", data if step else {})
    events = [one async for one in sdk.fine_tuning.jobs.list_events(job.id, limit=2)]
    assert [one.message for one in events] == [f"step {step}" for step in (4, 3, 2, 1, 0)]
    assert [one.type for one in events] == ["metrics"] * 4 + ["message"]
    assert events[0].data == {"step": 4, "train_loss": 1.0}


async def test_jobs_are_listed_by_what_was_noted_on_them(sdk: AsyncOpenAI) -> None:
    jobs = [await started(sdk, metadata={"kind": kind}) for kind in ("a", "b", "a")]
    plain = await started(sdk)
    every = [one.id async for one in sdk.fine_tuning.jobs.list(limit=1)]
    assert every == [plain.id, jobs[2].id, jobs[1].id, jobs[0].id]
    of_kind = sdk.fine_tuning.jobs.list(metadata={"kind": "a"}, limit=1)
    assert [one.id async for one in of_kind] == [jobs[2].id, jobs[0].id]
    without: Any = {"metadata": "null"}
    assert [one.id async for one in sdk.fine_tuning.jobs.list(extra_query=without)] == [plain.id]


async def test_a_job_may_learn_from_preferences(sdk: AsyncOpenAI, server: Server) -> None:
    hyper = {"beta": 0.1, "n_epochs": 2}
    job = await started(sdk, method={"type": "dpo", "dpo": {"hyperparameters": hyper}})
    assert job.method.type == "dpo"
    assert job.method.dpo.hyperparameters.beta == 0.1
    kept = server.database.job(job.id.removeprefix("ftjob-"))
    assert kept is not None
    assert (kept.method, kept.options["beta"]) == ("preference", 0.1)


async def test_a_server_that_does_not_tune_says_so(sdk: AsyncOpenAI, server: Server) -> None:
    server.settings = replace(server.settings, tuning=False)
    with pytest.raises(InternalServerError) as told:
        await started(sdk)
    assert (told.value.status_code, told.value.code) == (503, "unavailable")


async def test_hyperparameters_that_contradict_each_other_are_refused(sdk: AsyncOpenAI) -> None:
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    with pytest.raises(BadRequestError) as told:
        await started(sdk, method=method, hyperparameters={"n_epochs": 3})
    assert told.value.param == "hyperparameters"


async def test_a_job_is_cancelled_once(sdk: AsyncOpenAI, server: Server) -> None:
    waiting = await started(sdk)
    ended = await sdk.fine_tuning.jobs.cancel(waiting.id)
    assert ended.status == "cancelled"
    assert ended.finished_at is not None
    with pytest.raises(BadRequestError):
        await sdk.fine_tuning.jobs.cancel(waiting.id)
    running = await started(sdk)
    bare = running.id.removeprefix("ftjob-")
    server.database.change_job(bare, state="running", started_at=NOW)
    assert (await sdk.fine_tuning.jobs.cancel(running.id)).status == "running"
    kept = server.database.job(bare)
    assert kept is not None
    assert kept.state == "cancelling"


async def test_a_job_is_paused_and_resumed(sdk: AsyncOpenAI, server: Server) -> None:
    job = await started(sdk)
    jobs = sdk.fine_tuning.jobs
    with pytest.raises(BadRequestError, match="is not paused"):
        await jobs.resume(job.id)
    # a word that the client's types do not have, but OpenAI's examples
    assert str((await jobs.pause(job.id)).status) == "paused"
    assert (await jobs.resume(job.id)).status == "queued"
    bare = job.id.removeprefix("ftjob-")
    server.database.change_job(bare, state="running", started_at=NOW)
    assert str((await jobs.pause(job.id)).status) == "paused"
    assert (await jobs.resume(job.id)).status == "running"
    await jobs.pause(job.id)
    assert (await jobs.cancel(job.id)).status == "running"
    for call in (jobs.pause, jobs.resume):
        with pytest.raises(BadRequestError, match="paused"):
            await call(job.id)


async def test_a_failed_job_says_which_rows_are_at_fault(sdk: AsyncOpenAI, server: Server) -> None:
    job = await started(sdk)
    rows = [{"line": line, "message": "no answer"} for line in range(1, 13)]
    server.database.change_job(
        job.id.removeprefix("ftjob-"), state="failed", finished_at=NOW + timedelta(minutes=1),
        error={"reason": "invalid_file", "message": "bad rows", "param": "training_file",
               "rows": rows},
    )  # fmt: skip
    failed = await sdk.fine_tuning.jobs.retrieve(job.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert (failed.error.code, failed.error.param) == ("invalid_file", "training_file")
    assert "line 1: no answer" in failed.error.message
    assert failed.error.message.endswith("and 2 more")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": None}, "model"),
        ({"training_file": None}, "training_file"),
        ({"training_file": "file-1"}, "training_file"),
        ({"training_file": 5}, "training_file"),
        ({"validation_file": "file-1"}, "validation_file"),
        ({"suffix": ""}, "suffix"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"method": {"type": "reinforcement", "reinforcement": {}}}, "method.type"),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 3}}}},
            "method.dpo.hyperparameters.beta",
        ),
        ({"method": {}}, "method.type"),
        ({"method": {"type": "guess"}}, "method.type"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 0}}, "hyperparameters.batch_size"),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            "hyperparameters.learning_rate_multiplier",
        ),
        ({"hyperparameters": {"beta": 0.1}}, "hyperparameters.beta"),
        ({"integrations": [{"type": "other"}]}, "integrations[0].type"),
        ({"integrations": [{"type": "wandb"}]}, "integrations[0].wandb"),
        ({"metadata": {"": "x"}}, "metadata"),
        ({"n_epochs": 3}, "n_epochs"),
    ],
)
def test_every_fault_is_told_by_its_field(call: Any, body: dict[str, Any], param: str) -> None:
    files = {"file": ("a.jsonl", b"{}")}
    file = call("POST", "/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"]
    plain = {"model": "fake", "training_file": file}
    response = call.post("/v1/fine_tuning/jobs", {**plain, **body})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    call("DELETE", f"/v1/files/{file}")


async def test_a_file_for_something_else_is_refused(sdk: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError) as told:
        await sdk.fine_tuning.jobs.create(model="fake", training_file=await upload(sdk, "batch"))
    assert told.value.param == "training_file"


def test_an_unknown_job_is_not_found(call: Any) -> None:
    for id in ("ftjob-1", "1", "file-1"):
        for method, path in (
            ("GET", ""), ("GET", "/events"), ("GET", "/checkpoints"), ("POST", "/cancel"),
            ("POST", "/pause"),
        ):  # fmt: skip
            response = call(method, f"/v1/fine_tuning/jobs/{id}{path}")
            assert response.status_code == 404


async def test_a_cursor_of_another_list_is_refused(
    sdk: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    job = await started(sdk)
    for path in ("events", "checkpoints"):
        for after in ("x", "ftevent-1", "ftckpt-1-1", "ftevent-1-x"):
            response = await http.get(
                f"/v1/fine_tuning/jobs/{job.id}/{path}", params={"after": after}
            )
            assert response.status_code == 400
            assert response.json()["error"]["param"] == "after"


async def test_who_may_not_tune_is_told_so(sdk: AsyncOpenAI, server: Server) -> None:
    job = await started(sdk)
    for name, role in (("ann", "use"), ("bob", "tune")):
        server.database.add_key(name, hash_of(name), role, None, None, NOW)
    server.keyring.read()
    ann, bob = (sdk.with_options(api_key=name) for name in ("ann", "bob"))
    with pytest.raises(PermissionDeniedError):
        await ann.fine_tuning.jobs.create(model="fake", training_file="file-1")
    with pytest.raises(NotFoundError):
        await bob.fine_tuning.jobs.retrieve(job.id)
    with pytest.raises(NotFoundError):
        await bob.fine_tuning.jobs.cancel(job.id)
    assert (await bob.fine_tuning.jobs.list()).data == []


async def test_what_was_not_tuned_here_is_not_deleted(sdk: AsyncOpenAI) -> None:
    with pytest.raises(PermissionDeniedError):
        await sdk.models.delete("fake")
    with pytest.raises(NotFoundError):
        await sdk.models.delete("nope")
    with pytest.raises(NotFoundError):
        await sdk.models.retrieve("nope/with/slashes")
    assert (await sdk.models.retrieve("fake")).owned_by == "stepladder"
