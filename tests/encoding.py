"""A tiny text encoder that takes the place of the open one: random weights, a word a token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZE, LAYERS, HEADS, PLACES = 32, 2, 4, 512
PREFIX = "encoder.layer"


def make_encoder(folder: Path, words: Sequence[str], seed: int = 0) -> Path:
    """A folder with `model.safetensors` and `tokenizer.json`; words it does not know are [UNK]."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, marks)
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(_weights(len(vocabulary), seed), folder / "model.safetensors")
    return folder


def use_encoder(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Put it where the open encoder is looked for."""
    from stepladder.embeddings import TOKENIZER
    from stepladder.encoders import running

    names = {TOKENIZER: "tokenizer.json"}
    patch.setattr(running, "HEADS", HEADS)
    patch.setattr(
        running, "fetch_package", lambda one: folder / names.get(one, "model.safetensors")
    )


def _weights(vocabulary: int, seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)

    def some(*shape: int) -> Any:
        return (draw.standard_normal(shape) * 0.1).astype(np.float32)

    found = {
        "embeddings.word_embeddings.weight": some(vocabulary, SIZE) * 10,
        "embeddings.position_embeddings.weight": some(PLACES, SIZE),
        "embeddings.token_type_embeddings.weight": some(2, SIZE),
        "pooler.dense.weight": some(SIZE, SIZE),
    }
    shapes = {
        "attention.self.query": (SIZE, SIZE),
        "attention.self.key": (SIZE, SIZE),
        "attention.self.value": (SIZE, SIZE),
        "attention.output.dense": (SIZE, SIZE),
        "intermediate.dense": (4 * SIZE, SIZE),
        "output.dense": (SIZE, 4 * SIZE),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            found[f"{PREFIX}.{layer}.{name}.weight"] = some(*shape)
            found[f"{PREFIX}.{layer}.{name}.bias"] = some(shape[0])
        for part in ("attention.output", "output"):
            norms.append(f"{PREFIX}.{layer}.{part}.LayerNorm")
    for name in norms:
        found[f"{name}.weight"] = np.ones(SIZE, dtype=np.float32)
        found[f"{name}.bias"] = np.zeros(SIZE, dtype=np.float32)
    return found
