"""Prices of hosted calls by rules in data: batches, sound, caches, tuned models, tuning jobs."""

from dataclasses import fields, replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Hardware, Usage
from stepladder.cost import (
    Prices,
    TokenPrice,
    TrainingPrice,
    assumed,
    cache_saving,
    dollars,
    load_prices,
    price,
    price_all,
    stale,
    token_price,
    training_dollars,
)

TODAY = date(2026, 11, 22)
READ = {"read_on": date(2026, 10, 1), "source": "a price list"}
FULL = TokenPrice(
    "x:full", 1.0, 8.0, **READ, cached=0.1, audio=2.0, batch=0.5, batch_cached=0.05, cache_hour=4.0
)
BARE = TokenPrice("x:bare", 1.0, 8.0, **READ)
OWN = TokenPrice("x:full@mine*", 3.0, 9.0, **READ)
TRAINING = (
    TrainingPrice("x:full", 10.0, **READ, tuned_multiplier=1.5, note="they disagree"),
    TrainingPrice("x:bare", 4.0, **READ, preference=8.0),
)
PLAIN = TokenPrice("x:plain", 1.0, 2.0, **READ)
PRICES = Prices(TODAY, (FULL, BARE, OWN, PLAIN), training=TRAINING)
SHIPPED = load_prices(today=TODAY)
NOWHERE = Hardware()
CALL = Usage(
    "x:full", input_tokens=1000, output_tokens=100, cached_tokens=400, audio_tokens=200,
    thinking_tokens=60,
)  # fmt: skip

counts = st.integers(0, 10**7)


@st.composite
def usages(draw: st.DrawFn, model: str = "x:full") -> Usage:
    """Whatever a service may report of one call."""
    tokens = draw(counts)
    return Usage(
        model,
        input_tokens=tokens,
        output_tokens=draw(counts),
        cached_tokens=draw(st.integers(0, tokens)),
        audio_tokens=draw(st.integers(0, tokens)),
        thinking_tokens=draw(counts),
        cache_write_tokens=float(draw(counts)),
        cache_token_hours=draw(st.floats(0, 1e6)),
        tier=draw(st.sampled_from(["standard", "batch"])),
    )


def paid(usage: Usage, prices: Prices = PRICES) -> float:
    found = dollars(usage, prices, NOWHERE)
    assert found is not None
    return found


# --- by hand ------------------------------------------------------------------------------------


def test_sound_costs_its_own_and_thinking_is_part_of_the_output():
    assert paid(CALL) == pytest.approx((400 * 1 + 200 * 2 + 400 * 0.1 + 100 * 8) / 1e6)
    assert paid(replace(CALL, thinking_tokens=None)) == paid(CALL)


def test_sound_that_must_have_been_cached_costs_in_proportion():
    usage = replace(CALL, audio_tokens=1000)
    assert paid(usage) == pytest.approx((600 * 2 + 400 * 0.1 * 2 + 100 * 8) / 1e6)


def test_a_batch_pays_its_share_and_its_own_price_for_cached_tokens():
    usage = replace(CALL, tier="batch")
    assert paid(usage) == pytest.approx((400 * 0.5 + 200 * 1 + 400 * 0.05 + 100 * 4) / 1e6)
    without = Prices(TODAY, (replace(FULL, batch_cached=None),))
    assert paid(usage, without) == pytest.approx((400 * 0.5 + 200 + 400 * 0.1 + 100 * 4) / 1e6)


def test_writing_and_keeping_a_cache_comes_on_top():
    usage = replace(CALL, cache_write_tokens=50.0, cache_token_hours=2.5)
    assert paid(usage) - paid(CALL) == pytest.approx((50 * 1 + 2.5 * 4) / 1e6)
    surcharged = Prices(TODAY, (replace(FULL, cache_write=0.25),))
    assert paid(usage, surcharged) - paid(CALL) == pytest.approx((50 * 0.25 + 2.5 * 4) / 1e6)


def test_a_tuned_model_costs_its_base_times_the_multiplier_unless_it_has_a_price_of_its_own():
    assert paid(replace(CALL, model="x:full@theirs")) == pytest.approx(1.5 * paid(CALL))
    assert paid(replace(CALL, model="x:full@mine-2")) == pytest.approx((3000 + 900) / 1e6)
    assert paid(replace(CALL, model="x:ft:full:team::id")) == pytest.approx(1.5 * paid(CALL))


def test_a_tuning_job_by_billed_tokens():
    # 500 examples of 600 tokens, three times over
    assert training_dollars("vertex:gemini-3.5-flash", 900_000, SHIPPED).dollars == pytest.approx(9)
    lite = training_dollars("vertex:gemini-3.1-flash-lite@x", 900_000, SHIPPED)
    assert lite.dollars == pytest.approx(2.70)
    assert training_dollars("x:bare", 1_000_000, PRICES, "preference").dollars == 8.0


def test_shipped_prices_by_hand():
    tuned = Usage("vertex:gemini-3.5-flash@e", 1_000_000, 1_000_000, 0)
    assert paid(tuned, SHIPPED) == pytest.approx(2.25 + 13.50)
    lite = Usage("vertex:gemini-3.1-flash-lite", 10**6, 10**6, 0, audio_tokens=10**6, tier="batch")
    assert paid(lite, SHIPPED) == pytest.approx(0.25 + 0.75)
    mini = Usage("openai:gpt-4o-mini-2024-07-18@ft:gpt-4o-mini-2024-07-18:o::1", 10**6, 10**6, 0)
    assert paid(mini, SHIPPED) == pytest.approx(0.30 + 1.20)
    assert paid(replace(mini, tier="batch"), SHIPPED) == pytest.approx(0.15 + 0.60)
    luna = Usage("openai:gpt-6-luna", 1000, 0, 0, cache_write_tokens=1000.0)
    assert paid(luna, SHIPPED) == pytest.approx(1000 * 0.125e-6)
    older = Usage("openai:gpt-4o-mini", 1000, 0, 0, cache_write_tokens=1000.0)
    assert paid(older, SHIPPED) == pytest.approx(1000 * 0.15e-6)


def test_the_two_routes_to_gemini_cost_the_same_until_somebody_says_otherwise():
    gemini = [each for each in SHIPPED.tokens if each.model.startswith("gemini:")]
    vertex = [each for each in SHIPPED.tokens if each.model.startswith("vertex:")]
    assert len(gemini) == len(vertex) > 10
    for here, there in zip(gemini, vertex, strict=True):
        assert replace(here, model=there.model) == there


# --- unknown ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "why"),
    [
        (replace(CALL, audio_tokens=None), "did not report how many tokens were audio"),
        (replace(CALL, cached_tokens=None), "did not report how many tokens were cached"),
        (replace(CALL, model="x:bare", tier="batch"), "no batch price is known for 'x:bare'"),
        (
            replace(CALL, model="x:bare", cache_token_hours=1.0),
            "no price is known for keeping a cache of 'x:bare'",
        ),
        (replace(CALL, model="x:bare@b"), "no price is known for what is tuned on 'x:bare'"),
        (replace(CALL, model="x:plain@b"), "no price is known for what is tuned on 'x:plain'"),
        (replace(CALL, model="x:none@b"), "no token price is known for 'x:none@b'"),
    ],
)
def test_what_is_missing_makes_the_dollars_unknown_and_is_named(usage, why):
    found = price(usage, PRICES, NOWHERE)
    assert found.dollars is None
    assert why in (found.unknown or "")


def test_tuning_without_a_price_is_unknown():
    for model, method in (("x:none", "supervised"), ("x:full", "preference")):
        found = training_dollars(model, 1000, PRICES, method)  # type: ignore[arg-type]
        assert found.dollars is None
        assert f"{method} tuning of {model!r}" in (found.unknown or "")


@given(
    usages(), st.sampled_from(["input_tokens", "output_tokens", "cached_tokens", "audio_tokens"])
)
def test_one_count_that_is_missing_is_never_taken_as_zero(usage, missing):
    assert dollars(replace(usage, **{missing: None}), PRICES, NOWHERE) is None
    assert price_all([usage, replace(usage, **{missing: None})], PRICES, NOWHERE).dollars is None


# --- whatever the counts ------------------------------------------------------------------------


@given(usages(), st.data())
def test_more_of_anything_never_costs_less(usage, data):
    for name in ("input_tokens", "output_tokens", "cache_write_tokens", "cache_token_hours"):
        more = replace(usage, **{name: getattr(usage, name) + data.draw(counts)})
        assert paid(more) >= paid(usage) * (1 - 1e-12)
    louder = replace(
        usage, audio_tokens=data.draw(st.integers(usage.audio_tokens, usage.input_tokens))
    )
    assert paid(louder) >= paid(usage) * (1 - 1e-12)


@given(usages(), st.data())
def test_a_cache_or_a_batch_never_costs_more(usage, data):
    hit = replace(
        usage, cached_tokens=data.draw(st.integers(usage.cached_tokens, usage.input_tokens))
    )
    assert paid(hit) <= paid(usage) * (1 + 1e-12)
    assert paid(replace(usage, tier="batch")) <= paid(replace(usage, tier="standard")) * (1 + 1e-12)


def test_a_cached_token_costs_no_more_than_a_fresh_one_of_a_batch():
    dear = Prices(TODAY, (replace(FULL, cached=0.8, batch_cached=None),))
    fresh, hit = (Usage("x:full", 1000, 0, n, audio_tokens=0, tier="batch") for n in (0, 1000))
    assert paid(hit, dear) == paid(fresh, dear)


@given(st.lists(usages(), min_size=1, max_size=5))
def test_several_calls_cost_the_sum_of_each(calls):
    together = price_all(calls, PRICES, NOWHERE).dollars
    assert together == pytest.approx(sum(map(paid, calls)))


@given(usages())
def test_calls_of_text_alone_add_up_to_one_with_the_sum_of_their_tokens(usage):
    text = replace(usage, audio_tokens=0)
    uncounted = {"model", "tier", "seconds", "compute_seconds", "waited_seconds"}
    names = {each.name for each in fields(Usage)} - uncounted
    double = replace(text, **{name: 2 * getattr(text, name) for name in names})
    assert paid(double) == pytest.approx(2 * paid(text))


# --- when a cache pays --------------------------------------------------------------------------


def test_what_a_cache_saves_by_hand():
    saved = cache_saving("x:full", 10_000, calls=100, hours=0.5, prices=PRICES)
    assert saved == pytest.approx(10_000 * (100 * (1 - 0.1) - 1 - 0.5 * 4) / 1e6)


@given(st.integers(1, 10**6), st.integers(1, 10**5), st.floats(0, 100))
def test_the_saving_is_what_the_bills_show(prefix, calls, hours):
    plain = Usage("x:full", prefix, 0, 0, audio_tokens=0)
    cached = replace(
        plain,
        cached_tokens=prefix,
        cache_write_tokens=prefix / calls,
        cache_token_hours=prefix * hours / calls,
    )
    saved = cache_saving("x:full", prefix, calls, hours, PRICES)
    assert saved == pytest.approx(calls * (paid(plain) - paid(cached)), abs=1e-6)


@given(st.integers(1, 10**6), st.floats(0, 100))
def test_a_cache_that_nobody_asks_for_saves_nothing(prefix, hours):
    saved = cache_saving("x:full", prefix, 0, hours, PRICES)
    assert saved is not None
    assert saved < 0


def test_the_saving_of_a_cache_without_a_price_is_unknown():
    assert cache_saving("x:bare", 10_000, 100, 1, PRICES) is None
    assert cache_saving("x:none", 10_000, 100, 1, PRICES) is None
    assert cache_saving("x:bare@b", 10_000, 100, 1, PRICES) is None
    assert cache_saving("gemini:gemini-4-argon", 10_000, 100, 1, SHIPPED) is None  # implicit only


# --- telling ------------------------------------------------------------------------------------


def test_an_assumption_about_tuned_models_is_told_where_it_is_used():
    (told,) = assumed(PRICES, ["x:full@a", "x:full@b", "x:full", "x:full@mine-1", "x:bare@c"])
    assert told == (
        "what is tuned on 'x:full' is taken to cost 1.5 times its base: they disagree "
        "(a price list, read on 2026-10-01)"
    )


def test_an_old_price_of_tuning_is_called_stale_for_tuned_models_only():
    late = replace(
        PRICES, today=date(2027, 6, 1), tokens=(replace(FULL, read_on=date(2027, 5, 1)),)
    )
    assert stale(late, ["x:full"], NOWHERE) == ()
    assert len(stale(late, ["x:full@a"], NOWHERE)) == 1


def test_the_price_in_force_today():
    assert token_price("x:full@a", PRICES) is FULL
    assert token_price("x:none", PRICES) is None


def test_an_answer_of_another_tier_has_no_price_and_says_so():
    usage = Usage("vertex:gemini-3.5-flash", 100, 10, 0, audio_tokens=0, tier="other")
    prices = load_prices(today=date(2026, 11, 22))
    assert price(replace(usage, tier="standard"), prices, Hardware()).dollars is not None
    found = price(usage, prices, Hardware())
    assert found.dollars is None
    assert "a tier that is not the standard one" in found.unknown
