"""An HTTP service through its OpenAPI file: what is read, what is sent, and what is never sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.errors import TaskError
from stepladder.functions.description import CallFailed, validator_of
from stepladder.functions.openapi import LARGEST_ANSWER, open_openapi
from stepladder.functions.openapi_file import read_operations, read_spec

SPEC = {
    "openapi": "3.0.3",
    "info": {"title": "Rides", "version": "1"},
    "components": {
        "parameters": {"City": {"name": "city", "in": "path", "required": True,
                                "description": "Where from.", "schema": {"type": "string"}}},
        "schemas": {
            "Seat": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
            "Guest": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"},
                "note": {"type": "string", "nullable": True, "example": "by the window"},
                "with": {"type": "array", "items": {"$ref": "#/components/schemas/Guest"}},
            }},
        },
        "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"},
                            "token": {"type": "http", "scheme": "bearer"}},
    },
    "paths": {
        "/rides/{city}": {
            "parameters": [{"$ref": "#/components/parameters/City"}],
            "get": {
                "operationId": "findRides", "summary": "Rides from a city.",
                "parameters": [
                    {"name": "seats", "in": "query",
                     "schema": {"$ref": "#/components/schemas/Seat"}},
                    {"name": "tags", "in": "query", "schema": {"type": "array",
                                                               "items": {"type": "string"}}},
                    {"name": "X-Language", "in": "header", "schema": {"type": "string"}},
                    {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                ],
            },
            "post": {
                "description": "Book.",
                "security": [{"key": []}],
                "requestBody": {"required": True, "content": {"application/json": {
                    "schema": {"$ref": "#/components/schemas/Guest"}}}},
            },
        },
        **{f"/{name}": {"get": {"operationId": name, "security": [{"token": []}]}}
           for name in ("away", "missing", "large", "text", "slow", "nothing")},
    },
}  # fmt: skip
VARIABLES = {"key": "RIDES_KEY", "token": "RIDES_TOKEN"}


class Service(BaseHTTPRequestHandler):
    """Tells back what it was asked; keeps every request in `seen` of its server."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length", 0))
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": self.rfile.read(length).decode(),
        }
        self.server.seen.append(seen)
        route = urlsplit(self.path).path.removeprefix("/v1/")
        status, headers, body = 200, {}, json.dumps(seen)
        if route == "away":
            status, headers = 302, {"location": f"{self.server.base}/stolen"}
        elif route == "missing":
            status, body = 404, f"no such thing: {self.headers['authorization']}"
        elif route == "large":
            body = "x" * (LARGEST_ANSWER + 1)
        elif route in ("text", "nothing"):
            body = "plain" if route == "text" else ""
        elif route == "slow":
            self.server.over.wait(20)
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET

    def log_message(self, *arguments) -> None: ...


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as one:
        one.seen, one.over = [], threading.Event()
        one.base = f"http://127.0.0.1:{one.server_port}/v1"
        one.daemon_threads = True
        thread = threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield one
        one.over.set()
        one.shutdown()
        thread.join()


@pytest.fixture
def rides(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RIDES_KEY", "key-of-the-tests")
    monkeypatch.setenv("RIDES_TOKEN", "token-of-the-tests")
    service = open_openapi(
        written(tmp_path, SPEC), base=server.base, allowed=[server.base], secrets=VARIABLES
    )
    yield service
    service.close()


def written(folder: Path, spec: object, name: str = "openapi.json") -> Path:
    path = folder / name
    path.write_text(spec if isinstance(spec, str) else json.dumps(spec))
    return path


@pytest.mark.network
def test_an_operation_is_called_as_it_is_described(rides, server) -> None:
    arguments = {"city": "São/Paulo?x=1", "seats": 2, "tags": ["a b", "c"], "X-Language": "pt"}
    got = rides.call("findRides", arguments, 20)
    url = urlsplit(got["path"])
    assert (got["method"], url.path) == ("GET", "/v1/rides/S%C3%A3o%2FPaulo%3Fx%3D1")
    assert parse_qsl(url.query) == [("seats", "2"), ("tags", "a b"), ("tags", "c")]
    assert got["headers"]["x-language"] == "pt"
    assert "x-key" not in got["headers"]
    booked = rides.call("post_rides_city", {"city": "Oslo", "body": {"name": "A"}}, 20)
    assert json.loads(booked["body"]) == {"name": "A"}
    assert server.seen[-1]["headers"]["x-key"] == "key-of-the-tests"
    assert booked["headers"]["x-key"] == "[secret]", (
        "a service that tells it does not tell the model"
    )


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("away", "a redirect, which is not followed"),
        ("missing", r"status 404: no such thing: Bearer \[secret\]"),
        ("large", "more than 4 MiB"),
    ],
)
def test_what_is_no_answer_is_told_without_secrets(rides, server, name: str, said: str) -> None:
    with pytest.raises(CallFailed, match=said):
        rides.call(name, {}, 20)
    assert len(server.seen) == 1, "nothing else is asked"
    assert server.seen[0]["headers"]["authorization"] == "Bearer token-of-the-tests"


@pytest.mark.network
def test_text_nothing_and_silence(rides, server) -> None:
    assert rides.call("text", {}, 20) == "plain"
    assert rides.call("nothing", {}, 20) is None
    with pytest.raises(CallFailed, match=r"no answer within 0\.05 seconds"):
        rides.call("slow", {}, 0.05)
    server.over.set()


@pytest.mark.network
@pytest.mark.parametrize(
    "arguments",
    [
        {"city": ".."},
        {"city": ""},
        {"city": "Oslo", "X-Language": "pt\r\nX-Key: stolen"},
        {"city": "Oslo", "X-Language": "é"},
    ],
)
def test_no_argument_leads_to_another_request(rides, server, arguments: dict) -> None:
    with pytest.raises(CallFailed):
        rides.call("findRides", arguments, 20)
    assert server.seen == []


def test_operations_become_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIDES_KEY", "key-of-the-tests")
    monkeypatch.setenv("RIDES_TOKEN", "token-of-the-tests")
    at = "https://rides.test/api"
    path = written(tmp_path, SPEC)
    service = open_openapi(path, base=at, allowed=["https://rides.test/"], secrets=VARIABLES)
    service.close()
    assert "of-the-tests" not in repr(service)
    find, book, *_ = service.described
    assert (find.name, find.side_effects, find.function.description) == (
        "findRides", False, "Rides from a city",
    )  # fmt: skip
    assert (book.name, book.side_effects) == ("post_rides_city", True)
    assert find.function.parameters["required"] == ["city"]
    assert set(find.function.parameters["properties"]) == {"city", "seats", "tags", "X-Language"}
    check = validator_of(find.function.parameters).is_valid
    assert check({"city": "a", "seats": 1})
    assert not check({"city": "a", "seats": 0})  # 3.0 says so with exclusiveMinimum: true
    check = validator_of(book.function.parameters).is_valid
    guest = {"name": "A", "note": None, "with": [{"name": "B"}]}
    assert check({"city": "a", "body": guest})
    assert not check({"city": "a", "body": {"name": "A", "with": [{}]}})


def test_yaml_and_the_file_s_own_server(tmp_path: Path) -> None:
    text = (
        "openapi: 3.1.0\n"
        "servers: [{url: 'https://{where}.test/', variables: {where: {default: rides}}}]\n"
        "paths: {/now: {get: {parameters: [{name: at, in: query, schema: {type: [string, 'null']}"
        "}]}}}\n"
    )
    path = written(tmp_path, text, "openapi.yaml")
    service = open_openapi(path, allowed=["https://rides.test"])
    service.close()
    assert service.base == "https://rides.test"
    assert [one.name for one in service.described] == ["get_now"]


def changed(**paths: object) -> dict:
    return {**SPEC, "paths": paths}


def operation(**told: object) -> dict:
    return changed(**{"/x": {"get": told}})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"swagger": "2.0"}, "not OpenAPI 3.0 or 3.1"),
        ("{", "not JSON"),
        (changed(), "has no operations"),
        (operation(parameters=[{"name": "a", "in": "cookie", "required": True, "schema": {}}]),
         "GET /x cannot be called: 'a' is a cookie parameter"),
        (operation(parameters=[{"name": "a", "in": "query", "style": "deepObject", "schema": {}}]),
         "style 'deepObject'"),
        (operation(parameters=[{"$ref": "other.json#/a"}]), "leads out of the file"),
        (operation(parameters=[{"$ref": "https://evil.test/a"}]), "leads out of the file"),
        (operation(parameters=[{"$ref": "#/components/nothing"}]), "leads nowhere"),
        (operation(parameters=[{"name": "a", "in": "query",
                                "schema": {"$ref": "file:///etc/passwd"}}]),
         "leads out of the file"),
        (operation(requestBody={"required": True, "content": {"text/xml": {}}}), "text/xml"),
        (operation(security=[{"key": []}]), "needs a secret"),
        (operation(security=[{"other": []}]), "it needs other"),
        (changed(**{"/x/{id}": {"get": {}}}), "path parameters differ: id"),
        (changed(**{"/x": {"get": {"operationId": "a"}, "put": {"operationId": "a"}}}),
         "two operations are called 'a'"),
        (operation(parameters=[{"name": "a", "in": "query", "schema": {"type": "no"}}]),
         "'properties/a/type' is not JSON Schema"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, spec: object, said: str) -> None:
    with pytest.raises(TaskError) as told:
        open_openapi(written(tmp_path, spec), base="https://a.test", allowed=["https://a.test"])
    assert said in told.value.message
    assert told.value.hint


def places(value: object, at: tuple = ()) -> Iterator[tuple]:
    """Where something stands in a file, by the keys that lead there."""
    each = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inside in each:
        yield (*at, key)
        if isinstance(inside, dict | list):
            yield from places(inside, (*at, key))


@settings(max_examples=100)
@given(
    at=st.sampled_from(list(places(SPEC))),
    odd=st.sampled_from([None, True, 7, "x", "", [], {}, ["x"], [None], {"a": 1}, {"$ref": 1}]),
)
def test_whatever_stands_anywhere_in_a_file_it_is_read_or_refused(at: tuple, odd: object) -> None:
    spec = json.loads(json.dumps(SPEC))
    inside = spec
    for key in at[:-1]:
        inside = inside[key]
    inside[at[-1]] = odd
    with TemporaryDirectory() as folder, suppress(TaskError):
        operations = read_operations(read_spec(written(Path(folder), spec)), "it")
        assert all(validator_of(one.described.function.parameters) for one in operations)


@pytest.mark.parametrize(
    ("base", "allowed"),
    [
        ("https://evil.test/v1", ["https://a.test/v1"]),
        ("http://a.test/v1", ["https://a.test/v1"]),
        ("https://a.test:8443/v1", ["https://a.test/v1"]),
        ("https://a.test/v10", ["https://a.test/v1"]),
        ("https://a.test.evil.test/v1", ["https://a.test"]),
        ("https://a.test/v1", []),
    ],
)
def test_only_an_allowed_address_is_called(tmp_path: Path, base: str, allowed: list) -> None:
    with pytest.raises(TaskError, match="not allowed to be called"):
        open_openapi(written(tmp_path, operation()), base=base, allowed=allowed)


@pytest.mark.parametrize("base", ["https://user@a.test", "ftp://a.test", "/v1", "https://a.test?x"])
def test_an_address_that_is_none(tmp_path: Path, base: str) -> None:
    with pytest.raises(TaskError, match="no address of a service"):
        open_openapi(written(tmp_path, operation()), base=base, allowed=[base])


def test_a_secret_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RIDES_KEY", raising=False)
    path = written(tmp_path, operation(security=[{"key": []}]))
    with pytest.raises(TaskError, match="'RIDES_KEY' holds no secret"):
        open_openapi(path, base="https://a.test", allowed=["https://a.test"], secrets=VARIABLES)
