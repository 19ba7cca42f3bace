"""Cutting: nothing is lost, nothing is too long, sentences stay whole where they can."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.errors import StepladderError
from stepladder.knowledge.documents import make_document
from stepladder.knowledge.passages import check_sizes, cut

TOKEN = re.compile(r"\w+|[^\w\s]")
TEXTS = st.text(st.sampled_from('ab .!?\n\u3002(")é 12'), max_size=120)


def of(text: str, size: int, overlap: int = 0) -> list[str]:
    return [p.text for p in cut(make_document("d", "s", "t", text), size, overlap)]


@given(TEXTS, st.integers(1, 12), st.integers(0, 11))
def test_every_word_is_in_a_passage_and_none_is_too_long(text: str, size: int, more: int) -> None:
    overlap = min(more, size - 1)
    passages = cut(make_document("d", "s", "t", text), size, overlap)
    covered = set()
    for number, passage in enumerate(passages):
        assert passage.id == f"d#{number}"
        assert passage.text == text[passage.start : passage.end]
        assert passage.text == passage.text.strip() != ""
        assert len(TOKEN.findall(passage.text)) <= size
        covered.update(range(passage.start, passage.end))
    assert all(at in covered for at, character in enumerate(text) if not character.isspace())
    for one, following in pairwise(passages):
        assert one.start < following.start
        assert one.end < following.end or one.end == following.end == len(text.rstrip())
        shared = text[following.start : one.end]
        assert len(TOKEN.findall(shared)) <= overlap


def test_sentences_stay_whole_and_short_forms_end_none() -> None:
    text = "Dr. Lee came, e.g. late. He saw Fig. 2 of J. Doe et al. there. It rained!"
    assert of(text, 12) == [
        "Dr. Lee came, e.g. late.",
        "He saw Fig. 2 of J. Doe et al.",
        "there. It rained!",
    ]
    assert of("One two. Three four. Five six.", 6) == ["One two. Three four.", "Five six."]
    assert of("One two. Three four. Five six.", 6, 3) == [
        "One two. Three four.",
        "Three four. Five six.",
    ]
    assert of("一二。三四。", 2) == ["一二。", "三四。"]
    assert of("a title\n\nits text goes on", 4) == ["a title", "its text goes on"]


def test_a_short_document_is_one_passage() -> None:
    assert of("  One. Two.  ", 100, 50) == ["One. Two."]
    assert of(" \n ", 5) == []


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (5, 5), (5, -1)])
def test_sizes_that_cannot_be(size: int, overlap: int) -> None:
    with pytest.raises(StepladderError, match="cannot have size"):
        check_sizes(size, overlap)
