"""What stands in for a language model in tests: its tokens, probabilities and forms."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hosted_service.answering import answer
from hosted_service.asking import Asked, count, cut
from hosted_service.learner import log_shares
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

LABELS = ("card_lost", "card_arrival", "top_up", "refund")


def asking(text: str, **more: Any) -> Asked:
    return Asked("model", "", (("user", text),), **more)


@given(st.text())
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(cut(text)) == text
    assert count(text) == len(cut(text))


@given(st.dictionaries(st.text(), st.floats(-50, 50), min_size=1))
def test_shares_add_up_to_one(scores: dict[str, float]) -> None:
    assert sum(map(math.exp, log_shares(scores).values())) == pytest.approx(1.0)


@given(st.text())
def test_the_tokens_of_all_labels_share_all_of_the_probability(text: str) -> None:
    """None of these labels begins another, so their probabilities are products of the tokens'."""
    chances = []
    for seed in range(40):
        said = answer(
            asking(text, choices=LABELS, temperature=50.0, seed=seed, top_logprobs=5), closer=False
        )
        chances.append((said.text, math.exp(sum(token.logprob for token in said.tokens))))
    found = dict(chances)
    assert found.keys() <= set(LABELS)
    assert sum(found.values()) <= 1 + 1e-9
    assert len(set(chances)) == len(found)  # a label's probability does not depend on the draw
    if len(found) == len(LABELS):
        assert sum(found.values()) == pytest.approx(1.0)


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "integer"},
            {"type": "boolean"},
            {"type": ["string", "null"]},
            {"type": "string", "enum": ["a lost card", "a refund"]},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(lambda item: {"type": "array", "items": item, "minItems": 1}, inner),
        st.builds(
            lambda fields: {
                "type": "object",
                "properties": fields,
                "required": sorted(fields),
                "additionalProperties": False,
            },
            st.dictionaries(st.text("abcdefg_", min_size=1, max_size=8), inner, max_size=4),
        ),
    ),
    max_leaves=6,
)


@given(SCHEMAS, st.text())
def test_an_answer_fits_the_schema_it_was_asked_for(schema: dict[str, Any], text: str) -> None:
    said = answer(asking(text, schema=schema), closer=False)
    Draft202012Validator(schema).validate(json.loads(said.text))


@given(st.text(), st.integers(0, 12), st.integers(0, 30))
def test_no_more_is_said_and_thought_than_allowed(text: str, most: int, thinking: int) -> None:
    said = answer(asking(text, choices=LABELS, max_tokens=most, thinking=thinking), closer=True)
    assert said.said_tokens + said.thought_tokens <= most
    assert said.finish == ("stop" if said.text in LABELS else "length")


@given(st.text(max_size=30))
def test_a_stop_sequence_is_not_said(stop: str) -> None:
    said = answer(asking("a refund", choices=("top_up", "refund now"), stop=(stop,)), closer=False)
    assert not stop or stop not in said.text
    assert "refund now".startswith(said.text)
