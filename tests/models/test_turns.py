"""Turns of adapters: one at a time, nobody starves, nobody is switched away for nothing."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from stepladder.models.local.turns import Turns

SECONDS = 2.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_turn_goes_on_while_nobody_else_waits() -> None:
    clock = Clock()
    turns = Turns(SECONDS, clock)
    turns.started("a")
    clock.now = 100.0
    assert turns.may_start("a", ["a"])
    assert not turns.may_start("a", ["a", "b"])


def test_another_adapter_starts_when_the_last_sequence_has_ended() -> None:
    turns = Turns(SECONDS, Clock())
    turns.started("a")
    turns.started("a")
    for _ in range(2):
        assert not turns.may_start("b", ["b"])
        turns.ended(1)
    assert turns.may_start("b", ["b"])
    turns.started("b")
    assert not turns.may_start("a", ["a"])


def test_a_new_turn_is_a_whole_one() -> None:
    clock = Clock()
    turns = Turns(SECONDS, clock)
    turns.started("a")
    turns.ended(1)
    clock.now = 100.0
    turns.started("a")
    clock.now += SECONDS / 2
    assert turns.may_start("a", ["a", "b"])
    clock.now += SECONDS / 2
    assert not turns.may_start("a", ["a", "b"])


def test_the_one_that_waited_for_its_turn_longest_is_next() -> None:
    clock = Clock()
    turns = Turns(SECONDS, clock)
    for adapter in "abc":
        turns.started(adapter)
        turns.ended(1)
        clock.now += 1
    assert [one for one in "cba" if turns.may_start(one, "cba")] == ["a"]
    assert [one for one in "cbad" if turns.may_start(one, "cbad")] == ["d"]
    assert [one for one in "xycba" if turns.may_start(one, "xycba")] == ["x"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_one_adapter_at_a_time_and_nobody_waits_for_the_queue_of_another(
    arrivals: list[tuple[str, int]], places: int, at_once: int
) -> None:
    """`at_once` + 1 sequences arrive per second, and each runs for 1 to 6 seconds."""
    clock = Clock()
    turns = Turns(SECONDS, clock)
    coming = deque(arrivals)
    waiting: list[tuple[str, int]] = []
    running: list[tuple[str, int]] = []
    seen_waiting: dict[str, float] = {}
    while coming or waiting or running:
        waiting += [coming.popleft() for _ in range(min(at_once + 1, len(coming)))]
        for one in list(waiting):
            adapters = list(dict.fromkeys(adapter for adapter, _ in waiting))
            if len(running) < places and turns.may_start(one[0], adapters):
                turns.started(one[0])
                waiting.remove(one)
                running.append(one)
                seen_waiting.pop(one[0], None)
        assert len({adapter for adapter, _ in running}) <= 1
        for adapter, _ in waiting:
            if not any(adapter == other for other, _ in running):
                since = seen_waiting.setdefault(adapter, clock.now)
                assert clock.now - since <= 3 * (SECONDS + 6)
        clock.now += 1
        still = [(adapter, length - 1) for adapter, length in running if length > 1]
        turns.ended(len(running) - len(still))
        running = still
