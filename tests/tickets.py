"""A task folder of tickets whose words mostly give them away: for commands that need no model."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["TICKET_LABELS", "make_tickets", "ticket_rows", "write_rows"]

TICKET_LABELS = ("refund", "parcel", "login")
WORDS = {label: [f"{label[0]}{n}q" for n in range(80)] for label in TICKET_LABELS}
TASK = """
name = "tickets"
kind = "classification"
instructions = "Which label fits?"
labels = ["refund", "parcel", "login"]
models = ["local:no-such-folder"]

[metric]
name = "accuracy"

[target]
score = {score}

[data]
train = "train.jsonl"
dev = "dev.jsonl"
test = "test.jsonl"
expected = "label"

{more}
"""


def ticket_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Tickets of words that mostly belong to their label, so that more of them help."""
    chance = random.Random(seed)
    every = [word for words in WORDS.values() for word in words]
    found = []
    for number in range(count):
        label = chance.choice(TICKET_LABELS)
        text = [chance.choice(WORDS[label] if chance.random() < 0.6 else every) for _ in range(4)]
        text.append(f"n{seed}x{number}")
        found.append({"id": f"{seed}-{number}", "input": " ".join(text), "label": label})
    return found


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_tickets(folder: Path, sizes: tuple[int, int, int], *, score: float, more: str) -> Path:
    """The folder with train, dev and test of these sizes, by the seeds 1, 2 and 3."""
    folder.mkdir()
    (folder / "task.toml").write_text(TASK.format(score=score, more=more), encoding="utf-8")
    for seed, (name, count) in enumerate(zip(("train", "dev", "test"), sizes, strict=True), 1):
        write_rows(folder / f"{name}.jsonl", ticket_rows(count, seed))
    return folder
