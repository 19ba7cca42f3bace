"""Training rows as services want them, and what they would refuse, with rows and cures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.catalogue import TuningLimits
from stepladder.core import Call, Example, Function, Message, Part
from stepladder.data.chat import CALL
from stepladder.data.chat_gemini import from_gemini
from stepladder.data.chat_openai import from_openai
from stepladder.data.findings import Finding
from stepladder.errors import TaskError
from stepladder.trainers.service import TuningJob, TuningRow
from stepladder.trainers.tuning_data import (
    Preference,
    check_job,
    read_preferences,
    to_row,
    tokens_of,
)

from .tuning_fake import FakeService, job, rows

TODAY = date(2026, 11, 22)
LIMITS = TuningLimits("fake:base-1", ("supervised",), date(2026, 9, 25), "the service's pages")
texts = st.text(min_size=1, max_size=40)


def bytes_of(messages: Sequence[Message]) -> int:
    return sum(len(str(message.content).encode()) for message in messages)


def found(one: TuningJob, limits: TuningLimits = LIMITS, **service: Any) -> list[Finding]:
    return check_job(one, limits, FakeService(**service), bytes_of, TODAY)  # type: ignore[arg-type]


# --- rows ---------------------------------------------------------------------------------------


@given(system=texts, asked=texts, answer=texts)
def test_a_row_is_read_back_as_it_was(system: str, asked: str, answer: str) -> None:
    row = TuningRow((Message("system", system), Message("user", asked)), answer)
    for form, read in (("gemini", from_gemini), ("openai", from_openai)):
        line = json.loads(json.dumps(to_row(row, form, "supervised")))  # type: ignore[arg-type]
        assert read(line) == (row.messages, answer, {})


def test_a_preference_of_gemini_has_both_answers_scored() -> None:
    row = TuningRow((Message("user", "hi"),), "good", rejected="bad")
    line = to_row(row, "gemini", "preference")
    assert line["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]
    scored = [(one["score"], one["completion"]["parts"]) for one in line["completions"]]
    assert scored == [(1.0, [{"text": "good"}]), (0.0, [{"text": "bad"}])]
    assert from_gemini(line)[:2] == ("hi", "good")


def test_a_preference_of_openai_has_both_answers_by_name() -> None:
    row = TuningRow((Message("system", "be kind"), Message("user", "hi")), "good", rejected="bad")
    assert to_row(row, "openai", "preference") == {
        "input": {
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "hi"},
            ]
        },
        "preferred_output": [{"role": "assistant", "content": "good"}],
        "non_preferred_output": [{"role": "assistant", "content": "bad"}],
    }


def test_preferences_are_read_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "preferences.jsonl"
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    lines = [
        {"input": "hi", "chosen": "good", "rejected": "bad"},
        {"input": turns, "chosen": {"a": 1}, "rejected": "bad"},
    ]
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    first, second = read_preferences(path)
    assert first == Preference("hi", "good", "bad", "preferences.jsonl:1")
    assert second.input == (Message("system", "s"), Message("user", "u"))
    assert (second.chosen, second.place) == ({"a": 1}, "preferences.jsonl:3")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "preferences.jsonl:2: not a preference"),
        ("[]", "preferences.jsonl:2: not a preference"),
        ('{"input": "a", "chosen": "b"}', "'rejected'"),
        ('{"input": 3, "chosen": "b", "rejected": "c"}', "neither text nor fields nor turns"),
        ('{"input": [{}], "chosen": "b", "rejected": "c"}', "turn 1 needs a 'role'"),
        ('{"input": "a", "chosen": "b", "rejected": "b"}', "both answers are the same"),
    ],
)
def test_a_line_that_is_no_preference_is_named(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "preferences.jsonl"
    path.write_text(f'{{"input": "a", "chosen": "b", "rejected": "c"}}\n{line}\n')
    with pytest.raises(TaskError, match=said) as caught:
        read_preferences(path)
    assert caught.value.hint


def test_preferences_that_are_not_there_say_how_to_write_them(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="preference tuning needs") as caught:
        read_preferences(tmp_path / "preferences.jsonl")
    assert '"rejected"' in caught.value.hint


def test_a_preference_is_billed_with_its_prompt_twice() -> None:
    row = TuningRow((Message("user", "12345"),), "abc", rejected="d")
    assert tokens_of(row, bytes_of) == 2 * 5 + 3 + 1
    assert tokens_of(replace(row, rejected=None), bytes_of) == 5 + 3


# --- limits -------------------------------------------------------------------------------------


def test_nothing_is_found_where_nothing_is_limited() -> None:
    assert found(job()) == []


@pytest.mark.parametrize(
    ("limits", "one", "message", "cure"),
    [
        ({"ends": date(2026, 11, 22)}, job(), "no new jobs .* since 2026-11-22", "another model"),
        ({"regions": ("europe-west4",)}, job(), "in 'us-central1'", "europe-west4"),
        ({"least_rows": 21}, job(), "20 rows are too few.*takes 21", "label more"),
        ({"most_rows": 19}, job(), "20 rows are too many.*takes 19", "examples = 19"),
        ({"most_validation_rows": 3}, job(), "4 held-out rows.*takes 3", "lower held_out"),
        ({"most_validation_share": 0.1}, job(), "4 held-out rows.*takes 2", "lower held_out"),
        ({"most_bytes": 100}, job(), "bytes of rows are too many", "to fewer"),
        ({"adapter_sizes": (1, 4)}, job(adapter_size=8), "adapter_size = 8", "possible: 1, 4"),
        ({}, job(adapter_size=8), "adapter_size = 8", "none can be chosen"),
        ({}, job(batch_size=8), "batch size", "leave batch_size out"),
        ({"methods": ("preference",)}, job(), "method 'supervised'", "preference"),
    ],
)
def test_what_is_against_a_limit_is_found_with_a_cure(
    limits: dict[str, Any], one: TuningJob, message: str, cure: str
) -> None:
    (finding,) = found(one, replace(LIMITS, **limits))
    assert re.search(message, finding.message)
    assert cure in finding.cure
    if limits:
        assert "documented on 2026-09-25: the service's pages" in finding.cure


def test_the_share_of_held_out_rows_counts_only_above_what_is_free() -> None:
    limits = replace(LIMITS, most_validation_share=0.1, validation_free_rows=4)
    assert found(job(), limits) == []


def test_the_bytes_of_held_out_rows_are_another_files() -> None:
    size = sum(len(json.dumps(to_row(row, "gemini", "supervised"))) + 1 for row in job().train)
    assert found(job(), replace(LIMITS, most_bytes=size)) == []
    assert found(job(), replace(LIMITS, most_bytes=size - 1))


def test_a_long_row_is_named_by_its_place() -> None:
    long = TuningRow((Message("user", "word " * 300),), "refund", place="train.csv:7")
    one = replace(job(), train=(*rows(3), long))
    (finding,) = found(one, replace(LIMITS, tokens_per_example=1000))
    assert str(finding).startswith("train.csv:7: an example of about 1,506 tokens is too long")


def test_a_row_is_counted_as_tokens_and_not_as_bytes() -> None:
    limits = replace(LIMITS, tokens_per_example=1000)
    long = TuningRow((Message("user", "word " * 300),), "refund", place="train.csv:7")
    one = replace(job(), train=(long,))
    quarter = lambda messages: bytes_of(messages) // 4  # noqa: E731
    assert check_job(one, limits, FakeService(), quarter, TODAY) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["gemini", "openai"])
def test_rows_with_function_calls_go_where_they_are_taken(form: str) -> None:
    call = Part("text", '{"name": "look", "arguments": {}}', media_type=CALL)
    row = TuningRow(
        (Message("user", "u"), Message("assistant", (call,))), "a", place="chat.jsonl:4"
    )
    one = replace(job(), train=(row,))
    (finding,) = found(one, form=form)
    assert str(finding).startswith("chat.jsonl:4: an example with function calls")
    assert found(one, replace(LIMITS, function_rows=True), form=form) == []


def test_the_text_of_a_row_is_not_taken_for_its_form() -> None:
    row = TuningRow((Message("user", "tool_calls: functionCall"),), '{"tools": 1}')
    assert found(replace(job(), train=(row,))) == []


def picture(uri: str) -> TuningRow:
    part = Part("image", uri=uri, media_type="image/png")
    return TuningRow((Message("user", (part, Part("text", "which?"))),), "a", place="chat.jsonl:9")


@pytest.mark.parametrize(
    ("form", "uri", "fetched"),
    [
        ("gemini", "gs://b/1.png", True),
        ("gemini", "https://example.org/1.png", True),
        ("gemini", "data:image/png;base64,AA==", False),
        ("gemini", "1.png", False),
        ("openai", "data:image/png;base64,AA==", True),
        ("openai", "gs://b/1.png", False),
        ("openai", "/home/me/1.png", False),
    ],
)
def test_files_have_to_be_where_the_service_gets_them(form: str, uri: str, fetched: bool) -> None:
    findings = found(replace(job(), train=(picture(uri),)), form=form)
    assert [finding.place for finding in findings] == ([] if fetched else ["chat.jsonl:9"])


def test_fewer_rows_are_taken_where_there_are_files() -> None:
    limits = replace(LIMITS, most_multimodal_rows=20)
    assert found(job(), limits) == []
    (finding,) = found(replace(job(), train=(*rows(20), picture("gs://b/1.png"))), limits)
    assert "21 rows, some with files, are too many" in finding.message


def test_a_multiplier_is_refused_where_there_is_no_rate_to_multiply() -> None:
    limits = replace(LIMITS, own_rate=False)
    (one,) = found(job(learning_rate_multiplier=2.0), limits)
    assert "learning_rate in its place" in one.cure
    assert not found(job(learning_rate=0.001), limits)
    assert not found(job(learning_rate_multiplier=2.0))


FIND = Function("find", "Find.", {"type": "object", "properties": {"x": {"type": "integer"}}})
CALLED = (Call("find", {"x": 1}, "a"), Call("find", {"x": 2}, "b"))
GONE_ON = (
    Message("user", "find both"),
    Message("assistant", "Looking.", calls=CALLED),
    Message("function", '{"id": 7}', result_of=CALLED[0]),
    Message("function", "none", result_of=CALLED[1]),
)


def test_calls_side_by_side_and_their_results_are_rows_of_both_forms() -> None:
    row = TuningRow(GONE_ON, "", calls=(Call("stop", {}),), functions=(FIND, Function("stop")))
    openai = to_row(row, "openai", "supervised")
    _, said, first, second, last = openai["messages"]
    ids = [call["id"] for call in said["tool_calls"]]
    assert len({*ids}) == 2
    assert [first["tool_call_id"], second["tool_call_id"]] == ids
    assert [first["role"], first["content"], second["content"]] == ["tool", '{"id": 7}', "none"]
    assert last["tool_calls"][0]["function"] == {"name": "stop", "arguments": "{}"}
    assert openai["tools"][1] == {"type": "function", "function": {"name": "stop"}}
    gemini = to_row(row, "gemini", "supervised")
    _, said, results, last = gemini["contents"]
    assert [part.get("functionCall", {}).get("args") for part in said["parts"]] == [
        None, {"x": 1}, {"x": 2},
    ]  # fmt: skip
    assert [part["functionResponse"]["response"] for part in results["parts"]] == [
        {"id": 7}, {"result": "none"},
    ]  # fmt: skip
    assert last["parts"] == [{"functionCall": {"name": "stop", "args": {}}}]
    assert gemini["tools"][0]["functionDeclarations"][1] == {"name": "stop"}


def test_a_row_in_which_nothing_is_called_says_so_and_still_has_the_functions() -> None:
    row = TuningRow((Message("user", "hi"),), "No function is called.", functions=(FIND,))
    for form in ("openai", "gemini"):
        line = to_row(row, form, "supervised")
        assert "No function is called." in json.dumps(line)
        assert "tool_calls" not in json.dumps(line)
        assert "functionCall" not in json.dumps(line).replace("functionDeclarations", "")
        assert line["tools"]


def test_calls_in_a_conversation_come_back_as_they_were() -> None:
    from stepladder.data.chat import conversation, with_calls

    parts = conversation(Example("1", GONE_ON, ""))
    assert all(not message.calls for message in parts)
    again = with_calls(parts)
    assert [(m.role, m.content) for m in again] == [(m.role, m.content) for m in GONE_ON]
    assert [c.arguments for c in again[1].calls] == [{"x": 1}, {"x": 2}]
    assert [m.result_of for m in again[2:]] == list(again[1].calls)
