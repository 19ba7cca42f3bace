"""The fast pieces give the values and gradients of the plain ones that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepladder.trainers import TrainingOptions

from .tiny import conversations

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def numbers(*shape: int, seed: int = 0) -> Any:
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=chance, requires_grad=True)


def gradients(value: Any, *of: Any) -> list[Any]:
    return list(torch.autograd.grad(value, of))


@pytest.mark.parametrize("tokens", [1, 4, 11])
def test_cross_entropy_in_slices_is_cross_entropy(
    tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepladder.trainers import fast

    monkeypatch.setattr(fast, "SLICE", 4)
    states, weight = numbers(tokens, 8), numbers(30, 8, seed=1)
    targets = torch.arange(tokens) % 30
    loss, right = fast.cross_entropy(states, weight, targets)
    logits = states @ weight.t()
    plain = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    assert torch.allclose(loss, plain)
    assert right == int((logits.argmax(-1) == targets).sum())
    for mine, theirs in zip(
        gradients(3 * loss, states, weight), gradients(3 * plain, states, weight), strict=True
    ):
        assert torch.allclose(mine, theirs, atol=1e-5)
    (alone,) = gradients(fast.cross_entropy(states, weight.detach(), targets)[0], states)
    (theirs,) = gradients(plain_again(states, weight, targets), states)
    # of the whole: an element near zero is a difference of large ones, with their roundings
    assert (alone - theirs).norm() <= 1e-6 * theirs.norm()
    with torch.no_grad():
        assert torch.allclose(fast.cross_entropy(states, weight, targets)[0], plain)


def plain_again(states: Any, weight: Any, targets: Any) -> Any:
    logits = states @ weight.t()
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


def test_a_lora_layer_is_two_products_more() -> None:
    from stepladder.trainers.fast import _Lora

    x, weight = numbers(2, 5, 8), numbers(6, 8, seed=1).detach()
    down, up = numbers(3, 8, seed=2), numbers(6, 3, seed=3)
    mine = _Lora.apply(x, weight, down, up, 0.5)
    plain = x @ weight.t() + 0.5 * (x @ down.t() @ up.t())
    assert torch.allclose(mine, plain, atol=1e-5)
    outer = numbers(2, 5, 6, seed=4).detach()
    pairs = zip(
        gradients((mine * outer).sum(), x, down, up),
        gradients((plain * outer).sum(), x, down, up),
        strict=True,
    )
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairs)


def test_a_norm_is_the_norm_and_another_is_left_alone() -> None:
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    from stepladder.trainers.fast import _is_plain_norm, _RmsNorm

    x, norm = numbers(3, 4, 8), LlamaRMSNorm(8)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, 8))
    mine = _RmsNorm.apply(x, norm.weight, norm.variance_epsilon, torch.float32)
    plain, outer = norm(x), numbers(3, 4, 8, seed=2).detach()
    assert torch.allclose(mine, plain, atol=1e-6)
    pairs = zip(
        gradients((mine * outer).sum(), x, norm.weight),
        gradients((plain * outer).sum(), x, norm.weight),
        strict=True,
    )
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)
    other = GemmaRMSNorm(8)  # which multiplies by one more than its weight
    other.variance_epsilon = other.eps
    assert _is_plain_norm(norm)
    assert not _is_plain_norm(other)


@pytest.mark.parametrize("method", ["lora", "rslora", "full", "freeze"])
def test_a_hastened_model_learns_in_the_same_direction(
    tiny: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against float32 throughout, as closely as products in bfloat16 allow."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from stepladder.models.local.tokenizer import load_tokenizer
    from stepladder.trainers import learner as learning
    from stepladder.trainers.batches import encode
    from stepladder.trainers.fast import hasten

    tokenizer = load_tokenizer(tiny)
    rows, _ = encode(conversations(6), tokenizer, 100)
    found = []
    for fast in (False, True):
        model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
        torch.manual_seed(0)
        if "lora" in method:
            config = LoraConfig(r=4, target_modules="all-linear", use_rslora=method == "rslora")
            model = get_peft_model(model, config)
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(weight, std=0.1)
        if method == "freeze":
            model.requires_grad_(False)
            model.model.layers[1].requires_grad_(True)
        if fast:
            hasten(model, TrainingOptions(method=method))  # type: ignore[arg-type]
        monkeypatch.setattr(learning, "has_bfloat16", lambda device, fast=fast: fast)
        learner = learning.make_learner(
            model, weight_decay=0.0, pad_id=tokenizer.pad_id, device=torch.device("cpu")
        )
        loss, count, _ = learner.scores(learner, rows)
        (loss / count).backward()
        grown = torch.cat([one.grad.flatten() for one in learner.parameters.values()])
        found.append((float(loss.detach()), grown.double()))
    (plain, exact), (quick, near) = found
    assert quick == pytest.approx(plain, rel=5e-3)
    assert float(torch.dot(exact, near) / exact.norm() / near.norm()) > 0.995
