"""The pace against a simulated service: it finds the limit, stays near it, and never above ours."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.models.hosted.pace import LONGEST_WAIT_SECONDS, Pace, backoff


@dataclass
class World:
    """A service that takes `capacity` calls at once, in simulated time; no thread, no clock."""

    pace: Pace
    capacity: int
    calls: int
    seconds: float = 1.0
    whim: float = 0.0  # the share of calls that it turns away however few there are
    now: float = 0.0
    served: int = 0
    refused: int = 0
    most: int = 0
    limits: list[float] = field(default_factory=list)

    def run(self) -> World:
        rng = random.Random(0)
        left, under_way, ends = self.calls, 0, []
        while left or ends:
            while left and self.pace.room(self.now):
                left -= 1
                number = self.pace.begin()
                refused = under_way >= self.capacity or rng.random() < self.whim
                under_way += not refused
                took = 0.05 if refused else self.seconds * rng.uniform(0.8, 1.2)
                heapq.heappush(ends, (self.now + took, number, refused))
                self.most = max(self.most, self.pace.under_way)
            if not ends:
                self.now = self.pace.hold_until
                continue
            self.now, number, refused = heapq.heappop(ends)
            under_way -= not refused
            if refused:
                self.refused += 1
                left += 1
                self.pace.throttled(number)
            else:
                self.served += 1
                self.pace.succeeded(number)
            self.pace.end()
            self.limits.append(self.pace.limit)
        return self


@pytest.mark.parametrize("capacity", [1, 3, 10, 24])
def test_the_services_limit_is_found_and_rarely_crossed(capacity: int) -> None:
    world = World(Pace(32), capacity, 4000).run()
    assert world.served == 4000
    assert world.refused < 0.1 * world.served
    busy = world.served * world.seconds / world.now
    assert busy > 0.7 * capacity, "and most of it is used"


@pytest.mark.parametrize(("whim", "least"), [(0.02, 12), (0.05, 6)])
def test_a_few_calls_turned_away_at_random_do_not_bring_it_down(whim: float, least: float) -> None:
    world = World(Pace(16), 10**6, 4000, whim=whim).run()
    assert sum(world.limits) / len(world.limits) > least


def test_many_calls_turned_away_bring_it_down_to_one() -> None:
    world = World(Pace(16), 10**6, 4000, whim=0.33).run()
    assert sum(world.limits) / len(world.limits) < 1.5


def test_without_a_limit_of_the_service_ours_is_reached_within_a_few_round_trips() -> None:
    world = World(Pace(32), 10**6, 1000).run()
    assert world.most == 32
    assert world.now < 1.3 * 1000 / 32


@given(ceiling=st.integers(1, 40), capacity=st.integers(1, 60), calls=st.integers(0, 300))
def test_there_are_never_more_calls_than_allowed_and_always_at_least_one(
    ceiling: int, capacity: int, calls: int
) -> None:
    world = World(Pace(ceiling), capacity, calls).run()
    assert world.most <= ceiling
    assert world.served == calls
    assert all(1 <= limit <= ceiling for limit in world.limits)


def test_calls_that_were_under_way_together_halve_it_once() -> None:
    pace = Pace(16, limit=16.0)
    numbers = [pace.begin() for _ in range(16)]
    for number in numbers:
        pace.throttled(number)
    assert pace.limit == 8
    later = pace.begin()
    pace.throttled(later)
    assert pace.limit == 4


def test_an_idle_line_does_not_raise_the_limit() -> None:
    pace = Pace(32, limit=8.0)
    for _ in range(100):
        number = pace.begin()
        pace.succeeded(number)
        pace.end()
    assert pace.limit == 8


def test_calls_that_end_together_before_others_begin_double_it() -> None:
    pace = Pace(32, limit=8.0)
    for expected in (16, 32, 32):
        numbers = []
        while pace.room(0.0):
            numbers.append(pace.begin())
        for number in numbers:
            pace.succeeded(number)
            pace.end()
        assert pace.limit == expected


def test_nothing_begins_before_the_service_wants_it() -> None:
    pace = Pace(4)
    pace.hold(10.0)
    pace.hold(5.0)
    assert not pace.room(9.9)
    assert pace.room(10.0)


@given(failures=st.integers(1, 10**6), chance=st.floats(0, 1))
def test_waits_are_spread_over_a_bound_that_doubles_up_to_a_minute(
    failures: int, chance: float
) -> None:
    seconds = backoff(failures, lambda: chance)
    assert 0 <= seconds <= min(LONGEST_WAIT_SECONDS, 0.5 * 2 ** min(failures - 1, 20))
    assert backoff(failures, lambda: 0.0) == 0.0
