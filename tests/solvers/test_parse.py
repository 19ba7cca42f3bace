"""What may dress an answer and still be read, and what must not be guessed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.solvers.parse import Parsed, parse_json, parse_label, parse_text

LABELS = ("card_arrival", "card_lost", "card", "reverted_card_payment?", "Refund")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
containers = st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=4), values)


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("card_arrival", "card_arrival"),
        ("  card_arrival\n", "card_arrival"),
        ("Card arrival.", "card_arrival"),
        ('Label: "card_lost"', "card_lost"),
        ("The answer is: **card_lost**", "card_lost"),
        ("card_lost\nBecause the customer says so.", "card_lost"),
        ("This is about card_lost, I believe", "card_lost"),
        ("reverted card payment", "reverted_card_payment?"),
        ("REFUND", "Refund"),
        ("It says card, nothing else", "card"),
    ],
)
def test_a_dressed_label_is_read(said: str, label: str) -> None:
    assert parse_label(said, LABELS) == Parsed(label)


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("I cannot tell", "unknown_label"),
        ("discard", "unknown_label"),
        ("card_lost or card_arrival", "ambiguous_label"),
    ],
)
def test_no_label_is_guessed(said: str, failure: str) -> None:
    assert parse_label(said, LABELS) == Parsed(None, failure)


def test_labels_told_apart_by_punctuation_only_need_their_exact_spelling() -> None:
    assert parse_label("C++", ("C", "C++", "C#")).value == "C++"
    assert parse_label("c", ("C", "C++", "C#")).value is None
    assert parse_label("+", ("+", "-")).value == "+"


def test_without_labels_the_text_is_the_label() -> None:
    assert parse_label(" anything ", ()).value == "anything"


@given(st.lists(st.text(min_size=1).map(str.strip).filter(bool), min_size=1, unique=True))
def test_every_label_is_read_back(labels: list[str]) -> None:
    assert [parse_label(label, labels).value for label in labels] == labels


@given(containers)
def test_json_is_read_back_bare_fenced_and_in_prose(value: object) -> None:
    text = json.dumps(value)
    for said in (text, f"```json\n{text}\n```", f"Sure, here it is: {text} Anything else?"):
        assert parse_json(said) == Parsed(value)


@given(st.dictionaries(st.text(max_size=4), values, min_size=1), st.data())
def test_cut_off_json_is_a_failure_wherever_it_is_cut(value: object, data: st.DataObject) -> None:
    text = json.dumps(value)
    cut = data.draw(st.integers(1, len(text) - 1))
    assert parse_json(text[:cut]) == Parsed(None, "cut_off_json")


def test_a_complete_part_of_a_cut_off_answer_is_not_taken_for_it() -> None:
    assert parse_json('{"events": [{"event": "a"}, {"ev').failure == "cut_off_json"


def test_prose_in_brackets_does_not_hide_the_answer() -> None:
    assert parse_json('As [requested] {see "a}"} : {"a": 1}').value == {"a": 1}
    assert parse_json('{see "x}{" and "\\"}{" } {"a": 1}').value == {"a": 1}


def test_a_repeated_answer_counts_once() -> None:
    assert parse_json('{"a": 1}\n{"a": 2}').value == {"a": 1}


@pytest.mark.parametrize("said", ["no json at all", '"text"', "12", '{"a": NaN}', "{'a': 1}"])
def test_what_is_not_json_is_said_to_be_not_json(said: str) -> None:
    assert parse_json(said) == Parsed(None, "not_json")


def test_deep_nesting_is_a_failure_not_a_crash() -> None:
    assert parse_json("[" * 100_000).value is None


def test_text_is_trimmed_and_nothing_is_a_failure() -> None:
    assert parse_text(" a b \n").value == "a b"
    assert parse_text(" \n").failure == "empty"
