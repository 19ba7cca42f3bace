"""A two-layer random Llama with a byte tokenizer, and a small task it can learn in seconds."""

from __future__ import annotations

import json
from pathlib import Path

from stepladder.core import Message
from stepladder.trainers import TrainingJob, TrainingOptions

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
COLOURS = ("red", "green", "blue", "grey")
NAMES = ("ann", "bob", "cleo", "dora", "eli", "finn", "gus", "hal", "ida", "jo")


def make_model(folder: Path, seed: int = 0, *, tied: bool = True) -> Path:
    """A model folder as the transformers library lays it out."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 512,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).half().save_pretrained(folder)
    return folder


def conversations(n: int, start: int = 0) -> tuple[tuple[tuple[Message, ...], str], ...]:
    """Sentences that name a colour, with the colour as the answer."""
    said = []
    for number in range(start, start + n):
        colour = COLOURS[number % len(COLOURS)]
        name = NAMES[number % len(NAMES)]
        said.append(((Message("user", f"{name} {number}: {colour}"),), colour))
    return tuple(said)


def make_job(folder: Path, **options: object) -> TrainingJob:
    """A job over 40 examples with 8 held out, in full fine-tuning unless told otherwise."""
    settings: dict[str, object] = {
        "method": "full",
        "learning_rate": 3e-3,
        "epochs": 2.0,
        "tokens_per_batch": 256,
        "evaluations_per_epoch": 1,
    }
    settings.update(options)
    return TrainingJob(
        "local:tiny",
        folder,
        conversations(40, 100),
        conversations(8),
        TrainingOptions(**settings),  # type: ignore[arg-type]
        threads=1,
        device="cpu",
    )
