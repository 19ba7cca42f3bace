"""What is written reads back the same, in every format, and a file appears whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import DataSource, Example, Message, Part
from stepladder.data.chat import CALL, RESULT
from stepladder.data.chat_openai import to_openai
from stepladder.data.formats import read_examples
from stepladder.data.writing import convert, write_examples, write_whole
from stepladder.errors import StoreError, TaskError

from .strategies import CALLS, CONVERSATIONS, FIELDS, JSON, NAME, TEXT, examples

COLUMN = NAME.map("meta_{}".format)
relaxed = settings(deadline=None, max_examples=30)


def there_and_back(folder: Path, form: str, found: Sequence[Example]) -> list[Example]:
    path = folder / f"examples.{'jsonl' if form in {'openai', 'gemini'} else form}"
    source = write_examples(found, path, form)
    return [dataclasses.replace(e, source="") for e in read_examples(path, source)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written")


@given(
    examples(
        TEXT | FIELDS | CONVERSATIONS,
        JSON.filter(lambda v: v is not None),
        st.dictionaries(COLUMN, JSON, max_size=2),
        TEXT,
    )
)
@relaxed
def test_json_lines_lose_nothing(folder: Path, found: list[Example]) -> None:
    assert there_and_back(folder, "jsonl", found) == found


@given(examples(TEXT, TEXT, st.dictionaries(COLUMN, TEXT, max_size=2), TEXT))
@relaxed
def test_csv_keeps_text(folder: Path, found: list[Example]) -> None:
    assert there_and_back(folder, "csv", found) == found


@given(examples(st.fixed_dictionaries({"title": TEXT, "body": TEXT}), TEXT, groups=st.none()))
@relaxed
def test_csv_keeps_fields(folder: Path, found: list[Example]) -> None:
    assert there_and_back(folder, "csv", found) == found


@given(
    examples(
        TEXT, TEXT, st.fixed_dictionaries({"n": st.integers(-9, 9), "ok": st.booleans()}), TEXT
    )
)
@relaxed
def test_parquet_keeps_text_and_plain_metadata(folder: Path, found: list[Example]) -> None:
    pytest.importorskip("pyarrow")
    assert there_and_back(folder, "parquet", found) == found


@pytest.mark.parametrize("form", ["openai", "gemini"])
@given(found=examples(CONVERSATIONS, TEXT | CALLS))
@relaxed
def test_chat_formats_keep_the_conversation(folder: Path, form: str, found: list[Example]) -> None:
    again = there_and_back(folder, form, found)
    wanted = [(joined(e.input) if form == "gemini" else e.input, e.expected) for e in found]
    assert [(e.input, e.expected) for e in again] == wanted


def joined(turns: Any) -> Any:
    """Results of functions that follow each other are one turn of Gemini's."""
    if not isinstance(turns, tuple):
        return turns
    found: list[Message] = []
    for turn in turns:
        both = [turn, *found[-1:]]
        if len(both) > 1 and all(is_results(one) for one in both):
            found[-1] = dataclasses.replace(found[-1], content=(*found[-1].content, *turn.content))
        else:
            found.append(turn)
    return tuple(found)


def is_results(turn: Message) -> bool:
    parts = turn.content
    return not isinstance(parts, str) and all(part.media_type == RESULT for part in parts)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_refuse_what_they_cannot_hold(tmp_path: Path, form: str) -> None:
    pytest.importorskip("pyarrow")
    turns = (Message("system", "be brief"), Message("user", "hi"))
    cases = {
        "conversations": [Example("1", turns, "x")],
        "several shapes": [Example("1", "a", "x"), Example("2", {"f": "a"}, "x")],
        "fields": [Example("1", {"expected": "a"}, "x")],
        "metadata called 'expected'": [Example("1", "a", "x", metadata={"expected": 1})],
    }
    for said, found in cases.items():
        with pytest.raises(TaskError, match=said) as caught:
            write_examples(found, tmp_path / f"a.{form}")
        assert "jsonl" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_records_in_a_table_are_read_back_by_the_kind_of_task(tmp_path: Path) -> None:
    found = [Example("1", "a", {"drug": ["b"]}, metadata={"tags": ["x"]})]
    source = write_examples(found, tmp_path / "a.csv")
    (again,) = read_examples(tmp_path / "a.csv", source, kind="extraction")
    assert again.expected == {"drug": ["b"]}
    assert again.metadata == {"tags": '["x"]'}


def test_openai_ties_results_to_calls(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"role": "user", "content": "Paris?"},
        {"role": "assistant", "tool_calls": [
            {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "x", "content": '{"t": 20}'},
        {"role": "assistant", "content": "20 °C"},
    ]  # fmt: skip
    path.write_text(json.dumps({"messages": rows, "tools": [1]}), "utf-8")
    assert convert(path, tmp_path / "b.jsonl", form="openai").lost == ()
    written = json.loads((tmp_path / "b.jsonl").read_text("utf-8"))
    call, result = written["messages"][1]["tool_calls"][0], written["messages"][2]
    assert result == {
        "role": "tool", "name": "f", "content": '{"t": 20}', "tool_call_id": call["id"],
    }  # fmt: skip
    assert written["tools"] == [1]


def test_two_calls_of_one_function_keep_their_results_apart() -> None:
    function = {"name": "f", "arguments": {}}
    call = Part("text", json.dumps(function), media_type=CALL)
    results = [
        Part("text", json.dumps({"name": "f", "response": {"n": n}}), media_type=RESULT)
        for n in (1, 2)
    ]
    turns = (
        Message("user", "go"),
        Message("assistant", (call, call)),
        Message("user", (results[0],)),
        Message("user", (results[1],)),
    )
    row = to_openai(Example("1", turns, "done"))
    asked = [call["id"] for call in row["messages"][1]["tool_calls"]]
    assert [turn["tool_call_id"] for turn in row["messages"][2:4]] == asked
    assert len(set(asked)) == 2


def test_converting_says_how_many_what_was_lost_and_how_to_read_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,customer\nhello,yes,7\nbye,no,8\n", "utf-8")
    source = DataSource(input="text", expected="label", group="customer")
    done = convert(tmp_path / "a.csv", tmp_path / "b.jsonl", source=source)
    assert (done.examples, done.lost) == (2, ())
    first, _ = read_examples(tmp_path / "b.jsonl", done.source)
    assert (first.input, first.expected, first.group) == ("hello", "yes", "7")
    done = convert(tmp_path / "a.csv", tmp_path / "c.jsonl", source=source, form="gemini")
    assert done.lost == ("groups",)
    named = DataSource(input="text", expected="label", id="customer")
    assert convert(tmp_path / "a.csv", tmp_path / "d.jsonl", source=named, form="gemini").lost == (
        "ids",
    )
    assert json.loads((tmp_path / "c.jsonl").read_text("utf-8").splitlines()[0]) == {
        "contents": [
            {"role": "user", "parts": [{"text": "hello"}]},
            {"role": "model", "parts": [{"text": "yes"}]},
        ]
    }


def test_instructions_become_the_system_turn_where_there_is_none(tmp_path: Path) -> None:
    own = {"input": [{"role": "system", "content": "b"}, {"role": "user", "content": "x"}]}
    rows = [{"input": "x", "expected": "y"}, {**own, "expected": "y"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", form="openai", instructions="a")
    written = read_examples(tmp_path / "b.jsonl")
    user = Message("user", "x")
    assert [example.input for example in written] == [
        (Message("system", "a"), user), (Message("system", "b"), user),
    ]  # fmt: skip


def test_unknown_formats_list_the_known(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="cannot be told") as caught:
        write_examples([], tmp_path / "a.xlsx")
    assert "parquet" in caught.value.hint
    with pytest.raises(TaskError, match="'xml'"):
        write_examples([], tmp_path / "a.csv", "xml")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("before", "utf-8")

    def failing() -> object:
        yield Example("1", "a", "b")
        raise KeyError("stop")

    with pytest.raises(KeyError):
        write_examples(failing(), path)  # type: ignore[arg-type]
    assert path.read_text("utf-8") == "before"
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_who_reads_the_old_file_keeps_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("before", "utf-8")
    with path.open(encoding="utf-8") as reader:
        write_examples([Example("1", "a", "b")], path)
        assert reader.read() == "before"
    assert path.read_text("utf-8") != "before"


def test_a_folder_that_is_none_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"), write_whole(tmp_path / "no" / "a"):
        pass
