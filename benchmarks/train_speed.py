"""Tokens a second of fine-tuning on this CPU against TRL's SFTTrainer: same model, rows and loss.

SmolLM2-135M on rows of the pharmacovigilance example, whose lengths differ as real ones do; LoRA of
rank 16 and all weights; eight rows an update and the loss on the answer alone in both. TRL is
measured as it comes, which computes activations twice, and with that turned off. Tokens are counted
once, without padding. Each tuned model's loss on the same held-out rows is taken by one function,
in float32: the speeds only count if those agree. TRL is installed into an environment beside the
cache, which sees this one's packages.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environment import finish, parser, where

from stepladder.core import Message
from stepladder.models.local.weights import base_folder, cache_folder
from stepladder.trainers import TrainingJob, TrainingOptions
from stepladder.trainers.local import LocalTrainer

TRL = ("trl==1.16.0", "datasets==5.2.0")
EXAMPLE = Path(__file__).parents[1] / "examples" / "pharmacovigilance" / "train.jsonl"
MODEL = "smollm2-135m-instruct"
RATES = {"lora": 1e-3, "full": 1e-4}
RANK = 16
ROWS_PER_BATCH = 8
SHOWN = 8  # of a failing run's last lines

Row = tuple[str, str]


@dataclass(frozen=True)
class Sides:
    """Where both sides of a method run: a folder, TRL's python, and threads."""

    method: str
    folder: Path
    python: Path
    threads: int


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, default=EXAMPLE, help="lines of input and output")
    options.add_argument("--rows", type=int, default=120)
    options.add_argument("--held-out", type=int, default=48)
    options.add_argument("--methods", default="lora,full")
    options.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--quick", action="store_true", help="leave out TRL as it comes")
    chosen = options.parse_args()
    place = where()
    rows = read(chosen.data, chosen.rows + chosen.held_out)
    train, held_out = rows[: chosen.rows], rows[chosen.rows :]
    python = environment()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in chosen.methods.split(","):
            sides = Sides(method, Path(folder), python, chosen.threads)
            found[method] = compared(sides, train, held_out, chosen.quick)
    result = {
        **place,
        "model": MODEL,
        "threads": chosen.threads,
        "rows": len(train),
        "held_out": len(held_out),
        **found,
    }
    finish("train_speed", result, write=chosen.write)


def read(path: Path, count: int) -> list[Row]:
    """The first rows of a file as text and answer."""
    lines = path.read_text(encoding="utf-8").splitlines()[:count]
    rows = [json.loads(line) for line in lines]
    answers = [row.get("output", row.get("expected")) for row in rows]
    return [
        (row["input"], answer if isinstance(answer, str) else json.dumps(answer))
        for row, answer in zip(rows, answers, strict=True)
    ]


def compared(at: Sides, train: list[Row], held_out: list[Row], quick: bool) -> dict[str, Any]:
    """Both sides by one method: seconds, tokens a second, held-out loss, and how many times."""
    sides = {"stepladder": ours(at, train)}
    tokens = sides["stepladder"].pop("tokens")
    names = {"trl": False} if quick else {"trl": False, "trl_as_it_comes": True}
    for name, checkpointing in names.items():
        sides[name] = theirs(at, name, {"rows": train, "checkpointing": checkpointing})
    for side in sides.values():
        side["tokens_per_second"] = round(tokens / side["seconds"], 1)
        side["held_out_loss"] = round(loss_of(Path(side.pop("model")), held_out), 4)
        side["seconds"] = round(side["seconds"], 2)
    speed = sides["stepladder"]["tokens_per_second"]
    ratios = {f"times_{name}": round(speed / sides[name]["tokens_per_second"], 2) for name in names}
    before = round(loss_of(base_folder(MODEL), held_out), 4)
    return {"tokens": tokens, "held_out_loss_before": before, **ratios, **sides}


def ours(at: Sides, rows: list[Row]) -> dict[str, Any]:
    """One epoch by the product's own trainer, in a process of its own."""
    folder = at.folder / f"ours-{at.method}"
    code = "import sys, train_speed; train_speed.train_ours(*sys.argv[1:])"
    run = folder.with_suffix(".json")
    run.write_text(json.dumps(rows), encoding="utf-8")
    return said_by([sys.executable, "-c", code, at.method, str(run), str(folder), str(at.threads)])


def train_ours(method: str, run: str, folder: str, threads: str) -> None:
    rows = json.loads(Path(run).read_text(encoding="utf-8"))
    conversations = tuple(((Message("user", asked),), answer) for asked, answer in rows)
    base = base_folder(MODEL)
    from stepladder.models.local.tokenizer import load_tokenizer
    from stepladder.steps.fine_tune_choices import batch_for
    from stepladder.trainers.batches import encode

    lengths = [len(row) for row in encode(conversations, load_tokenizer(base), 1024)[0]]
    options = TrainingOptions(
        method=method,  # type: ignore[arg-type]
        rank=RANK,
        alpha=2 * RANK,
        learning_rate=RATES[method],
        epochs=1.0,
        tokens_per_batch=batch_for(sum(lengths) / len(lengths)),
        rows_per_batch=ROWS_PER_BATCH,  # as many updates as on the other side
        to_the_end=True,
    )
    job = TrainingJob(
        f"local:{MODEL}", base, conversations, (), options, threads=int(threads), device="cpu"
    )
    trained = LocalTrainer().train(job, Path(folder), lambda event, fields: None)
    facts = {"seconds": trained.seconds, "steps": trained.facts["steps"]}
    print(json.dumps({**facts, "tokens": trained.tokens, "model": str(trained.folder / "model")}))


def theirs(at: Sides, name: str, run: dict[str, Any]) -> dict[str, Any]:
    """One epoch by TRL."""
    steps = math.ceil(len(run["rows"]) / ROWS_PER_BATCH)
    folder = at.folder / f"{name}-{at.method}"
    whole = {
        **run,
        "method": at.method,
        "folder": str(folder),
        "base": str(base_folder(MODEL)),
        "rank": RANK,
        "epochs": 1,
        "rows_per_batch": ROWS_PER_BATCH,
        "learning_rate": RATES[at.method],
        "warm_up_steps": max(1, round(0.05 * steps)),
        "threads": at.threads,
    }
    file = folder.with_suffix(".json")
    file.write_text(json.dumps(whole), encoding="utf-8")
    script = Path(__file__).with_name("train_speed_trl.py")
    return {**said_by([str(at.python), str(script), str(file)]), "model": str(folder)}


def said_by(command: list[str]) -> dict[str, Any]:
    """The JSON on the last line of what a process prints."""
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-SHOWN:])
        raise SystemExit(f"{' '.join(command[:2])} failed:\n{last}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def loss_of(folder: Path, rows: list[Row]) -> float:
    """Nats per answer token of a model in a folder, in float32; its tokenizer is the base's."""
    import torch
    from transformers import AutoModelForCausalLM

    from stepladder.models.local.tokenizer import load_tokenizer
    from stepladder.trainers.batches import encode

    conversations = [((Message("user", asked),), answer) for asked, answer in rows]
    encoded, _ = encode(conversations, load_tokenizer(base_folder(MODEL)), 1024)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for row in encoded:
            ids = torch.tensor([row.prompt + row.answer])
            logits = model(ids).logits[0, len(row.prompt) - 1 : -1]
            goal = torch.tensor(row.answer)
            total += float(torch.nn.functional.cross_entropy(logits, goal, reduction="sum"))
            count += len(row.answer)
    return total / count


def environment() -> Path:
    """The python of an environment with TRL, made once, that also sees this one's packages."""
    folder = cache_folder() / "benchmarks" / "-".join(TRL)
    python = folder / "bin" / "python"
    if (folder / "made").exists():
        return python
    venv.create(folder, with_pip=True, clear=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    outer = folder / "lib" / version / "site-packages" / "outer.pth"
    outer.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *TRL], check=True)
    (folder / "made").write_text("", encoding="utf-8")
    return python


if __name__ == "__main__":
    main()
