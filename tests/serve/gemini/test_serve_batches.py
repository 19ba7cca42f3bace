"""Batches of both services: asked for, run, told in the order of the input, with what was given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import pytest
from contract.specs import Json
from resources import PLACE, VERTEX, call, of_the_contract

from stepladder.database.records import BatchItem
from stepladder.serve.batching import BatchRunner
from stepladder.serve.gemini.batch_items import items_of
from stepladder.serve.server import Server
from stepladder.serve.settings import ServeSettings

pytestmark = pytest.mark.anyio

GENERATE = "/v1beta/models/gemini-2.5-flash:batchGenerateContent"
EMBED = "/v1beta/models/gemini-embedding-001:asyncBatchEmbedContent"
JOBS = f"{VERTEX}/batchPredictionJobs"
MODELS = {"gemini-2.5-flash": "fake", "9": "fake", "gemini-embedding-001": "fake-encoder"}


@pytest.fixture
def serve_settings(tmp_path: Path) -> ServeSettings:
    return ServeSettings(
        aliases=MODELS, database=f"sqlite:///{tmp_path / 'serve.db'}", gs_folder=tmp_path / "gs"
    )


@asynccontextmanager
async def working(server: Server) -> AsyncIterator[None]:
    """Batches are worked off beside the test."""
    runner = BatchRunner(server)
    server.batches = runner
    task = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def over(client: httpx.AsyncClient, path: str) -> Json:
    """The batch once it is over."""
    async with asyncio.timeout(20):
        while True:
            told = await call(client, "GET", path)
            if told.get("done") or "endTime" in told:
                return told
            await asyncio.sleep(0.01)


def said(text: str, **more: Json) -> dict[str, Json]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}


def inline(*items: Json, **more: Json) -> Json:
    return {"batch": {"inputConfig": {"requests": {"requests": [*items]}}, **more}}


def text_of(answer: Json) -> str:
    return "".join(part["text"] for part in answer["candidates"][0]["content"]["parts"])


def put(server: Server, uri: str, lines: list[Any]) -> None:
    """Lines of JSON as an object; what is a text already stays."""
    assert server.settings.gs_folder is not None
    path = server.settings.gs_folder / uri.removeprefix("gs://")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    )


def predictions(server: Server, job: Json) -> list[Json]:
    assert server.settings.gs_folder is not None
    folder = job["outputInfo"]["gcsOutputDirectory"].removeprefix("gs://")
    text = (server.settings.gs_folder / folder / "predictions.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def a_file(server: Server, *lines: Any) -> str:
    content = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    stored = server.database.add_file(
        owner="local", name="in.jsonl", purpose="media", media_type="application/jsonl",
        chunks=[content.encode()],
    )  # fmt: skip
    return f"files/{stored.id}"


# --- what was really sent -----------------------------------------------------------------------

REFUSED = {
    "create_file_dev": (404, "files/abc-123"), "get_file_done_dev": (404, "b2"),
    "get_inlined_done_dev": (404, "b1"), "cancel_dev": (404, "b1"), "delete_dev": (404, "b1"),
    "create_bq_vertex": (400, "BigQuery"), "get_vertex": (404, "55"),
    "cancel_vertex": (404, "55"), "delete_vertex": (404, "55"),
}  # fmt: skip


async def test_captured_requests_are_answered(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    put(server, "gs://b/in.jsonl", [{"request": said("hi")}])
    for case, exchange in of_the_contract("batches"):
        status, word = REFUSED.get(case, (200, ""))
        answer = await call(app_client, exchange.method, exchange.path, exchange.body, status)
        assert word in json.dumps(answer)
        if case.startswith("create_") and status == 200:
            state = answer.get("state") or answer["metadata"]["state"]
            assert state.endswith("STATE_PENDING")


# --- inline -------------------------------------------------------------------------------------


async def test_answers_come_in_the_order_of_the_requests_with_what_was_given(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    items = [
        {"request": said(f"word {n}"), "metadata": {"key": f"k{n}", "mine": [n]}} for n in range(20)
    ]
    items[7] = {
        "request": said("x", generationConfig={"temperature": 9}),
        "metadata": {"key": "bad"},
    }
    items[8] = {"request": {"model": "models/gemini-2.5-flash", **said("named")}}
    items[9] = {"request": {"model": "models/other", **said("named")}}
    created = await call(app_client, "POST", GENERATE, inline(*items, displayName="bj"))
    assert created["metadata"]["state"] == "BATCH_STATE_PENDING"
    assert created["metadata"]["batchStats"] == {
        "requestCount": "20", "pendingRequestCount": "20",
    }  # fmt: skip
    assert "done" not in created
    path = f"/v1beta/{created['name']}"
    async with working(server):
        done = await over(app_client, path)
    metadata = done["metadata"]
    assert metadata["state"] == "BATCH_STATE_SUCCEEDED"
    assert (metadata["displayName"], metadata["model"]) == ("bj", "models/gemini-2.5-flash")
    assert metadata["batchStats"] == {
        "requestCount": "20", "successfulRequestCount": "18", "failedRequestCount": "2",
    }  # fmt: skip
    answers = metadata["output"]["inlinedResponses"]["inlinedResponses"]
    assert done["response"]["inlinedResponses"]["inlinedResponses"] == answers
    for n, answer in enumerate(answers):
        if n in (7, 9):
            assert answer["error"]["code"] == 3
            assert ("temperature" if n == 7 else "models/other") in answer["error"]["message"]
        else:
            assert text_of(answer["response"]) == ("named" if n == 8 else f"word {n}")
            assert answer["response"]["usageMetadata"]["totalTokenCount"] > 0
    assert [one.get("metadata") for one in answers] == [one.get("metadata") for one in items]
    assert (
        "output"
        not in (await call(app_client, "GET", "/v1beta/batches"))["operations"][0]["metadata"]
    )


async def test_texts_are_embedded_in_a_batch(app_client: httpx.AsyncClient, server: Server) -> None:
    items = [
        {"request": {"content": {"parts": [{"text": text}]}}, "metadata": {"key": text}}
        for text in ("aaa", "eio", "")
    ]
    created = await call(app_client, "POST", EMBED, inline(*items))
    assert created["metadata"]["@type"].endswith("EmbedContentBatch")
    async with working(server):
        done = await over(app_client, f"/v1beta/{created['name']}")
    answers = done["response"]["inlinedResponses"]["inlinedResponses"]
    assert [one["response"]["embedding"]["values"] for one in answers] == [
        [3, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0],
    ]  # fmt: skip


# --- files --------------------------------------------------------------------------------------


async def test_a_file_of_requests_becomes_a_file_of_answers(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    name = a_file(
        server,
        {"key": "one", "request": said("1")},
        "",
        {"key": "two", "request": said("2", colour="red")},
        {"request": said("3"), "metadata": {"a": 1}},
    )
    created = await call(
        app_client, "POST", GENERATE, {"batch": {"input_config": {"file_name": name}}}
    )
    async with working(server):
        done = await over(app_client, f"/v1beta/{created['name']}")
    assert done["metadata"]["inputConfig"] == {"fileName": name}
    file = done["response"]["responsesFile"]
    assert done["metadata"]["output"] == {"responsesFile": file}
    told = await call(app_client, "GET", f"/v1beta/{file}")
    assert told["source"] == "GENERATED"
    content = (await app_client.get(f"/v1beta/{file}:download?alt=media&key=x")).text
    first, second, third = map(json.loads, content.splitlines())
    assert (first["key"], text_of(first["response"])) == ("one", "1")
    assert (second["key"], second["error"]["code"]) == ("two", 3)
    assert "colour" in second["error"]["message"]
    assert (third["metadata"], text_of(third["response"])) == ({"a": 1}, "3")


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (["{"], "line 1"), (["[]"], "line 1: the line is no object"),
        ([{"request": said("1")}, {"key": "a"}], "line 2"), ([], "no requests"),
        ([{"request": "x"}], "request"), (["", " "], "no requests"),
    ],
)  # fmt: skip
async def test_a_file_that_is_none_of_requests_is_refused_and_makes_no_batch(
    lines: list[Any], word: str, app_client: httpx.AsyncClient, server: Server
) -> None:
    body = {"batch": {"inputConfig": {"fileName": a_file(server, *lines)}}}
    assert word in (await call(app_client, "POST", GENERATE, body, 400))["error"]["message"]
    assert server.database.batches() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400), ({"batch": {}}, 400), (inline(), 400), ({"batch": {"inputConfig": {}}}, 400),
        (inline({"key": "a"}), 400), (inline({"request": []}), 400),
        (inline({"request": said("a")}, priority="3"), 400),
        (inline({"request": said("a")}, model="models/other"), 400),
        ({"batch": {"inputConfig": {"fileName": "files/1"}}}, 404),
        ({"batch": {"inputConfig": {"fileName": "files/1", "requests": {}}}}, 400),
    ],
)  # fmt: skip
async def test_what_is_no_batch_is_refused(
    body: Json, status: int, app_client: httpx.AsyncClient, server: Server
) -> None:
    await call(app_client, "POST", GENERATE, body, status)
    assert server.database.batches() == []


async def test_a_model_that_is_not_there_has_no_batches(app_client: httpx.AsyncClient) -> None:
    path = "/v1beta/models/nobody:batchGenerateContent"
    await call(app_client, "POST", path, inline({"request": said("a")}), 404)


def test_all_items_are_told_however_many_come_at_once() -> None:
    items = [BatchItem("1", n, str(n), {}, done=n != 4) for n in range(11)]

    class Paged:
        def items(self, batch: str, *, after: int) -> list[BatchItem]:
            return [item for item in items if item.index > after][:3]

    server: Any = SimpleNamespace(database=Paged())
    batch: Any = SimpleNamespace(id="1")
    assert [one.index for one in items_of(server, batch)] == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]


# --- ending -------------------------------------------------------------------------------------


async def test_a_batch_is_cancelled_listed_and_forgotten(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    made = [
        (await call(app_client, "POST", GENERATE, inline({"request": said("a")})))["name"]
        for _ in range(3)
    ]
    assert await call(app_client, "POST", f"/v1beta/{made[0]}:cancel", {}) == {}
    told = await call(app_client, "GET", f"/v1beta/{made[0]}")
    assert (told["done"], told["metadata"]["state"]) == (True, "BATCH_STATE_CANCELLED")
    assert told["error"]["code"] == 1
    assert await call(app_client, "POST", f"/v1beta/{made[0]}:cancel") == {}
    running = made[1].removeprefix("batches/")
    server.database.change_batch(running, state="running")
    await call(app_client, "POST", f"/v1beta/{made[1]}:cancel")
    assert server.database.batch(running).state == "cancelling"  # type: ignore[union-attr]
    page = await call(app_client, "GET", "/v1beta/batches?pageSize=2")
    assert [one["name"] for one in page["operations"]] == made[:0:-1]
    token = page["nextPageToken"]
    rest = await call(app_client, "GET", f"/v1beta/batches?pageSize=2&pageToken={token}")
    assert [one["name"] for one in rest["operations"]] == made[:1]
    assert await call(app_client, "DELETE", f"/v1beta/{made[0]}") == {}
    for method in ("GET", "DELETE"):
        await call(app_client, method, f"/v1beta/{made[0]}", status=404)
    await call(app_client, "GET", "/v1beta/batches?filter=state%3Dx", status=400)


async def test_what_was_answered_before_the_end_is_told(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    created = await call(
        app_client, "POST", GENERATE, inline({"request": said("a")}, {"request": said("b")})
    )
    id = created["name"].removeprefix("batches/")
    server.database.finish_item(id, 0, answer={"candidates": []})
    server.database.change_batch(
        id, state="failed", finished_at=datetime.now(UTC),
        error={"reason": "expired", "message": "its time was over"},
    )  # fmt: skip
    told = await call(app_client, "GET", f"/v1beta/{created['name']}")
    assert told["metadata"]["state"] == "BATCH_STATE_EXPIRED"
    assert told["error"]["message"] == "its time was over"
    assert told["metadata"]["output"]["inlinedResponses"]["inlinedResponses"] == [
        {"response": {"candidates": []}}
    ]
    assert told["metadata"]["batchStats"]["pendingRequestCount"] == "1"


# --- Vertex -------------------------------------------------------------------------------------


def job(*uris: str, **more: Json) -> dict[str, Json]:
    return {
        "model": "publishers/google/models/gemini-2.5-flash",
        "displayName": "bj",
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [*uris]}},
        "outputConfig": {
            "predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": "gs://b/out"},
        },
        **more,
    }  # fmt: skip


async def test_objects_of_requests_become_an_object_of_predictions(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    put(server, "gs://b/one.jsonl", [{"request": said("1"), "id": 17}, {"request": {}}])
    put(server, "gs://b/two.jsonl", [{"request": said("3")}])
    created = await call(
        app_client, "POST", JOBS, job("gs://b/one.jsonl", "gs://b/two.jsonl", labels={"a": "b"})
    )
    assert created["state"] == "JOB_STATE_PENDING"
    assert created["name"].startswith(f"{PLACE}/batchPredictionJobs/")
    async with working(server):
        done = await over(app_client, f"/v1beta1/{created['name']}")
    assert (done["state"], done["labels"]) == ("JOB_STATE_SUCCEEDED", {"a": "b"})
    assert done["completionStats"] == {
        "successfulCount": "2", "failedCount": "1", "incompleteCount": "0",
    }  # fmt: skip
    first, second, third = predictions(server, done)
    assert (first["id"], first["request"], first["status"]) == (17, said("1"), "")
    assert text_of(first["response"]) == "1"
    assert (json.loads(second["status"])["code"], second["response"]) == (3, {})
    assert text_of(third["response"]) == "3"
    assert "createTime" in third["response"], "in Vertex's words"


@pytest.mark.parametrize(
    ("lines", "word"), [(None, "no object"), (["{"], "line 1"), ([{"content": "a"}], "request")]
)
async def test_an_input_that_cannot_be_used_makes_a_job_that_failed(
    lines: list[Any] | None, word: str, app_client: httpx.AsyncClient, server: Server
) -> None:
    if lines is not None:
        put(server, "gs://b/in.jsonl", lines)
    created = await call(app_client, "POST", JOBS, job("gs://b/in.jsonl"))
    assert created["state"] == "JOB_STATE_FAILED"
    assert word in json.dumps(created["error"])
    assert await call(app_client, "GET", f"/v1beta1/{created['name']}") == created


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model": "publishers/google/models/nobody"}, "nobody"),
        ({"inputConfig": {"gcsSource": {"uris": []}}}, "no input"),
        ({"inputConfig": {"gcsSource": {"uris": ["gs://b/*.jsonl"]}}}, "wildcards"),
        ({"inputConfig": {"gcsSource": {"uris": ["/etc/passwd"]}}}, "no object"),
        ({"inputConfig": {"bigquerySource": {"inputUri": "bq://x"}}}, "BigQuery"),
        ({"inputConfig": {"instancesFormat": "csv", "gcsSource": {"uris": ["gs://b/a"]}}}, "jsonl"),
        ({"outputConfig": {}}, "no place"),
        ({"outputConfig": {"gcsDestination": {"outputUriPrefix": "/tmp"}}}, "no place"),
        ({"outputConfig": {"gcsDestination": {"outputUriPrefix": "gs://../../x"}}}, "no place"),
        ({"outputConfig": None}, "outputConfig"),
        ({"dedicatedResources": {}}, "dedicatedResources"),
        ({"labels": "x"}, "labels"),
    ],
    ids=lambda one: str(one)[:40],
)
async def test_what_is_no_job_is_refused(
    change: dict[str, Json], word: str, app_client: httpx.AsyncClient, server: Server
) -> None:
    status = 404 if "model" in change else 400
    answer = await call(app_client, "POST", JOBS, job("gs://b/in.jsonl") | change, status)
    assert word in json.dumps(answer)
    assert server.database.batches() == []


async def test_no_object_outside_the_folder_is_read(
    app_client: httpx.AsyncClient, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "secret.jsonl").write_text(json.dumps({"request": said("secret")}))
    put(server, "gs://b/in.jsonl", [{"request": said("1")}])
    for uri in ("gs://../secret.jsonl", "gs://b/../../secret.jsonl"):
        created = await call(app_client, "POST", JOBS, job(uri))
        assert created["state"] == "JOB_STATE_FAILED"
        assert server.database.items(created["name"].rpartition("/")[2]) == []


async def test_jobs_are_filtered_cancelled_and_deleted_when_over(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    put(server, "gs://b/in.jsonl", [{"request": said("1")}])
    made = [
        (await call(app_client, "POST", JOBS, job("gs://b/in.jsonl", displayName=name)))["name"]
        for name in ("my_a", "my_b", "c")
    ]
    await call(app_client, "DELETE", f"/v1beta1/{made[0]}", status=400)
    assert await call(app_client, "POST", f"/v1beta1/{made[0]}:cancel") == {}
    for wanted, names in (
        ('display_name:"my_*"', made[1::-1]),
        ("state=JOB_STATE_CANCELLED", made[:1]),
        ('NOT display_name="c" AND state!="JOB_STATE_CANCELLED"', made[1:2]),
        ('create_time>"2100-01-01T00:00:00Z"', []),
    ):
        query = httpx.QueryParams({"filter": wanted})
        page = await call(app_client, "GET", f"{JOBS}?{query}")
        assert [one["name"] for one in page["batchPredictionJobs"]] == names, wanted
    deleted = await call(app_client, "DELETE", f"/v1beta1/{made[0]}")
    assert deleted["done"] is True
    await call(app_client, "GET", f"/v1beta1/{made[0]}", status=404)


async def test_output_that_cannot_be_written_makes_the_job_fail(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    put(server, "gs://b/in.jsonl", [{"request": said("1")}])
    put(server, "gs://b/taken", [])
    body = job("gs://b/in.jsonl")
    body["outputConfig"]["gcsDestination"]["outputUriPrefix"] = "gs://b/taken"
    created = await call(app_client, "POST", JOBS, body)
    async with working(server):
        done = await over(app_client, f"/v1beta1/{created['name']}")
    assert done["state"] == "JOB_STATE_FAILED"
    assert "cannot be written" in done["error"]["message"]


# --- the SDK ------------------------------------------------------------------------------------


def developer_client(url: str) -> Any:
    from google import genai
    from google.genai import types

    return genai.Client(api_key="fake", http_options=types.HttpOptions(base_url=url))


def vertex_client(url: str) -> Any:
    import google.oauth2.credentials
    from google import genai
    from google.genai import types

    return genai.Client(
        enterprise=True, project="p", location="us-central1",
        credentials=google.oauth2.credentials.Credentials(token="fake"),  # type: ignore[no-untyped-call]
        http_options=types.HttpOptions(base_url=url),
    )  # fmt: skip


@pytest.fixture
def working_server(server: Server, request: pytest.FixtureRequest) -> Any:
    """A server on a port that works batches off."""
    runner = BatchRunner(server)
    server.batches = runner
    runner.start()
    return request.getfixturevalue("running_server")


def wait_for(get: Any) -> Any:
    """The batch once it is over; the SDK itself is asked, as its users ask it."""
    import time

    until = time.monotonic() + 20
    while time.monotonic() < until:
        batch = get()
        if batch.done:
            return batch
        time.sleep(0.02)
    raise AssertionError("the batch does not end")


@pytest.mark.network
@pytest.mark.filterwarnings("ignore:.*experimental")
def test_the_sdk_sends_batches_inline_of_files_and_of_embeddings(working_server: Any) -> None:
    client = developer_client(working_server.url)
    batch = client.batches.create(
        model="gemini-2.5-flash",
        src=[{"contents": [{"parts": [{"text": f"word {n}"}], "role": "user"}]} for n in range(5)],
        config={"display_name": "mine"},
    )
    done = wait_for(lambda: client.batches.get(name=batch.name))
    assert done.state.name == "JOB_STATE_SUCCEEDED"
    assert [one.response.text for one in done.dest.inlined_responses] == [
        f"word {n}" for n in range(5)
    ]
    import io

    lines = [{"key": f"k{n}", "request": said(f"word {n}")} for n in range(3)]
    content = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    file = client.files.upload(file=io.BytesIO(content), config={"mime_type": "application/jsonl"})
    batch = client.batches.create(model="gemini-2.5-flash", src=file.name)
    done = wait_for(lambda: client.batches.get(name=batch.name))
    answers = client.files.download(file=done.dest.file_name).decode().splitlines()
    assert [json.loads(line)["key"] for line in answers] == ["k0", "k1", "k2"]
    batch = client.batches.create_embeddings(
        model="gemini-embedding-001",
        src={"inlined_requests": {"contents": [{"parts": [{"text": "aae"}]}]}},
    )
    done = wait_for(lambda: client.batches.get(name=batch.name))
    (one,) = done.dest.inlined_embed_content_responses
    assert one.response.embedding.values == [2, 1, 0, 0]
    assert len(list(client.batches.list(config={"page_size": 2}))) == 3
    client.batches.delete(name=batch.name)
    assert len(list(client.batches.list())) == 2
    client.close()


@pytest.mark.network
def test_the_sdk_sends_jobs_over_objects(working_server: Any) -> None:
    put(working_server.server, "gs://b/in.jsonl", [{"request": said("hello")}])
    client = vertex_client(working_server.url)
    made = client.batches.create(model="gemini-2.5-flash", src="gs://b/in.jsonl")
    done = wait_for(lambda: client.batches.get(name=made.name))
    assert done.state.name == "JOB_STATE_SUCCEEDED"
    assert done.completion_stats.successful_count == 1
    assert done.dest.gcs_uri == "gs://b/in/dest"
    assert [one.name for one in client.batches.list()] == [made.name]
    client.batches.cancel(name=made.name)
    assert client.batches.delete(name=made.name).done
    client.close()


async def test_without_a_folder_only_who_may_tune_uses_the_servers_credentials(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    from stepladder.serve.keys import hash_of

    server.settings = replace(server.settings, gs_folder=None)
    server.database.add_key("u", hash_of("u"), "use", None, None, datetime.now(UTC))
    server.keyring.read()
    response = await app_client.post(
        JOBS, json=job("gs://b/in.jsonl"), headers={"authorization": "Bearer u"}
    )
    assert response.status_code == 403
