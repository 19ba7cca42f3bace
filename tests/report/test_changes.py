"""What a step changed, told from the solver records alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from made_up_climb import FakeSolver

from stepladder.report.changes import changes, full_texts, prompt_text, solver_fields
from stepladder.solvers.calling import CallingSolver
from stepladder.solvers.citing import Knowledge
from stepladder.solvers.prompt import PromptSolver

LONG = "Read the message.\n" * 10 + "Answer with one label."


def test_only_what_differs_is_listed() -> None:
    before = FakeSolver("local:a", "Answer.")
    after = replace(before, demos=({"input": "x", "expected": "y"},))
    (change,) = changes(before, after)
    assert (change.field, change.before, change.after) == ("demos", "none", "1 entry")
    assert changes(before, before) == ()


def test_a_long_text_is_compared_line_by_line() -> None:
    before = FakeSolver("local:a", LONG)
    after = replace(before, instructions=LONG.replace("one label", "the best label"))
    (change,) = changes(before, after)
    assert {line.mark for line in change.lines} == {"+", "-", " "}
    assert any("the best label" in line.text for line in change.lines if line.mark == "+")


def test_without_a_solver_before_everything_set_is_new() -> None:
    fields = {change.field for change in changes(None, FakeSolver("local:a", "Answer."))}
    assert fields == {"kind", "model", "instructions"}


def test_weights_are_counted_not_shown() -> None:
    assert solver_fields(FakeSolver(weights=tuple(range(5_000))))["weights"] == "5,000 numbers"
    array = FakeSolver(weights=np.zeros((30, 40)))  # type: ignore[arg-type]
    assert solver_fields(array)["weights"] == "30 x 40 numbers"


def test_texts_are_shown_in_full_up_to_a_limit() -> None:
    texts = full_texts(FakeSolver("local:a", "word " * 20_000))
    assert texts["instructions"].endswith("100,000 characters in all")
    assert set(texts) == {"instructions"}


def test_the_prompt_is_shown_as_the_model_sees_it() -> None:
    solver = PromptSolver(
        "local:a", "Sort it.", "classification", ("yes", "no"), demos=(("good", "yes"),)
    )
    text = prompt_text(solver)
    assert text.startswith("[system]\nSort it.")
    assert "[user]\ngood" in text
    assert "[assistant]\nyes" in text
    assert text.endswith("(the input)")
    picked = replace(solver, selector={"method": "bm25", "k": 8, "pool": "p"})
    assert "8 examples picked for it by bm25" in prompt_text(picked)
    assert prompt_text(FakeSolver()) == ""


def test_of_knowledge_each_field_is_told_by_itself() -> None:
    before = PromptSolver("local:a", "Answer.", knowledge=Knowledge("i" * 64, k=3))
    after = replace(before, knowledge=Knowledge("i" * 64, k=5, order="best_last"))
    told = {change.field: (change.before, change.after) for change in changes(before, after)}
    assert told == {
        "knowledge.k": ("3", "5"), "knowledge.order": ("best_first", "best_last"),
    }  # fmt: skip
    assert "up to 5 passages of at most 160 words, searched for it by words" in prompt_text(after)


def test_the_prompt_of_calls_says_where_functions_come() -> None:
    solver = CallingSolver(
        "local:a", "Book it.", "artifact", form="json",
        demos=(("one", [{"name": "book", "arguments": {"n": 1}}]),),
    )  # fmt: skip
    text = prompt_text(solver)
    assert "(the functions that can be called, by their schemas)" in text
    assert '[assistant]\n[{"name": "book", "arguments": {"n": 1}}]' in text
    assert text.endswith("(the input)")
    tuned = prompt_text(replace(solver, shown="nothing", demos=()))
    assert "can be called" not in tuned
    native = prompt_text(replace(solver, form="native"))
    assert '[assistant]\ncalls book {"n": 1}' in native
    picked = replace(solver, selector={"method": "bm25", "k": 4, "pool": "p"})
    assert "4 examples picked for it by bm25" in prompt_text(picked)
