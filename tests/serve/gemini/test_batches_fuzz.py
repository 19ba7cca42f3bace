"""Whatever is asked of the resources, the answer is one of the protocol's, never a failure."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from google_calls import PROJECT, Caller, calling, said
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_gemini_fuzz import places

from stepladder.core import Json
from stepladder.serve import Refusal
from stepladder.serve.gemini.filters import read_filter
from stepladder.serve.server import Server

EXPECTED = {200, 400, 403, 404, 409, 413}
FUZZ = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
REQUEST: Json = {"contents": [said("hi")]}
CALLS: tuple[tuple[str, str, Json], ...] = (
    ("POST", f"{PROJECT}/tuningJobs", {
        "baseModel": "fake", "tunedModelDisplayName": "n", "description": "d",
        "labels": {"a": "b"}, "encryptionSpec": {"kms_key_name": "k"},
        "supervisedTuningSpec": {
            "trainingDatasetUri": "gs://b/t.jsonl", "validationDatasetUri": "gs://b/v.jsonl",
            "hyperParameters": {"epochCount": "3", "learningRateMultiplier": 0.5,
                                "adapterSize": "ADAPTER_SIZE_FOUR", "batchSize": 4},
            "exportLastCheckpointOnly": True, "tuningMode": "TUNING_MODE_PEFT_ADAPTER",
        },
    }),
    ("POST", f"{PROJECT}/tuningJobs", {
        "preTunedModel": {"tuned_model_name": "projects/p/locations/l/models/1@1"},
        "supervisedTuningSpec": {"trainingDatasetUri": "gs://b/t.jsonl"},
    }),
    ("POST", "/v1beta/models/fake:batchGenerateContent", {"batch": {
        "displayName": "n", "priority": "0", "inputConfig": {"requests": {"requests": [
            {"request": REQUEST, "metadata": {"key": "a"}}, {"request": {}},
        ]}},
    }}),
    ("POST", "/v1beta/models/fake-encoder:asyncBatchEmbedContent", {"batch": {"inputConfig": {
        "fileName": "files/1"}}}),
    ("POST", f"{PROJECT}/batchPredictionJobs", {
        "model": "publishers/google/models/fake", "displayName": "n", "labels": {"a": "b"},
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://b/in.jsonl"]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {
            "outputUriPrefix": "gs://b/out"}},
    }),
    ("POST", "/v1beta/cachedContents", {
        "model": "models/fake", "displayName": "n", "ttl": "60s", "contents": [said("hi")],
        "systemInstruction": {"parts": [{"text": "s"}, {"inlineData": {
            "mimeType": "text/plain", "data": "aGk="}}]},
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
    }),
    ("PATCH", "/v1beta/cachedContents/1", {"ttl": "5s"}),
    ("POST", f"{PROJECT}:evaluateInstances", {"rougeInput": {
        "instances": [{"prediction": "a b", "reference": "a c"}],
        "metric_spec": {"rouge_type": "rougeL", "use_stemmer": True, "split_summaries": True},
    }}),
    ("POST", f"{PROJECT}:evaluateInstances", {
        "metrics": [{"bleuSpec": {"useEffectiveOrder": True}}, {"computationBasedMetricSpec": {
            "type": "ROUGE", "parameters": {"rouge_type": "rouge1"}}}],
        "instance": {"response": {"text": "a"}, "reference": {"contents": {"contents": [
            {"parts": [{"text": "b"}]}]}}},
    }),
    ("POST", "/upload/v1beta/files", {"file": {"displayName": "n", "mime_type": "a/b",
                                               "sizeBytes": "3"}}),
)  # fmt: skip
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
    | st.sampled_from(["gs://b/x.jsonl", "files/1", "models/fake", "1s", "\ud800", "\0", "../.."])
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8
)  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[str, str, Json]:
    """A good call in which up to two places are something else, gone, or in company."""
    method, path, good = draw(st.sampled_from(CALLS))
    body = copy.deepcopy(good)
    for _ in range(draw(st.integers(0, 2))):
        *way, last = draw(st.sampled_from([*places(body)]))
        holder = body
        for key in way:
            holder = holder[key]
        change = draw(st.sampled_from(("replace", "remove", "add")))
        if change == "replace":
            holder[last] = draw(values)
        elif change == "remove" and len(body) > 1:
            del holder[last]
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = draw(values)
    return method, path, body


START = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}


@pytest.fixture
def caller(server: Server) -> Iterator[Caller]:
    with calling(server) as found:
        yield found


def check(answer: Any) -> None:
    assert answer.status_code in EXPECTED, (answer.status_code, answer.text)
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert error["code"] == answer.status_code
        assert error["message"]
        assert error["status"].isupper()


@FUZZ
@given(call=spoiled())
def test_spoiled_bodies_are_refused_or_answered(
    caller: Caller, call: tuple[str, str, Json]
) -> None:
    method, path, body = call
    content = json.dumps(body).encode()
    check(caller.send(method, path, content=content, headers=START))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(FUZZ, max_examples=50)
@given(name=texts, asked=texts)
@example(name="\0", asked="\0")
@example(name="9" * 400, asked="9" * 400)
def test_names_pages_and_filters_are_found_or_not(caller: Caller, name: str, asked: str) -> None:
    safe, token = quote(name, safe=""), quote(asked, safe="")
    for place in ("/v1beta/files", "/v1beta/batches", "/v1beta/cachedContents",
                  f"{PROJECT}/tuningJobs", f"{PROJECT}/batchPredictionJobs"):  # fmt: skip
        paths = [f"{place}/{safe}", f"{place}?pageSize={token}", f"{place}?pageToken={token}"]
        paths += [f"{place}?filter={token}"] if place.startswith(PROJECT) else []
        for path in paths:
            answer = caller.send("GET", path)
            assert answer.status_code in {*EXPECTED, 405}, (path, answer.text)
        answer = caller.send("DELETE", f"{place}/{safe}")
        assert answer.status_code in {*EXPECTED, 405}, (place, answer.text)


words = st.sampled_from([
    "AND", "OR", "NOT", "(", ")", "=", "!=", ":", "<", ">=", "state", "labels.a", "labels",
    '"x"', "*", "a*b", '"', "\\", "create_time", " ", ".",
])  # fmt: skip
bodies = st.fixed_dictionaries(
    {"state": st.sampled_from(["x", "y", "a-b"])}, optional={"labels": st.just({"a": "x"})}
)


@given(st.lists(words, max_size=12).map(" ".join) | texts, bodies)
@example("NOT " * 5000 + "state=x", {"state": "x"})
@example("(" * 5000, {"state": "x"})
@example("state:" + "a*" * 2000 + "b", {"state": "a" * 2000})
def test_filters_are_read_or_refused(filter: str, body: Json) -> None:
    try:
        fits = read_filter(filter, ("state", "labels", "createTime"))
    except Refusal as refusal:
        refused = refusal
    else:
        assert fits(body) in (True, False)
        return
    assert refused.status == 400


@pytest.mark.parametrize(
    ("filter", "fits"),
    [
        ("", True), ("state=x", True), ('state = "x"', True), ("state!=x", False),
        ("NOT state=x", False), ("NOT NOT state=x", True), ("labels.a=1", True),
        ("labels.a:*", True), ("labels.b:*", False), ("labels.b!=1", True),
        ("state=y OR labels.a=1", True), ("state=y OR state=z AND labels.a=1", False),
        ("labels.a=1 AND state=y OR state=x", True), ("(state=y) OR (state=x)", True),
        ("NOT (state=x AND labels.a=1)", False), ('name:"my *"', True), ("name:one", True),
        ('name:"* my"', False), ('name:"my*one"', True), ("name:*y*n*", True), ("name:my", True),
        ('create_time>"2026"', True), ('create_time<="2025-12-31T00:00:00Z"', False),
        (r'quoted="a \"b\""', True),
    ],
)  # fmt: skip
def test_what_a_filter_means(filter: str, fits: bool) -> None:
    body = {"state": "x", "labels": {"a": "1"}, "name": "my one",
            "createTime": "2026-11-22T12:00:00Z", "quoted": 'a "b"'}  # fmt: skip
    assert read_filter(filter, (*body,))(body) == fits
