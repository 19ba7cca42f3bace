"""A keyring with one key in it, for tests: named to the `keyring` package by its environment."""

from __future__ import annotations

from keyring.backend import KeyringBackend

KEY = "AIzaSy-Zm3Xw8Qd5Ht1Nv6Gs0Be-keyring"


class Keyring(KeyringBackend):
    """Has the key of Gemini, and takes no other."""

    priority = 1  # type: ignore[assignment]

    def get_password(self, service: str, username: str) -> str | None:
        return KEY if (service, username) == ("stepladder", "GEMINI_API_KEY") else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError
