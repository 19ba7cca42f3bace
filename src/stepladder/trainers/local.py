"""Trains local weights, LoRA or all of them, with transformers and PEFT in an own loop.

One job makes one folder, named by the job's hash:

    adapter/        the LoRA adapter as PEFT writes it (method "lora")
    kept/           adapters at the end of epochs, `step-000120`, where the job asks for them
    model/          the merged model in float16, with the base's tokenizer: what is served,
                    unless the job asks for none
    training.json   options, data, curve, seconds, tokens, environment
    done            written last; without it the folder is unfinished work

While it is being made the folder has `checkpoints/`. Killed at any moment, the same job goes on
from the last of them. Two processes with the same job do it once. The device is "cuda" where torch
finds one, else "cpu"; only CPUs have been tried.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..core import Json, LearningPoint, Tell
from ..errors import ModelError
from ..registry import need
from . import TrainedModel, TrainingJob, TrainingOptions, base_fingerprint, job_hash
from .batches import Encoded, encode
from .checkpoint import Progress, load_weights, saving, write_json
from .export import save_adapter, save_merged
from .jobs import alone
from .learner import Learner, has_bfloat16, logits_function, make_learner
from .loop import Keeping, fit, held_out_loss

__all__ = ["LocalTrainer", "finished_model"]

SHORT = (
    256  # tokens; up to here plain attention beats torch's fused one on a CPU (1.8 s against 2.1)
)


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
        need("peft", extra="train", what="fine-tuning")
        name = job_hash(job)
        done = finished_model(artifacts, name)
        if done is not None:
            return done
        with alone(artifacts, name, tell):
            done = finished_model(artifacts, name)
            return done if done is not None else _train(job, artifacts / name, tell)


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


def _train(job: TrainingJob, folder: Path, tell: Tell) -> TrainedModel:
    import torch

    from ..models.local.tokenizer import load_tokenizer

    torch.set_num_threads(job.threads or _cores())
    torch.manual_seed(job.options.seed)
    device = _device(job.device)
    tokenizer = load_tokenizer(job.folder)
    if not job.train:
        raise ModelError("there is nothing to train on", hint="give at least one example")
    length, cut_long = job.options.max_length, job.options.cut_long
    train, left_out = encode(job.train, tokenizer, length, cut_long=cut_long)
    held_out = encode(job.held_out, tokenizer, length, cut_long=cut_long)[0] if job.held_out else []
    model = _open(job, device, longest=max(map(len, [*train, *held_out])))
    learner = make_learner(
        model, weight_decay=job.options.weight_decay, pad_id=tokenizer.pad_id, device=device
    )
    checkpoints = folder / "checkpoints"
    keeping = Keeping(job.most_kept, partial(_keep, model, job, folder))
    progress = fit(learner, (train, held_out), job.options, checkpoints, tell, keeping)
    best = progress.step if job.options.to_the_end else progress.best_step
    if best and best != progress.step:
        load_weights(checkpoints, best, learner.parameters)
    tell("training", {"saving": True})
    with saving(folder):
        if job.options.method == "lora":
            save_adapter(model, job.base, folder / "adapter")
        merged_loss = None
        if job.merge:
            model = model.merge_and_unload() if job.options.method == "lora" else model
            save_merged(model, job.folder, folder / "model", folder.name)
            merged_loss = _merged_loss(model, learner, held_out, job.options)
        cautions = (*_cautions(progress, left_out), *_merge_caution(progress, merged_loss))
        write_json(
            folder / "training.json",
            {
                **_facts(job, progress, (train, held_out), cautions, merged_loss),
                "kept": _kept(folder),
            },
        )
        _finish(folder)
    trained = finished_model(folder.parent, folder.name)
    assert trained is not None
    return trained


def _open(job: TrainingJob, device: Any, longest: int) -> Any:
    """The base model in float32 with what is to learn marked as requiring gradients."""
    import torch
    import transformers

    try:
        with _no_chatter():
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                job.folder,
                dtype=torch.float32,
                trust_remote_code=False,
                local_files_only=True,
                attn_implementation="eager" if longest <= SHORT else "sdpa",
            )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"cannot load {job.base!r} from {str(job.folder)!r} for training: {error}",
            hint="it must be a causal language model in the layout of the transformers library",
        ) from error
    model.config.use_cache = False
    if job.options.method == "lora":
        start = job.start
        model = _with_adapter(model, job.options) if start is None else _going_on(model, start, job)
    elif job.start is not None or job.most_kept or not job.merge:
        raise ModelError(
            "only a LoRA training goes on from an adapter, or ends in one",
            hint="leave method out, or start, most_kept and merge",
        )
    return model.to(device)


def _going_on(model: Any, start: Path, job: TrainingJob) -> Any:
    """The model with the adapter in `start`, which learns on."""
    import peft

    with _no_chatter():
        try:
            grown = peft.PeftModel.from_pretrained(model, start, is_trainable=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"cannot go on from the adapter in {str(start)!r}: {error}",
                hint="it has to be a LoRA adapter of the same base model",
            ) from error
    config: Any = grown.peft_config["default"]
    rank = config.r
    if rank != job.options.rank:
        raise ModelError(
            f"the adapter to go on from has rank {rank}, and {job.options.rank} was asked for",
            hint="leave the rank out, or tune the base model anew",
        )
    return grown


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


def _with_adapter(model: Any, options: TrainingOptions) -> Any:
    import peft

    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(options.target_modules) or "all-linear",
    )
    with _no_chatter():
        try:
            return peft.get_peft_model(model, config)
        except ValueError as error:  # target_modules that this model does not have
            raise ModelError(
                f"LoRA cannot be put on this model: {error}",
                hint="leave target_modules out to adapt every linear layer",
            ) from error


@contextmanager
def _no_chatter() -> Iterator[None]:
    """No progress bar of another library, no warning about how two libraries call each other."""
    from transformers.utils import logging as chatter

    logging: Any = chatter  # its functions are untyped

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _device(wanted: str) -> Any:
    import torch

    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(
            f"there is no device {wanted!r} that torch can use here",
            hint="leave device out, or set it to 'cpu'",
        )
    return torch.device(wanted)


def _cores() -> int:
    """The cores this process may use, which containers make fewer than the machine has."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def _merged_loss(
    model: Any, learner: Learner, held_out: Sequence[Encoded], options: TrainingOptions
) -> float | None:
    """The held-out loss of what will be served, after merging and rounding."""
    if not held_out:
        return None
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    served = replace(learner, model=model, logits=logits_function(model))
    return held_out_loss(served, held_out, options.tokens_per_batch)


def _cautions(progress: Progress, left_out: int) -> tuple[str, ...]:
    said = []
    held_out = [point for point in progress.learning if point.held_out_loss is not None]
    last = held_out[-1].held_out_loss if held_out else None
    if progress.best_loss is not None and last is not None and last > 1.02 * progress.best_loss:
        best = next(point for point in held_out if point.step == progress.best_step)
        said.append(
            f"fine-tuning over-fitted: the held-out loss rose from {progress.best_loss:.3f} after "
            f"{best.epoch:.1f} epochs to {last:.3f}; the weights of the lower loss were kept"
        )
    if progress.ended == "time limit":
        said.append(
            f"fine-tuning was ended by its time limit after {progress.epoch:.1f} epochs; "
            "longer training may do better"
        )
    if left_out:
        said.append(f"{left_out} training examples were longer than max_length and left out")
    if progress.best_loss is None:
        said.append("fine-tuning had no held-out examples, so over-fitting could not be seen")
    return tuple(said)


def _merge_caution(progress: Progress, merged: float | None) -> tuple[str, ...]:
    if merged is None or progress.best_loss is None or merged <= 1.05 * progress.best_loss:
        return ()
    return (
        f"merging and rounding to float16 raised the held-out loss from {progress.best_loss:.3f} "
        f"to {merged:.3f}",
    )


def _facts(
    job: TrainingJob,
    progress: Progress,
    rows: tuple[Sequence[Encoded], Sequence[Encoded]],
    cautions: Sequence[str],
    merged_loss: float | None,
) -> dict[str, Json]:
    """What a person would need to repeat or judge this training."""
    train, held_out = rows
    return {
        "schema": "stepladder.training/1",
        "base": job.base,
        "base_sha256": base_fingerprint(job.folder),
        "options": asdict(job.options),
        "train_examples": len(train),
        "held_out_examples": len(held_out),
        "train_tokens_per_epoch": sum(map(len, train)),
        "answer_tokens_per_epoch": sum(len(row.answer) for row in train),
        "steps": progress.step,
        "epochs": progress.epoch,
        "ended": progress.ended,
        "best_step": progress.best_step,
        "held_out_loss": progress.best_loss,
        "held_out_loss_merged": merged_loss,
        "seconds": progress.seconds,
        "tokens": progress.tokens,
        "learning": [asdict(point) for point in progress.learning],
        "cautions": list(cautions),
        "environment": _environment(job),
    }


def _environment(job: TrainingJob) -> dict[str, Json]:
    import peft
    import torch
    import transformers

    device = _device(job.device)
    return {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "products_in": "bfloat16" if has_bfloat16(device) else "float32",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }


def _finish(folder: Path) -> None:
    (folder / "done.unfinished").write_text("", encoding="utf-8")
    os.replace(folder / "done.unfinished", folder / "done")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
