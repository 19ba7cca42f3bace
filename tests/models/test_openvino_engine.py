"""The OpenVINO engine says what transformers says, one by one and in batches, and lets go."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tiny_families import FAMILIES, ask, greedy, log_probabilities, make_family

from stepladder.core import Message, Part, Request
from stepladder.errors import ModelError
from stepladder.models.local import LocalModel, LocalProvider
from stepladder.testing import check_model

pytest.importorskip("openvino_genai")
pytest.importorskip("torch")

TEXTS = ("ann 1: red", "b", "What is the capital of France?", "one\ntwo\n\n  three", "é 🙂 ß")
SHARED = "These are the rules, and they are the same for all. " * 5


def engine_ids(provider: LocalProvider, model: LocalModel, requests: list[Request]) -> list[object]:
    prompts = [model.tokenizer.chat_ids(request.messages) for request in requests]
    made = dict(provider.engine(model).run(prompts, requests))
    return [made[index].ids for index in range(len(requests))]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_what_transformers_says(
    family: str, provider: LocalProvider, tmp_path: Path
) -> None:
    folder = make_family(tmp_path / family, family)
    model = provider.model(f"local:{folder}")
    requests = [ask(text) for text in TEXTS]
    expected = [greedy(folder, model.tokenizer.chat_ids(r.messages), 12) for r in requests]
    assert len(set(expected)) > 1  # a model that says one thing to all would prove nothing
    assert engine_ids(provider, model, requests) == expected


def test_a_long_shared_prefix_changes_no_answer(provider: LocalProvider, model: LocalModel) -> None:
    """Alone (nothing cached), then 40 at once: more than a batch holds, all from one prefix."""
    requests = [ask(f"{SHARED}{n}: {TEXTS[n % 5]}", max_output_tokens=6) for n in range(40)]
    prompts = [model.tokenizer.chat_ids(request.messages) for request in requests]
    assert min(map(len, prompts)) > 250
    expected = [greedy(model.folder, prompt, 6) for prompt in prompts]
    assert engine_ids(provider, model, requests[:1]) == expected[:1]
    assert engine_ids(provider, model, requests) == expected


class Counting:
    """A pipeline that counts its steps; each computes 512 tokens at most."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pipeline, name)

    def step(self) -> None:
        self.steps += 1
        self.pipeline.step()


def test_a_shared_prefix_is_computed_once(
    provider: LocalProvider, model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(texts: list[str]) -> int:
        engine = provider.engine(model)
        counting = Counting(engine._pipeline)
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_pipeline", counting)
            list(model.generate([ask(text, max_output_tokens=1) for text in texts]))
        return counting.steps

    tokens = model.count_tokens(ask(f"99 {SHARED}").messages)
    apart = steps([f"{n} {SHARED}" for n in range(40)])
    together = steps([f"{SHARED}: {n}" for n in range(40)])
    assert apart >= 40 * tokens / 512
    assert together < apart / 3


def test_the_log_probability_is_that_of_the_answer(model: LocalModel) -> None:
    request = ask("ann 1: red", max_output_tokens=5, logprob=True)
    ((_, response),) = model.generate([request])
    prompt = model.tokenizer.chat_ids(request.messages)
    said = greedy(model.folder, prompt, 5)
    ended = [*said, model.tokenizer.eos_id] if response.finish == "stop" else said
    assert response.logprob == pytest.approx(
        log_probabilities(model.folder, prompt, ended), abs=1e-2
    )


def test_it_keeps_the_contract_of_models(model: LocalModel) -> None:
    check_model(model)


def test_usage_counts_the_tokens(model: LocalModel) -> None:
    request = ask("count me", max_output_tokens=5)
    ((_, response),) = model.generate([request])
    assert response.finish == "length"
    assert response.usage.input_tokens == model.count_tokens(request.messages)
    assert response.usage.output_tokens == 5


def test_shares_of_computing_add_up_to_the_wall(model: LocalModel) -> None:
    list(model.generate([ask("warm up")]))
    started = time.perf_counter()
    answers = dict(model.generate([ask(f"text {n}", max_output_tokens=8) for n in range(20)]))
    wall = time.perf_counter() - started
    shares = [answer.usage.compute_seconds or 0.0 for answer in answers.values()]
    assert sorted(answers) == list(range(20))
    assert min(shares) > 0
    assert sum(shares) <= wall * 1.001
    assert all((a.usage.seconds or 0) >= (a.usage.compute_seconds or 0) for a in answers.values())


def test_a_caller_that_stops_early_frees_the_engine(model: LocalModel) -> None:
    requests = [ask(f"text {n}", max_output_tokens=30) for n in range(10)]
    expected = {index: answer.text for index, answer in model.generate(requests)}
    for _ in range(3):
        answers = model.generate(requests)
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert not model._provider.engine(model)._pipeline.has_non_finished_requests()
    assert {index: answer.text for index, answer in model.generate(requests)} == expected


# --- answers in a given form ---------------------------------------------------------------------

CHOICES = (
    "yes",
    "yes, indeed",
    "no",
    'say "maybe"\\',
    "naïve 🙂",
    "tab\tline\nend\x01",
    "{a} | [b]*",
)
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["red", "naïve 🙂", '"q"\n']},
        "sure": {"type": "boolean"},
        "count": {"type": "integer"},
    },
    "required": ["label", "sure"],
    "additionalProperties": False,
}


def test_choices_are_all_that_can_be_said(model: LocalModel) -> None:
    requests = [
        ask(f"{text} {seed}", choices=CHOICES, max_output_tokens=40, temperature=1.0, seed=seed)
        for text in TEXTS
        for seed in range(6)
    ]
    said = {answer.text for _, answer in model.generate(requests)}
    assert said <= set(CHOICES)
    assert len(said) > 2


def test_what_is_finished_fits_the_schema(model: LocalModel) -> None:
    requests = [
        ask(f"{text} {seed}", schema=SCHEMA, max_output_tokens=120, temperature=0.7, seed=seed)
        for text in TEXTS
        for seed in range(2)
    ]
    finished = [a.text for _, a in model.generate(requests) if a.finish == "stop"]
    assert finished
    for text in finished:
        jsonschema.validate(json.loads(text), SCHEMA)


def test_constrained_and_free_requests_share_a_batch(model: LocalModel) -> None:
    free = ask("ann 1: red")
    (alone,) = [answer.text for _, answer in model.generate([free])]
    mixed = [ask("pick", choices=CHOICES, max_output_tokens=40), free, ask("x", schema=SCHEMA)]
    answers = dict(model.generate(mixed))
    assert answers[0].text in CHOICES
    assert answers[1].text == alone


@pytest.mark.parametrize("length", [1, 2, 3])
def test_an_answer_ends_at_a_stop_string(model: LocalModel, length: int) -> None:
    ((_, free),) = model.generate([ask("ann 1: red", max_output_tokens=20)])
    place = next(at for at in range(2, 18) if free.text[at : at + length].isascii())
    stop = free.text[place : place + length]
    ((_, ended),) = model.generate([ask("ann 1: red", max_output_tokens=20, stop=("~#~#", stop))])
    assert ended.text == free.text[: free.text.index(stop)]
    assert ended.finish == "stop"


def test_no_more_tokens_than_allowed(model: LocalModel) -> None:
    answers = dict(model.generate([ask("go on", max_output_tokens=n) for n in (1, 3, 9)]))
    assert [answers[place].usage.output_tokens for place in range(3)] == [1, 3, 9]
    assert answers[2].text.startswith(answers[0].text)


def test_sampling_is_told_by_the_seed(model: LocalModel) -> None:
    def say(seed: int) -> str:
        ((_, answer),) = model.generate([ask("say", temperature=1.5, seed=seed)])
        return answer.text

    assert say(7) == say(7)
    assert len({say(seed) for seed in range(5)}) > 1


def test_an_over_long_prompt_is_an_answer_with_an_error(model: LocalModel) -> None:
    requests = [ask("x" * 600), ask("short"), ask("y" * 480, max_output_tokens=100)]
    answers = dict(model.generate(requests))
    assert [answers[place].finish == "error" for place in range(3)] == [True, False, True]
    assert "reads 512" in (answers[0].error or "")
    assert answers[0].usage.model == model.name


def test_a_prompt_and_answer_that_just_fit_are_answered(model: LocalModel) -> None:
    room = 512 - model.count_tokens((Message("user", ""),))
    requests = [
        ask("x" * (room - 10), max_output_tokens=10),
        ask("x" * (room - 9), max_output_tokens=10),
    ]
    answers = dict(model.generate(requests))
    assert answers[0].error is None
    assert answers[1].error is not None


def test_an_image_is_refused(model: LocalModel) -> None:
    picture = Part("image", uri="cat.png", media_type="image/png")
    with pytest.raises(ModelError, match="image"):
        list(model.generate([Request((Message("user", (picture,)),))]))
