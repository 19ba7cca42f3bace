"""Which inputs to label next: every way, on vectors whose best choice is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.errors import StepladderError
from stepladder.labels.active import WAYS, Known, Way, choose


def unit(rows: object) -> np.ndarray:
    vectors = np.asarray(rows, dtype=float)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(
    way=st.sampled_from(WAYS), size=st.integers(1, 30), n=st.integers(1, 40), seed=st.integers(0, 9)
)
def test_every_way_chooses_so_many_and_none_twice(way: Way, size: int, n: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    known = Known(size, list(chance.random(size)), unit(chance.normal(size=(size, 4))))
    chosen = choose(way, n, known, seed=seed)
    assert len(chosen) == len(set(chosen)) == min(n, size)
    assert all(0 <= at < size for at in chosen)
    assert chosen == choose(way, n, known, seed=seed)


def test_the_least_sure_come_first_and_no_confidence_is_the_least() -> None:
    known = Known(5, [0.9, 0.2, None, 0.6, 1.0])
    assert choose("uncertain", 4, known) == [2, 1, 3, 0]


def test_spread_takes_one_of_each_cluster_before_a_second_of_any() -> None:
    centres = np.eye(4)
    vectors = unit(
        np.repeat(centres, 25, axis=0) + 1e-3 * np.random.default_rng(0).normal(size=(100, 4))
    )
    for seed in range(10):
        chosen = choose("spread", 4, Known(100, vectors=vectors), seed=seed)
        assert {at // 25 for at in chosen} == {0, 1, 2, 3}


def test_spread_stays_away_from_what_is_labelled() -> None:
    vectors = unit(
        np.repeat(np.eye(2), 50, axis=0) + 1e-3 * np.random.default_rng(1).normal(size=(100, 2))
    )
    known = Known(100, vectors=vectors, labelled=np.array([[1.0, 0.0]]))
    assert all(choose("spread", 1, known, seed=seed)[0] >= 50 for seed in range(20))


def test_both_spreads_over_the_least_sure() -> None:
    centres = np.repeat(np.eye(4), 15, axis=0)
    vectors = unit(centres + 1e-3 * np.random.default_rng(2).normal(size=(60, 4)))
    sure = [0.9 if at % 5 else 0.3 for at in range(60)]  # three of each cluster are unsure
    for seed in range(10):
        chosen = choose("both", 4, Known(60, sure, vectors), seed=seed)
        assert all(at % 5 == 0 for at in chosen)
        assert {at // 15 for at in chosen} == {0, 1, 2, 3}


def test_equal_inputs_are_chosen_too_when_nothing_else_is_left() -> None:
    same = np.ones((6, 1))
    assert sorted(choose("spread", 6, Known(6, vectors=same))) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("way", "missing"), [("uncertain", "confident"), ("both", "confident"), ("spread", "vectors")]
)
def test_a_way_says_what_it_lacks(way: Way, missing: str) -> None:
    with pytest.raises(StepladderError, match=missing):
        choose(way, 1, Known(3))
