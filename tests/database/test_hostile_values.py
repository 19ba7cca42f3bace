"""Whatever comes is kept as it was, or refused by the name of its field; nothing breaks later."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import AT, a_batch, a_call, a_job, a_model, a_prefix, a_remark, items_of

from stepladder.database.database import Database
from stepladder.database.records import BatchItem
from stepladder.database.values import MOST_OPEN, NotStorable
from stepladder.errors import StoreError

SHARED = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # NUL and lone surrogates too
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
NO_TEXT = ("a\0b", "\ud800", "x\udfff")
DEEP: Any = []
for _ in range(5000):
    DEEP = [DEEP]
NO_JSON = (math.nan, [math.inf], {"a": -math.inf}, {1, 2}, b"bytes", object(), DEEP, {(1, 2): 3})


@SHARED
@given(content=ANY_JSON)
def test_any_json_comes_back(database: Database, content: Any) -> None:
    job = a_job(request={"given": content})
    database.add_job(job)
    assert database.job(job.id) == job


@SHARED
@given(request=ANY_JSON, answer=ANY_JSON)
def test_any_content_of_a_call_comes_back(database: Database, request: Any, answer: Any) -> None:
    call = a_call(request=request, answer=answer)
    database.record(call)
    assert database.served(call.id) == call
    assert database._writer.flush()
    assert database.served(call.id) == call
    assert database.dropped_rows == 0


@SHARED
@given(text=ANY_TEXT)
def test_any_text_is_kept_or_refused(database: Database, text: str) -> None:
    call = a_call()
    database.record(call)
    said = [a_remark(call.id, correction=text)]
    database.add_feedback(said[0])
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        with pytest.raises(StoreError, match="'comment' holds"):
            database.add_feedback(a_remark(call.id, comment=text))
    else:
        said.append(a_remark(call.id, comment=text, at=AT + timedelta(seconds=1)))
        database.add_feedback(said[1])
    assert database.feedback(call.id) == said


@pytest.mark.parametrize("field", ["name", "base", "model", "owner", "training_file", "id"])
def test_text_that_postgresql_does_not_take_is_refused_by_both(
    database: Database, field: str
) -> None:
    for text in NO_TEXT:
        with pytest.raises(NotStorable, match=f"'{field}' holds") as told:
            database.add_job(replace(a_job(), **{field: text}))
        assert told.value.field == field
    assert database.jobs() == []


def test_what_is_not_json_is_refused(database: Database) -> None:
    for value in NO_JSON:
        for add, made in (
            (database.add_job, a_job(options={"x": value})),
            (database.add_prefix, a_prefix(request={"x": value})),
            (database.add_tuned, a_model(labels={"x": value})),
        ):
            with pytest.raises(StoreError, match=r"'(options|request|labels)' is n(ot JSON|ested)"):
                add(made)
    batch = a_batch()
    with pytest.raises(StoreError, match="'request'"):
        database.add_batch(batch, [BatchItem(batch.id, 0, "k", {"x": math.nan})])
    assert database.batch(batch.id) is None


@pytest.mark.parametrize("value", NO_JSON, ids=lambda value: type(value).__name__)
def test_a_call_with_content_that_is_not_json_is_recorded_without_it(
    database: Database, value: Any
) -> None:
    call = a_call(request={"x": value})
    database.record(call)
    assert database._writer.flush()
    kept = database.served(call.id)
    assert kept is not None
    assert kept.request is None
    assert "'request'" in str(kept.error)
    assert replace(kept, request=call.request, error=None) == call


def test_a_call_with_text_that_no_database_takes_is_recorded(database: Database) -> None:
    call = a_call(model="a\0b\ud800c", error="\0", route="é字")
    database.record(call)
    assert database._writer.flush()
    kept = database.served(call.id)
    assert kept is not None
    assert (kept.model, kept.error, kept.route) == ("a\ufffdb?c", "\ufffd", "é字")
    assert database.dropped_rows == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", 2**63),
        ("input_tokens", 10**400),
        ("input_tokens", 1.5),
        ("seconds", math.nan),
        ("dollars", math.inf),
        ("seconds", 10**400),
        ("at", datetime(2026, 1, 1)),
        ("model", 7),
    ],
)
def test_a_call_with_numbers_and_times_that_do_not_fit_is_dropped_and_named(
    database: Database, field: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    call = replace(a_call(), **{field: value})
    database.record(call)
    assert database.dropped_rows == 1
    assert f"'{field}' must be" in caplog.text
    assert database.served(call.id) is None


def test_numbers_at_the_edge_come_back(database: Database) -> None:
    call = a_call(input_tokens=2**63 - 1, output_tokens=-(2**63), seconds=5e-324, dollars=1.7e308)
    database.record(call)
    assert database._writer.flush()
    assert database.served(call.id) == call


def test_huge_integers_within_json_come_back(database: Database) -> None:
    job = a_job(options={"epochs": 10**4000})
    database.add_job(job)
    assert database.job(job.id) == job


def test_mappings_of_any_kind_and_changed_ones(database: Database) -> None:
    body = {"a": [1]}
    call = a_call(request=MappingProxyType({"inner": MappingProxyType(body)}))
    database.record(call)
    body["a"].append(2)
    kept = database.served(call.id)
    assert kept is not None
    assert kept.request == {"inner": {"a": [1]}}, "what was said then, not what became of it"


def test_nested_as_deep_as_can_be_read_back(database: Database) -> None:
    deepest: Any = "x"
    for _ in range(MOST_OPEN - 1):
        deepest = [deepest]
    wide = [[] for _ in range(5000)]
    job = a_job(options={"wide": wide, "deep": deepest})
    database.add_job(job)
    assert database.job(job.id) == job
    with pytest.raises(StoreError, match=f"'options' is nested more than {MOST_OPEN} deep"):
        database.add_job(a_job(options={"wide": wide, "deep": [deepest]}))


@pytest.mark.parametrize("number", [-(10**30), -1, 10**30])
def test_numbers_of_lists_that_no_database_takes(database: Database, number: int) -> None:
    batch, job = a_batch(), a_job()
    database.add_job(job)
    database.add_batch(batch, items_of(batch, 2))
    database.add_event(job.id, "info", "x")
    for listed in (
        lambda: database.jobs(limit=number),
        lambda: database.events(job.id, limit=number),
        lambda: database.items(batch.id, limit=number),
        lambda: database.open_items(batch.id, limit=number),
        lambda: database.served_between(job.created_at, job.created_at, limit=number),
    ):
        if number < 0:
            with pytest.raises(StoreError, match="limit"):
                listed()
        else:
            listed()
    for later in (False, True):
        database.events(job.id, after=number, newest_first=later)
    database.items(batch.id, after=number)
