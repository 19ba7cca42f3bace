"""A server put together from settings, and by the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx2 as httpx
import pytest
from serving import fake_models
from typer.testing import CliRunner

from stepladder.cli import app
from stepladder.errors import StepladderError
from stepladder.fake_live import FakeEngine
from stepladder.serve.app import create_app
from stepladder.serve.greeting import greeting
from stepladder.serve.server import Server, open_server
from stepladder.serve.settings import ServeSettings


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    monkeypatch.delenv("STEPLADDER_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def test_nothing_is_open_to_others_without_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STEPLADDER_API_KEY", raising=False)
    settings = ServeSettings(host="0.0.0.0", database=f"sqlite:///{tmp_path / 'a.db'}")
    with pytest.raises(StepladderError) as told, open_server(settings):
        pass
    assert "no API key" in told.value.message
    assert "stepladder keys add" in told.value.hint


def test_open_and_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: FakeEngine
) -> None:
    monkeypatch.setenv("STEPLADDER_API_KEY", "from-the-environment")
    models = fake_models(engine)
    monkeypatch.setattr("stepladder.serve.served.opening.open_models", lambda *_: models)
    settings = ServeSettings(
        host="0.0.0.0", database=f"sqlite:///{tmp_path / 'a.db'}", tuning=False
    )
    with open_server(settings) as server:
        assert server.models is models
        assert server.keyring.closed
        server.database.ping()
        text = server.meters.text().decode()
        assert 'stepladder_tuning_jobs{state="queued"} 0.0' in text
        told = greeting(server)
    assert "from-the-environment" not in told
    assert "$STEPLADDER_API_KEY" in told


def test_what_is_served_is_said_with_lines_to_paste(server: Server) -> None:
    server.settings = replace(server.settings, port=8081)
    told = greeting(server)
    assert "  fake (base 1)" in told
    assert "  gemini-3.5-flash is fake" in told
    assert "no key is asked for" in told
    assert "curl http://127.0.0.1:8081/v1/chat/completions" in told
    assert "base_url='http://127.0.0.1:8081/v1'" in told
    assert told.count("http_options={'base_url': 'http://127.0.0.1:8081'}") == 2
    assert "genai.Client(enterprise=True, project='any'" in told


def test_keys_by_the_command_line(run: CliRunner) -> None:
    database = ["--database", "sqlite:///keys.db"]
    made = run.invoke(app, ["keys", "add", "--role", "tune", "--json", *database])
    assert made.exit_code == 0, made.output
    key = json.loads(made.stdout)
    listed = run.invoke(app, ["keys", "list", *database])
    assert key["id"] in listed.stdout
    assert "tune" in listed.stdout
    everything = b"".join(path.read_bytes() for path in Path().glob("keys.db*"))
    assert key["key"].encode() not in everything
    assert key["key"] not in listed.stdout
    assert run.invoke(app, ["keys", "revoke", key["id"], *database]).exit_code == 0
    assert "revoked" in run.invoke(app, ["keys", "list", *database]).stdout
    again = run.invoke(app, ["keys", "revoke", key["id"], *database])
    assert isinstance(again.exception, StepladderError)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nothing to serve"),
        (["--model", "local:m", "--alias", "a"], "not of the form NAME=MODEL"),
        (["--model", "local:m", "--tls-key", "k.pem"], "belong together"),
        (["--model", "local:m", "--tls-key", "k", "--tls-certificate", "c"], "no file 'c'"),
        (["--model", "local:m", "--tls-key", __file__, "--tls-certificate", __file__], "for TLS"),
        (["--config", "none.toml"], "cannot be read"),
        pytest.param(["none"], "none", marks=pytest.mark.network),
    ],
)
def test_what_cannot_be_served_is_told(run: CliRunner, arguments: list[str], told: str) -> None:
    done = run.invoke(app, ["serve", *arguments, "--port", "0", "--database", "sqlite:///a.db"])
    assert isinstance(done.exception, StepladderError), done.output
    assert told in done.exception.message


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from serving import fake_models
from stepladder.cli import main
from stepladder.fake_live import FakeEngine
import stepladder.serve.served.opening as opening

engine = FakeEngine(tokens_per_second=20.0)
opening.open_models = lambda settings, shelf: fake_models(engine)
sys.argv = ["stepladder", "serve", "--model", "local:fake", "--port", "0", "--no-tuning",
            "--database", sys.argv[2], "--log-format", "text"]
main()
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("signals", [1, 2])
def test_a_process_ends_as_it_is_told(tmp_path: Path, signals: int) -> None:
    """SIGTERM lets an answer that takes two seconds go out; a second one does not."""
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", SCRIPT, str(tests), f"sqlite:///{tmp_path / 'a.db'}"]
    environment = {name: one for name, one in os.environ.items() if name != "STEPLADDER_API_KEY"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stderr is not None
        url = next(line for line in server.stderr if line.startswith("serving on ")).split()[-1]
        body = {"model": "fake", "stream": True,
                "messages": [{"role": "user", "content": "x" * 40}]}  # fmt: skip
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=30) as answer:
            assert answer.status_code == 200
            server.send_signal(signal.SIGTERM)
            if signals == 2:
                assert any("Waiting" in line for line in server.stderr)
                server.send_signal(signal.SIGTERM)
            told: list[str] = []
            with suppress(httpx.RemoteProtocolError):
                told.extend(answer.iter_lines())
        server.stderr.read()
        assert server.wait(20) == 0
    assert ("data: [DONE]" in told) is (signals == 1)


@pytest.mark.slow
@pytest.mark.anyio
async def test_the_embedded_model_answers_in_both_protocols(local_server: Server) -> None:
    transport = httpx.ASGITransport(create_app(local_server))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        asked = {"model": "gemini-3.5-flash", "temperature": 0, "max_tokens": 8,
                 "messages": [{"role": "user", "content": "Say hello."}]}  # fmt: skip
        openai = await client.post("/v1/chat/completions", json=asked, timeout=60)
        contents = {
            "contents": [{"role": "user", "parts": [{"text": "Say hello."}]}],
            "generationConfig": {"temperature": 0, "maxOutputTokens": 8},
        }
        path = "/v1beta/models/gemini-3.5-flash:generateContent"
        gemini = await client.post(path, json=contents, timeout=60)
    said = openai.json()["choices"][0]["message"]["content"]
    assert said
    assert gemini.json()["candidates"][0]["content"]["parts"][0]["text"] == said
