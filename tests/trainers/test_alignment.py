"""What train's answers look like, and where their values stand in the texts."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Example, Json
from stepladder.errors import NotApplicable
from stepladder.solvers.answer_shape import Found, Node, Shape, put_together, shape_from_record
from stepladder.trainers.alignment import Alignment, align, places_of


def aligned(*rows: tuple[str, Json]) -> Alignment:
    return align([Example(str(n), text, answer) for n, (text, answer) in enumerate(rows)])


def gold(alignment: Alignment, at: int, text: str) -> Json:
    """The answer put together from the example's own spans, links and classes."""
    shape, row = alignment.shape, alignment.rows[at]
    nodes = [Node(tag, start, end, text[start:end], 1.0) for tag, start, end in row.spans]
    links: dict[tuple[int, int], list[float]] = {}
    for one, other, link in row.links:
        links.setdefault((one, other), [-1.0] * len(shape.links))[link] = 1.0
    groups: dict[int, list[list[int]]] = {}
    choices = {}
    for of, members, chosen in row.frames:
        choices[of, len(groups.setdefault(of, []))] = chosen
        groups[of].append(list(members))
    return put_together(shape, Found(nodes, links, groups, choices))


EVENTS = (
    (
        "A boy had a rash after aspirin.",
        {"events": [{"type": "harm", "drug": ["aspirin"], "effect": ["a rash"], "who": "A boy"}]},
    ),
    (
        "No fever after aspirin and codeine.",
        {"events": [{"type": "harm", "drug": ["aspirin", "codeine"], "effect": ["fever"],
                     "denied": True}]},
    ),
    ("Codeine helped.", {"events": [{"type": "help", "drug": ["Codeine"]}]}),
)  # fmt: skip
ORDERS = (
    (
        "roller blind broken",
        {
            "entities": [
                {"text": "roller blind", "type": "thing"},
                {"text": "blind", "type": "thing"},
                {"text": "broken", "type": "state"},
            ],
            "relations": [
                {"head": "broken", "relation": "of", "tail": "roller blind"},
                {"head": "roller blind", "relation": "is", "tail": "blind"},
            ],
        },
    ),
    (
        "replace pump",
        {
            "entities": [{"text": "pump", "type": "thing"}],
            "relations": [],
        },
    ),
)
CAUSES = (
    ("aspirin gave a rash", {"pairs": [{"drug": "aspirin", "harm": "rash"}]}),
    ("codeine gave fever and rash", {"pairs": [
        {"drug": "codeine", "harm": "fever"}, {"drug": "codeine", "harm": "rash"}]}),
)  # fmt: skip
FLAT = (
    ("Berlin to Rome on Monday", {"from": "Berlin", "to": "Rome", "day": "Monday"}),
    ("Oslo to Bonn, first class", {"from": "Oslo", "to": "Bonn", "class": 1}),
)


def same(one: Json, other: Json) -> bool:
    def key(value: Json) -> str:
        if isinstance(value, list):
            return str(sorted(map(key, value)))
        if isinstance(value, dict):
            return str(sorted((name, key(inside)) for name, inside in value.items()))
        return json.dumps(value)

    return key(one) == key(other)


@pytest.mark.parametrize("rows", [EVENTS, ORDERS, CAUSES, FLAT])
def test_answers_come_back_from_their_spans(rows) -> None:
    alignment = aligned(*rows)
    for at, (text, answer) in enumerate(rows):
        assert same(gold(alignment, at, text), answer), gold(alignment, at, text)


@pytest.mark.parametrize(
    ("rows", "styles"),
    [
        (EVENTS, ["frame"]),
        (ORDERS, ["single", "pair"]),
        (CAUSES, ["pair"]),
        (FLAT, ["frame"]),
    ],
)
def test_records_are_told_apart_by_their_fields(rows, styles) -> None:
    shape = aligned(*rows).shape
    assert [one.style for one in shape.records] == styles
    assert shape_from_record(json.loads(json.dumps(asdict(shape)))) == shape


def test_relations_are_between_spans_that_are_named_already() -> None:
    shape = aligned(*ORDERS).shape
    assert shape.records[1].source == 0
    assert all(tag.records == 0 for tag in shape.tags)
    assert aligned(*CAUSES).shape.records[0].source is None


def test_what_cannot_be_found_or_is_ambiguous_or_free_is_told() -> None:
    rows = [(f"{n}: rash, rash from aspirin", {"harm": "rash", "drug": "aspirin", "note": str(n)})
            for n in range(70)]  # fmt: skip
    rows[0] = (rows[0][0], {"harm": "fever", "drug": "aspirin", "note": "n 0"})
    rows = [(text.partition(": ")[2], answer) for text, answer in rows]
    told = " ".join(aligned(*rows).cautions)
    assert "1 of 140 values" in told
    assert "69 of 140 values of train stand in their text more than once" in told
    assert "'note' (70 values" in told


@given(st.text(max_size=30), st.text(min_size=1, max_size=5))
def test_places_say_what_was_asked_for(text: str, value: str) -> None:
    for start, end in places_of(value, text):
        assert text[start:end].casefold() == value.strip().casefold()


def test_places_are_whole_words_of_any_case() -> None:
    assert places_of("rash", "rash rashes, Rash") == [(0, 4)]
    assert places_of("RASH", "rash rashes") == [(0, 4)]
    assert places_of(" ", "a b") == []
    assert places_of("5 mg.", "took 5 mg. daily") == [(5, 10)]


def test_answers_without_spans_are_refused() -> None:
    for answer in ({"kind": "mail"}, ["a"], "text", {"a": {"b": "c"}}):
        with pytest.raises(NotApplicable):
            aligned(("hello", answer), ("world", answer))


def test_an_answer_that_found_nothing_has_the_shape_all_the_same() -> None:
    def empty(shape: Shape) -> Json:
        groups = {at: [[]] for at, one in enumerate(shape.records) if one.always}
        return put_together(shape, Found([], {}, groups, dict.fromkeys(((0, 0),), (0,) * 9)))

    assert empty(aligned(*ORDERS).shape) == {"entities": [], "relations": []}
