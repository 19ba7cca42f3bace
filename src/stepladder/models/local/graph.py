"""A decoder of the Llama family as OpenVINO operations, from `config.json` and named weights.

Which folders it fits, and where what was built is kept, is for `ir.py`. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ModelError

__all__ = ["GRAPH", "LINEAR", "NEVER_SAID", "build", "stride"]

GRAPH = "3"  # part of the name of what was built; another one for another graph

# Added to every logit, which changes no probability: the engine's presence and frequency penalties
# lower positive logits and raise negative ones, and are right only where all are positive.
_RAISED = 64.0

# In config.json: the first of the tokens that stand only in prompts, and how many they are.
NEVER_SAID = "stepladder_never_said"
_NEVER = -1e4  # the logit of such a token: no probability is left of it, and bfloat16 can hold it

# the linear layers of each decoder layer, by the names that weights and adapters use for them
LINEAR = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


def build(
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray[Any, Any]],
    *,
    given_bias: bool = False,
    adaptable: bool = False,
) -> Any:
    """The stateful decoder graph that the engine's paged attention knows how to take over.

    Inputs: input_ids, attention_mask, position_ids (batch, tokens) int64; beam_idx (batch) int32.
    With `given_bias`, attention_bias (1, 1, tokens, all) float32 takes the place of the mask, so
    that the caller says who sees whom. Output: logits (batch, tokens, vocabulary) float32.

    With `adaptable`, each linear layer called n in `LINEAR` also takes "n.A" (rank, in) and "n.B"
    (out, rank), float32, whose product is added to its weight; and `rows` (int64) lists the tokens
    of which logits are wanted.
    """
    import openvino
    from openvino import opset13 as ov

    graph = _Graph(_shape(config), weights, ov, adaptable)
    ids = graph.parameter("input_ids", [-1, -1], "i64")
    rows = graph.parameter("rows", [-1], "i64") if adaptable else None
    if given_bias:
        bias = graph.parameter("attention_bias", [1, 1, -1, -1], "f32")
    else:
        mask = graph.parameter("attention_mask", [-1, -1], "i64")
    positions = graph.parameter("position_ids", [-1, -1], "i64")
    beams = graph.parameter("beam_idx", [-1], "i32")
    embedding = graph.weight("model.embed_tokens.weight")
    meant = ov.bitwise_and(ov.convert(ids, "i32"), graph.number(stride(config) - 1, "i32"))
    hidden = ov.gather(embedding, meant, graph.number(0, "i32"))
    rotation = graph.rotation(positions)
    if not given_bias:
        bias = graph.causal_bias(mask, positions)
    batch = ov.gather(ov.shape_of(ids, "i64"), graph.numbers([0]), graph.number(0))
    for layer in range(graph.shape.layers):
        hidden = graph.layer(layer, hidden, rotation, bias, beams, batch)
    if rows is not None:
        hidden = ov.gather(hidden, rows, graph.number(1))
    hidden = graph.norm(hidden, "model.norm.weight")
    head = graph.weight("lm_head.weight") if "lm_head.weight" in weights else embedding
    raised = ov.add(ov.matmul(hidden, head, False, True), graph.raised(config))
    logits = ov.result(raised)
    logits.output(0).get_tensor().set_names({"logits"})
    return openvino.Model([logits], graph.sinks, graph.parameters, "decoder")


def stride(config: Mapping[str, Any]) -> int:
    """What may be added to an input id, any number of times, without changing its meaning.

    The engine's prefix cache compares the ids that it is given and knows of no adapters: with a
    multiple of the stride for each adapter, their prompts cannot be taken for one another.
    """
    return 1 << (int(config["vocab_size"]) - 1).bit_length()


class _Graph:
    """The pieces of a decoder layer; holds what is shared while the graph is put together."""

    def __init__(
        self, shape: _Shape, weights: Mapping[str, np.ndarray[Any, Any]], ov: Any, adaptable: bool
    ) -> None:
        self.shape = shape
        self.weights = weights
        self.ov = ov
        self.adaptable = adaptable
        self.parameters: list[Any] = []
        self.sinks: list[Any] = []

    def parameter(self, name: str, shape: list[int], kind: str) -> Any:
        node = self.ov.parameter(shape, _TYPES[kind], name)
        node.set_friendly_name(name)  # the paged-attention pass looks inputs up by this name
        node.output(0).get_tensor().set_names({name})
        self.parameters.append(node)
        return node

    def number(self, value: float, kind: str = "i64") -> Any:
        return self.ov.constant(value, dtype=_TYPES[kind])

    def numbers(self, values: list[int]) -> Any:
        return self.ov.constant(np.array(values, dtype=np.int64))

    def weight(self, name: str) -> Any:
        try:
            node = self.ov.constant(self.weights[name])
        except KeyError:
            raise ModelError(
                f"the weights have no {name!r}",
                hint="is this a complete causal language model?",
            ) from None
        node.set_friendly_name(name)
        return self.ov.convert(node, "f32")

    def raised(self, config: Mapping[str, Any]) -> Any:
        """What is added to the logits."""
        if NEVER_SAID not in config:
            return self.number(_RAISED, "f32")
        first, count = config[NEVER_SAID]
        each = np.full(config["vocab_size"], _RAISED, dtype=np.float32)
        each[first : first + count] = _NEVER
        return self.ov.constant(each)

    def linear(self, x: Any, name: str) -> Any:
        y = self.ov.matmul(x, self.weight(f"{name}.weight"), False, True)
        y.set_friendly_name(name)  # the engine finds the place of an adapter's matrices by this
        if self.adaptable:
            wide, narrow = self.weights[f"{name}.weight"].shape
            down = self.parameter(f"{name}.A", [-1, narrow], "f32")
            up = self.parameter(f"{name}.B", [wide, -1], "f32")
            y = self.ov.add(
                y, self.ov.matmul(self.ov.matmul(x, down, False, True), up, False, True)
            )
        if f"{name}.bias" in self.weights:
            y = self.ov.add(y, self.weight(f"{name}.bias"))
        return y

    def norm(self, x: Any, name: str) -> Any:
        ov = self.ov
        square = ov.power(x, self.number(2.0, "f32"))
        mean = ov.reduce_mean(square, self.numbers([-1]), True)
        root = ov.sqrt(ov.add(mean, self.number(self.shape.epsilon, "f32")))
        scaled = ov.multiply(x, ov.divide(self.number(1.0, "f32"), root))
        return ov.multiply(self.weight(name), scaled)

    def rotation(self, positions: Any) -> tuple[Any, Any]:
        """Cosine and sine of each position's angles, (batch, 1, tokens, head)."""
        ov, half = self.ov, self.shape.head // 2
        angles = self.shape.theta ** -(np.arange(half, dtype=np.float64) / half)
        inverse = ov.constant(angles.astype(np.float32).reshape(1, 1, half))
        column = ov.unsqueeze(ov.convert(positions, "f32"), self.numbers([2]))
        turned = ov.multiply(column, inverse)
        both = ov.concat([turned, turned], -1)
        one = self.numbers([1])
        return ov.unsqueeze(ov.cos(both), one), ov.unsqueeze(ov.sin(both), one)

    def rotate(self, x: Any, rotation: tuple[Any, Any]) -> Any:
        ov, half = self.ov, self.shape.head // 2
        step, axis = self.numbers([1]), self.numbers([3])
        end = self.numbers([np.iinfo(np.int64).max])
        first = ov.slice(x, self.numbers([0]), self.numbers([half]), step, axis)
        second = ov.slice(x, self.numbers([half]), end, step, axis)
        turned = ov.concat([ov.multiply(second, self.number(-1.0, "f32")), first], -1)
        return ov.add(ov.multiply(x, rotation[0]), ov.multiply(turned, rotation[1]))

    def causal_bias(self, mask: Any, positions: Any) -> Any:
        """0 where a token may look, a large negative number elsewhere: (batch, 1, tokens, all)."""
        ov = self.ov
        length = ov.gather(ov.shape_of(mask, "i64"), self.number(1), self.number(0))
        places = ov.range(self.number(0), length, self.number(1), "i64")
        seen = ov.less_equal(places, ov.unsqueeze(positions, self.numbers([1, 3])))
        real = ov.not_equal(ov.unsqueeze(mask, self.numbers([1, 2])), self.number(0))
        allowed = ov.logical_and(seen, real)
        return ov.select(allowed, self.number(0.0, "f32"), self.number(-65504.0, "f32"))

    def heads(self, x: Any, count: int) -> Any:
        ov = self.ov
        split = ov.reshape(x, self.numbers([0, 0, count, self.shape.head]), True)
        return ov.transpose(split, self.numbers([0, 2, 1, 3]))

    def remember(self, name: str, new: Any, beams: Any, batch: Any) -> Any:
        """Past and new keys (or values), (batch, kv_heads, all, head); the past is a state."""
        ov, shape = self.ov, self.shape
        sizes = [batch, self.numbers([shape.kv_heads]), self.numbers([0])]
        empty = ov.broadcast(
            self.number(0.0, "f32"), ov.concat([*sizes, self.numbers([shape.head])], 0)
        )
        state = _state(name, [-1, shape.kv_heads, -1, shape.head])
        past = ov.read_value(empty, state)
        ordered = ov.gather(past, beams, self.number(0))
        everything = ov.concat([ordered, new], 2)
        self.sinks.append(ov.assign(everything, state))
        return everything

    def repeat(self, x: Any) -> Any:
        """Key-value heads repeated for the query heads that share them."""
        ov, shape = self.ov, self.shape
        groups = shape.heads // shape.kv_heads
        if groups == 1:
            return x
        wide = ov.unsqueeze(x, self.numbers([2]))
        copies = ov.broadcast(wide, self.numbers([1, 1, groups, 1, 1]), None, "BIDIRECTIONAL")
        return ov.reshape(copies, self.numbers([0, shape.heads, -1, shape.head]), True)

    def attention(
        self, layer: int, x: Any, rotation: Any, bias: Any, places: tuple[Any, Any]
    ) -> Any:
        ov, shape, name = self.ov, self.shape, f"model.layers.{layer}.self_attn"
        query = self.rotate(self.heads(self.linear(x, f"{name}.q_proj"), shape.heads), rotation)
        key = self.rotate(self.heads(self.linear(x, f"{name}.k_proj"), shape.kv_heads), rotation)
        value = self.heads(self.linear(x, f"{name}.v_proj"), shape.kv_heads)
        keys = self.remember(f"past_key_values.{layer}.keypresent.{layer}.key", key, *places)
        values = self.remember(
            f"past_key_values.{layer}.valuepresent.{layer}.value", value, *places
        )
        mixed = ov.scaled_dot_product_attention(
            query, self.repeat(keys), self.repeat(values), bias, causal=False
        )
        merged = ov.reshape(
            ov.transpose(mixed, self.numbers([0, 2, 1, 3])),
            self.numbers([0, 0, shape.heads * shape.head]),
            True,
        )
        return self.linear(merged, f"{name}.o_proj")

    def layer(self, index: int, x: Any, rotation: Any, bias: Any, beams: Any, batch: Any) -> Any:
        ov, name = self.ov, f"model.layers.{index}"
        normed = self.norm(x, f"{name}.input_layernorm.weight")
        x = ov.add(x, self.attention(index, normed, rotation, bias, (beams, batch)))
        normed = self.norm(x, f"{name}.post_attention_layernorm.weight")
        gate = ov.swish(self.linear(normed, f"{name}.mlp.gate_proj"))
        wide = ov.multiply(gate, self.linear(normed, f"{name}.mlp.up_proj"))
        return ov.add(x, self.linear(wide, f"{name}.mlp.down_proj"))


@dataclass(frozen=True)
class _Shape:
    hidden: int
    heads: int
    kv_heads: int
    head: int
    layers: int
    epsilon: float
    theta: float


def _shape(config: Mapping[str, Any]) -> _Shape:
    heads = config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    return _Shape(
        hidden=config["hidden_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads", heads),
        head=config.get("head_dim") or config["hidden_size"] // heads,
        layers=config["num_hidden_layers"],
        epsilon=config["rms_norm_eps"],
        theta=float(rope.get("rope_theta") or config.get("rope_theta", 10_000.0)),
    )


def _state(name: str, shape: list[int]) -> Any:
    import openvino
    from openvino.op.util import Variable, VariableInfo

    info = VariableInfo()
    info.variable_id = name
    info.data_type = openvino.Type.f32
    info.data_shape = openvino.PartialShape(shape)
    return Variable(info)


_TYPES: Mapping[str, Any] = {"i32": np.int32, "i64": np.int64, "f32": np.float32}
