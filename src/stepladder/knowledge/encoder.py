"""Texts to vectors by the encoder of `embeddings.py`, run by OpenVINO: no torch, twice the speed.

The same weights in the graph of `encoders/`, in bfloat16 where the processor computes in it. Gives
a vector per text, and one per token for the reranker. Nothing is kept here: see `dense.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..embeddings import DIMENSIONS, ENCODER, HEADS, TOKENIZER
from ..encoders.graph import Given, Graph
from ..models.local.ir import float_values
from ..models.local.precision import openvino_precision
from ..models.local.weights import fetch_package
from ..registry import need

__all__ = ["encode", "encode_tokens", "encoder_name", "token_spans"]

MOST_TOKENS = 256  # the encoder was trained on no more
BATCH = 32
_WHAT = "searching by meaning"


def encode(texts: Sequence[str]) -> Any:
    """One unit vector per text: float32, shape (len(texts), 384); a dot product is a cosine.

    What goes beyond 256 tokens of a text is not seen.

    Raises:
        MissingExtra: openvino, safetensors or tokenizers is not installed.
        ModelError: the weights cannot be fetched or fail verification.
    """
    vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    for rows, _, found in _batches(texts, "vectors"):
        vectors[rows] = found
    return vectors


def encode_tokens(texts: Sequence[str]) -> list[Any]:
    """The unit vectors of each text's tokens: float16, shape (tokens, 384), without the two marks.

    Raises as `encode`.
    """
    made: list[Any] = [np.zeros((0, DIMENSIONS), dtype=np.float16)] * len(texts)
    for rows, lengths, found in _batches(texts, "tokens"):
        for row, length, one in zip(rows, lengths, found, strict=True):
            made[row] = one[1 : length - 1].astype(np.float16)
    return made


def token_spans(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Where each token that `encode_tokens` gives a vector of begins and ends, in characters."""
    return [one.offsets[1:-1] for one in _tokenizer().encode_batch(list(texts))]


def encoder_name() -> str:
    """The weights and the precision that vectors come from; others are not the same vectors."""
    return f"{ENCODER.sha256} {openvino_precision()}"


def _batches(texts: Sequence[str], output: Given) -> Any:
    """(positions of texts, their lengths in tokens, what the encoder gives), longest first."""
    if not texts:
        return
    tokenizer, compiled = _tokenizer(), _compiled(output)
    encoded = [one.ids for one in tokenizer.encode_batch(list(texts))]
    by_length = sorted(range(len(texts)), key=lambda at: -len(encoded[at]))
    for start in range(0, len(texts), BATCH):
        rows = by_length[start : start + BATCH]
        lengths = [len(encoded[at]) for at in rows]
        ids = np.zeros((len(rows), lengths[0]), dtype=np.int64)
        for row, at in enumerate(rows):
            ids[row, : lengths[row]] = encoded[at]
        mask = (np.arange(lengths[0]) < np.array(lengths)[:, None]).astype(np.float32)
        # a request of its own: the compiled graph is shared between threads
        request = compiled.create_infer_request()
        request.infer({"ids": ids, "mask": mask})
        yield rows, lengths, request.get_output_tensor(0).data


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    tokenizers = need("tokenizers", extra="retrieval", what=_WHAT)
    tokenizer = tokenizers.Tokenizer.from_file(str(fetch_package(TOKENIZER)))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST_TOKENS)
    return tokenizer


@lru_cache(maxsize=2)
def _compiled(output: Given) -> Any:
    """The graph with this output, ready to run; read once per process."""
    openvino = need("openvino", extra="retrieval", what=_WHAT)
    safetensors = need("safetensors", extra="retrieval", what=_WHAT)
    raw = safetensors.deserialize(fetch_package(ENCODER).read_bytes())
    weights = {
        name: np.asarray(float_values(name, tensor), dtype=np.float32)
        for name, tensor in raw
        if tensor["dtype"] != "I64"
    }
    options = {"INFERENCE_PRECISION_HINT": openvino_precision(), "PERFORMANCE_HINT": "LATENCY"}
    return openvino.Core().compile_model(Graph(weights, HEADS).build(output), "CPU", options)
