"""A server of the tests' own that speaks the part of vLLM's HTTP that `models/vllm_live.py` uses.

Its answers have the form of those recorded from vLLM 0.32 (`wire/vllm_*.txt`), errors included: an
unknown token is told with status 200 in the stream, an unknown model with 404, a wrong key with
401. What it says is made up: every token follows from the prompt, the seed and the adapter.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["EOS", "VOCABULARY", "FakeVLLM"]

VOCABULARY = 300
EOS = 256


class FakeVLLM:
    """The server on a port of its own, until `stop`.

    `hold` keeps streams from going on after their first token while it is not set. `left` counts
    callers who went away in the middle of an answer. `adapters` are those it was given. `encode` is
    its tokenizer.
    """

    def __init__(self, *, port: int = 0, key: str | None = None, adapters: bool = True) -> None:
        self.model = "tiny"
        self.context_tokens = 128
        self.key = key
        self.takes_adapters = adapters
        self.adapters: dict[str, str] = {}
        self.loads = 0
        self.bodies: list[dict[str, Any]] = []
        self.encode: Callable[[str], list[int]] = lambda text: [*text.encode()]
        self.hold = threading.Event()
        self.hold.set()
        self.left = threading.Semaphore(0)
        self.dead = False
        self._http = _Server(("127.0.0.1", port), _Handler)
        self._http.daemon_threads = True
        self._http.fake = self
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stop(self) -> None:
        """Die: what is under way breaks off."""
        self.dead = True
        self._http.shutdown()
        self.hold.set()
        self._http.server_close()
        self._thread.join()

    def ids(self, body: dict[str, Any]) -> Iterator[int]:
        """What it says, the end-of-sequence token included."""
        seed = body.get("seed", 0) if body["temperature"] else None
        chance = random.Random(repr((body["prompt"], seed, self.adapters.get(body["model"]))))
        form = body.get("structured_outputs")
        if form:
            yield from form["choice"][0].encode()
        else:
            for _ in range(chance.randrange(20, 40)):
                yield chance.randrange(EOS)
        yield EOS

    def looked_up(self, body: dict[str, Any]) -> dict[str, Any]:
        """The choice of an answer that tells the probabilities of its prompt."""
        told: list[dict[str, Any] | None] = [None]
        for id in body["prompt"][1:]:
            ids = {id, *range(body["prompt_logprobs"])}
            token = {"rank": 1, "decoded_token": "x"}
            told.append({str(one): {"logprob": -1.0 - one / 1000, **token} for one in ids})
        return {"index": 0, "text": "x", "token_ids": None, "prompt_logprobs": told}

    def chunks(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a stream, as vLLM makes them."""
        head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}
        made = 0
        for id in self.ids(body):
            made += 1
            ended = "stop" if id == EOS else "length" if made == body["max_tokens"] else None
            choice = {
                "index": 0,
                "text": "" if id == EOS else chr(id),
                "logprobs": _logprobs(id, body.get("logprobs")),
                "finish_reason": ended,
                "stop_reason": None,
                "prompt_token_ids": body["prompt"] if made == 1 else None,
                "token_ids": [id],
            }
            yield {**head, "choices": [choice]}
            if ended:
                break
        size = len(body["prompt"])
        told = {"prompt_tokens": size, "total_tokens": size + made, "completion_tokens": made}
        usage = {**told, "prompt_tokens_details": {"cached_tokens": 0}}
        yield {**head, "choices": [], "usage": usage, "system_fingerprint": "vllm-0.32.0-a58dc05a"}


def _logprobs(id: int, count: int | None) -> dict[str, Any] | None:
    if count is None:
        return None
    top = {f"token_id:{(id + place) % VOCABULARY}": -0.5 - place for place in range(max(count, 1))}
    return {
        "text_offset": [0],
        "token_logprobs": [-0.5],
        "tokens": [f"token_id:{id}"],
        "top_logprobs": [top],
    }


class _Server(ThreadingHTTPServer):
    fake: FakeVLLM

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller who hangs up is no failure."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        fake = self.server.fake
        if self._is_known():
            card = {"id": fake.model, "object": "model", "max_model_len": fake.context_tokens}
            adapters = [{"id": name, "object": "model", "parent": "tiny"} for name in fake.adapters]
            self._tell(200, {"object": "list", "data": [card, *adapters]})

    def do_POST(self) -> None:
        fake = self.server.fake
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self._is_known():
            return
        if self.path == "/v1/load_lora_adapter":
            self._load(body)
        elif body["model"] not in {fake.model, *fake.adapters}:
            message = f"The model `{body['model']}` does not exist. Valid aliases: tiny."
            self._tell(404, _error(message, "NotFoundError", 404))
        elif "prompt_logprobs" in body:
            self._tell(200, {"id": "cmpl-1", "choices": [fake.looked_up(body)]})
        elif not body.get("stream"):
            self._probed(body)
        elif body["max_tokens"] > 64:
            message = "max_tokens is too large for this test"
            self._tell(400, _error(message, "BadRequestError", 400))
        else:
            fake.bodies.append(body)
            self._stream(body)

    def _is_known(self) -> bool:
        key = self.server.fake.key
        if key is None or self.headers["authorization"] == f"Bearer {key}":
            return True
        self._tell(401, {"error": "Unauthorized"})
        return False

    def _load(self, body: dict[str, str]) -> None:
        fake, name, path = self.server.fake, body["lora_name"], body["lora_path"]
        if not fake.takes_adapters:
            self._tell(404, {"detail": "Not Found"})
            return
        fake.loads += 1
        if name in fake.adapters:
            message = f"The lora adapter '{name}' has already been loaded."
            self._tell(400, _error(message, "InvalidUserInput", 400))
        elif b"rank 1000" in (Path(path) / "adapter_config.json").read_bytes():
            message = "LoRA rank 1000 is greater than max_lora_rank 16."
            self._tell(500, _error(message, "InternalServerError", 500))
        else:
            fake.adapters[name] = path
            self._tell(200, "Success: LoRA adapter added successfully.")

    def _probed(self, body: dict[str, Any]) -> None:
        choice = {
            "index": 0,
            "text": "x",
            "token_ids": [1],
            "prompt_token_ids": self.server.fake.encode(body["prompt"]),
        }
        self._tell(200, {"id": "cmpl-1", "choices": [choice]})

    def _stream(self, body: dict[str, Any]) -> None:
        fake = self.server.fake
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            if max(body["prompt"]) >= VOCABULARY:
                message = f"Token id {max(body['prompt'])} is out of vocabulary"
                self._event(_error(message, "BadRequestError", 400))
            else:
                for chunk in fake.chunks(body):
                    self._event(chunk)
                    while not fake.hold.wait(0.01):
                        self._chunk(b": waiting\n\n")
                    if fake.dead:
                        self.close_connection = True
                        return
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            fake.left.release()

    def _event(self, event: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _tell(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _error(message: str, kind: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
