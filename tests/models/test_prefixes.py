"""Which prompts wait for a shared beginning, what is known to be cached, and who can find what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stepladder.models.local.prefixes import Prefixes

LONG = list(range(200))
STRIDE = 256
BLOCK = 32


def opened(capacity_tokens: int = 100_000) -> Prefixes:
    return Prefixes(capacity_tokens, STRIDE)


def run(prefixes: Prefixes, key: int, ids: Sequence[int], made: Sequence[int] = ()) -> list[int]:
    """Compute a prompt, with an answer; what was given to the engine."""
    given, _ = prefixes.admit(key, ids)
    prefixes.computed(key)
    prefixes.gone(key, made)
    return list(given)


def test_a_prompt_waits_for_a_long_beginning_that_is_being_computed() -> None:
    prefixes = opened()
    assert not prefixes.must_wait([*LONG, 7])
    prefixes.admit(1, [*LONG, 1])
    assert prefixes.must_wait([*LONG, 7])
    assert not prefixes.must_wait([*LONG, 7], group="other")
    assert not prefixes.must_wait(LONG[:50])
    assert not prefixes.must_wait([199, *LONG])
    prefixes.computed(1)
    assert not prefixes.must_wait([*LONG, 7])


def test_what_is_cached_already_is_not_waited_for() -> None:
    prefixes = opened()
    run(prefixes, 1, [*LONG, 1])
    prefixes.admit(2, [*LONG, 2])
    assert not prefixes.must_wait([*LONG, 3])


def test_nobody_waits_for_a_prompt_that_is_gone_and_nobody_finds_it() -> None:
    prefixes = opened()
    prefixes.admit(1, LONG)
    prefixes.gone(1)
    assert not prefixes.must_wait(LONG)
    assert prefixes.cached_tokens(LONG) == 0


def test_whole_blocks_are_counted_and_the_last_token_never() -> None:
    prefixes = opened()
    run(prefixes, 1, LONG)
    assert prefixes.cached_tokens(LONG) == 192
    assert prefixes.cached_tokens([*LONG[:100], 5, 5, 5]) == 96
    assert prefixes.cached_tokens(LONG[:64]) == 63
    assert prefixes.cached_tokens([5, *LONG]) == 0
    assert prefixes.cached_tokens(LONG, group="other") == 0
    assert prefixes.cached_tokens([]) == 0
    prefixes.forget()
    assert prefixes.cached_tokens(LONG) == 0


def test_an_answer_is_found_by_the_next_turn_of_its_conversation() -> None:
    prefixes = opened()
    run(prefixes, 1, LONG[:70], LONG[70:170])
    assert prefixes.cached_tokens(LONG) == 160
    run(prefixes, 2, LONG[:64], LONG[64:170])  # from a whole block on
    assert prefixes.cached_tokens([*LONG[:170], 5]) == 160


def test_what_was_used_long_ago_is_not_counted_on() -> None:
    prefixes = opened(capacity_tokens=2 * BLOCK * 4)
    run(prefixes, 1, LONG[:64])
    run(prefixes, 2, LONG[100:164])
    run(prefixes, 3, LONG[:64])  # used again
    run(prefixes, 4, [1] * 64)
    assert prefixes.cached_tokens([*LONG[:64], 0]) == 64
    assert prefixes.cached_tokens([*LONG[100:164], 0]) == 0


class Cache:
    """An engine's cache: it finds whole blocks and parts of blocks by all the ids before them."""

    def __init__(self) -> None:
        self.contents: set[tuple[int, ...]] = set()

    def found(self, given: tuple[int, ...]) -> int:
        count = 0
        while count + BLOCK <= len(given) and given[: count + BLOCK] in self.contents:
            count += BLOCK
        parts = [n for n in range(1, BLOCK) if given[: count + n] in self.contents]
        return min(count + min(parts, default=0), max(len(given) - 1, 0))

    def keep(self, given: tuple[int, ...]) -> None:
        """Of whoever computed these: whole blocks, and the last one however full it was."""
        self.contents |= {given[:end] for end in range(BLOCK, len(given) + 1, BLOCK)}
        self.contents.add(given)


SMALL = st.lists(st.integers(0, 1), max_size=40)


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([[0] * 32, [1] * 32, [0, 1] * 16]), max_size=3),
            st.lists(st.integers(0, 1), min_size=1, max_size=5),
            SMALL,
            st.sampled_from(["a", "b"]),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_the_engine_finds_what_is_counted_and_nothing_else(sequences: list[object]) -> None:
    """Ids with marks mean what they meant, and no two of a kind are computed by two at once."""
    prefixes, cache = opened(), Cache()
    computed: dict[str, set[tuple[int, ...]]] = {"a": set(), "b": set()}
    for key, (blocks, tail, made, group, is_computed) in enumerate(sequences):  # type: ignore[misc]
        ids = [id for block in blocks for id in block] + tail
        marked, cached = prefixes.admit(key, ids, group)
        given = tuple(int(id) for id in marked)
        assert [id % STRIDE for id in given] == ids
        assert cache.found(given) == cached
        assert cached == 0 or tuple(ids[: cached - cached % BLOCK]) in computed[group]
        if not is_computed:
            cache.keep(given)  # the engine takes it for computed; it was cancelled before it was
            prefixes.gone(key)
            continue
        prefixes.computed(key)
        prefixes.gone(key, made)
        everything = [*ids, *made[:-1]]
        cache.keep(given + tuple(made[:-1]))
        computed[group] |= {
            tuple(everything[:end]) for end in range(BLOCK, len(everything) + 1, BLOCK)
        }


def test_two_at_once_never_share_a_block_that_is_not_full() -> None:
    """A conversation of 70 tokens goes on in two ways at the same time."""
    prefixes, cache = opened(), Cache()
    cache.keep(tuple(run(prefixes, 1, LONG[:70])))
    first, _ = prefixes.admit(2, [*LONG[:70], 5])
    second, _ = prefixes.admit(3, [*LONG[:70], 6])
    assert cache.found(tuple(first)) == cache.found(tuple(second)) == 64
    assert first[64] != second[64]
    assert np.array_equal(first[:64], second[:64])
