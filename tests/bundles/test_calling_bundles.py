"""A bundle that calls functions: carried, opened, served as measured, in both protocols."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bundling import climb_to
from ride_functions import write_functions

from stepladder.bundles import deploy
from stepladder.bundles.bundle import load_bundle
from stepladder.bundles.checking import ServedAsMeasured
from stepladder.bundles.endpoint import ask_endpoint, serving
from stepladder.core import Call, Request, Response, Usage
from stepladder.models import ProviderSettings
from stepladder.registry import BUILT_IN
from stepladder.solvers.calling import CallingSolver

pytestmark = [pytest.mark.network, pytest.mark.slow]

CITIES = ("Fresno", "Oslo", "Lima", "Rome")
HEAD = """
name = "rides"
kind = "calls"
instructions = "Help with rides."
model = "driver:one"
metric = "{metric}"
target = {{ score = 0.5 }}

[data]
train = "train.jsonl"
dev = "dev.jsonl"
test = "test.jsonl"
input = "input"
expected = "output"
id = "id"
"""
PREDICTING = '\n[steps.functions]\ncatalogue = "functions.json"\nshots = 0\n'
RUNNING = """
[steps.functions]
gives = "record"
sources = [{ kind = "python", path = "functions.py" }]
turns = 3
"""


class Driver:
    """Finds rides where a city is named, and says how many there are; else it talks."""

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, requests: list[Request]) -> Iterator[tuple[int, Response]]:
        for index, request in enumerate(requests):
            yield index, self._answer(request)

    def count_tokens(self, messages: Any) -> int:
        return len(messages)

    def _answer(self, request: Request) -> Response:
        usage = Usage(self.name, 3, 2, seconds=0.01)
        last = request.messages[-1]
        if last.role == "function":
            found = json.loads(str(last.content))["result"]
            return Response(f"There are {len(found)}.", usage)
        city = next((one for one in CITIES if one in str(last.content)), None)
        if city is None:
            return Response("Where to?", usage)
        return Response("", usage, calls=(Call("find_rides", {"city": city}, "c1"),))


class Drivers:
    def __init__(self, settings: ProviderSettings) -> None:
        pass

    def model(self, name: str) -> Driver:
        return Driver(name)

    def close(self) -> None:
        pass


def open_drivers(settings: ProviderSettings) -> Drivers:
    return Drivers(settings)


@pytest.fixture(autouse=True)
def _drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN["provider"], "driver", "test_calling_bundles:open_drivers")


def deployed(folder: Path, metric: str, step: str) -> Path:
    """The bundle of a climbed task, which was checked as it is deployed."""
    calls = {"name": "find_rides", "parameters": {"properties": {"city": {"type": "string"}}}}
    (folder / "functions.json").write_text(json.dumps([calls]))
    (folder / "task.toml").write_text(HEAD.format(metric=metric) + step)
    for number, name in enumerate(("train", "dev", "test")):
        lines = []
        for place in range(12):
            city = CITIES[place % 4] if place % 3 else None
            text = f"ride {number} {place} to {city}" if city else f"hello {number} {place}"
            wanted = [{"name": "find_rides", "arguments": {"city": city}}] if city else []
            lines.append(json.dumps({"id": f"{number}-{place}", "input": text, "output": wanted}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    run = climb_to(folder, "functions")
    done = deploy(run, solver="functions/plain", unconfirmed=True, check=ServedAsMeasured())
    assert done.served is not None
    assert (done.served["passed"], done.served["differing"]) == (True, 0)
    assert done.served["served_score"] == 1
    return done.folder


def posted(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with closing(urllib.request.urlopen(request, timeout=30)) as response:
        return dict(json.loads(response.read()))


def test_predicted_calls_are_for_the_caller_to_make(tmp_path: Path) -> None:
    folder = deployed(tmp_path, "call_match", PREDICTING)
    with serving(folder) as (url, model):

        def chat(text: str) -> dict[str, Any]:
            body = {"model": model, "messages": [{"role": "user", "content": text}]}
            return dict(posted(f"{url}/openai/v1/chat/completions", body)["choices"][0])

        def gemini(text: str) -> dict[str, Any]:
            body = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
            said = posted(f"{url}/v1beta/models/{model}:generateContent", body)
            return dict(said["candidates"][0])

        called, silent = chat("ride to Oslo"), chat("hello")
        (call,) = called["message"]["tool_calls"]
        assert (called["finish_reason"], call["type"]) == ("tool_calls", "function")
        assert call["function"]["name"] == "find_rides"
        assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
        assert (silent["finish_reason"], silent["message"]["content"]) == ("stop", "Where to?")
        assert not silent["message"].get("tool_calls")
        (part,) = gemini("ride to Oslo")["content"]["parts"]
        assert (part["functionCall"]["name"], part["functionCall"]["args"]) == (
            "find_rides", {"city": "Oslo"},
        )  # fmt: skip
        assert gemini("hello")["content"]["parts"][0]["text"] == "Where to?"


def test_its_own_functions_run_and_the_answer_tells_what_happened(tmp_path: Path) -> None:
    write_functions(tmp_path)
    folder = deployed(tmp_path, "task_success", RUNNING)
    solver = load_bundle(folder).solver
    assert isinstance(solver, CallingSolver)
    assert solver.sources[0]["path"] == str(tmp_path / "functions.py")
    assert not list(folder.rglob("*.py")), "code is no part of a bundle"
    with serving(folder) as (url, model):
        ask = ask_endpoint(url, model)
        ((_, reply),) = ask(["ride to Fresno"])
        told = json.loads(reply.text)
        assert told["answer"] == "There are 2."
        assert told["steps"] == 2
        assert told["calls"][0]["result"] == [{"id": 1, "seats": 2}, {"id": 2, "seats": 4}]
        with (tmp_path / "functions.py").open("a") as file:
            file.write("\n# changed\n")
        ((_, refused),) = ask(["ride to Oslo"])
        assert "others than those that were measured" in (refused.error or "")
