"""Preference tuning on a tiny random model: the loss is the paper's, margins rise, work is kept."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepladder.core import Message
from stepladder.errors import ModelError
from stepladder.trainers import Pair, TrainingJob, job_hash
from stepladder.trainers.local import LocalTrainer, finished_model

from .tiny import COLOURS, NAMES, make_job

pytest.importorskip("torch")
pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def quiet(event: str, fields: Mapping[str, Any]) -> None:
    assert event == "training"


def pairs(n: int, start: int = 0) -> tuple[Pair, ...]:
    """The colour that is named is the better answer, and the next one the worse."""
    return tuple(
        Pair(
            (Message("user", f"{NAMES[place % len(NAMES)]} {place}"),),
            COLOURS[place % 2],
            COLOURS[2 + place % 2],
        )
        for place in range(start, start + n)
    )


def job(folder: Path, **options: object) -> TrainingJob:
    settings: dict[str, object] = {
        "method": "lora",
        "rank": 8,
        "alpha": 16,
        "learning_rate": 1e-2,
        "objective": "preference",
        "beta": 0.2,
        "epochs": 3.0,
        **options,
    }
    return replace(make_job(folder, **settings), train=pairs(32, 100), held_out=pairs(8))


def loss_before_and_after(trained: Any) -> tuple[float, float]:
    held = [one.held_out_loss for one in trained.learning if one.held_out_loss is not None]
    return held[0], min(held)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_better_answers_gain_on_worse_ones(tiny: Path, tmp_path: Path, method: str) -> None:
    rate = {"lora": 1e-2, "full": 2e-3}[method]
    trained = LocalTrainer().train(job(tiny, method=method, learning_rate=rate), tmp_path, quiet)
    before, after = loss_before_and_after(trained)
    assert before == pytest.approx(math.log(2), abs=0.01)  # it is the reference still
    assert after < 0.3
    assert trained.facts["preferences"]["right"] == 1.0
    assert trained.facts["preferences"]["margin"] > 1.0


def test_the_loss_is_that_of_the_paper(tiny: Path) -> None:
    """Against each answer's log-probability by the model's own labels, adapter on and off."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from stepladder.models.local.tokenizer import load_tokenizer
    from stepladder.trainers.learner import make_learner
    from stepladder.trainers.preferences import (
        encode_pairs,
        margins,
        preference_scores,
        with_reference,
    )

    tokenizer = load_tokenizer(tiny)
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"))
    learner = make_learner(
        model, weight_decay=0.0, pad_id=tokenizer.pad_id, device=torch.device("cpu")
    )
    learner = replace(learner, autocast=lambda: torch.autocast("cpu", enabled=False))
    rows, _ = encode_pairs(pairs(5), tokenizer, 100)
    rows = with_reference(learner, rows, 64)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)

    def of(row: Any) -> float:
        ids = torch.tensor([row.prompt + row.answer])
        labels = torch.tensor([(-100,) * len(row.prompt) + row.answer])
        with torch.no_grad():
            return -float(model(ids, labels=labels).loss) * len(row.answer)

    expected, gains = 0.0, []
    for pair in rows:
        chosen, rejected = of(pair.chosen), of(pair.rejected)
        with model.disable_adapter():
            gains.append((chosen - of(pair.chosen)) - (rejected - of(pair.rejected)))
        expected += math.log1p(math.exp(-0.3 * gains[-1]))
    with torch.no_grad():
        loss, count, right = preference_scores(0.3)(learner, rows)
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert (count, right) == (5, sum(gain > 0 for gain in gains))
    found = margins(learner, rows, 0.3, 64)
    assert found.margin == pytest.approx(0.3 * sum(gains) / 5, rel=1e-3)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.trainers.test_preferences import job
from stepladder.trainers.local import LocalTrainer

def tell(event, fields):
    if fields.get("step") == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

LocalTrainer().train(job(Path(sys.argv[1]), checkpoint_seconds=0.0), Path(sys.argv[2]), tell)
"""


@pytest.mark.slow
def test_killed_it_goes_on_from_its_checkpoint(tiny: Path, tmp_path: Path) -> None:
    asked = job(tiny, checkpoint_seconds=0.0)
    whole = LocalTrainer().train(asked, tmp_path / "whole", quiet)
    at = whole.facts["steps"] // 2
    command = [sys.executable, "-c", KILLED, str(tiny), str(tmp_path / "cut"), str(at)]
    root = Path(__file__).parents[2]
    killed = subprocess.run(command, cwd=root, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert finished_model(tmp_path / "cut", job_hash(asked)) is None
    seen: list[Mapping[str, Any]] = []
    resumed = LocalTrainer().train(asked, tmp_path / "cut", lambda _, fields: seen.append(fields))
    assert {"resumed": True, "step": at - 1} in seen
    assert resumed.facts["preferences"] == pytest.approx(whole.facts["preferences"], rel=1e-4)


def test_preferring_starts_from_what_an_adapter_knows(tiny: Path, tmp_path: Path) -> None:
    """With `start`, the reference is the base with that adapter: the loss begins at log 2."""
    first = LocalTrainer().train(
        make_job(tiny, method="lora", rank=8, alpha=16, learning_rate=1e-2), tmp_path, quiet
    )
    on_top = replace(job(tiny, epochs=1.0), start=first.folder / "adapter")
    trained = LocalTrainer().train(on_top, tmp_path, quiet)
    before, after = loss_before_and_after(trained)
    assert before == pytest.approx(math.log(2), abs=0.01)
    assert after < before


def test_pairs_that_do_not_fit_are_counted_and_rows_of_another_kind_refused(
    tiny: Path, tmp_path: Path
) -> None:
    asked = job(tiny, epochs=1.0, max_length=60)
    long = Pair((Message("user", "ann"),), "red", "x" * 80)
    trained = LocalTrainer().train(replace(asked, train=(*asked.train, long)), tmp_path, quiet)
    assert any("1 training examples were longer" in one for one in trained.cautions)
    mixed = replace(asked, train=(*asked.train, make_job(tiny).train[0]))
    with pytest.raises(ModelError, match="learns from pairs of answers"):
        LocalTrainer().train(mixed, tmp_path, quiet)
