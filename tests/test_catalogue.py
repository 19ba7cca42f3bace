"""Facts on models and limits of tuning: what is known, what is not, and until when."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.catalogue import (
    Catalogue,
    ModelFacts,
    TuningLimits,
    load_catalogue,
    retirement_cautions,
)
from stepladder.errors import StepladderError

TODAY = date(2026, 11, 22)
SHIPPED = load_catalogue(today=TODAY)
READ = {"read_on": date(2026, 11, 1), "source": "a page"}
TUNED = "vertex:gemini-3.5-flash@projects/p/locations/us/endpoints/5"


def test_every_entry_is_dated_sourced_and_not_from_the_future() -> None:
    assert len(SHIPPED.models) > 30
    assert len(SHIPPED.tuning) > 15
    for entry in (*SHIPPED.models, *SHIPPED.tuning):
        assert date(2026, 1, 1) < entry.read_on <= TODAY
        assert len(entry.source) > 10


def test_a_model_that_thinks_says_how_little_it_can_think() -> None:
    for facts in SHIPPED.models:
        assert (facts.thinking == "none") == (facts.least_thinking is None), facts.model
        assert isinstance(facts.least_thinking, int) == (facts.thinking == "budget")


def test_facts_by_hand() -> None:
    flash = SHIPPED.facts("vertex:gemini-3.5-flash")
    assert flash is not None
    assert flash.context_tokens == 1_048_576
    assert flash.cache_least_tokens == 4096
    assert flash.least_thinking == "minimal"
    assert flash.retires_not_before == date(2027, 5, 19)
    newest, pro = SHIPPED.facts("gemini:gemini-3.8-flash"), SHIPPED.facts("gemini:gemini-2.5-pro")
    assert newest is not None
    assert newest.least_thinking == "low"  # it refuses MINIMAL
    assert pro is not None
    assert (pro.least_thinking, pro.retires) == (128, date(2026, 12, 1))


def test_the_same_model_retires_on_another_day_at_another_provider() -> None:
    days = [
        facts.may_retire
        for provider in ("gemini", "vertex")
        if (facts := SHIPPED.facts(f"{provider}:gemini-2.5-flash"))
    ]
    assert days == [date(2026, 12, 1), date(2026, 10, 20)]


def test_limits_by_hand() -> None:
    flash = SHIPPED.limits("vertex:gemini-3.5-flash")
    assert flash is not None
    assert flash.methods == ("supervised",)
    assert flash.tokens_per_example == 131_072
    assert flash.regions == ("us-central1", "europe-west4")
    assert flash.serving_regions == ("us", "eu")
    old = SHIPPED.limits("vertex:gemini-2.5-flash-lite")
    assert old is not None
    assert old.methods == ("supervised", "preference")
    assert (old.function_rows, old.ends) == (False, date(2026, 10, 20))
    mini = SHIPPED.limits("openai:gpt-4o-mini-2024-07-18")
    assert mini is not None
    assert mini.ends == date(2027, 1, 6)
    for name in ("gemini:gemini-3.5-flash", "vertex:gemini-3.8-flash", "openai:gpt-6-luna"):
        assert SHIPPED.limits(name) is None


def test_a_tuned_model_has_the_facts_of_its_base_less_what_is_not_offered_for_tuned_ones() -> None:
    base, tuned = SHIPPED.facts("vertex:gemini-3.5-flash"), SHIPPED.facts(TUNED)
    assert base is not None
    assert tuned is not None
    assert (tuned.context_tokens, tuned.least_thinking) == (1_048_576, "minimal")
    assert (base.batch, base.schema, base.cache_least_tokens) == (True, True, 4096)
    assert (tuned.batch, tuned.schema, tuned.cache_least_tokens) == (False, False, None)
    mini = SHIPPED.facts("openai:ft:gpt-4o-mini-2024-07-18:org::id")
    assert mini is not None
    assert mini.batch


def test_what_is_not_in_the_table_is_unknown() -> None:
    assert SHIPPED.facts("gemini:gemini-9") is None
    assert SHIPPED.limits("gemini:gemini-9@mine") is None
    assert Catalogue().facts("gemini:gemini-3.5-flash") is None


# --- ends ---------------------------------------------------------------------------------------


def one(model: str = "x:a", **more: object) -> Catalogue:
    return Catalogue(TODAY, (ModelFacts(model, **READ, **more),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"retires": date(2026, 12, 1)}, "'x:a' retires on 2026-12-01, within the 12 months"),
        ({"retires": date(2026, 10, 1)}, "'x:a' retired on 2026-10-01"),
        ({"retires_not_before": date(2027, 5, 1)}, "'x:a' may retire from 2027-05-01 on"),
        ({"retires": date(2026, 12, 1), "replacement": "b"}, "names b for afterwards"),
        ({"caution": "a preview"}, "'x:a' is a preview (a page"),
        ({"caution": "a preview", "retires": date(2028, 1, 1)}, "'x:a' is a preview"),
        ({"caution": "a preview", "retires": date(2027, 1, 1)}, "'x:a' retires on 2027-01-01"),
    ],
)
def test_a_model_that_ends_within_the_horizon_is_told_with_its_source(more, said) -> None:
    (told,) = retirement_cautions(["x:a", "x:a"], one(**more), 12, TODAY)
    assert said in told
    assert told.endswith("(a page, read on 2026-11-01)")


def test_what_was_tuned_goes_with_its_base() -> None:
    models = ["vertex:gemini-3.5-flash", TUNED, "vertex:gemini-3.5-flash@another"]
    (told,) = retirement_cautions(models, SHIPPED, 12, TODAY)
    assert "'vertex:gemini-3.5-flash' may retire from 2027-05-19 on" in told
    assert "what was tuned on it goes with it" in told


@given(st.integers(-400, 4000), st.floats(1, 60))
def test_only_what_ends_within_the_horizon_is_told(days: int, months: float) -> None:
    ends = TODAY + timedelta(days=days)
    told = retirement_cautions(["x:a"], one(retires=ends), months, TODAY)
    assert bool(told) == (ends <= TODAY + timedelta(days=months * 365.25 / 12))
    longer = retirement_cautions(["x:a"], one(retires=ends), months + 1, TODAY)
    assert bool(longer) >= bool(told)


def test_nothing_is_told_of_what_is_unknown() -> None:
    assert retirement_cautions(["x:a", "local:b"], one(), 1200, TODAY) == ()


# --- the user's file ----------------------------------------------------------------------------


def test_the_users_entries_replace_and_add(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[model]]\nmodel = "vertex:gemini-3.5-flash"\nlike = "vertex:gemini-3.5-flash"\n'
        'retires = 2027-06-30\nread_on = 2026-11-20\nsource = "our account manager"\n'
        '[[tuning]]\nmodel = "house:*"\nmethods = ["supervised"]\nleast_rows = 7\n'
        'read_on = 2026-11-20\nsource = "the platform team"\n',
        encoding="utf-8",
    )
    found = load_catalogue(path, today=TODAY)
    flash = found.facts("vertex:gemini-3.5-flash")
    assert flash is not None
    assert (flash.may_retire, flash.context_tokens) == (date(2027, 6, 30), 1_048_576)
    assert len(found.models) == len(SHIPPED.models)
    house = found.limits("house:small@1")
    assert house == TuningLimits(
        "house:*", ("supervised",), date(2026, 11, 20), "the platform team", least_rows=7
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('thinking = "sometimes"', r"model\[1\]\.thinking"),
        ("retires = 'soon'", r"model\[1\]\.retires"),
        ("tunable = true", r"model\[1\]\.tunable: not a known key"),
    ],
)
def test_a_mistake_in_the_users_file_is_told_with_its_place(tmp_path, text, message) -> None:
    path = tmp_path / "mine.toml"
    head = '[[model]]\nmodel = "x:a"\nread_on = 2026-11-20\nsource = "us"\n'
    path.write_text(head + text, encoding="utf-8")
    with pytest.raises(StepladderError, match=message) as raised:
        load_catalogue(path, today=TODAY)
    assert "mine.toml" in raised.value.message
