"""Whose key goes where: from the environment only, to Google or where the environment says."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gemini_calls import ENDPOINT, HTTP, KNOWN, TOKEN, Wire, clean, ok, vertex
from self_signed import self_signed

from stepladder.core import Message, Request
from stepladder.errors import MissingExtra, ModelError, TaskError
from stepladder.models import ProviderSettings
from stepladder.models.gemini import open_gemini, open_vertex
from stepladder.models.gemini.api import GeminiApi
from stepladder.models.gemini.client import developer_client, vertex_client, vertex_place

ASKED = Request((Message("user", "x"),))


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    clean(monkeypatch)


def asked(client: Any) -> Any:
    client.models.generate_content(model="m", contents="x")


def http(wire: Wire) -> dict[str, Any]:
    return {"transport": HTTP.MockTransport(wire)}


def test_without_a_key_it_says_which_to_set() -> None:
    with pytest.raises(ModelError, match="no key") as caught:
        developer_client(60)
    assert "GEMINI_API_KEY" in caught.value.hint


@pytest.mark.parametrize("variable", ["GEMINI_API_KEY", "GOOGLE_API_KEY"])
def test_the_key_of_the_environment_goes_to_google(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "the-key-1234567890")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")  # which is not what was asked for
    wire = Wire()
    asked(developer_client(60, http(wire)))
    [request] = wire.requests
    assert request.url.host == "generativelanguage.googleapis.com"
    assert request.headers["x-goog-api-key"] == "the-key-1234567890"


def test_the_environment_may_name_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "the-key-1234567890")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:8080/x")
    wire = Wire()
    asked(developer_client(60, http(wire)))
    [request] = wire.requests
    assert (request.url.host, request.url.port) == ("127.0.0.1", 8080)
    assert request.url.path.startswith("/x/v1")


@pytest.mark.parametrize(
    "address",
    ["http://example.org", "http://127.0.0.1.example.org", "ftp://127.0.0.1", "127.0.0.1:80"],
)
def test_a_key_does_not_travel_where_it_could_be_read(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "the-key-1234567890")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", address)
    with pytest.raises(ModelError, match="GOOGLE_GEMINI_BASE_URL"):
        developer_client(60)


def test_connecting_is_given_up_long_before_an_answer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "the-key-1234567890")
    wire = Wire()
    asked(developer_client(600, http(wire)))
    asked(developer_client(5, http(wire)))
    long, short = (request.extensions["timeout"] for request in wire.requests)
    assert (long["connect"], long["read"]) == (15, 600)
    assert (short["connect"], short["read"]) == (5, 5)


class Greeting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ok()).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing is logged."""


@contextmanager
def by_https(folder: Path) -> Iterator[tuple[str, Path]]:
    """A service on this machine by https, and the file that says whom to trust there."""
    certificate, key = self_signed(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), Greeting) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}", certificate
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.network
def test_by_https_only_whom_the_system_trusts_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "the-key-1234567890")
    with by_https(tmp_path) as (url, certificate):
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        asked(developer_client(60))
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(HTTP.ConnectError, match="certificate"):
            asked(developer_client(60))


# --- Vertex ---------------------------------------------------------------------------------------


def test_vertex_calls_name_the_project_and_location_and_carry_the_token() -> None:
    wire = Wire()
    vertex(wire).send("gemini-3.5-flash", ASKED, None)
    [request] = wire.requests
    assert request.url.path == (
        "/v1beta1/projects/p-1/locations/us-central1/publishers/google/models/"
        "gemini-3.5-flash:generateContent"
    )
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
    ],
)
def test_each_location_has_its_host(
    location: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_credentials(monkeypatch)
    wire = Wire()
    asked(vertex_client("p-1", location, 60, http(wire)))
    assert wire.requests[0].url.host == host


def test_a_tuned_model_is_asked_where_it_was_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    with_credentials(monkeypatch)
    wire = Wire()

    def connect(location: str) -> Any:
        return vertex_client("p-1", location, 60, http(wire))

    settings = ProviderSettings("vertex", catalogue=KNOWN)
    api = GeminiApi(settings, connect("us-central1"), connect)
    api.send("base", ASKED, None)
    api.send(f"base@{ENDPOINT}", ASKED, None)
    hosts = [request.url.host for request in wire.requests]
    assert hosts == ["us-central1-aiplatform.googleapis.com", "aiplatform.us.rep.googleapis.com"]


def with_credentials(monkeypatch: pytest.MonkeyPatch, project: str | None = "p-of-adc") -> None:
    import google.auth
    import google.oauth2.credentials

    credentials = google.oauth2.credentials.Credentials(token="of-the-user")
    monkeypatch.setattr(google.auth, "default", lambda scopes: (credentials, project))


def test_the_place_comes_from_the_options_then_the_environment_then_the_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_credentials(monkeypatch)
    assert vertex_place({}) == ("p-of-adc", "global")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p-of-env")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "eu")
    assert vertex_place({}) == ("p-of-env", "eu")
    options = {"project": "p-of-options", "location": "us-west1"}
    assert vertex_place(options) == ("p-of-options", "us-west1")


def test_without_a_project_it_says_where_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with_credentials(monkeypatch, None)
    with pytest.raises(ModelError, match="which Google Cloud project"):
        vertex_place({})


@pytest.mark.parametrize("location", ["evil.example/#", "us-central1.evil", "a@b", "../x", "", "U"])
def test_a_location_that_would_change_the_host_is_refused(location: str) -> None:
    """The SDK puts it into the host name, and the user's token would follow."""
    with pytest.raises(ModelError, match="not a location"):
        vertex_client("p-1", location, 60)


@pytest.mark.parametrize("project", ["p/locations/x", "../p", "p?x", "P", ""])
def test_a_project_that_would_change_the_path_is_refused(project: str) -> None:
    with pytest.raises(ModelError, match="not the id"):
        vertex_client(project, "us", 60)


def test_a_token_of_the_environment_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with_credentials(monkeypatch)
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "for-this-machine-only")
    wire = Wire()
    asked(vertex_client("p-1", "us", 60, http(wire)))
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "http://localhost:8080")
    asked(vertex_client("p-1", "us", 60, http(wire)))
    tokens = [request.headers["authorization"] for request in wire.requests]
    assert tokens == ["Bearer of-the-user", "Bearer for-this-machine-only"]


def test_a_token_for_this_machine_belongs_to_no_project(monkeypatch: pytest.MonkeyPatch) -> None:
    with_credentials(monkeypatch)
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "for-this-machine-only")
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "http://[::1]:8080")
    with pytest.raises(ModelError, match="which Google Cloud project"):
        vertex_place({})


def test_without_credentials_it_says_how_to_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    import google.auth
    import google.auth.exceptions

    def none(scopes: Any) -> Any:
        raise google.auth.exceptions.DefaultCredentialsError("not found")

    monkeypatch.setattr(google.auth, "default", none)
    with pytest.raises(ModelError, match="no Google credentials") as caught:
        vertex_client("p-1", "us", 60)
    assert "gcloud auth" in caught.value.hint


# --- the providers --------------------------------------------------------------------------------


def test_a_provider_gives_models_and_refuses_what_is_no_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "the-key-1234567890")
    provider = open_gemini(ProviderSettings("gemini"))
    assert provider.model("gemini:gemini-3.5-flash").name == "gemini:gemini-3.5-flash"
    for name in ("gemini:", "gemini:../x", "gemini:a?b", "gemini:m@endpoints/5", "vertex:m"):
        with pytest.raises(ModelError):
            provider.model(name)
    provider.close()


def test_a_tuned_model_of_vertex_is_named_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    with_credentials(monkeypatch)
    provider = open_vertex(ProviderSettings("vertex", options={"location": "us-central1"}))
    assert provider.model(f"vertex:base@{ENDPOINT}").name == f"vertex:base@{ENDPOINT}"
    for tuned in (
        "endpoints/5", "projects/p/locations/us/models/9@1", "projects/p/locations/../endpoints/5",
        "projects/p/locations/evil.example/endpoints/5", f"{ENDPOINT}/../6",
    ):  # fmt: skip
        with pytest.raises(ModelError, match="not a tuned model"):
            provider.model(f"vertex:base@{tuned}")
    provider.close()


@pytest.mark.parametrize(("deadline", "seconds"), [(20, "20"), (600, "300"), (5000, "300")])
def test_one_try_leaves_time_for_another(
    deadline: int, seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that fell silent would otherwise take the whole of an answer's time."""
    from stepladder.models.gemini import client

    wire = Wire()
    with_credentials(monkeypatch)
    monkeypatch.setenv("GEMINI_API_KEY", "the-key-1234567890")
    options = client._http_options
    monkeypatch.setattr(client, "_http_options", lambda a, s, h: options(a, s, http(wire)))
    asked_of = {"gemini": open_gemini, "vertex": open_vertex}
    for name, opened in asked_of.items():
        provider = opened(ProviderSettings(name, options={"deadline_seconds": deadline}))
        assert dict(provider.model(f"{name}:m").generate([ASKED]))[0].text == "ok"
        provider.close()
    assert {request.headers["x-server-timeout"] for request in wire.requests} == {seconds}


@pytest.mark.parametrize("package", ["google.genai", "httptools"])
def test_a_package_is_asked_for_in_one_line(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name, opened in {"gemini": open_gemini, "vertex": open_vertex}.items():
        with pytest.raises(MissingExtra, match=package) as caught:
            opened(ProviderSettings(name))
        assert caught.value.hint == f"pip install 'stepladder[{name}]'"


@pytest.mark.parametrize("option", ["api_key", "base_url", "project"])
def test_neither_key_nor_address_come_from_the_task(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "the-key-1234567890")
    with pytest.raises(TaskError, match=option):
        open_gemini(ProviderSettings("gemini", options={option: "x"}))
