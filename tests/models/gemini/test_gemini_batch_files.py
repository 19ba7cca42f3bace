"""Batches of Vertex: each line is the request as the SDK would send it, and back to its place."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gemini_calls import KNOWN, Wire, facts, vertex
from hypothesis import given
from hypothesis import strategies as st

from stepladder.catalogue import Catalogue
from stepladder.core import Call, Function, Message, Part, Request
from stepladder.errors import ModelError
from stepladder.models import ProviderSettings
from stepladder.models.gemini.api import GeminiApi
from stepladder.models.gemini.batch_files import to_line
from stepladder.models.gemini.request import Traits, to_asked

LABEL = "stepladder-0123456789abcdef"
BASE = "vertex:base"
TRAITS = Traits(BASE, facts(BASE, thinking="level", least_thinking="minimal", logprobs=True))
WIRE = Wire()
API = vertex(WIRE, Catalogue(models=(TRAITS.facts,)))  # type: ignore[arg-type]
ASKED = Request((Message("system", "Sort."), Message("user", "hi")), max_output_tokens=8)
FULL = replace(
    ASKED,
    messages=(
        *ASKED.messages,
        Message("assistant", (Part("text", "„x“"),), (Call("f", {"a_b": 1}, "c1", "-_8="),)),
        Message("function", '{"a_b": [1]}', result_of=Call("f", id="c1")),
        Message("user", (Part("image", uri="data:image/gif;base64,+/8=", media_type="image/gif"),)),
        Message("user", (Part("audio", uri="gs://b/a.mp3", media_type="audio/mpeg"),)),
    ),
    stop=("\n",),
    logprob=True,
    thinking_tokens=0,
)


def camel(value: Any, *, below: str = "") -> Any:
    """Keys as the service reads them, whether the SDK wrote camelCase or snake_case."""
    if isinstance(value, list):
        return [camel(item, below=below) for item in value]
    if not isinstance(value, dict) or below in ("args", "response", "labels", "JsonSchema"):
        return value
    out = {}
    for key, inner in value.items():
        name = re.sub(r"_([a-z])", lambda found: found[1].upper(), key)
        out[name] = camel(inner, below="JsonSchema" if name.endswith("JsonSchema") else name)
    return out


@pytest.mark.parametrize(
    "request_",
    [
        ASKED, FULL, replace(ASKED, choices=("a", "b c")), replace(ASKED, schema={"a_b": {}}),
        replace(ASKED, functions=(Function("f", "does", {"type": "object"}),)),
        replace(ASKED, messages=ASKED.messages[1:], thinking_tokens=5000),
    ],
)  # fmt: skip
def test_a_line_is_what_the_sdk_would_send(request_: Request) -> None:
    API.send("base", request_, None)
    line = json.loads(to_line(to_asked(request_, TRAITS, None), 17))["request"]
    assert line.pop("labels") == {"stepladder-place": "17"}
    assert line == camel(WIRE.body)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_request_is_one_line_whatever_it_says(text: str) -> None:
    asked = to_asked(replace(ASKED, messages=(Message("user", text),)), TRAITS, None)
    line = to_line(asked, 0)
    assert "\n" not in line
    assert json.loads(line)["request"]["contents"][0]["parts"] == [{"text": text}]


# --- a job, with a bucket in memory ---------------------------------------------------------------


class Bucket:
    """What is put and read, by name."""

    name = "b-1"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def put(self, file: Path, name: str) -> str:
        self.files[name] = file.read_bytes()
        return f"gs://b-1/{name}"

    def read(self, prefix: str) -> Any:
        return [one for one in sorted(self.files.items()) if one[0].startswith(prefix)]

    def close(self) -> None: ...


@pytest.fixture
def job() -> SimpleNamespace:
    wire, bucket = Wire(), Bucket()
    client = vertex(wire)._client(None)
    settings = ProviderSettings("vertex", catalogue=KNOWN)
    api = GeminiApi(settings, client, bucket=lambda: bucket)  # type: ignore[arg-type, return-value]
    record = {
        "name": "projects/1/locations/us-central1/batchPredictionJobs/5",
        "displayName": LABEL,
        "model": "publishers/google/models/base",
        "state": "JOB_STATE_SUCCEEDED",
        "outputInfo": {"gcsOutputDirectory": "gs://b-1/stepladder/batches/x/answers/run-1"},
    }
    wire.answer = lambda _: record
    return SimpleNamespace(api=api, wire=wire, bucket=bucket, record=record)


def answered(job: SimpleNamespace, *lines: Any) -> Any:
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    job.bucket.files["stepladder/batches/x/answers/run-1/predictions.jsonl"] = content.encode()
    return job.api.poll_batch("base", job.record["name"], (ASKED, ASKED, ASKED))


def line(place: str, **fields: Any) -> dict[str, Any]:
    said = {"candidates": [{"content": {"parts": [{"text": f"to {place}"}]}}]}
    request = {"contents": [], "labels": {"stepladder-place": place}}
    return {"request": request, "status": "", "response": said, **fields}


def test_requests_go_to_the_bucket_and_the_job_names_where(job: SimpleNamespace) -> None:
    name = job.api.submit_batch("base", (ASKED, ASKED), LABEL)
    assert name == job.record["name"]
    [(file, content)] = job.bucket.files.items()
    assert [json.loads(one)["request"]["labels"] for one in content.splitlines()] == [
        {"stepladder-place": "0"}, {"stepladder-place": "1"},
    ]  # fmt: skip
    body = job.wire.body
    folder = file.removesuffix("/requests.jsonl")
    assert folder.startswith(f"stepladder/batches/{LABEL}/")
    assert (body["displayName"], body["model"]) == (LABEL, "publishers/google/models/base")
    assert body["inputConfig"]["gcsSource"]["uris"] == [f"gs://b-1/{file}"]
    destination = body["outputConfig"]["gcsDestination"]["outputUriPrefix"]
    assert destination == f"gs://b-1/{folder}/answers"


def test_answers_go_to_their_requests_whatever_their_order(job: SimpleNamespace) -> None:
    found = answered(job, line("2"), line("0"), line("1", status="Bad Request: no", response={}))
    assert (found.state, found.done, found.total) == ("succeeded", 3, 3)
    assert (found.answers[0].text, found.answers[2].text) == ("to 0", "to 2")
    assert found.answers[1].error == "Bad Request: no"
    assert {one.usage.tier for one in found.answers.values()} == {"batch"}


@pytest.mark.parametrize("place", ["3", "", "x", "²"])
def test_an_answer_to_nothing_asked_is_not_given_to_anybody(
    place: str, job: SimpleNamespace
) -> None:
    with pytest.raises(ModelError, match="not in it"):
        answered(job, line(place))


def test_answers_are_read_from_where_they_were_to_be_written_only(job: SimpleNamespace) -> None:
    job.record["outputInfo"] = {"gcsOutputDirectory": "gs://another/stepladder/batches/x"}
    with pytest.raises(ModelError, match="not where told"):
        answered(job, line("0"))


def test_a_job_that_failed_or_goes_on_says_so(job: SimpleNamespace) -> None:
    del job.record["outputInfo"]
    job.record |= {"state": "JOB_STATE_FAILED", "error": {"code": 3, "message": "no such bucket"}}
    found = answered(job)
    assert (found.state, found.answers) == ("failed", None)
    assert "no such bucket" in found.error
    job.record |= {"state": "JOB_STATE_RUNNING", "completionStats": {"successfulCount": "2"}}
    assert (answered(job).state, answered(job).done) == ("running", 2)


def test_a_job_is_looked_for_by_its_label(job: SimpleNamespace) -> None:
    def answers(request: Any) -> Any:
        alone = request.url.path.endswith("/5")
        return job.record if alone else {"batchPredictionJobs": [job.record]}

    job.wire.answer = answers
    assert job.api.find_batch("base", LABEL) == job.record["name"]
    assert job.wire.requests[0].url.params["filter"] == f'display_name="{LABEL}"'
    assert job.api.find_batch("base", "another") is None
    del job.record["outputInfo"]  # its answers are gone
    assert job.api.find_batch("base", LABEL) is None
