"""Metrics over text: against hand-worked values and against the packages they stand on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import Example, Output
from stepladder.errors import MissingExtra, StepladderError
from stepladder.metrics.chrf import ChrF
from stepladder.metrics.exact_match import ExactMatch
from stepladder.metrics.json_validity import JsonValidity
from stepladder.metrics.rouge import Rouge
from stepladder.metrics.token_f1 import TokenF1

sentences = st.lists(
    st.sampled_from(["rain", "falls", "on", "the", "hill", "and", "Ärzte,", "3"]), max_size=8
).map(" ".join)


def score(metric, expected, answered, error=None) -> float:
    counts = metric.score(Example("1", "", expected), Output(answered, error=error))
    ((stratum, numerator, denominator),) = counts
    assert (stratum, denominator) == ("all", 1.0)
    return numerator


@pytest.mark.parametrize(
    ("expected", "answered", "f1"),
    [
        ("the cat sat", "cat sat", 1.0),
        ("the cat sat", "A cat, sat!", 1.0),
        ("cat sat down", "cat", 2 * 1 / (3 + 1)),
        ("cat cat", "cat", 2 * 1 / (2 + 1)),
        ("cat", "dog", 0.0),
        ("cat", "", 0.0),
        ("", "", 1.0),
        ("x-ray", "x ray", 1.0),
        ("?", "!", 0.0),
        ("?", "?", 1.0),
        (["yes", "cat sat"], "cat", 2 / 3),
        (42, "42", 1.0),
        ([], "cat", 0.0),
    ],
)
def test_token_f1_by_hand(expected, answered, f1):
    assert score(TokenF1(), expected, answered) == pytest.approx(f1)


@settings(deadline=None, max_examples=50)
@given(sentences, sentences)
def test_token_f1_is_symmetric(one, other):
    assert score(TokenF1(), one, other) == score(TokenF1(), other, one)


@pytest.mark.parametrize(
    ("expected", "answered", "right"),
    [
        ("Paris", " paris ", True),
        ("Paris", "Paris.", False),
        (1, 1.0, True),
        (1, "1", False),
        (1, True, False),
        ({"a": 1, "b": [1, 2]}, {"b": [1, 2.0], "a": 1}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": "X"}, {"a": "x"}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ("Paris", {"city": "Paris"}, False),
        ('{"a": 1}', {"a": 1}, False),
    ],
)
def test_exact_match_by_structure(expected, answered, right):
    assert score(ExactMatch(), expected, answered) == right


def test_exact_match_options():
    assert score(ExactMatch(any_order=True), [{"a": [1, 2]}, "X"], ["x", {"a": [2, 1]}]) == 1
    assert score(ExactMatch(any_order=True), [1, 1, 2], [1, 2, 2]) == 0
    assert score(ExactMatch(normalise="words"), "The Paris.", "paris") == 1
    assert score(ExactMatch(normalise="none"), "Paris", "paris") == 0
    assert score(ExactMatch(any_of=True), ["Paris", "Lutetia"], "lutetia") == 1
    assert score(ExactMatch(any_of=True), ["Paris", "Lutetia"], "Rome") == 0
    with pytest.raises(StepladderError, match="normalise"):
        ExactMatch(normalise="all")


@pytest.mark.parametrize("variant", ["rouge1", "rouge2", "rougeL", "rougeLsum"])
@settings(deadline=None, max_examples=50)
@given(expected=sentences, answered=sentences)
def test_rouge_is_that_of_the_package(variant, expected, answered):
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer([variant], use_stemmer=True).score(expected, answered)[variant].fmeasure
    assert score(Rouge(variant), expected, answered) == pytest.approx(theirs)


@pytest.mark.parametrize("word_order", [0, 2])
@settings(deadline=None, max_examples=50)
@given(expected=sentences, answered=sentences)
def test_chrf_is_that_of_the_package(word_order, expected, answered):
    from sacrebleu.metrics import CHRF

    theirs = CHRF(word_order=word_order).sentence_score(answered, [expected]).score / 100
    assert score(ChrF(word_order), expected, answered) == pytest.approx(theirs)


def test_other_scripts_need_the_unicode_tokens():
    assert score(Rouge(), "лихорадка и кашель", "лихорадка и кашель") == 0.0
    assert score(Rouge(tokens="unicode"), "лихорадка и кашель", "Лихорадка и кашель") == 1.0


def test_several_references_are_alternatives():
    texts = ["rain falls", "snow melts slowly"]
    assert score(Rouge("rouge1"), texts, "snow melts slowly") == pytest.approx(1.0)
    assert score(ChrF(), texts, "snow melts slowly") == pytest.approx(1.0)


@pytest.mark.parametrize("metric", [Rouge(), Rouge(tokens="unicode"), ChrF(), TokenF1()])
def test_a_perfect_text_scores_one_and_a_failed_one_nothing(metric):
    text = "Rain falls on the hill."
    assert score(metric, text, text) == pytest.approx(1.0)
    assert score(metric, text, None) == 0.0
    assert score(metric, text, text, error="timed out") == 0.0


def test_unknown_variants_list_the_known_ones():
    with pytest.raises(StepladderError, match="rouge9") as raised:
        Rouge("rouge9")
    assert "rougeL" in raised.value.hint
    with pytest.raises(StepladderError, match="tokens"):
        Rouge(tokens="chinese")


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    from stepladder.metrics import rouge

    monkeypatch.setitem(__import__("sys").modules, "rouge_score.rouge_scorer", None)
    rouge._scorer.cache_clear()
    with pytest.raises(MissingExtra, match="rouge_score") as raised:
        score(Rouge(), "a b", "a b")
    rouge._scorer.cache_clear()
    assert "text-metrics" in raised.value.hint


SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("answered", "any_json", "fits"),
    [
        ({"a": 1}, 1, 1),
        ({"a": "1"}, 1, 0),
        ({}, 1, 0),
        ('{"a": 1}', 1, 1),
        ("{'a': 1}", 0, 0),
        ('{"a": NaN}', 0, 0),
        ("plain words", 0, 0),
        (None, 0, 0),
    ],
)
def test_json_validity(answered, any_json, fits):
    assert score(JsonValidity(), "whatever", answered) == any_json
    assert score(JsonValidity(SCHEMA), "whatever", answered) == fits


def test_a_broken_schema_is_refused_at_once_with_its_place():
    with pytest.raises(StepladderError, match=r"\$\.properties\.a\.type"):
        JsonValidity({"properties": {"a": {"type": "integre"}}})
