"""Numbers in words: units, significant digits, and the unknown by its name."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.report import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown"), (math.nan, "unknown"), (0, "0 s"), (0.000021, "0.021 ms"), (0.05, "50 ms"),
     (0.0996, "0.1 s"), (1.234, "1.2 s"), (9.96, "10 s"), (59.6, "60 s"), (59.96, "1 min"),
     (200, "3 min 20 s"), (3_600, "1 h"), (7_500, "2 h 5 min"), (100_000, "1 d 4 h")],
)  # fmt: skip
def test_durations_take_their_natural_unit(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "unknown"), (math.inf, "unknown"), (0, "$0"), (0.0042, "$0.0042"), (0.2, "$0.20"),
     (12.3, "$12.30"), (1234.5, "$1,234"), (-5, "\u2212$5.00"), (1e-6, "$0.0000010"),
     (1e-10, "<$0.000001")],
)  # fmt: skip
def test_money_keeps_two_digits_that_matter(value: float | None, text: str) -> None:
    assert words.dollars(value) == text


@pytest.mark.parametrize(
    ("p50", "p95", "text"),
    [(0.41, 1.2, "0.41 / 1.2 s"), (0.04, 0.09, "40 / 90 ms"), (0.04, 1.2, "40 ms / 1.2 s"),
     (None, None, "unknown"), (None, 1.2, "unknown / 1.2 s"),
     (200, 260, "3 min 20 s / 4 min 20 s"),
     (60, 3_600, "1 min / 1 h")],
)  # fmt: skip
def test_latencies_share_a_unit_where_they_can(
    p50: float | None, p95: float | None, text: str
) -> None:
    assert words.latency(p50, p95) == text


@settings(deadline=None)
@given(st.sampled_from([None, math.nan, math.inf]) | st.floats(-1e15, 1e15))
def test_every_number_has_words_and_none_is_ever_nan(value: float | None) -> None:
    for say in (words.percent, words.points, words.duration, words.dollars, words.count,
                words.tokens, words.about, words.p_value):  # fmt: skip
        text = say(value)
        assert "nan" not in text
        assert "inf" not in text
        if value is None or not math.isfinite(value):
            assert text in ("unknown", "")


def test_differences_have_a_sign_and_zero_has_none() -> None:
    assert words.points(0.0321) == "+3.2"
    assert words.points(-0.0321) == "\u22123.2"
    assert words.points(-0.0001) == "0.0"


def test_p_values_and_tokens() -> None:
    assert words.p_value(0.0414) == "p = 0.041"
    assert words.p_value(1e-9) == "p < 0.001"
    assert words.tokens(4.25) == "4.2"
    assert words.tokens(1_960.4) == "1,960"


def test_moments_are_written_as_people_do() -> None:
    written = "21 November 2026, 09:28 UTC"
    assert words.moment("2026-11-21T09:28:41+00:00") == written
    assert words.moment(datetime(2026, 11, 21, 9, 28, tzinfo=UTC)) == written
    assert words.moment("yesterday") == "yesterday"
    assert words.moment(None) == ""


@settings(deadline=None)
@given(st.text())
def test_one_line_is_one_printable_line(text: str) -> None:
    line = words.one_line(text, 40)
    assert line.isprintable()
    assert len(line) <= 40


def test_listings_stop_somewhere() -> None:
    assert words.listing(["a", "b"]) == "a, b"
    assert words.listing([str(i) for i in range(9)], 2) == "0, 1 and 7 more"
