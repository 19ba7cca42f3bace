"""Hugging Face folder in, GGUF file out: what llama.cpp and Ollama run.

Weights are stored in 16 bits, or in 8 (Q8_0) where a matrix allows. A model whose family or whose
way of cutting text llama.cpp has no name for is refused: it would run, and answer differently.
Nothing here runs the file; see `llama_cpp.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..core import Json
from ..errors import StepladderError
from ..models.local.gguf_folder import LAYER_NAMES, TOP_NAMES
from ..models.local.graph import NEVER_SAID
from ..models.local.ir import read_weights, supports
from ..models.local.tokenizer import load_tokenizer
from ..registry import need

__all__ = ["Quantisation", "write_gguf"]

Quantisation = Literal["f16", "q8_0"]
_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2"}
_BLOCK = 32  # Q8_0 shares a scale among so many numbers of a row
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # llama.cpp's kinds of tokens
_ELSE = "--to merged writes a folder that transformers and vLLM run"
# how text is cut before byte pairs are merged: the pattern in tokenizer.json, llama.cpp's name
_CUTS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "qwen2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "llama-bpe",
}


def write_gguf(
    folder: Path, path: Path, quantisation: Quantisation, facts: Mapping[str, str]
) -> None:
    """Write the model in `folder` to `path`; `facts` has `name` and, where known, `license`.

    Raises:
        MissingExtra: gguf is not installed.
        StepladderError: llama.cpp does not run this family or this tokenizer as it is.
    """
    gguf = need("gguf", extra="local", what="a GGUF file")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not supports(folder) or NEVER_SAID in config:
        raise StepladderError(
            f"a model of type {config.get('model_type')!r} tuned so cannot be written as GGUF",
            hint=f"GGUF is for Llama, Mistral and Qwen2 with weights of their own; {_ELSE}",
        )
    vocabulary = _vocabulary(folder, config)
    architecture = _ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(facts["name"])
    if "license" in facts:
        writer.add_license(facts["license"])
    _add_shape(writer, config)
    kinds = gguf.LlamaFileType
    writer.add_file_type(kinds.MOSTLY_Q8_0 if quantisation == "q8_0" else kinds.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_vocabulary(writer, vocabulary)
    for name, values in _tensors(folder, config, pairs=architecture == "llama"):
        _add_tensor(writer, gguf, (name, values), quantisation)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: Any, config: Mapping[str, Json]) -> None:
    heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {}
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


# --- weights ------------------------------------------------------------------------------------


def _tensors(
    folder: Path, config: Mapping[str, Json], *, pairs: bool
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Each weight by llama.cpp's name, float32."""
    heads = config["num_attention_heads"]
    interleaved = {
        "attn_q": heads,
        "attn_k": config.get("num_key_value_heads") or heads,
    }
    top = {ours: theirs for theirs, ours in TOP_NAMES.items()}
    layers = {ours: theirs for theirs, ours in LAYER_NAMES.items()}
    tied = bool(config.get("tie_word_embeddings", False))
    for name, values in read_weights(folder).items():
        if name in top:
            if not (tied and name == "lm_head.weight"):
                yield top[name], values.astype(np.float32)
            continue
        layer, _, rest = name.removeprefix("model.layers.").partition(".")
        kind, _, suffix = rest.rpartition(".")
        if not layer.isdigit() or kind not in layers:
            raise StepladderError(
                f"the weight {name!r} has no place in a GGUF file of this family", hint=_ELSE
            )
        values = values.astype(np.float32)
        if pairs and layers[kind] in interleaved:
            values = _pairs_from_halves(values, interleaved[layers[kind]])
        yield f"blk.{layer}.{layers[kind]}.{suffix}", values


def _pairs_from_halves(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    # llama.cpp turns neighbouring rows together, Hugging Face rows that are half a head apart
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def _add_tensor(
    writer: Any,
    gguf: Any,
    named: tuple[str, np.ndarray[Any, Any]],
    quantisation: Quantisation,
) -> None:
    name, values = named
    if values.ndim == 1:  # norms and biases are small, and llama.cpp wants them whole
        writer.add_tensor(name, values)
    elif quantisation == "q8_0" and values.shape[-1] % _BLOCK == 0:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, values.astype(np.float16))


# --- tokens -------------------------------------------------------------------------------------


def _vocabulary(folder: Path, config: Mapping[str, Json]) -> dict[str, Any]:
    """Everything that llama.cpp has to know to cut text as the model was trained to read it."""
    local = load_tokenizer(folder)
    tokenizer = local.tokenizer
    record = json.loads(tokenizer.backend_tokenizer.to_str())
    model = record["model"]
    # llama.cpp composes no characters (NFC), which changes only text that was not composed before
    normalised = (record["normalizer"] or {"type": "NFC"})["type"] != "NFC"
    if model["type"] != "BPE" or not local.is_byte_level or normalised:
        raise StepladderError(
            f"the tokenizer in {folder.name!r} is not byte-level BPE, the only kind that is "
            "written to GGUF",
            hint=_ELSE,
        )
    size = config["vocab_size"]
    tokens = [f"[unused{at}]" for at in range(size)]
    kinds = [_UNUSED] * size
    for token, at in model["vocab"].items():
        tokens[at], kinds[at] = token, _NORMAL
    for added in record["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    return {
        "pre": _cut_name(record["pre_tokenizer"], folder),
        "tokens": tokens,
        "kinds": kinds,
        "merges": [m if isinstance(m, str) else " ".join(m) for m in model["merges"]],
        "bos": tokenizer.bos_token_id,
        "eos": local.eos_id,
        "pad": local.pad_id,
        "begins": tokenizer("x")["input_ids"][:1] == [tokenizer.bos_token_id],
        "template": tokenizer.chat_template,
    }


def _cut_name(pre: Mapping[str, Json] | None, folder: Path) -> str:
    """llama.cpp's name for this way of cutting text."""
    parts = (pre or {}).get("pretokenizers", [pre] if pre else [])
    kinds = [part["type"] for part in parts]
    spaced = any(part.get("add_prefix_space") for part in parts)
    if not spaced and kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return "gpt-2"
    if not spaced and kinds == ["Digits", "ByteLevel"] and parts[0]["individual_digits"]:
        return "smollm"
    if not spaced and kinds == ["Split", "ByteLevel"] and not parts[1].get("use_regex", True):
        name = _CUTS.get(parts[0]["pattern"].get("Regex", ""))
        if name is not None:
            return name
    raise StepladderError(
        f"llama.cpp has no name that is known here for how {folder.name!r} cuts text "
        f"({', '.join(kinds) or 'not at all'})",
        hint=_ELSE,
    )


def _add_vocabulary(writer: Any, vocabulary: Mapping[str, Any]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary["pre"])
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["kinds"])
    # llama.cpp wants at least one; two zero bytes in a row are in no text
    writer.add_token_merges(vocabulary["merges"] or ["\u0100 \u0100"])
    if vocabulary["bos"] is not None:
        writer.add_bos_token_id(vocabulary["bos"])
    writer.add_eos_token_id(vocabulary["eos"])
    writer.add_pad_token_id(vocabulary["pad"])
    writer.add_add_bos_token(vocabulary["begins"])
    writer.add_add_space_prefix(False)
    writer.add_chat_template(vocabulary["template"])
