"""A language model before its first lesson: a tokenizer of its own and random weights.

The folder is laid out as any model of the transformers library, so that the loop that tunes models
trains it, and the engine, bundles and the server run it, with nothing of their own for it. How it
is trained is for `local.py`, how large it should be for `steps/scratch_choices.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..errors import ModelError
from ..registry import need
from .checkpoint import saving
from .export import put, scratch_beside

__all__ = ["Blueprint", "blueprint_name", "parameters_of", "plant"]

RECIPE = 1  # raise it when the same blueprint would now make another model
PAD, END = "<|pad|>", "<|end|>"
ROLES = ("system", "user", "assistant", "function")
SPECIAL = (PAD, END, *(f"<|{role}|>" for role in ROLES))
BYTES = 256  # the least vocabulary is every byte and the special tokens
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '"
    + END
    + "' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Blueprint:
    """Sizes of a decoder in the manner of Llama, and the seed of its weights.

    `vocabulary` is the most entries its tokenizer may have, `context` the most tokens that it
    reads. A head is `hidden / heads` wide, an even number.
    """

    layers: int
    hidden: int
    heads: int
    vocabulary: int
    context: int = 1024
    seed: int = 0

    @property
    def wide(self) -> int:
        """The width between the two halves of a layer: 8/3 of the hidden one, in steps of 16."""
        return 16 * round(self.hidden * 8 / 3 / 16)


def parameters_of(blueprint: Blueprint) -> int:
    """Weights of the model, the embedding included once: it is the head too."""
    hidden, wide = blueprint.hidden, blueprint.wide
    layer = 4 * hidden * hidden + 3 * hidden * wide + 2 * hidden
    return blueprint.layers * layer + blueprint.vocabulary * hidden + hidden


def blueprint_name(blueprint: Blueprint, texts: Sequence[str]) -> str:
    """Twenty hexadecimal digits that name the untrained model."""
    digest = hashlib.sha256(json.dumps([RECIPE, asdict(blueprint)], sort_keys=True).encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()[:20]


def plant(blueprint: Blueprint, texts: Sequence[str], artifacts: Path) -> Path:
    """The folder of the untrained model, whose tokenizer was learned from `texts`; made once.

    Raises:
        MissingExtra: torch, transformers or tokenizers is not installed.
        ModelError: there is no text, or sizes that do not fit one another.
        StoreError: the folder cannot be written.
    """
    for package in ("torch", "transformers", "tokenizers"):
        need(package, extra="train", what="training a model from scratch")
    if not any(text.strip() for text in texts):
        raise ModelError("there is no text to learn a tokenizer from", hint="give some text")
    if blueprint.hidden % (2 * blueprint.heads):
        raise ModelError(
            f"a hidden state of {blueprint.hidden} cannot be shared among {blueprint.heads} heads",
            hint="make it a multiple of twice the heads",
        )
    folder = artifacts / f"{blueprint_name(blueprint, texts)}-untrained"
    if (folder / "model.safetensors").is_file():
        return folder
    with saving(folder), FileLock(f"{folder}.lock"):
        if not (folder / "model.safetensors").is_file():
            scratch = scratch_beside(folder)
            vocabulary = _write_tokenizer(scratch, blueprint, texts)
            _write_model(scratch, blueprint, vocabulary)
            put(scratch, folder)
    return folder


def _write_tokenizer(folder: Path, blueprint: Blueprint, texts: Iterable[str]) -> int:
    """Byte-pair encoding over bytes (Sennrich and others, 2016), so that nothing is unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(blueprint.vocabulary, BYTES + len(SPECIAL)),
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": blueprint.context,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    _write(folder / "tokenizer_config.json", settings)
    return int(tokenizer.get_vocab_size())


def _write_model(folder: Path, blueprint: Blueprint, vocabulary: int) -> None:
    import torch
    import transformers
    from safetensors.torch import save_file

    config: Any = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=blueprint.hidden,
        intermediate_size=blueprint.wide,
        num_hidden_layers=blueprint.layers,
        num_attention_heads=blueprint.heads,
        num_key_value_heads=blueprint.heads,
        max_position_embeddings=blueprint.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=SPECIAL.index(END),
        pad_token_id=SPECIAL.index(PAD),
        architectures=["LlamaForCausalLM"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(blueprint.seed)
        model: Any = transformers.LlamaForCausalLM(config)
        for weight in model.parameters():
            if weight.dim() == 2:  # the usual 0.02 is for wide models: narrow ones begin too quiet
                torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    tied = set(model.all_tied_weights_keys)
    weights = {
        name: tensor.half().contiguous()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    config.dtype = "float16"
    config.save_pretrained(folder)
    _write(folder / "origin.json", {"licence": "your own: random weights", **asdict(blueprint)})
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
