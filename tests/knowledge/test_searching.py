"""Retrievers over an index: by words, by meaning, both; the learned order; search as data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.errors import NotApplicable, StepladderError
from stepladder.knowledge import index as index_module
from stepladder.knowledge.documents import make_document
from stepladder.knowledge.fusion import Fused, fuse
from stepladder.knowledge.index import Index, IndexShape, build_index, open_index
from stepladder.knowledge.rerank import FEATURES, Ranker, features, fit_ranker
from stepladder.knowledge.retriever import Retriever
from stepladder.knowledge.searching import METHODS, IndexRetriever, candidates, open_retriever

RULES = {
    "leave": "You have 25 days of leave. Leave that is not taken is lost in March.",
    "pay": "Pay day is the last day of the month. Pay is by bank transfer.",
    "sick": "Call your lead when you are sick. From day three, a doctor's note is wanted.",
    "travel": "Trains are booked in second class. Hotels cost at most 120 a night.",
    "taken": "March is cold. Many days are lost. That is taken as it is, and not as leave.",
}


@pytest.fixture
def opened(tmp_path: Path, encoder: Any) -> Index:
    made = [make_document(id, "rules", "", text) for id, text in RULES.items()]
    return open_index(tmp_path, build_index(made, IndexShape(), tmp_path))


@pytest.mark.parametrize("method", METHODS)
def test_each_method_finds_what_answers(opened: Index, method: str) -> None:
    retriever = IndexRetriever(opened, method)
    assert isinstance(retriever, Retriever)
    found = retriever.search(["When is pay day?", "second class trains"], 2)
    assert [hits[0].passage.document for hits in found] == ["pay", "travel"]
    assert all(len(hits) <= 2 for hits in found)
    assert all(hits[0].score >= hits[-1].score for hits in found)
    assert retriever.search([], 3) == []


def test_fusing_retrievers_is_fusing_in_the_index(opened: Index) -> None:
    queries = ["leave lost in March", "a doctor's note for day three"]
    apart = Fused((IndexRetriever(opened, "words"), IndexRetriever(opened, "meaning")))
    assert apart.search(queries, 3) == IndexRetriever(opened, "hybrid").search(queries, 3)


@given(st.lists(st.lists(st.integers(0, 20), unique=True, max_size=10), max_size=4))
def test_fusion_keeps_what_any_ranking_has_and_the_order_of_one(rankings: list[list[int]]) -> None:
    found = fuse(rankings, 100)
    assert {key for key, _ in found} == {key for ranking in rankings for key in ranking}
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    if rankings:
        assert [key for key, _ in fuse(rankings[:1], 100)] == rankings[0]


def test_the_ranker_learns_which_feature_tells(opened: Index) -> None:
    """Right is the passage in which the query's words stand side by side."""
    queries = ["days are lost", "lost in March", "day of the month", "at most 120", "leave is lost"]
    gold = [[4], [0], [1], [3], [0]]
    found = candidates(opened, "hybrid", queries, 5)
    ranker = fit_ranker(opened, queries, found, gold)
    assert ranker.queries == 5
    hits = IndexRetriever(opened, "hybrid", ranker).search(queries, 1)
    names = list(RULES)
    assert [hit[0].passage.document for hit in hits] == [names[one[0]] for one in gold]
    again = Ranker.load(ranker.record())
    assert again == ranker


def test_what_is_beyond_the_depth_keeps_its_order_below(opened: Index) -> None:
    ranker = Ranker((1.0, 0, 0, 0, 0, 0), depth=2)
    found = IndexRetriever(opened, "meaning", ranker).search(["leave days are taken"], 5)[0]
    plain = IndexRetriever(opened, "meaning").search(["leave days are taken"], 5)[0]
    assert [hit.passage.id for hit in found[2:]] == [hit.passage.id for hit in plain[2:]]
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)


def test_stored_token_vectors_tell_what_fresh_ones_tell(
    tmp_path: Path, opened: Index, encoder: Any
) -> None:
    made = [make_document(id, "rules", "", text) for id, text in RULES.items()]
    without = open_index(tmp_path, build_index(made, IndexShape(tokens_up_to=0), tmp_path))
    queries, rows = ["leave days lost", "", "?"], [np.arange(5)] * 3
    stored, fresh = features(opened, queries, rows), features(without, queries, rows)
    for one, other in zip(stored, fresh, strict=True):
        assert one.shape == (5, len(FEATURES))
        np.testing.assert_allclose(one, other, atol=0.15)
    assert np.allclose(stored[2], 0)  # nothing to tell them apart by


def test_without_gold_nothing_is_learned(opened: Index) -> None:
    found = candidates(opened, "words", ["leave"], 5)
    with pytest.raises(NotApplicable, match="no train query"):
        fit_ranker(opened, ["leave"], found, [[]])


def test_a_search_is_data(tmp_path: Path, opened: Index) -> None:
    ranker = Ranker((0.5, 0.1, 0.2, 1.0, 0.3, 0.2), 5, 7)
    name = opened.folder.name
    found = open_retriever({"index": name, "rerank": ranker.record()}, tmp_path)
    assert found == IndexRetriever(open_index(tmp_path, name), "hybrid", ranker)
    for wrong in ({"retriever": "psychic"}, {"rerank": {"weights": {"words": 1}, "depth": 3}}):
        with pytest.raises(StepladderError) as caught:
            open_retriever({"index": name, **wrong}, tmp_path)
        assert caught.value.hint


def test_an_index_without_vectors_is_searched_by_words_alone(tmp_path: Path, encoder: Any) -> None:
    made = [make_document("a", "s", "", "one")]
    name = build_index(made, IndexShape(dense=False), tmp_path)
    with pytest.raises(StepladderError, match="no vectors"):
        IndexRetriever(index_module.open_index(tmp_path, name), "hybrid")


@pytest.mark.slow
def test_the_real_encoder_is_that_of_embeddings_and_finds_by_meaning(tmp_path: Path) -> None:
    from stepladder.embeddings import embed
    from stepladder.knowledge.encoder import encode, encode_tokens, token_spans

    texts = ["When do I get my money?", "", "x" * 5000, *RULES.values()]
    assert (encode(texts) * embed(texts)).sum(axis=1).min() > 0.999
    assert [len(one) for one in encode_tokens(texts)] == [len(one) for one in token_spans(texts)]
    made = [make_document(id, "rules", "", text) for id, text in RULES.items()]
    opened = open_index(tmp_path, build_index(made, IndexShape(), tmp_path))
    found = IndexRetriever(opened, "meaning").search(texts[:1], 1)
    assert found[0][0].passage.document == "pay"
