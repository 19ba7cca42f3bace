"""The operations of an HTTP service as functions, read from its OpenAPI file (3.0 or 3.1).

Requests go to the one base address, which has to be on the list of allowed ones; no redirect is
followed. Secrets are read from the environment, and neither a model nor a record sees them.
How a file becomes operations is in `openapi_file.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ..core import Json
from ..errors import TaskError
from ..registry import need
from ..strict_json import read_strictly
from .description import CallFailed, Described
from .hiding import without_secrets
from .openapi_file import Operation, Scheme, base_of, read_operations, read_schemes, read_spec

__all__ = ["HttpService", "open_openapi"]

LARGEST_ANSWER = 4 * 2**20  # bytes; more is read by no model


@dataclass
class HttpService:
    """A service at one base address. Calls may be made side by side."""

    base: str
    described: tuple[Described, ...]
    _operations: Mapping[str, Operation] = field(repr=False)
    _secrets: Mapping[str, tuple[Scheme, str]] = field(repr=False)  # by name of the scheme
    _client: Any = field(repr=False)

    def call(self, name: str, arguments: Mapping[str, Json], seconds: float) -> Json:
        """The answer's JSON, or its text, without secrets; CallFailed for errors and redirects."""
        operation = self._operations[name]
        request = self._request(operation, arguments, seconds)
        httpx = _httpx()
        try:
            response = self._client.send(request, stream=True, follow_redirects=False)
            try:
                return self._answer(response)
            finally:
                response.close()
        except httpx.TimeoutException as error:
            raise CallFailed(f"no answer within {seconds:g} seconds") from error
        except httpx.HTTPError as error:
            raise CallFailed(without_secrets(f"the service: {error}", self._told)) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _request(self, operation: Operation, arguments: Mapping[str, Json], seconds: float) -> Any:
        path = operation.path
        query: list[tuple[str, str]] = []
        headers: dict[str, str] = {}
        for one in operation.parameters:
            if one.argument not in arguments:
                continue
            value = arguments[one.argument]
            if one.place == "path":
                path = path.replace("{" + one.name + "}", _segment(one.name, value))
            elif one.place == "query":
                query += _in_query(one.name, value, explode=one.explode)
            else:
                headers[one.name] = _header(one.name, value)
        for scheme, secret in (self._secrets[each] for each in operation.schemes):
            if scheme.place == "query":
                query.append((scheme.name, secret))
            else:
                headers[scheme.name] = secret
        body: dict[str, Any] = {}
        if operation.body is not None and operation.body in arguments:
            body["json"] = arguments[operation.body]
        return self._client.build_request(
            operation.method,
            self.base + path,
            params=query or None,
            headers=headers,
            timeout=seconds,
            **body,
        )

    def _answer(self, response: Any) -> Json:
        if response.is_redirect:
            raise CallFailed("the service answers with a redirect, which is not followed")
        read = b""
        for piece in response.iter_bytes():
            read += piece
            if len(read) > LARGEST_ANSWER:
                raise CallFailed(f"the answer has more than {LARGEST_ANSWER >> 20} MiB")
        text = read.decode(response.encoding or "utf-8", errors="replace")
        if not response.is_success:
            said = without_secrets(text, self._told)
            raise CallFailed(f"the service answers with status {response.status_code}: {said}")
        try:
            answer = read_strictly(text) if text else None
        except ValueError:  # not JSON, or such that it could not be told on
            answer = text
        return without_secrets(answer, self._told)

    @property
    def _told(self) -> set[str]:
        """The secrets that the service is told, without the word before them in a header."""
        return {secret.removeprefix(scheme.before) for scheme, secret in self._secrets.values()}


def open_openapi(
    path: Path,
    *,
    allowed: Sequence[str],
    base: str | None = None,
    secrets: Mapping[str, str] | None = None,
) -> HttpService:
    """The operations of this file, sent to `base`, by default the file's first server.

    `allowed` are the addresses that may be called, as `https://host/path`. `secrets` names, for
    each security scheme of the file, the environment variable that holds the secret.

    Raises:
        TaskError: the file cannot be used, its base is not allowed, or a secret is not there.
        MissingExtra: a package is not installed.
    """
    spec = read_spec(path)
    base = base_of(spec, path, base)
    _check_allowed(base, allowed, path)
    operations = read_operations(spec, path.name)
    schemes = read_schemes(spec, path.name)
    used = {name for one in operations for name in one.schemes}
    found = {name: _secret(schemes[name], name, secrets or {}, path) for name in sorted(used)}
    client = _httpx().Client(trust_env=False, headers={"accept": "application/json"})
    described = tuple(one.described for one in operations)
    return HttpService(base, described, {one.described.name: one for one in operations},
                       found, client)  # fmt: skip


def _check_allowed(base: str, allowed: Sequence[str], path: Path) -> None:
    told = urlsplit(base)
    for one in allowed:
        other = urlsplit(one)
        same = (told.scheme, told.hostname, told.port) == (other.scheme, other.hostname, other.port)
        folder = other.path.rstrip("/")
        if same and (told.path == folder or told.path.startswith(f"{folder}/")):
            return
    raise TaskError(
        f"{path.name}: the service is at {base!r}, which is not allowed to be called",
        hint=f"allowed: {', '.join(allowed) or 'nothing'}; add the address if you trust it",
    )


def _secret(
    scheme: Scheme, name: str, secrets: Mapping[str, str], path: Path
) -> tuple[Scheme, str]:
    variable = secrets.get(name)
    if variable is None:
        raise TaskError(
            f"{path.name}: the security scheme {name!r} needs a secret",
            hint=f"name the environment variable that holds it: secrets = {{ {name} = '...' }}",
        )
    value = os.environ.get(variable, "").strip()
    if not value or not value.isprintable():
        raise TaskError(
            f"{path.name}: the environment variable {variable!r} holds no secret",
            hint=f"set it to what the service takes as {name!r}",
        )
    return scheme, f"{scheme.before}{value}"


def _httpx() -> Any:
    return need("httpx2", extra="functions", what="calling an HTTP service")


# --- arguments ----------------------------------------------------------------------------------


def _segment(name: str, value: Json) -> str:
    text = _text(value) if not isinstance(value, list) else ",".join(map(_text, value))
    if text in ("", ".", ".."):  # it would lead to another operation
        raise CallFailed(f"{name}: {text!r} cannot be part of a path")
    return quote(text, safe="")


def _in_query(name: str, value: Json, *, explode: bool) -> list[tuple[str, str]]:
    if isinstance(value, list):
        texts = [_text(each) for each in value]
        return [(name, text) for text in texts] if explode else [(name, ",".join(texts))]
    if isinstance(value, dict):
        return [(key, _text(inside)) for key, inside in value.items()]
    return [(name, _text(value))]


def _header(name: str, value: Json) -> str:
    text = ",".join(map(_text, value)) if isinstance(value, list) else _text(value)
    if not text.isascii() or not text.isprintable():
        raise CallFailed(f"{name}: a header holds printable ASCII only")
    return text


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
