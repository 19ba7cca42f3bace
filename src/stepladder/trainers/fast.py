"""The same model in fewer passes over memory: what a step spends apart from its large products.

On a CPU with matrix units the products of a small model take a third of a step; the rest is copies
between float32 and bfloat16, and element by element work. Four pieces are put in the place of those
that PEFT and transformers bring, each with the gradient written out:

    LoRA layers     the two small products are added into the large one's result
    RMS norms       rounded once, to what the products behind them take
    rotations       cosines and sines in bfloat16, as of any model that runs in it
    cross-entropy   a slice of tokens at a time, the gradient along with it: no logits are kept

Weights that do not learn are rounded to bfloat16 once, not in every step. Whatever is not known
here is left as it was. What is saved is merged into the base as it lies on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import TrainingOptions

__all__ = ["cross_entropy", "hasten"]

SLICE = 256  # tokens whose logits are in memory at once
HASTENED = ("lora", "rslora", "freeze", "full")


def hasten(model: Any, options: TrainingOptions) -> None:
    """Put the fast pieces into a model that will be run under autocast to bfloat16."""
    if options.method not in HASTENED:
        return
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    rotation = getattr(causal.base_model, "rotary_emb", None)
    if rotation is None:
        return
    for module in model.modules():
        if _is_plain_norm(module):
            module.forward = _norm(module)
        elif _is_plain_lora(module):
            module.forward = _lora(module)
    rotation.forward = _rounded(rotation.forward)
    words, head = causal.get_input_embeddings(), causal.get_output_embeddings()
    if options.method in ("lora", "rslora"):  # else these very weights are what is saved
        head.weight.data = head.weight.data.to(torch.bfloat16)
        words.forward = _widened(words.forward)


def cross_entropy(states: Any, weight: Any, targets: Any) -> tuple[Any, int]:
    """Cross-entropy in nats summed over tokens, and how many targets are the most probable.

    `states` (tokens, hidden) go through the head's `weight` (vocabulary, hidden); products are in
    the type of the states.
    """
    if not torch.is_grad_enabled():
        loss, right, _, _ = _sliced(states, weight.to(states.dtype), targets, (False, False))
        return loss, int(right)
    loss, right = _apply(_CrossEntropy, states, weight, targets)
    return loss, int(right)


def _apply(function: Any, *given: Any) -> Any:
    """The function with its own gradient; torch leaves `apply` without types."""
    return function.apply(*given)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Any, weight: Any, targets: Any) -> Any:
        wanted = ctx.needs_input_grad[:2]
        loss, right, *grown = _sliced(states, weight.to(states.dtype), targets, wanted)
        ctx.save_for_backward(*grown)
        ctx.mark_non_differentiable(right)
        return loss, right

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> Any:
        of_states, of_weight = ctx.saved_tensors
        return (
            None if of_states is None else of_states * outer[0],
            None if of_weight is None else of_weight * outer[0],
            None,
        )


def _sliced(states: Any, weight: Any, targets: Any, wanted: tuple[bool, bool]) -> Any:
    """Loss, right answers, and the gradients of states and weight where they are wanted."""
    loss = torch.zeros((), dtype=torch.float32, device=states.device)
    right = torch.zeros((), dtype=torch.long, device=states.device)
    of_states = torch.empty_like(states) if wanted[0] else None
    of_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
    for start in range(0, len(targets), SLICE):
        here, goal = states[start : start + SLICE], targets[start : start + SLICE, None]
        shares = (here @ weight.t()).float()
        most, place = shares.max(dim=-1, keepdim=True)
        right += (place == goal).sum()
        shares -= most
        said = shares.gather(1, goal)
        total = shares.exp_().sum(dim=-1, keepdim=True)
        loss += (total.log() - said).sum()
        if not any(wanted):
            continue
        shares /= total
        shares.scatter_add_(1, goal, torch.full_like(said, -1.0))
        error = shares.to(weight.dtype)
        if of_states is not None:
            of_states[start : start + SLICE] = error @ weight
        if of_weight is not None:
            of_weight += error.t() @ here
    return loss, right, of_states, of_weight


class _Lora(torch.autograd.Function):
    """x W' + (x A') B' s, where A and B learn and W does not; products are in the type of W."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, down: Any, up: Any, scale: float) -> Any:
        flat = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        down, up = down.to(weight.dtype), (up * scale).to(weight.dtype)
        inner = flat @ down.t()
        result = torch.mm(flat, weight.t()).addmm_(inner, up.t())
        ctx.save_for_backward(flat, weight, down, up, inner)
        ctx.scale, ctx.kind = scale, x.dtype
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> Any:
        flat, weight, down, up, inner = ctx.saved_tensors
        grown = outer[0].reshape(-1, outer[0].shape[-1]).to(weight.dtype)
        of_inner = grown @ up
        of_up = (grown.t() @ inner).float().mul_(ctx.scale)
        of_down = (of_inner.t() @ flat).float()
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = torch.mm(grown, weight).addmm_(of_inner, down).to(ctx.kind)
            of_x = of_x.view(*outer[0].shape[:-1], -1)
        return of_x, None, of_down, of_up, None


def _lora(module: Any) -> Callable[[Any], Any]:
    """The layer's product with its adapter; its weight is rounded to bfloat16 once, here."""
    base, scale = module.base_layer, module.scaling["default"]
    base.weight.data = base.weight.data.to(torch.bfloat16)
    down, up = module.lora_A["default"].weight, module.lora_B["default"].weight

    def forward(x: Any) -> Any:
        result = _apply(_Lora, x, base.weight, down, up, scale)
        return result if base.bias is None else result + base.bias.to(result.dtype)

    return forward


def _is_plain_norm(module: Any) -> bool:
    """Whether the module is an RMS norm as Llama has it: it gives what ours gives."""
    if not hasattr(module, "variance_epsilon") or getattr(module, "weight", None) is None:
        return False
    with torch.no_grad():
        x = torch.linspace(-2, 3, 2 * len(module.weight), device=module.weight.device)
        x = x.view(2, -1)
        ours = _apply(_RmsNorm, x, module.weight, module.variance_epsilon, torch.float32)
        return bool(torch.allclose(module(x), ours, atol=1e-5))


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, epsilon: float, kind: Any) -> Any:
        wide = x.float()
        inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, weight, inverse)
        return (wide * inverse).mul_(weight).to(kind)

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> Any:
        x, weight, inverse = ctx.saved_tensors
        unit, grown = x.float() * inverse, outer[0].float()
        both = grown * unit
        of_weight = both.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        grown = grown * weight
        share = (both * weight).mean(-1, keepdim=True)
        return ((grown - unit.mul_(share)).mul_(inverse)).to(x.dtype), of_weight, None, None


def _norm(module: Any) -> Callable[[Any], Any]:
    def forward(x: Any) -> Any:
        return _apply(_RmsNorm, x, module.weight, module.variance_epsilon, torch.bfloat16)

    return forward


def _is_plain_lora(module: Any) -> bool:
    """Whether the module is a linear layer with one LoRA adapter that has nothing special."""
    from peft.tuners.lora.layer import Linear

    return (
        type(module) is Linear
        and type(module.base_layer) is torch.nn.Linear
        and list(module.active_adapters) == ["default"]
        and not module.lora_variant
        and isinstance(module.lora_dropout["default"], torch.nn.Identity)
        and module.lora_B["default"].bias is None
    )


def _rounded(rotate: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    def forward(*given: Any, **named: Any) -> tuple[Any, Any]:
        cosine, sine = rotate(*given, **named)
        return cosine.to(torch.bfloat16), sine.to(torch.bfloat16)

    return forward


def _widened(embed: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Sums from layer to layer stay in float32: in bfloat16 they would lose what is added last."""

    def forward(ids: Any) -> Any:
        return embed(ids).float()

    return forward
