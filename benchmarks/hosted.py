"""1,000 calls to a hosted model: how near to the ideal, and whether any answer is lost or doubled.

The service is a process of its own on this machine that takes 20 ms (a test's figure) or 200 ms (a
fast model's) for an answer and computes next to nothing (`quick_service.py`); the ideal is
calls x latency / concurrency. Six ways, in one run:

    stepladder   all of our path: kept answers and claims on disk, pool, the google-genai SDK
    sdk          the same SDK by hand: a thread pool, no retries, nothing kept
    openai       all of our path with the openai SDK
    openai_sdk   that SDK by hand
    http         plain HTTP by hand: what this service and this machine can do at all
    without_sdk  all of our path over a service that is a sleep: what we add ourselves

An SDK computes for a millisecond or so a call, and Python runs one thread at a time: that bounds
the calls/s of a process, and above it more calls at once gain nothing. How much was computed is in
the result.

Then the same with a fifth of the calls going wrong in six ways, counted at the service of the
tests.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import openai
from environment import finish, parser, where
from google import genai
from hosted_service import Service, start
from quick_service import serving

from stepladder.answers import Answers, CachedModel
from stepladder.core import Message, Request, Response, Usage
from stepladder.models import ProviderSettings
from stepladder.models.hosted.api import Failure, PrefixCache
from stepladder.models.hosted.model import HostedModel
from stepladder.registry import look_up

CALLS, LIMIT = 1000, 1.3
SHAPES = ((0.02, 4), (0.02, 8), (0.02, 16), (0.02, 32), (0.2, 16), (0.2, 32), (0.2, 64))
MODEL = "gemini-3.1-flash-lite"
FAULTS = ("429", "500", "503", "drop", "cut", "truncated")
FAULTY_SHARE = 0.2
SYSTEM = "Sort the message.\n\nLabels:\n- card_lost\n- refund\n\nAnswer with one label only."


ADDRESSES = ("GOOGLE_GEMINI_BASE_URL", "OPENAI_BASE_URL")


def stepladder(concurrency: int, texts: Sequence[str], name: str = f"gemini:{MODEL}") -> list[str]:
    """The texts of the answers, by the whole of our path, from the service at the address set."""
    provider_name = name.partition(":")[0]
    with tempfile.TemporaryDirectory() as folder:
        answers = Answers(Path(folder) / "answers.sqlite")
        options = {"concurrency": concurrency}
        settings = ProviderSettings(provider_name, jobs=Path(folder) / "jobs", options=options)
        provider = look_up("provider", provider_name)(settings)
        with closing(answers), closing(provider):
            model = CachedModel(provider.model(name), answers)
            found = dict(model.generate([_request(text) for text in texts]))
    return [found[place].text for place in range(len(texts))]


def sdk(url: str, concurrency: int, texts: list[str]) -> list[str]:
    with genai.Client(http_options={"base_url": url}) as client:

        def call(text: str) -> str:
            config = {"system_instruction": SYSTEM, "max_output_tokens": 10, "temperature": 0.0}
            answer = client.models.generate_content(model=MODEL, contents=text, config=config)
            return answer.text or ""

        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(call, texts))


def openai_sdk(url: str, concurrency: int, texts: list[str]) -> list[str]:
    with openai.OpenAI(base_url=f"{url}/v1", max_retries=0) as client:

        def call(text: str) -> str:
            turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
            answer = client.chat.completions.create(
                model=MODEL, messages=turns, max_completion_tokens=10, temperature=0.0
            )
            return answer.choices[0].message.content or ""

        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(call, texts))


def plain_http(url: str, concurrency: int, texts: list[str]) -> list[str]:
    here = threading.local()
    address = urlsplit(url)

    def call(text: str) -> str:
        if not hasattr(here, "connection"):
            here.connection = http.client.HTTPConnection(str(address.hostname), address.port)
        turn = {"role": "user", "parts": [{"text": text}]}
        body = {"contents": [turn], "systemInstruction": {"parts": [{"text": SYSTEM}]}}
        headers = {"x-goog-api-key": "of-the-benchmark", "content-type": "application/json"}
        path = f"/v1/models/{MODEL}:generateContent"
        here.connection.request("POST", path, json.dumps(body), headers)
        answer = json.loads(here.connection.getresponse().read())
        return str(answer["candidates"][0]["content"]["parts"][0]["text"])

    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(call, texts))


class Sleeping:
    """An `Api` that takes its time and says something."""

    def __init__(self, latency: float) -> None:
        self._latency = latency

    def send(self, model: str, request: Request, cache: PrefixCache | None) -> Response:
        time.sleep(self._latency)
        return Response(str(request.messages[-1].content), Usage(f"sleeping:{model}", 30, 6, 0))

    def explain(self, error: Exception) -> Failure:
        raise error

    def close(self) -> None:
        """Nothing is held."""


def without_sdk(latency: float, concurrency: int, texts: list[str]) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        answers = Answers(Path(folder) / "answers.sqlite")
        options = {"concurrency": concurrency}
        settings = ProviderSettings("sleeping", jobs=Path(folder) / "jobs", options=options)
        hosted = HostedModel("sleeping:model", Sleeping(latency), settings)
        with closing(answers):
            model = CachedModel(hosted, answers)
            found = dict(model.generate([_request(text) for text in texts]))
    return [found[place].text for place in range(len(texts))]


def measure(repeats: int) -> list[dict[str, Any]]:
    """For each shape the median of every way, their runs taking turns."""
    measured = []
    for latency, concurrency in SHAPES:
        with serving(latency) as url:
            _ask_at(url)
            seconds, cpu = _taking_turns(url, latency, concurrency, repeats)
        ideal = CALLS * latency / concurrency
        measured.append(
            {
                "latency_seconds": latency,
                "concurrency": concurrency,
                "ideal_seconds": ideal,
                "times_ideal": {
                    name: round(statistics.median(took) / ideal, 3)
                    for name, took in seconds.items()
                },
                "seconds": {
                    name: [round(one, 3) for one in took] for name, took in seconds.items()
                },
                "cpu_milliseconds_per_call": {
                    name: round(1000 * statistics.median(busy), 2) for name, busy in cpu.items()
                },
            }
        )
        print(latency, concurrency, measured[-1]["times_ideal"], flush=True)
    return measured


Measured = dict[str, list[float]]


def _taking_turns(
    url: str, latency: float, concurrency: int, repeats: int
) -> tuple[Measured, Measured]:
    """The seconds of each way's runs, and the seconds that each call computed."""
    texts = _texts()
    ways: dict[str, Callable[[], list[str]]] = {
        "stepladder": lambda: stepladder(concurrency, texts),
        "sdk": lambda: sdk(url, concurrency, texts),
        "openai": lambda: stepladder(concurrency, texts, f"openai:{MODEL}"),
        "openai_sdk": lambda: openai_sdk(url, concurrency, texts),
        "http": lambda: plain_http(url, concurrency, texts),
        "without_sdk": lambda: without_sdk(latency, concurrency, texts),
    }
    seconds: Measured = {name: [] for name in ways}
    cpu: Measured = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            began, before = time.perf_counter(), time.process_time()
            answers = way()
            seconds[name].append(time.perf_counter() - began)
            cpu[name].append((time.process_time() - before) / CALLS)
            assert answers == texts, f"{name} gave other answers"
    return seconds, cpu


def under_faults(service: Service) -> dict[str, Any]:
    """What the service answered and what we kept, when a fifth of the calls go wrong."""
    service.reset()
    service.settings(latency=0.02)
    rule = {"kinds": FAULTS, "share": FAULTY_SHARE, "seed": 3, "wait_seconds": 0.05}
    service.faults(rule)
    began = time.perf_counter()
    _ask_at(service.url)
    kept = stepladder(16, _texts())
    seconds = time.perf_counter() - began
    seen = [call for call in service.requests(bodies=False) if ":generateContent" in call.path]
    whole = Counter(call.content for call in seen if call.answered)
    return {
        "calls": CALLS,
        "concurrency": 16,
        "share_going_wrong": FAULTY_SHARE,
        "seconds": round(seconds, 2),
        "sent": len(seen),
        "went_wrong": dict(Counter(call.fault for call in seen if call.fault)),
        "answered_whole": sum(whole.values()),
        "kept": sum(text != "" for text in kept),
        "lost": CALLS - sum(text != "" for text in kept),
        "answered_more_than_once": sum(times > 1 for times in whole.values()),
        "work_done_again_because_its_answer_broke": sum(c.made and not c.answered for c in seen),
    }


def _ask_at(url: str) -> None:
    for variable in ADDRESSES:
        os.environ[variable] = url


def _shape(one: dict[str, Any]) -> str:
    return f"{one['concurrency']} at {one['latency_seconds'] * 1000:.0f} ms"


def _texts() -> list[str]:
    return [f"I lost my card {number}" for number in range(CALLS)]


def _request(text: str) -> Request:
    turns = (Message("system", SYSTEM), Message("user", text))
    return Request(turns, max_output_tokens=10)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--repeats", type=int, default=3, help="of each measurement")
    chosen = options.parse_args()
    place = where()
    os.environ["GEMINI_API_KEY"] = os.environ["OPENAI_API_KEY"] = "of-the-benchmark"
    with serving(0.02) as url:
        _ask_at(url)
        for name in ("gemini", "openai"):  # warm up
            stepladder(4, _texts()[:50], f"{name}:{MODEL}")
    measured = measure(chosen.repeats)
    service = start()
    try:
        faults = under_faults(service)
    finally:
        service.stop()
    result = {
        **place,
        "calls": CALLS,
        "limit_times_ideal": LIMIT,
        "measured": measured,
        "faults": faults,
        "within_the_limit": {
            way: [_shape(one) for one in measured if one["times_ideal"][way] <= LIMIT]
            for way in ("stepladder", "sdk", "openai", "openai_sdk", "without_sdk")
        },
        "no_answer_lost_or_doubled": faults["lost"] == faults["answered_more_than_once"] == 0,
    }
    finish("hosted", result, write=chosen.write)


if __name__ == "__main__":
    main()
