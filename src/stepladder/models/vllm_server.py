"""Which vLLM server is asked, and whether it is what its name says.

Everything here happens once, before the first sequence; `vllm_live.py` does the rest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import ModelError
from ..messages import Json
from ..registry import need
from .hosted.keys import find_key, redact
from .openai.endpoints import address, check_encrypted, load_endpoints
from .vllm_wire import message_of

__all__ = [
    "SILENT_SECONDS",
    "Tokens",
    "VLLMServer",
    "check_server",
    "json_of",
    "reason",
    "vllm_server",
]

SILENT_SECONDS = 300.0  # without a byte of an answer: the machine is taken for gone
# with digits, spaces, letters of several scripts: tokenizers differ here when they differ
_PROBE = "Ça coûte 1234,50 €?\n\n  def f(x):\t# 漢字 🙂"


class Tokens(Protocol):
    """What is to be known of the tokenizer whose ids are sent."""

    @property
    def eos_id(self) -> int: ...

    @property
    def context_tokens(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class VLLMServer:
    """A vLLM server: its address with `/v1`, the name of the model there, and the key to it."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What goes along with every request."""
        plain = {"accept-encoding": "identity"}
        return plain | ({"authorization": f"Bearer {self.key}"} if self.key else {})


def vllm_server(model: str) -> VLLMServer:
    """The server that the environment names: VLLM_BASE_URL, and VLLM_API_KEY if it wants a key.

    Raises ModelError for an address that is none, or to which a key would travel unencrypted.
    """
    endpoint = load_endpoints()["vllm"]
    url = address(endpoint)
    key = find_key(endpoint.name, [endpoint.key_env])
    if key is not None:
        check_encrypted(endpoint, url)
    return VLLMServer(url, model, key)


def check_server(server: VLLMServer, tokenizer: Tokens) -> int:
    """Ask a server for its model and a token: the most tokens that prompt and answer may have.

    Raises:
        ModelError: it does not answer, has not the model, has another tokenizer, or does not tell
            token ids.
        MissingExtra: the package `httpx2` is not installed.
    """
    http = need("httpx2", extra="serve", what="a vLLM server")
    try:
        with http.Client(headers=server.headers, timeout=SILENT_SECONDS, trust_env=False) as client:
            context = _context(client, server)
            _check_tokens(client, server, tokenizer)
    except http.HTTPError as error:
        raise ModelError(
            f"the vLLM server at {server.url!r} does not answer: {reason(error)}",
            hint="start it (vllm serve), and set VLLM_BASE_URL to its address",
        ) from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelError(
            f"what answers at {server.url!r} is no vLLM server of a known version: {error!r}",
            hint="stepladder was tried with vLLM 0.32",
        ) from error
    return min(context or tokenizer.context_tokens, tokenizer.context_tokens)


def _context(client: Any, server: VLLMServer) -> int | None:
    """The most tokens that the server's model reads, where it tells."""
    cards = _answer(client.get(f"{server.url}/models"), server)["data"]
    named = {card["id"]: card for card in cards}
    if server.model not in named:
        raise ModelError(
            f"the vLLM server at {server.url!r} has no model {server.model!r}",
            hint=f"it has: {', '.join(map(repr, sorted(named)))}",
        )
    most: int | None = named[server.model].get("max_model_len")
    return most


def _check_tokens(client: Any, server: VLLMServer, tokenizer: Tokens) -> None:
    """Have the server read a text: its ids have to be ours."""
    asked = {
        "model": server.model, "prompt": _PROBE, "max_tokens": 1, "temperature": 0.0,
        "add_special_tokens": False, "return_token_ids": True,
    }  # fmt: skip
    choice = _answer(client.post(f"{server.url}/completions", json=asked), server)["choices"][0]
    if choice["prompt_token_ids"] != tokenizer.encode(_PROBE):
        raise ModelError(
            f"the model {server.model!r} of the vLLM server has another tokenizer than the folder "
            "that was named with it",
            hint="name the folder that vLLM serves: vllm:NAME=FOLDER",
        )


def _answer(response: Any, server: VLLMServer) -> Any:
    if response.status_code == 200:
        return response.json()
    said = redact(message_of(json_of(response.content)))
    raise ModelError(
        f"the vLLM server at {server.url!r} answers {response.status_code}: {said}",
        hint="set VLLM_API_KEY to its key" if response.status_code == 401 else "see its log",
    )


def json_of(content: bytes) -> Json:
    """What is in an answer; its text where that is no JSON."""
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")[:500]


def reason(error: Exception) -> str:
    """What went wrong with a connection, in a word where the error has none."""
    return redact(str(error)) or type(error).__name__
