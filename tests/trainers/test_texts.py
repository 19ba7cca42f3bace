"""Raw text: every token is predicted once, and a model that reads it knows it better afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Message
from stepladder.errors import ModelError
from stepladder.trainers.texts import blocks

from .tiny import make_job


@dataclass(frozen=True)
class Letters:
    """A token for each letter."""

    eos_id: int = 0

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def chat_ids(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> list[int]:
        raise NotImplementedError


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5), st.integers(2, 9))
def test_every_token_is_learned_once_and_in_order(texts: list[str], length: int) -> None:
    rows = blocks(texts, Letters(), length)
    learned = [token for row in rows for token in row.answer]
    assert learned == [token for text in texts for token in [*map(ord, text), 0]]
    assert all(len(row) <= length for row in rows)
    assert all(len(row) == length for row in rows[:-1])
    before = [0, *learned]
    place = 0
    for row in rows:
        assert row.prompt == (before[place],)
        place += len(row.answer)


def test_text_without_words_is_refused() -> None:
    with pytest.raises(ModelError, match="empty"):
        blocks(["  ", "\n"], Letters(), 8)


def test_a_model_knows_its_domain_better_after_reading_it(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from stepladder.trainers.local import LocalTrainer

    def quiet(event: str, fields: Mapping[str, Any]) -> None:
        assert event == "training"

    sentence = "the valve {} of pump {} leaks oil. "
    texts = tuple(sentence.format(n % 7, n % 5) * 4 for n in range(30))
    settings: dict[str, object] = {"objective": "text", "max_length": 64, "epochs": 6.0}
    job = replace(make_job(tiny, **settings), train=texts[:26], held_out=texts[26:])
    trained = LocalTrainer().train(job, tmp_path, quiet)
    held = [one.held_out_loss for one in trained.learning if one.held_out_loss is not None]
    assert math.exp(held[0]) > 100  # of 259 tokens: it knew nothing
    assert math.exp(min(held)) < 20
    with pytest.raises(ModelError, match="learns from texts"):
        LocalTrainer().train(replace(job, train=(*texts, make_job(tiny).train[0])), tmp_path, quiet)
