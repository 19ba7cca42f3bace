"""`stepladder labels` as people run it: the curve, what more labels pay, which to label next."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from cli_here import Stepladder
from tickets import make_tickets, ticket_rows, write_rows

from stepladder.core import Example
from stepladder.errors import NotApplicable
from stepladder.labels.nested import nested_subsets, sizes_up_to

ECONOMICS = """
[economics]
requests_per_month = 1000
dollars_per_success = 0.5
dollars_per_label = 2
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return make_tickets(tmp_path / "tickets", (240, 80, 60), score=0.9, more=ECONOMICS)


def test_the_curve_the_price_and_the_page(task: Path, stepladder: Stepladder) -> None:
    code, out, err = stepladder("labels", task, "--repeats", 2, "--more", 240, "--json")
    assert code == 0, err
    record = json.loads(out)
    sizes = [point["train"] for point in record["points"]]
    assert sorted(set(sizes)) == sorted(sizes_up_to(240, 6))
    assert sizes.count(240) == 1  # there is one subset of that size
    assert record["points"][0]["score"] < record["points"][-1]["score"]
    [more] = record["more"]
    assert more["labels"] == 240
    assert more["dollars"] == 480
    assert more["low"] <= more["score"] <= more["high"]
    assert record["backtest"]["train"] == 240
    [page] = task.glob("runs/*/labels.html")
    assert "how much data?" in page.read_text()
    assert not (task / "openings.jsonl").exists()  # the sealed test was left alone


def test_the_same_again_says_the_same(task: Path, stepladder: Stepladder) -> None:
    first = stepladder("labels", task, "--repeats", 1)[1]
    again = stepladder("labels", task, "--repeats", 1)[1]
    assert "of 90.0%" in first
    assert again == first


def test_what_to_label_next_is_new_and_ready_to_be_filled_in(
    task: Path, tmp_path: Path, stepladder: Stepladder
) -> None:
    known = json.loads((task / "train.jsonl").read_text().splitlines()[0])
    pool = [{**row, "label": None} for row in ticket_rows(40, 9)]
    held = json.loads((task / "dev.jsonl").read_text().splitlines()[0])
    pool.append({"id": "seen", "input": known["input"].upper()})
    pool.append({"id": "held out", "input": held["input"]})
    file = tmp_path / "new.jsonl"
    write_rows(file, pool)
    out_file = tmp_path / "ask.jsonl"
    code, out, err = stepladder("labels", task, "--repeats", 1, "--unlabelled", file, "--next", 10,
        "--by", "uncertain", "--out", out_file, "--json",
    )  # fmt: skip
    assert code == 0, err
    asked = [json.loads(line) for line in out_file.read_text().splitlines()]
    assert len(asked) == 10
    assert {row["id"] for row in asked} <= {row["id"] for row in pool} - {"seen", "held out"}
    assert "in train, with its label" in err
    assert "in dev or test" in err
    sure = [row["confidence"] for row in asked]
    assert sure == sorted(sure)
    assert all(row["expected"] is None for row in asked)
    assert [one["id"] for one in json.loads(out)["next"]] == [row["id"] for row in asked]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no rows"),
        ('{"id": "a"}\n', "no 'input'"),
        ('{"messages": [{"role": "user", "content": "hello"}]}\n', "end with an answer"),
    ],
)
def test_an_unusable_pool_is_named_before_anything_is_built(
    task: Path, tmp_path: Path, stepladder: Stepladder, text: str, said: str
) -> None:
    file = tmp_path / "new.jsonl"
    file.write_text(text)
    code, _, err = stepladder("labels", task, "--unlabelled", file)
    assert code == 2
    assert said in err
    assert not (task / "runs").exists()


def test_too_few_examples_are_said_with_the_cure(task: Path, stepladder: Stepladder) -> None:
    write_rows(task / "train.jsonl", ticket_rows(12, 1))
    code, _, err = stepladder("labels", task)
    assert code == 2
    assert "12 train examples are too few for a learning curve" in err
    assert "label more: 128" in err


def test_subsets_lie_in_each_other_and_tear_no_group_apart() -> None:
    train = [Example(str(n), f"t{n}", "ab"[n % 2], group=f"g{n // 3}") for n in range(60)]
    subsets = nested_subsets(train, [16, 30, 60], seed=4, by_label=True)
    for smaller, larger in itertools.pairwise(subsets):
        assert smaller == larger[: len(smaller)]
    for subset in subsets:
        members = [example.group for example in subset]
        assert all(members.count(group) == 3 for group in members)
    assert len(subsets[-1]) == 60


def test_sizes_grow_by_one_factor_and_too_few_are_refused() -> None:
    assert sizes_up_to(1600, 5, least=100) == [100, 200, 400, 800, 1600]
    assert sizes_up_to(40, 6)[-1] == 40
    with pytest.raises(NotApplicable, match="too few"):
        sizes_up_to(16, 6)
