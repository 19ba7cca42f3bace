"""Micro-F1 over extracted items, with values worked out by hand and orders shuffled."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import Example, Output
from stepladder.errors import StepladderError
from stepladder.metrics.items import Itemise
from stepladder.metrics.micro_f1 import MicroF1

EVENTS = {
    "list": "events",
    "type_key": "event",
    "ignore": ("negated", "speculated", "severity"),
}
EXPECTED = {
    "events": [
        {
            "event": "adverse_event",
            "subject": ["A 3-year-old boy"],
            "treatment.drug": ["aspirin", "rifampin"],
            "effect": ["severe rash"],
            "negated": True,
        },
        {"event": "potential_therapeutic_event", "treatment.drug": ["aspirin"]},
    ]
}

scalars = st.one_of(st.text("ab c", max_size=4), st.integers(0, 3), st.booleans(), st.none())
records = st.dictionaries(st.sampled_from("xyz"), st.lists(scalars, max_size=3), max_size=3)
answers = st.lists(records, max_size=4)


def counts(metric, expected, answered):
    ((stratum, numerator, denominator),) = metric.score(
        Example("1", "", expected), Output(answered)
    )
    assert stratum == "all"
    return numerator, denominator


def test_events_become_triples_of_type_key_and_span():
    assert Itemise(**EVENTS).items(EXPECTED) == (
        ("adverse_event/subject", "a 3-year-old boy"),
        ("adverse_event/treatment.drug", "aspirin"),
        ("adverse_event/treatment.drug", "rifampin"),
        ("adverse_event/effect", "severe rash"),
        ("potential_therapeutic_event/treatment.drug", "aspirin"),
    )


def test_exact_match_by_hand():
    answered = {
        "events": [
            {
                "event": "adverse_event",
                "treatment.drug": ["Aspirin", "aspirin"],  # one of the two is expected once
                "effect": ["rash"],
                "severity": "High",
            }
        ]
    }
    assert counts(MicroF1(**EVENTS), EXPECTED, answered) == (2 * 1, 5 + 3)


def test_partial_match_by_hand():
    answered = {"events": [{"event": "adverse_event", "effect": ["rash"], "subject": ["boy"]}]}
    # "severe rash" and "rash": 2*1/(2+1); "3 year old boy" (the article does not count) and "boy"
    credit = 2 / 3 + 2 / 5
    assert counts(MicroF1(match="partial", **EVENTS), EXPECTED, answered) == pytest.approx(
        (2 * credit, 5 + 2)
    )


def test_partial_match_finds_the_best_pairing_where_the_greedy_one_is_worse():
    expected, answered = {"x": ["p q r", "p q"]}, {"x": ["p q r s", "p q r"]}
    greedy = 1.0 + 2 * 2 / (2 + 4)
    other = 2 * 3 / (3 + 4) + 2 * 2 / (2 + 3)
    assert counts(MicroF1(match="partial"), expected, answered)[0] / 2 == pytest.approx(
        max(greedy, other)
    )
    crossed = {"x": ["p q r s", "p q r s t u v w"]}, {"x": ["p q r s t u", "p q r s"]}
    assert counts(MicroF1(match="partial"), *crossed)[0] / 2 == pytest.approx(1 + 12 / 14)


def test_items_are_only_paired_within_their_place():
    for match in ("exact", "partial"):
        assert counts(MicroF1(match=match), {"drug": "aspirin"}, {"effect": "aspirin"}) == (0, 2)


def test_records_keep_what_belongs_together():
    expected = {"relations": [{"drug": "a", "effect": "x"}, {"drug": "b", "effect": "y"}]}
    crossed = {"relations": [{"drug": "a", "effect": "y"}, {"drug": "b", "effect": "x"}]}
    assert counts(MicroF1(list="relations"), expected, crossed) == (8, 8)
    assert counts(MicroF1(list="relations", unit="record"), expected, crossed) == (0, 4)
    other_order = {"relations": [dict(reversed(each.items())) for each in expected["relations"]]}
    assert counts(MicroF1(list="relations", unit="record"), expected, other_order) == (4, 4)


def test_flat_fields_and_what_says_nothing():
    expected = {"company": "ACME  Ltd", "total": 55.0, "date": None}
    answered = {"total": "55", "company": "acme ltd", "date": "", "address": []}
    assert counts(MicroF1(), expected, answered) == (4, 4)


def test_normalise_says_which_differences_count():
    pair = {"x": "The rash."}, {"x": "rash"}
    assert counts(MicroF1(normalise="words"), *pair) == (2, 2)
    assert counts(MicroF1(normalise="case"), *pair) == (0, 2)
    assert counts(MicroF1(normalise="none"), {"x": "A"}, {"x": "a"}) == (0, 2)


@pytest.mark.parametrize("output", [Output(None), Output(EXPECTED, error="timed out")])
def test_a_failed_answer_misses_everything(output):
    metric = MicroF1(**EVENTS)
    assert metric.score(Example("1", "", EXPECTED), output) == (("all", 0.0, 5.0),)
    assert metric.score(Example("1", "", {"events": []}), output) == (("all", 0.0, 1.0),)


def test_a_right_nothing_has_no_weight():
    assert counts(MicroF1(**EVENTS), {"events": []}, {"events": []}) == (0, 0)


@pytest.mark.parametrize("answered", ["text", 3, [], {"events": "none"}, {"events": [7]}, {}])
def test_an_answer_of_another_shape_is_only_wrong(answered):
    numerator, denominator = counts(MicroF1(**EVENTS), EXPECTED, answered)
    assert numerator == 0
    assert denominator >= 5


@settings(deadline=None, max_examples=50)
@given(answers, answers, st.sampled_from(["exact", "partial"]), st.randoms())
def test_order_does_not_matter_and_the_score_is_symmetric(one, other, match, random):
    metric = MicroF1(match=match)
    numerator, denominator = counts(metric, one, other)
    assert 0 <= numerator <= denominator + 1e-9
    assert counts(metric, other, one) == pytest.approx((numerator, denominator))
    shuffled = [
        dict(random.sample(list(each.items()), len(each)))
        | {key: random.sample(inside, len(inside)) for key, inside in each.items()}
        for each in random.sample(other, len(other))
    ]
    assert counts(metric, one, shuffled) == pytest.approx((numerator, denominator))


@settings(deadline=None, max_examples=50)
@given(answers, st.sampled_from(["exact", "partial"]))
def test_a_perfect_answer_is_full(answer, match):
    numerator, denominator = counts(MicroF1(match=match), answer, answer)
    assert numerator == pytest.approx(denominator)


@settings(deadline=None, max_examples=50)
@given(answers, answers)
def test_partial_credit_is_never_below_exact(one, other):
    exact, partial = (counts(MicroF1(match=match), one, other) for match in ("exact", "partial"))
    assert partial[0] >= exact[0] - 1e-9
    assert partial[1] == exact[1]


@pytest.mark.parametrize("options", [{"match": "fuzzy"}, {"normalise": "lower"}, {"unit": "event"}])
def test_unknown_options_list_the_known_ones(options):
    with pytest.raises(StepladderError) as raised:
        MicroF1(**options)
    assert "known:" in raised.value.hint


def test_partial_match_of_records_is_refused():
    with pytest.raises(StepladderError, match="whole records"):
        MicroF1(match="partial", unit="record")
