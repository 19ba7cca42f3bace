"""The real embedded model: its tokens, its answers and its probabilities, against transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_families import ask, greedy, log_probabilities

from stepladder.models.local import LocalModel, LocalProvider

pytestmark = pytest.mark.slow

PROMPTS = (
    "What is the capital of France?",
    "Write one sentence about the ocean.",
    'Give the city and year as JSON: "She moved to Oslo in 1994."',
    "Is this review positive or negative? 'The food was cold and the waiter rude.'",
    "Name three colours, separated by commas.",
    "Translate into German: good morning",
    "A train takes 2 hours for 120 km. How fast is it?",
    "Repeat exactly: x  7",
)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalModel:
    """In the user's own cache: 93 MB are not fetched for a test."""
    pytest.importorskip("openvino_genai")
    pytest.importorskip("torch")
    monkeypatch.delenv("STEPLADDER_CACHE", raising=False)
    return LocalProvider(tmp_path, exact=True).model("local:smollm2-135m-instruct")


def test_it_is_the_model_that_transformers_runs(embedded: LocalModel) -> None:
    requests = [ask(text, max_output_tokens=20) for text in PROMPTS]
    choices = ("positive", "negative", "neg")
    scored = ask(PROMPTS[3], choices=choices, score_choices=True)
    answers = dict(embedded.generate([*requests, scored]))
    for index, request in enumerate(requests):
        prompt = embedded.tokenizer.chat_ids(request.messages)
        said = greedy(embedded.folder, prompt, 20, eos_id=embedded.tokenizer.eos_id)
        assert answers[index].text == embedded.tokenizer.decode(said)
    prompt = embedded.tokenizer.chat_ids(scored.messages)
    expected = [
        log_probabilities(
            embedded.folder,
            prompt,
            [*embedded.tokenizer.encode(choice), embedded.tokenizer.eos_id],
        )
        for choice in choices
    ]
    assert list(answers[len(PROMPTS)].choice_logprobs) == pytest.approx(expected, abs=1e-3)
    embedded._provider.close()


def test_digits_are_split_as_in_its_training(embedded: LocalModel) -> None:
    """These three show a lost rule for digits; dates and sums alone would not."""
    assert embedded.tokenizer.encode("x  7") == [104, 256, 39]
    for text in ("a\n\n  3", "  2024-01-05"):
        ids = embedded.tokenizer.encode(text)
        assert embedded.tokenizer.decode(ids) == text
        assert not any(
            " 2" in piece or " 3" in piece
            for piece in map(embedded.tokenizer.decode, [[i] for i in ids])
        )
