"""Every problem and warning of `check`, each with its place and cure, on data made to have it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from stepladder.core import DataSource, Example, Message, MetricSpec, Split, Target, Task
from stepladder.data.checks import CheckReport, check, check_task
from stepladder.data.findings import Finding
from stepladder.errors import TaskError

CLEAN_WORDS = [
    "harbour", "violin", "lantern", "copper", "meadow", "thunder", "pencil", "glacier", "saddle",
    "orchid", "cinnamon", "falcon", "marble", "tunnel", "whisper", "anchor", "velvet", "comet",
]  # fmt: skip


def text_of(number: int) -> str:
    """Text that is like no other's."""
    words = CLEAN_WORDS
    n = len(words)
    return f"{words[number % n]} {number * 7919} {words[number // n % n]} {number * 104729}"


def clean(start: int, n: int) -> list[Example]:
    return [
        Example(f"e{k}", text_of(k), "ab"[k % 2], source=f"f.jsonl:{k + 1}")
        for k in range(start, start + n)
    ]


def task_with(**changes: object) -> Task:
    task = Task(
        name="t", kind="classification", instructions="Say which.", target=Target(0.8),
        metric=MetricSpec("accuracy"), data=DataSource(examples="f.jsonl"), labels=("a", "b"),
    )  # fmt: skip
    return dataclasses.replace(task, **changes)  # type: ignore[arg-type]


def split_with(
    train: Sequence[Example] = (), dev: Sequence[Example] = (), test: Sequence[Example] = ()
) -> Split:
    return Split(
        (*clean(0, 120), *train), (*clean(1000, 40), *dev), (*clean(2000, 600), *test)
    )  # fmt: skip


def example(number: int, answer: object = "a", **more: object) -> Example:
    source = f"x.jsonl:{number}"
    found = Example(f"x{number}", text_of(5000 + number), answer, source=source)
    return dataclasses.replace(found, **more)  # type: ignore[arg-type]


def only(findings: Sequence[Finding]) -> Finding:
    assert [str(finding) for finding in findings][1:] == []
    return findings[0]


def problem(task: Task, split: Split) -> Finding:
    report = check(task, split)
    assert not report.ok
    return only(report.problems)


def warning(report: CheckReport, kind: str) -> Finding:
    return only([finding for finding in report.warnings if finding.kind == kind])


def test_clean_data_passes_without_a_word() -> None:
    report = check(task_with(), split_with())
    assert (report.ok, report.problems, report.warnings) == (True, (), ())
    assert (report.facts["train"], report.facts["dev"], report.facts["test"]) == (120, 40, 600)
    assert report.facts["labels"] == {"a": 380, "b": 380}
    assert report.facts["test_units"] == 600
    report.refuse()


@pytest.mark.parametrize(
    ("answer", "cure"), [("A ", "did you mean 'a'?"), ("c", "add it to labels"), (3, "add it")]
)
def test_a_label_outside_the_set(answer: object, cure: str) -> None:
    found = problem(task_with(), split_with(train=[example(1, answer)]))
    assert (found.kind, found.place) == ("label outside the set", "x.jsonl:1")
    assert repr(answer) in found.message
    assert cure in found.cure


def test_an_answer_that_the_schema_refuses() -> None:
    schema = {
        "type": "object",
        "properties": {"drug": {"type": "array", "items": {"type": "string"}}},
        "required": ["drug"],
    }
    good = [dataclasses.replace(e, expected={"drug": ["x"]}) for e in clean(0, 200)]
    bad = [example(1, {"drug": ["x", 3]}), example(2, {}), example(3, "none")]
    split = Split((*good[:120], *bad), tuple(good[120:160]), tuple(good[160:]))
    report = check(task_with(kind="extraction", schema=schema), split)
    assert [(p.kind, p.place) for p in report.problems] == [
        ("schema violation", f"x.jsonl:{n}") for n in (1, 2, 3)
    ]
    assert report.problems[0].message.startswith("drug/1:")
    assert "'drug' is a required property" in report.problems[1].message


def test_a_contradiction_names_both_rows_and_answers() -> None:
    one, other = example(1, "a"), example(2, "b", input=text_of(5001).upper() + "  ")
    found = problem(task_with(), split_with(train=[one, other]))
    assert (found.kind, found.place) == ("contradiction", "x.jsonl:2")
    assert "x.jsonl:1" in found.message
    assert "'a'" in found.message
    assert "'b'" in found.message


def test_records_that_differ_in_the_order_of_keys_do_not_contradict() -> None:
    one = example(1, {"x": 1, "y": 2})
    split = split_with(train=[one, example(2, {"y": 2, "x": 1}, input=one.input)])
    assert check(task_with(kind="extraction"), split).ok


@pytest.mark.parametrize("where", ["dev", "test"])
def test_the_same_input_in_two_sets(where: str) -> None:
    one = example(1, "a")
    again = example(2, "a", input=f" {str(one.input).title()}")
    found = problem(task_with(), split_with(train=[one], **{where: [again]}))
    assert (found.kind, found.place) == ("same input across sets", "x.jsonl:2")
    assert f"{where} has the same input as x.jsonl:1 in train" in found.message


def test_nearly_the_same_input_in_two_sets() -> None:
    text = "the parcel that I sent to my aunt in Bergen last Tuesday has still not arrived"
    one, other = example(1, input=text), example(2, input=text.replace("still ", "") + "!")
    found = problem(task_with(), split_with(train=[one], test=[other]))
    assert (found.kind, found.place) == ("near-duplicate across sets", "x.jsonl:2")
    assert "refused from 0.8" in found.message
    assert check(task_with(), split_with(train=[one, other])).ok


def test_a_group_in_two_sets() -> None:
    members = [example(n, group="doc 7") for n in (1, 2, 3)]
    found = problem(task_with(), split_with(train=members[:2], test=members[2:]))
    assert (found.kind, found.place) == ("group across sets", "x.jsonl:3")
    assert "'doc 7' is on both sides: 2 in train, 1 in test" in found.message


def test_an_id_used_twice() -> None:
    found = problem(task_with(), split_with(train=[example(1), example(2, id="x1")]))
    assert (found.kind, found.place) == ("duplicate id", "x.jsonl:2")
    assert "x.jsonl:1" in found.message


def test_an_empty_set() -> None:
    split = dataclasses.replace(split_with(), dev=())
    assert problem(task_with(), split).kind == "empty set"


def test_slices_and_floors_must_exist() -> None:
    languages = [example(n, metadata={"language": "x"}) for n in range(3)]
    split = split_with(test=languages)
    target = Target(0.8, floors={"language=x": 0.5, "language=y": 0.5})
    report = check(task_with(slices=("dialect", "language"), target=target), split)
    assert [p.message for p in report.problems] == [
        "slices: no example has 'dialect'",
        "target.floors: no test example has 'language=y', so it cannot be shown to hold",
    ]
    assert "language" in report.problems[0].cure


def test_many_problems_are_capped_and_counted() -> None:
    report = check(task_with(), split_with(train=[example(n, "z") for n in range(50)]))
    assert len(report.problems) == 20
    assert report.counts["label outside the set"] == report.total_problems == 50
    with pytest.raises(TaskError, match="50 examples cannot be used"):
        report.refuse()


def test_a_test_set_that_is_too_small_says_how_many_are_needed() -> None:
    split = dataclasses.replace(split_with(), test=tuple(clean(2000, 100)))
    report = check(task_with(target=Target(0.85, alpha=0.1)), split)
    found = warning(report, "too few test examples")
    # published for 0.90 against 0.85 at 0.05: about 290, somewhat more to stay above from there on
    assert 280 <= report.facts["test_needed"] <= 310
    assert f"needs {report.facts['test_needed']} test examples" in found.message
    assert f"label {report.facts['test_needed'] - 100} more" in found.cure
    split = dataclasses.replace(split, test=tuple(clean(2000, 10)))
    report = check(task_with(), split)
    message = warning(report, "too few test examples").message
    assert message.startswith("10 test examples cannot confirm a score of 0.8 even if every")
    report = check(task_with(target=Target(1.0)), split)
    assert "no number" in warning(report, "too few test examples").message


def test_groups_are_what_the_test_set_counts() -> None:
    grouped = tuple(
        dataclasses.replace(e, group=f"g{k // 10}") for k, e in enumerate(clean(0, 600))
    )
    report = check(task_with(), Split(tuple(clean(1000, 120)), tuple(clean(2000, 9)), grouped))
    assert (report.facts["test_units"], report.facts["test_unit"]) == (60, "groups")
    assert "60" in warning(report, "too few test examples").message


def test_lopsided_labels() -> None:
    many = [example(n, "a") for n in range(4000)]
    assert (
        "always answering it"
        in warning(check(task_with(), split_with(train=many)), "imbalance").message
    )
    labels = ("a", "b", "c")
    rare = split_with(train=[example(n, "c") for n in range(20)])
    found = warning(check(task_with(labels=labels), rare), "imbalance")
    assert found.message == "380 examples are 'a' and 20 are 'c'"


def test_labels_that_a_set_does_not_show() -> None:
    labels = ("a", "b", *"cdefghij")
    split = split_with(test=[example(1, "c")])
    report = check(task_with(labels=labels), split)
    absent = [f for f in report.warnings if f.kind == "absent label"]
    assert [f.message for f in absent] == [
        "'c', 'd', 'e', 'f', 'g' and 3 more without an example in train",
        "'d', 'e', 'f', 'g', 'h' and 2 more without an example in test",
    ]
    assert "cannot be learnt" in absent[0].cure


def test_little_training_data() -> None:
    split = dataclasses.replace(split_with(), train=tuple(clean(0, 30)))
    report = check(task_with(), split)
    assert "30 training examples" in warning(report, "little training data").message
    split = split_with(train=[example(1, "c")])
    found = warning(check(task_with(labels=("a", "b", "c")), split), "little training data")
    assert found.message == "the label 'c' with fewer than 10 training examples"


def test_repeats_and_likely_noise_within_train() -> None:
    text = "the parcel that I sent to my aunt in Bergen last Tuesday has still not arrived"
    one = example(1, "a", input=text)
    report = check(task_with(), split_with(train=[one, example(2, "a", input=text)]))
    assert report.ok
    assert warning(report, "repeated example").place == "x.jsonl:2"
    report = check(task_with(), split_with(train=[one, example(2, "b", input=f"but {text}")]))
    found = warning(report, "likely label noise")
    assert (report.ok, found.place) == (True, "x.jsonl:2")
    assert "'b' is expected here and 'a' there" in found.message


def test_a_column_that_looks_like_a_group() -> None:
    def of(start: int) -> list[Example]:
        return [example(start + n, metadata={"patient_id": n, "colour": n}) for n in range(5)]

    split = split_with(train=of(0), test=of(100))
    found = warning(check(task_with(), split), "unused group")
    assert "5 values of 'patient_id'" in found.message
    assert found.count == 5
    grouped = task_with(data=DataSource(examples="f.jsonl", group="patient_id"))
    assert check(grouped, split).warnings == ()


def count_words(messages: Sequence[Message]) -> int:
    return sum(len(str(message.content).split()) for message in messages)


def test_inputs_that_do_not_fit_the_model() -> None:
    split = split_with(train=[example(1, input="long " * 200), example(2, input="long " * 60)])
    task = task_with(max_output_tokens=30)
    report = check(task, split, count_tokens=count_words, context_limit=102)
    found = warning(report, "over-long input")
    assert found.place == "x.jsonl:1"
    assert "200 tokens and the model has room for 70" in found.message
    assert report.facts["input_tokens"] == {"median": 4, "p95": 4, "most": 200}
    assert check(task, split, count_tokens=count_words).warnings == ()
    turns = (Message("system", "long " * 80), Message("user", "short"))
    report = check(
        task, split_with(train=[example(1, input=turns)]), count_tokens=count_words,
        context_limit=102,
    )  # fmt: skip
    assert "81 tokens" in warning(report, "over-long input").message


def test_personal_data_is_named_by_kind() -> None:
    split = split_with(train=[example(1, input="ask jo@example.org or +44 20 7946 0958")])
    report = check(task_with(), split)
    assert {f.kind for f in report.warnings} == {
        "personal data: an e-mail address", "personal data: a phone number",
    }  # fmt: skip
    assert {f.place for f in report.warnings} == {"x.jsonl:1"}


def test_a_task_is_read_and_judged_in_one_go(tmp_path: Path) -> None:
    rows = [{"id": e.id, "input": e.input, "expected": e.expected} for e in clean(0, 60)]
    rows[7] = {"id": "e7", "input": text_of(7), "expected": "z"}
    lines = [json.dumps(row) for row in rows]
    lines[3] = lines[3][:-2]
    (tmp_path / "f.jsonl").write_text("\n".join(lines), "utf-8")
    report = check_task(task_with(folder=tmp_path))
    assert {(p.kind, p.place) for p in report.problems} == {
        ("malformed row", "f.jsonl:4"), ("label outside the set", "f.jsonl:8"),
    }  # fmt: skip
    assert report.total_problems == 2
    assert sum(report.facts[name] for name in ("train", "dev", "test")) == 59
    (tmp_path / "f.jsonl").write_bytes(b"\xff\xfe{")
    (found,) = check_task(task_with(folder=tmp_path)).problems
    assert found.kind == "unreadable file"
    assert "UTF-8" in found.cure
