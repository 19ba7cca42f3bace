"""Where OpenAI's protocol is spoken: the shipped data, the user's file, and what may not decide."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from openai_wire import NOWHERE

from stepladder import registry
from stepladder.errors import ModelError, StepladderError, TaskError
from stepladder.models import ProviderSettings
from stepladder.models.openai import connect, find_endpoint, open_provider
from stepladder.models.openai.endpoints import address, load_endpoints, user_file

ENDPOINTS = load_endpoints(NOWHERE)
OWN = """
[[endpoint]]
name = "ours"
base_url = "https://models.example.org/v1"
key_env = "OURS_API_KEY"
refuses = ["logprobs"]
read_on = 2026-11-01
source = "our own server"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder of the user's own, empty so far."""
    monkeypatch.setenv("STEPLADDER_CONFIG", str(tmp_path / "configuration"))
    path = user_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepladder.models.hosted.keys._from_keyring", lambda name: "")


def test_every_shipped_endpoint_is_a_provider_and_dated() -> None:
    for name, endpoint in ENDPOINTS.items():
        assert registry.look_up("provider", name) is open_provider
        assert endpoint.name == name
        assert date(2026, 1, 1) < endpoint.read_on <= date(2026, 12, 31)
        assert endpoint.source
        assert endpoint.base_url or endpoint.base_url_env


def test_servers_of_ones_own_are_on_this_machine() -> None:
    for name in ("ollama", "vllm", "llamacpp"):
        assert address(ENDPOINTS[name], {}).startswith("http://127.0.0.1:")
        assert ENDPOINTS[name].key_optional


def test_the_environment_says_where_an_endpoint_is() -> None:
    url = "https://eu.api.openai.com/v1/"
    assert address(ENDPOINTS["openai"], {"OPENAI_BASE_URL": url}) == url[:-1]
    assert address(ENDPOINTS["openai"], {}) == "https://api.openai.com/v1"


@pytest.mark.parametrize("end", ["", "/", "/openai/v1", "/openai/v1/"])
def test_azure_is_asked_in_the_way_of_its_v1_api(end: str) -> None:
    told = {"AZURE_OPENAI_ENDPOINT": f"https://mine.openai.azure.com{end}"}
    assert address(ENDPOINTS["azure"], told) == "https://mine.openai.azure.com/openai/v1"


def test_azure_without_an_address_says_what_to_set() -> None:
    with pytest.raises(ModelError, match="AZURE_OPENAI_ENDPOINT"):
        address(ENDPOINTS["azure"], {})


ELSEWHERE = ["http://models.example.org/v1", "http://10.0.0.7/v1", "http://127.0.0.1.evil.org/v1"]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_a_key_does_not_travel_unencrypted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", url)
    monkeypatch.setenv("VLLM_API_KEY", "a-key-of-the-user")
    with pytest.raises(ModelError, match="not encrypted") as caught:
        connect(ENDPOINTS["vllm"])
    assert "plain_http" in caught.value.hint
    connect(replace(ENDPOINTS["vllm"], plain_http=True)).close()


@pytest.mark.parametrize("url", ELSEWHERE)
def test_without_a_key_there_is_nothing_to_protect(
    url: str, monkeypatch: pytest.MonkeyPatch, no_keyring: None
) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", url)
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    connect(ENDPOINTS["vllm"]).close()


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://[::1]:1/v1", "https://h.org/v1"])
def test_a_key_may_go_to_this_machine_or_encrypted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", url)
    monkeypatch.setenv("VLLM_API_KEY", "a-key-of-the-user")
    client = connect(ENDPOINTS["vllm"])
    assert client.api_key == "a-key-of-the-user"
    client.close()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:8000", "https://", "ftp://h/v1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ModelError, match="no address"):
        address(ENDPOINTS["vllm"], {"VLLM_BASE_URL": url})


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ModelError) as caught:
        address(ENDPOINTS["vllm"], {"VLLM_BASE_URL": "https://me:hunter2@models.example.org/v1"})
    assert "hunter2" not in str(caught.value)


def test_the_users_file_adds_an_endpoint_that_is_a_provider(own: Path) -> None:
    with pytest.raises(StepladderError, match="no provider is called 'ours'"):
        registry.look_up("provider", "ours")
    own.write_text(OWN)
    assert registry.look_up("provider", "ours") is open_provider
    assert "ours" in registry.known("provider")
    assert find_endpoint("ours").refuses == ("logprobs",)
    assert find_endpoint("openai") == ENDPOINTS["openai"]


def test_the_users_file_replaces_ours(own: Path) -> None:
    own.write_text(OWN.replace('"ours"', '"openrouter"'))
    assert find_endpoint("openrouter").base_url == "https://models.example.org/v1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[endpoint]", "not TOML"),
        (OWN + "colour = 1", "unknown field 'colour'"),
        (OWN.replace("2026-11-01", '"soon"'), "endpoint.0.read_on"),
        (OWN.replace('"logprobs"', '"everything"'), "endpoint.0.refuses"),
        ("[endpoints]", "unknown table 'endpoints'"),
        ("endpoint = 3", "endpoint: "),
        ("endpoint = [3]", "endpoint.0: "),
    ],
)
def test_a_users_file_that_cannot_be_used_is_named(own: Path, text: str, told: str) -> None:
    own.write_text(text)
    with pytest.raises(ModelError, match=told) as caught:
        load_endpoints()
    assert own.name in str(caught.value)


def test_a_users_file_that_cannot_be_read_is_named(own: Path) -> None:
    own.write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match="cannot be read"):
        load_endpoints()


def test_a_task_folder_adds_no_endpoint(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tmp_path / "task"
    task.mkdir()
    (task / "endpoints.toml").write_text(OWN)
    monkeypatch.chdir(task)
    with pytest.raises(ModelError, match="no endpoint is called 'ours'"):
        open_provider(ProviderSettings("ours", folder=task))


@pytest.mark.parametrize("option", ["base_url", "api_key", "key", "default_headers"])
def test_a_task_file_says_neither_where_nor_with_which_key(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-user-0123456789")
    settings = ProviderSettings("openai", options={option: "https://evil.example.org/v1"})
    with pytest.raises(TaskError) as caught:
        open_provider(settings)
    assert f"[providers.openai] has no option {option!r}" in caught.value.message
    assert "environment only" in caught.value.hint


def test_a_missing_key_is_said_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, no_keyring: None
) -> None:
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    with pytest.raises(ModelError, match="TOGETHER_API_KEY"):
        open_provider(ProviderSettings("together"))


def test_a_name_without_a_model_is_refused(
    monkeypatch: pytest.MonkeyPatch, no_keyring: None
) -> None:
    for name in ("OLLAMA_BASE_URL", "OLLAMA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    provider = open_provider(ProviderSettings("ollama"))
    with pytest.raises(ModelError, match="names no model"):
        provider.model("ollama:")
    assert provider.model("ollama:qwen3") is provider.model("ollama:qwen3")
    provider.close()
