"""What is not text reaches the hosted models that read it, as bytes, and no other model."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from hosted_service import Service

from stepladder.catalogue import load_catalogue
from stepladder.core import Part
from stepladder.cost import load_prices
from stepladder.models import ProviderSettings
from stepladder.models.gemini import open_gemini
from stepladder.serve import Refusal
from stepladder.serve.fetch import Fetcher
from stepladder.serve.served.hosted import HostedServed
from stepladder.serve.server import Server
from stepladder.testing import FakeModel

pytestmark = pytest.mark.anyio

PNG = base64.b64encode(b"\x89PNG and so on").decode()
SHOWN = Part("image", uri=f"data:image/png;base64,{PNG}", media_type="image/png")
GOOGLE = {"x-goog-api-key": "any"}
NAME = "gemini-3.5-flash-lite"  # reads images, audio, video and documents


@pytest.fixture
def hosted(server: Server) -> Iterator[FakeModel]:
    """A hosted model beside the open one, under its own name and an alias."""
    model = FakeModel(lambda request: "seen", name=f"gemini:{NAME}")
    with ThreadPoolExecutor(1) as threads:
        models: Any = server.models
        models.models[NAME] = HostedServed(model, load_catalogue(today=date(2026, 11, 22)), threads)
        models.aliases["eyes"] = NAME
        yield model


def shown(model: FakeModel) -> tuple[Part, ...]:
    content = model.seen[-1].messages[-1].content
    assert isinstance(content, tuple)
    return content


def chat(model: str, *parts: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": [*parts]}]}


@pytest.mark.parametrize("model", [NAME, "eyes"])
async def test_openais_images_are_shown(
    model: str, app_client: httpx.AsyncClient, hosted: FakeModel
) -> None:
    image = {"type": "image_url", "image_url": {"url": SHOWN.uri}}
    body = chat(model, {"type": "text", "text": "What is it?"}, image)
    answer = await app_client.post("/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "seen", answer.text
    assert shown(hosted) == (Part("text", "What is it?"), SHOWN)


async def test_openais_audio_and_files_are_passed_on(
    app_client: httpx.AsyncClient, hosted: FakeModel, server: Server
) -> None:
    file = server.database.add_file(
        owner="local", name="a.pdf", purpose="user_data", media_type="", chunks=[b"%PDF"]
    )
    body = chat(
        NAME,
        {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
        {"type": "file", "file": {"file_id": f"file-{file.id}"}},
    )
    answer = await app_client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    kinds = [(part.kind, part.media_type) for part in shown(hosted)]
    assert kinds == [("audio", "audio/wav"), ("document", "application/pdf")]


@pytest.mark.parametrize(
    "path",
    [f"/v1beta/models/{NAME}", f"/v1/projects/p/locations/l/publishers/google/models/{NAME}"],
)
async def test_geminis_inline_data_and_files_are_shown(
    path: str, app_client: httpx.AsyncClient, hosted: FakeModel, server: Server
) -> None:
    file = server.database.add_file(
        owner="local", name="a", purpose="media", media_type="image/png",
        chunks=[base64.b64decode(PNG)],
    )  # fmt: skip
    parts = [
        {"text": "Which?"},
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"fileData": {"fileUri": f"http://127.0.0.1/v1beta/files/{file.id}"}},
    ]
    body = {"contents": [{"role": "user", "parts": parts}]}
    answer = await app_client.post(f"{path}:generateContent", json=body, headers=GOOGLE)
    assert answer.status_code == 200, answer.text
    assert shown(hosted) == (Part("text", "Which?"), SHOWN, SHOWN)


async def test_what_is_at_an_address_is_fetched_here_and_only_from_listed_hosts(
    app_client: httpx.AsyncClient, hosted: FakeModel, server: Server
) -> None:
    server.fetch = Fetcher(hosts=("files.test",), resolve=lambda host, port: ["127.0.0.1"])
    for url in ("https://files.test/a.png", "https://other.test/a.png", "file:///etc/hostname",
                "/etc/hostname", "http://169.254.169.254/latest", "https://2130706433/",
                "https://[::ffff:127.0.0.1]/", "https://0x7f.1/a.png"):  # fmt: skip
        body = chat(NAME, {"type": "image_url", "image_url": {"url": url}})
        answer = await app_client.post("/v1/chat/completions", json=body)
        assert answer.status_code in (400, 403), url
        part = {"fileData": {"fileUri": url, "mimeType": "image/png"}}
        answer = await app_client.post(
            f"/v1beta/models/{NAME}:generateContent",
            json={"contents": [{"role": "user", "parts": [part]}]},
            headers=GOOGLE,
        )
        assert answer.status_code in (400, 403, 404), url
    assert hosted.seen == []


@pytest.mark.network
async def test_numbers_in_the_place_of_a_host_lead_nowhere_internal() -> None:
    """Also where somebody has listed them: what they mean is looked up, and checked."""
    hosts = ("2130706433", "0x7f.1", "127.1", "017700000001", "localhost")
    for host in hosts:
        with pytest.raises(Refusal):
            await Fetcher(hosts=hosts).read(f"https://{host}/a", most_bytes=9)


async def test_an_open_model_is_not_shown_what_it_does_not_read(
    app_client: httpx.AsyncClient,
) -> None:
    body = chat("fake", {"type": "image_url", "image_url": {"url": SHOWN.uri}})
    answer = await app_client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert "does not read that" in answer.json()["error"]["message"]


@pytest.mark.parametrize("protocol", ["openai", "gemini"])
async def test_the_services_own_sdk_sends_it_on(
    protocol: str,
    service: Service,
    app_client: httpx.AsyncClient,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From either protocol through Google's SDK to a service of another process."""
    monkeypatch.setenv("GEMINI_API_KEY", "key-of-gemini-0123456789")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", service.url)
    today = date(2026, 11, 22)
    catalogue, prices = load_catalogue(today=today), load_prices(None, today=today)
    settings = ProviderSettings("gemini", jobs=tmp_path, catalogue=catalogue, prices=prices)
    with closing(open_gemini(settings)) as provider, ThreadPoolExecutor(1) as threads:
        model = provider.model("gemini:gemini-3.1-flash-lite")
        models: Any = server.models
        models.models["flash"] = HostedServed(model, catalogue, threads)
        text = {"text": "What is it?"}
        if protocol == "openai":
            image: dict[str, Any] = {"type": "image_url", "image_url": {"url": SHOWN.uri}}
            path, body = "/v1/chat/completions", chat("flash", {"type": "text", **text}, image)
        else:
            image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
            path = "/v1beta/models/flash:generateContent"
            body = {"contents": [{"role": "user", "parts": [text, image]}]}
        answer = await app_client.post(path, json=body)
        assert answer.status_code == 200, answer.text
    (sent,) = service.requests(":generateContent")
    parts = sent.body["contents"][-1]["parts"]
    assert parts[0] == text
    assert parts[1]["inlineData"]["data"].rstrip("=") == PNG.rstrip("=")
