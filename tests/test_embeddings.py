"""The text encoder: only with its packages, and only what the weights say."""

import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepladder import embeddings
from stepladder.embeddings import DIMENSIONS, KEPT, embed, embed_kept
from stepladder.errors import MissingExtra, StoreError


def test_no_texts_need_no_encoder() -> None:
    assert embed([]).shape == (0, DIMENSIONS)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match="torch") as caught:
        embed(["x"])
    assert "stepladder[train]" in caught.value.hint


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that an encoder, which counts letters, was given."""
    seen: list[str] = []

    def count(texts: Sequence[str]) -> Any:
        seen.extend(texts)
        letters = [[text.count(letter) for letter in "abc"] for text in texts]
        return np.array(letters, dtype=np.float32).reshape(len(texts), 3)

    monkeypatch.setattr(embeddings, "embed", count)
    return seen


@given(st.lists(st.lists(st.text("abc", max_size=4), min_size=1, max_size=6), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_each_text_is_encoded_once_whatever_it_is_asked_with(
    encoded: list[str], tmp_path_factory: pytest.TempPathFactory, asked: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("artifacts")
    encoded.clear()
    for texts in asked:
        found = embed_kept(texts, folder)
        assert found.tolist() == [[text.count(letter) for letter in "abc"] for text in texts]
    assert sorted(encoded) == sorted({text for texts in asked for text in texts})


def test_vectors_of_other_weights_are_not_taken(
    encoded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_kept(["ab"], tmp_path)
    other = replace(embeddings._WEIGHTS, sha256="0" * 64)
    monkeypatch.setattr(embeddings, "_WEIGHTS", other)
    embed_kept(["ab"], tmp_path)
    assert encoded == ["ab", "ab"]


def test_where_nothing_can_be_kept_the_vectors_are_there_all_the_same(
    encoded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, made: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(embeddings, "_keep", full)
    assert embed_kept(["ab", "c"], tmp_path).tolist() == [[1, 1, 0], [0, 0, 1]]
    assert embed_kept([], tmp_path).shape == (0, 3)


def test_a_damaged_file_of_vectors_is_told(encoded: list[str], tmp_path: Path) -> None:
    (tmp_path / KEPT).write_bytes(b"not a database, whatever its name says" * 99)
    with pytest.raises(StoreError, match="cannot be read") as told:
        embed_kept(["ab"], tmp_path)
    assert "delete that file" in told.value.hint


@pytest.mark.slow
def test_alike_texts_have_alike_unit_vectors_whatever_the_batch() -> None:
    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "Stock markets fell today.", ""]
    vectors = embed(texts)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    alone = np.vstack([embed([text]) for text in texts])
    assert np.abs(alone - vectors).max() < 1e-5


@pytest.mark.slow
@given(
    alphabet=st.sampled_from(["ab ", "a, b.", "abc é\u0301", "中文 a", "x", "a" * 60 + " ", " \n"]),
    size=st.sampled_from([1, 300, 2047, 2048, 2049, 5000, 20_000]),
    seed=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_of_a_long_text_no_more_is_read_than_decides_its_tokens(
    alphabet: str, size: int, seed: Any
) -> None:
    text = "".join(seed.choices(alphabet, k=size))
    tokenizer, _ = embeddings._encoder()
    whole = tokenizer.encode(text)
    assert embeddings._read([text]) == [(whole.ids, bool(whole.overflowing))]
    assert embeddings.lengths([text, "a"])[1] == (3, False)


@pytest.mark.slow
def test_of_a_blank_or_unbroken_text_only_the_first_million_characters_are_read() -> None:
    assert embeddings.lengths([" " * (2**20 + 1), "x" * (2**20 + 1)]) == [(2, True), (3, True)]
