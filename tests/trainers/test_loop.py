"""When a training ends and which weights it keeps, by held-out scores that the test writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from stepladder.trainers import TrainingOptions
from stepladder.trainers.batches import Encoded
from stepladder.trainers.checkpoint import Progress

torch = pytest.importorskip("torch")

UNTRAINED = (5.0, 0)
ROWS = [Encoded((5, 6), (7,))]


def trained(
    looks: Sequence[tuple[float, int]],
    judged_by: Literal["loss", "accuracy"],
    folder: Path,
    *,
    rows: Sequence[Encoded] = ROWS,
    **options: Any,
) -> Progress:
    """A training of one step per look, whose looks find these losses and tokens right of 100."""
    from stepladder.trainers.learner import Learner, Reader
    from stepladder.trainers.loop import fit

    class Model(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

    found = iter([UNTRAINED, *looks])

    def scores(learner: Learner, batch: Sequence[Any]) -> tuple[Any, int, int]:
        if learner.model.training:
            return learner.parameters["weight"].sum(), len(batch), 0
        loss, right = next(found)
        return torch.tensor(100 * loss), 100, right

    model = Model()
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values())
    device = torch.device("cpu")
    reader = Reader(lambda laid: laid)
    learner = Learner(model, optimizer, parameters, reader, torch.no_grad, device, 0, scores)
    given = TrainingOptions(
        epochs=len(looks), evaluations_per_epoch=1, judged_by=judged_by, **options
    )
    return fit(learner, (rows, ROWS), given, folder, lambda event, fields: None)


@pytest.mark.parametrize(
    ("judged_by", "looks", "steps", "best"),
    [
        ("loss", [(4.0, 9), (3.0, 8), (3.5, 9), (3.5, 10), (1.0, 50)], 4, 2),
        ("accuracy", [(4.0, 9), (5.0, 20), (6.0, 30), (6.5, 30), (7.0, 29), (1.0, 99)], 5, 3),
        # the share of right tokens is a while below its best as the loss goes on falling
        ("accuracy", [(4.0, 30), (3.0, 20), (2.0, 20), (1.0, 40), (1.5, 20), (1.5, 20)], 6, 4),
        ("accuracy", [(4.0, 30), (3.0, 20), (2.0, 20), (2.5, 20), (2.5, 20), (1.0, 99)], 5, 1),
        # of equal shares the lower loss
        ("accuracy", [(4.0, 30), (3.0, 30), (3.5, 30), (3.0, 30), (1.0, 99)], 4, 2),
    ],
)
def test_it_ends_when_nothing_gets_better_and_keeps_the_best(
    judged_by: Literal["loss", "accuracy"],
    looks: list[tuple[float, int]],
    steps: int,
    best: int,
    tmp_path: Path,
) -> None:
    progress = trained(looks, judged_by, tmp_path, patience=2)
    assert (progress.step, progress.best_step) == (steps, best)
    assert (progress.best_loss, progress.best_accuracy) == (
        looks[best - 1][0],
        looks[best - 1][1] / 100,
    )


def test_untrained_weights_are_never_kept(tmp_path: Path) -> None:
    progress = trained([(9.0, 0), (9.5, 0), (9.9, 0)], "loss", tmp_path, patience=9)
    assert progress.best_step == 1


def test_out_of_time_it_looks_once_more_and_ends(tmp_path: Path) -> None:
    """Two steps are an epoch here, so that no look is due after the first."""
    looks = [(1.0, 50)] * 8
    limits = {"max_seconds": 1e-9, "rows_per_batch": 1}
    progress = trained(looks, "accuracy", tmp_path, rows=2 * ROWS, **limits)
    assert (progress.step, progress.best_step, progress.ended) == (1, 1, "time limit")
