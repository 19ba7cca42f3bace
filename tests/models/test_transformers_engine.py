"""The path that runs anywhere agrees with the fast one, and says what it cannot do."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from tiny_families import ask, greedy, log_probabilities, write_config

from stepladder.errors import ModelError
from stepladder.models.local import LocalModel, LocalProvider
from stepladder.models.local.transformers_engine import TransformersEngine
from stepladder.testing import check_model

pytest.importorskip("torch")

TEXTS = ["ann 1: red", "b", "What is the capital of France?", "one\ntwo\n\n  three", "é 🙂 ß"] * 5


@pytest.fixture(scope="module")
def plain(llama: Path, tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> LocalModel:
    """The same model under a config that the graph does not cover, though nothing is different."""
    folder = tmp_path_factory.mktemp("plain") / "model"
    shutil.copytree(llama, folder)
    write_config(folder, sliding_window=4096, model_type="mistral", architectures=None)
    return LocalProvider(folder, exact=True).model(f"local:{folder}")


def test_a_family_that_the_graph_does_not_cover_goes_to_transformers(plain: LocalModel) -> None:
    assert isinstance(plain._provider.engine(plain), TransformersEngine)


def test_it_says_what_generate_says_in_batches_of_unequal_length(
    plain: LocalModel, llama: Path
) -> None:
    requests = [ask(text, max_output_tokens=6 + n % 5) for n, text in enumerate(TEXTS)]
    answers = dict(plain.generate(requests))
    assert sorted(answers) == list(range(len(TEXTS)))
    for index, request in enumerate(requests):
        prompt = plain.tokenizer.chat_ids(request.messages)
        expected = greedy(llama, prompt, request.max_output_tokens)
        assert answers[index].text == plain.tokenizer.decode(expected)


def test_both_engines_agree(plain: LocalModel, model: LocalModel) -> None:
    pytest.importorskip("openvino_genai")
    requests = [ask(text, logprob=True) for text in TEXTS]
    slow, fast = dict(plain.generate(requests)), dict(model.generate(requests))
    for index in range(len(TEXTS)):
        assert slow[index].text == fast[index].text
        assert slow[index].finish == fast[index].finish
        assert slow[index].usage.output_tokens == fast[index].usage.output_tokens
        assert slow[index].logprob == pytest.approx(fast[index].logprob, abs=1e-2)


def test_the_log_probability_is_that_of_the_answer(plain: LocalModel, llama: Path) -> None:
    requests = [
        ask("ann 1: red", max_output_tokens=4, logprob=True),
        ask("x" * 40, max_output_tokens=9),
        ask("x" * 40, max_output_tokens=9, logprob=True),
    ]
    answers = dict(plain.generate(requests))
    for index, request in enumerate(requests):
        prompt = plain.tokenizer.chat_ids(request.messages)
        said = greedy(llama, prompt, request.max_output_tokens)
        ended = [*said, 2] if answers[index].finish == "stop" else said
        expected = log_probabilities(llama, prompt, ended) if request.logprob else None
        assert answers[index].logprob == pytest.approx(expected, abs=1e-2)


def test_it_keeps_the_contract_of_models(plain: LocalModel) -> None:
    check_model(plain)


def test_shares_of_computing_add_up_to_the_wall(plain: LocalModel) -> None:
    list(plain.generate([ask("warm up")]))
    started = time.perf_counter()
    answers = dict(plain.generate([ask(text) for text in TEXTS]))
    wall = time.perf_counter() - started
    shares = [answer.usage.compute_seconds or 0.0 for answer in answers.values()]
    assert min(shares) > 0
    assert sum(shares) <= wall * 1.001


def test_sampling_is_told_by_the_seed(plain: LocalModel) -> None:
    def say(seed: int) -> str:
        ((_, answer),) = plain.generate([ask("say", temperature=1.5, seed=seed)])
        return answer.text

    assert say(7) == say(7)
    assert len({say(seed) for seed in range(5)}) > 1


def test_a_request_is_sampled_by_its_own_settings(plain: LocalModel) -> None:
    """Neighbours in a batch neither warm up a greedy request nor cool down a sampled one."""
    ((_, alone),) = plain.generate([ask("say")])
    mixed = [ask("say", temperature=2.0, seed=1), ask("say"), ask("say", temperature=2.0, seed=2)]
    answers = dict(plain.generate(mixed))
    assert answers[1].text == alone.text
    assert len({answer.text for answer in answers.values()}) == 3


def test_what_it_cannot_do_is_said(plain: LocalModel) -> None:
    for request, word in (
        (ask("x", choices=("a", "b")), "constrain"),
        (ask("x", schema={"type": "object"}), "constrain"),
        (ask("x", stop=("a",)), "stop strings"),
    ):
        with pytest.raises(ModelError, match=word):
            list(plain.generate([request]))


def test_scores_where_the_graph_does_not_cover_are_refused(plain: LocalModel) -> None:
    """A graph of another architecture would give numbers, and they would be wrong."""
    with pytest.raises(ModelError, match="score"):
        list(plain.generate([ask("x", choices=("a", "b"), score_choices=True)]))
