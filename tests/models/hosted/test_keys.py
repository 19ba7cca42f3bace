"""Where keys come from, and that no text lets one out."""

from __future__ import annotations

import sys
from types import ModuleType
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.errors import ModelError
from stepladder.models.hosted.keys import key, redact

KEY = "AKq-3f/9+Zz_secret.value=="


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_KEY", "SECOND_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)  # as if it were not installed


def with_keyring(
    monkeypatch: pytest.MonkeyPatch, entries: dict[tuple[str, str], str], *, locked: bool = False
) -> None:
    errors = ModuleType("keyring.errors")
    errors.KeyringError = type("KeyringError", (Exception,), {})  # type: ignore[attr-defined]

    def get_password(service: str, name: str) -> str | None:
        if locked:
            raise errors.KeyringError("locked")
        return entries.get((service, name))

    package = ModuleType("keyring")
    package.get_password = get_password  # type: ignore[attr-defined]
    package.errors = errors  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", package)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)


def test_the_first_variable_that_is_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECOND_KEY", f" {KEY}\n")
    assert key("gemini", ("FIRST_KEY", "SECOND_KEY")) == KEY
    monkeypatch.setenv("FIRST_KEY", "another-key")
    assert key("gemini", ("FIRST_KEY", "SECOND_KEY")) == "another-key"


def test_the_keyring_is_asked_after_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with_keyring(monkeypatch, {("stepladder", "SECOND_KEY"): "from-the-keyring"})
    assert key("gemini", ("FIRST_KEY", "SECOND_KEY")) == "from-the-keyring"
    monkeypatch.setenv("SECOND_KEY", "from-the-environment")
    assert key("gemini", ("FIRST_KEY", "SECOND_KEY")) == "from-the-environment"


@pytest.mark.parametrize("keyring", ["missing", "empty", "locked"])
def test_without_a_key_the_cure_is_named(keyring: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if keyring != "missing":
        with_keyring(monkeypatch, {}, locked=keyring == "locked")
    with pytest.raises(ModelError, match="no key for 'gemini'") as failed:
        key("gemini", ("FIRST_KEY", "SECOND_KEY"))
    assert "FIRST_KEY or SECOND_KEY" in failed.value.hint
    assert "keyring set stepladder FIRST_KEY" in failed.value.hint
    installing = "pip install 'stepladder[keyring]'" in failed.value.hint
    assert installing == (keyring == "missing")


@pytest.mark.parametrize("broken", ["two words", "line\nbreak", "naïve-key"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRST_KEY", broken)
    with pytest.raises(ModelError, match="FIRST_KEY") as failed:
        key("gemini", ("FIRST_KEY",))
    assert broken not in str(failed.value)


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_key_that_was_handed_out_is_in_no_text(before: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRST_KEY", KEY)
        key("gemini", ("FIRST_KEY",))
    for spelling in (KEY, quote(KEY, safe="")):
        assert spelling not in redact(f"{before}{spelling}{after}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /v1/models?key=abc123&alt=sse", "GET /v1/models?key=[key]&alt=sse"),
        ("https://h/x?alt=1&api_key=abc123", "https://h/x?alt=1&api_key=[key]"),
        ("Authorization: Bearer ya29.abc-def", "Authorization: Bearer [key]"),
        ("{'x-goog-api-key': 'abc123'}", "{'x-goog-api-key': '[key]'}"),
        ("('x-goog-api-key', 'abc123')", "('x-goog-api-key', '[key]')"),
        ('{"authorization": "abc123"}', '{"authorization": "[key]"}'),
        ("Incorrect API key provided: sk-proj-abc***wxyz.", "Incorrect API key provided: [key]"),
        ("key AIzaSyA-1234567890abcdefghij is bad", "key [key] is bad"),
        ('{"private_key": "-----BEGIN..."}', '{"private_key": "[key]"}'),
        (
            "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
            "[key]",
        ),
        ("no secrets here: a task, a risk-free key idea", None),
        ("the bearer of bad news", None),
        ("api-key is missing", None),
    ],
)
def test_shapes_of_keys_are_hidden_and_other_text_stays(text: str, expected: str | None) -> None:
    assert redact(text) == (text if expected is None else expected)


def test_secrets_that_were_not_had_from_here_can_be_named() -> None:
    assert redact("a token-of-mine b", "token-of-mine") == "a [key] b"


def test_a_dummy_of_one_letter_does_not_eat_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRST_KEY", "x")
    key("vllm", ("FIRST_KEY",))
    assert redact("exact text") == "exact text"
