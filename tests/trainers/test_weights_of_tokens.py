"""Every answer token weighs the same in training, whatever else is in its batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepladder.trainers import TrainingOptions
from stepladder.trainers.batches import Encoded

from .tiny import make_model

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

SHORT = [Encoded((5, 6, 7), (10 + n, 2)) for n in range(8)]
LONG = [Encoded(tuple(range(5, 35)), (*range(40 + n, 80 + n), 2)) for n in range(8)]


def test_short_answers_that_share_a_batch_weigh_no_more_than_long_ones(tmp_path: Path) -> None:
    """The mean of the steps' gradients is the gradient of the mean loss per token of all rows.

    By its own number of tokens, a batch of short answers would count as much as one of long ones.
    """
    from transformers import AutoModelForCausalLM

    from stepladder.trainers.learner import answer_loss, make_learner
    from stepladder.trainers.loop import fit

    model = AutoModelForCausalLM.from_pretrained(make_model(tmp_path / "m"), dtype=torch.float32)
    learner = make_learner(model, weight_decay=0.0, pad_id=0, device=torch.device("cpu"))
    rows = [*SHORT, *LONG]
    loss, tokens = answer_loss(learner, rows)
    (loss / tokens).backward()
    whole = {name: p.grad.clone() for name, p in learner.parameters.items()}
    learner.optimizer.zero_grad(set_to_none=True)
    steps: list[dict[str, torch.Tensor]] = []
    learner.optimizer.register_step_pre_hook(
        lambda *_: steps.append({name: p.grad.clone() for name, p in learner.parameters.items()})
    )
    options = TrainingOptions(
        method="full", learning_rate=1e-12, epochs=1, tokens_per_batch=142, clip=1e9
    )
    fit(learner, (rows, []), options, tmp_path / "checkpoints", lambda event, fields: None)
    sizes = {len(row) for row in rows}
    assert len(steps) > len(sizes)  # several batches of either length
    for name, gradient in whole.items():
        mean = torch.stack([step[name] for step in steps]).mean(0)
        assert torch.allclose(mean, gradient, atol=2e-2 * float(gradient.abs().max()) + 1e-6), name
