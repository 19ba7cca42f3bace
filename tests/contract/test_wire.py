"""The captured requests of the real SDKs against the official documents, known departures apart.

It shows two things: that the documents, as we read them, describe what the SDKs send; and where
they do not, so that the same departure in our own calls is not mistaken for a fault of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from contract.captured import Captured, captured, events
from contract.specs import Spec, UnknownCall
from contract.vendors import openai, spec_of

GOOGLE = (
    "generate_content_dev", "generate_content_vertex", "count_tokens", "caches", "batches",
    "files", "tunings_vertex",
)  # fmt: skip
OPENAI = ("openai_inference", "openai_fine_tuning", "openai_batches")

# what departs, and why: (case, fault) -> the reason. Each must still be seen, or it is struck out.
DEPARTURES: Mapping[tuple[str, str], str] = {
    (r"generate_content_dev/continuation-2", r"'continuationToken' was unexpected"): (
        "newer than the document of the Developer API, which is of May 2026; Vertex's has it"
    ),
    (r"batches/create_\w+_dev", r"'model' is a required property"): (
        "the SDK names the model in the path only, though the document wants it in the body as well"
    ),
    (r"batches/create_embeddings_dev", r"'displayName' is a required property"): (
        "the SDK leaves out a name that was not given"
    ),
    (r"files/upload_\w+_dev", r"'mime_type', 'size_bytes' were unexpected"): (
        "the SDK sends two fields that only the service fills in; proto3 JSON ignores them"
    ),
    (r"files/upload_\w+_dev-2", r"'upload_id'|'__raw__'|'key', 'request'"): (
        "the bytes go to an address that the service gave in the answer before"
    ),
    (r"files/download_\w+_dev", r"no GET /v1/files/[\w-]+:download"): (
        "the document has no download of files"
    ),
}


def spec_for(one: Captured) -> Spec:
    return openai() if one.id.startswith("openai") else spec_of(one.exchange.path)


def faults(one: Captured) -> list[str]:
    try:
        return spec_for(one).faults_of_request(one.exchange)
    except UnknownCall as error:
        return [str(error)]


def is_known(one: Captured, fault: str, departure: tuple[str, str]) -> bool:
    case, what = departure
    return bool(re.fullmatch(case, one.id) and re.search(what, fault))


EVERY_ONE = tuple(captured(*GOOGLE, *OPENAI))


@pytest.mark.parametrize("one", EVERY_ONE, ids=str)
def test_what_the_sdk_sends_is_what_the_document_describes(one: Captured) -> None:
    unknown = [
        fault
        for fault in faults(one)
        if not any(is_known(one, fault, departure) for departure in DEPARTURES)
    ]
    assert not unknown


@pytest.mark.parametrize("departure", DEPARTURES)
def test_every_known_departure_is_still_one(departure: tuple[str, str]) -> None:
    assert any(
        is_known(one, fault, departure)
        for one in EVERY_ONE
        if re.fullmatch(departure[0], one.id)
        for fault in faults(one)
    )


@pytest.mark.parametrize(
    "one",
    [one for one in EVERY_ONE if one.id.endswith(("/stream", "_separators"))],
    ids=str,
)
def test_every_event_of_a_stream_is_a_whole_answer(one: Captured) -> None:
    for event in events(one.exchange.answer):
        definition = next(
            name
            for name in spec_for(one).definitions["response"]
            if re.fullmatch(r"(GoogleCloudAiplatformV1beta1)?GenerateContentResponse", name)
        )
        assert not spec_for(one).faults(definition, event, "response")
