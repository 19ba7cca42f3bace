"""The service of the tests itself: what it answers real SDKs, what it counts, how it goes wrong."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google.oauth2.credentials import Credentials
from hosted_service import PROJECT, Service
from hosted_tasks import make_hosted_task

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
def gemini(service: Service) -> Iterator[Any]:
    options = genai.types.HttpOptions(base_url=service.url)
    with genai.Client(api_key="key-of-gemini", http_options=options) as client:
        yield client


@pytest.fixture
def chat(service: Service) -> Iterator[Any]:
    key, url = "key-of-openai", service.openai_url
    with openai.OpenAI(api_key=key, base_url=url, max_retries=0) as client:
        yield client


@pytest.fixture
def vertex(service: Service) -> Iterator[Any]:
    with _vertex(service) as client:
        yield client


def _vertex(service: Service) -> Any:
    return genai.Client(
        vertexai=True,
        project=PROJECT,
        location="us-central1",
        credentials=Credentials(token="token-of-vertex"),
        http_options=genai.types.HttpOptions(base_url=service.url),
    )


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


def test_a_rate_is_kept_and_its_error_says_how_long_to_wait(service: Service, gemini: Any) -> None:
    service.settings(per_second=0.001, wait_seconds=1.5)
    with pytest.raises(genai.errors.ClientError) as turned_away:
        [asked(gemini, f"lost card {number}") for number in range(30)]
    assert turned_away.value.code == 429
    details = turned_away.value.details["error"]["details"]
    assert "1.5s" in [detail.get("retryDelay") for detail in details]
    assert turned_away.value.response.headers["retry-after"] == "1.5"
    assert sum(service.answered().values()) > 0


@pytest.mark.parametrize(("kind", "text"), [("slow", "card_lost"), ("empty", None)])
def test_an_answer_may_be_late_or_empty_and_is_one_all_the_same(
    kind: str, text: str | None, service: Service, gemini: Any
) -> None:
    service.faults({"kinds": [kind], "seconds": 0.01})
    assert asked(gemini, "I have lost my card").text == text
    (seen,) = service.requests()
    assert (seen.fault, seen.answered) == (kind, True)


def test_without_a_key_nothing_is_answered(service: Service) -> None:
    request = urllib.request.Request(f"{service.url}/v1/models/{MODEL}:generateContent", b"{}")
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(request)
    refused.value.close()
    assert [seen.made for seen in service.requests()] == [False]


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


# --- what else is asked for ---------------------------------------------------------------------


def test_an_answer_has_the_form_asked_for(gemini: Any) -> None:
    chosen = asked(
        gemini,
        "lost",
        response_mime_type="text/x.enum",
        response_schema={"type": "STRING", "enum": ["yes", "lost it", "no"]},
    )
    assert chosen.text == "lost it"
    schema = {
        "type": "OBJECT",
        "properties": {
            "label": {"type": "STRING", "enum": ["card_lost", "refund"]},
            "days": {"type": "INTEGER"},
            "words": {"type": "ARRAY", "items": {"type": "STRING"}},
        },
    }
    record = asked(
        gemini,
        "I lost my card 12 days ago",
        response_mime_type="application/json",
        response_schema=schema,
    )
    found = json.loads(record.text)
    assert (found["label"], found["days"]) == ("card_lost", 12)
    assert isinstance(found["words"], list)


def test_an_answer_ends_where_it_must(gemini: Any) -> None:
    cut = asked(gemini, "I have lost my card", max_output_tokens=1)
    assert (cut.text, cut.candidates[0].finish_reason) == ("card_", "MAX_TOKENS")
    stopped = asked(gemini, "I have lost my card", stop_sequences=["_l"])
    assert (stopped.text, stopped.candidates[0].finish_reason) == ("card", "STOP")


def test_thinking_costs_tokens_and_cannot_always_be_switched_off(gemini: Any) -> None:
    off = {"thinking_config": {"thinking_budget": 0}}
    assert asked(gemini, "lost", **off).usage_metadata.thoughts_token_count is None
    usage = asked(gemini, "lost", model="gemini-3.5-flash").usage_metadata
    assert usage.thoughts_token_count > 0
    spent = usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count
    assert usage.total_token_count == spent
    for config in (off, {"thinking_config": {"thinking_level": "MINIMAL"}}):
        with pytest.raises(genai.errors.ClientError, match="INVALID_ARGUMENT"):
            asked(gemini, "lost", model="gemini-3.8-flash", **config)
    nothing = asked(gemini, "lost", model="gemini-3.5-flash", max_output_tokens=3)
    assert nothing.text is None
    assert nothing.candidates[0].finish_reason == "MAX_TOKENS"


def test_a_function_is_called_when_one_fits(gemini: Any, chat: Any) -> None:
    schema = {"type": "object", "properties": {"days": {"type": "integer"}}}
    block = {"name": "block_card", "description": "block a card", "parameters_json_schema": schema}
    tools = [{"function_declarations": [block]}]
    (call,) = asked(gemini, "Block the card for 3 days", tools=tools).function_calls
    assert (call.name, call.args) == ("block_card", {"days": 3})
    assert asked(gemini, "refund me", tools=tools).text == "refund"
    function = {"name": "block_card", "description": "block a card", "parameters": schema}
    said = chat.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "Block the card for 3 days"}],
        tools=[{"type": "function", "function": function}],
    )
    assert said.choices[0].finish_reason == "tool_calls"
    assert json.loads(said.choices[0].message.tool_calls[0].function.arguments) == {"days": 3}


def test_a_stream_says_what_the_whole_answer_says_and_breaks_like_one(
    service: Service, gemini: Any, chat: Any
) -> None:
    def stream() -> str:
        parts = gemini.models.generate_content_stream(
            model=MODEL, contents="How can I add money?", config={"system_instruction": SYSTEM}
        )
        return "".join(part.text or "" for part in parts)

    def chunks() -> str:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "refund"}]
        with chat.chat.completions.create(
            model="gpt-4o-mini", messages=messages, stream=True
        ) as parts:
            return "".join(part.choices[0].delta.content or "" for part in parts)

    assert (stream(), chunks()) == ("top_up", "refund")
    service.faults({"kinds": ["cut"]})
    for broken in (stream, chunks):
        with pytest.raises(Exception, match=r"Connection error|closed connection"):
            broken()


def test_a_kept_prefix_is_used_billed_and_gone(service: Service, gemini: Any) -> None:
    service.settings(cache_least_tokens=10)
    kept = gemini.caches.create(
        model=MODEL, config={"system_instruction": SYSTEM, "contents": "Be kind.", "ttl": "60s"}
    )
    config = {"cached_content": kept.name}
    said = gemini.models.generate_content(model=MODEL, contents="a refund", config=config)
    assert said.text == "refund"
    usage = said.usage_metadata
    assert usage.cached_content_token_count == kept.usage_metadata.total_token_count
    assert usage.prompt_token_count > usage.cached_content_token_count
    gemini.caches.delete(name=kept.name)
    with pytest.raises(genai.errors.ClientError, match="PERMISSION_DENIED"):
        gemini.models.generate_content(model=MODEL, contents="a refund", config=config)
    service.settings(cache_least_tokens=10_000)
    with pytest.raises(genai.errors.ClientError, match="too small"):
        gemini.caches.create(model=MODEL, config={"system_instruction": SYSTEM})


# --- jobs ---------------------------------------------------------------------------------------


def ended(get: Callable[[], Any], state: Callable[[Any], str]) -> Any:
    for _ in range(10_000):
        job = get()
        if any(word in state(job).lower() for word in ("succeeded", "failed", "cancelled")):
            return job
    raise AssertionError("the job does not end")


def test_a_batch_answers_every_request_or_says_why_not(service: Service, gemini: Any) -> None:
    service.settings(fail_batch_rows=0.5)
    requests = [
        {
            "contents": [{"role": "user", "parts": [{"text": f"refund {number}"}]}],
            "metadata": {"key": str(number)},
            "config": {"system_instruction": SYSTEM},
        }
        for number in range(8)
    ]
    made = gemini.batches.create(model=MODEL, src=requests, config={"display_name": "ours"})
    assert [job.name for job in gemini.batches.list()] == [made.name]
    job = ended(lambda: gemini.batches.get(name=made.name), lambda job: str(job.state))
    answers = job.dest.inlined_responses
    assert [answer.metadata["key"] for answer in answers] == [str(n) for n in range(8)]
    said = [answer.response.text for answer in answers if answer.response]
    assert set(said) == {"refund"}
    assert 0 < len(said) < 8
    assert all(answer.error.message for answer in answers if not answer.response)


def training_rows(count: int = 40) -> list[dict[str, Any]]:
    """Rows whose answer no label of the prompt names, so that only training can teach it."""
    pairs = [("my card is gone", "blue"), ("send me the money back", "green")]
    return [
        {
            "systemInstruction": {"parts": [{"text": "Which colour is it?"}]},
            "contents": [
                {"role": "user", "parts": [{"text": f"{pairs[n % 2][0]} {n}"}]},
                {"role": "model", "parts": [{"text": pairs[n % 2][1]}]},
            ],
        }
        for n in range(count)
    ]


def put(service: Service, rows: list[Any], name: str = "train.jsonl") -> str:
    service.put("rows", name, "".join(f"{json.dumps(row)}\n" for row in rows).encode())
    return f"gs://rows/{name}"


def tune(client: Any, uri: str, base: str = "gemini-3.5-flash", **config: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK says that tuning is experimental
        return client.tunings.tune(
            base_model=base, training_dataset={"gcs_uri": uri}, config=config
        )


def followed(client: Any, job: Any) -> Any:
    return ended(lambda: client.tunings.get(name=job.name), lambda job: str(job.state))


def test_a_tuned_model_has_learnt_its_rows(service: Service, vertex: Any) -> None:
    uri = put(service, training_rows())
    job = followed(vertex, tune(vertex, uri, epoch_count=3, labels={"mark": "m1"}))
    assert job.state == "JOB_STATE_SUCCEEDED"
    config = {"system_instruction": "Which colour is it?"}
    for model in (job.tuned_model.endpoint, job.tuned_model.checkpoints[-1].endpoint):
        said = vertex.models.generate_content(
            model=model, contents="the card, gone!", config=config
        )
        assert said.text == "blue"
    assert len(job.tuned_model.checkpoints) == 3
    stats = job.tuning_data_stats.supervised_tuning_data_stats
    assert stats.tuning_dataset_example_count == 40
    assert stats.total_billable_token_count > 40
    assert [found.name for found in vertex.tunings.list(config={"filter": "labels.mark=m1"})] == [
        job.name
    ]
    assert not list(vertex.tunings.list(config={"filter": "labels.mark=m2"}))


def test_the_preferred_answer_is_learnt(service: Service, vertex: Any) -> None:
    def scored(text: str, score: int) -> dict[str, Any]:
        return {"score": score, "completion": {"role": "model", "parts": [{"text": text}]}}

    rows = [
        {
            "contents": row["contents"][:1],
            "completions": [
                scored("grey", 0),
                scored(row["contents"][1]["parts"][0]["text"], 1),
            ],
        }
        for row in training_rows()
    ]
    uri = put(service, rows)
    with pytest.raises(genai.errors.ClientError, match="Preference tuning is not supported"):
        tune(vertex, uri, method="PREFERENCE_TUNING")
    made = tune(vertex, uri, base="gemini-2.5-flash", method="PREFERENCE_TUNING")
    job = followed(vertex, made)
    assert job.state == "JOB_STATE_SUCCEEDED"
    said = vertex.models.generate_content(model=job.tuned_model.endpoint, contents="card gone")
    assert said.text == "blue"


def test_rows_that_cannot_be_learnt_from_fail_the_job(service: Service, vertex: Any) -> None:
    rows = training_rows()
    rows[6]["contents"].pop()
    job = followed(vertex, tune(vertex, put(service, rows)))
    assert job.state == "JOB_STATE_FAILED"
    assert "Row 7: the last turn must have the role model" in job.error.message


def test_what_cannot_be_tuned_is_refused(service: Service, vertex: Any) -> None:
    good = put(service, training_rows())
    for uri in ("gs://rows/none.jsonl", "gs://rows/train.csv"):
        with pytest.raises(genai.errors.ClientError):
            tune(vertex, uri)
    with pytest.raises(genai.errors.ClientError, match="Adapter size"):
        tune(vertex, good, adapter_size="ADAPTER_SIZE_THIRTY_TWO")
    service.settings(jobs_at_once=1, polls=10_000)
    tune(vertex, good)
    with pytest.raises(genai.errors.ClientError, match="RESOURCE_EXHAUSTED"):
        tune(vertex, good)


def test_a_job_outlives_the_service(lasting_service: Service) -> None:
    service = lasting_service
    service.settings(polls=10_000)
    with _vertex(service) as vertex:
        job = tune(vertex, put(service, training_rows()))
        assert vertex.tunings.get(name=job.name).state == "JOB_STATE_RUNNING"
    service.restart()
    with _vertex(service) as vertex:
        job = followed(vertex, job)
        assert job.state == "JOB_STATE_SUCCEEDED"
        said = vertex.models.generate_content(
            model=job.tuned_model.endpoint, contents="send the money back please"
        )
        assert said.text == "green"


def test_a_job_in_openais_protocol(chat: Any) -> None:
    lines = [
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": row["contents"][0]["parts"][0]["text"]},
                    {"role": "assistant", "content": row["contents"][1]["parts"][0]["text"]},
                ]
            }
        )
        for row in training_rows()
    ]
    data = "\n".join(lines).encode()
    file = chat.files.create(file=("train.jsonl", data), purpose="fine-tune")
    assert chat.files.content(file.id).content == data
    made = chat.fine_tuning.jobs.create(
        model="gpt-4o-mini-2024-07-18", training_file=file.id, suffix="ours"
    )
    job = ended(lambda: chat.fine_tuning.jobs.retrieve(made.id), lambda job: str(job.status))
    assert job.fine_tuned_model.startswith("ft:gpt-4o-mini-2024-07-18:tests:ours:")
    events = list(chat.fine_tuning.jobs.list_events(job.id, limit=3))
    losses = [event.data["train_loss"] for event in events if event.type == "metrics"]
    assert losses
    assert losses == sorted(losses)  # the newest first
    (first, *_) = chat.fine_tuning.jobs.checkpoints.list(job.id)
    for model in (job.fine_tuned_model, first.fine_tuned_model_checkpoint):
        said = chat.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "card gone"}]
        )
        assert said.choices[0].message.content == "blue"


def test_the_learner_gets_better_on_the_ladder(
    service: Service, gemini: Any, vertex: Any, tmp_path: Path
) -> None:
    """A prompt, examples in it, a tuned model: on the rows of a real task, not on made-up ones."""
    task = make_hosted_task(tmp_path / "task", labels=20)
    rows = {
        name: [json.loads(line) for line in (task / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "dev")
    }
    labels = json.loads((task / "labels.json").read_text())
    system = "Sort the message.\n\nLabels:\n" + "\n".join(f"- {label}" for label in labels)
    examples = [
        {"role": role, "parts": [{"text": row[key]}]}
        for row in rows["train"][:60]
        for role, key in (("user", "input"), ("model", "output"))
    ]

    def share_right(client: Any, model: str, shown: list[Any]) -> float:
        right = 0
        for row in rows["dev"][::2]:
            asked = [*shown, {"role": "user", "parts": [{"text": row["input"]}]}]
            said = client.models.generate_content(
                model=model, contents=asked, config={"system_instruction": system}
            )
            right += said.text == row["output"]
        return right / len(rows["dev"][::2])

    learnt = [
        {
            "systemInstruction": {"parts": [{"text": system}]},
            "contents": [
                {"role": "user", "parts": [{"text": row["input"]}]},
                {"role": "model", "parts": [{"text": row["output"]}]},
            ],
        }
        for row in rows["train"]
    ]
    job = followed(vertex, tune(vertex, put(service, learnt)))
    plain = share_right(gemini, MODEL, [])
    shown = share_right(gemini, MODEL, examples)
    tuned = share_right(vertex, job.tuned_model.endpoint, [])
    assert 1 / len(labels) < plain < shown < tuned < 1
