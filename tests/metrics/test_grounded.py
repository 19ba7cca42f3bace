"""Groundedness and abstention: what an answer rests on, and when there should be none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Citation, Example, Output
from stepladder.errors import StepladderError
from stepladder.metrics.abstention import Abstention, is_absent
from stepladder.metrics.groundedness import Groundedness, support
from stepladder.stats import aggregate

LEAVE = Citation("leave#0", "leave.md", "Everybody has 25 days of leave a year.", "Leave")
PAY = Citation("pay#0", "pay.md", "Pay day is the last day of the month.", "Pay day")
ASKED = Example("1", "How many days?", "25 days")
ABSENT = "not in the documents"
PLAIN = Groundedness()


def score(value, metric=PLAIN, *, citations=(LEAVE,), context=(LEAVE, PAY), error=None):
    output = Output(value, str(value), error=error, citations=citations, context=context)
    return aggregate([metric.score(ASKED, output)])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("25 days", 1.0),
        ("25 days of leave [1].", 1.0),
        ("You get 25 days of leave", 4 / 6),  # "you get" stands nowhere
        ("25 days of leave. Moreover cheese is nice.", 4 / 8),
        ("leave of days", 0.0),  # the words, in another order
        ("26 days of leave a year", 0.0),  # a number that no passage has
        ("25 days of leave a year. 26 days of sun.", 5 / 9),  # only its own sentence falls
        ("last day of the month", 0.0),  # from a passage that was shown and is not cited
        ("Leave", 1.0),  # titles are shown too
        (ABSENT.capitalize() + ".", 1.0),
        ("!?", 0.0),
        ({"days": "25 days", "when": "last day of the month"}, 2 / 6),
        (["25 days", None], 1.0),
        (25.0, 1.0),
    ],
)
def test_words_count_where_a_cited_passage_says_them_in_their_order(value, expected):
    assert score(value) == pytest.approx(expected)


def test_nothing_is_grounded_in_nothing():
    assert score("25 days", citations=()) == 0.0
    assert score("25 days", error="timed out") == 0.0
    assert score(None) == 0.0


def test_against_shown_takes_every_passage_before_the_model():
    shown = Groundedness(against="shown")
    assert score("last day of the month", shown) == 1.0
    assert score("25 days", shown, citations=()) == 1.0


def test_words_alone_can_be_asked_for():
    alone = Groundedness(match="words")
    assert score("leave days of", alone) == 1.0
    assert score("leave leave leave", alone) == pytest.approx(1 / 3 + 1 / 3)  # title and text
    assert score("26 leave days", alone) == 0.0
    assert score("leave or cheese", alone) == pytest.approx(1 / 3)


@pytest.mark.parametrize("wrong", [{"match": "soft"}, {"against": "gold"}, {"run": 0}])
def test_unknown_options_are_refused(wrong):
    with pytest.raises(StepladderError):
        Groundedness(**wrong)


texts = st.lists(
    st.sampled_from(["tea", "sugar", "25", "3", "milk", "day", "Ümläut", "茶", "."]), max_size=12
).map(" ".join)


@given(
    answer=texts,
    passages=st.lists(texts, max_size=3),
    more=texts,
    match=st.sampled_from(("runs", "words")),
)
def test_support_is_a_share_that_more_passages_never_lower(answer, passages, more, match):
    before = support(answer, passages, match=match)
    assert 0.0 <= before <= support(answer, [*passages, more], match=match) <= 1.0


@given(before=texts, answer=texts, after=texts)
def test_what_stands_in_a_passage_is_supported_whole(before, answer, after):
    expected = float(any(character.isalnum() for character in answer))
    assert support(answer, [f"{before} {answer} {after}"]) == expected


# --- abstention -----------------------------------------------------------------------------------


def said(pairs, metric):
    scored = [
        metric.score(Example(str(at), "x", expected), Output(value, str(value)))
        for at, (expected, value) in enumerate(pairs)
    ]
    return aggregate(scored)


PAIRS = [
    (ABSENT, "Not in the documents."),
    (ABSENT, "25 days"),  # answered though absent
    ("25 days", ABSENT),  # refused though present
    ("25 days", "not in the documents"),
    ("25 days", "30 days"),  # wrong, and no matter of abstention
    ([ABSENT, "none"], ABSENT),
]


def test_precision_recall_and_f1_of_saying_that_it_is_not_there():
    assert said(PAIRS, Abstention(of="precision")) == pytest.approx(2 / 4)
    assert said(PAIRS, Abstention(of="recall")) == pytest.approx(2 / 3)
    assert said(PAIRS, Abstention()) == pytest.approx(2 * 2 / (3 + 4))


def test_each_side_has_a_name_of_its_own():
    names = [Abstention(of=side).name for side in ("f1", "precision", "recall")]
    assert names == ["abstention", "abstention_precision", "abstention_recall"]
    with pytest.raises(StepladderError):
        Abstention(of="accuracy")


def test_the_words_can_be_others():
    assert said([("unknown", "Unknown")], Abstention(absent="unknown")) == 1.0
    assert is_absent("NOT in documents!")
    assert not is_absent("it is not in the documents")
    assert not is_absent({"answer": ABSENT})
