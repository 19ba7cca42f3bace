"""Solvers without a model: fitted on train, stored without pickle, the same each time."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import Example, Solver, Workshop
from stepladder.errors import NotApplicable, StepladderError
from stepladder.solvers.dictionary import fit_dictionary
from stepladder.solvers.linear import LinearSolver, fit_linear
from stepladder.solvers.majority import fit_majority
from stepladder.solvers.nearest import fit_nearest
from stepladder.solvers.tfidf import fit_tfidf
from stepladder.testing import FakeModel, check_solver, fake_workshop

WORDS = {"refund": "money back", "lost": "card gone", "balance": "how much left"}
TRAIN = tuple(
    Example(f"{label}{i}", f"{words}, please help number {i}", label)
    for i in range(4)
    for label, words in WORDS.items()
)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return fake_workshop(FakeModel(), tmp_path)


def said(solver: Solver, text: str, workshop: Workshop) -> object:
    return next(solver.answer([text], workshop))[1].value


def test_the_majority_is_the_most_frequent_answer_the_first_of_equals(workshop: Workshop) -> None:
    extra = Example("x", "again", "lost")
    solver = fit_majority([*TRAIN, extra])
    assert (solver.value, solver.share) == ("lost", 5 / 13)
    assert fit_majority(TRAIN).value == "refund"
    assert fit_majority([Example("1", "", {"b": 1, "a": 2})]).value == {"b": 1, "a": 2}
    check_solver(solver, ["a", "b"], workshop)


def test_the_nearest_answer_is_copied_with_its_cosine(workshop: Workshop) -> None:
    solver = fit_nearest(TRAIN, workshop)
    check_solver(solver, ["card gone", "unheard-of", ""], workshop)
    (_, same), (_, nothing) = solver.answer([TRAIN[4].input, "zzzz"], workshop)
    assert same.value == TRAIN[4].expected
    assert same.confidence == pytest.approx(1.0, abs=1e-5)
    assert nothing.confidence == 0.0
    close = next(solver.answer(["card gone, please help"], workshop))[1].confidence
    assert close is not None
    assert 0.5 < close < 0.99


def test_the_linear_model_learns_and_knows_when_it_is_sure(workshop: Workshop) -> None:
    solver = fit_linear(TRAIN, workshop)
    check_solver(solver, ["my card is gone", "money"], workshop)
    assert said(solver, "where is my money, back with it", workshop) == "refund"
    outputs = [output for _, output in solver.answer(["card gone please", "zzz"], workshop)]
    sure, unsure = (output.confidence for output in outputs)
    assert sure is not None
    assert unsure is not None
    assert 1.0 >= sure > 0.6 > unsure
    assert outputs[0].usage[0].compute_seconds is not None


def test_two_labels_share_one_row_of_weights(workshop: Workshop) -> None:
    two = [example for example in TRAIN if example.expected != "balance"]
    solver = fit_linear(two, workshop)
    assert said(solver, "money back", workshop) == "refund"
    assert said(solver, "card gone", workshop) == "lost"


def test_many_labels_with_few_examples_each_are_no_regression(workshop: Workshop) -> None:
    """scikit-learn warns that they might be; a warning fails a test here."""
    train = [Example(f"{n}", f"word{n % 20} again", f"label{n % 20}") for n in range(30)]
    solver = fit_linear(train, workshop)
    assert said(solver, "word7", workshop) == "label7"


def test_fitting_again_gives_the_same_artifact(workshop: Workshop) -> None:
    for fit in (fit_linear, fit_nearest):
        assert fit(TRAIN, workshop) == fit(TRAIN, workshop)


def test_changed_weights_are_refused(workshop: Workshop) -> None:
    solver = fit_linear(TRAIN, workshop)
    weights = workshop.artifacts / solver.artifact / "weights.npy"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(StepladderError, match="changed"):
        list(solver.answer(["x"], workshop))
    with pytest.raises(StepladderError, match="is not in"):
        list(LinearSolver("missing").answer(["x"], workshop))


def test_nothing_to_learn_is_not_applicable(workshop: Workshop) -> None:
    with pytest.raises(NotApplicable, match="two labels"):
        fit_linear(TRAIN[:1], workshop)
    wordless = [Example("1", "", "a"), Example("2", "", "b")]
    with pytest.raises(NotApplicable, match="words"):
        fit_linear(wordless, workshop)
    with pytest.raises(NotApplicable, match="words"):
        fit_nearest(wordless, workshop)
    with pytest.raises(NotApplicable, match="JSON answers"):
        fit_dictionary(TRAIN, workshop)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.text())
def test_rows_are_unit_length_per_analyser_or_empty(texts: list[str], other: str) -> None:
    tfidf = fit_tfidf(texts)
    if not tfidf.terms:
        return
    lengths = tfidf.transform([*texts, other]).power(2).sum(axis=1)
    assert all(length < len(tfidf.terms) + 1e-3 for length in lengths.ravel().tolist()[0])


def event(drug: list[str], effect: list[str], **more: object) -> dict[str, object]:
    return {"events": [{"event": "adverse", "treatment.drug": drug, "effect": effect, **more}]}


REPORTS = (
    Example("1", "Rash after aspirin.", event(["aspirin"], ["Rash"])),
    Example("2", "Fever caused by low dose aspirin", event(["low dose aspirin"], ["Fever"])),
    Example("3", "rash and more after Ibuprofen", event(["Ibuprofen"], ["rash"])),
    Example("4", "aspirin and fever", event(["aspirin"], ["fever"], severe=True)),
    Example("5", "nothing to report", {"events": []}),
)


def test_known_spans_are_tagged_longest_first_with_the_writing_of_the_text(
    workshop: Workshop,
) -> None:
    solver = fit_dictionary(REPORTS, workshop)
    check_solver(solver, ["Fever, aspirin", ""], workshop)
    found = said(solver, "RASH: under Low Dose Aspirin, and ibuprofen!", workshop)
    assert found == event(["Low Dose Aspirin", "ibuprofen"], ["RASH"])
    assert list(found["events"][0]) == ["event", "treatment.drug", "effect"]


def test_of_two_known_spans_at_a_word_the_longer_is_taken(workshop: Workshop) -> None:
    rows = [
        Example("1", "rash after insulin", {"drug": "insulin"}),
        Example("2", "rash after insulin glargine", {"drug": "insulin glargine"}),
    ]
    solver = fit_dictionary(rows, workshop)
    assert said(solver, "insulin glargine was stopped", workshop) == {"drug": "insulin glargine"}
    assert said(solver, "insulin was stopped", workshop) == {"drug": "insulin"}


def test_without_a_known_span_there_is_no_record(workshop: Workshop) -> None:
    solver = fit_dictionary(REPORTS, workshop)
    assert said(solver, "aspirins are not aspirin-like... rashes", workshop) != {"events": []}
    assert said(solver, "all is well", workshop) == {"events": []}


def test_a_span_that_is_mostly_something_else_is_left_out(workshop: Workshop) -> None:
    rows = [Example(str(i), f"case {i} of water", {"drug": f"case {i}"}) for i in range(9)]
    rows.append(Example("w", "water helped", {"drug": "water"}))
    solver = fit_dictionary(rows, workshop)
    assert said(solver, "water in case 3", workshop) == {"drug": "case 3"}
    keen = fit_dictionary(rows, workshop, precision=0.0)
    assert said(keen, "water in case 3", workshop) == {"drug": "water"}


def test_shapes_without_a_list_of_records(workshop: Workshop) -> None:
    flat = [
        Example("1", "paid 5 at ACME", {"company": "ACME", "lines": ["5"], "currency": "USD"}),
        Example("2", "paid 7 at Bolt", {"company": "Bolt", "lines": ["7"], "currency": "USD"}),
    ]
    solver = fit_dictionary(flat, workshop)
    assert said(solver, "Bolt took 5 and 7 and 5", workshop) == {
        "company": "Bolt",
        "lines": ["5", "7"],
        "currency": "USD",
    }
    listed = [Example("1", "a cat and a dog", ["cat", "dog"])]
    solver = fit_dictionary(listed, workshop)
    assert said(solver, "dog", workshop) == ["dog"]
    assert said(solver, "bird", workshop) == []
