"""Google's own SDK drives the server: synchronous over a port, asynchronous without one.

The same file runs under the oldest SDK that is promised: see `test_gemini_oldest_sdk.py`.
"""

from __future__ import annotations

import enum
import importlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest

from stepladder.database.records import Checkpoint, TunedModel, TuningJob
from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.models.live import Prompt
from stepladder.serve.app import create_app
from stepladder.serve.server import Server
from stepladder.serve.settings import ServeSettings

genai = pytest.importorskip("google.genai")
from google.genai import errors, types  # noqa: E402

SERVICES = ("developer", "vertex")
each_service = pytest.mark.parametrize("service", SERVICES)
VERSION = tuple(int(part) for part in genai.__version__.split(".")[:2])
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENCODERS = ("gemini-embedding-001", "gemini-embedding-2", "text-embedding-004")


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    """Says the last user's turn back; asks for the weather where it can, and reads it out."""
    tokenizer = FakeTokenizer()

    def reply(prompt: Prompt) -> Sequence[int]:
        said, last = tokenizer.decode(prompt.ids), tokenizer.last_text(prompt.ids)
        if prompt.schema is not None:
            last = '[{"name": "get_weather", "arguments": {"city": "Paris"}}]'
        elif "<tool_response>" in last:
            last = f"It is {json.loads(last.split('>')[1].split('<')[0])['result']}."
        elif "These functions can be called" in said:
            last = "<tool_call>"
        return tokenizer.encode(last)

    engine = FakeEngine(reply)
    yield engine
    engine.close()


@pytest.fixture
def serve_settings(serve_settings: ServeSettings) -> ServeSettings:
    from dataclasses import replace

    encoders = dict.fromkeys(ENCODERS, "fake-encoder")
    return replace(serve_settings, aliases={**serve_settings.aliases, **encoders, "77": "fake"})


def client_for(service: str, url: str, **options: Any) -> Any:
    """The SDK's client, set up as its users set it up."""
    http_options = types.HttpOptions(base_url=url, **options)
    if service == "developer":
        return genai.Client(api_key="fake", http_options=http_options)
    from google.oauth2.credentials import Credentials

    return genai.Client(
        vertexai=True, project="p", location="us-central1", http_options=http_options,
        credentials=Credentials(token="fake"),
    )  # fmt: skip


@pytest.fixture
def client(service: str, running_server: Any) -> Iterator[Any]:
    found = client_for(service, running_server.url)
    yield found
    found.close()


@pytest.fixture
async def aclient(service: str, server: Server) -> Any:
    http = importlib.import_module("httpx2" if VERSION >= (3, 0) else "httpx")
    transport = http.ASGITransport(create_app(server))
    client = client_for(service, "http://127.0.0.1", async_client_args={"transport": transport}).aio
    yield client
    await client.aclose()


def ask(client: Any, text: str, **config: Any) -> Any:
    return client.models.generate_content(
        model="gemini-3.5-flash", contents=text, config=types.GenerateContentConfig(**config)
    )


class Recipe(pydantic.BaseModel):
    name: str
    minutes: int
    tags: list[str] = []


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


def get_weather(city: str) -> str:
    """Tells the weather."""
    return f"sunny in {city}"


@each_service
@pytest.mark.network
class TestSynchronous:
    def test_text_usage_sampling_and_log_probabilities(
        self, client: Any, engine: FakeEngine
    ) -> None:
        answer = ask(
            client, "hello", system_instruction="Be terse.", temperature=0.2, top_p=0.9, top_k=40,
            max_output_tokens=64, stop_sequences=["END"], seed=7, presence_penalty=0.1,
            safety_settings=[types.SafetySetting(
                category="HARM_CATEGORY_DANGEROUS_CONTENT", threshold="BLOCK_NONE")],
        )  # fmt: skip
        assert answer.text == "hello"
        assert answer.candidates[0].finish_reason == types.FinishReason.STOP
        usage = answer.usage_metadata
        assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
        assert engine.seen[-1].sampling.top_k == 40
        answer = ask(client, "ab", response_logprobs=True, logprobs=2)
        result = answer.candidates[0].logprobs_result
        assert [one.token for one in result.chosen_candidates] == ["a", "b"]
        assert answer.candidates[0].avg_logprobs < 0

    def test_schemas_and_enums_are_parsed(self, client: Any, engine: FakeEngine) -> None:
        engine.reply = lambda prompt: []
        answer = ask(client, "soup", response_mime_type="application/json", response_schema=Recipe)
        assert isinstance(answer.parsed, Recipe)
        answer = ask(
            client, "soup", response_mime_type="application/json",
            response_json_schema=Recipe.model_json_schema(),
        )  # fmt: skip
        assert Recipe.model_validate_json(answer.text)
        answer = ask(client, "x", response_mime_type="text/x.enum", response_schema=Mood)
        assert answer.parsed == Mood.GOOD

    def test_functions_are_called_or_asked_for(self, client: Any) -> None:
        answer = ask(client, "w in Paris?", tools=[get_weather])
        assert answer.text == "It is sunny in Paris."
        assert len(answer.automatic_function_calling_history) == 3
        declaration = types.FunctionDeclaration(
            name="get_weather", description="Weather",
            parameters=types.Schema(
                type="OBJECT", properties={"city": types.Schema(type="STRING")}, required=["city"]
            ),
        )  # fmt: skip
        calling = types.FunctionCallingConfig(mode="ANY", allowed_function_names=["get_weather"])
        answer = ask(
            client, "w?", tools=[types.Tool(function_declarations=[declaration])],
            tool_config=types.ToolConfig(function_calling_config=calling),
        )  # fmt: skip
        (call,) = answer.function_calls
        assert (call.name, call.args) == ("get_weather", {"city": "Paris"})

    def test_a_stream_and_a_chat(self, client: Any) -> None:
        stream = client.models.generate_content_stream(model="fake", contents="hello")
        chunks = [*stream]
        assert "".join(chunk.text or "" for chunk in chunks) == "hello"
        assert chunks[-1].usage_metadata.total_token_count > 0
        chat = client.chats.create(model="fake")
        assert chat.send_message("one").text == "one"
        said = "".join(chunk.text or "" for chunk in chat.send_message_stream("two"))
        assert said == "two"
        assert [one.role for one in chat.get_history(curated=True)].count("model") >= 2
        assert chat.send_message("three").text == "three"

    def test_tokens_are_counted_and_texts_embedded(self, service: str, client: Any) -> None:
        counted = client.models.count_tokens(model="fake", contents="hello")
        assert counted.total_tokens == ask(client, "hello").usage_metadata.prompt_token_count
        if service == "vertex":
            told = client.models.compute_tokens(model="fake", contents="ab")
            assert told.tokens_info[0].token_ids == [97, 98]

        for encoder in ENCODERS:
            found = client.models.embed_content(
                model=encoder, contents=["a"],
                config=types.EmbedContentConfig(output_dimensionality=2, task_type="CLUSTERING"),
            )  # fmt: skip
            assert [one.values for one in found.embeddings] == [[1.0, 0.0]]

    def test_models_and_those_that_were_tuned(
        self, service: str, client: Any, server: Server
    ) -> None:
        names = [one.name for one in client.models.list(config={"page_size": 1})]
        everything = {"fake", "fake-encoder", "gemini-3.5-flash", "gpt-5-mini", "77", *ENCODERS}
        assert {name.rpartition("/")[2] for name in names} == everything
        assert client.models.get(model="fake").name.endswith("models/fake")
        for id in ("77", "78"):
            add_tuned(server, id)
        listed = client.models.list(config={"query_base": False, "page_size": 1})
        names = [one.name for one in listed]
        assert [name.rpartition("/")[2] for name in names] == ["78", "77"]
        changed = client.models.update(model=names[0], config={"display_name": "renamed"})
        assert changed.display_name == "renamed"
        assert client.models.get(model=names[0]).display_name == "renamed"
        client.models.delete(model=names[0])
        with pytest.raises(errors.ClientError) as raised:
            client.models.get(model=names[0])
        assert raised.value.code == 404
        endpoint = "projects/p/locations/us-central1/endpoints/77"
        name = names[1] if service == "developer" else endpoint
        assert client.models.generate_content(model=name, contents="hi").text == "hi"

    def test_errors_are_those_of_google(self, client: Any) -> None:
        with pytest.raises(errors.ClientError) as raised:
            client.models.generate_content(model="nobody", contents="hi")
        assert (raised.value.code, raised.value.status) == (404, "NOT_FOUND")
        with pytest.raises(errors.ClientError) as raised:
            ask(client, "x", tools=[types.Tool(google_search=types.GoogleSearch())])
        assert raised.value.status == "INVALID_ARGUMENT"


@each_service
@pytest.mark.anyio
class TestAsynchronous:
    async def test_text_streams_and_models(self, aclient: Any) -> None:
        answer = await aclient.models.generate_content(model="fake", contents="hello")
        assert answer.text == "hello"
        stream = await aclient.models.generate_content_stream(model="fake", contents="hello")
        said = [chunk.text or "" async for chunk in stream]
        assert "".join(said) == "hello"
        names = [one.name async for one in await aclient.models.list()]
        assert len(names) == 5 + len(ENCODERS)

    async def test_a_function_is_called_by_itself(self, aclient: Any) -> None:
        config = types.GenerateContentConfig(tools=[get_weather])
        answer = await aclient.models.generate_content(
            model="fake", contents="w in Paris?", config=config
        )
        assert answer.text == "It is sunny in Paris."

    async def test_a_chat_tokens_and_embeddings(self, aclient: Any) -> None:
        chat = aclient.chats.create(model="fake")
        assert (await chat.send_message("one")).text == "one"
        said = [chunk.text or "" async for chunk in await chat.send_message_stream("two")]
        assert "".join(said) == "two"
        assert (await aclient.models.count_tokens(model="fake", contents="a")).total_tokens
        found = await aclient.models.embed_content(model="gemini-embedding-001", contents="a")
        assert found.embeddings[0].values == [1.0, 0.0, 0.0, 0.0]


def add_tuned(server: Server, id: str) -> None:
    job = TuningJob(
        id=f"job{id}", owner="local", protocol="vertex", base="gemini-3.5-flash", model="fake",
        method="supervised", training_file="gs://b/t.jsonl", created_at=NOW, updated_at=NOW,
        state="succeeded", tuned_model=id, checkpoints=(Checkpoint("1", 10, 1.0, id),),
    )  # fmt: skip
    server.database.add_job(job)
    tuned = TunedModel(
        id=id, owner="local", job=job.id, base="gemini-3.5-flash", model="fake", created_at=NOW,
        updated_at=NOW, files={}, name="mine",
    )  # fmt: skip
    server.database.add_tuned(tuned)
