"""LoRA adapters on a vLLM server, each under a name that says what is in it.

Brings them there when they are first asked for. Which of them are in the GPU's memory, and which
are forgotten, is vLLM's affair (`--max-loras`, `--max-cpu-loras`); nothing is unloaded here, since
other servers may use the same vLLM.
"""

from __future__ import annotations

import asyncio
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..messages import Json
from .vllm_wire import message_of

__all__ = ["Adapters", "Unloadable", "adapter_name"]

FILES = ("adapter_config.json", "adapter_model.safetensors")


class Unloadable(Exception):
    """An adapter cannot be used there; the text is for the caller."""


class Adapters:
    """The adapters of one vLLM server, asked from one event loop."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url
        self._loaded: set[str] = set()
        self._loading = asyncio.Lock()

    async def load(self, folder: Path) -> str:
        """The name of the adapter in `folder` at the server, brought there if it is not yet.

        Raises Unloadable.
        """
        try:
            name = await asyncio.to_thread(adapter_name, folder)
        except OSError as error:
            raise Unloadable(
                f"the adapter in {folder.name!r} cannot be read: {error.strerror}"
            ) from error
        if name in self._loaded:
            return name
        async with self._loading:
            if name not in self._loaded:
                await self._bring(folder, name)
                self._loaded.add(name)
        return name

    def forget(self, name: str) -> None:
        """It is not there any more: bring it again for the next who asks."""
        self._loaded.discard(name)

    async def _bring(self, folder: Path, name: str) -> None:
        asked = {"lora_name": name, "lora_path": str(folder.resolve())}
        response = await self._client.post(f"{self._url}/load_lora_adapter", json=asked)
        if response.status_code == 200 or await self._is_there(name):
            return
        said = _body(response)
        if response.status_code in (404, 405) and "error" not in said:
            raise Unloadable(
                "the vLLM server takes no adapters: start it with --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=true"
            )
        raise Unloadable(
            f"the vLLM server cannot load the adapter in {folder.name!r}: {message_of(said)}"
        )

    async def _is_there(self, name: str) -> bool:
        """Whether somebody else brought it."""
        response = await self._client.get(f"{self._url}/models")
        if response.status_code != 200:
            return False
        return name in [card["id"] for card in response.json()["data"]]


def _body(response: Any) -> dict[str, Json]:
    try:
        said = response.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def adapter_name(folder: Path) -> str:
    """The name under which the adapter in `folder` is known: other weights have another one.

    Raises OSError when its files cannot be read.
    """
    stamps = []
    for name in FILES:
        state = (folder / name).stat()
        stamps.append((state.st_mtime_ns, state.st_size))
    return _name(folder, tuple(stamps))


@lru_cache(maxsize=4096)
def _name(folder: Path, stamps: tuple[tuple[int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name in FILES:
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"stepladder-{digest.hexdigest()[:32]}"
