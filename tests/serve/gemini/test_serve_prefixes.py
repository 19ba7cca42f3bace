"""Kept prefixes: what was computed ahead is used again, until it expires, by its owner alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from contract.specs import Json
from resources import PLACE, VERTEX, call, of_the_contract
from serving import fake_card

from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.serve.app import create_app
from stepladder.serve.served.local import LocalServed
from stepladder.serve.server import Server
from stepladder.serve.settings import ServeSettings

pytestmark = pytest.mark.anyio

CACHES = "/v1beta/cachedContents"
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
LONG = "All that the model has to know. " * 30


@pytest.fixture
def serve_settings(tmp_path: Path) -> ServeSettings:
    return ServeSettings(
        aliases={"gemini-2.5-flash": "fake"}, database=f"sqlite:///{tmp_path / 'serve.db'}"
    )


def asked(**more: Json) -> dict[str, Json]:
    contents = [{"role": "user", "parts": [{"text": LONG}]}]
    return {"model": "models/gemini-2.5-flash", "contents": contents, **more}


def using(name: str, text: str = "question", **more: Json) -> dict[str, Json]:
    contents = [{"role": "user", "parts": [{"text": text}]}]
    return {"contents": contents, "cachedContent": name, **more}


def seconds_of(prefix: Json) -> float:
    """How long after its last change it expires."""
    ends, changed = (datetime.fromisoformat(prefix[n]) for n in ("expireTime", "updateTime"))
    return (ends - changed).total_seconds()


async def test_captured_requests_are_answered(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    """The names are those of another server's prefixes: ours are asked for in their place."""
    names = {
        "/v1/cachedContents/abc": "",
        "/v1beta1/projects/1/locations/us-central1/cachedContents/99": "",
    }
    for case, exchange in of_the_contract("caches"):
        path = exchange.path
        if path in names:
            version = path.split("/")[1]
            path = f"/{version}/{names[path]}"
        answer = await call(app_client, exchange.method, path, exchange.body)
        if case.startswith("create_"):
            known = next(one for one in names if ("projects" in one) == ("projects" in path))
            names[known] = answer["name"]
            assert answer["model"] == exchange.body["model"]
            assert (answer["displayName"], seconds_of(answer)) == ("c", 3600)
        elif case.startswith("update_"):
            assert seconds_of(answer) == 7200
        elif case.startswith("list_"):
            assert answer["cachedContents"]
    assert server.database.prefixes() == []


async def test_what_was_computed_ahead_is_used_and_counted(
    app_client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    system = {"parts": [{"text": "Be brief."}]}
    prefix = await call(app_client, "POST", CACHES, asked(systemInstruction=system))
    tokens = prefix["usageMetadata"]["totalTokenCount"]
    assert tokens > len(LONG)
    assert len(engine.seen) == 1, "computed when it was made"
    answer = await call(app_client, "POST", GENERATE, using(prefix["name"]))
    usage = answer["usageMetadata"]
    assert 0 < usage["cachedContentTokenCount"] <= tokens
    assert usage["cachedContentTokenCount"] > len(LONG) * 0.9
    assert usage["promptTokenCount"] > tokens
    said = {"contents": [*asked()["contents"], *using("")["contents"]], "systemInstruction": system}
    plain = await call(app_client, "POST", GENERATE, said)
    assert plain["usageMetadata"]["promptTokenCount"] == usage["promptTokenCount"]
    assert engine.seen[-1].ids == engine.seen[-2].ids, "the same prompt as if all had been said"


async def test_functions_of_a_prefix_can_be_called(app_client: httpx.AsyncClient) -> None:
    tools = [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}]
    config = {"functionCallingConfig": {"mode": "ANY"}}
    prefix = await call(app_client, "POST", CACHES, asked(tools=tools, toolConfig=config))
    answer = await call(app_client, "POST", GENERATE, using(prefix["name"]))
    assert answer["usageMetadata"]["cachedContentTokenCount"] > len(LONG) * 0.9
    (part,) = answer["candidates"][0]["content"]["parts"]
    assert part["functionCall"]["name"] == "f"


async def test_a_file_is_read_when_the_prefix_is_made(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    file = server.database.add_file(
        owner="local", name="t", purpose="media", media_type="text/plain", chunks=[b"of the file"]
    )
    parts: Json = [
        {"fileData": {"file_uri": f"files/{file.id}", "mime_type": "text/plain"}},
        {"inlineData": {"mimeType": "text/plain", "data": "b2YgdGhlIGJvZHk="}},
    ]
    body = asked(contents=[{"role": "user", "parts": parts}])
    prefix = await call(app_client, "POST", CACHES, body)
    server.database.delete_file(file.id)
    count = await call(app_client, "POST", GENERATE, using(prefix["name"]))
    assert count["usageMetadata"]["promptTokenCount"] > len("of the file\nof the body\n")


async def test_each_service_names_it_in_its_own_way_and_finds_the_others(
    app_client: httpx.AsyncClient,
) -> None:
    body = asked(model=f"{PLACE}/publishers/google/models/gemini-2.5-flash")
    prefix = await call(app_client, "POST", f"{VERTEX}/cachedContents", body)
    assert prefix["name"].startswith(f"{PLACE}/cachedContents/")
    assert prefix["model"] == body["model"]
    path = f"{VERTEX}/publishers/google/models/gemini-2.5-flash:generateContent"
    answer = await call(app_client, "POST", path, using(prefix["name"]))
    assert answer["usageMetadata"]["cachedContentTokenCount"] > 0
    short = f"cachedContents/{prefix['name'].rpartition('/')[2]}"
    assert (await call(app_client, "GET", f"/v1beta/{short}"))["name"] == short


async def test_another_model_does_not_use_it(
    app_client: httpx.AsyncClient, server: Server, engine: FakeEngine
) -> None:
    server.models.models["other"] = LocalServed(fake_card("other"), engine, FakeTokenizer())
    prefix = await call(app_client, "POST", CACHES, asked())
    path = "/v1beta/models/other:generateContent"
    answer = await call(app_client, "POST", path, using(prefix["name"]), 400)
    assert "'fake', not for 'other'" in answer["error"]["message"]


async def test_an_expired_prefix_is_gone(app_client: httpx.AsyncClient, server: Server) -> None:
    prefix = await call(app_client, "POST", CACHES, asked())
    id = prefix["name"].rpartition("/")[2]
    server.database.change_prefix(id, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    for method, body in (("GET", None), ("PATCH", {"ttl": "10s"}), ("DELETE", None)):
        await call(app_client, method, f"{CACHES}/{id}", body, 404)
    await call(app_client, "POST", GENERATE, using(prefix["name"]), 404)
    assert await call(app_client, "GET", CACHES) == {"cachedContents": []}


async def test_a_prefix_expires_when_it_is_said_to(app_client: httpx.AsyncClient) -> None:
    ends = datetime.now(UTC) + timedelta(hours=5)
    prefix = await call(app_client, "POST", CACHES, asked(expireTime=ends.isoformat()))
    assert datetime.fromisoformat(prefix["expireTime"]) == ends
    assert seconds_of(await call(app_client, "POST", CACHES, asked())) == 3600
    assert seconds_of(await call(app_client, "POST", CACHES, asked(ttl="1.5s"))) == 1.5
    later = (ends + timedelta(hours=1)).isoformat()
    path = f"/v1beta/{prefix['name']}?updateMask=expireTime"
    changed = await call(app_client, "PATCH", path, {"expire_time": later})
    assert datetime.fromisoformat(changed["expireTime"]) == ends + timedelta(hours=1)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": None}, 400), ({"model": "models/nobody"}, 404), ({"contents": []}, 400),
        ({"ttl": "-1s"}, 400), ({"ttl": "0s"}, 400), ({"ttl": "999999999999s"}, 400),
        ({"ttl": "1h"}, 400), ({"ttl": "1s", "expireTime": "2100-01-01T00:00:00Z"}, 400),
        ({"expireTime": "2100-13-01T00:00:00Z"}, 400), ({"colour": 1}, 400),
        ({"expireTime": "2020-01-01T00:00:00Z"}, 400),
        ({"expireTime": "2999-01-01T00:00:00Z"}, 400),
        ({"contents": [{"role": "user"}]}, 400), ({"tools": [{"googleSearch": {}}]}, 400),
        ({"displayName": "x" * 129}, 400), ({"contents": [{"parts": [{"text": "x" * 9000}]}]}, 400),
    ],
    ids=lambda one: str(one)[:40],
)  # fmt: skip
async def test_what_cannot_be_kept_is_refused(
    body: Json, status: int, app_client: httpx.AsyncClient, server: Server
) -> None:
    await call(app_client, "POST", CACHES, asked() | body, status)
    assert server.database.prefixes() == []


async def test_nothing_but_its_end_can_be_changed(app_client: httpx.AsyncClient) -> None:
    prefix = await call(app_client, "POST", CACHES, asked())
    path = f"/v1beta/{prefix['name']}"
    for body, query in (
        ({}, ""), ({"displayName": "x"}, ""), ({"contents": []}, ""),
        ({"ttl": "10s", "model": "m"}, ""), ({"ttl": "x"}, ""),
        ({"ttl": "10s"}, "?updateMask=displayName"),
    ):  # fmt: skip
        await call(app_client, "PATCH", path + query, body, 400)
    assert await call(app_client, "GET", path) == prefix


async def test_lists_go_on_page_by_page(app_client: httpx.AsyncClient) -> None:
    made = [(await call(app_client, "POST", CACHES, asked()))["name"] for _ in range(3)]
    first = await call(app_client, "GET", f"{CACHES}?pageSize=2")
    rest = await call(app_client, "GET", f"{CACHES}?pageSize=2&pageToken={first['nextPageToken']}")
    found = [one["name"] for page in (first, rest) for one in page["cachedContents"]]
    assert found == made[::-1]
    assert "nextPageToken" not in rest


async def test_an_encoder_keeps_nothing(app_client: httpx.AsyncClient) -> None:
    await call(app_client, "POST", CACHES, asked(model="models/fake-encoder"), 400)


@pytest.mark.slow
async def test_a_real_engine_does_not_compute_it_again(local_server: Server) -> None:
    transport = httpx.ASGITransport(create_app(local_server))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        model = "models/smollm2-135m-instruct"
        prefix = await call(client, "POST", CACHES, asked(model=model))
        config = {"temperature": 0, "maxOutputTokens": 8}
        path = f"/v1beta/{model}:generateContent"
        body = using(prefix["name"], "What is this about?", generationConfig=config)
        answer = await call(client, "POST", path, body)
        usage = answer["usageMetadata"]
        assert usage["cachedContentTokenCount"] > 0.8 * prefix["usageMetadata"]["totalTokenCount"]
        contents = [*asked()["contents"], *body["contents"]]
        said = {"contents": contents, "generationConfig": config}
        plain = await call(client, "POST", path, said)
        assert plain["candidates"][0]["content"] == answer["candidates"][0]["content"]
        assert plain["usageMetadata"]["promptTokenCount"] == usage["promptTokenCount"]


# --- the SDK ------------------------------------------------------------------------------------


@pytest.fixture
def sdk(running_server: Any) -> Iterator[Any]:
    from google import genai
    from google.genai import types

    client = genai.Client(
        api_key="fake", http_options=types.HttpOptions(base_url=running_server.url)
    )
    yield client
    client.close()


@pytest.mark.network
def test_the_sdk_keeps_uses_changes_and_forgets(sdk: Any) -> None:
    from google.genai import types

    kept = sdk.caches.create(
        model="gemini-2.5-flash",
        config=types.CreateCachedContentConfig(
            contents=[types.Content(role="user", parts=[types.Part(text=LONG)])],
            system_instruction="Be brief.", ttl="60s", display_name="c",
        ),
    )  # fmt: skip
    assert kept.usage_metadata.total_token_count > len(LONG)
    answer = sdk.models.generate_content(
        model="gemini-2.5-flash",
        contents="question",
        config=types.GenerateContentConfig(cached_content=kept.name),
    )
    assert answer.text == "question"
    assert answer.usage_metadata.cached_content_token_count > 0.9 * len(LONG)
    longer = sdk.caches.update(name=kept.name, config={"ttl": "7200s"})
    assert longer.expire_time > kept.expire_time
    assert [one.name for one in sdk.caches.list()] == [kept.name]
    sdk.caches.delete(name=kept.name)
    with pytest.raises(Exception, match="NOT_FOUND"):
        sdk.caches.get(name=kept.name)
