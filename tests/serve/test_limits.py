"""Places of the server: never more than there are, and a guess of when one comes free."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.serve import Refusal
from stepladder.serve.limits import LONGEST_WAIT, Limits


def test_running_and_waiting() -> None:
    limits = Limits(2, 3)
    limits.take(4)
    assert (limits.running, limits.waiting) == (2, 2)
    with pytest.raises(Refusal, match="all 5 places"):
        limits.take(2)
    limits.take(1)
    limits.give_back(4)
    assert (limits.running, limits.waiting) == (1, 0)


def test_the_time_to_come_back_follows_the_pace() -> None:
    now = [0.0]
    limits = Limits(1, 1, clock=lambda: now[0])
    for _ in range(10):  # one place comes free every four seconds
        limits.take(1)
        now[0] += 4
        limits.give_back(1)
    limits.take(2)
    with pytest.raises(Refusal) as refused:
        limits.take(1)
    assert refused.value.retry_after_seconds == pytest.approx(4.0)


def test_nothing_is_taken_while_shutting_down() -> None:
    limits = Limits(1, 1)
    limits.stopping = True
    with pytest.raises(Refusal) as refused:
        limits.take(1)
    assert refused.value.reason == "unavailable"


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.floats(0, 100)), max_size=60))
def test_places_are_never_overdrawn_and_the_wait_is_bounded(
    steps: list[tuple[int, bool, float]],
) -> None:
    now = [0.0]
    limits = Limits(3, 4, clock=lambda: now[0])
    held: list[int] = []
    for size, back, seconds in steps:
        now[0] += seconds
        if back and held:
            limits.give_back(held.pop())
            continue
        if sum(held) + size > 7:
            with pytest.raises(Refusal) as refused:
                limits.take(size)
            assert 1 <= (refused.value.retry_after_seconds or 0) <= LONGEST_WAIT
        else:
            limits.take(size)
            held.append(size)
        assert limits.taken == sum(held) <= 7
