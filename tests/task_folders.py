"""Small task folders with a tiny real model, which climb in seconds."""

from __future__ import annotations

import json
import random
from pathlib import Path

__all__ = ["COLOURS", "make_climbing_model", "make_task_folder"]

COLOURS = ("red", "blue")
WORDS = (
    "amber barn cedar delta ember fjord grove harbor island jungle kettle lantern meadow needle "
    "orchard pebble quarry ribbon saddle timber umbrella valley willow yarrow zephyr anchor basket "
    "candle donkey engine falcon garden hammer insect jacket kitten ladder magnet napkin oyster"
)


def make_climbing_model(folder: Path) -> Path:
    """A tiny random Llama that reads 4,096 tokens, so that a prompt with its labels fits."""
    from trainers.tiny import make_model

    make_model(folder)
    path = folder / "tokenizer_config.json"
    settings = {**json.loads(path.read_text(encoding="utf-8")), "model_max_length": 4096}
    path.write_text(json.dumps(settings), encoding="utf-8")
    return folder


def make_task_folder(
    folder: Path,
    model: str,
    *,
    rows: int = 150,
    easy: bool = False,
    score: float = 0.8,
    more: str = '[steps.prompt]\nsearch = "none"\n',
) -> Path:
    """Messages sorted by colour; unless `easy`, the colour is drawn by lot and cannot be known."""
    folder.mkdir(parents=True)
    words = WORDS.split()
    draw = random.Random(7)
    with (folder / "examples.jsonl").open("w", encoding="utf-8") as file:
        for number in range(rows):
            colour = draw.choice(COLOURS)
            said = [*draw.sample(words, 9), *([f"paint it {colour}"] if easy else [])]
            row = {"id": f"r{number:03}", "input": " ".join(said), "expected": colour}
            file.write(json.dumps(row) + "\n")
    (folder / "task.toml").write_text(
        f"""name = "colours"
kind = "classification"
instructions = "Which colour is it?"
model = "{model}"
metric = "accuracy"
labels = ["red", "blue"]
max_output_tokens = 4

[target]
score = {score}

[data]
examples = "examples.jsonl"
id = "id"
fractions = [0.4, 0.2, 0.4]

[economics]
requests_per_month = 1000

{more}""",
        encoding="utf-8",
    )
    return folder
