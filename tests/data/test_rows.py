"""Rows out of damaged and odd files: each mistake named by its line, and the rest still read."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.data import rows as rows_module
from stepladder.data.findings import Findings, raise_problem
from stepladder.data.rows import read_csv, read_jsonl, read_parquet
from stepladder.errors import TaskError


def read(reader: Any, path: Path, content: bytes) -> tuple[list[Any], Findings]:
    path.write_bytes(content)
    problems = Findings()
    return list(reader(path, problems)), problems


def jsonl(tmp_path: Path, content: bytes) -> tuple[list[Any], Findings]:
    return read(read_jsonl, tmp_path / "a.jsonl", content)


def table(tmp_path: Path, content: bytes) -> tuple[list[Any], Findings]:
    return read(read_csv, tmp_path / "a.csv", content)


def test_json_lines_skip_blanks_and_keep_numbers(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"a": 1}\r\n\n   \n{"a": "\xe2\x80\xa8 in one line"}'
    found, problems = jsonl(tmp_path, content)
    assert found == [("a.jsonl:1", {"a": 1}), ("a.jsonl:4", {"a": "\u2028 in one line"})]
    assert problems.total == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"a": }', "not JSON: Expecting value at column 7"),
        (b'{"a": 1} {"b": 2}', "Extra data"),
        (b"[1, 2]", "a JSON array, not an object"),
        (b"3", "a JSON number"),
        (b"null", "a JSON null"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": "\xff"}', "byte 8 of the line (0xff) is not UTF-8"),
        (b'{"a": "\0"}', "NUL byte at column 8"),
        (b'{"a": "\\u0000"}', "NUL character"),
        (b'{"a": ["\\ud800"]}', "surrogate"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_a_bad_line_is_named_and_passed_over(tmp_path: Path, line: bytes, said: str) -> None:
    found, problems = jsonl(tmp_path, b'{"ok": 1}\n' + line + b'\n{"ok": 2}\n')
    assert [row for _, row in found] == [{"ok": 1}, {"ok": 2}]
    (finding,) = problems.kept
    assert (finding.place, finding.kind) == ("a.jsonl:2", "malformed row")
    assert said in finding.message
    assert finding.cure


def test_escapes_that_are_fine_are_kept(tmp_path: Path) -> None:
    found, problems = jsonl(tmp_path, rb'{"a": "\\u0000 \ud83d\ude00 \u00e9"}')
    assert found[0][1] == {"a": "\\u0000 \U0001f600 é"}
    assert problems.total == 0


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_utf_16_is_told_as_such(tmp_path: Path, mark: bytes) -> None:
    with pytest.raises(TaskError, match="UTF-16") as caught:
        jsonl(tmp_path, mark + b"{\0}\0")
    assert "UTF-8" in caught.value.hint


def test_an_absurdly_long_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "LARGEST_LINE", 10)
    with pytest.raises(TaskError, match=r"line 2 .* longer"):
        jsonl(tmp_path, b'{"a": 1}\n{"a": "0123456789"}')


def test_by_default_the_first_problem_stops(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("nothing", "utf-8")
    with pytest.raises(TaskError, match=r"a\.jsonl:1") as caught:
        list(read_jsonl(tmp_path / "a.jsonl", raise_problem))
    assert "expected" in caught.value.hint


def test_a_missing_file_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"'gone\.csv' cannot be read"):
        list(read_csv(tmp_path / "gone.csv", raise_problem))


def test_csv_lines_are_counted_through_quoted_breaks(tmp_path: Path) -> None:
    content = b'id,text\r\n1,"two\r\nlines, and ""quotes"""\r\n\r\n2,x\r\n3,y,z\r\n4,"a\n\nb"\n5,\n'
    found, problems = table(tmp_path, content)
    assert found == [
        ("a.csv:2", {"id": "1", "text": 'two\r\nlines, and "quotes"'}),
        ("a.csv:5", {"id": "2", "text": "x"}),
        ("a.csv:7", {"id": "4", "text": "a\n\nb"}),
        ("a.csv:10", {"id": "5"}),
    ]
    (finding,) = problems.kept
    assert (finding.place, finding.message) == ("a.csv:6", "the row has 3 cells, the header has 2")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_by_the_header(tmp_path: Path, delimiter: str) -> None:
    text = f'\ufefftext{delimiter}"my, label; now"\na{delimiter}b\n'
    found, _ = table(tmp_path, text.encode())
    assert found == [("a.csv:2", {"text": "a", "my, label; now": "b"})]


def test_tsv_is_split_at_tabs_whatever_the_header(tmp_path: Path) -> None:
    found, _ = read(read_csv, tmp_path / "a.tsv", b"a,b,c\td\n1\t2\n")
    assert found == [("a.tsv:2", {"a,b,c": "1", "d": "2"})]


@pytest.mark.parametrize(
    ("content", "place", "said"),
    [
        (b'a,b\n1,"x" y\n', "a.csv:2", "not CSV"),
        (b'a,b\n1,2\n3,"never\nends\n', "a.csv:3", "never ends"),
        (b"a,b\n1,\xe9\n", "a.csv:2", "not UTF-8"),
        (b"a,b\n1,\0\n", "a.csv:2", "NUL"),
        (b"a,b\r1,2\r", "a.csv:1", "new-line"),
    ],
)
def test_broken_csv_is_named_by_line(tmp_path: Path, content: bytes, place: str, said: str) -> None:
    _, problems = table(tmp_path, content)
    assert problems.kept[0].place == place
    assert said in problems.kept[0].message


def test_a_huge_cell_is_read_and_columns_may_not_repeat(tmp_path: Path) -> None:
    big = "x" * 300_000
    found, problems = table(tmp_path, f"a,\n{big},1\n".encode())
    assert found == [("a.csv:2", {"a": big, "column_2": "1"})]
    assert problems.total == 0
    with pytest.raises(TaskError, match="'a' appears twice"):
        table(tmp_path, b"a,b,a\n1,2,3\n")


def test_empty_files_have_no_rows(tmp_path: Path) -> None:
    assert table(tmp_path, b"")[0] == []
    assert table(tmp_path, b"a,b\n")[0] == []
    assert jsonl(tmp_path, b"")[0] == []


CELLS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8
)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=6), st.sampled_from(["\n", "\r\n"]))
@settings(deadline=None, max_examples=60)
def test_whatever_the_csv_module_writes_is_read_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], ending: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerow(["p", "q"])
    places = []
    for pair in cells:
        places.append(text.getvalue().count("\n") + 1)
        writer.writerow(pair)
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(text.getvalue().encode())
    found = list(read_csv(path, raise_problem))
    assert [row for _, row in found] == [{"p": p, "q": q} for p, q in cells]
    assert [place for place, _ in found] == [f"a.csv:{line}" for line in places]


def test_parquet_values_become_json(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    row = {
        "text": "a", "n": 3, "none": None, "day": datetime.date(2026, 1, 2),
        "price": decimal.Decimal("1.50"), "nested": {"k": [1, 2], "gone": None},
    }  # fmt: skip
    pq.write_table(pa.Table.from_pylist([row, {**row, "text": "b"}]), tmp_path / "a.parquet")
    found = list(read_parquet(tmp_path / "a.parquet", raise_problem))
    assert found[0] == (
        "a.parquet:1",
        {"text": "a", "n": 3, "day": "2026-01-02", "price": "1.50", "nested": {"k": [1, 2]}},
    )
    assert found[1][0] == "a.parquet:2"


def test_damaged_parquet_and_bytes_are_told(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    with pytest.raises(TaskError, match="not a readable Parquet file"):
        read(read_parquet, tmp_path / "a.parquet", b"PAR1 nothing PAR1")
    pq.write_table(pa.table({"x": [b"\xff"]}), tmp_path / "b.parquet")
    problems = Findings()
    assert list(read_parquet(tmp_path / "b.parquet", problems)) == []
    assert problems.kept[0].message == "a binary column"
