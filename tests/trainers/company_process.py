"""Processes that train a job together, over gloo: what Ray Train does, without Ray."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepladder.trainers import TrainingJob

__all__ = ["in_float32", "train_together"]


def in_float32() -> None:
    """Bfloat16 rounds by the shape of a product; without it, only the order of a sum differs."""
    from stepladder.trainers import learner, opening

    for module in (learner, opening):
        module.has_bfloat16 = lambda device: False  # type: ignore[attr-defined]


def train_together(
    job: TrainingJob, folder: Path, size: int = 2, die_at: int | None = None
) -> list[int]:
    """Have `size` processes do the job in `folder`; their exit codes, by rank.

    With `die_at` the last of them is killed at that step, and the others with it, as Ray does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / f"store-{len(list(folder.glob('store-*')))}"
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_work, args=(job, folder, (rank, size), store, die_at))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    processes[-1].join()
    if processes[-1].exitcode:
        for process in processes[:-1]:
            process.kill()
    for process in processes:
        process.join()
    return [process.exitcode or 0 for process in processes]


def _work(
    job: TrainingJob, folder: Path, place: tuple[int, int], store: Path, die_at: int | None
) -> None:
    import torch.distributed

    from stepladder.trainers.local import train_into
    from stepladder.trainers.workers import company_for

    in_float32()
    rank, size = place
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=size
    )

    def tell(event: str, told: Mapping[str, Any]) -> None:
        with (folder / f"told-{rank}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")
        if rank == size - 1 and die_at is not None and told.get("step", 0) >= die_at:
            os.kill(os.getpid(), 9)

    trained = train_into(folder, job, tell, company_for(job))
    assert (trained is not None) == (rank == 0)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
