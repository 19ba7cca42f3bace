"""llama.cpp itself, asked for the answers of a GGUF file: as a server does, by its chat template.

Through the package xllamacpp, which carries llama.cpp in one wheel; it is optional, and used for
checking an export alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core import Message, Request, Response, Usage
from ..errors import ModelError
from ..models.local.functions import plain_messages

__all__ = ["LlamaCppModel", "have_llama_cpp"]

_THREADS_OF_SERVER = 2


def have_llama_cpp() -> bool:
    """Whether llama.cpp is at hand."""
    return find_spec("xllamacpp") is not None


class LlamaCppModel:
    """A `Model` over a GGUF file; answers one request after the other, greedily."""

    def __init__(self, name: str, file: Path, context_tokens: int) -> None:
        import xllamacpp

        params: Any = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx = context_tokens
        params.n_parallel = 1
        params.n_threads_http = _THREADS_OF_SERVER
        params.use_jinja = True
        params.warmup = False
        params.verbosity = -1
        params.n_gpu_layers = 0
        # its threads wait for each other by spinning: one too many and it crawls
        params.cpuparams.n_threads = max(1, (os.cpu_count() or 2) - 1)
        params.cpuparams_batch.n_threads = params.cpuparams.n_threads
        self.name = name
        self.version = f"llama.cpp in xllamacpp {xllamacpp.__version__}"
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelError(f"llama.cpp cannot read {file.name!r}: {error}") from error

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        """Each answer, in order."""
        for index, request in enumerate(requests):
            yield index, self._answer(request)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Not told before asking."""
        raise ModelError("llama.cpp counts tokens only of what it is asked")

    def _answer(self, request: Request) -> Response:
        usage = Usage(self.name)
        answer = self._server.handle_chat_completions(_body(request))
        if "choices" not in answer:
            return Response("", usage, "error", error=str(answer.get("error", answer)))
        choice = answer["choices"][0]
        finish = "length" if choice.get("finish_reason") == "length" else "stop"
        return Response(choice["message"].get("content") or "", usage, finish)  # type: ignore[arg-type]


def _body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {
        "messages": [
            {"role": one.role, "content": one.content}
            for one in plain_messages(request.messages, request.functions)
        ],
        "max_tokens": request.max_output_tokens,
        "temperature": 0.0,
        "seed": request.seed,
        "cache_prompt": False,  # what was asked before changes no answer
    }
    if request.choices:
        said = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in request.choices)
        body["grammar"] = f"root ::= {said}"
    elif request.schema is not None:
        body["response_format"] = {"type": "json_object", "schema": dict(request.schema)}
    if request.stop:
        body["stop"] = list(request.stop)
    return body
