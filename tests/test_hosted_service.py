"""The service of the tests itself: what it answers real SDKs, what it counts, how it goes wrong."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from hosted_service import Service

genai = pytest.importorskip("google.genai")
openai = pytest.importorskip("openai")

SYSTEM = """Sort the message.

Labels:
- card_lost
- top_up: add money to the account
- refund

Answer with one label only."""
MODEL = "gemini-3.1-flash-lite"


@pytest.fixture
def gemini(service: Service) -> Any:
    options = genai.types.HttpOptions(base_url=service.url)
    return genai.Client(api_key="key-of-gemini", http_options=options)


@pytest.fixture
def chat(service: Service) -> Any:
    return openai.OpenAI(api_key="key-of-openai", base_url=service.openai_url, max_retries=0)


def asked(client: Any, text: str, **config: Any) -> Any:
    return client.models.generate_content(
        model=config.pop("model", MODEL),
        contents=text,
        config={"system_instruction": SYSTEM, **config},
    )


def test_it_answers_with_a_label_of_the_prompt(gemini: Any, chat: Any) -> None:
    assert asked(gemini, "I have lost my card").text == "card_lost"
    assert asked(gemini, "How can I add money?").text == "top_up"
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "a refund!"}]
    said = chat.chat.completions.create(model="gpt-4o-mini", messages=messages)
    assert said.choices[0].message.content == "refund"


def test_an_example_in_the_prompt_changes_the_answer(gemini: Any) -> None:
    question = "my plastic is gone"
    before = asked(gemini, question).text
    turns = [
        {"role": "user", "parts": [{"text": "the plastic is gone since Monday"}]},
        {"role": "model", "parts": [{"text": "refund" if before != "refund" else "top_up"}]},
        {"role": "user", "parts": [{"text": question}]},
    ]
    after = gemini.models.generate_content(
        model=MODEL, contents=turns, config={"system_instruction": SYSTEM}
    ).text
    assert after != before


def test_usage_adds_up_and_log_probabilities_are_those_of_the_labels(gemini: Any) -> None:
    said = asked(gemini, "I have lost my card", response_logprobs=True, logprobs=5)
    usage = said.usage_metadata
    spent = usage.prompt_token_count + usage.candidates_token_count
    assert usage.total_token_count == spent
    first = said.candidates[0].logprobs_result.top_candidates[0].candidates
    assert sum(math.exp(c.log_probability) for c in first) == pytest.approx(1.0)


def test_more_calls_than_allowed_are_turned_away(service: Service, gemini: Any) -> None:
    service.settings(concurrency=2, latency=0.2)

    def ask(number: int) -> int:
        try:
            asked(gemini, f"lost card {number}")
        except genai.errors.ClientError as error:
            return int(error.code)
        return 200

    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(ask, range(6)))
    assert statuses.count(200) >= 2
    assert set(statuses) == {200, 429}
    assert max(seen.under_way for seen in service.requests()) <= 6


@pytest.mark.parametrize("kind", ["drop", "cut", "truncated", "429", "500", "503"])
def test_a_fault_costs_the_answer_and_the_log_says_so(
    kind: str, service: Service, gemini: Any
) -> None:
    service.faults({"kinds": [kind], "times": 1})
    with pytest.raises(Exception):  # noqa: B017, PT011 - each breaks the SDK in its own way
        asked(gemini, "I have lost my card")
    assert asked(gemini, "I have lost my card").text == "card_lost"
    failed, good = service.requests(":generateContent")
    assert (failed.fault, failed.answered) == (kind, False)
    assert failed.made == (kind in ("cut", "truncated"))
    assert good.answered
    assert good.content == failed.content
    assert service.answered() == {good.content: 1}


def test_the_same_seed_breaks_the_same_calls(service: Service, gemini: Any) -> None:
    def broken() -> list[str]:
        service.reset()
        service.faults({"kinds": ["500", "drop"], "share": 0.5, "seed": 3})
        for number in range(12):
            with suppress(Exception):
                asked(gemini, f"lost card {number}")
        return [seen.fault for seen in service.requests()]

    first = broken()
    assert first == broken()
    assert set(first) == {"", "500", "drop"}
