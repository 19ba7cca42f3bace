"""What the official SDK really sent is answered, and the answers are what the document says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from contract.captured import Captured, captured
from contract.vendors import openai as document
from serving import FakeEncoder, FixedModels

from stepladder.database import new_id
from stepladder.database.records import Batch, BatchItem, TuningJob
from stepladder.serve.server import Server

FILES = ("openai_inference", "openai_fine_tuning", "openai_batches")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
# what is refused, and the word that the refusal has to say
REFUSED: Mapping[str, tuple[int, str]] = {
    "chat_image": (400, "image/png"),
    "models_delete_ft": (404, "ft:m:org::id"),
    "responses_api": (404, "chat/completions"),
    "job_create_reinforcement": (400, "reinforcement"),
    "job_create_minimal_response": (400, "'f'"),
    "error_400": (400, "'f'"),
}


@pytest.fixture
def ids(call: Any) -> Mapping[str, str]:
    """A server that has what the requests name; what stands for the ids in them."""
    server: Server = call.server
    models: FixedModels = server.models
    fake = models.get("fake")
    models.models |= dict.fromkeys(("m", "gpt-4o-mini-2024-07-18", "o4-mini"), fake)
    models.models["e"] = FakeEncoder()  # type: ignore[assignment]
    named = {}
    for name, purpose in (
        ("file-abc", "fine-tune"),
        ("file-val", "fine-tune"),
        ("file-in", "batch"),
    ):
        file = server.database.add_file(
            owner="local", name="a.jsonl", purpose=purpose, media_type="", chunks=[b"{}\n"]
        )
        named[name] = f"file-{file.id}"
    job = TuningJob(new_id(), "local", "openai", "m", "local:m", "supervised", "1", NOW, NOW)
    server.database.add_job(job)
    batch = Batch(new_id(), "local", "openai", "/v1/completions", "m", NOW, NOW, input_file="1")
    server.database.add_batch(batch, [BatchItem(batch.id, 0, "a", {"model": "m"})])
    return {**named, "ftjob-1": f"ftjob-{job.id}", "batch_1": f"batch_{batch.id}"}


@pytest.mark.parametrize("one", [*captured(*FILES)], ids=str)
def test_a_captured_request_is_answered(one: Captured, call: Any, ids: Mapping[str, str]) -> None:
    case = one.id.rpartition("/")[2]
    sent = one.exchange
    known = {**ids, "file-abc": ids["file-in"]} if "/batches" in sent.path else ids
    if case == "job_resume":
        call.server.database.change_job(ids["ftjob-1"].removeprefix("ftjob-"), state="paused")
    path, body = _named(sent.path, known), json.loads(_named(json.dumps(sent.body), known))
    if sent.path == "/v1/files" and sent.method == "POST":
        files = {"file": ("a.jsonl", body.pop("file").encode())}
        response = call("POST", path, data=body, files=files)
    else:
        content: Any = None if body is None else json.dumps(body)
        response = call(sent.method, path, content=content)
    if case not in REFUSED:
        assert response.status_code == 200, response.text
        return
    status, word = REFUSED[case]
    assert response.status_code == status
    assert word in response.json()["error"]["message"]
    assert document().faults("ErrorResponse", response.json(), "response") == []


def _named(text: str, ids: Mapping[str, str]) -> str:
    for name, id in ids.items():
        text = text.replace(name, id)
    return text


def test_every_refusal_is_of_a_captured_request() -> None:
    assert REFUSED.keys() <= {one.id.rpartition("/")[2] for one in captured(*FILES)}
