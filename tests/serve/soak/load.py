"""Many clients of one server that comes and goes, and a ledger of what it told them.

Each thing that a client makes has a name of its own, so that it can be looked for whether or not
the server came to say that it has it. A call that was cut off is not made again: what it was to
make may be there, whole, or not.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx

__all__ = ["Clients", "Ledger", "Made"]

GOOGLE = {"x-goog-api-key": "none"}
VERTEX = "/v1beta1/projects/p/locations/us-central1"
TRAINING = json.dumps({"messages": [{"role": "user", "content": "a"},
                                    {"role": "assistant", "content": "b"}]}).encode()  # fmt: skip
WORDS = ("parcel", "refund", "größer", "late", "日本", "card", "lost", "when?")
PIECE = 300_000


@dataclass
class Made:
    """Something that a client made: `id` once the server said so; `of` is what it holds."""

    of: Any
    id: str | None = None
    gone: bool | None = False  # None: its deletion was cut off


@dataclass
class Ledger:
    """What was asked and told. `answered` has the life of the server that each answer is from."""

    count: int = 0
    life: int = 0
    killed: set[int] = field(default_factory=set)
    answered: dict[str, int] = field(default_factory=dict)
    feedback: dict[str, Made] = field(default_factory=dict)
    files: dict[str, Made] = field(default_factory=dict)
    jobs: dict[str, Made] = field(default_factory=dict)
    batches: dict[str, Made] = field(default_factory=dict)
    cut: Counter[int] = field(default_factory=Counter)  # streams that had begun, by life
    unknown: set[str] = field(default_factory=set)  # requests whose records went with a kill
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Clients:
    """`total` requests by `many` clients at once; `interrupt` is called after each of `moments`."""

    def __init__(self, url: str, seed: int, total: int, moments: Sequence[int]) -> None:
        self.ledger = Ledger()
        self.up = asyncio.Event()
        self._url = url
        self._random = random.Random(seed)
        self._total = total
        self._moments = sorted(moments)
        self._due = asyncio.Event()
        self._number = 0

    async def run(self, interrupt: Callable[[int], Awaitable[None]], many: int = 24) -> None:
        self.up.set()
        limits = httpx.Limits(max_connections=many)
        async with (
            httpx.AsyncClient(base_url=self._url, timeout=60, limits=limits) as self._http,
            asyncio.TaskGroup() as group,
        ):
            clients = [group.create_task(self._client()) for _ in range(many)]
            for number in range(len(self._moments)):
                await self._due.wait()
                self.up.clear()
                self._due.clear()
                await interrupt(number)
                self.ledger.life += 1
                self.up.set()
            await asyncio.wait(clients)

    async def _client(self) -> None:
        sorts = (
            (30, self._chat), (10, self._stream), (12, self._generate), (8, self._stream_generate),
            (20, self._say), (8, self._upload), (3, self._upload_in_pieces), (5, self._download),
            (1, self._delete), (2, self._batch), (1, self._inline_batch), (2, self._job),
            (1, self._vertex_job), (1, self._list),
        )  # fmt: skip
        weights = [weight for weight, _ in sorts]
        while self.ledger.count < self._total:
            _, act = self._random.choices(sorts, weights)[0]
            await act()

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        """The answer; None where there was none, since the server ended."""
        await self._next()
        try:
            response = await self._http.request(method, path, **more)
        except httpx.TransportError:
            self.ledger.statuses["cut off"] += 1
            return None
        return self._seen(response, f"{method} {path}")

    async def _next(self) -> None:
        await self.up.wait()
        self.ledger.count += 1
        if self._moments and self.ledger.count >= self._moments[0]:
            self._moments.pop(0)
            self._due.set()

    def _seen(self, response: httpx.Response, call: str) -> httpx.Response:
        self.ledger.statuses[str(response.status_code)] += 1
        if response.status_code >= 500 and response.status_code != 503:
            self.ledger.faults.append(f"{call}: {response.status_code} {response.text[:300]}")
        return response

    def _good(self, response: httpx.Response | None, call: str) -> bool:
        """Whether it was done; a server that is about to end may say that it takes no more."""
        if response is None:
            return False
        if response.status_code not in (200, 201, 503):
            self.ledger.faults.append(f"{call}: {response.status_code} {response.text[:300]}")
        return response.status_code in (200, 201)

    def _text(self) -> str:
        self._number += 1
        return f"{self._number} " + " ".join(self._random.choices(WORDS, k=3))

    def _told(self, said: str, text: str, headers: httpx.Headers, life: int) -> None:
        if said != text:
            self.ledger.faults.append(f"{text!r} was answered {said!r}")
        self.ledger.answered[headers["x-request-id"]] = life

    # --- answers --------------------------------------------------------------------------------

    async def _chat(self) -> None:
        text = self._text()
        response = await self.send("POST", "/v1/chat/completions", json=_chat_body(text))
        life = self.ledger.life
        if response is not None and self._good(response, "chat"):
            said = response.json()["choices"][0]["message"]["content"]
            self._told(said, text, response.headers, life)

    async def _generate(self) -> None:
        text = self._text()
        path = "/v1beta/models/fake:generateContent"
        response = await self.send("POST", path, json=_contents(text), headers=GOOGLE)
        life = self.ledger.life
        if response is not None and self._good(response, "generateContent"):
            self._told(_said(response.json()), text, response.headers, life)

    async def _stream(self) -> None:
        def read(lines: Sequence[str]) -> str:
            assert lines[-1] == "[DONE]", "it ends without saying so"
            choices = [json.loads(line)["choices"] for line in lines[:-1]]
            return "".join(one[0]["delta"].get("content") or "" for one in choices if one)

        text = self._text()
        body = {**_chat_body(text), "stream": True}
        await self._streamed("/v1/chat/completions", body, text, read)

    async def _stream_generate(self) -> None:
        text = self._text()
        path = f"{VERTEX}/publishers/google/models/fake:streamGenerateContent?alt=sse"

        def read(lines: Sequence[str]) -> str:
            chunks = [json.loads(line) for line in lines]
            assert "finishReason" in chunks[-1]["candidates"][0], "it ends without saying so"
            return "".join(map(_said, chunks))

        await self._streamed(path, _contents(text), text, read)

    async def _streamed(
        self, path: str, body: Any, text: str, read: Callable[[Sequence[str]], str]
    ) -> None:
        await self._next()
        life, began, lines = self.ledger.life, False, []
        try:
            async with self._http.stream("POST", path, json=body, headers=GOOGLE) as response:
                async for line in response.aiter_lines():
                    began = True
                    lines += [line.removeprefix("data: ")] if line else []
        except httpx.TransportError:
            self.ledger.statuses["cut off"] += 1
            if began:
                self.ledger.cut[life] += 1
            return
        self.ledger.statuses[str(response.status_code)] += 1
        if response.status_code != 200:
            if response.status_code != 503:
                self.ledger.faults.append(f"{path}: {response.status_code} {lines}")
            return
        try:
            self._told(read(lines), text, response.headers, life)
        except (AssertionError, LookupError, ValueError) as error:
            self.ledger.faults.append(f"{path}: {error}: {lines}")

    # --- what is kept ---------------------------------------------------------------------------

    async def _say(self) -> None:
        ledger = self.ledger
        if not ledger.answered:
            return
        # mostly of the last answers: those are the ones that a kill may take with it
        known = [*ledger.answered][-50:] if self._random.random() < 0.7 else [*ledger.answered]
        request, comment = self._random.choice(known), self._text()
        made = ledger.feedback[comment] = Made(request)
        body = {"request_id": request, "verdict": "right", "comment": comment}
        response = await self.send("POST", "/v1/feedback", json=body)
        if response is not None and response.status_code == 404:
            # traffic is written in groups: a kill takes the last few answers' records with it
            life = ledger.answered[request]
            if life in ledger.killed:
                ledger.unknown.add(request)
                return
        if response is not None and self._good(response, f"feedback on {request}"):
            made.id = response.json()["id"]

    async def _upload(self) -> None:
        size = self._random.choice((10, 1000, 40_000, 40_000, 2_200_000))
        await self._uploaded(self._random.randbytes(size), "user_data")

    async def _uploaded(self, content: bytes, purpose: str) -> str | None:
        name = f"{purpose}-{self._random.getrandbits(64):x}"
        made = self.ledger.files[name] = Made((len(content), hashlib.sha256(content).hexdigest()))
        response = await self.send(
            "POST", "/v1/files", data={"purpose": purpose}, files={"file": (name, content)}
        )
        if response is not None and self._good(response, "upload"):
            made.id = response.json()["id"].removeprefix("file-")
        return made.id

    async def _upload_in_pieces(self) -> None:
        content = self._random.randbytes(self._random.randint(1, 4 * PIECE))
        name = f"pieces-{self._random.getrandbits(64):x}"
        headers = {**GOOGLE, "x-goog-upload-protocol": "resumable",
                   "x-goog-upload-command": "start"}  # fmt: skip
        body = {"file": {"displayName": name}}
        begun = await self.send("POST", "/upload/v1beta/files", json=body, headers=headers)
        if begun is None or not self._good(begun, "begin of an upload"):
            return
        made = self.ledger.files[name] = Made((len(content), hashlib.sha256(content).hexdigest()))
        url, at = begun.headers["x-goog-upload-url"], 0
        while made.id is None:
            piece = content[at : at + PIECE]
            last = at + len(piece) == len(content)
            command = "upload, finalize" if last else "upload"
            sent = {"x-goog-upload-command": command, "x-goog-upload-offset": str(at)}
            response = await self.send("POST", url, content=piece, headers=sent)
            if response is not None and response.status_code != 503:
                if not self._good(response, "piece of an upload"):
                    return
                at += len(piece)
                if last:
                    made.id = response.json()["file"]["name"].removeprefix("files/")
                continue
            if last:
                return  # it may have ended: whoever asks again could not tell
            asked = await self.send("POST", url, headers={"x-goog-upload-command": "query"})
            if asked is not None and self._good(asked, "query of an upload"):
                at = int(asked.headers["x-goog-upload-size-received"])

    async def _download(self) -> None:
        made = self._any_file()
        if made is None:
            return
        response = await self.send("GET", f"/v1/files/file-{made.id}/content")
        if made.gone is False and response is not None and self._good(response, "download"):
            found = len(response.content), hashlib.sha256(response.content).hexdigest()
            if found != made.of:
                self.ledger.faults.append(f"the file {made.id} has other bytes")

    async def _delete(self) -> None:
        made = self._any_file()
        if made is None:
            return
        made.gone = None
        response = await self.send("DELETE", f"/v1/files/file-{made.id}")
        if response is not None and self._good(response, "delete"):
            made.gone = True

    def _any_file(self) -> Made | None:
        files = self.ledger.files.items()
        known = [
            one
            for name, one in files
            if name.startswith("user_data") and one.id is not None and one.gone is False
        ]
        return self._random.choice(known) if known else None

    async def _batch(self) -> None:
        texts = [self._text() for _ in range(self._random.randint(1, 6))]
        lines = [
            {"custom_id": f"row {n}", "method": "POST", "url": "/v1/chat/completions",
             "body": _chat_body(text)} for n, text in enumerate(texts)
        ]  # fmt: skip
        content = "\n".join(map(json.dumps, lines)).encode()
        file = await self._uploaded(content, "batch")
        if file is None:
            return
        made = self.ledger.batches[texts[0]] = Made(texts)
        body = {"input_file_id": f"file-{file}", "endpoint": "/v1/chat/completions",
                "completion_window": "24h", "metadata": {"name": texts[0]}}  # fmt: skip
        response = await self.send("POST", "/v1/batches", json=body)
        if response is not None and self._good(response, "batch"):
            made.id = response.json()["id"].removeprefix("batch_")

    async def _inline_batch(self) -> None:
        texts = [self._text() for _ in range(self._random.randint(1, 6))]
        requests = [{"request": _contents(text)} for text in texts]
        body = {"batch": {"displayName": texts[0],
                          "inputConfig": {"requests": {"requests": requests}}}}  # fmt: skip
        made = self.ledger.batches[texts[0]] = Made(texts)
        path = "/v1beta/models/fake:batchGenerateContent"
        response = await self.send("POST", path, json=body, headers=GOOGLE)
        if response is not None and self._good(response, "inline batch"):
            made.id = response.json()["name"].removeprefix("batches/")

    async def _job(self) -> None:
        file = await self._uploaded(TRAINING, "fine-tune")
        if file is None:
            return
        name = f"job-{self._random.getrandbits(64):x}"
        body = {"model": "fake", "training_file": f"file-{file}", "suffix": name, "seed": 7}
        made = self.ledger.jobs[name] = Made(file)
        response = await self.send("POST", "/v1/fine_tuning/jobs", json=body)
        if response is not None and self._good(response, "job"):
            made.id = response.json()["id"].removeprefix("ftjob-")

    async def _vertex_job(self) -> None:
        name, uri = f"job-{self._random.getrandbits(64):x}", "gs://bucket/rows.jsonl"
        body = {"baseModel": "fake", "tunedModelDisplayName": name,
                "supervisedTuningSpec": {"trainingDatasetUri": uri}}  # fmt: skip
        made = self.ledger.jobs[name] = Made(uri)
        response = await self.send("POST", f"{VERTEX}/tuningJobs", json=body)
        if response is not None and self._good(response, "tuningJob"):
            made.id = response.json()["name"].rpartition("/")[2]

    async def _list(self) -> None:
        path = self._random.choice(
            ("/v1/files?limit=20", "/v1/batches", "/v1/fine_tuning/jobs", "/v1/models", "/readyz")
        )
        self._good(await self.send("GET", path), path)


def _chat_body(text: str) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": text}]}


def _contents(text: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


def _said(body: Any) -> str:
    parts = body["candidates"][0].get("content", {}).get("parts", [])
    return "".join(part.get("text", "") for part in parts)
