"""Two servers on one PostgreSQL: whatever is made at one is there at the other."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx
import pytest
from postgres_server import PostgresServer
from processes import ServerProcess, until

from stepladder.database import new_id, open_database
from stepladder.database.database import Database
from stepladder.database.records import TunedModel
from stepladder.serve.keys import KEYS_TTL, hash_of, new_key

pytestmark = [pytest.mark.slow, pytest.mark.network]

SETTLED_SECONDS = KEYS_TTL + 10.0  # a busy machine is late


class RoundRobin:
    """A balancer: each request goes to the next of the servers."""

    def __init__(self, servers: list[ServerProcess], key: str) -> None:
        headers = {"authorization": f"Bearer {key}"}
        self._clients = [
            httpx.Client(base_url=server.url, headers=headers, timeout=60) for server in servers
        ]
        self._next = itertools.cycle(self._clients)

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        return next(self._next).request(method, path, **more)

    def each(self, path: str) -> list[httpx.Response]:
        """What every server says to the same GET."""
        return [client.get(path) for client in self._clients]

    def statuses(self, path: str) -> list[int]:
        """The status of what every server says to the same GET."""
        return [response.status_code for response in self.each(path)]

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    return postgres.make("shared")


@pytest.fixture(scope="module")
def database(url: str) -> Iterator[Database]:
    with closing(open_database(url)) as kept:
        yield kept


@pytest.fixture(scope="module")
def servers(
    url: str, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[ServerProcess]]:
    folder = tmp_path_factory.mktemp("servers")
    made_key(database)  # until there is one, everybody here is the same caller
    both = [ServerProcess(folder, url, pace=300.0, lease_seconds=5.0) for _ in range(2)]
    try:
        for server in both:
            server.start()
        yield both
    finally:
        for server in both:
            server.close()


def made_key(database: Database, role: str = "tune") -> tuple[str, str]:
    """The id of a new key, and the key."""
    key, id = new_key(), new_id()
    database.add_key(id, hash_of(key), role, None, None, datetime.now(UTC))
    return id, key


@pytest.fixture
def call(servers: list[ServerProcess], database: Database) -> Iterator[RoundRobin]:
    """As one caller, with a key of its own."""
    with closing(RoundRobin(servers, made_key(database)[1])) as balancer:
        until(lambda: balancer.statuses("/v1/models") == [200, 200])  # keys are read now and then
        yield balancer


def chat(text: str) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": text}]}


def upload(call: RoundRobin, content: bytes, purpose: str) -> str:
    response = call("POST", "/v1/files", data={"purpose": purpose}, files={"file": ("f", content)})
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


def test_a_file_sent_to_one_is_read_at_the_other(call: RoundRobin) -> None:
    content = bytes(range(256)) * 10_000
    file = upload(call, content, "user_data")
    assert [found.content for found in call.each(f"/v1/files/{file}/content")] == [content] * 2
    assert call("DELETE", f"/v1/files/{file}").json()["deleted"] is True
    assert call.statuses(f"/v1/files/{file}") == [404, 404]


def test_an_upload_goes_on_at_another_server(call: RoundRobin) -> None:
    content = bytes(range(256)) * 5_000
    start = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}
    begun = call("POST", "/upload/v1beta/files", json={"file": {}}, headers=start)
    token = begun.headers["x-goog-upload-url"].partition("/upload")[2]
    pieces = [content[at : at + 300_000] for at in range(0, len(content), 300_000)]
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        headers = {"x-goog-upload-command": "upload, finalize" if last else "upload",
                   "x-goog-upload-offset": str(300_000 * number)}  # fmt: skip
        sent = call("POST", f"/upload{token}", content=piece, headers=headers)
        assert sent.status_code == 200, sent.text
    assert len(pieces) > 3
    name = sent.json()["file"]["name"]
    path = f"/gemini/v1beta/{name}:download?alt=media"
    assert [found.content for found in call.each(path)] == [content] * 2


def test_a_batch_is_worked_off_once_whoever_takes_it(call: RoundRobin, database: Database) -> None:
    texts = [f"item {number}" for number in range(40)]
    lines = [
        {"custom_id": text, "method": "POST", "url": "/v1/chat/completions", "body": chat(text)}
        for text in texts
    ]
    file = upload(call, "\n".join(map(json.dumps, lines)).encode(), "batch")
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made = [call("POST", "/v1/batches", json=body) for _ in range(4)]
    assert [one.status_code for one in made] == [200] * 4, made[0].text
    ids = [one.json()["id"] for one in made]

    def told(id: str) -> dict[str, Any]:
        found: dict[str, Any] = call("GET", f"/v1/batches/{id}").json()
        return found

    until(lambda: all(told(id)["status"] == "completed" for id in ids))
    for id in ids:
        output = call("GET", f"/v1/files/{told(id)['output_file_id']}/content").text
        found = [json.loads(line) for line in output.splitlines()]
        said = [one["response"]["body"]["choices"][0]["message"]["content"] for one in found]
        assert [one["custom_id"] for one in found] == said == texts
    long_ago, soon = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    until(lambda: len(items_served(database, long_ago, soon)) >= len(ids) * len(texts))
    asked = items_served(database, long_ago, soon)
    assert sorted(asked) == sorted(texts * len(ids)), "no item was even asked twice"


def items_served(database: Database, start: datetime, end: datetime) -> list[str]:
    """The texts of the batches' items that a model was asked."""
    calls = database.served_between(start, end, limit=100_000)
    texts = [json.dumps(one.request) for one in calls]
    found = [re.search(r'"(item \d+)"', text) for text in texts]
    return [one[1] for one in found if one is not None]


def test_what_was_answered_by_one_is_judged_at_the_other(
    call: RoundRobin, database: Database
) -> None:
    for number in range(6):
        answer = call("POST", "/v1/chat/completions", json=chat(f"q {number}"))
        request = answer.headers["x-request-id"]
        # the record is written by the other server a moment later
        until(lambda: database.served(request) is not None)  # noqa: B023 (called at once)
        body = {"request_id": request, "verdict": "wrong", "correction": {"n": number}}
        assert call("POST", "/v1/feedback", json=body).status_code == 201
        call("GET", "/healthz")  # so that the next pair begins at the other one
        assert [one.correction for one in database.feedback(request)] == [{"n": number}]


def test_a_tuned_model_and_its_job_are_told_by_both(call: RoundRobin, database: Database) -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    file = upload(call, json.dumps(row).encode(), "fine-tune")
    sent = {"model": "fake", "training_file": file, "suffix": "two"}
    job = call("POST", "/v1/fine_tuning/jobs", json=sent).json()
    cancelled = call("POST", f"/v1/fine_tuning/jobs/{job['id']}/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert [one.json()["status"] for one in call.each(f"/v1/fine_tuning/jobs/{job['id']}")] == [
        "cancelled", "cancelled",
    ]  # fmt: skip
    kept = database.job(job["id"].removeprefix("ftjob-"))
    assert kept is not None
    now = datetime.now(UTC)
    tuned = TunedModel(new_id(), kept.owner, kept.id, "fake", kept.model, now, now, {}, name="two")
    database.add_tuned(tuned)
    for listed in call.each("/v1/models"):
        assert [one["id"] for one in listed.json()["data"] if tuned.id in one["id"]] != []
    assert database.delete_tuned(tuned.id)
    for listed in call.each("/v1/models"):
        assert [one["id"] for one in listed.json()["data"] if tuned.id in one["id"]] == []


def test_a_revoked_key_ends_everywhere(servers: list[ServerProcess], database: Database) -> None:
    id, key = made_key(database, "use")
    with closing(RoundRobin(servers, key)) as call:
        until(lambda: call.statuses("/v1/models") == [200, 200])
        assert database.revoke_key(id)
        until(lambda: call.statuses("/v1/models") == [401, 401], SETTLED_SECONDS)
        for _ in range(4):
            assert call("POST", "/v1/chat/completions", json=chat("x")).status_code == 401


def test_when_one_dies_the_other_goes_on_with_its_batch(
    servers: list[ServerProcess], database: Database, call: RoundRobin
) -> None:
    texts = [f"left {number}" for number in range(60)]
    requests = [{"request": {"contents": [{"role": "user", "parts": [{"text": text * 6}]}]}}
                for text in texts]  # fmt: skip
    body = {"batch": {"inputConfig": {"requests": {"requests": requests}}}}
    path = "/v1beta/models/fake:batchGenerateContent"
    google = {"x-goog-api-client": "test"}
    name = call("POST", path, json=body, headers=google).json()["name"]
    id = name.removeprefix("batches/")

    def answered() -> int:
        batch = database.batch(id)
        assert batch is not None
        return batch.succeeded

    until(lambda: answered() > 0)
    for dead, other in (servers, servers[::-1]):  # one of them has the batch
        dead.kill()
        assert httpx.get(f"{other.url}/readyz").status_code == 200
        dead.start()
    until(lambda: answered() == len(texts))
    items = database.items(id)
    assert [one.answer["candidates"][0]["content"]["parts"][0]["text"] for one in items] == [
        text * 6 for text in texts
    ]
