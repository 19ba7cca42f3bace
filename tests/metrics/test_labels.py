"""Accuracy and macro-F1: labels, how they are compared, and answers outside the set."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from stepladder.core import Example, Output
from stepladder.errors import StepladderError
from stepladder.metrics.accuracy import Accuracy
from stepladder.metrics.macro_f1 import MacroF1
from stepladder.stats import aggregate

LABELS = ("a", "b", "c")
answers = st.sampled_from([*LABELS, "nonsense"])
rows = st.lists(st.tuples(st.sampled_from(LABELS), answers), min_size=1, max_size=60)


def value(metric, pairs) -> float:
    """The set's score as core.py defines it: the mean over strata of summed ratios."""
    sums: dict[str, list[float]] = {}
    for index, (expected, output) in enumerate(pairs):
        for stratum, numerator, denominator in metric.score(
            Example(str(index), "", expected), output
        ):
            total = sums.setdefault(stratum, [0.0, 0.0])
            total[0] += numerator
            total[1] += denominator
    return sum(top / bottom for top, bottom in sums.values()) / len(sums)


@pytest.mark.parametrize(
    ("expected", "answered", "right"),
    [
        ("refund", "refund", True),
        ("refund", ' "Refund".\n', True),
        ("refund", "\u201crefund\u201d", True),
        ("refund", "**refund**", True),
        ("refund", "refunds", False),
        ("card_lost", "card lost", False),
        ("re fund", "re  fund", True),
        ("ﬁne", "fine", True),
        (True, "true", True),
        (3, "3", True),
        (3.0, 3, True),
        ("'", "'", True),
        ("refund", "", False),
        ("refund", None, False),
    ],
)
def test_accuracy_compares_labels_after_normalisation(expected, answered, right):
    assert Accuracy().score(Example("1", "", expected), Output(answered)) == (("all", right, 1.0),)


def test_accuracy_without_normalisation_wants_the_label_to_the_letter():
    example = Example("1", "", "refund")
    assert Accuracy(normalise=False).score(example, Output("Refund")) == (("all", 0.0, 1.0),)
    assert Accuracy(normalise=False).score(example, Output("refund")) == (("all", 1.0, 1.0),)


def test_an_answer_that_came_with_an_error_is_wrong_whatever_it_says():
    output = Output("refund", error="timed out")
    assert Accuracy().score(Example("1", "", "refund"), output) == (("all", 0.0, 1.0),)
    assert MacroF1(labels=("refund",)).score(Example("1", "", "refund"), output) == (
        ("refund", 0.0, 1.0),
    )


@settings(deadline=None, max_examples=50)
@given(rows)
def test_macro_f1_is_that_of_sklearn_over_the_labels_in_use(pairs):
    used = sorted({label for pair in pairs for label in pair if label in LABELS})
    expected, answered = zip(*pairs, strict=True)
    theirs = f1_score(expected, answered, labels=used, average="macro", zero_division=0.0)
    ours = value(MacroF1(LABELS), [(one, Output(other)) for one, other in pairs])
    assert ours == pytest.approx(theirs)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(LABELS), min_size=1))
def test_perfect_answers_score_one(labels):
    pairs = [(label, Output(label)) for label in labels]
    assert value(MacroF1(LABELS), pairs) == 1.0
    assert value(Accuracy(), pairs) == 1.0


def test_answers_outside_the_set_add_no_label_to_the_mean():
    pairs = [("a", Output("a")), ("b", Output("nonsense")), ("b", Output(None))]
    assert value(MacroF1(LABELS), pairs) == pytest.approx(0.5)


def test_macro_f1_without_labels_says_what_to_do():
    with pytest.raises(StepladderError, match=r"labels") as raised:
        MacroF1()
    assert "task.toml" in raised.value.hint


LISTS = st.lists(st.sampled_from("abc"), max_size=3, unique=True)


@given(st.lists(st.tuples(LISTS, LISTS), min_size=1, max_size=12))
@example(pairs=[([], []), ([], ["a"])])
def test_macro_f1_of_lists_of_labels_is_that_of_sklearn(pairs):
    used = sorted({label for pair in pairs for one in pair for label in one})
    counts = [
        MacroF1(("a", "b", "c")).score(Example("", "", want), Output(said)) for want, said in pairs
    ]
    if not used:
        assert aggregate(counts) == 0.0
        return
    # label by label: of one column sklearn would take the mean over "has it" and "has it not"
    wanted, told = zip(*pairs, strict=True)
    each = [
        f1_score([name in one for one in wanted], [name in one for one in told], zero_division=0.0)
        for name in used
    ]
    assert aggregate(counts) == pytest.approx(np.mean(each))


def test_macro_f1_of_lists_counts_what_is_outside_the_labels_and_what_failed():
    metric = MacroF1(("a", "b"))
    assert metric.score(Example("", "", ["a"]), Output(["a", "z"])) == (("a", 2.0, 2.0),)
    assert metric.score(Example("", "", ["a"]), Output("a")) == (("a", 2.0, 2.0),)
    assert metric.score(Example("", "", ["b", "a"]), Output(None)) == (
        ("a", 0.0, 1.0),
        ("b", 0.0, 1.0),
    )
    assert metric.score(Example("", "", []), Output(None)) == (("a", 0.0, 0.5), ("b", 0.0, 0.5))
    assert metric.score(Example("", "", []), Output([])) == (("a", 0.0, 0.0),)
