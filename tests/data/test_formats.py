"""Columns to examples: mapping, ids, metadata, kinds, and every row's complaint with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepladder.core import DataSource, Example, Message
from stepladder.data.findings import Finding, Findings, as_error
from stepladder.data.formats import dig, format_of, read_examples
from stepladder.errors import TaskError


def lines(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_columns_become_an_example_with_its_place(tmp_path: Path) -> None:
    row = {"id": 7, "input": "a", "output": "b", "meta": {"pmid": 12, "year": 1999}, "more": [1]}
    source = DataSource(expected="output", group="meta.pmid")
    (example,) = read_examples(lines(tmp_path, row), source)
    assert example == Example(
        "7", "a", "b", "12", {"pmid": 12, "year": 1999, "more": [1]}, "a.jsonl:1"
    )


def test_several_columns_become_named_fields(tmp_path: Path) -> None:
    row = {"title": "t", "body": {"text": "b"}, "expected": 1}
    source = DataSource(input=("title", "body.text"))
    (example,) = read_examples(lines(tmp_path, row), source)
    assert example.input == {"title": "t", "body.text": "b"}
    assert example.metadata == {"body": {"text": "b"}}


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("text", "text"),
        (3, "3"),
        ({"a": "b"}, {"a": "b"}),
        ([{"role": "user", "content": "hi"}], "hi"),
        (
            [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}],
            (Message("system", "s"), Message("user", "hi")),
        ),
    ],
)
def test_an_input_is_text_fields_or_messages(tmp_path: Path, value: Any, read: Any) -> None:
    (example,) = read_examples(lines(tmp_path, {"input": value, "expected": "x"}))
    assert example.input == read


def test_examples_without_ids_are_named_by_what_they_say(tmp_path: Path) -> None:
    rows = [{"input": "a", "expected": "x"}, {"input": "b", "expected": "x"}]
    first, second, again = read_examples(lines(tmp_path, *rows, rows[0]))
    assert again.id == f"{first.id}-2"
    turned = list(read_examples(lines(tmp_path, *reversed(rows))))
    assert {e.id for e in turned} == {first.id, second.id}


def test_a_dotted_name_is_a_column_first_and_a_path_second() -> None:
    row = {"a.b": 1, "a": {"b": 2, "c.d": {"e": 3}}, "x.y": {"z": 4}}
    assert dig(row, "a.b") == 1
    assert dig(row, "a.c.d.e") == 3
    assert dig(row, "x.y.z") == 4
    for absent in ("a.z", "q", "x.y.z.w"):
        with pytest.raises(KeyError):
            dig(row, absent)


@pytest.mark.parametrize(
    ("row", "kind", "said", "cure"),
    [
        ({"expected": "x", "text": "a"}, "missing field", "no 'input'", "[data] input"),
        ({"input": "a", "answer": "x"}, "missing field", "no 'expected'", "'answer'"),
        ({"input": None, "expected": "x"}, "missing field", "'input' is empty", "fill"),
        ({"input": "", "expected": "x"}, "missing field", "'input' is empty", "fill"),
        ({"input": " \n", "expected": "x"}, "missing field", "'input' is blank", "fill"),
        ({"input": [], "expected": "x"}, "missing field", "'input' is empty", "fill"),
        ({"input": "a", "expected": None}, "missing field", "'expected' is empty", "fill"),
        ({"input": [{"role": "?"}], "expected": "x"}, "malformed row", "turn 1", ""),
    ],
)
def test_a_row_that_lacks_something_is_told_and_the_rest_is_read(
    tmp_path: Path, row: Any, kind: str, said: str, cure: str
) -> None:
    good = {"input": "a", "expected": "x"}
    path, problems = lines(tmp_path, good, row, good), Findings()
    assert len(list(read_examples(path, on_problem=problems))) == 2
    (finding,) = problems.kept
    assert (finding.place, finding.kind) == ("a.jsonl:2", kind)
    assert said in finding.message
    assert cure in finding.cure
    with pytest.raises(TaskError, match=r"a\.jsonl:2"):
        list(read_examples(path))


def test_ids_and_groups_are_names(tmp_path: Path) -> None:
    path = lines(tmp_path, {"input": "a", "expected": "x", "who": {"n": 1}})
    for source in (DataSource(id="who"), DataSource(group="who")):
        with pytest.raises(TaskError, match="'who' is not text"):
            list(read_examples(path, source))
    with pytest.raises(TaskError, match="no 'doc'"):
        list(read_examples(path, DataSource(group="doc")))


def test_answers_take_the_form_of_the_kind_of_task(tmp_path: Path) -> None:
    path = lines(tmp_path, {"input": "a", "expected": True}, {"input": "b", "expected": 3})
    assert [e.expected for e in read_examples(path, kind="classification")] == ["true", "3"]
    assert [e.expected for e in read_examples(path, kind="qa")] == [True, 3]
    path = lines(tmp_path, {"input": "a", "expected": '{"drug": []}'})
    (example,) = read_examples(path, kind="extraction")
    assert example.expected == {"drug": []}
    path = lines(tmp_path, {"input": "a", "expected": "aspirin"})
    with pytest.raises(TaskError, match="not JSON") as caught:
        list(read_examples(path, kind="extraction"))
    assert "kind" in caught.value.hint


def test_the_format_is_told_by_name_and_first_row(tmp_path: Path) -> None:
    turn = {"role": "user", "content": "x"}
    assert format_of(lines(tmp_path, {"messages": [turn]})) == "openai"
    assert format_of(lines(tmp_path, {"messages": [turn], "input": "a"})) == "jsonl"
    assert format_of(lines(tmp_path, {"contents": []})) == "gemini"
    assert format_of(lines(tmp_path)) == "jsonl"
    assert format_of(Path("A.CSV")) == format_of(Path("a.tsv")) == "csv"
    assert format_of(Path("a.parquet")) == "parquet"
    with pytest.raises(TaskError, match=r"'a\.xlsx'") as caught:
        format_of(Path("a.xlsx"))
    assert "[data] format" in caught.value.hint
    with pytest.raises(TaskError, match="no format is called 'xml'"):
        list(read_examples(tmp_path / "a.jsonl", DataSource(format="xml")))


def test_empty_cells_of_csv_are_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("input,expected,note,n\na,yes,,3\nb,,x,4\n", "utf-8")
    problems = Findings()
    (example,) = read_examples(path, on_problem=problems)
    assert example.metadata == {"n": "3"}
    assert type(example.expected) is str
    assert problems.kept[0].place == "a.csv:3"


def test_findings_keep_some_and_count_all() -> None:
    findings = Findings(cap=2)
    for line in range(5):
        findings(Finding("malformed row", "bad", f"a:{line}", "mend it"))
    findings(Finding("missing field", "gone", "a:9", "fill it in", count=3))
    assert findings.total == 8
    assert [f.place for f in findings.kept] == ["a:0", "a:1", "a:9"]
    error = as_error(findings.kept, findings.total)
    assert "8 examples" in error.message
    assert "... and 5 more" in error.message
    assert error.hint == "mend it\n  fill it in"
