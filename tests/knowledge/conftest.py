"""An encoder that takes no time: a text's vector counts its words, each in a place of its own."""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from stepladder.embeddings import DIMENSIONS
from stepladder.knowledge import dense, index, late, remote, rerank

WORD = re.compile(r"\w+")


@lru_cache(maxsize=10_000)
def of_word(word: str) -> Any:
    seed = int.from_bytes(hashlib.sha256(word.lower().encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class Encoder:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.token_texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> Any:
        self.texts.extend(texts)
        made = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for at, text in enumerate(texts):
            total = sum((of_word(word) for word in WORD.findall(text)), np.zeros(DIMENSIONS))
            made[at] = total / max(float(np.linalg.norm(total)), 1e-9)
        return made

    def encode_tokens(self, texts: Sequence[str]) -> list[Any]:
        self.token_texts.extend(texts)
        empty = np.zeros((0, DIMENSIONS), dtype=np.float16)
        found = [[of_word(word) for word in WORD.findall(text)] for text in texts]
        return [np.array(one, dtype=np.float16) if one else empty for one in found]

    @staticmethod
    def spans(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[match.span() for match in WORD.finditer(text)] for text in texts]


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Encoder:
    made = Encoder()
    for module in (dense, index, rerank, remote):
        monkeypatch.setattr(module, "encode", made.encode)
    for module in (late, rerank):
        monkeypatch.setattr(module, "encode_tokens", made.encode_tokens)
    monkeypatch.setattr(rerank, "token_spans", made.spans)
    for module in (dense, index, remote):
        monkeypatch.setattr(module, "encoder_name", lambda: "words")
    index.open_index.cache_clear()
    return made
