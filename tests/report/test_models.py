"""The table of models: what it holds, how it is filtered, and that it fits a terminal."""

from datetime import date

import pytest

from stepladder.catalogue import Catalogue, ModelFacts, TuningLimits, load_catalogue
from stepladder.cost import Prices, TokenPrice, TrainingPrice, load_prices
from stepladder.errors import StepladderError
from stepladder.report.models import chosen, models_record, models_text

TODAY = date(2026, 11, 22)
SHIPPED = models_record(load_prices(today=TODAY), load_catalogue(today=TODAY))
READ = {"read_on": date(2026, 10, 1), "source": "a price list"}


def row(name: str) -> dict:
    (found,) = [each for each in SHIPPED if each["model"] == name]
    return found


def line(text: str, name: str) -> str:
    (found,) = [each for each in text.splitlines() if each.split()[:1] == [name]]
    return found


def test_every_row_has_the_same_keys_and_every_name_is_there_once() -> None:
    assert len({tuple(sorted(each)) for each in SHIPPED}) == 1
    names = [each["model"] for each in SHIPPED]
    assert len(names) == len(set(names))
    assert list(dict.fromkeys(each["provider"] for each in SHIPPED))[:4] == [
        "local", "gemini", "vertex", "openai",
    ]  # fmt: skip


def test_a_row_by_hand() -> None:
    flash = row("vertex:gemini-3.5-flash")
    assert flash["tunable"] == ["supervised"]
    assert flash["input_dollars_per_million"] == 1.5
    assert flash["cached_dollars_per_million"] == 0.15
    assert flash["training_dollars_per_million"] == 10.0
    assert flash["tuned_multiplier"] == 1.5
    assert flash["retires_not_before"] == "2027-05-19"
    assert flash["read_on"] == "2026-08-20"  # the oldest of what it says
    assert any("reinforcement page" in note for note in flash["notes"])


def test_the_developer_api_tunes_nothing_and_a_retired_base_no_more() -> None:
    assert row("gemini:gemini-3.5-flash")["tunable"] == []
    assert row("gemini:gemini-3.5-flash")["training_dollars_per_million"] is None
    assert row("vertex:gemini-2.5-flash")["tunable"] == []


def test_filters() -> None:
    assert {each["provider"] for each in chosen(SHIPPED, "vertex", False)} == {"vertex"}
    tunable = chosen(SHIPPED, "vertex", True)
    assert [each["name"] for each in tunable] == ["gemini-3.1-flash-lite", "gemini-3.5-flash"]
    assert chosen(SHIPPED, None, False) == SHIPPED
    with pytest.raises(StepladderError, match="no models of 'vertx'") as raised:
        chosen(SHIPPED, "vertx", False)
    assert "vertex" in raised.value.hint
    assert models_text(chosen(SHIPPED, "local", True)) == "no model fits\n"


def test_the_table_fits_a_hundred_columns_and_cuts_nothing() -> None:
    text = models_text(SHIPPED, width=100)
    assert max(map(len, text.splitlines())) <= 100
    assert "\u2026" not in text
    found = line(text.split("vertex:\n")[1].split("openai:\n")[0], "gemini-3.5-flash")
    for cell in ("1.5", "0.15", "10", "x1.5", "supervised", "1049k", "2027-05-19+", "2026-08-20"):
        assert cell in found.split()


def test_in_less_room_columns_are_left_out_and_names_stay_whole() -> None:
    text = models_text(chosen(SHIPPED, "vertex", False), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[0].split()[:4] == ["model", "in", "out", "training"]
    assert line(text, "gemini-3.5-flash").split()[1:4] == ["1.5", "9", "10"]


def made(read_on: date, **more: object) -> str:
    facts = ModelFacts("x:a", read_on, "a page", **more)  # type: ignore[arg-type]
    record = models_record(
        Prices(TODAY, (TokenPrice("x:a", 1.0, 2.0, **READ),), training=()),
        Catalogue(TODAY, (facts,)),
    )
    return line(models_text(record, width=100), "a")


def test_an_old_entry_is_marked_and_the_unknown_is_a_dash() -> None:
    assert made(date(2026, 5, 1)).endswith("2026-05-01!")
    assert made(date(2026, 11, 1)).endswith("2026-10-01")  # that of the price
    assert made(date(2026, 11, 1)).split()[3:9] == ["-"] * 6


def test_a_snapshot_has_a_row_where_it_can_be_tuned_and_the_plain_name_cannot() -> None:
    facts = tuple(ModelFacts(name, **READ) for name in ("x:a", "x:a-2026*", "x:b", "x:b-2026*"))
    limits = (TuningLimits("x:a-2026*", ("supervised",), **READ),)
    record = models_record(Prices(TODAY), Catalogue(TODAY, facts, limits))
    assert [each["model"] for each in record if each["provider"] == "x"] == [
        "x:a", "x:a-2026*", "x:b",
    ]  # fmt: skip


def test_a_price_of_training_shows_only_where_jobs_are_known_to_be_taken() -> None:
    prices = Prices(
        TODAY,
        (TokenPrice("x:a", 1.0, 2.0, **READ),),
        training=(TrainingPrice("x:*", 3.0, **READ),),
    )
    for limits, shown in (((), None), ((TuningLimits("x:a", ("supervised",), **READ),), 3.0)):
        record = models_record(prices, Catalogue(TODAY, (), limits))
        assert record[-1]["training_dollars_per_million"] == shown
