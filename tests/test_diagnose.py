"""Kinds of failure, mix-ups and the advice that follows from them."""

from dataclasses import replace

import pytest

from stepladder.core import (
    Citation,
    DataSource,
    Diagnosis,
    Example,
    Message,
    MetricSpec,
    Output,
    Part,
    Row,
    Target,
    Task,
    Usage,
)
from stepladder.diagnose import KINDS, advice, diagnose, kind_of_failure
from stepladder.metrics import load_metric

SENTENCE = "A boy got a severe rash after aspirin and rifampin."
EVENT = {"events": [{"event": "harm", "drug": ["aspirin"], "effect": ["severe rash"]}]}
SCHEMA = {"type": "object", "required": ["events"]}


def task(kind, metric="accuracy", *, labels=(), schema=None, score=1.0, **options) -> Task:
    return Task(
        "t", kind, "Do it.", Target(score), MetricSpec(metric, options), DataSource("x.csv"),
        labels=labels, schema=schema, max_output_tokens=50,
    )  # fmt: skip


INTENT = task("classification", labels=("refund", "card lost"))
EVENTS = task("extraction", "micro_f1", list="events", type_key="event", ignore=["negated"])
NOTE = task("generation", "token_f1", score=0.5)
QUESTION = task("qa", "token_f1", score=0.9)
CALL = task("calls", "exact_match")


def kind(task, expected, output, given=SENTENCE):
    example = Example("1", given, expected)
    output = output if isinstance(output, Output) else Output(output, text=str(output))
    found = kind_of_failure(task, example, output, load_metric(task).score(example, output))
    assert found is None or found in KINDS
    return found


def event(**fields):
    return {"events": [{"event": "harm", **fields}]}


def ran(**states):
    """A record of calls, by name with what became of each."""
    return {"calls": [{"name": name, "state": state} for name, state in states.items()]}


@pytest.mark.parametrize(
    ("task", "expected", "answered", "found"),
    [
        (INTENT, "refund", "Refund.", None),
        (INTENT, "refund", "card lost", "wrong label"),
        (INTENT, "refund", "greeting", "label outside the set"),
        (INTENT, "refund", Output(None, text="I would say greeting"), "label outside the set"),
        (INTENT, "refund", Output(None, text="  "), "empty"),
        (INTENT, "refund", "", "empty"),
        (INTENT, "refund", Output("refund", error="timed out"), "call failed"),
        (EVENTS, EVENT, EVENT, None),
        (EVENTS, {"events": []}, {"events": []}, None),
        (EVENTS, EVENT, Output(None, text="Sure! Here"), "did not parse"),
        (EVENTS, EVENT, event(drug=["aspirin"]), "missing items"),
        (EVENTS, EVENT, {"events": []}, "missing items"),
        (
            EVENTS,
            EVENT,
            event(drug=["aspirin", "rifampin"], effect=["severe rash"]),
            "extra items",
        ),
        (EVENTS, EVENT, event(drug=["aspirin"], effect=["rash"]), "inexact items"),
        (EVENTS, EVENT, event(drug=["aspirin"], effect=["skin rash"]), "text not in the source"),
        (EVENTS, EVENT, event(effect=["aspirin", "severe rash"]), "misplaced items"),
        (EVENTS, EVENT, event(drug=["rifampin"], effect=["severe rash"]), "wrong items"),
        (EVENTS, EVENT, event(drug=["rifampin", "boy"], effect=["severe rash"]), "extra items"),
        (NOTE, "fever and cough", "cough", None),
        (NOTE, "fever and cough", "headache", "wrong answer"),
        (NOTE, "fever and cough", "лихорадка", "other script"),
        (NOTE, "fever and cough", "well " * 30, "too long"),
        (NOTE, "fever", Output("well", usage=(Usage("m", 5, 50),)), "cut off"),
        (QUESTION, "aspirin", "rifampin", "wrong answer"),
        (QUESTION, "aspirin", "ibuprofen", "text not in the source"),
        (QUESTION, ["aspirin", "rifampin"], "rifampin", None),
        (CALL, {"name": "f", "arguments": {"x": 1}}, {"name": "g"}, "wrong function"),
        (CALL, [{"name": "f", "arguments": {"x": 1}}], [{"name": "f"}], "wrong argument"),
        (CALL, [{"name": "f"}], [], "no call"),
        (CALL, [{"name": "f"}], ran(), "no call"),
        (CALL, [], ran(f="done"), "needless call"),
        (CALL, [{"name": "f"}], ran(g="done"), "wrong function"),
        (CALL, [{"name": "f", "arguments": {"x": 1}}], ran(f="done"), "wrong argument"),
        (CALL, [{"name": "f", "arguments": {"x": 1}}], ran(f="recorded"), "wrong argument"),
        (CALL, [{"name": "f"}], ran(f="refused"), "call not run"),
        (CALL, [{"name": "f"}], "It is booked.", "wrong answer"),
    ],
)
def test_each_answer_has_the_kind_of_what_must_be_mended_first(task, expected, answered, found):
    assert kind(task, expected, answered) == found


def test_cut_off_json_is_told_from_other_text_that_does_not_parse():
    cut = Output(None, text='{"events": [', usage=(Usage("m", 5, 50),))
    whole = Output(None, text="none", usage=(Usage("m", 5, 49),))
    assert kind(EVENTS, EVENT, cut) == "cut off"
    assert kind(EVENTS, EVENT, whole) == "did not parse"


def test_json_of_another_shape_is_told_before_its_content():
    shaped = task("extraction", "micro_f1", schema=SCHEMA, list="events")
    assert kind(shaped, EVENT, {"event": "harm"}) == "does not fit the schema"
    assert kind(shaped, EVENT, {"events": []}) == "missing items"


def test_the_source_is_all_text_of_the_input():
    fields = {"title": "Rash", "body": SENTENCE}
    turns = (Message("user", (Part("text", "Aspirin, severe rash"),)), Message("user", "and more"))
    for given in (fields, turns):
        wrong = event(drug=["aspirin"], effect=["and"])
        assert kind(EVENTS, EVENT, wrong, given) == "wrong items"
        invented = event(drug=["aspirin"], effect=["coma"])
        assert kind(EVENTS, EVENT, invented, given) == "text not in the source"


def test_paraphrased_answers_are_not_blamed_for_not_copying():
    expected = event(drug=["acetylsalicylic acid"])
    assert kind(EVENTS, expected, event(drug=["ASA"])) == "wrong items"


def test_diagnosis_counts_kinds_and_mix_ups_commonest_first():
    failures = ["wrong label", None, "empty", "wrong label"]
    rows = [Row(str(i), (), failure=failure) for i, failure in enumerate(failures)]
    pairs = [("b", "a"), ("a", "c"), ("a", "b"), ("a", "b"), ("a", "A."), ("a", None)]
    assert diagnose(rows, pairs) == Diagnosis(
        {"wrong label": 2, "empty": 1}, (("a", "b", 2), ("a", "c", 1), ("b", "a", 1)), 4
    )
    assert diagnose([]) == Diagnosis()


def test_advice_names_a_step_for_every_kind():
    for name in KINDS:
        told = advice(Diagnosis({name: 10}, n=20), INTENT)
        assert told
        known = ("", "prompt", "few_shot", "retrieval", "fine_tune")
        assert all(step in known for step, _ in told)
        assert all("10 of 10 failures" in sentence for _, sentence in told)


def test_advice_leaves_out_what_is_rare_and_starts_with_what_is_common():
    told = advice(Diagnosis({"did not parse": 60, "missing items": 36, "empty": 4}, n=200), EVENTS)
    assert [step for step, _ in told] == ["prompt", "few_shot", "fine_tune"]
    assert told[0][1].startswith("60 of 100 failures: no answer could be read")
    assert advice(Diagnosis(n=10), EVENTS) == ()


def test_advice_speaks_of_this_task():
    form = Diagnosis({"did not parse": 3}, n=3)
    shaped = task("extraction", "micro_f1", schema=SCHEMA)
    told = [advice(form, each)[0][1] for each in (INTENT, shaped, EVENTS)]
    assert [text.partition("constrain the answer to ")[2] for text in told] == [
        "the 2 labels",
        "the schema",
        "a JSON schema, which the task lacks",
    ]
    assert "above 50" in advice(Diagnosis({"cut off": 3}, n=3), NOTE)[0][1]


def test_consistent_mix_ups_are_named_and_scattered_ones_are_not():
    often = Diagnosis({"wrong label": 20}, (("refund", "card lost", 9),), 100)
    assert "'refund' as 'card lost' (9)" in advice(often, INTENT)[0][1]
    seldom = Diagnosis({"wrong label": 40}, (("refund", "card lost", 2),), 100)
    assert all("card lost" not in sentence for _, sentence in advice(seldom, INTENT))


# --- answers from documents -----------------------------------------------------------------------

PAY = Citation("handbook#0", "handbook.md", "Pay day is the last day of the month.", "Pay")
LEAVE = Citation("leave#0", "leave.md", "Everybody has 25 days of leave a year.", "Leave")
ABSENT = "not in the documents"


def said(value, *, context=(PAY, LEAVE), citations=()):
    return Output(value, str(value), citations=citations, context=context)


@pytest.mark.parametrize(
    ("expected", "output", "found"),
    [
        ("25 days", said("25 days"), None),
        (ABSENT, said("Not in the documents."), None),
        (ABSENT, said("25 days"), "answered though absent"),
        (ABSENT, Output("25 days", "25 days"), "answered though absent"),
        (["30 days", ABSENT], said("25 days"), "answered though absent"),
        ("25 days", said("30 days", context=(PAY,)), "answer not in retrieved"),
        ("25 days", said(ABSENT, context=(PAY,)), "answer not in retrieved"),
        ("25 days", said(ABSENT), "refused though present"),
        ("25 days", said("the last day", citations=(PAY,)), "another passage cited"),
        ("25 days", said("a year of leave", citations=(LEAVE,)), "misread"),
        ("25 days", said("month"), "misread"),
        ("25 days", said(""), "empty"),
        ("25 days", Output("a year", "a year"), "wrong answer"),
    ],
)
def test_an_answer_from_documents_fails_where_the_first_link_breaks(expected, output, found):
    assert kind(QUESTION, expected, output, given="How long?") == found


def test_a_gold_document_has_the_answer_in_whatever_words():
    gold = Example("1", "How long?", "five weeks", metadata={"gold_docs": ["leave"]})
    for context, found in (((PAY, LEAVE), "misread"), ((PAY,), "answer not in retrieved")):
        output = said("a month", context=context)
        counts = load_metric(QUESTION).score(gold, output)
        assert kind_of_failure(QUESTION, gold, output, counts) == found


def test_a_label_need_not_stand_in_a_passage():
    assert kind(INTENT, "refund", said("card lost")) == "wrong label"
    gold = Example("1", "Help", "refund", metadata={"gold_docs": "leave"})
    output = said("card lost", context=(PAY,))
    counts = load_metric(INTENT).score(gold, output)
    assert kind_of_failure(INTENT, gold, output, counts) == "answer not in retrieved"


def test_the_task_says_by_which_words_documents_are_silent():
    silent = replace(QUESTION, steps={"retrieval": {"absent": "No idea"}})
    assert kind(silent, "no idea", said(ABSENT)) == "answered though absent"
    assert kind(silent, "25 days", said("No idea!")) == "refused though present"


def test_what_was_not_retrieved_points_to_retrieval_and_what_was_misread_does_not():
    not_found = advice(Diagnosis({"answer not in retrieved": 9}, n=9), QUESTION)
    misread = advice(Diagnosis({"misread": 9}, n=9), QUESTION)
    assert {step for step, _ in not_found} == {"retrieval"}
    assert "retrieval" not in {step for step, _ in misread}
