"""Calls made out of Google's own documents, right ones and wrong ones: the server never fails.

Their discovery documents are turned into OpenAPI, of which schemathesis makes calls. What the
server has besides the protocols is described here and treated alike.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import pytest
from contract.specs import Spec
from contract.vendors import spec_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import fake_models

from stepladder.database.database import Database, open_database
from stepladder.database.records import Batch, KeptPrefix, TunedModel, TuningJob
from stepladder.fake_live import FakeEngine
from stepladder.serve.app import create_app
from stepladder.serve.server import assemble
from stepladder.serve.settings import ServeSettings

schemathesis = pytest.importorskip("schemathesis")

from schemathesis import GenerationMode  # noqa: E402  (after the check that it is there)

AT = "/v1beta1/projects/p/locations/us-central1"
SERVED = (
    ("POST", "/v1beta/models/fake:generateContent"),
    ("POST", "/v1beta/models/fake:streamGenerateContent"),
    ("POST", "/v1beta/models/fake:countTokens"),
    ("POST", "/v1beta/models/fake-encoder:embedContent"),
    ("POST", "/v1beta/models/fake-encoder:batchEmbedContents"),
    ("POST", "/v1beta/models/fake:batchGenerateContent"),
    ("POST", "/v1beta/models/fake-encoder:asyncBatchEmbedContent"),
    ("POST", "/v1beta/tunedModels/{id}:generateContent"),
    ("POST", "/v1beta/cachedContents"),
    ("PATCH", "/v1beta/cachedContents/{id}"),
    ("GET", "/v1beta/cachedContents/{id}"),
    ("DELETE", "/v1beta/cachedContents/{id}"),
    ("GET", "/v1beta/cachedContents"),
    ("GET", "/v1beta/models"),
    ("GET", "/v1beta/models/{id}"),
    ("GET", "/v1beta/tunedModels"),
    ("GET", "/v1beta/tunedModels/{id}"),
    ("PATCH", "/v1beta/tunedModels/{id}"),
    ("DELETE", "/v1beta/tunedModels/{id}"),
    ("GET", "/v1beta/files"),
    ("GET", "/v1beta/files/{id}"),
    ("DELETE", "/v1beta/files/{id}"),
    ("POST", "/upload/v1beta/files"),
    ("GET", "/v1beta/batches"),
    ("GET", "/v1beta/batches/{id}"),
    ("POST", "/v1beta/batches/{id}:cancel"),
    ("DELETE", "/v1beta/batches/{id}"),
    ("POST", f"{AT}/publishers/google/models/fake:generateContent"),
    ("POST", f"{AT}/publishers/google/models/fake:streamGenerateContent"),
    ("POST", f"{AT}/publishers/google/models/fake:countTokens"),
    ("POST", f"{AT}/publishers/google/models/fake:computeTokens"),
    ("POST", f"{AT}/publishers/google/models/fake-encoder:embedContent"),
    ("POST", f"{AT}/publishers/google/models/fake-encoder:predict"),
    ("POST", f"{AT}/endpoints/{{id}}:generateContent"),
    ("POST", f"{AT}:evaluateInstances"),
    ("POST", f"{AT}/tuningJobs"),
    ("GET", f"{AT}/tuningJobs"),
    ("GET", f"{AT}/tuningJobs/{{id}}"),
    ("POST", f"{AT}/tuningJobs/{{id}}:cancel"),
    ("POST", f"{AT}/batchPredictionJobs"),
    ("GET", f"{AT}/batchPredictionJobs"),
    ("GET", f"{AT}/batchPredictionJobs/{{id}}"),
    ("POST", f"{AT}/batchPredictionJobs/{{id}}:cancel"),
    ("DELETE", f"{AT}/batchPredictionJobs/{{id}}"),
    ("POST", f"{AT}/cachedContents"),
    ("PATCH", f"{AT}/cachedContents/{{id}}"),
    ("GET", f"{AT}/models"),
    ("GET", f"{AT}/models/{{id}}"),
    ("PATCH", f"{AT}/models/{{id}}"),
    ("DELETE", f"{AT}/models/{{id}}"),
)
TURN = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
EMBEDDED = {"model": "models/fake-encoder", "content": TURN["contents"][0]}
# the documents say little of what belongs together: parts of what they allow, put into these, get
# further than what is wholly made up
GOOD: Mapping[str, Any] = {
    ":generateContent": TURN,
    ":streamGenerateContent": TURN,
    ":countTokens": TURN,
    ":computeTokens": TURN,
    ":embedContent": EMBEDDED,
    ":batchEmbedContents": {"requests": [EMBEDDED]},
    ":batchGenerateContent": {
        "batch": {
            "displayName": "n", "inputConfig": {"requests": {"requests": [{"request": TURN}]}},
        }
    },
    ":asyncBatchEmbedContent": {
        "batch": {
            "displayName": "n", "inputConfig": {"requests": {"requests": [{"request": EMBEDDED}]}},
        }
    },
    ":predict": {"instances": [{"content": "a"}]},
    ":evaluateInstances": {
        "bleuInput": {"metricSpec": {}, "instances": [{"prediction": "a", "reference": "a"}]}
    },
    "v1beta/cachedContents": {"model": "models/fake", "ttl": "60s", **TURN},
    "us-central1/cachedContents": {"model": "publishers/google/models/fake", "ttl": "60s", **TURN},
    "/tuningJobs": {
        "baseModel": "fake", "supervisedTuningSpec": {"trainingDatasetUri": "gs://b/t.jsonl"},
    },
    "/batchPredictionJobs": {
        "model": "publishers/google/models/fake", "displayName": "n",
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://b/i.jsonl"]}},
        "outputConfig": {
            "predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": "gs://b/o"},
        },
    },
    "/files": {"file": {"displayName": "n"}},
    "/feedback": {"request_id": "1", "verdict": "right"},
}  # fmt: skip
WITH_BODY = tuple(path for method, path in SERVED if method == "POST" and "cancel" not in path)
TEXT = {"type": "string"}
THERE = "7"  # the id of things that are there
FEEDBACK = {
    "type": "object", "additionalProperties": False, "required": ["request_id"],
    "properties": {"request_id": TEXT, "verdict": {"enum": ["right", "wrong"]}, "correction": {},
                   "comment": TEXT},
}  # fmt: skip
OWN = (
    ("POST", "/v1/feedback", FEEDBACK),
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/metrics", None),
)
REFERENCE = re.compile(r'"#/\$defs/([^"]+)"')
EXPECTED = {200, 201, 400, 403, 404, 405, 409, 413}
Send = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    """One server for all calls, without sockets and without workers."""
    folder = tmp_path_factory.mktemp("gemini")
    options = ServeSettings(
        database=f"sqlite:///{folder / 'serve.db'}", gs_folder=folder / "gs", tuning=True
    )
    database, engine = open_database(options.database), FakeEngine()
    app = create_app(assemble(options, fake_models(engine), database))
    _stock(database)
    with asyncio.Runner() as runner:

        async def one(method: str, path: str, **more: Any) -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                return await http.request(method, path, **more)

        yield lambda *given, **more: runner.run(one(*given, **more))
    engine.close()
    database.close()


def _stock(database: Database) -> None:
    """One of everything, all with one id."""
    now = datetime.now(UTC)
    job = TuningJob(THERE, "local", "vertex", "fake", "local:fake", "supervised", "gs://b/t.jsonl",
                    now, now, state="succeeded", tuned_model=THERE)  # fmt: skip
    database.add_job(job)
    database.add_tuned(TunedModel(THERE, "local", THERE, "fake", "local:fake", now, now, {}))
    database.add_batch(Batch(THERE, "local", "gemini", "generateContent", "fake", now, now), [])
    lasting = now + timedelta(days=1)
    database.add_prefix(KeptPrefix(THERE, "local", "fake", TURN, 9, now, now, lasting))
    database.add_file(owner="local", name="n", purpose="media", media_type="text/plain",
                      chunks=[b"x"], id=THERE)  # fmt: skip


@cache
def google(method: str, path: str) -> Any:
    """The call, as schemathesis has it, of the document that it is in."""
    spec = spec_of(path.removeprefix("/upload"))
    found = spec.operation(method, path.replace("{id}", "x"))
    return _operation(method, path, found.request, spec, sorted(found.query))


@cache
def own(number: int) -> Any:
    """The same of one of the server's own calls."""
    method, path, body = OWN[number]
    return _operation(method, path, body, None, [])


def _operation(method: str, path: str, body: Any, spec: Spec | None, query: list[str]) -> Any:
    parameters = [{"name": name, "in": "query", "schema": TEXT} for name in query]
    if "{id}" in path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": TEXT})
    call: dict[str, Any] = {"parameters": parameters, "responses": {"200": {"description": "ok"}}}
    if body is not None:
        call["requestBody"] = {
            "required": True, "content": {"application/json": {"schema": body}},
        }  # fmt: skip
    needed = {} if spec is None else _reached(body, spec)
    text = json.dumps({
        "openapi": "3.1.0", "info": {"title": "served", "version": "1"},
        "paths": {path: {method.lower(): call}}, "components": {"schemas": needed},
    })  # fmt: skip
    document = json.loads(REFERENCE.sub(r'"#/components/schemas/\1"', text))
    return schemathesis.openapi.from_dict(document)[path][method]


def _reached(body: Any, spec: Spec) -> dict[str, Any]:
    """The definitions that a body is made of."""
    found: dict[str, Any] = {}
    waiting = REFERENCE.findall(json.dumps(body))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = spec.definitions["request"].get(name, {})  # some are not there
            waiting += REFERENCE.findall(json.dumps(found[name]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), SERVED)
def test_no_right_call_makes_the_server_fail(send: Send, method: str, path: str) -> None:
    check(send, google(method, path), GenerationMode.POSITIVE, 15)


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_BODY)
def test_no_wrong_call_makes_the_server_fail(send: Send, path: str) -> None:
    check(send, google("POST", path), GenerationMode.NEGATIVE, 15)


@pytest.mark.parametrize("number", range(len(OWN)))
def test_no_call_of_its_own_makes_the_server_fail(send: Send, number: int) -> None:
    check(send, own(number), GenerationMode.POSITIVE, 10)
    if OWN[number][2] is not None:
        check(send, own(number), GenerationMode.NEGATIVE, 20)


def test_a_few_right_calls_of_either_service(send: Send) -> None:
    for path in ("/v1beta/models/fake:generateContent", f"{AT}/tuningJobs"):
        check(send, google("POST", path), GenerationMode.POSITIVE, 3)


def check(send: Send, operation: Any, mode: GenerationMode, most: int) -> None:
    @settings(
        max_examples=most, suppress_health_check=[*HealthCheck], derandomize=True, database=None
    )
    @given(case=operation.as_strategy(generation_mode=mode), chosen=st.integers(0, 2**32 - 1))
    def one(case: Any, chosen: int) -> None:
        path = case.path
        for name, value in (case.path_parameters or {}).items():
            if chosen % 3 and case.method != "DELETE":
                value = THERE
            path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
        query = {key: value for key, value in (case.query or {}).items() if key != "alt"}
        good = next((body for end, body in GOOD.items() if case.path.endswith(end)), None)
        if good is not None and chosen % 4:
            case.body = grafted(good, case.body, random.Random(chosen))
        more = {} if case.method == "GET" else _content(case.body)
        response = send(case.method, path, params=query, headers=GOOGLE, **more)
        if "'fake' could not answer" not in response.text:  # of a schema beyond the fake engine
            assert response.status_code in EXPECTED, (path, response.status_code, response.text)

    one()


def grafted(good: Any, wild: Any, chosen: random.Random) -> Any:
    """What is good, with one thing in it that is wild."""
    if not isinstance(good, dict | list) or type(good) is not type(wild) or not wild:
        return wild
    if isinstance(good, list):
        return [*good[1:], grafted(good[0], chosen.choice(wild), chosen)]
    both = sorted(good.keys() & wild.keys())
    inner = bool(both) and chosen.random() < 0.5
    key = chosen.choice(both if inner else sorted(wild))
    return {**good, key: grafted(good.get(key), wild[key], chosen)}


GOOGLE = {"x-goog-api-key": "fake", "x-goog-upload-protocol": "resumable",
          "x-goog-upload-command": "start"}  # fmt: skip


def _content(body: Any) -> dict[str, Any]:
    """The body as bytes; schemathesis has an object of its own for none."""
    if isinstance(body, bytes):
        return {"content": body}
    try:
        return {"content": json.dumps(body).encode()}
    except (TypeError, ValueError):
        return {}
