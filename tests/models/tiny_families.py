"""Tiny random models of several families, and what transformers says to the same tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainers.tiny import make_model

from stepladder.core import Message, Request

__all__ = ["FAMILIES", "ask", "greedy", "log_probabilities", "make_family", "reference"]

# what sets one model apart from the next in the graph that is built for it
FAMILIES: dict[str, dict[str, Any]] = {
    "llama-grouped-tied": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "llama-untied-one-kv-head": {"num_key_value_heads": 1, "tie_word_embeddings": False},
    "llama-ungrouped-wide-heads": {"num_key_value_heads": 4, "head_dim": 32, "rope_theta": 5e5},
    "llama-with-bias": {"attention_bias": True, "mlp_bias": True},
    "qwen2": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": None, "tie_word_embeddings": False},
}


def make_family(
    folder: Path, family: str = "llama-grouped-tied", seed: int = 0, *, longest: int = 512
) -> Path:
    """A random model that is sure of itself, so that rounding does not decide a greedy answer."""
    import torch
    import transformers

    make_model(folder, seed)  # for its tokenizer
    kind = {"qwen2": "Qwen2", "mistral": "Mistral"}.get(family, "Llama")
    config = getattr(transformers, f"{kind}Config")(
        **{
            "vocab_size": 259,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": longest,
            "initializer_range": 0.25,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": 0,
            **FAMILIES[family],
        }
    )
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):  # zero at the start: a bias that is left out would not show
                weight.normal_(std=0.5)
    model.half().save_pretrained(folder)
    return folder


def ask(text: str, **options: Any) -> Request:
    options.setdefault("max_output_tokens", 12)
    return Request((Message("user", text),), **options)


@lru_cache(maxsize=16)
def reference(folder: Path) -> Any:
    """The model in transformers, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def greedy(folder: Path, prompt: Sequence[int], new: int, eos_id: int = 2) -> tuple[int, ...]:
    """What transformers says in float32, without the end token."""
    import torch

    ids = torch.tensor([list(prompt)])
    said = (
        reference(folder)
        .generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            do_sample=False,
            eos_token_id=eos_id,
            pad_token_id=0,
        )[0, ids.shape[1] :]
        .tolist()
    )
    return tuple(said[: said.index(eos_id)] if eos_id in said else said)


def log_probabilities(folder: Path, prompt: Sequence[int], said: Sequence[int]) -> float:
    """Log P(said | prompt) from one forward pass of transformers in float32."""
    import torch

    ids = torch.tensor([[*prompt, *said]])
    with torch.inference_mode():
        logs = torch.log_softmax(reference(folder)(ids).logits[0].double(), dim=-1)
    start = len(prompt) - 1
    return float(sum(logs[start + place, token] for place, token in enumerate(said)))


def write_config(folder: Path, **changes: Any) -> None:
    """Change keys of config.json in place."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps(config), encoding="utf-8")
