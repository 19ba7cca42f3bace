"""The model under training: the loss on answers alone, and one step of AdamW.

Speed comes from four places: the head (a fifth of a small model) only sees positions whose next
token is learned, rows lie so that no attention mask is needed (`laying.py`), matrix products run in
bfloat16 where the machine has it, and what is between the products is done in fewer passes
(`fast.py`).
Written for CPU and GPU; it has only been run on CPUs so far.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..models.local.precision import has_bfloat16
from .batches import Encoded, Learnable
from .company import ALONE, Company
from .laying import Borders, Laid, behind, beside

__all__ = [
    "Learner", "Reader", "Scores", "StepScores", "answer_logits", "answer_loss", "answer_scores",
    "make_learner", "reader_of", "take_step",
]  # fmt: skip

# rows -> their summed loss, the summed weight of the rows, and how much of that weight is right
Scores = Callable[["Learner", Sequence[Any]], tuple[Any, int, int]]


def answer_scores(learner: Learner, rows: Sequence[Encoded]) -> tuple[Any, int, int]:
    """Summed cross-entropy in nats over the answer tokens of `rows`, how many there are, and how
    many of them the model thinks the most probable.
    """  # noqa: D205
    import torch

    reader = learner.reader
    if reader.head is None:
        logits, targets = answer_logits(learner, rows)
        loss = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
        return loss, len(targets), int((logits.detach().argmax(dim=-1) == targets).sum())
    from .fast import cross_entropy

    laid = learner.lay(rows)
    with learner.autocast():
        states = reader.read(laid)
        if torch.is_autocast_enabled(learner.device.type):
            states = states.to(torch.get_autocast_dtype(learner.device.type))
    loss, right = cross_entropy(states, reader.head.weight, laid.answers)
    return loss, len(laid.answers), right


@dataclass(frozen=True)
class Reader:
    """What is read of a model where rows ask for an answer token: states or logits.

    `read` gives the states that `head` makes logits of; with no head it gives logits.
    """

    read: Callable[[Laid], Any]
    head: Any = None

    def logits(self, laid: Laid) -> Any:
        read = self.read(laid)
        return read if self.head is None else self.head(read)


@dataclass(frozen=True)
class Learner:
    """A model with its optimizer and the way to run them on this machine.

    With `packed` rows are laid one behind the other, which the model's attention has to know
    (`packing.py`).
    """

    model: Any  # a PEFT model or a causal language model
    optimizer: Any
    parameters: dict[str, Any]  # those that learn, by name
    reader: Reader
    autocast: Callable[[], contextlib.AbstractContextManager[Any]]
    device: Any
    pad_id: int
    scores: Scores = answer_scores
    company: Company = ALONE
    packed: bool = False

    def lay(self, rows: Sequence[Encoded]) -> Laid:
        """The rows as the model reads them."""
        if self.packed:
            return behind(rows, self.device)
        return beside(rows, self.pad_id, self.device)

    @property
    def names(self) -> dict[int, str]:
        """The optimizer's places to parameter names."""
        return dict(enumerate(self.parameters))


def make_learner(
    model: Any,
    *,
    weight_decay: float,
    pad_id: int,
    device: Any,
    scores: Scores = answer_scores,
) -> Learner:
    """The learner over every parameter of `model` that requires a gradient."""
    import torch

    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        list(parameters.values()), lr=0.0, weight_decay=weight_decay, fused=True
    )
    bfloat16 = has_bfloat16(device)

    def autocast() -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16)

    with autocast():
        reader = reader_of(model)
    return Learner(model, optimizer, parameters, reader, autocast, device, pad_id, scores)


def answer_loss(learner: Learner, rows: Sequence[Encoded]) -> tuple[Any, int]:
    """Summed cross-entropy in nats over the answer tokens of `rows`, and how many there are."""
    loss, tokens, _ = answer_scores(learner, rows)
    return loss, tokens


def answer_logits(learner: Learner, rows: Sequence[Encoded]) -> tuple[Any, Any]:
    """The logits that predict the answer tokens of `rows`, row after row, and those tokens."""
    laid = learner.lay(rows)
    with learner.autocast():
        return learner.reader.logits(laid), laid.answers


@dataclass(frozen=True)
class StepScores:
    """Loss in nats summed over `weight` answer tokens, or pairs, how many of those were `right`,
    and the gradient's norm before clipping.
    """  # noqa: D205

    loss: float
    weight: int
    right: int
    norm: float


def take_step(
    learner: Learner,
    parts: Sequence[Sequence[Learnable]],
    usual: float,
    *,
    learning_rate: float,
    clip: float,
) -> StepScores:
    """One step on all rows of `parts`, which are in memory one after the other.

    The loss is divided by the `usual` weight of a batch, not by this one's: rows of similar length
    share a batch, and else the few tokens of a batch of short answers would count as much as the
    many of another. A model tuned on calls so learned that the short answer, no call, is the usual
    one. A step whose gradient is not finite leaves the weights as they are.
    """
    learner.model.train()
    weight = sum(row.weight for rows in parts for row in rows)
    total, right = 0.0, 0
    for rows in parts:
        loss, _, hits = learner.scores(learner, rows)
        (loss / usual).backward()
        total, right = total + loss.item(), right + hits
    parameters = list(learner.parameters.values())
    norm = learner.company.clip(parameters, clip)
    for group in learner.optimizer.param_groups:
        group["lr"] = learning_rate
    if norm < float("inf"):
        learner.optimizer.step()
    learner.optimizer.zero_grad(set_to_none=True)
    return StepScores(total, weight, right, norm)


def reader_of(model: Any) -> Reader:
    """The head applied to the chosen positions alone, if this model's logits are only that.

    Some architectures scale or bend the logits after the head. A two-token comparison tells; for
    those, logits are computed at all positions by the model itself.
    """
    import torch

    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = causal.get_output_embeddings()

    def chosen(laid: Laid) -> Any:
        return _hidden(model, causal, laid).flatten(0, 1).index_select(0, laid.asking)

    def everywhere(laid: Laid) -> Any:
        read = model(input_ids=laid.ids, use_cache=False, **_packed(laid.borders))
        logits = read.logits[:, -laid.ids.shape[1] :]
        return logits.flatten(0, 1).index_select(0, laid.asking)

    device = next(model.parameters()).device
    two = beside([Encoded((1,), (2, 0))], 0, device)
    model.eval()
    with torch.no_grad():
        mine, whole = head(chosen(two)).float(), everywhere(two).float()
    plain = type(head) is torch.nn.Linear and head.bias is None
    if plain and torch.allclose(mine, whole, atol=1e-4, rtol=1e-4):
        return Reader(chosen, head)
    return Reader(everywhere)


def _packed(borders: Borders | None, after: int = 0) -> dict[str, Any]:
    """What a model is told of packed rows, each of which begins `after` so many tokens."""
    import torch

    if borders is None:
        return {}
    counted = torch.cat([torch.arange(after, after + length) for length in borders.lengths])
    return {"position_ids": counted[None].to(borders.places.device), "borders": borders}


def _hidden(model: Any, causal: Any, laid: Laid) -> Any:
    """What the head sees of each token; vectors that a method puts before the input are put."""
    ids, borders = laid.ids, laid.borders
    config = getattr(model, "peft_config", {}).get("default")
    if config is None or not config.is_prompt_learning:
        read = causal.base_model(input_ids=ids, use_cache=False, **_packed(borders))
        return read.last_hidden_state
    before, count = model.get_prompt(batch_size=len(ids)), config.num_virtual_tokens
    if config.peft_type == "PREFIX_TUNING":
        told = _packed(borders, after=count)
        read = causal.base_model(input_ids=ids, past_key_values=before, use_cache=True, **told)
        return read.last_hidden_state
    return _behind_words(causal, laid, before, count)


def _behind_words(causal: Any, laid: Laid, before: Any, count: int) -> Any:
    """What the head sees of each token behind `count` vectors that stand before every row."""
    import torch

    words = causal.get_input_embeddings()(laid.ids)
    if laid.borders is None:
        words = torch.cat([before, words], dim=1)
        read = causal.base_model(inputs_embeds=words, use_cache=False)
        return read.last_hidden_state[:, count:]
    rows = words.split(laid.borders.lengths, dim=1)
    words = torch.cat([one for row in rows for one in (before, row)], dim=1)
    longer = laid.borders.longer(count)
    read = causal.base_model(inputs_embeds=words, use_cache=False, **_packed(longer))
    hidden = read.last_hidden_state.split(longer.lengths, dim=1)
    return torch.cat([row[:, count:] for row in hidden], dim=1)
