"""Tuning jobs as our code asks for them, against the documents of Google and OpenAI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from contract.captured import captured
from contract.recording import Recorded, faults_of, recording
from contract.specs import Exchange, Json
from contract.vendors import openai, vertex
from stepladder.core import Message
from stepladder.models.gemini.client import vertex_client
from stepladder.models.openai import connect, find_endpoint
from stepladder.storage import Bucket
from stepladder.trainers.openai_jobs import OpenAIService
from stepladder.trainers.service import Choices, Order, TuningRow
from stepladder.trainers.tuning_data import to_row
from stepladder.trainers.vertex_jobs import VertexService

Form = Literal["gemini", "openai"]
CANNED = {one.id: one.exchange.answer for one in captured("tunings_vertex", "openai_fine_tuning")}
JOB = "projects/123/locations/us-central1/tuningJobs/777"
EVERYTHING = Choices(epochs=3, learning_rate_multiplier=0.5, adapter_size=4, batch_size=8, seed=7)
ORDER = Order(
    label="stepladder-0123456789abcdef0123-2",
    model="gemini-3.5-flash",
    train="gs://ours/train.jsonl",
    held_out="gs://ours/held_out.jsonl",
    method="supervised",
    choices=Choices(),
)
ORDERS = {
    "supervised": ORDER,
    "supervised, everything chosen": replace(ORDER, choices=EVERYTHING),
    "without validation": replace(ORDER, held_out=None),
    "preference": replace(ORDER, method="preference"),
    "preference, everything chosen": replace(ORDER, method="preference", choices=EVERYTHING),
}


def answer(method: str, path: str, body: Json) -> Json:
    """What the capture has for such a call, in its fullest form."""
    path, _, _ = path.partition("?")
    if path.startswith("/v1beta1/"):
        if path.endswith(":cancel"):
            return {}
        if (method, path.rpartition("/")[2]) == ("GET", "tuningJobs"):
            return {"tuningJobs": []}
        return CANNED["tunings_vertex/get_succeeded"]
    if path.endswith("/files"):
        name = "files_create" if method == "POST" else "files_list"
        return CANNED[f"openai_fine_tuning/{name}"]
    for ending, name in (("/events", "job_list_events"), ("/checkpoints", "job_checkpoints")):
        if path.endswith(ending):
            return {**CANNED[f"openai_fine_tuning/{name}"], "has_more": False}
    if (method, path) == ("GET", "/v1/fine_tuning/jobs"):
        return {"object": "list", "data": [], "has_more": False}
    return CANNED["openai_fine_tuning/job_retrieve"]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    monkeypatch.setenv("OPENAI_API_KEY", "made-up-key")
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "made-up-token")
    with recording(monkeypatch, answer) as recorded:
        yield recorded


def faults(wire: Recorded, *, speaks_openai: bool = False) -> list[str]:
    return [
        fault for one in wire.exchanges for fault in faults_of(one, speaks_openai=speaks_openai)
    ]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_a_job_on_vertex_is_asked_for_as_google_describes_it(order: Order, wire: Recorded) -> None:
    service = VertexService(
        vertex_client("demo-project", "us-central1", 30),
        Bucket("ours", client=None),
        "demo-project",
        "us-central1",
    )
    assert service.find(order.label) is None
    assert service.create(order) == JOB
    assert service.state(JOB).phase == "succeeded"
    service.cancel(JOB)
    assert faults(wire) == []
    jobs = "/v1beta1/projects/demo-project/locations/us-central1/tuningJobs"
    assert wire.calls() == [
        ("GET", jobs),
        ("POST", jobs),
        ("GET", f"/v1beta1/{JOB}"),
        ("POST", f"/v1beta1/{JOB}:cancel"),
    ]
    sent = wire.exchanges[1].body
    preference = order.method == "preference"
    spec = sent["preferenceOptimizationSpec" if preference else "supervisedTuningSpec"]
    assert sent["baseModel"] == order.model
    assert spec["trainingDatasetUri"] == order.train
    assert spec.get("validationDatasetUri") == order.held_out
    assert order.label in sent["labels"].values()
    chosen = spec.get("hyperParameters", {})
    assert str(chosen.get("epochCount")) == str(order.choices.epochs)
    assert chosen.get("learningRateMultiplier") == order.choices.learning_rate_multiplier
    assert chosen.get("adapterSize") == (
        "ADAPTER_SIZE_FOUR" if order.choices.adapter_size else None
    )


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_a_job_at_openai_is_asked_for_as_openai_describes_it(
    order: Order, wire: Recorded, tmp_path: Path
) -> None:
    endpoint = find_endpoint("openai")
    service = OpenAIService(endpoint, connect(endpoint))
    rows = tmp_path / "train.jsonl"
    rows.write_text('{"messages": []}\n')
    uploaded = service.upload(rows, f"{order.label}-train")
    held_out = None if order.held_out is None else uploaded
    order = replace(order, model="gpt-4o-mini-2024-07-18", train=uploaded, held_out=held_out)
    assert service.find(order.label) is None
    job = service.create(order)
    service.state(job)
    service.cancel(job)
    service.close()
    assert faults(wire, speaks_openai=True) == []
    (upload,) = (body for body in wire.bodies("/files") if body)
    assert upload == {"purpose": "fine-tune", "file": rows.read_text()}
    (sent,) = (body for body in wire.bodies("/fine_tuning/jobs") if body)
    kind = "dpo" if order.method == "preference" else "supervised"
    assert sent["method"]["type"] == kind
    chosen = sent["method"][kind]["hyperparameters"]
    assert chosen.get("n_epochs") == order.choices.epochs
    assert chosen.get("batch_size") == order.choices.batch_size
    assert (sent["training_file"], sent.get("validation_file")) == (uploaded, held_out)
    assert order.label in sent["metadata"].values()


# --- the rows themselves ------------------------------------------------------------------------

ROW = TuningRow(
    (
        Message("system", "Sort the message."),
        Message("user", "one"),
        Message("assistant", "a"),
        Message("user", "my card_lost is {gone}\n🂡"),
    ),
    "card lost",
    rejected="top up",
)


def test_rows_for_gemini_are_turns_as_google_describes_them() -> None:
    for method in ("supervised", "preference"):
        row = dict(to_row(ROW, "gemini", method))
        pair = row.pop("completions", [])
        definition = "GoogleCloudAiplatformV1beta1GenerateContentRequest"
        assert not vertex().faults(definition, row, "request")
        content = "GoogleCloudAiplatformV1beta1Content"
        assert not [
            f for one in pair for f in vertex().faults(content, one["completion"], "request")
        ]
        assert sorted(one["score"] for one in pair) == ([0, 1] if method == "preference" else [])


def test_rows_for_openai_are_messages_as_openai_describes_them() -> None:
    for method in ("supervised", "preference"):
        row = to_row(ROW, "openai", method)
        turns = (
            row["messages"]
            if method == "supervised"
            else [*row["input"]["messages"], *row["preferred_output"], *row["non_preferred_output"]]
        )
        asked = Exchange("POST", "/v1/chat/completions", {"model": "m", "messages": turns})
        assert not openai().faults_of_request(asked)
