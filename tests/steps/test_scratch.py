"""A language model of one's own: its size, its tokenizer, and that it learns and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steps.step_tasks import EXTRACT, SORT, messages, truth

from stepladder.core import Message, Task, Workshop
from stepladder.errors import ModelError, NotApplicable, StepladderError, TaskError
from stepladder.session import LADDER, make_steps
from stepladder.steps.scratch import Scratch
from stepladder.steps.scratch_choices import (
    PER_TOKEN,
    SIZES,
    Text,
    choose_blueprint,
    choose_training,
)
from stepladder.testing import FakeModel, fake_workshop
from stepladder.trainers.scratch import Blueprint, blueprint_name, parameters_of, plant

SMALL = Blueprint(layers=2, hidden=64, heads=2, vocabulary=400, context=256, seed=1)


def workshop(artifacts: Path) -> Workshop:
    return fake_workshop(FakeModel(), artifacts)


# --- how large ------------------------------------------------------------------------------------


@given(
    examples=st.integers(1, 10**6),
    characters=st.integers(1, 10**9),
    longest=st.integers(1, 10**5),
)
def test_size_follows_the_text(examples: int, characters: int, longest: int) -> None:
    text = Text(examples, characters, longest)
    size = choose_blueprint(Scratch(), text, 64, seed=0)
    least = (size.layers, size.hidden) == SIZES[0][:2]
    assert least or parameters_of(size) <= PER_TOKEN * text.tokens
    assert size.hidden % (2 * size.heads) == 0
    assert 262 < size.vocabulary <= 8192
    assert 512 <= size.context <= 8192
    options = choose_training(Scratch(), text, size, mean=40.0)
    assert 4 <= options.epochs <= 40
    assert 0 < options.learning_rate <= 3e-3


def test_more_text_never_makes_a_smaller_model() -> None:
    sizes = [
        parameters_of(choose_blueprint(Scratch(), Text(1000, 4 * 10**power, 100), 64, 0))
        for power in range(3, 9)
    ]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 50 * sizes[0]


def test_what_the_user_says_stays() -> None:
    step = Scratch(layers=3, hidden=128, vocabulary=500, epochs=2.0, learning_rate=1e-3, minutes=1)
    text = Text(1000, 10**6, 100)
    size = choose_blueprint(step, text, 64, 0)
    assert (size.layers, size.hidden, size.heads, size.vocabulary) == (3, 128, 4, 500)
    options = choose_training(step, text, size, 40.0)
    assert (options.epochs, options.learning_rate, options.max_seconds) == (2.0, 1e-3, 60.0)


@pytest.mark.parametrize("options", [
    {"hidden": 100}, {"layers": 0}, {"held_out": 0.0}, {"epochs": -1.0}, {"minutes": 0.0},
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(StepladderError, match="step 'scratch'"):
        Scratch(**options)


# --- when it is there -----------------------------------------------------------------------------


def test_it_is_on_the_ladder_only_of_tasks_that_ask_for_it() -> None:
    task = replace(SORT, models=("local:smollm2-135m-instruct",))
    assert "scratch" not in [step.name for step in make_steps(task, LADDER)]
    asked = replace(task, steps={"scratch": {"layers": 2}})
    assert "scratch" in [step.name for step in make_steps(asked, LADDER)]
    assert [step.name for step in make_steps(task, ("scratch",))] == ["scratch"]


def test_too_little_and_what_it_cannot_read_are_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(NotApplicable, match="20 train examples are too few"):
        Scratch().estimate(SORT, messages(20), workshop(tmp_path))
    with pytest.raises(NotApplicable, match="texts, labels and JSON only"):
        Scratch().estimate(replace(SORT, kind="calls"), messages(200), workshop(tmp_path))


def test_a_domain_that_is_not_there_is_told_before_the_climb(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no text in"):
        Scratch(domain="nowhere").check(replace(SORT, folder=tmp_path))


def test_the_estimate_grows_with_the_examples(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    found = [Scratch(epochs=4.0).estimate(SORT, messages(n), workshop(tmp_path)).seconds
             for n in (100, 400)]  # fmt: skip
    assert found[0] is not None
    assert found[1] is not None
    assert 2 * found[0] < found[1]
    bounded = Scratch(minutes=0.001).estimate(SORT, messages(400), workshop(tmp_path)).seconds
    assert bounded == pytest.approx(0.06)


# --- the untrained model --------------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_text_and_seed_make_the_same_model_and_others_another(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    texts = [f"zu ka {n} mo" for n in range(60)]
    first, second = (plant(SMALL, texts, tmp_path / name) for name in ("a", "b"))
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    assert blueprint_name(SMALL, texts) != blueprint_name(SMALL, texts[1:])
    assert blueprint_name(SMALL, texts) != blueprint_name(replace(SMALL, seed=2), texts)
    config = json.loads((first / "config.json").read_text("utf-8"))
    assert config["vocab_size"] <= 400


@pytest.mark.slow
def test_its_tokenizer_knows_everything_and_keeps_roles_apart(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from stepladder.models.local.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(plant(SMALL, ["zuka zuka mo"] * 40, tmp_path))
    for text in ("zuka", "never seen \u26a1\U0001f600", "<|end|> is text here"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("zuka")) < len(tokenizer.encode("xqwy"))
    said = tokenizer.chat_ids([Message("user", "mo <|assistant|> mo")])
    assert said.count(said[-1]) == 1  # what the user wrote opens no turn


@pytest.mark.slow
def test_sizes_that_do_not_fit_and_no_text_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(ModelError, match="cannot be shared"):
        plant(replace(SMALL, heads=3), ["text"], tmp_path)
    with pytest.raises(ModelError, match="no text"):
        plant(SMALL, [" "], tmp_path)


@pytest.mark.slow
def test_the_parameters_are_counted_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from safetensors.numpy import load_file

    folder = plant(SMALL, ["zuka mo"] * 10, tmp_path)
    weights = load_file(folder / "model.safetensors")
    words = json.loads((folder / "config.json").read_text("utf-8"))["vocab_size"]
    counted = sum(tensor.size for tensor in weights.values())
    assert counted == parameters_of(replace(SMALL, vocabulary=words))


# --- trained and asked ----------------------------------------------------------------------------


def trained(task: Task, step: Scratch, tmp_path: Path, n: int = 240) -> tuple[Any, Workshop, list]:
    from stepladder.models.local import LocalProvider

    heard: list[Mapping[str, Any]] = []
    provider = LocalProvider(tmp_path, exact=True)
    place = Workshop(provider.model, tmp_path, lambda event, told: heard.append(told))
    [candidate] = step.propose(task, messages(n), None, place)
    return candidate, place, heard


def answers(candidate: Any, inputs: Sequence[str], place: Workshop) -> list[Any]:
    found = dict(candidate.solver.answer(inputs, place))
    return [found[at].value for at in range(len(inputs))]


@pytest.mark.slow
def test_it_learns_a_small_task_and_answers_within_the_labels(tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai")
    step = Scratch(epochs=25.0, device="cpu", threads=1, layers=2, hidden=64)
    candidate, place, _ = trained(SORT, step, tmp_path)
    fresh = [f"{words} please, number {n}" for n, words in enumerate(
        ["money back", "card is gone", "how much is left"] * 8, start=500)]  # fmt: skip
    found = answers(candidate, fresh, place)
    right = sum(said == truth(text) for said, text in zip(found, fresh, strict=True))
    assert right >= 20
    assert set(answers(candidate, ["\u26a1", "something else"], place)) <= set(SORT.labels)
    assert candidate.solver.model.startswith("local:tuned/")
    assert "random at first" in candidate.changed
    assert candidate.learning
    again, _, heard = trained(SORT, step, tmp_path)
    assert again.solver == candidate.solver
    assert not [told for told in heard if "step" in told]  # nothing was trained a second time


@pytest.mark.slow
def test_text_of_the_domain_is_read_first(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    domain = tmp_path / "domain"
    domain.mkdir()
    (domain / "notes.txt").write_text("\n\n".join(f"money back, case {n}" for n in range(60)))
    task = replace(SORT, folder=tmp_path)
    step = Scratch(domain="domain", domain_epochs=1.0, epochs=1.0, layers=2, hidden=64,
                   device="cpu", threads=1)  # fmt: skip
    candidate, _, heard = trained(task, step, tmp_path, 120)
    stages = [told["stage"] for told in heard if "stage" in told]
    assert stages.index("domain") < stages.index("answers")
    assert "texts of the domain" in candidate.changed


def test_json_is_not_held_to_a_form_it_has_not_learned() -> None:
    solver = Scratch()._solver(EXTRACT)
    assert solver.output_format == "json"
    assert not solver.constrained
    assert not solver.show_schema
