"""Lines of TOML keys, against documents whose keys are generated with their lines known."""

from __future__ import annotations

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.data.toml_lines import line_of, lines_of

VALUES = st.sampled_from(
    [
        '"""\\\\"""',
        '"""a\\\n  b """""',
        "[\n  '''\n ] ''',\n]",
        '"""x \\""" [ """',
        '""',
        '[{ a = "]" },\n { a = "\\"[" }]',
        "1",
        '"# not [a] comment = 1"',
        "'it [is] = so'",
        '"""\n[table]\nkey = 2 \\" ]\n"""',
        "'''\n[other]\n'''",
        "[\n  1, # ]\n  [2],\n  ']',\n]",
        "{ a = { b = [1] } }",
        "2020-01-01 # = [x]",
    ]
)
KEYS = st.sampled_from(["a", "b-c", '"d e"', "f.g", "h.'i j'"])


@given(st.lists(st.tuples(KEYS, VALUES), max_size=5, unique_by=lambda pair: pair[0]), st.booleans())
@settings(deadline=None)
def test_every_key_is_found_where_it_stands(pairs: list[tuple[str, str]], in_table: bool) -> None:
    text = "# title\n[table.inner]\n" if in_table else "\n"
    head: tuple[str, ...] = ("table", "inner") if in_table else ()
    where = {}
    for key, value in pairs:
        names = tuple(name.strip("\"'") for name in key.split("."))
        where[head + names] = text.count("\n") + 1
        text += f"{key} = {value}\n"
    tomllib.loads(text)  # the documents are valid, or the test says nothing
    lines = lines_of(text)
    assert {key: lines.get(key) for key in where} == where


def test_what_has_no_line_is_found_above() -> None:
    lines = lines_of("[a]\nb = { c = 1 }\n")
    assert line_of(lines, ("a", "b", "c", 3)) == 2
    assert line_of(lines, ("a", "z")) == 1
    assert line_of(lines, ("y",)) is None


def test_a_list_of_very_many_lines_is_scanned_once() -> None:
    text = "labels = [\n" + '  "x",\n' * 100_000 + "]\nlast = 1\n"
    assert lines_of(text)[("last",)] == 100_003
