"""The time that is left is said once it is known, and then about as it will be."""

from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.time_left import TimeLeft

PLANNED = 320


def ends(latencies: list[float], at_once: int) -> list[tuple[float, float]]:
    """When each answer is there, in that order, with its latency."""
    free, found = [0.0] * at_once, []
    for latency in latencies:
        end = heapq.heappop(free) + latency
        heapq.heappush(free, end)
        found.append((end, latency))
    return sorted(found)


@given(
    st.integers(0, 10**6),
    st.integers(1, 64),
    st.sampled_from([32, 64, PLANNED]),
    st.floats(0.0, 100.0),
)
def test_what_is_said_is_at_most_twofold_wrong(
    seed: int, at_once: int, block: int, loading: float
) -> None:
    chance = random.Random(seed)
    latencies = [chance.uniform(0.5, 1.5) for _ in range(PLANNED)]
    left, before, said = TimeLeft(), loading, []
    for start in range(0, PLANNED, block):
        answers = ends(latencies[start : start + block], at_once)
        for end, latency in answers:
            left.answered(latency, before + end)
            said.append((before + end, left.seconds(before + end, PLANNED)))
        before += answers[-1][0]
        left.block_ended()
    truth = [(at, before - at) for at, _ in said]
    for (at, true), (_, seconds) in zip(truth, said, strict=True):
        if seconds is not None and true > 0.25 * (before - loading):
            assert true / 2 < seconds < 2 * true, (at, true, seconds)
    known = [seconds is not None for _, seconds in said]
    assert all(known[min(block, 2 * at_once + 32) :]), "a block, or two rounds, is enough"


@pytest.mark.parametrize("loading", [0.0, 64.0])
def test_of_answers_that_began_together_the_first_say_nothing(loading: float) -> None:
    left = TimeLeft()
    for number in range(32):
        latency = 30.0 + number / 10
        left.answered(latency, loading + latency)
        assert left.seconds(loading + latency, PLANNED) is None
    left.block_ended()
    left.answered(1.0, loading + 34.0)
    assert left.seconds(loading + 34.0, PLANNED) == 34.0 / 33 * (PLANNED - 33)


def test_one_answer_after_another_is_known_from_the_second() -> None:
    left = TimeLeft()
    assert left.seconds(0.0, PLANNED) is None
    left.answered(2.0, 2.0)
    assert left.seconds(2.0, PLANNED) is None
    left.answered(2.0, 4.0)
    assert left.seconds(4.0, PLANNED) == 2.0 * (PLANNED - 2)


def test_what_takes_no_time_of_its_own_is_known_at_once() -> None:
    left = TimeLeft()
    left.answered(None, 0.5)
    assert left.seconds(0.5, 11) == 5.0
