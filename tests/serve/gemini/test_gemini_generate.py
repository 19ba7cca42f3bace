"""Generating, streaming and counting over HTTP, at both services."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import httpx2 as httpx
import pytest
from contract.captured import events
from contract.specs import Exchange
from contract.vendors import spec_of
from google_calls import BOTH, DEVELOPER, GOOGLE, PROJECT, VERTEX, body, configured, said, text_of
from serving import fake_card

from stepladder.core import Json
from stepladder.database import new_id
from stepladder.database.records import KeptPrefix
from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.models.live import Prompt
from stepladder.serve import Ask, Event, Piece, Refusal
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio
END = 1  # the token that ends an answer is made, and so counted, though it is not shown
each_service = pytest.mark.parametrize("model", BOTH, ids=["developer", "vertex"])


async def post(client: httpx.AsyncClient, path: str, sent: Json) -> Json:
    response = await client.post(path, json=sent, headers=GOOGLE)
    assert response.status_code == 200, response.text
    answer = response.json()
    if "stream" not in path:
        assert spec_of(path).faults_of_response(Exchange("POST", path, sent, 200, answer)) == []
    return answer


async def refused(client: httpx.AsyncClient, path: str, sent: Json, status: int) -> Json:
    response = await client.post(path, json=sent, headers=GOOGLE)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == status
    return error


@each_service
async def test_an_answer_has_text_reason_and_usage(
    model: str, app_client: httpx.AsyncClient
) -> None:
    answer = await post(app_client, f"{model}:generateContent", body("hello"))
    assert text_of(answer) == "hello"
    assert answer["candidates"][0]["finishReason"] == "STOP"
    usage = answer["usageMetadata"]
    assert usage["candidatesTokenCount"] == len("hello") + END
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
    assert answer["modelVersion"] == "fake@1"


async def test_the_id_of_a_response_is_that_of_its_record(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    path = f"{DEVELOPER}:generateContent"
    response = await app_client.post(path, json=body("hello"), headers=GOOGLE)
    id = response.json()["responseId"]
    assert response.headers["x-request-id"] == id
    served = server.database.served(id)
    assert served is not None
    assert (served.protocol, served.route) == ("gemini", "generateContent")


@each_service
async def test_all_events_of_a_stream_make_the_answer(
    model: str, app_client: httpx.AsyncClient
) -> None:
    path = f"{model}:streamGenerateContent?alt=sse"
    response = await app_client.post(path, json=body("hello"), headers=GOOGLE)
    assert response.headers["content-type"].startswith("text/event-stream")
    told = events(response.text)
    assert len(told) > 2
    assert "".join(text_of(one) for one in told) == "hello"
    assert told[-1]["candidates"][0]["finishReason"] == "STOP"
    assert told[-1]["usageMetadata"]["candidatesTokenCount"] == 5 + END
    assert len({one["responseId"] for one in told}) == 1


async def test_without_alt_a_stream_is_one_array(app_client: httpx.AsyncClient) -> None:
    told = await post(app_client, f"{VERTEX}:streamGenerateContent", body("hello"))
    assert "".join(text_of(one) for one in told) == "hello"


async def test_another_alt_is_refused(app_client: httpx.AsyncClient) -> None:
    await refused(app_client, f"{VERTEX}:streamGenerateContent?alt=xml", body("x"), 400)


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    """Says the last user's turn back; fails where that is "fail"."""
    tokenizer = FakeTokenizer()

    def reply(prompt: Prompt) -> Sequence[int]:
        said = tokenizer.last_text(prompt.ids)
        if said == "fail":
            raise RuntimeError("the engine broke")
        return tokenizer.encode(said)

    engine = FakeEngine(reply)
    yield engine
    engine.close()


@pytest.mark.parametrize("alt", ["sse", "json"])
async def test_an_engine_that_fails_at_once_is_an_error(
    alt: str, app_client: httpx.AsyncClient
) -> None:
    path = f"{DEVELOPER}:streamGenerateContent?alt={alt}"
    error = await refused(app_client, path, body("fail"), 503)
    assert error["status"] == "UNAVAILABLE"


class Breaking:
    """Says a word and fails."""

    card = fake_card("breaking")

    async def generate(self, ask: Ask) -> AsyncIterator[Event]:
        yield Piece(0, "so far")
        raise Refusal("unavailable", "the engine broke")

    async def count_tokens(self, ask: Ask) -> int:
        return 1


@pytest.mark.parametrize("alt", ["sse", "json"])
async def test_what_breaks_a_stream_is_its_last_message(
    alt: str, app_client: httpx.AsyncClient, server: Server
) -> None:
    server.models.models["breaking"] = Breaking()
    path = f"/v1beta/models/breaking:streamGenerateContent?alt={alt}"
    response = await app_client.post(path, json=body("x"), headers=GOOGLE)
    assert response.status_code == 200
    first, last = events(response.text) if alt == "sse" else response.json()
    assert text_of(first) == "so far"
    assert last["error"] == {
        "code": 503, "message": "the engine broke", "status": "UNAVAILABLE",
    }  # fmt: skip


async def test_a_prefix_is_of_one_model(app_client: httpx.AsyncClient, server: Server) -> None:
    server.models.models["breaking"] = Breaking()
    id = keep(server)
    path = "/v1beta/models/breaking:generateContent"
    error = await refused(app_client, path, body("x", cachedContent=f"cachedContents/{id}"), 400)
    assert "'fake'" in error["message"]


async def test_candidates_are_as_many_as_asked_for(app_client: httpx.AsyncClient) -> None:
    sent = configured("abc", candidateCount=3, seed=1)
    answer = await post(app_client, f"{DEVELOPER}:generateContent", sent)
    assert [one["index"] for one in answer["candidates"]] == [0, 1, 2]
    assert answer["usageMetadata"]["candidatesTokenCount"] == 3 * (3 + END)
    path = f"{DEVELOPER}:streamGenerateContent"
    told = await post(app_client, path, sent)
    texts = ["", "", ""]
    for message in told:
        for one in message["candidates"]:
            texts[one["index"]] += one["content"]["parts"][0]["text"]
    assert texts == ["abc"] * 3


async def test_sampling_reaches_the_engine(
    app_client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    sent = configured("a", temperature=0.3, topP=0.8, topK=5, seed=11, presencePenalty=0.5)
    await post(app_client, f"{VERTEX}:generateContent", sent)
    sampling = engine.seen[-1].sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.3, 0.8, 5)
    assert (sampling.seed, sampling.presence_penalty) == (11, 0.5)


async def test_an_answer_ends_before_a_stop_sequence(app_client: httpx.AsyncClient) -> None:
    sent = configured("one two END three", stopSequences=["END"])
    assert text_of(await post(app_client, f"{DEVELOPER}:generateContent", sent)) == "one two "


async def test_an_answer_is_cut_at_its_limit(app_client: httpx.AsyncClient) -> None:
    answer = await post(
        app_client, f"{DEVELOPER}:generateContent", configured("abcdef", maxOutputTokens=3)
    )
    assert text_of(answer) == "abc"
    assert answer["candidates"][0]["finishReason"] == "MAX_TOKENS"


@each_service
async def test_log_probabilities_of_what_was_said(
    model: str, app_client: httpx.AsyncClient
) -> None:
    sent = configured("ab", responseLogprobs=True, logprobs=2)
    answer = await post(app_client, f"{model}:generateContent", sent)
    (candidate,) = answer["candidates"]
    assert candidate["avgLogprobs"] == pytest.approx(math.log(0.9))
    result = candidate["logprobsResult"]
    assert [one["token"] for one in result["chosenCandidates"]] == ["a", "b"]
    assert [len(one["candidates"]) for one in result["topCandidates"]] == [2, 2]


async def test_json_keeps_to_its_schema(app_client: httpx.AsyncClient) -> None:
    schema = {
        "type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"],
    }  # fmt: skip
    sent = configured("no json", responseMimeType="application/json", responseSchema=schema)
    answer = await post(app_client, f"{DEVELOPER}:generateContent", sent)
    assert json.loads(text_of(answer)) == {"n": 0}


async def test_an_enum_is_one_of_its_values(app_client: httpx.AsyncClient) -> None:
    schema = {"type": "STRING", "enum": ["yes", "no"]}
    sent = configured("maybe", responseMimeType="text/x.enum", responseSchema=schema)
    assert text_of(await post(app_client, f"{VERTEX}:generateContent", sent)) in ("yes", "no")


WEATHER = {"functionDeclarations": [
    {"name": "get_weather", "description": "Weather", "parameters": {
        "type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}},
    {"name": "now"},
]}  # fmt: skip


@each_service
async def test_in_mode_any_a_function_is_called(model: str, app_client: httpx.AsyncClient) -> None:
    config = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}}
    sent = body("w?", tools=[WEATHER], toolConfig=config)
    answer = await post(app_client, f"{model}:generateContent", sent)
    parts = answer["candidates"][0]["content"]["parts"]
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    assert calls
    assert {one["name"] for one in calls} == {"get_weather"}
    assert all(isinstance(one["args"]["city"], str) for one in calls)


async def test_in_mode_none_no_function_is_called(app_client: httpx.AsyncClient) -> None:
    config = {"functionCallingConfig": {"mode": "NONE"}}
    sent = body("w?", tools=[WEATHER], toolConfig=config)
    assert text_of(await post(app_client, f"{DEVELOPER}:generateContent", sent)) == "w?"


def keep(server: Server) -> str:
    now = datetime.now(UTC)
    prefix = KeptPrefix(
        id=new_id(), owner="local", model="fake", tokens=5, created_at=now, updated_at=now,
        request={"systemInstruction": said("Be terse."), "contents": [said("long text")]},
        expires_at=now + timedelta(hours=1),
    )  # fmt: skip
    server.database.add_prefix(prefix)
    return prefix.id


@each_service
async def test_a_kept_prefix_is_said_first(
    model: str, app_client: httpx.AsyncClient, server: Server, engine: FakeEngine
) -> None:
    id = keep(server)
    name = f"cachedContents/{id}"
    name = f"{PROJECT.removeprefix('/v1beta1/')}/{name}" if model == VERTEX else name
    path = f"{model}:generateContent"
    assert text_of(await post(app_client, path, body("hi", cachedContent=name))) == "hi"
    told = FakeTokenizer().decode(engine.seen[-1].ids)
    assert told == "Be terse.long texthi"
    error = await refused(
        app_client, path, body("hi", cachedContent=name, systemInstruction=said("x")), 400
    )
    assert "systemInstruction" in error["message"]


async def test_a_file_of_the_callers_is_read(app_client: httpx.AsyncClient, server: Server) -> None:
    stored = server.database.add_file(
        owner="local", name="a.txt", purpose="media", media_type="text/plain",
        chunks=[b"from the ", b"file"],
    )  # fmt: skip
    path = f"{DEVELOPER}:generateContent"
    for uri in (f"files/{stored.id}", f"http://127.0.0.1/v1beta/files/{stored.id}"):
        parts = [{"fileData": {"fileUri": uri}}, {"text": "and more"}]
        answer = await post(app_client, path, {"contents": [{"parts": parts}]})
        assert text_of(answer) == "from the file\nand more"


async def test_what_may_not_be_fetched_is_refused_by_its_place(
    app_client: httpx.AsyncClient,
) -> None:
    path = f"{DEVELOPER}:generateContent"
    for uri, status in (
        ("files/123", 404), ("http://169.254.169.254/latest", 400), ("file:///etc/passwd", 400),
        ("https://example.com/a.txt", 403), ("https://example.com/v1/files/12", 403),
        ("gs://bucket/none.txt", 400),
    ):  # fmt: skip
        part = {"fileData": {"fileUri": uri, "mimeType": "text/plain"}}
        await refused(app_client, path, {"contents": [{"parts": [part]}]}, status)
    image = {"fileData": {"fileUri": "https://example.com/a.png", "mimeType": "image/png"}}
    error = await refused(app_client, path, {"contents": [{"parts": [image]}]}, 400)
    violation = error["details"][0]["fieldViolations"][0]
    assert violation["field"] == "contents[0].parts[0].fileData"


async def test_an_object_of_cloud_storage_is_read(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    folder = server.settings.gs_folder
    assert folder is not None
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "a.txt").write_text("stored", "utf-8")
    part = {"file_data": {"file_uri": "gs://b/a.txt", "mime_type": "text/plain"}}
    answer = await post(app_client, f"{VERTEX}:generateContent", {"contents": {"parts": [part]}})
    assert text_of(answer) == "stored\n"


async def test_the_model_of_the_body_is_that_of_the_path(app_client: httpx.AsyncClient) -> None:
    path = f"{DEVELOPER}:generateContent"
    assert await post(app_client, path, body("a", model="models/fake"))
    await refused(app_client, path, body("a", model="models/other"), 400)


async def test_models_and_verbs_that_are_not_there(app_client: httpx.AsyncClient) -> None:
    for path in (
        "/v1/models/nobody:generateContent", f"{PROJECT}/endpoints/5:generateContent",
        f"{DEVELOPER}:sing", f"{VERTEX}:rawPredict", "/gemini/v7/models/fake:generateContent",
        "/v1/tunedModels/x:generateContent",
    ):  # fmt: skip
        error = await refused(app_client, path, body("a"), 404)
        assert error["status"] == "NOT_FOUND"


async def test_a_full_server_says_when_to_come_back(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    server.limits.take(server.limits.places)
    path = f"{DEVELOPER}:generateContent"
    response = await app_client.post(path, json=body("a"), headers=GOOGLE)
    server.limits.give_back(server.limits.places)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    error = response.json()["error"]
    assert error["status"] == "RESOURCE_EXHAUSTED"
    (retry,) = error["details"]
    assert retry["@type"] == "type.googleapis.com/google.rpc.RetryInfo"
    assert float(retry["retryDelay"].rstrip("s")) > 0


@pytest.mark.parametrize("prefix", ["", "/gemini", "/vertex"])
async def test_explicit_prefixes_are_base_urls(prefix: str, app_client: httpx.AsyncClient) -> None:
    path = f"{VERTEX if prefix == '/vertex' else DEVELOPER}:generateContent"
    response = await app_client.post(f"{prefix}{path}", json=body("hi"))
    assert text_of(response.json()) == "hi"


async def test_express_and_unversioned_paths_of_vertex(app_client: httpx.AsyncClient) -> None:
    for path in ("/v1beta1/publishers/google/models/fake", "/publishers/google/models/fake"):
        response = await app_client.post(f"{path}:generateContent", json=body("hi"))
        assert text_of(response.json()) == "hi"


# --- tokens -----------------------------------------------------------------------------------


@each_service
async def test_counted_tokens_are_those_that_are_billed(
    model: str, app_client: httpx.AsyncClient
) -> None:
    answer = await post(app_client, f"{model}:generateContent", body("hello"))
    counted = await post(app_client, f"{model}:countTokens", body("hello"))
    assert counted["totalTokens"] == answer["usageMetadata"]["promptTokenCount"]


async def test_a_whole_request_is_counted(app_client: httpx.AsyncClient) -> None:
    request = body("hello", systemInstruction=said("Be terse."), model="models/fake")
    path = f"{DEVELOPER}:countTokens"
    counted = await post(app_client, path, {"generateContentRequest": request})
    answer = await post(app_client, f"{DEVELOPER}:generateContent", request)
    assert counted["totalTokens"] == answer["usageMetadata"]["promptTokenCount"]
    await refused(app_client, path, {**body("a"), "generateContentRequest": request}, 400)
    await refused(app_client, path, {}, 400)


async def test_vertex_counts_billable_characters(app_client: httpx.AsyncClient) -> None:
    sent = body("a b c", systemInstruction=said("d"))
    assert (await post(app_client, f"{VERTEX}:countTokens", sent))["totalBillableCharacters"] == 4
    older = {"instances": [{"prompt": "a b c"}]}
    assert (await post(app_client, f"{VERTEX}:countTokens", older))["totalBillableCharacters"] == 3


async def test_computed_tokens_are_the_text(app_client: httpx.AsyncClient) -> None:
    sent = {"contents": [said("ab"), said("c", "model")]}
    told = await post(app_client, f"{VERTEX}:computeTokens", sent)
    assert told["tokensInfo"] == [
        {"role": "user", "tokens": ["YQ==", "Yg=="], "tokenIds": ["97", "98"]},
        {"role": "model", "tokens": ["Yw=="], "tokenIds": ["99"]},
    ]
    path = f"{PROJECT}/publishers/google/models/fake-encoder:computeTokens"
    await refused(app_client, path, sent, 400)
