"""The encoder's graph as ONNX: the operations that `encoders/graph.py` asks for, by other names.

Only what that graph uses is here. It writes no file and runs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..encoders.graph import EPSILON, Graph
from ..registry import need

__all__ = ["OnnxGraph"]

OPSET = 20


class OnnxGraph(Graph):
    """`Graph` whose nodes are names of ONNX values; `model` makes the file's content of them."""

    def __init__(self, weights: Mapping[str, Any], heads: int) -> None:
        super().__init__(weights, heads)
        self.ov: Any = _Operations(self.size // heads)

    def model(self, outputs: Mapping[str, Any]) -> Any:
        """The ONNX model with inputs ids (int64) and mask (float32), both (batch, tokens)."""
        onnx = need("onnx", extra="onnx", what="an ONNX file")
        helper, kinds = onnx.helper, onnx.TensorProto
        ops = self.ov
        inputs = [
            helper.make_tensor_value_info("ids", kinds.INT64, ["batch", "tokens"]),
            helper.make_tensor_value_info("mask", kinds.FLOAT, ["batch", "tokens"]),
        ]
        named = [
            helper.make_tensor_value_info(name, kinds.FLOAT, ["batch", None]) for name in outputs
        ]
        nodes = [
            helper.make_node(kind, given, [made], **how) for kind, given, made, how in ops.nodes
        ]
        nodes += [helper.make_node("Identity", [of], [name]) for name, of in outputs.items()]
        used = {name for node in nodes for name in node.input}
        stored = [
            onnx.numpy_helper.from_array(value, name)
            for name, value in ops.constants.items()
            if name in used  # some are attributes here that OpenVINO takes as inputs
        ]
        graph = helper.make_graph(nodes, "encoder", inputs, named, stored)
        # the oldest format that has this operator set, so that older readers can read it
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9
        )
        onnx.checker.check_model(made)
        return made


class _Operations:
    """OpenVINO's operations, as many as the encoder takes, each appended as ONNX nodes."""

    def __init__(self, head_size: int) -> None:
        self.nodes: list[tuple[str, list[str], str, dict[str, Any]]] = []
        self.constants: dict[str, Any] = {}
        self._made = 0
        self._scale = 1 / math.sqrt(head_size)

    def _node(self, kind: str, *given: str, **how: Any) -> str:
        made = f"n{len(self.nodes)}"
        self.nodes.append((kind, list(given), made, how))
        return made

    def constant(self, value: Any) -> str:
        self._made += 1
        name = f"c{self._made}"
        self.constants[name] = np.asarray(value)
        return name

    def add(self, a: str, b: str) -> str:
        return self._node("Add", a, b)

    def subtract(self, a: str, b: str) -> str:
        return self._node("Sub", a, b)

    def multiply(self, a: str, b: str) -> str:
        return self._node("Mul", a, b)

    def divide(self, a: str, b: str) -> str:
        return self._node("Div", a, b)

    def unsqueeze(self, x: str, axes: str) -> str:
        return self._node("Unsqueeze", x, axes)

    def reshape(self, x: str, shape: str, zero_keeps: bool) -> str:
        return self._node("Reshape", x, shape)

    def transpose(self, x: str, order: str) -> str:
        return self._node("Transpose", x, perm=self.constants[order].tolist())

    def gather(self, table: str, ids: str, axis: str) -> str:
        return self._node("Gather", table, ids, axis=int(self.constants[axis]))

    def shape_of(self, x: str, kind: str) -> str:
        return self._node("Shape", x)

    def range(self, start: str, stop: str, step: str, kind: str) -> str:
        return self._node("Range", start, stop, step)

    def reduce_sum(self, x: str, axes: str, keep: bool) -> str:
        return self._node("ReduceSum", x, axes, keepdims=int(keep))

    def matmul(self, a: str, b: str, turn_a: bool, turn_b: bool) -> str:
        if turn_b:
            b = self.constant(np.ascontiguousarray(self.constants.pop(b).T))
        return self._node("MatMul", a, b)

    def scaled_dot_product_attention(self, q: str, k: str, v: str, bias: str) -> str:
        turned = self._node("Transpose", k, perm=[0, 1, 3, 2])
        alike = self.multiply(
            self._node("MatMul", q, turned), self.constant(np.float32(self._scale))
        )
        shares = self._node("Softmax", self.add(alike, bias), axis=-1)
        return self._node("MatMul", shares, v)

    def gelu(self, x: str, kind: str) -> str:
        return self._node("Gelu", x)

    def mvn(self, x: str, axes: str, variance: bool, epsilon: float, where: str) -> str:
        mean = self._node("ReduceMean", x, axes, keepdims=1)
        apart = self.subtract(x, mean)
        spread = self._node("ReduceMean", self.multiply(apart, apart), axes, keepdims=1)
        root = self._node("Sqrt", self.add(spread, self.constant(np.float32(EPSILON))))
        return self.divide(apart, root)

    def normalize_l2(self, x: str, axes: str, epsilon: float, how: str) -> str:
        return self._node("LpNormalization", x, axis=int(self.constants[axes][0]), p=2)
