"""The service of our own that other tests talk to, against the official documents.

It stands in for Google and OpenAI in the tests of whole climbs. Here our code runs against it
through the real SDKs, and both sides of every call are checked: a stand-in that drifted from the
documents would make those tests worthless.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hosted_service import PROJECT, Service

from contract.asking import FEATURES, PLAIN, SYSTEM, USER
from contract.calling import KNOWN, gemini_api, openai_api, opened, vertex_api
from contract.recording import Recorded, faults_of, recording
from contract.vendors import developer
from stepladder.core import Message, Request
from stepladder.models import ProviderSettings
from stepladder.models.hosted.api import BatchApi, BatchState
from stepladder.registry import look_up
from stepladder.storage import open_bucket
from stepladder.trainers.service import Choices, Order, TuningRow, TuningService, TuningState
from stepladder.trainers.tuning_data import to_row

pytest.importorskip("google.genai")
pytest.importorskip("google.cloud.storage")

BUCKET = "rows-of-contract"
VERTEX = {"location": "us-central1", "bucket": BUCKET}
KEPT_FROM = 4096  # tokens: below, Gemini keeps no prefix

# where both sides depart from the documents on purpose, and why
BEYOND = {
    r"^POST /v1(beta)?/models/\S+:batchGenerateContent: .*'model' is a required property": (
        "the SDK names a batch's model in the path only"
    ),
    r"answer .*'logProbabilitySum' was unexpected": "the SDK reads it from Vertex as well",
    r"answer .*\('first_id', 'last_id' were unexpected\)": (
        "OpenAI's lists are all alike; the document leaves these two out of some"
    ),
    r"answer \$\.(first|last)_id: None is not of type": "a list without entries has neither",
    r"^\w+ /v1/batches\S*: answer \$\S*: None is not of type": (
        "a batch's fields that are not there yet are null, as in the document's own example"
    ),
}


@pytest.fixture
def wire(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    for name, value in service.environment(tmp_path / "service-account.json").items():
        monkeypatch.setenv(name, value)
    service.make_bucket(BUCKET)
    with recording(monkeypatch) as recorded:
        yield recorded


def faults(wire: Recorded, *, speaks_openai: bool = False) -> list[str]:
    found = [
        fault
        for one in wire.exchanges
        for fault in faults_of(one, speaks_openai=speaks_openai, with_answer=True)
    ]
    return [fault for fault in found if not any(re.search(known, fault) for known in BEYOND)]


@pytest.mark.parametrize(
    "name", ["gemini:gemini-3.1-flash-lite", "vertex:gemini-3.5-flash", "openai:gpt-4o-mini"]
)
def test_answers_are_as_documented(name: str, wire: Recorded) -> None:
    google = not name.startswith("openai:")
    features = {
        key: one for key, one in FEATURES.items() if not (google and key == "log-probability")
    }
    with opened(name, **(VERTEX if name.startswith("vertex:") else {})) as asked:
        asked(*features.values())
    assert len(wire.exchanges) == len(features)
    assert {one.status for one in wire.exchanges} == {200}
    assert faults(wire, speaks_openai=not google) == []


@pytest.mark.parametrize("provider", ["gemini", "vertex"])
def test_log_probabilities_are_as_documented(provider: str, wire: Recorded) -> None:
    with opened(
        f"{provider}:gemini-of-next-year", **(VERTEX if provider == "vertex" else {})
    ) as asked:
        (answer,) = asked(replace(FEATURES["log-probability"], max_output_tokens=400))
    assert answer.logprob is not None
    assert faults(wire) == []


@pytest.mark.parametrize("provider", ["gemini", "vertex"])
def test_a_kept_prefix_is_as_documented(provider: str, wire: Recorded) -> None:
    shown = Message("user", "an example of many words " * KEPT_FROM)
    prefix = (SYSTEM, shown, Message("assistant", "a"))
    api = gemini_api() if provider == "gemini" else vertex_api(PROJECT)
    kept = api.write_cache("gemini-3.5-flash", prefix, 600)
    request = replace(PLAIN, messages=(*prefix, USER), max_output_tokens=400)
    answer = api.send("gemini-3.5-flash", request, kept)
    api.drop_cache(kept)
    api.close()
    assert answer.usage.cached_tokens == kept.tokens
    assert [one.status for one in wire.exchanges] == [200, 200, 200]
    assert faults(wire) == []


def run_batch(api: BatchApi, model: str, requests: Sequence[Request]) -> BatchState:
    """A job from being sought to its answers, and another that is cancelled."""
    assert api.find_batch(model, "label") is None
    job = api.submit_batch(model, requests, "label")
    assert api.find_batch(model, "label") == job
    for _ in range(20):
        state = api.poll_batch(model, job, requests)
        if state.state != "running":
            break
    api.cancel_batch(api.submit_batch(model, requests[:1], "another"))
    return state


@pytest.mark.parametrize("provider", ["gemini", "vertex", "openai"])
def test_a_batch_is_as_documented(provider: str, wire: Recorded) -> None:
    model = "gpt-4o-mini" if provider == "openai" else "gemini-3.5-flash"
    requests = [replace(FEATURES[one], max_output_tokens=400) for one in ("plain", "schema")]
    api: Any = {
        "gemini": gemini_api,
        "vertex": lambda: vertex_api(PROJECT, open_bucket(BUCKET, PROJECT)),
        "openai": openai_api,
    }[provider]()
    state = run_batch(api, model, requests)
    api.close()
    assert state.state == "succeeded"
    assert [state.answers[place].error for place in (0, 1)] == [None, None]
    assert faults(wire, speaks_openai=provider == "openai") == []
    if provider == "gemini":  # the document leaves the job's own form open; it is described apart
        jobs = [one.answer for one in wire.exchanges if "metadata" in (one.answer or {})]
        assert jobs
        for job in jobs:
            kind, told = "GenerateContentBatch", dict(job["metadata"])
            assert told.pop("@type", kind).endswith(kind)
            assert developer().faults(kind, told, "response") == []


# --- tuning jobs --------------------------------------------------------------------------------


def ended(service: TuningService, job: str) -> TuningState:
    """The job once it ended: the service trains in a process of its own, which takes a moment."""
    for _ in range(500):
        state = service.state(job)
        if state.ended:
            return state
        time.sleep(0.02)
    raise AssertionError(f"{job} did not end: {state}")


def train(service: TuningService, base: str, folder: Path) -> TuningState:
    """A job from its rows to its end, and another that is cancelled."""
    form = service.form
    files = {}
    for name in ("train", "held_out"):
        file = folder / f"{name}.jsonl"
        rows = (TuningRow((Message("user", f"{name} {n}"),), "ab"[n % 2]) for n in range(20))
        file.write_text("".join(json.dumps(to_row(row, form, "supervised")) + "\n" for row in rows))
        files[name] = service.upload(file, f"stepladder-0-{name}")
    order = Order("stepladder-0", base, files["train"], files["held_out"], "supervised", Choices(2))
    assert service.find(order.label) is None
    job = service.create(order)
    assert service.find(order.label) == job
    state = ended(service, job)
    service.cancel(service.create(replace(order, label="stepladder-1")))
    service.close()
    return state


@pytest.mark.parametrize(
    ("provider", "base"), [("vertex", "gemini-3.5-flash"), ("openai", "gpt-4o-mini-2024-07-18")]
)
def test_a_tuning_job_is_as_documented(
    provider: str, base: str, wire: Recorded, tmp_path: Path
) -> None:
    options: dict[str, Any] = VERTEX if provider == "vertex" else {}
    settings = ProviderSettings(provider, options=options, catalogue=KNOWN)
    trainer = look_up("trainer", provider)(settings)
    state = train(trainer.service, base, tmp_path)
    assert state.phase == "succeeded"
    assert state.model is not None
    assert [point.held_out_loss is not None for point in state.learning] == [True, True]
    assert faults(wire, speaks_openai=provider == "openai") == []
    asked_before = len(wire.exchanges)
    with opened(f"{provider}:{base}@{state.model}", **options) as asked:
        asked(replace(PLAIN, thinking_tokens=0))
    assert len(wire.exchanges) == asked_before + 1
    assert faults(wire, speaks_openai=provider == "openai") == []
