"""Which prompts wait for a shared beginning, and how much of a prompt is known to be cached."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stepladder.models.local.prefixes import Prefixes

LONG = list(range(200))


def test_a_prompt_waits_for_a_long_beginning_that_is_being_computed() -> None:
    prefixes = Prefixes(100_000)
    assert not prefixes.must_wait([*LONG, 7])
    prefixes.admitted(1, [*LONG, 1])
    assert prefixes.must_wait([*LONG, 7])
    assert not prefixes.must_wait(LONG[:50])
    assert not prefixes.must_wait([9999, *LONG])
    prefixes.computed(1)
    assert not prefixes.must_wait([*LONG, 7])


def test_what_is_cached_already_is_not_waited_for() -> None:
    prefixes = Prefixes(100_000)
    prefixes.keep([*LONG, 1])
    prefixes.admitted(2, [*LONG, 2])
    assert not prefixes.must_wait([*LONG, 3])


def test_nobody_waits_for_a_prompt_that_is_gone() -> None:
    prefixes = Prefixes(100_000)
    prefixes.admitted(1, LONG)
    prefixes.gone(1)
    assert not prefixes.must_wait(LONG)
    assert prefixes.cached_tokens(LONG) == 0


def test_whole_blocks_are_counted_and_the_last_token_never() -> None:
    prefixes = Prefixes(100_000)
    prefixes.keep(LONG)
    assert prefixes.cached_tokens(LONG) == 192
    assert prefixes.cached_tokens([*LONG[:100], 5, 5, 5]) == 96
    assert prefixes.cached_tokens(LONG[:64]) == 63
    assert prefixes.cached_tokens([5, *LONG]) == 0
    assert prefixes.cached_tokens([]) == 0
    prefixes.forget()
    assert prefixes.cached_tokens(LONG) == 0


def test_what_was_used_long_ago_is_not_counted_on() -> None:
    prefixes = Prefixes(capacity_tokens=2 * 32 * 4)
    prefixes.keep(LONG[:64])
    prefixes.keep(LONG[100:164])
    prefixes.keep(LONG[:64])  # used again
    prefixes.keep([1] * 64)
    assert prefixes.cached_tokens([*LONG[:64], 0]) == 64
    assert prefixes.cached_tokens([*LONG[100:164], 0]) == 0


@given(
    st.lists(st.lists(st.integers(0, 1), max_size=130), max_size=6),
    st.lists(st.integers(0, 1), max_size=130),
)
def test_never_more_is_counted_than_was_computed(kept: list[list[int]], asked: list[int]) -> None:
    prefixes = Prefixes(100_000)
    for ids in kept:
        prefixes.keep(ids)
    count = prefixes.cached_tokens(asked)
    assert count == 0 or any(ids[:count] == asked[:count] for ids in kept)
