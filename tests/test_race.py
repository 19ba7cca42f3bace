"""Racing: the hopeless stop, the best almost never does, and a cheaper one that may do stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Counts, Row
from stepladder.race import eliminate, looks


def rows_of(values: object, group: int | None = None) -> list[Row]:
    """One row per value; `group` puts that many rows into each group."""
    return [
        Row(f"e{i:04}", (("", float(v), 1.0),), f"g{i // group}" if group else None)
        for i, v in enumerate(np.asarray(values))
    ]


def noisy(rng: np.random.Generator, hard: np.ndarray, skill: float) -> np.ndarray:
    return (rng.random(hard.size) < np.clip(skill + hard, 0, 1)).astype(float)


def test_looks_double_and_leave_out_the_end() -> None:
    assert looks(300) == [32, 64, 128, 256]
    assert looks(32) == []
    assert looks(33, first=8) == [8, 16, 32]


@given(st.integers(0, 10_000), st.integers(1, 100))
def test_looks_rise_and_stay_below_n(n: int, first: int) -> None:
    found = looks(n, first)
    assert found == sorted(set(found))
    assert all(first <= look < n for look in found)


def test_a_clear_loser_stops_with_its_numbers() -> None:
    race = {"good": rows_of([1] * 60 + [0] * 4), "bad": rows_of([0] * 40 + [1] * 24)}
    assert eliminate(race, "binary", 0.05, looks=4) == {
        "bad": "0.375 against 0.938 of 'good' on the first 64 examples"
    }


def test_equals_and_lone_candidates_go_on() -> None:
    same = rows_of([1, 0] * 32)
    assert eliminate({"a": same, "b": same}, "binary", 0.05, looks=4) == {}
    assert eliminate({"a": same}, "binary", 0.05, looks=4) == {}
    assert eliminate({"a": same, "b": []}, "binary", 0.05, looks=4) == {}


def test_only_examples_that_all_have_answered_count() -> None:
    race = {"good": rows_of([1] * 300), "bad": rows_of([0, 0, 0])}
    assert eliminate(race, "binary", 0.05, looks=4) == {}


def test_a_cheaper_loser_that_may_reach_the_target_goes_on() -> None:
    cheap = rows_of([1, 1, 1, 1, 0] * 50)
    race = {"dear": rows_of([1] * 250), "cheap": cheap}
    cost = {"dear": 10.0, "cheap": 1.0}
    assert eliminate(race, "binary", 0.05, looks=4, target=0.82, cost=cost) == {}
    assert set(eliminate(race, "binary", 0.05, looks=4, target=0.95, cost=cost)) == {"cheap"}
    even = {"dear": 1.0, "cheap": 1.0}
    assert set(eliminate(race, "binary", 0.05, looks=4, target=0.82, cost=even)) == {"cheap"}
    assert set(eliminate(race, "binary", 0.05, looks=4)) == {"cheap"}


def test_a_failed_row_counts_as_wrong() -> None:
    broken = [Row(r.id, r.counts, error="timed out") for r in rows_of([1] * 64)]
    race = {"good": rows_of([1] * 64), "broken": broken}
    assert set(eliminate(race, "binary", 0.05, looks=4)) == {"broken"}


def test_nothing_to_find_is_no_reason_to_stop() -> None:
    nothing = [Row(f"e{i:04}", (("all", 0.0, 0.0),)) for i in range(64)]
    race = {"some": rows_of([1] * 64), "nothing": nothing}
    assert eliminate(race, "ratio", 0.05, looks=4) == {}


def test_examples_of_one_group_are_one_piece_of_evidence() -> None:
    """64 rows in 4 documents show nothing that 4 documents would not."""
    good, bad = [1] * 60 + [0] * 4, [0] * 40 + [1] * 24
    alone = {"good": rows_of(good), "bad": rows_of(bad)}
    grouped = {"good": rows_of(good, 16), "bad": rows_of(bad, 16)}
    assert eliminate(alone, "binary", 0.05, looks=4)
    assert eliminate(grouped, "binary", 0.05, looks=4) == {}


def test_ratio_metrics_race_by_influence() -> None:
    rng = np.random.default_rng(3)
    items = rng.integers(1, 6, 128)

    def answers(skill: float) -> list[Row]:
        found = rng.binomial(items, skill)
        counts: list[Counts] = [
            (("all", 2.0 * f, float(f + i)),) for f, i in zip(found, items, strict=True)
        ]
        return [Row(f"e{i:04}", one) for i, one in enumerate(counts)]

    race = {"good": answers(0.9), "close": answers(0.88), "bad": answers(0.5)}
    assert set(eliminate(race, "ratio", 0.05, looks=4)) == {"bad"}


@pytest.mark.parametrize("scale", ["binary", "bounded"])
def test_the_best_is_stopped_no_more_often_than_alpha(scale: str) -> None:
    """200 races of five at the worst case, all equal: somebody best must not be named a loser.

    With all equal every candidate is a best one, so the chance that a given one is stopped is what
    alpha limits. 0.05 plus four standard errors of 200 races is 0.112.
    """
    rng = np.random.default_rng(7)
    stopped = 0
    for _ in range(200):
        hard = rng.normal(0, 0.2, 256)
        answers = {name: noisy(rng, hard, 0.7) for name in "abcde"}
        for look in looks(257):
            race = {name: rows_of(values[:look]) for name, values in answers.items()}
            if "a" in eliminate(race, scale, 0.05, looks=4):  # type: ignore[arg-type]
                stopped += 1
                break
    assert stopped / 200 < 0.112


@pytest.mark.parametrize("scale", ["binary", "bounded", "ratio"])
def test_of_two_that_cannot_reach_the_target_only_the_leader_goes_on(scale: str) -> None:
    race = {"a": rows_of([0] * 64), "b": rows_of([0] * 63 + [1])}
    assert eliminate(race, scale, 0.05, looks=3) == {}  # type: ignore[arg-type]
    stopped = eliminate(race, scale, 0.05, looks=3, target=0.5)  # type: ignore[arg-type]
    assert set(stopped) == {"a"}
    assert "target of 0.5" in stopped["a"]
    assert eliminate(race, scale, 0.05, looks=3, target=0.02) == {}  # type: ignore[arg-type]
