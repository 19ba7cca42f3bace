"""The text encoder in torch, to be tuned with a head on it, and its way into an artifact.

What comes out is run by `encoders/` on OpenVINO, without torch. Only imported where it is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import Json
from ..encoders.running import (
    ENCODER_FILE,
    MOST_TOKENS,
    OVERLAP,
    Files,
    encoder_files,
    open_tokenizer,
    read_weights,
)
from ..encoders.windows import cut_windows
from ..models.local.precision import has_bfloat16
from ..registry import need
from .laying import Laid
from .learner import Learner, Reader, Scores

__all__ = [
    "EncodedText", "encode_texts", "encoder_artifact", "hidden", "make_encoder_learner",
    "open_model", "padded", "text_vectors", "with_head",
]  # fmt: skip

DROPOUT = 0.1
_WHAT = "tuning a text encoder"


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text in tokens, cut into the windows that the encoder reads, and the places of its labels.

    It costs as many tokens as there are in all windows, and counts once.
    """

    windows: tuple[tuple[int, ...], ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return sum(map(len, self.windows))

    @property
    def weight(self) -> int:
        """What the mean loss is taken over."""
        return 1


def encode_texts(texts: Sequence[str], labels: Sequence[Sequence[int]]) -> list[EncodedText]:
    """Texts with the places of their labels, in windows."""
    encoded = open_tokenizer().encode_batch(list(texts))
    return [
        EncodedText(
            tuple(tuple(ids) for _, ids in cut_windows(one.ids, MOST_TOKENS, OVERLAP)), tuple(own)
        )
        for one, own in zip(encoded, labels, strict=True)
    ]


def with_head(head: Any, dropout: float = DROPOUT) -> Any:
    """The torch module: `encoder` in float32, its word vectors fixed, and the `head` on it.

    Word vectors are half of the weights and most of them are in no example; fixed, a step takes
    less time, and a checkpoint less room.
    """
    import torch

    encoder = open_model(encoder_files(None), dropout)
    encoder.embeddings.word_embeddings.weight.requires_grad_(False)
    return torch.nn.ModuleDict({"encoder": encoder, "head": head})


def hidden(model: Any, ids: Any, mask: Any) -> Any:
    """The vector of each token, (texts, tokens, size)."""
    return model["encoder"](input_ids=ids, attention_mask=mask).last_hidden_state


def text_vectors(learner: Learner, texts: Sequence[EncodedText]) -> Any:
    """The unit vector of each text, (texts, size), in float32, as `encoders.vectors` makes it."""
    import torch

    windows = [window for text in texts for window in text.windows]
    ids, mask = padded(windows)
    with learner.autocast():
        found = hidden(learner.model, ids, mask)
    weights = mask.unsqueeze(-1).float()
    means = (found.float() * weights).sum(1) / weights.sum(1)
    unit = torch.nn.functional.normalize(means, dim=1) * weights.sum(1)
    owners = torch.tensor([at for at, text in enumerate(texts) for _ in text.windows])
    summed = torch.zeros((len(texts), unit.shape[1])).index_add(0, owners, unit)
    return torch.nn.functional.normalize(summed, dim=1)


def open_model(files: Files, dropout: float) -> Any:
    """The encoder's weights as a module of the transformers library, in float32."""
    torch = need("torch", extra="train", what=_WHAT)
    transformers = need("transformers", extra="train", what=_WHAT)
    weights = read_weights(files.weights)
    words, size = weights["embeddings.word_embeddings.weight"].shape
    config = transformers.BertConfig(
        vocab_size=words,
        hidden_size=size,
        num_hidden_layers=1 + max(int(n.split(".")[2]) for n in weights if ".layer." in n),
        num_attention_heads=files.heads,
        intermediate_size=len(weights["encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=len(weights["embeddings.position_embeddings.weight"]),
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    model = transformers.BertModel(config, add_pooling_layer=False)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
    model.load_state_dict(tensors, strict=True)
    return model


def make_encoder_learner(model: Any, scores: Scores, weight_decay: float = 0.01) -> Learner:
    """The learner over what of the model is not fixed, on this machine's processor."""
    import torch

    device = torch.device("cpu")
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        list(parameters.values()), lr=0.0, weight_decay=weight_decay, fused=True
    )
    bfloat16 = has_bfloat16(device)

    def autocast() -> Any:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16)

    return Learner(model, optimizer, parameters, Reader(_no_logits), autocast, device, 0, scores)


def padded(rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    """(ids, mask) of rows of tokens, padded on the right: int64, shape (rows, longest)."""
    import torch

    width = max(map(len, rows))
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
        mask[at, : len(row)] = 1
    return ids, mask


def encoder_artifact(model: Any, **facts: Json) -> dict[str, bytes]:
    """The tuned encoder as files of an artifact: float16 weights, tokenizer, `encoder.json`.

    `facts` go into `encoder.json` beside what opening it takes.
    """
    import torch
    from safetensors.torch import save

    files = encoder_files(None)
    tensors = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in model["encoder"].state_dict().items()
        if tensor.is_floating_point()
    }
    record = {**facts, "heads": files.heads}
    return {
        "encoder.safetensors": save(tensors),
        "tokenizer.json": Path(files.tokenizer).read_bytes(),
        ENCODER_FILE: json.dumps(record, ensure_ascii=False).encode(),
    }


def _no_logits(laid: Laid) -> Any:
    raise NotImplementedError("an encoder predicts no next token")
