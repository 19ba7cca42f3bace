"""Prices from dated data: tokens, tiers, caches, machines, overrides; unknown is never zero."""

from collections.abc import Mapping
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Hardware, Usage
from stepladder.cost import (
    MachinePrice,
    Prices,
    TokenPrice,
    dollars,
    dollars_per_hour,
    load_prices,
    machine_dollars,
    price,
    price_all,
    stale,
)  # fmt: skip
from stepladder.errors import StepladderError
from stepladder.session import LADDER

TODAY = date(2026, 11, 21)
READ = {"read_on": date(2026, 10, 1), "source": "a price list"}
FLAT = TokenPrice("x:flat", 1.0, 4.0, **READ, cached=0.1)
SHORT = TokenPrice("x:tiers", 1.0, 10.0, **READ)
LONG = TokenPrice("x:tiers", 2.0, 20.0, **READ, above_input_tokens=1000)
LATER = TokenPrice("x:flat", 3.0, 6.0, **READ, cached=0.3, since=date(2027, 1, 1))
BOX = MachinePrice("box", 0.36, "2 vCPU", **READ)
PRICES = Prices(TODAY, (FLAT, SHORT, LONG, LATER), {"box": BOX})
NOWHERE = Hardware()

counts = st.integers(0, 10**7)


def test_tokens_are_priced_with_cached_ones_apart():
    usage = Usage("x:flat", input_tokens=1000, output_tokens=100, cached_tokens=400)
    assert dollars(usage, PRICES, NOWHERE) == pytest.approx((600 * 1 + 400 * 0.1 + 100 * 4) / 1e6)


def test_long_inputs_pay_the_dearer_tier_for_all_tokens():
    assert dollars(Usage("x:tiers", 1000, 10), PRICES, NOWHERE) == pytest.approx(1100 / 1e6)
    assert dollars(Usage("x:tiers", 1001, 10), PRICES, NOWHERE) == pytest.approx(2202 / 1e6)
    assert dollars(Usage("x:tiers", 0, 0), PRICES, NOWHERE) == 0


def test_a_later_price_holds_from_its_day_on():
    usage = Usage("x:flat", 1_000_000, 0, 0)
    prices = {day: Prices(day, PRICES.tokens) for day in (date(2026, 12, 31), date(2027, 1, 1))}
    assert [dollars(usage, each, NOWHERE) for each in prices.values()] == [1.0, 3.0]


def test_without_a_price_for_cached_tokens_they_cost_as_much_as_others():
    assert dollars(Usage("x:tiers", 1000, 0, 1000), PRICES, NOWHERE) == pytest.approx(1000 / 1e6)


def test_a_star_stands_for_the_rest_of_the_name_and_an_exact_name_wins():
    family = TokenPrice("x:ft:*", 5.0, 5.0, **READ)
    narrow = TokenPrice("x:ft:one:*", 6.0, 6.0, **READ)
    exact = TokenPrice("x:ft:one:a", 7.0, 7.0, **READ)
    short = TokenPrice("x:ft:one:", 8.0, 8.0, **READ)
    prices = Prices(TODAY, (exact, family, narrow, short))
    paid = {
        name: dollars(Usage(name, 1_000_000, 0), prices, NOWHERE)
        for name in ("x:ft:two:b", "x:ft:one:b", "x:ft:one:a", "x:ft:one:", "x:f")
    }
    assert list(paid.values()) == [5.0, 6.0, 7.0, 8.0, None]


def test_local_calls_are_priced_by_their_share_of_the_machine():
    usage = Usage("local:small", 10, 10, 0, seconds=9.0, compute_seconds=2.0)
    assert dollars(usage, PRICES, Hardware("box")) == pytest.approx(2 * 0.36 / 3600)
    assert dollars(usage, PRICES, Hardware("box", 3.6)) == pytest.approx(2 * 3.6 / 3600)
    assert machine_dollars(7200, Hardware("box"), PRICES).dollars == pytest.approx(0.72)


@pytest.mark.parametrize(
    ("usage", "hardware", "why"),
    [
        (Usage("x:new", 10, 10, 0), NOWHERE, "no token price is known for 'x:new'"),
        (Usage("x:flat", None, 10, 0), NOWHERE, "did not report its tokens"),
        (Usage("x:flat", 10, None, 0), NOWHERE, "did not report its tokens"),
        (Usage("x:flat", 10, 10), NOWHERE, "how many tokens were cached"),
        (Usage("local:small", compute_seconds=1.0), NOWHERE, "this machine costs"),
        (Usage("local:small", compute_seconds=1.0), Hardware("bix"), "'bix' (known: box)"),
        (Usage("local:small", 10, 10, 0, seconds=1.0), Hardware("box"), "'local:small'"),
    ],
)
def test_what_is_missing_makes_it_unknown_and_is_named(usage, hardware, why):
    assert dollars(usage, PRICES, hardware) is None
    assert why in (price(usage, PRICES, hardware).unknown or "")


def test_several_calls_add_up_and_one_unknown_makes_the_sum_unknown():
    known, unknown = Usage("x:tiers", 100, 0), Usage("x:new", 100, 0)
    assert price_all([known, known], PRICES, NOWHERE).dollars == pytest.approx(200 / 1e6)
    assert price_all([known, unknown], PRICES, NOWHERE).dollars is None
    assert price_all([], PRICES, NOWHERE).dollars is None


@given(counts, counts, counts, counts)
def test_more_tokens_never_cost_less(inputs, outputs, more_inputs, more_outputs):
    for model in ("x:flat", "x:tiers"):
        less = dollars(Usage(model, inputs, outputs, 0), PRICES, NOWHERE)
        more = dollars(
            Usage(model, inputs + more_inputs, outputs + more_outputs, 0), PRICES, NOWHERE
        )
        assert less <= more


@given(counts, st.floats(0, 1))
def test_a_cache_hit_never_costs_more(inputs, share):
    hit = Usage("x:flat", inputs, 0, int(inputs * share))
    assert dollars(hit, PRICES, NOWHERE) <= dollars(Usage("x:flat", inputs, 0, 0), PRICES, NOWHERE)


def test_only_prices_in_use_are_called_stale():
    old = Prices(date(2027, 6, 1), PRICES.tokens, PRICES.machines)
    told = stale(old, ["x:tiers", "x:tiers", "x:none"], Hardware("box"))
    assert len(told) == 2
    assert all("2026-10-01, 243 days ago (a price list)" in sentence for sentence in told)
    assert stale(old, [], Hardware("box", dollars_per_hour=1.0)) == ()
    assert stale(PRICES, ["x:tiers"], Hardware("box")) == ()
    assert stale(Prices(date(2027, 3, 30), PRICES.tokens), ["x:tiers"], NOWHERE) == ()  # day 180


def test_every_built_in_entry_is_dated_sourced_and_not_from_the_future():
    prices = load_prices(today=TODAY)
    tables = (prices.tokens, prices.training, prices.machines, prices.effort, prices.assumptions)
    entries = [each for t in tables for each in (t.values() if isinstance(t, Mapping) else t)]
    assert len(entries) > 90
    for entry in entries:
        assert date(2026, 1, 1) < entry.read_on <= TODAY
        assert len(entry.source) > 10


def test_built_in_prices_by_hand():
    prices = load_prices(today=TODAY)
    flash = Usage("gemini:gemini-3.8-flash", 1_000_000, 1_000_000, 0)
    assert dollars(flash, prices, NOWHERE) == pytest.approx(0.75 + 3.75)
    assert dollars(flash, load_prices(today=date(2027, 2, 1)), NOWHERE) == pytest.approx(9.0)
    pro = Usage("gemini:gemini-2.5-pro", 200_001, 0, 0)
    assert dollars(pro, prices, NOWHERE) == pytest.approx(200_001 * 2.5e-6)
    tuned = Usage("openai:ft:gpt-4o-mini-2024-07-18:team::id", 1_000_000, 0, 0)
    assert dollars(tuned, prices, NOWHERE) == pytest.approx(0.30)
    assert dollars_per_hour(Hardware("aws-m7g-large"), prices).dollars == 0.0816


def test_every_step_of_the_ladder_has_hours_of_its_own():
    assert set(LADDER) <= load_prices(today=TODAY).effort.keys()


OWN = """
[[tokens]]
model = "gemini:gemini-2.5-pro"
input = 1.0
output = 2.0
read_on = 2026-11-20
source = "our contract"

[[machine]]
name = "rack-7"
dollars_per_hour = 0.2
about = "in the cellar"
read_on = 2026-11-20
source = "the landlord"
"""


def test_the_users_file_replaces_a_model_with_all_its_tiers_and_keeps_the_rest(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN, encoding="utf-8")
    prices = load_prices(path, today=TODAY)
    long = Usage("gemini:gemini-2.5-pro", 1_000_000, 0, 0)
    assert dollars(long, prices, NOWHERE) == pytest.approx(1.0)
    assert dollars_per_hour(Hardware("rack-7"), prices).dollars == 0.2
    assert dollars_per_hour(Hardware("aws-m7g-large"), prices).dollars == 0.0816


def test_a_range_that_is_none_is_refused(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        '[[assumption]]\nname = "life_months"\nlow = 9\nhigh = 3\nabout = "x"\n'
        'read_on = 2026-11-20\nsource = "us"\n',
        encoding="utf-8",
    )
    with pytest.raises(StepladderError, match=r"assumption\[1\].*no more than `high`"):
        load_prices(path, today=TODAY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("input = 1.0\n", ""), r"tokens\[1\]\.input"),
        (("input = 1.0", "inptu = 1.0\ninput = 1.0"), r"tokens\[1\]\.inptu"),
        (("input = 1.0", "input = -1.0"), r"tokens\[1\]\.input: -1\.0 is below zero"),
        (("read_on = 2026-11-20", 'read_on = "soon"'), r"tokens\[1\]\.read_on"),
        (("[[machine]]", "[[machines]]"), "unknown table 'machines'"),
        (("[[machine]]", "[[machine"), "line"),
    ],
)
def test_a_mistake_in_the_users_file_is_told_with_its_place(tmp_path, change, message):
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace(*change), encoding="utf-8")
    with pytest.raises(StepladderError, match=message) as raised:
        load_prices(path, today=TODAY)
    assert "own.toml" in raised.value.message
    assert raised.value.hint


def test_a_price_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StepladderError, match=r"none\.toml"):
        load_prices(tmp_path / "none.toml", today=TODAY)
