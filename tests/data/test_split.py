"""Splits as properties: nothing lost, nothing on two sides, the same whatever the order."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import DataSource, Example, Message, MetricSpec, Part, Split, Target, Task
from stepladder.data.findings import Findings
from stepladder.data.split import (
    input_text,
    label,
    load_split,
    read_split,
    split_examples,
    subsample,
)
from stepladder.errors import TaskError

FRACTIONS = (0.6, 0.2, 0.2)
ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcdefghijklmnop"),
        st.sampled_from(["yes", "no", "maybe"]),
        st.none() | st.sampled_from("GHIJ"),
    ),
    max_size=40,
)
SHARES = st.sampled_from([FRACTIONS, (0.8, 0.1, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.5, 0.5, 0.0)])
relaxed = settings(deadline=None, max_examples=80)


def numbered(rows: list[tuple[str, str, str | None]]) -> list[Example]:
    return [Example(str(n), text, answer, group) for n, (text, answer, group) in enumerate(rows)]


def distinct(n: int, labels: str = "ab") -> list[Example]:
    return [Example(str(k), f"input {k}", labels[k % len(labels)]) for k in range(n)]


def sets(split: Split) -> list[tuple[Example, ...]]:
    return [split.train, split.dev, split.test]


@given(ROWS, SHARES, st.integers(0, 5), st.randoms())
@relaxed
def test_a_split_is_a_partition_that_parts_no_group_and_minds_no_order(
    rows: list[tuple[str, str, str | None]],
    fractions: tuple[float, float, float],
    seed: int,
    shuffle: random.Random,
) -> None:
    found = numbered(rows)
    split = split_examples(found, fractions, seed, label)
    assert sorted(e.id for side in sets(split) for e in side) == sorted(e.id for e in found)
    for key in (lambda e: e.group, lambda e: e.input):
        homes: dict[str, set[int]] = {}
        for number, side in enumerate(sets(split)):
            for example in side:
                if key(example) is not None:
                    homes.setdefault(key(example), set()).add(number)
        assert all(len(home) == 1 for home in homes.values())
    assert not (fractions[2] == 0 and split.test)
    shuffle.shuffle(found)
    assert split_examples(found, fractions, seed, label) == split


@given(st.integers(3, 60), SHARES, st.integers(0, 3))
@relaxed
def test_no_set_is_empty_and_sizes_are_as_asked(
    n: int, fractions: tuple[float, float, float], seed: int
) -> None:
    split = split_examples(distinct(n), fractions, seed)
    for side, fraction in zip(sets(split), fractions, strict=True):
        assert bool(side) == (fraction > 0)
        # one off by rounding, one more where an empty set had to be given something
        assert abs(len(side) - n * fraction) <= 2


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 3))
@relaxed
def test_every_label_is_spread_by_the_fractions(counts: list[int], seed: int) -> None:
    labels = [name for name, count in zip("abcde", counts, strict=False) for _ in range(count)]
    found = [Example(str(k), f"input {k}", name) for k, name in enumerate(labels)]
    split = split_examples(found, FRACTIONS, seed, label)
    for name, count in zip("abcde", counts, strict=False):
        for side, fraction in zip(sets(split), FRACTIONS, strict=True):
            # one off by rounding, one more where an empty set had to be given something
            assert abs(sum(e.expected == name for e in side) - count * fraction) <= 2


def test_the_seed_matters_and_is_all_that_matters() -> None:
    found = distinct(100)
    assert split_examples(found, FRACTIONS, 1) == split_examples(found, FRACTIONS, 1)
    assert split_examples(found, FRACTIONS, 1) != split_examples(found, FRACTIONS, 2)


def test_joined_examples_stay_together_along_the_chain() -> None:
    found = distinct(60)
    chain = [(k, k + 1) for k in range(9)]
    for seed in range(5):
        split = split_examples(found, FRACTIONS, seed, joined=chain)
        homes = {n for n, side in enumerate(sets(split)) for e in side if int(e.id) < 10}
        assert len(homes) == 1


@given(st.lists(st.sampled_from("aaaab"), min_size=1, max_size=60), st.integers(1, 60))
@relaxed
def test_a_subsample_keeps_the_proportions(labels: list[str], limit: int) -> None:
    found = [Example(str(k), f"input {k}", name) for k, name in enumerate(labels)]
    kept = subsample(found, limit, 0, label)
    assert len(kept) == min(limit, len(found))
    assert len({e.id for e in kept}) == len(kept)
    assert {e.id for e in kept} <= {e.id for e in found}
    for name, count in Counter(labels).items():
        share = count * len(kept) / len(found)
        assert abs(sum(e.expected == name for e in kept) - share) < 1
    assert subsample(list(reversed(found)), limit, 0, label) == kept or len(found) <= limit


def test_the_words_of_every_form_of_input() -> None:
    assert input_text("a") == "a"
    assert input_text({"t": "a", "n": 3}) == "a\n3"
    parts = (Part("text", "b"), Part("image", uri="c.png"))
    assert input_text((Message("system", "a"), Message("user", parts))) == "a\nb\nc.png"


def task_in(folder: Path, data: DataSource, **more: object) -> Task:
    task = Task(
        name="t", kind="classification", instructions="Say.", target=Target(0.8),
        metric=MetricSpec("accuracy"), data=data, labels=("a", "b"), folder=folder,
    )  # fmt: skip
    return replace(task, **more)  # type: ignore[arg-type]


def write(path: Path, n: int, start: int = 0) -> None:
    words = ("apple", "river", "stone", "cloud", "violin", "copper", "meadow", "lantern")
    rows = [
        json.dumps(
            {"input": f"{words[k % 8]} {k} {words[k // 8 % 8]} {k * k}", "expected": "ab"[k % 2]}
        )
        for k in range(start, start + n)
    ]
    path.write_text("\n".join(rows), "utf-8")


def test_a_task_is_split_here_or_comes_split(tmp_path: Path) -> None:
    write(tmp_path / "all.jsonl", 50)
    split = load_split(task_in(tmp_path, DataSource(examples="all.jsonl")))
    assert sum(map(len, sets(split))) == 50
    for number, name in enumerate(("one", "two", "three")):
        write(tmp_path / f"{name}.jsonl", 10, number * 10)
    own = DataSource(train="one.jsonl", dev="two.jsonl", test="three.jsonl")
    split = load_split(task_in(tmp_path, own))
    assert [len(side) for side in sets(split)] == [10, 10, 10]
    assert {e.source.partition(":")[0] for e in split.dev} == {"two.jsonl"}
    limited = load_split(task_in(tmp_path, replace(own, limit=4)))
    assert [len(side) for side in sets(limited)] == [4, 4, 4]
    assert Counter(e.expected for e in limited.train) == {"a": 2, "b": 2}
    assert set(e.id for e in limited.train) <= set(e.id for e in split.train)


def test_near_duplicates_are_not_parted_by_our_own_split(tmp_path: Path) -> None:
    text = "please tell me why the transfer to my old landlord has not arrived since last {}"
    rows = [f'{{"input": "{text.format(day)}", "expected": "a"}}' for day in ("monday", "sunday")]
    write(tmp_path / "all.jsonl", 30)
    with (tmp_path / "all.jsonl").open("a") as file:
        file.write("\n" + "\n".join(rows))
    for seed in range(6):
        split = load_split(task_in(tmp_path, DataSource(examples="all.jsonl"), seed=seed))
        homes = {
            n for n, side in enumerate(sets(split)) for e in side if "landlord" in str(e.input)
        }
        assert len(homes) == 1


def test_all_bad_rows_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").write_text('{"input": "a"}\nnonsense\n{"input": "b"}\n', "utf-8")
    task = task_in(tmp_path, DataSource(examples="all.jsonl"))
    with pytest.raises(TaskError, match="3 examples cannot be used") as caught:
        load_split(task)
    assert "all.jsonl:2" in caught.value.message
    problems = Findings()
    assert read_split(task, problems).train == ()
    assert problems.counts == {"missing field": 2, "malformed row": 1}


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "all.jsonl", 2)
    with pytest.raises(TaskError, match="has no examples"):
        load_split(task_in(tmp_path, DataSource(examples="all.jsonl")))
    with pytest.raises(TaskError, match="needs 'examples'"):
        load_split(task_in(tmp_path, DataSource(train="all.jsonl")))


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "all.jsonl", 20)
    data = DataSource(examples="all.jsonl", sha256={"all.jsonl": "0" * 64})
    with pytest.raises(TaskError, match="SHA-256") as caught:
        load_split(task_in(tmp_path, data))
    found = caught.value.message.rpartition(" ")[2]
    load_split(task_in(tmp_path, replace(data, sha256={"all.jsonl": found.upper()})))
    (tmp_path / "all.jsonl").unlink()
    with pytest.raises(TaskError, match="cannot be read"):
        load_split(task_in(tmp_path, data))


def test_a_system_turn_that_repeats_the_instructions_is_dropped(tmp_path: Path) -> None:
    row = (
        '{{"messages": [{{"role": "system", "content": "{}"}},'
        '{{"role": "user", "content": "word {}"}}, {{"role": "assistant", "content": "a"}}]}}'
    )
    rows = [row.format("Say.", k) for k in range(9)] + [row.format("Shout.", 9)]
    (tmp_path / "all.jsonl").write_text("\n".join(rows), "utf-8")
    split = load_split(task_in(tmp_path, DataSource(examples="all.jsonl")))
    inputs = [e.input for side in sets(split) for e in side]
    assert sum(isinstance(found, str) for found in inputs) == 9
    assert (Message("system", "Shout."), Message("user", "word 9")) in inputs
