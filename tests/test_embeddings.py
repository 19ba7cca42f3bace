"""The text encoder: only with its packages, and only what the weights say."""

import sys

import pytest

from stepladder.embeddings import DIMENSIONS, embed
from stepladder.errors import MissingExtra


def test_no_texts_need_no_encoder() -> None:
    assert embed([]).shape == (0, DIMENSIONS)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match="torch") as caught:
        embed(["x"])
    assert "stepladder[train]" in caught.value.hint


@pytest.mark.slow
def test_alike_texts_have_alike_unit_vectors_whatever_the_batch() -> None:
    import numpy as np

    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "Stock markets fell today.", ""]
    vectors = embed(texts)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    alone = np.vstack([embed([text]) for text in texts])
    assert np.abs(alone - vectors).max() < 1e-5
