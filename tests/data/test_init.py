"""A task folder out of a file of examples: what is guessed, said, and left to the user."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.data import init
from stepladder.data.init import infer_schema, init_task
from stepladder.data.split import load_split
from stepladder.errors import StoreError, TaskError
from stepladder.report.findings import init_text
from stepladder.task import load_task

from .strategies import JSON, TEXT


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def decided(folder: Path) -> Path:
    """The folder once its user has taken the suggested target."""
    text = (folder / "task.toml").read_text("utf-8")
    assert text.count("\n# score = ") == 1
    (folder / "task.toml").write_text(text.replace("\n# score = ", "\nscore = "), "utf-8")
    return folder


def mail(n: int = 60) -> list[dict[str, Any]]:
    return [{"Text": f"letter {k} {k * k}", "Category": "abc"[k % 3], "UID": k} for k in range(n)]


def test_a_table_of_labels_becomes_a_classification(tmp_path: Path) -> None:
    path = tmp_path / "mail.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["UID", "Text", "Category"])
        writer.writeheader()
        writer.writerows(mail())
    report = init_task("mail", path, tmp_path)
    assert report.files == ("task.toml", "examples.csv")
    assert report.examples == 60
    assert {g.key: g.value for g in report.guesses if g.key != "instructions"} == {
        "data.input": "Text", "data.expected": "Category", "data.id": "UID",
        "kind": "classification", "metric": "accuracy", "target.score": None,
    }  # fmt: skip
    assert all(guess.reason for guess in report.guesses)
    with pytest.raises(TaskError, match=r"\[target\] score is not set"):
        load_task(report.folder)
    task = load_task(decided(report.folder))
    assert task.labels == ("a", "b", "c")
    assert task.target.score == report.suggested_score == 0.85
    split = load_split(task)
    assert [len(s) for s in (split.train, split.dev, split.test)] == [36, 12, 12]


def test_many_labels_go_to_a_file_of_their_own(tmp_path: Path) -> None:
    rows = [{"question": f"q {k}", "intent": f"intent {k % 40:02d}"} for k in range(200)]
    report = init_task("big", lines(tmp_path / "a.jsonl", rows), tmp_path)
    assert "labels.txt" in report.files
    assert len(load_task(decided(report.folder)).labels) == 40


def test_columns_that_cannot_serve_are_not_taken(tmp_path: Path) -> None:
    rows = [
        {"text": f"w {k}", "label": "ab"[k % 2], "uid": k // 2, "customer": k % 3}
        for k in range(40)
    ]
    report = init_task("t", lines(tmp_path / "a.jsonl", rows), tmp_path)
    source = load_task(decided(report.folder)).data
    assert (source.id, source.group) == (None, None)
    assert not {"data.id", "data.group"} & {guess.key for guess in report.guesses}


def test_labels_that_do_not_fit_a_line_stay_in_the_task_file(tmp_path: Path) -> None:
    rows = [{"text": f"w {k}", "label": f"label\n{k % 25}"} for k in range(100)]
    report = init_task("t", lines(tmp_path / "a.jsonl", rows), tmp_path)
    assert "labels.txt" not in report.files
    assert "label\n24" in load_task(decided(report.folder)).labels


def test_rows_that_lack_their_answer_are_told(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": None}] * 3
    with pytest.raises(TaskError, match="3 examples cannot be used"):
        init_task("t", lines(tmp_path / "a.jsonl", rows), tmp_path)


def test_a_folder_that_cannot_be_made_is_one_clear_message(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"text": "a", "label": "b"}] * 3)
    with pytest.raises(StoreError, match="cannot be made"):
        init_task("t", path, path)


def test_records_become_an_extraction_with_a_schema(tmp_path: Path) -> None:
    rows = [
        {"id": str(k), "input": f"text {k}", "output": {"drug": ["x"], "n": k}, "meta": {"pmid": k}}
        for k in range(20)
    ]
    rows[3]["output"] = {"drug": []}
    report = init_task("pv", lines(tmp_path / "a.jsonl", rows), tmp_path)
    task = load_task(decided(report.folder))
    assert (task.kind, task.metric.name, task.data.group) == ("extraction", "micro_f1", "meta.pmid")
    assert task.schema == {
        "type": "object",
        "properties": {
            "drug": {"type": "array", "items": {"type": "string"}},
            "n": {"type": "integer"},
        },
        "required": ["drug"],
        "additionalProperties": False,
    }
    assert len(load_split(task).train) == 12


@pytest.mark.parametrize(
    ("answer", "kind", "metric"),
    [
        (lambda k: f"{k} apples", "qa", "token_f1"),
        (lambda k: f"note {k}: " + "the patient is well " * 5, "generation", "rouge"),
        (lambda k: [{"name": "book", "arguments": {"n": k}}], "calls", "exact_match"),
        (lambda k: {"name": "book", "arguments": {"n": k}}, "calls", "exact_match"),
        (lambda k: k % 2 == 0, "classification", "accuracy"),
        (lambda k: json.dumps({"found": k}), "extraction", "micro_f1"),
    ],
)
def test_the_kind_is_told_by_the_answers(
    tmp_path: Path, answer: Any, kind: str, metric: str
) -> None:
    rows = [{"prompt": f"word {k}", "completion": answer(k)} for k in range(30)]
    report = init_task("t", lines(tmp_path / "a.jsonl", rows), tmp_path)
    task = load_task(decided(report.folder))
    assert (task.kind, task.metric.name) == (kind, metric)
    load_split(task)


@pytest.mark.parametrize(
    ("answers", "kind"), [(("a", "b", "c"), "qa"), (("a", "b", "a"), "classification")]
)
def test_of_a_few_rows_only_a_repeated_answer_is_a_label(
    tmp_path: Path, answers: tuple[str, ...], kind: str
) -> None:
    rows = [{"prompt": f"word {k}", "completion": answer} for k, answer in enumerate(answers)]
    report = init_task("t", lines(tmp_path / "a.jsonl", rows), tmp_path)
    assert f'kind = "{kind}"' in (report.folder / "task.toml").read_text("utf-8")


def test_conversations_bring_their_instructions(tmp_path: Path) -> None:
    rows = [
        {"messages": [
            {"role": "system", "content": 'Say "yes" or\n"no".'},
            {"role": "user", "content": f"word {k}"},
            {"role": "assistant", "content": ["yes", "no"][k % 2]},
        ]}
        for k in range(30)
    ]  # fmt: skip
    report = init_task("chat", lines(tmp_path / "a.jsonl", rows), tmp_path)
    task = load_task(decided(report.folder))
    assert (task.kind, task.data.format) == ("classification", "openai")
    assert task.instructions == 'Say "yes" or\n"no".'
    assert all(isinstance(e.input, str) for e in load_split(task).train)


def test_a_lopsided_file_gets_a_target_above_its_commonest_answer(tmp_path: Path) -> None:
    rows = [{"text": f"w {k}", "label": "no" if k % 20 else "yes"} for k in range(100)]
    report = init_task("t", lines(tmp_path / "a.jsonl", rows), tmp_path)
    assert 0.95 < report.suggested_score < 1
    assert "always answering 'no' scores 0.95" in (report.folder / "task.toml").read_text()


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"text": "a", "label": "b"}] * 3)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "task.toml").write_text("mine", "utf-8")
    with pytest.raises(StoreError, match="exists already"):
        init_task("taken", path, tmp_path)
    assert (tmp_path / "taken" / "task.toml").read_text("utf-8") == "mine"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "with space", "x" * 101])
def test_a_name_is_a_plain_folder_name(tmp_path: Path, name: str) -> None:
    path = lines(tmp_path / "a.jsonl", [{"text": "a", "label": "b"}])
    with pytest.raises(TaskError, match="cannot be the name"):
        init_task(name, path, tmp_path)


def test_a_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"first": "a", "second": "b"}])
    with pytest.raises(TaskError, match="no column looks like the input") as caught:
        init_task("t", path, tmp_path)
    assert "'first'" in caught.value.message
    assert "prompt" in caught.value.hint
    with pytest.raises(TaskError, match="has no rows"):
        init_task("t", lines(tmp_path / "b.jsonl", []), tmp_path)
    (tmp_path / "c.jsonl").write_text("nonsense\n", "utf-8")
    with pytest.raises(TaskError, match=r"c\.jsonl:1: not JSON"):
        init_task("t", tmp_path / "c.jsonl", tmp_path)
    assert not (tmp_path / "t").exists()


@given(st.lists(JSON, max_size=5))
@settings(deadline=None, max_examples=40)
def test_the_inferred_schema_accepts_everything_it_was_inferred_from(answers: list[Any]) -> None:
    schema = infer_schema(answers)
    jsonschema.Draft202012Validator.check_schema(schema)
    for answer in answers:
        jsonschema.validate(answer, schema, cls=jsonschema.Draft202012Validator)


@given(text=TEXT, answer=TEXT)
@settings(deadline=None, max_examples=20)
def test_whatever_the_labels_the_task_file_is_valid(
    tmp_path_factory: pytest.TempPathFactory, text: str, answer: str
) -> None:
    folder = tmp_path_factory.mktemp("init")
    rows = [{"text": f"{text} {k}", "label": [answer, f"{answer} not"][k % 2]} for k in range(12)]
    report = init_task("t", lines(folder / "a.jsonl", rows), folder)
    assert set(load_task(decided(report.folder)).labels) == {answer, f"{answer} not"}


def test_rows_that_cannot_be_used_are_told_and_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "mail.csv"
    path.write_bytes(b"text,label\ncaf\xe9,x\nB,y\nC,x\n,y\n")
    report = init_task("mail", path, tmp_path)
    assert report.examples == 2
    (warning,) = report.warnings
    assert warning.startswith("2 rows cannot be used and are not counted: mail.csv:2: byte 4")
    assert "mail.csv:5" in warning
    text = init_text(report)
    assert "(2 examples)\nbeware:\n  2 rows cannot be used" in text


def test_rows_that_were_not_looked_at_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "ENOUGH", 60)
    assert not init_task("all", lines(tmp_path / "a.jsonl", mail()), tmp_path).warnings
    report = init_task("most", lines(tmp_path / "b.jsonl", mail(61)), tmp_path)
    assert report.warnings == ("only the first 60 rows were looked at; there are more",)
