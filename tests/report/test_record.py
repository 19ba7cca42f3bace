"""decision.json keeps its contract: names, nulls, and errors that name the place."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_climb import fake_decision, fake_run, fake_task

from stepladder.core import Decision
from stepladder.errors import StoreError
from stepladder.report import SCHEMA, decision_record, decision_schema, load_decision_record
from stepladder.report.record import plain

PROMISED = {
    "schema", "task", "verdict", "reason", "chosen", "confirmed", "trials", "skipped", "cautions",
    "ownership",
}  # fmt: skip
PROMISED_OF_TRIALS = {
    "step", "solver", "set", "metric", "score", "low", "high", "n", "p50_seconds", "p95_seconds",
    "input_tokens", "output_tokens", "dollars_per_1000", "build_dollars", "build_seconds", "gain",
}  # fmt: skip


def make_record(decision: Decision | None = None, **run: Any) -> dict[str, Any]:
    return decision_record(decision or fake_decision(), fake_task(), fake_run(**run))


def validate(record: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(decision_schema())
    jsonschema.validate(record, decision_schema())


def test_a_record_has_the_promised_names_and_fits_its_schema() -> None:
    record = make_record()
    validate(record)
    assert set(record) >= PROMISED
    assert record["schema"] == SCHEMA
    assert all(set(trial) >= PROMISED_OF_TRIALS for trial in record["trials"])
    assert set(record["confirmed"]) >= {"score", "low", "n", "alpha"}
    assert record["chosen"] == {"step": "fine_tune", "solver": "lora r=16"}
    assert record["trials"][-1]["gain"]["against"] == "few_shot/nearest k=20"


def test_the_schema_describes_every_field_that_is_written() -> None:
    record, schema = make_record(), decision_schema()
    assert set(record) == set(schema["properties"])
    kinds = {"trial": "trials", "confirmation": "confirmations", "ownership": "ownership"}
    for kind, field in kinds.items():
        described = set(schema["$defs"][kind]["properties"])
        assert {frozenset(each) for each in record[field]} == {frozenset(described)}


@pytest.mark.parametrize("verdict", ["met", "not_met", "undecided", "blocked"])
def test_every_verdict_fits_the_schema_even_with_nothing_measured(verdict: Any) -> None:
    record = decision_record(Decision(verdict, "because", None, ()), fake_task(), {})
    validate(record)
    assert record["chosen"] is None
    assert record["confirmed"] is None


def test_a_failed_confirmation_is_listed_but_does_not_confirm() -> None:
    first = fake_decision().confirmations[0]
    decision = fake_decision(verdict="not_met", chosen=None, confirmations=(first,))
    record = make_record(decision)
    assert record["confirmed"] is None
    assert record["confirmations"][0]["passed"] is False


def test_the_unknown_is_null_and_never_not_a_number() -> None:
    decision = fake_decision()
    trial = decision.trials[0]
    odd = replace(
        trial,
        evaluation=replace(trial.evaluation, score=math.nan, p95_seconds=math.inf, high=-math.inf),
    )
    record = make_record(replace(decision, trials=(odd,)))
    validate(record)
    json.dumps(record, allow_nan=False)
    assert record["trials"][0]["score"] is None
    assert record["trials"][0]["p95_seconds"] is None


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    )
)
def test_plain_gives_strict_json_that_survives_a_round_trip(value: Any) -> None:
    once = plain(value)
    assert json.loads(json.dumps(once, allow_nan=False)) == once
    assert plain(once) == once


def test_a_saved_record_loads_from_the_file_and_from_its_folder(tmp_path: Path) -> None:
    record = make_record()
    (tmp_path / "decision.json").write_text(json.dumps(record), encoding="utf-8")
    assert load_decision_record(tmp_path) == record
    assert load_decision_record(tmp_path / "decision.json") == record


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{\n  oops", ":2: column 3: not JSON"),
        ("[]", "not a decision record"),
        ('{"schema": "other/1"}', "'other/1'"),
        ('{"schema": "stepladder.decision/2"}', "'stepladder.decision/2'"),
        ('{"schema": "stepladder.decision/1"}', "the top level"),
    ],
)
def test_a_damaged_record_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "decision.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(StoreError) as raised:
        load_decision_record(file)
    assert said in raised.value.message
    assert raised.value.hint


def test_a_wrong_field_is_named(tmp_path: Path) -> None:
    record = make_record()
    record["trials"][3]["n"] = "many"
    file = tmp_path / "decision.json"
    file.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(StoreError, match=r"\['trials'\]\[3\]\['n'\]"):
        load_decision_record(file)


def test_a_missing_record_and_bytes_that_are_not_text_are_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        load_decision_record(tmp_path)
    (tmp_path / "decision.json").write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match="not UTF-8"):
        load_decision_record(tmp_path)


def test_moments_arrays_and_numbers_of_numpy_become_json() -> None:
    when = datetime(2026, 11, 21, 9, 28, tzinfo=UTC)
    record = make_record(started=when, finished=1_790_000_000.0, seed=np.int64(3), version=None)
    validate(record)
    assert record["run"]["started"] == "2026-11-21T09:28:00+00:00"
    assert record["run"]["finished"].startswith("2026-")
    assert record["run"]["seed"] == 3
    assert plain(np.array([1.5, np.nan])) == [1.5, None]
    assert plain(fake_decision().skipped[0])["step"] == "retrieval"
    assert plain(Path("a") / "b") == "a/b"
