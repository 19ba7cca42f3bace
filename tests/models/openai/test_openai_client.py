"""The SDK's client: nothing in it of another service's, whatever the environment holds."""

from __future__ import annotations

import subprocess
import sys

import httpx2
import pytest
from openai_wire import KEY, NOWHERE, Wire, api_over

from stepladder.core import Message, Request
from stepladder.errors import MissingExtra
from stepladder.models.openai.client import open_client
from stepladder.models.openai.endpoints import load_endpoints

ENDPOINTS = load_endpoints(NOWHERE)
ASKED = Request((Message("user", "Is it?"),))
AMBIENT = {
    "OPENAI_API_KEY": "sk-of-openai-0123456789",
    "OPENAI_ADMIN_KEY": "sk-admin-0123456789",
    "OPENAI_ORG_ID": "org-of-the-user",
    "OPENAI_PROJECT_ID": "proj-of-the-user",
    "OPENAI_CUSTOM_HEADERS": "X-Gateway: gate-token-0123\nAuthorization: Bearer other-0123456789",
    "OPENAI_BASE_URL": "https://elsewhere.example.org/v1",
}


def sent_with(name: str, monkeypatch: pytest.MonkeyPatch) -> httpx2.Request:
    for variable, value in AMBIENT.items():
        monkeypatch.setenv(variable, value)
    wire = Wire()
    api_over(wire, name).send("m", ASKED, None)
    return wire.sent[0]


@pytest.mark.parametrize("name", sorted(set(ENDPOINTS) - {"openai"}))
def test_what_is_meant_for_openai_goes_to_nobody_else(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = sent_with(name, monkeypatch)
    everything = f"{sent.url} {dict(sent.headers)} {sent.content!r}"
    for value in ("sk-of-openai", "sk-admin", "org-of", "proj-of", "gate-token", "other-0123"):
        assert value not in everything
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.url.host != "elsewhere.example.org"


def test_openai_itself_is_told_the_users_organisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_CUSTOM_HEADERS", raising=False)
    monkeypatch.setattr(
        "test_openai_client.AMBIENT",
        {k: v for k, v in AMBIENT.items() if k != "OPENAI_CUSTOM_HEADERS"},
    )
    sent = sent_with("openai", monkeypatch)
    assert sent.headers["openai-organization"] == "org-of-the-user"
    assert sent.headers["openai-project"] == "proj-of-the-user"
    assert sent.headers["authorization"] == f"Bearer {KEY}"


def test_a_server_without_keys_is_not_sent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai-0123456789")
    wire = Wire()
    http_client = httpx2.Client(transport=httpx2.MockTransport(wire))
    endpoint = ENDPOINTS["ollama"]
    assert endpoint.base_url is not None
    client = open_client(endpoint, endpoint.base_url, None, http_client=http_client)
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    assert wire.sent[0].headers["authorization"] == "Bearer none"


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/chat/completions"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/chat/completions"),
        ("https://a.example.org/v1", "https://a.example.org/v1/chat/completions"),
        ("https://a.example.org/a%2Fb/v1/", "https://a.example.org/a%2Fb/v1/chat/completions"),
    ],
)
def test_chats_are_asked_below_the_endpoints_address(address: str, asked: str) -> None:
    wire = Wire()
    api_over(wire, url=address).send("m", ASKED, None)
    assert str(wire.sent[0].url) == asked


def test_waiting_is_bounded_and_retrying_is_left_to_us() -> None:
    client = open_client(ENDPOINTS["openai"], "https://api.openai.com/v1", KEY, read_seconds=7)
    assert client.max_retries == 0
    assert (client.timeout.read, client.timeout.connect) == (7, 10)
    client.close()


@pytest.mark.parametrize("package", ["openai", "httptools"])
def test_a_package_is_asked_for_in_one_line(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=package) as caught:
        open_client(ENDPOINTS["together"], "https://x.example.org/v1", KEY)
    assert caught.value.hint == "pip install 'stepladder[openai]'"


def test_the_sdk_is_loaded_only_when_a_client_is_opened() -> None:
    code = "import stepladder.models.openai, sys; assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
