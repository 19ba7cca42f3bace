"""Where OpenAI's protocol is spoken and with which accent: dated data, the user's own first.

`load_endpoints` reads the file that comes with stepladder and the one in the user's configuration
folder. Nothing else adds an endpoint: an address decides where a key is sent, and a task folder may
be somebody else's.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from functools import cache
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from ...core import Json
from ...dated import config_folder
from ...errors import ModelError

__all__ = [
    "Endpoint", "address", "check_encrypted", "is_loopback", "load_endpoints", "user_file",
]  # fmt: skip

Feature = Literal["logprobs", "functions", "schema", "stop", "image", "audio", "document"]


@dataclass(frozen=True)
class Endpoint:
    """One service or server; the fields are explained at the top of `endpoints.toml`."""

    name: str
    read_on: date
    source: str
    base_url: str | None = None
    base_url_env: str = ""
    base_path: str = ""
    key_env: str = ""
    key_optional: bool = False
    plain_http: bool = False
    output_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    leaves_out: tuple[Literal["seed"], ...] = ()
    refuses: tuple[Feature, ...] = ()
    images: Literal["any", "content"] = "any"
    choices: Literal["schema", "structured_outputs"] = "schema"
    logprobs: Literal["flag", "count"] = "flag"
    insists: Mapping[str, Json] = field(default_factory=dict)
    effort: bool = False
    no_thinking: Mapping[str, Json] | None = None
    batches: bool = False
    tuning: Literal["none", "openai", "together", "fireworks"] = "none"
    note: str = ""


def user_file() -> Path:
    """The user's own endpoints; it need not be there."""
    return config_folder() / "endpoints.toml"


def load_endpoints(user: Path | None = None) -> dict[str, Endpoint]:
    """All endpoints by name, those of the file `user` in the place of ours.

    Raises:
        ModelError: The user's file cannot be read, or an entry is not of the right shape.
    """
    known = dict(_shipped())
    user = user_file() if user is None else user
    try:
        text = user.read_text(encoding="utf-8")
    except FileNotFoundError:
        return known
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{str(user)!r} cannot be read: {error}", hint="mend or remove it"
        ) from error
    return known | _parsed(text, str(user))


def address(endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> str:
    """Where the endpoint is: what the environment says, or else the data.

    Raises:
        ModelError: Nothing says where, or what does is no address.
    """
    told = environment.get(endpoint.base_url_env, "") if endpoint.base_url_env else ""
    url = told.rstrip("/") or endpoint.base_url
    if not url:
        raise ModelError(
            f"nothing says where {endpoint.name!r} is",
            hint=f"set {endpoint.base_url_env} to its address",
        )
    if told and not url.endswith(endpoint.base_path):
        url += endpoint.base_path
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ModelError(
            f"{_hidden(url)!r} is no address for {endpoint.name!r}",
            hint="write https://HOST/PATH, without a user name or password",
        )
    return url


def check_encrypted(endpoint: Endpoint, url: str) -> None:
    """Raise ModelError when a key for this endpoint would travel unencrypted to another machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or endpoint.plain_http or is_loopback(parts.hostname or ""):
        return
    raise ModelError(
        f"{url!r} is not encrypted, and {endpoint.name!r} would be asked with a key",
        hint=f"use https:, or give it plain_http = true in {str(user_file())!r}",
    )


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, going by its name alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@cache
def _shipped() -> dict[str, Endpoint]:
    text = files(__package__).joinpath("endpoints.toml").read_text(encoding="utf-8")
    return _parsed(text, "endpoints.toml")


def _parsed(text: str, name: str) -> dict[str, Endpoint]:
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{name} is not TOML: {error}", hint="mend it") from error
    _check_names(read, {"endpoint"}, f"{name}: unknown table")
    entries = read.get("endpoint", [])
    try:
        checked = TypeAdapter(tuple[Endpoint, ...]).validate_python(entries)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["endpoint", *map(str, first["loc"])])
        raise ModelError(f"{name}: {place}: {first['msg'].lower()}", hint="mend it") from error
    for entry in entries:
        _check_names(entry, {field.name for field in fields(Endpoint)}, f"{name}: unknown field")
    return {entry.name: entry for entry in checked}


def _check_names(table: Mapping[str, Json], known: set[str], what: str) -> None:
    if unknown := sorted(table.keys() - known):
        raise ModelError(f"{what} {unknown[0]!r}", hint=f"known: {', '.join(sorted(known))}")


def _hidden(url: str) -> str:
    """The address without what may be a password in it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if rest else url.rpartition("@")[2]
