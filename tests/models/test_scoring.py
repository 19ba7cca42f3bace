"""Probabilities of given answers: the tree that they share, and what transformers makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_families import FAMILIES, ask, log_probabilities, make_family

from stepladder.core import Message, Request
from stepladder.models.local import LocalModel, LocalProvider
from stepladder.models.local.scoring import tree_of

choices_of_tokens = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), max_size=12)


@given(choices_of_tokens)
def test_every_path_spells_its_choice(choices: list[list[int]]) -> None:
    tree = tree_of(choices)
    assert [[tree.tokens[node] for node in path] for path in tree.paths] == choices


@given(choices_of_tokens)
def test_a_path_goes_from_parent_to_child_and_parents_come_first(choices: list[list[int]]) -> None:
    tree = tree_of(choices)
    for path in tree.paths:
        assert [tree.parents[node] for node in path] == [-1, *path[:-1]]
        assert [tree.depths[node] for node in path] == list(range(len(path)))
    assert all(parent < node for node, parent in enumerate(tree.parents))


@given(choices_of_tokens)
def test_a_beginning_that_choices_share_is_there_once(choices: list[list[int]]) -> None:
    beginnings = {tuple(c[: n + 1]) for c in choices for n in range(len(c))}
    tree = tree_of(choices)
    assert len(tree.tokens) == len(tree.parents) == len(tree.depths) == len(beginnings)


CHOICES = ("a", "ab", "abc", "b", "red", "redder", "ab", "é 🙂")  # beginnings of one another
SHARED = "Rules that all have in common. " * 8


def expected(model: LocalModel, request: Request) -> list[float]:
    prompt = model.tokenizer.chat_ids(request.messages)
    return [
        log_probabilities(
            model.folder, prompt, [*model.tokenizer.encode(c), model.tokenizer.eos_id]
        )
        for c in request.choices
    ]


def assert_scored(model: LocalModel, requests: Sequence[Request]) -> None:
    answers = dict(model.generate(requests))
    assert sorted(answers) == list(range(len(requests)))
    for index, request in enumerate(requests):
        assert answers[index].error is None
        assert list(answers[index].choice_logprobs) == pytest.approx(
            expected(model, request), abs=1e-3
        )


def score(text: str, choices: Sequence[str] = CHOICES) -> Request:
    return ask(text, choices=tuple(choices), score_choices=True)


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    if "model" in request.fixturenames or "provider" in request.fixturenames:
        pytest.importorskip("openvino")
        pytest.importorskip("torch")


def test_one_prompt_alone(model: LocalModel) -> None:
    assert_scored(model, [score("ann 1: red")])


def test_many_prompts_that_begin_alike(model: LocalModel) -> None:
    assert_scored(model, [score(f"{SHARED}{text}") for text in ("x", "yes", "x y z", "")])


def test_prompts_that_share_nothing(model: LocalModel) -> None:
    """Even their first tokens differ, so there is nothing to keep between them."""
    prompts = [[5, 6, 7, 8], [9, 6, 7, 8, 10, 11], [12]]
    options = [[model.tokenizer.encode(choice) for choice in CHOICES] for _ in prompts]
    scorer = model._provider.scorer(model)
    for index, scores, seconds in scorer.run(prompts, options):
        wanted = [
            log_probabilities(model.folder, prompts[index], [*option, model.tokenizer.eos_id])
            for option in options[index]
        ]
        assert list(scores) == pytest.approx(wanted, abs=1e-3)
        assert seconds > 0


def test_one_prompt_that_begins_the_other(model: LocalModel) -> None:
    prompts = [[5, 6, 7, 8], [5, 6], [5, 6, 7]]
    options = [[[20], [20, 21]]] * 3
    for index, scores, _ in model._provider.scorer(model).run(prompts, options):
        wanted = [
            log_probabilities(model.folder, prompts[index], [*option, model.tokenizer.eos_id])
            for option in options[index]
        ]
        assert list(scores) == pytest.approx(wanted, abs=1e-3)


def test_each_prompt_has_choices_of_its_own(model: LocalModel) -> None:
    requests = [score("x", ["one"]), score("x y", ["two", "three", "t"]), score("x", CHOICES)]
    assert_scored(model, requests)


def test_again_with_other_prompts_is_not_led_by_the_first(model: LocalModel) -> None:
    first = dict(model.generate([score(f"{SHARED}a"), score(f"{SHARED}b")]))
    list(model.generate([score("something else"), score("something more")]))
    again = dict(model.generate([score(f"{SHARED}a"), score(f"{SHARED}b")]))
    for index in (0, 1):
        assert again[index].choice_logprobs == pytest.approx(first[index].choice_logprobs, abs=1e-5)


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"llama-grouped-tied"}))
def test_every_family(family: str, provider: LocalProvider, tmp_path: Path) -> None:
    model = provider.model(f"local:{make_family(tmp_path / family, family)}")
    assert_scored(model, [score("ann 1: red"), score("ann 2: blue")])


def test_scored_and_said_in_one_batch(model: LocalModel) -> None:
    answers = dict(model.generate([ask("x"), score("ann 1: red"), ask("x" * 600), ask("x")]))
    assert answers[0].text == answers[3].text != ""
    assert answers[1].text == ""
    assert len(answers[1].choice_logprobs) == len(CHOICES)
    assert answers[2].finish == "error"


def test_scoring_costs_input_tokens_and_time_but_no_output(model: LocalModel) -> None:
    request = score("ann 1: red")
    ((_, answer),) = model.generate([request])
    assert answer.usage.input_tokens == model.count_tokens(request.messages)
    assert answer.usage.output_tokens == 0
    assert (answer.usage.compute_seconds or 0) > 0


def test_scores_are_of_whole_answers(model: LocalModel) -> None:
    """Of all that can be said exactly one is said: no two choices share any probability."""
    import math

    alphabet = [chr(code) for code in range(32, 127)]
    request = Request((Message("user", "x"),), choices=tuple(alphabet), score_choices=True)
    ((_, answer),) = model.generate([request])
    assert 0 < sum(map(math.exp, answer.choice_logprobs)) <= 1
