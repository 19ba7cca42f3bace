"""The key of a service: from the environment or the user's keyring, and kept out of every text.

Keys live in memory only. What a service or an SDK says passes `redact` before anybody reads it.
A task file cannot name a key, nor where it is sent: a folder from somebody else must not be able
to take one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from urllib.parse import quote

from ...errors import ModelError

__all__ = ["find_key", "key", "redact"]

SERVICE = "stepladder"  # what our entries in a keyring are filed under
HIDDEN = "[key]"
LEAST_LENGTH = 4  # a shorter "key" (some local servers take any) is no secret but part of words

_handed_out: dict[str, None] = {}  # of this process: so that no text can hold one by accident

_SHAPES = tuple(
    re.compile(pattern, flags)
    for pattern, flags in (
        (r"(?P<before>[?&](?:key|api[-_]?key|access_token|token)=)[^&\s\"'<>]+", re.I),
        (r"(?P<before>\b(?:bearer|basic)\s+)[\w.~+/=*-]{4,}", re.I),
        (
            r"(?P<before>\b(?:x-goog-api-key|x-api-key|api-key|authorization)\b[\"']?\s*[:=,]"
            r"\s*[\"']?)(?!bearer\b|basic\b)[^\s\"',;}\])]{4,}",
            re.I,
        ),
        (r"(?P<before>\"private_key\"\s*:\s*\")[^\"]+", 0),
        (
            r"(?P<before>)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----",
            re.S,
        ),
        (r"(?P<before>)\bsk-[\w*.-]{8,}", 0),
        (r"(?P<before>)\bAIza[\w-]{20,}", 0),
        (r"(?P<before>)\bya29\.[\w.-]{8,}", 0),
    )
)


def key(provider: str, env_names: Sequence[str]) -> str:
    """The key of `provider`: the first of these names found in the environment, else the keyring.

    Raises:
        ModelError: there is none, or what is there cannot be one; the hint says what to set.
    """
    if found := find_key(provider, env_names):
        return found
    wanted = " or ".join(env_names)
    missing = "" if _has_keyring() else " (after: pip install 'stepladder[keyring]')"
    raise ModelError(
        f"no key for {provider!r} is in the environment or the keyring",
        hint=f"set {wanted}, or keep it with: keyring set {SERVICE} {env_names[0]}{missing}",
    )


def find_key(provider: str, env_names: Sequence[str]) -> str | None:
    """As `key`, for a server that may do without one: None when there is none."""
    for name in env_names:
        if found := os.environ.get(name, "").strip():
            return _checked(found, provider, f"the environment variable {name!r}")
    for name in env_names:
        if found := _from_keyring(name).strip():
            return _checked(found, provider, f"the keyring's entry {name!r}")
    return None


def redact(text: str, *secrets: str) -> str:
    """The text with "[key]" for each key that this process handed out or that looks like one.

    `secrets` are more texts to hide, for instance a token that was not had from here.
    """
    known = {one for one in (*tuple(_handed_out), *secrets) if len(one) >= LEAST_LENGTH}
    spellings = known | {quote(one, safe="") for one in known}
    for one in sorted(spellings, key=len, reverse=True):
        text = text.replace(one, HIDDEN)
    for shape in _SHAPES:
        text = shape.sub(rf"\g<before>{HIDDEN}", text)
    return text


def _checked(found: str, provider: str, place: str) -> str:
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise ModelError(
            f"{place} is not a key of {provider!r}: it holds a space, a line break or a letter "
            "that no key has",
            hint="copy the key again",
        )
    _handed_out[found] = None
    return found


def _has_keyring() -> bool:
    try:
        import keyring  # noqa: F401
    except ImportError:
        return False
    return True


def _from_keyring(name: str) -> str:
    """The keyring's entry; empty without the package, without a keyring, or without an entry."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return ""
    try:
        return keyring.get_password(SERVICE, name) or ""
    except KeyringError:  # locked, or none on this machine
        return ""
