"""The checks themselves: they find what is wrong, and let pass what a service lets pass."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.captured import form_fields
from contract.specs import Exchange, UnknownCall, camel_case, path_pattern
from contract.vendors import developer, openai, spec_of, vertex

PARENT = "/v1beta1/projects/p/locations/us-central1"
GENERATE = f"{PARENT}/publishers/google/models/gemini-3.5-flash:generateContent"
CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]


def generate(**more: Any) -> list[str]:
    return vertex().faults_of_request(Exchange("POST", GENERATE, {"contents": CONTENTS, **more}))


def chat(**more: Any) -> list[str]:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
    return openai().faults_of_request(Exchange("POST", "/v1/chat/completions", body))


def test_a_plain_request_conforms() -> None:
    assert generate() == []
    assert chat() == []


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"generationConfig": {"temprature": 0}}, "temprature"),
        ({"generationConfig": {"temperature": "0"}}, "$.generationConfig.temperature"),
        ({"generationConfig": {"seed": 2**31}}, "$.generationConfig.seed"),
        ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "TINY"}}}, "'TINY'"),
        ({"contents": None}, "$.contents"),
        ({"contents": [{"role": "user"}]}, "'parts' is a required property"),
        ({"system_instruction": {"parts": [{"txt": "x"}]}}, "txt"),
        ({"tools": [{"functionDeclarations": [{"description": "no name"}]}]}, "'name'"),
        ({"cachedContent": 5}, "$.cachedContent"),
        ({"cachedContent": "a", "cached_content": "b"}, "cached_content"),
    ],
)
def test_what_google_would_refuse_is_found(more: dict[str, Any], place: str) -> None:
    assert any(place in fault for fault in generate(**more))


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"temperture": 0}, "temperture"),
        ({"messages": []}, "$.messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "$.messages[0]"),
        ({"response_format": {"type": "json_schema"}}, "json_schema"),
        ({"logprobs": "yes"}, "$.logprobs"),
        ({"tools": [{"type": "function", "function": {"nam": "f"}}]}, "$.tools[0]"),
    ],
)
def test_what_openai_would_refuse_is_found(more: dict[str, Any], place: str) -> None:
    assert any(place in fault for fault in chat(**more))


def test_what_only_the_service_says_is_refused_in_a_request_and_the_reverse() -> None:
    job = {"baseModel": "m", "supervisedTuningSpec": {"trainingDatasetUri": "gs://b/t.jsonl"}}
    path = f"{PARENT}/tuningJobs"
    assert vertex().faults_of_request(Exchange("POST", path, job)) == []
    told = {**job, "state": "JOB_STATE_RUNNING"}
    assert any(
        "state" in fault for fault in vertex().faults_of_request(Exchange("POST", path, told))
    )
    assert vertex().faults_of_response(Exchange("POST", path, job, answer=told)) == []
    cache = Exchange("POST", f"{PARENT}/cachedContents", answer={"name": "c", "ttl": "60s"})
    assert any("ttl" in fault for fault in vertex().faults_of_response(cache))


def test_keys_may_be_written_as_the_proto_names_them() -> None:
    snake = {"thinking_config": {"thinking_budget": 0}, "maxOutputTokens": 5}
    assert generate(generationConfig=snake) == []
    assert generate(generation_config={"no_such_thing": 0}) != []


def test_keys_of_data_are_left_as_they_are() -> None:
    """`args` and `properties` are maps: a snake_case name in them is not a misspelt field."""
    call = {"functionCall": {"name": "f", "args": {"file_uri": 1, "fileUri": 2}}}
    assert generate(contents=[{"role": "model", "parts": [call]}]) == []
    schema = {"type": "OBJECT", "properties": {"mime_type": {"type": "STRING", "min_length": "1"}}}
    assert generate(generationConfig={"responseSchema": schema}) == []
    bad = {"type": "OBJECT", "properties": {"mime_type": {"type": "STRING", "min_lenght": "1"}}}
    assert generate(generationConfig={"responseSchema": bad}) != []


@pytest.mark.parametrize(
    ("value", "accepted"),
    [("3", True), (3, True), ("3.5", False), (3.5, False), (None, False)],
)
def test_a_64_bit_integer_is_a_string_or_a_number(value: Any, accepted: bool) -> None:
    job = {
        "baseModel": "m",
        "supervisedTuningSpec": {
            "trainingDatasetUri": "gs://b/t.jsonl",
            "hyperParameters": {"epochCount": value},
        },
    }
    faults = vertex().faults_of_request(Exchange("POST", f"{PARENT}/tuningJobs", job))
    assert (faults == []) is accepted


def test_a_call_that_does_not_exist_is_unknown() -> None:
    for spec, method, path in (
        (vertex(), "POST", f"{PARENT}/tuningJob"),
        (vertex(), "PUT", f"{PARENT}/tuningJobs"),
        (vertex(), "POST", "/"),  # what the SDK sends when it lost project and location
        (vertex("v1"), "POST", GENERATE),
        (developer(), "POST", "/v1/models/m:generateContents"),
        (openai(), "POST", "/v1/fine-tuning/jobs"),
    ):
        with pytest.raises(UnknownCall):
            spec.operation(method, path)


def test_a_misspelt_query_and_a_body_where_there_is_none_are_faults() -> None:
    jobs = f"{PARENT}/tuningJobs"
    assert vertex().faults_of_request(Exchange("GET", f"{jobs}?pageSize=2&filter=a%3Db")) == []
    assert vertex().faults_of_request(Exchange("GET", f"{jobs}?page_size=2")) != []
    assert vertex().faults_of_request(Exchange("GET", jobs, {"pageSize": 2})) != []


def test_of_two_paths_that_fit_the_literal_one_is_meant() -> None:
    assert openai().operation("GET", "/v1/models").request is None
    by_name = openai().operation("GET", "/v1/fine_tuning/jobs/ftjob-1/events")
    assert by_name.name == "listFineTuningEvents"


def test_a_tuned_model_of_openai_has_colons_in_its_path() -> None:
    assert openai().operation("DELETE", "/v1/models/ft:gpt-4o-mini:org::id").name == "deleteModel"


def test_every_path_belongs_to_one_document() -> None:
    assert spec_of(GENERATE) is vertex("v1beta1")
    assert spec_of(GENERATE.replace("v1beta1", "v1")) is vertex("v1")
    for path in ("/v1/models/m:generateContent", "/v1beta/batches/b", "/upload/v1/files"):
        assert spec_of(path) is developer()


def test_the_fields_of_a_form_are_read() -> None:
    raw = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n{}\n\r\n--x--\r\n"
    )
    assert form_fields("multipart/form-data; boundary=x", raw) == {
        "purpose": "batch",
        "file": "{}\n",
    }


WORDS = st.lists(st.from_regex(r"[a-z][a-z0-9]*", fullmatch=True), min_size=1, max_size=4)


@given(WORDS)
def test_names_in_camel_case_stay_and_tell_the_words(words: list[str]) -> None:
    camel = camel_case("_".join(words))
    assert camel_case(camel) == camel
    assert camel.lower() == "".join(words)


@given(st.text(alphabet="abc123._-@", min_size=1), st.text(alphabet="abc123._-@", min_size=1))
def test_a_template_fits_what_it_was_filled_with(one: str, other: str) -> None:
    pattern = path_pattern("/v1/a/{x}/b/{y}:verb")
    found = pattern.fullmatch(f"/v1/a/{one}/b/{other}:verb")
    assert found is not None
    assert found.groups() == (one, other)
    assert not pattern.fullmatch(f"/v1/a/{one}/b/c/{other}:verb")
