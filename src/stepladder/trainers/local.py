"""Trains local weights with transformers and PEFT in an own loop.

One job makes one folder, named by the job's hash:

    adapter/        the adapter as PEFT writes it, where the method makes one (`methods/`)
    kept/           adapters at the end of epochs, `step-000120`, where the job asks for them
    model/          the tuned model in float16, with its tokenizer: what is served, unless the
                    job asks for none
    training.json   options, data, curve, seconds, tokens, environment
    done            written last; without it the folder is unfinished work

While it is being made the folder has `checkpoints/`. Killed at any moment, the same job goes on
from the last of them. Two processes with the same job do it once. The device is "cuda" where torch
finds one, else "cpu"; only CPUs have been tried.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..core import Json, LearningPoint, Tell
from ..errors import ModelError
from ..registry import need
from . import TrainedModel, TrainingJob, TrainingOptions, job_hash
from .checkpoint import Progress, saving, write_json
from .company import ALONE, Company
from .export import bytes_in, save_adapter
from .jobs import alone
from .learner import Learner, make_learner, reader_of
from .loop import Keeping, fit, held_out_loss, padding_of
from .memory import forget_peak, peak_bytes
from .methods import METHODS
from .objectives import encode_rows, scores_of
from .opening import chosen_device, cores, open_model
from .packing import Packing, choose_packing, packed
from .preferences import margins, with_reference
from .quiet import quiet
from .telling import cautions, facts

__all__ = ["LocalTrainer", "finished_model", "train_into"]


@dataclass(frozen=True)
class LocalTrainer:
    """Trains models that lie in a folder on this machine."""

    name: str = "local"

    def train(self, job: TrainingJob, artifacts: Path, tell: Tell) -> TrainedModel:
        """The trained model, from `artifacts` if this job was finished before.

        Raises MissingExtra without torch or peft, ModelError for unusable weights, data or a
        diverged training, StoreError when the folder cannot be written.
        """
        need("torch", extra="train", what="fine-tuning")
        need("transformers", extra="train", what="fine-tuning")
        with quiet():
            need("peft", extra="train", what="fine-tuning")
        name = job_hash(job)
        done = finished_model(artifacts, name)
        if done is not None:
            return done
        with alone(artifacts, name, tell):
            done = finished_model(artifacts, name)
            if done is None:
                done = train_into(artifacts / name, job, tell)
            assert done is not None  # this process leads, being alone
            return done


def finished_model(artifacts: Path, name: str) -> TrainedModel | None:
    """The model that a job of this hash made, or None while there is none."""
    folder = artifacts / name
    if not (folder / "done").exists():
        return None
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return TrainedModel(
        name=f"local:tuned/{name}",
        folder=folder,
        learning=tuple(LearningPoint(**point) for point in facts["learning"]),
        seconds=facts["seconds"],
        tokens=facts["tokens"],
        cautions=tuple(facts["cautions"]),
        facts=facts,
    )


def train_into(
    folder: Path, job: TrainingJob, tell: Tell, company: Company = ALONE
) -> TrainedModel | None:
    """Do the job in its folder; the model, or None in a process of the company that does not lead.

    The caller sees to it that nobody else does the same job. Raises as `LocalTrainer.train`.
    """
    import torch

    from ..models.local.tokenizer import load_tokenizer

    forget_peak()
    torch.set_num_threads(job.threads or cores())
    torch.manual_seed(job.options.seed)
    device = chosen_device(job.device)
    tokenizer = load_tokenizer(job.folder)
    if not job.train:
        raise ModelError("there is nothing to train on", hint="give at least one example")
    train, left_out = encode_rows(job.train, tokenizer, job.options)
    held_out, _ = encode_rows(job.held_out, tokenizer, job.options)
    model = open_model(job, device, [*train, *held_out])
    learner, packing = _learner(model, job, train, tokenizer.pad_id)
    if job.options.objective == "preference":
        tell("training", {"reference": len(train) + len(held_out)})
        train = with_reference(learner, train, job.options.tokens_per_batch)
        held_out = with_reference(learner, held_out, job.options.tokens_per_batch)
    learner = company.join(learner)
    checkpoints = folder / "checkpoints"
    keep = partial(_keep, model, job, folder)
    keeping = Keeping(job.most_kept, keep) if company.leads else Keeping(job.most_kept)
    progress = fit(learner, (train, held_out), job.options, checkpoints, tell, keeping)
    best = progress.step if job.options.to_the_end else progress.best_step
    if best and best != progress.step:
        company.load(checkpoints, best, learner)
    learner = company.whole(learner, job, [*train, *held_out])
    if not company.leads:
        return None
    tell("training", {"saving": True})
    with saving(folder):
        found = _save(job, learner, held_out, folder)
        said = cautions(progress, left_out, found["held_out_loss_merged"], job.options)
        told = facts(job, progress, (train, held_out), said, found["held_out_loss_merged"])
        write_json(
            folder / "training.json",
            {**told, **found, "packing": asdict(packing), "kept": _kept(folder)},
        )
        _finish(folder)
    return finished_model(folder.parent, folder.name)


def _learner(
    model: Any, job: TrainingJob, rows: Sequence[Any], pad_id: int
) -> tuple[Learner, Packing]:
    """The learner of the job, which packs the rows where that is wanted or pays."""
    learner = make_learner(
        model,
        weight_decay=job.options.weight_decay,
        pad_id=pad_id,
        device=chosen_device(job.device),
        scores=scores_of(job.options),
    )
    packing = choose_packing(learner, job.packing, padding_of(rows, job.options))
    return packed(learner) if packing.used else learner, packing


def _save(
    job: TrainingJob, learner: Learner, held_out: Sequence[Any], folder: Path
) -> dict[str, Json]:
    """Write the adapter and the served model; what was measured of them, and their bytes."""
    way, model = METHODS[job.options.method], learner.model
    found: dict[str, Json] = {
        "held_out_loss_merged": None,
        "peak_bytes": peak_bytes(learner.device),
    }
    if way.adapter:
        save_adapter(model, job.base, folder / "adapter")
        found["adapter_bytes"] = bytes_in(folder / "adapter")
    if job.options.objective == "preference" and held_out:
        found["preferences"] = asdict(
            margins(learner, held_out, job.options.beta, job.options.tokens_per_batch)
        )
    if job.merge:
        model = way.served(model, job)
        way.save(model, job, folder / "model", folder.name)
        found["model_bytes"] = bytes_in(folder / "model")
        found["held_out_loss_merged"] = _saved_loss(model, learner, held_out, job.options)
    return found


def _keep(model: Any, job: TrainingJob, folder: Path, progress: Progress) -> None:
    with saving(folder):
        save_adapter(model, job.base, folder / "kept" / f"step-{progress.step:06d}")
        write_json(
            folder / "kept" / f"step-{progress.step:06d}.json",
            {"step": progress.step, "epoch": round(progress.epoch, 6)},
        )


def _kept(folder: Path) -> list[Json]:
    """Which adapters were kept, in order: `step`, `epoch`, and the `folder` within the job's."""
    return [
        {**json.loads(path.read_text(encoding="utf-8")), "folder": f"kept/{path.stem}"}
        for path in sorted((folder / "kept").glob("step-*.json"))
    ]


def _saved_loss(
    model: Any, learner: Learner, held_out: Sequence[Any], options: TrainingOptions
) -> float | None:
    """The held-out loss of what will be served, after merging and rounding."""
    if not held_out:
        return None
    import torch

    model.to(learner.device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    with learner.autocast():
        served = replace(learner, model=model, reader=reader_of(model), packed=False)
    return held_out_loss(served, held_out, options.tokens_per_batch)


def _finish(folder: Path) -> None:
    (folder / "done.unfinished").write_text("", encoding="utf-8")
    os.replace(folder / "done.unfinished", folder / "done")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
