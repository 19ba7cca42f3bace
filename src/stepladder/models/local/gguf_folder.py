"""GGUF file in, Hugging Face folder out, with NumPy alone: no torch, no model code, no pickle.

Only the Llama layout is understood (the embedded model's). The dequantised weights are stored as
float16, and that *is* the model from then on: the engine and the trainer both start from this file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ModelError

__all__ = ["LAYER_NAMES", "TOP_NAMES", "unpack_gguf", "unpack_weights"]

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_CONTROL_TOKEN = 3  # token_type of GGUF for tokens that text never produces


def unpack_gguf(path: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer of the GGUF file into `folder`."""
    from safetensors.numpy import save_file

    reader, fields = _read(path)
    if fields["general.architecture"] != "llama":
        raise ModelError(
            f"{path.name}: architecture {fields['general.architecture']!r} is not supported",
            hint="convert it to a Hugging Face folder and name that folder",
        )
    weights = dict(_weights(reader, fields))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tied = "lm_head.weight" not in weights
    _write(folder / "config.json", _config(fields, tied=tied))
    _write_tokenizer(fields, folder)


def unpack_weights(path: Path, folder: Path) -> None:
    """Write model.safetensors alone, for a folder that has the rest of the same model."""
    from safetensors.numpy import save_file

    weights = dict(_weights(*_read(path)))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _read(path: Path) -> tuple[Any, dict[str, Any]]:
    import gguf

    try:
        reader = gguf.GGUFReader(path)
    except ValueError as error:
        raise ModelError(f"{path.name} is no GGUF file: {error}", hint="fetch it again") from error
    return reader, {name: field.contents() for name, field in reader.fields.items()}


def _weights(reader: Any, fields: dict[str, Any]) -> Iterator[tuple[str, npt.NDArray[np.float16]]]:
    from gguf.quants import dequantize

    family = fields["general.architecture"]
    interleaved = {
        "attn_q": fields[f"{family}.attention.head_count"],
        "attn_k": fields[f"{family}.attention.head_count_kv"],
    }
    if family != "llama":
        interleaved = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        block, _, rest = tensor.name.partition(".")
        if block != "blk":
            yield TOP_NAMES[tensor.name], values.astype(np.float16)
            continue
        layer, kind, suffix = rest.split(".")
        if kind in interleaved:
            values = _halves_from_pairs(values, interleaved[kind])
        yield f"model.layers.{layer}.{LAYER_NAMES[kind]}.{suffix}", values.astype(np.float16)


def _halves_from_pairs(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    # GGUF interleaves the rows that rotary embedding turns together; Hugging Face keeps them half
    # a head apart
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _config(fields: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    theta = fields["llama.rope.freq_base"]
    heads = fields["llama.attention.head_count"]
    hidden = fields["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": hidden,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": hidden // heads,
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": round(fields["llama.attention.layer_norm_rms_epsilon"], 10),
        "rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": 0,
        "dtype": "float16",
    }


def _write_tokenizer(fields: dict[str, Any], folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    kinds: list[int] = fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, fuse_unk=False))
    # the GGUF file only says "smollm"; that name means: digits apart, then GPT-2's byte-level split
    digits = pre_tokenizers.Digits(individual_digits=True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
        # the file says pad = end of turn; then masking the padding would also hide the end token
        "pad_token": tokens[0],
        "padding_side": "left",
        "model_max_length": fields["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        "chat_template": fields["tokenizer.chat_template"],
    }
    _write(folder / "tokenizer_config.json", settings)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
