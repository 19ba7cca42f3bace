"""Prompt and prefix tuning: the model stays as it is, and vectors before the input learn.

Prompt tuning (Lester and others, 2021) learns the embeddings of a few tokens that stand before
every input. They are served as what they are: new tokens. Their vectors become rows of the
embedding, the chat template begins by them, and the graph never says them (`NEVER_SAID`), so that
any engine that runs the base runs the tuned model, at the price of their tokens in every prompt.

Prefix tuning (Li and Liang, 2021) learns keys and values of every layer instead. No token has such
keys, so they stay a PEFT adapter in the model's folder, which the transformers engine puts on.

Both begin from what the model makes of the first tokens of a training prompt: from noise, a small
model does not recover.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import ModelError
from ...models.local.graph import NEVER_SAID
from ...models.local.ir import PREFIX
from .. import TrainingJob
from ..batches import Learnable
from ..export import copy_base, put, save_adapter, scratch_beside, write_weights
from ..quiet import quiet

__all__ = ["grow_prefix", "grow_prompt", "save_prefix", "save_prompt"]


def grow_prompt(model: Any, job: TrainingJob, rows: Sequence[Learnable]) -> Any:
    """The model behind `virtual_tokens` embeddings that learn."""
    import peft
    import torch

    config = peft.PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=job.options.virtual_tokens
    )
    with quiet():
        grown: Any = peft.get_peft_model(model, config)
    ids = torch.tensor(_first_tokens(job, rows))
    with torch.no_grad():
        words = model.get_input_embeddings()(ids)
        grown.prompt_encoder["default"].embedding.weight.copy_(words)
    return grown


def grow_prefix(model: Any, job: TrainingJob, rows: Sequence[Learnable]) -> Any:
    """The model behind keys and values of `virtual_tokens` tokens, which learn.

    Raises ModelError for a model whose keys PEFT would give another shape.
    """
    import peft
    import torch

    count = job.options.virtual_tokens
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=count)
    ids = torch.tensor([_first_tokens(job, rows)])
    with torch.no_grad(), quiet():
        past = model.base_model(input_ids=ids, use_cache=True).past_key_values
        grown: Any = peft.get_peft_model(model, config)
        # for each token: keys, then values, layer after layer, each as its heads one after another
        parts = [part for layer in past.layers for part in (layer.keys, layer.values)]
        flat = torch.cat([part[0].transpose(0, 1).reshape(count, -1) for part in parts], dim=1)
        into = grown.prompt_encoder["default"].embedding.weight
        if into.shape != flat.shape:
            raise ModelError(
                f"method 'prefix' does not know the shape of the keys of {job.base!r}",
                hint="use method 'prompt' or 'lora'",
            )
        into.copy_(flat)
    return grown


def save_prompt(model: Any, job: TrainingJob, folder: Path, name: str) -> None:
    """Write the base with the learned vectors as new tokens, which its chat template begins by."""
    from ...models.local.tokenizer import load_tokenizer

    scratch = scratch_beside(folder)
    learned = model.prompt_encoder["default"].embedding.weight.detach().cpu()
    base = model.get_base_model()
    first = len(load_tokenizer(job.folder).tokenizer)  # the rest of the rows are of no token
    weights = dict(base.state_dict())
    words, head = base.get_input_embeddings(), base.get_output_embeddings()
    rows = max(words.num_embeddings, first + len(learned))
    weights[_name_of(base, words)] = _wider(words.weight, rows)
    weights[_name_of(base, words)][first : first + len(learned)] = learned
    if not base.config.tie_word_embeddings:
        weights[_name_of(base, head)] = _wider(head.weight, rows)
    write_weights(base, weights, scratch, name)
    copy_base(job.folder, scratch, {"vocab_size": rows, NEVER_SAID: [first, len(learned)]})
    _name_tokens(scratch, first, len(learned))
    _check(scratch, job, first, len(learned))
    put(scratch, folder)


def save_prefix(model: Any, job: TrainingJob, folder: Path, name: str) -> None:
    """Write the base and beside it the learned keys and values, as PEFT writes them."""
    scratch = scratch_beside(folder)
    base = model.get_base_model()
    write_weights(base, dict(base.state_dict()), scratch, name)
    copy_base(job.folder, scratch, {})
    save_adapter(model, job.base, scratch / PREFIX)
    put(scratch, folder)


def _first_tokens(job: TrainingJob, rows: Sequence[Any]) -> list[int]:
    """As many tokens as there are vectors, from the beginning of the first row, around if short."""
    count = job.options.virtual_tokens
    if count < 1:
        raise ModelError(
            f"method {job.options.method!r} needs virtual tokens to train",
            hint="set virtual_tokens to 8 or more",
        )
    tokens = [*rows[0].prompt, *rows[0].answer]
    return [tokens[place % len(tokens)] for place in range(count)]


def _wider(weight: Any, rows: int) -> Any:
    """The matrix with rows of zeros at its end."""
    import torch

    held = weight.detach().cpu()
    return torch.cat([held, torch.zeros(rows - len(held), held.shape[1], dtype=held.dtype)])


def _name_of(model: Any, module: Any) -> str:
    """The name of a module's weight in the model's state."""
    return next(f"{name}.weight" for name, one in model.named_modules() if one is module)


def _name_tokens(folder: Path, first: int, count: int) -> None:
    """Give the new rows names, special ones, and begin every conversation by them."""
    names = [f"<|learned-{place}|>" for place in range(count)]
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokenizer["added_tokens"] += [
        {"id": first + place, "content": name, **plain, "special": True}
        for place, name in enumerate(names)
    ]
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    start = "".join(names)
    template = folder / "chat_template.jinja"
    if template.exists():
        template.write_text(start + template.read_text(encoding="utf-8"), encoding="utf-8")
        return
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["chat_template"] = start + config["chat_template"]
    path.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _check(folder: Path, job: TrainingJob, first: int, count: int) -> None:
    """Raise ModelError unless a conversation is what it was, after the new tokens."""
    from ...core import Message
    from ...models.local.tokenizer import load_tokenizer

    asked = (Message("user", "What is new?"),)
    load = load_tokenizer.__wrapped__  # the folder is about to move
    before, after = load(job.folder).chat_ids(asked), load(folder).chat_ids(asked)
    if after != [*range(first, first + count), *before]:
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelError(
            f"the tokenizer of {job.base!r} does not take new tokens",
            hint="use another method, such as 'lora'",
        )
