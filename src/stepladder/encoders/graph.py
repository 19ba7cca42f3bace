"""BERT's encoder as OpenVINO operations, from named weights. Runs nothing; see `running.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

__all__ = ["Given", "Graph"]

EPSILON = 1e-12

Given = Literal["hidden", "tokens", "means", "vectors"]


class Graph:
    """The encoder with one of four outputs; sizes are told by the weights.

    hidden .... of each token, shape (batch, tokens, size)
    tokens .... the same as unit vectors
    means ..... of each text's tokens, shape (batch, size)
    vectors ... the same as unit vectors
    """

    def __init__(self, weights: Mapping[str, Any], heads: int) -> None:
        from openvino import opset13

        self.weights = weights
        self.heads = heads
        self.size = weights["embeddings.word_embeddings.weight"].shape[1]
        self.layers = 1 + max(
            int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer.")
        )
        self.ov: Any = opset13

    def build(self, output: Given) -> Any:
        """Inputs: ids (batch, tokens) int64, mask (batch, tokens) float32."""
        import openvino

        ids, mask = self.parameter("ids", openvino.Type.i64), self.parameter("mask", np.float32)
        made = self.ov.result(self.compute(ids, mask, output))
        return openvino.Model([made], [ids, mask], "encoder")

    def compute(self, ids: Any, mask: Any, output: Given) -> Any:
        """The output as a node, from those of ids and mask."""
        ov = self.ov
        bias = ov.multiply(ov.subtract(mask, self.number(1.0)), self.number(1e9))
        bias = ov.unsqueeze(bias, self.numbers([1, 2]))
        hidden = self.embedded(ids)
        for layer in range(self.layers):
            hidden = self.layer(f"encoder.layer.{layer}", hidden, bias)
        made = hidden if output in ("hidden", "tokens") else self.means(hidden, mask)
        if output in ("tokens", "vectors"):
            axis = self.numbers([2 if output == "tokens" else 1])
            made = ov.normalize_l2(made, axis, EPSILON, "max")
        return made

    def means(self, hidden: Any, mask: Any) -> Any:
        ov = self.ov
        weight = ov.unsqueeze(mask, self.numbers([2]))
        summed = ov.reduce_sum(ov.multiply(hidden, weight), self.numbers([1]), False)
        return ov.divide(summed, ov.reduce_sum(mask, self.numbers([1]), True))

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
                    self.numbers([0, 0, self.heads, self.size // self.heads]),
                    True,
                ),
                self.numbers([0, 2, 1, 3]),
            )
            for part in ("query", "key", "value")
        ]
        seen = ov.transpose(
            ov.scaled_dot_product_attention(*heads, bias), self.numbers([0, 2, 1, 3])
        )
        joined = ov.reshape(seen, self.numbers([0, 0, self.size]), True)
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
