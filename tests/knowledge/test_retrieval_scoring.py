"""Measures of retrieval against figures worked out by hand."""

import math

import pytest

from stepladder.core import Example
from stepladder.errors import StepladderError, TaskError
from stepladder.knowledge.passages import Passage
from stepladder.knowledge.retriever import Hit
from stepladder.knowledge.scoring import gold_of, retrieval_interval, retrieval_rows, scale_of


def hits(*documents: str, text: str = "") -> list[Hit]:
    passages = [Passage(f"{d}#{n}", d, "", "", text, 0, 0) for n, d in enumerate(documents)]
    return [Hit(passage, 1.0) for passage in passages]


def example(id: str, *gold: str, expected: object = "x") -> Example:
    return Example(id, "q", expected, None, {"gold_docs": list(gold)})


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("hit@1", 0.0),
        ("hit@2", 1.0),
        ("recall@2", 0.5),
        ("recall@3", 1.0),
        ("mrr@10", 0.5),
        ("ndcg@10", (1 / math.log2(3) + 1 / math.log2(4)) / (1 + 1 / math.log2(3))),
        ("ndcg@1", 0.0),
    ],
)
def test_measures_are_over_documents_each_at_its_best_passage(measure: str, value: float) -> None:
    found = hits("a", "a", "b", "a", "c")  # documents: a, b, c
    (row,) = retrieval_rows(measure, [example("1", "b", "c")], [found])
    assert row.counts[0][1] == pytest.approx(value)


def test_an_answer_is_looked_for_as_words() -> None:
    found = hits("a", text="He paid 25 Dollars, at once.")
    cases = {"25 dollars": 1.0, "5 dollars": 0.0, "25  DOLLARS.": 1.0}
    for expected, value in cases.items():
        (row,) = retrieval_rows("answer@1", [example("1", expected=expected)], [found])
        assert row.counts[0][1] == value


def test_examples_that_cannot_be_judged_are_left_out_and_none_is_an_error() -> None:
    given = [example("1", "a"), example("2")]
    rows = retrieval_rows("hit@1", given, [hits("a"), hits("a")])
    assert [row.id for row in rows] == ["1"]
    with pytest.raises(TaskError, match="no example can be judged"):
        retrieval_rows("hit@1", given[1:], [hits("a")])
    with pytest.raises(TaskError, match="no example can be judged"):
        retrieval_rows("answer@1", [example("1", expected={"a": 1})], [hits("a")])


def test_gold_is_an_id_or_ids_wherever_the_metadata_has_them() -> None:
    assert gold_of(Example("1", "q", "x", None, {"meta": {"doc": "a"}}), "meta.doc") == {"a"}
    assert gold_of(Example("1", "q", "x")) == frozenset()
    with pytest.raises(TaskError, match="gold_docs"):
        gold_of(Example("1", "q", "x", None, {"gold_docs": 3}))


def test_intervals_are_those_of_the_scale() -> None:
    rows = retrieval_rows(
        "hit@1",
        [example(str(n), "a") for n in range(20)],
        [hits("a" if n < 15 else "b") for n in range(20)],
    )
    found = retrieval_interval("hit@1", rows)
    assert found.score == 0.75
    assert found.low == pytest.approx(0.509, abs=0.001)  # Clopper-Pearson, 15 of 20
    assert found.high == pytest.approx(0.913, abs=0.001)
    assert (scale_of("hit@1"), scale_of("ndcg@10")) == ("binary", "bounded")


@pytest.mark.parametrize("measure", ["precision@3", "hit", "hit@0", "hit@x"])
def test_an_unknown_measure_says_which_are_known(measure: str) -> None:
    with pytest.raises(StepladderError, match="no measure") as caught:
        scale_of(measure)
    assert "recall@k" in caught.value.hint
