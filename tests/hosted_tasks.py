"""A slice of the customer-intents example with hosted models, for climbs of the test service."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["BUCKET", "EXAMPLE", "make_hosted_task"]

EXAMPLE = Path(__file__).parents[1] / "examples" / "customer-intents"
BUCKET = "rows-of-tests"
MODELS = ("gemini:gemini-3.1-flash-lite", "gemini:gemini-3.8-flash", "vertex:gemini-3.1-flash-lite")


def make_hosted_task(
    folder: Path,
    *,
    labels: int = 12,
    score: float = 0.85,
    models: tuple[str, ...] = MODELS,
    calls: str = "",
    more: str = "",
) -> Path:
    """The rows of every so-manieth label, so that some are hard to tell apart and some are not.

    `calls` are options of each provider, `more` is the end of the task file.
    """
    folder.mkdir(parents=True)
    everything = json.loads((EXAMPLE / "labels.json").read_text(encoding="utf-8"))
    chosen = everything[:: max(1, len(everything) // labels)][:labels]
    for name in ("train", "dev", "test"):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for line in (EXAMPLE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
                if json.loads(line)["output"] in chosen:
                    file.write(line + "\n")
    (folder / "labels.json").write_text(json.dumps(chosen), encoding="utf-8")
    (folder / "task.toml").write_text(
        f"""name = "customer-intents"
kind = "classification"
instructions = "Sort the customer's message to the bank by what the customer wants."
models = {json.dumps(models)}
metric = "accuracy"
labels_file = "labels.json"

[target]
score = {score}

[economics]
requests_per_month = 50_000

[data]
train = "train.jsonl"
dev = "dev.jsonl"
test = "test.jsonl"
input = "input"
expected = "output"
id = "id"

[providers.gemini]
{calls}

[providers.openai]
{calls}

[providers.vertex]
bucket = "{BUCKET}"
location = "us-central1"
{calls}

{more}""",
        encoding="utf-8",
    )
    return folder
