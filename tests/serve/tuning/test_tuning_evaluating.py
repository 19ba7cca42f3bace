"""What a job asks to be evaluated: computed after the training, written, and told with the job."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from contract.vendors import vertex
from tuning_jobs import gemini_row, lines, now_of, post

from stepladder.core import Json
from stepladder.database.database import Database
from stepladder.database.records import TuningJob
from stepladder.serve import Refusal
from stepladder.serve.gemini.tuning_bodies import job_body
from stepladder.serve.gemini.tuning_forms import read_job
from stepladder.serve.tuning.run_job import Workplace
from stepladder.serve.tuning.worker import Signals, work

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

ROUGE: Json = {"type": "ROUGE", "parameters": {"rouge_type": "rouge1"}}
SPEC: Json = {
    "trainingDatasetUri": "gs://b/train.jsonl",
    "validationDatasetUri": "gs://b/val.jsonl",
    "evaluationConfig": {
        "metrics": [
            {"exact_match_spec": {}, "aggregation_metrics": ["AVERAGE", "MAXIMUM"]},
            {"bleu_spec": {}, "aggregation_metrics": ["STANDARD_DEVIATION"]},
            {"computationBasedMetricSpec": ROUGE},
        ],
        "outputConfig": {"gcs_destination": {"output_uri_prefix": "gs://b/eval/"}},
    },
}  # fmt: skip
PLACE = "projects/p/locations/l"


@pytest.fixture(autouse=True)
def _short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepladder.serve.tuning.evaluating.OUTPUT_TOKENS", 8)


def ended(database: Database, place: Workplace, base: Path, spec: Json = SPEC) -> TuningJob:
    assert place.gs_folder is not None
    (place.gs_folder / "b").mkdir(parents=True)
    for name, numbers in (("train", range(24)), ("val", range(90, 96))):
        content = lines([gemini_row(number) for number in numbers])
        (place.gs_folder / "b" / f"{name}.jsonl").write_bytes(content)
    asked = read_job({"baseModel": "m", "supervisedTuningSpec": spec})
    more: dict[str, Any] = {
        "protocol": "vertex",
        "training_file": "gs://b/train.jsonl",
        "validation_file": "gs://b/val.jsonl",
        "options": {"epochs": 1, "adapter_rank": 1},
        "request": asked,
    }
    job = post(database, base, b"", **more)
    signals = Signals(threading.Event(), threading.Event())
    assert work(database, place, signals, lease_seconds=30, poll_seconds=0.01)
    done = now_of(database, job)
    assert done.state == "succeeded", done.error
    return done


def test_metrics_are_told_with_the_job_and_written_by_example(
    database: Database, place: Workplace, tiny_base: Path
) -> None:
    pytest.importorskip("sacrebleu")
    done = ended(database, place, tiny_base)
    body = job_body(done, PLACE)
    (run,) = body["evaluateDatasetRuns"]
    assert run["checkpointId"] == done.checkpoints[-1].id
    response = run["evaluateDatasetResponse"]
    results = response["aggregationOutput"]["aggregationResults"]
    named = [(one["aggregationMetric"], *(one.keys() - {"aggregationMetric"})) for one in results]
    assert named == [
        ("AVERAGE", "exactMatchMetricValue"), ("MAXIMUM", "exactMatchMetricValue"),
        ("STANDARD_DEVIATION", "bleuMetricValue"), ("AVERAGE", "rougeMetricValue"),
    ]  # fmt: skip
    assert place.gs_folder is not None
    folder = place.gs_folder / response["outputInfo"]["gcsOutputDirectory"].removeprefix("gs://")
    written = (folder / "evaluation_results.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in written.splitlines()]
    assert [row["reference"] for row in rows] == ["blue", "grey", "red", "green", "blue", "grey"]
    matched = [float(row["response"] == row["reference"]) for row in rows]
    assert [row["scores"][0]["exactMatch"] for row in rows] == matched
    assert results[0]["exactMatchMetricValue"]["score"] == pytest.approx(sum(matched) / 6)
    told = vertex().faults("GoogleCloudAiplatformV1beta1TuningJob", body, "response")
    assert told == []


def test_what_cannot_be_evaluated_is_told_and_costs_no_model(
    database: Database, place: Workplace, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise Refusal("invalid", "the texts are too long for ROUGE-L in one request")

    monkeypatch.setattr("stepladder.serve.tuning.evaluating.scorer_of", none)
    done = ended(database, place, tiny_base)
    assert done.tuned_model is not None
    (run,) = job_body(done, PLACE)["evaluateDatasetRuns"]
    assert run["error"] == {
        "code": 3,
        "message": "the texts are too long for ROUGE-L in one request",
    }


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"metrics": [{"pointwiseMetricSpec": {}}]}, "'pointwiseMetricSpec' is not implemented"),
        ({"metrics": [{"llm_based_metric_spec": {}}]}, "'llm_based_metric_spec'"),
        ({"metrics": []}, "no metric"),
        ({"metrics": [{}]}, "one spec"),
        ({"metrics": [{"bleuSpec": {}, "aggregationMetrics": ["BEST"]}]}, "BEST"),
        ({"metrics": [{"bleuSpec": {}, "more": 1}]}, "more"),
        ({"metrics": "bleu"}, "list"),
        ({"autoraterConfig": {}}, "autoraterConfig"),
        ({"inferenceGenerationConfig": {}}, "inferenceGenerationConfig"),
        ({"outputConfig": {"gcsDestination": {"outputUriPrefix": "/etc"}}}, "gs://"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(change: Json, word: str) -> None:
    spec = {**SPEC, "evaluationConfig": {**SPEC["evaluationConfig"], **change}}
    with pytest.raises(Refusal, match=word):
        read_job({"baseModel": "m", "supervisedTuningSpec": spec})


def test_without_validation_data_nothing_is_evaluated() -> None:
    spec = {name: value for name, value in SPEC.items() if name != "validationDatasetUri"}
    with pytest.raises(Refusal, match="validation dataset"):
        read_job({"baseModel": "m", "supervisedTuningSpec": spec})
