"""A GGUF file made here from known weights comes back as those weights and that tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_families import greedy, make_family
from trainers.tiny import SPECIAL, TEMPLATE

from stepladder.core import Message
from stepladder.errors import ModelError
from stepladder.models.local.gguf_folder import unpack_gguf
from stepladder.models.local.ir import read_weights
from stepladder.models.local.tokenizer import load_tokenizer

gguf = pytest.importorskip("gguf")
pytest.importorskip("torch")

LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def gguf_name(name: str) -> str:
    if name in TOP:
        return TOP[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{LAYER[rest.removesuffix('.weight')]}.weight"


def interleaved(weight: Any, heads: int) -> Any:
    """The order in which llama.cpp keeps the rows of queries and keys."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows, columns)


def write_gguf(
    folder: Path, path: Path, *, architecture: str = "llama", quantised: str = ""
) -> Path:
    """The model of a Hugging Face folder as a GGUF file; `quantised` names a tensor for 8 bits."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads["q_proj"])
    writer.add_head_count_kv(heads["k_proj"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10_000.0)
    _add_tokenizer(writer, config["vocab_size"])
    for name, weight in read_weights(folder).items():
        turned = next((n for kind, n in heads.items() if kind in name), None)
        values = weight if turned is None else interleaved(weight, turned)
        wide = values.astype(np.float32)
        if gguf_name(name) == quantised:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(gguf_name(name), gguf.quants.quantize(wide, kind), raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name(name), wide if values.ndim == 1 else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


MERGES = ("Ġ Ġ", "Ċ Ċ", "Ġ 7", "Ġ 3", "7 7")


def _add_tokenizer(writer: Any, size: int) -> None:
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*SPECIAL, *alphabet]
    tokens = [*tokens[: size - len(MERGES)], *(merge.replace(" ", "") for merge in MERGES)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)


@pytest.fixture(scope="module")
def unpacked(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    unpack_gguf(write_gguf(llama, folder / "tiny.gguf"), folder)
    return folder


def test_the_weights_are_those_that_went_in(unpacked: Path, llama: Path) -> None:
    before, after = read_weights(llama), read_weights(unpacked)
    assert after.keys() == before.keys()
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])


def test_the_model_says_what_the_original_says(unpacked: Path, llama: Path) -> None:
    for prompt in ([5, 6, 7, 8, 9], [40, 41, 42], list(range(3, 120))):
        assert greedy(unpacked, prompt, 10) == greedy(llama, prompt, 10)


def test_a_head_of_its_own_is_kept_apart(tmp_path: Path) -> None:
    folder = make_family(tmp_path / "untied", "llama-untied-one-kv-head")
    unpack_gguf(write_gguf(folder, tmp_path / "untied.gguf"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["tie_word_embeddings"] is False
    assert greedy(tmp_path, [5, 6, 7], 8) == greedy(folder, [5, 6, 7], 8)


def test_quantised_weights_are_spread_out_again(llama: Path, tmp_path: Path) -> None:
    name = "blk.0.ffn_gate.weight"
    unpack_gguf(write_gguf(llama, tmp_path / "q.gguf", quantised=name), tmp_path)
    key = "model.layers.0.mlp.gate_proj.weight"
    before, after = read_weights(llama)[key], read_weights(tmp_path)[key]
    assert not np.array_equal(before, after)
    step = np.abs(before.astype(np.float32)).max() / 127
    assert np.abs(before.astype(np.float32) - after).max() <= step


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("x  7", ["x", "ĠĠ", "7"]),
        ("a\n\n  3", ["a", "ĊĊ", "ĠĠ", "3"]),
        ("77", ["7", "7"]),
        ("x 7", ["x", "Ġ", "7"]),
    ],
)
def test_digits_stand_apart(unpacked: Path, text: str, tokens: list[str]) -> None:
    tokenizer = load_tokenizer(unpacked)
    ids = tokenizer.encode(text)
    assert tokenizer.tokenizer.convert_ids_to_tokens(ids) == tokens
    assert tokenizer.decode(ids) == text


def test_the_tokenizer_knows_its_special_tokens_and_template(unpacked: Path) -> None:
    tokenizer = load_tokenizer(unpacked)
    assert (tokenizer.eos_id, tokenizer.pad_id, tokenizer.context_tokens) == (2, 0, 512)
    ids = tokenizer.chat_ids((Message("user", "a"),))
    assert (ids.count(1), ids.count(2)) == (2, 1)


def test_another_architecture_is_refused(llama: Path, tmp_path: Path) -> None:
    path = write_gguf(llama, tmp_path / "other.gguf", architecture="gemma3")
    with pytest.raises(ModelError, match="'gemma3' is not supported"):
        unpack_gguf(path, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.gguf").write_bytes(b"no model" * 100)
    with pytest.raises(ModelError, match=r"noise\.gguf"):
        unpack_gguf(tmp_path / "noise.gguf", tmp_path)
