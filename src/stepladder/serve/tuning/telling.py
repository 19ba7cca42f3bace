"""What the trainer tells of itself, as events of the job; and these events as tables.

A step is told once, also when the training goes on from an earlier checkpoint after a crash; where
it begins anew, on another machine, its steps are told again and the later word counts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from ...core import Json
from ...database.records import TuningEvent
from ...errors import StoreError
from .holding import LetGo

if TYPE_CHECKING:
    from ...database.database import Database

__all__ = ["COLUMNS", "Teller", "metrics_table", "result_csv"]

COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
PAGE = 1000


class Teller:
    """Writes events; `check` is asked before each and raises where the job is to end."""

    def __init__(self, database: Database, job: str, check: Callable[[], None]) -> None:
        self._database = database
        self._job = job
        self._check = check
        self._told = 0  # the last step that needs no telling

    def __call__(self, event: str, fields: Mapping[str, Json]) -> None:
        """What a trainer calls."""
        try:
            self._check()
            if fields.get("resumed"):
                self._resumed(int(fields["step"]))
            elif "train_loss" in fields and fields["step"] > self._told:
                self._step(fields)
        except StoreError as error:  # of the database; the trainer's own mean something else
            raise LetGo from error

    def say(self, message: str, **data: Json) -> None:
        """Tell something in words."""
        self._database.add_event(self._job, "info", message, data)

    def warn(self, message: str) -> None:
        """Tell something that whoever asked for the job should know."""
        self._database.add_event(self._job, "warn", message)

    def _resumed(self, step: int) -> None:
        self._told = max(metrics_table(self._database, self._job), default=0)
        self.say(f"Training goes on from its checkpoint at step {step}")

    def _step(self, fields: Mapping[str, Json]) -> None:
        step, steps = int(fields["step"]), int(fields["steps"])
        if step == 1 and metrics_table(self._database, self._job):
            self.say("Training begins anew", anew=True)
        data = {
            "step": step,
            "total_steps": steps,
            "train_loss": _rounded(fields["train_loss"]),
            "train_mean_token_accuracy": _rounded(fields["train_accuracy"]),
        }
        words = f"Step {step}/{steps}: training loss={fields['train_loss']:.2f}"
        if fields.get("held_out_accuracy") is not None:
            loss, accuracy = (
                _rounded(fields["held_out_loss"]),
                _rounded(fields["held_out_accuracy"]),
            )
            data |= {
                "valid_loss": loss,
                "valid_mean_token_accuracy": accuracy,
                "full_valid_loss": loss,
                "full_valid_mean_token_accuracy": accuracy,
            }
            words += f", full validation loss={fields['held_out_loss']:.2f}"
        self._database.add_event(self._job, "info", words, data)
        self._told = step


def metrics_table(database: Database, job: str) -> dict[int, Mapping[str, Json]]:
    """The metrics of each step, by step, since the training last began anew."""
    table: dict[int, Mapping[str, Json]] = {}
    for event in _events(database, job):
        if event.data.get("anew"):
            table.clear()
        elif "train_loss" in event.data:
            table[int(event.data["step"])] = event.data
    return table


def result_csv(table: Mapping[int, Mapping[str, Json]]) -> bytes:
    """The file of results: a line per step, empty where nothing was measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for step, data in table.items():
        keys = ("train_loss", "train_mean_token_accuracy", *COLUMNS[3:])
        writer.writerow([step, *(data.get(key, "") for key in keys)])
    return text.getvalue().encode()


def _events(database: Database, job: str) -> Iterator[TuningEvent]:
    after = 0
    while page := database.events(job, after=after, limit=PAGE):
        yield from page
        after = page[-1].number


def _rounded(value: float) -> float:
    return round(value, 6)
