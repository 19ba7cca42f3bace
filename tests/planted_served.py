"""A bundle behind both protocols, asked and answering what was planted; without sockets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
from serving import FixedModels

from stepladder.bundles.bundle import Bundle
from stepladder.core import DataSource, MetricSpec, Model, Solver, Target, Task
from stepladder.database import open_database
from stepladder.serve.app import create_app
from stepladder.serve.log import set_up_log
from stepladder.serve.served.bundle import BundleServed
from stepladder.serve.server import assemble
from stepladder.serve.settings import ServeSettings
from stepladder.testing import fake_workshop

__all__ = ["FORMS", "Served", "Told", "serving_planted"]

# how each protocol is asked, whole and streamed
FORMS = ("openai", "openai stream", "gemini", "gemini stream")


@dataclass(frozen=True)
class Told:
    """One answer as it came over the wire: its status, its headers, its JSON documents."""

    form: str
    status: int
    headers: dict[str, str]
    documents: tuple[dict[str, Any], ...]

    @property
    def text(self) -> str:
        """What it says, put together from its pieces."""
        if self.form.startswith("openai"):
            each = [one["choices"][0] for one in self.documents if one.get("choices")]
            said = [one.get("message") or one.get("delta") or {} for one in each]
            return "".join(one.get("content") or "" for one in said)
        parts = [
            part
            for one in self.documents
            for candidate in one.get("candidates", ())
            for part in candidate.get("content", {}).get("parts", ())
        ]
        return "".join(part.get("text", "") for part in parts)


@dataclass
class Served:
    """The app over one bundle, and the lines that it logged."""

    app: Any
    _logged: io.StringIO = field(repr=False)

    @property
    def logged(self) -> str:
        return self._logged.getvalue()

    def ask(self, texts: Sequence[str], form: str, *, model: str = "house") -> list[Told]:
        """The answers to these inputs, one after the other."""
        return asyncio.run(self._ask(texts, form, model))

    async def _ask(self, texts: Sequence[str], form: str, model: str) -> list[Told]:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            told = []
            for text in texts:
                path, body = _asked(text, form, model)
                response = await client.post(path, json=body)
                told.append(
                    Told(form, response.status_code, dict(response.headers), _documents(response))
                )
            return told


@contextmanager
def serving_planted(
    solver: Solver, model: Model, folder: Path, artifacts: Path, *, log: Any = "text"
) -> Iterator[Served]:
    """The solver as the bundle "house" of a server whose database is in `folder`."""
    task = Task(
        "house", "generation", "Answer.", Target(0.8), MetricSpec("token_f1"), DataSource(),
        folder=folder,
    )  # fmt: skip
    seen = {"step": "planted", "solver": "planted", "confirmed": None, "trial": {"score": 0.9}}
    bundle = Bundle("a" * 64, folder, solver, task, (), seen, ())
    logged = io.StringIO()
    settings = ServeSettings(database=f"sqlite:///{folder / 'serve.db'}", port=0, tuning=False)
    with ExitStack() as stack:
        stack.enter_context(_own_log(logged, log))
        threads = stack.enter_context(ThreadPoolExecutor(2))
        served = BundleServed(bundle, fake_workshop(model, artifacts), threads, ExitStack())
        database = open_database(settings.database)
        stack.callback(database.close)
        server = assemble(settings, FixedModels({"house": served}), database)
        yield Served(create_app(server), logged)


@contextmanager
def _own_log(to: io.StringIO, form: Any) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("stepladder.serve", "uvicorn.error")]
    kept = [(one, [*one.handlers], one.level, one.propagate) for one in loggers]
    set_up_log(form, to)
    try:
        yield
    finally:
        for logger, handlers, level, propagate in kept:
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)


def _asked(text: str, form: str, model: str) -> tuple[str, dict[str, Any]]:
    if form.startswith("openai"):
        turns = [{"role": "user", "content": text}]
        body = {"model": model, "messages": turns, "stream": form.endswith("stream")}
        return "/v1/chat/completions", body
    method = "streamGenerateContent?alt=sse" if form.endswith("stream") else "generateContent"
    contents = [{"role": "user", "parts": [{"text": text}]}]
    return f"/v1beta/models/{model}:{method}", {"contents": contents}


def _documents(response: httpx.Response) -> tuple[dict[str, Any], ...]:
    """The body's JSON documents; a stream that is none of events is an error here."""
    text = response.content.decode()
    if not response.headers["content-type"].startswith("text/event-stream"):
        return (json.loads(text),)
    blocks = [block for block in text.replace("\r\n", "\n").split("\n\n") if block]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks), text
    return tuple(
        json.loads(block.removeprefix("data: ")) for block in blocks if block != "data: [DONE]"
    )
