"""What requests share, whether keeping it pays, and that its price is shared out whole."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Call, Function, Message, Request, Response, Usage
from stepladder.cost import Prices, TokenPrice
from stepladder.models.hosted.api import PrefixCache
from stepladder.models.hosted.prefix import Kept, saving, shared_prefixes

turns = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.sampled_from("abc")),
    min_size=1,
    max_size=4,
).map(tuple)


@given(st.lists(turns, max_size=12))
def test_a_shared_prefix_is_a_prefix_of_all_its_requests_and_leaves_something_to_ask(
    asked: list[tuple[Message, ...]],
) -> None:
    requests = [Request(messages) for messages in asked]
    groups = shared_prefixes(requests)
    places = [place for group in groups for place in group.places]
    assert len(places) == len(set(places))
    for group in groups:
        assert len(group.places) > 1
        for place in group.places:
            messages = requests[place].messages
            assert messages[: len(group.prefix)] == group.prefix
            assert 0 < len(group.prefix) < len(messages)


def test_one_prompt_over_many_inputs_goes_together_and_conversations_by_their_opening() -> None:
    system, demo = Message("system", "s"), Message("user", "demo")
    said = Message("assistant", "", (Call("look_up", {"city": "Paris"}),))
    one = [Request((system, demo, said, Message("user", str(n)))) for n in range(3)]
    talks = [Request((system, Message("user", str(n)), said, demo)) for n in range(2)]
    groups = shared_prefixes([*one, *talks])
    assert [(group.prefix, group.places) for group in groups] == [
        ((system, demo, said), (0, 1, 2)),
        ((system,), (3, 4)),
    ]


def test_requests_with_functions_stay_out() -> None:
    look_up = Function("look_up")
    messages = (Message("system", "s"), Message("user", "x"))
    assert shared_prefixes([Request(messages, functions=(look_up,))] * 2) == []


PRICE = TokenPrice("m:x", 1.0, 4.0, date(2026, 1, 1), "test", cached=0.1, cache_hour=2.0)
PRICES = Prices(date(2026, 11, 22), (PRICE,))


def test_keeping_pays_from_some_number_of_calls_on_and_less_where_it_is_free_anyway() -> None:
    def one(calls: int, implicit: float = 0.0, seconds: float = 60.0) -> float:
        return saving("m:x", 10_000, calls, seconds, PRICES, implicit=implicit)

    assert one(1) < 0 < one(2)
    assert one(100, implicit=1.0) < 0 < one(100, implicit=0.5) < one(100)
    assert one(2, seconds=3600.0) < 0, "what is kept long costs more than it saves"
    assert saving("m:unknown", 10_000, 100, 60.0, PRICES, implicit=0.0) == 0


@given(st.lists(st.floats(0, 500), min_size=1, max_size=30))
def test_the_shares_of_all_calls_are_what_was_written_and_kept(waits: list[float]) -> None:
    now = [50.0]
    kept = Kept(PrefixCache("c", 1, 9000), len(waits), lambda: now[0], 3600.0)
    written = hours = 0.0
    for wait in waits:
        now[0] += wait
        usage = kept.charge(Response("", Usage("m:x", 1, 1))).usage
        written += usage.cache_write_tokens
        hours += usage.cache_token_hours
    assert written == pytest.approx(9000)
    assert hours == pytest.approx(9000 * min(sum(waits), 3600.0) / 3600)


def test_a_prefix_is_used_no_longer_than_the_service_keeps_it() -> None:
    now = [0.0]
    kept = Kept(PrefixCache("c", 1, 9000), 1, lambda: now[0], 3600.0)
    assert kept.usable is not None
    now[0] = 3550.0
    assert kept.usable is None
