"""Which models exist, what they can do, and until when: dated data with a source, never code.

`load_catalogue` reads the file; everything else here is pure. Prices are in `cost.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

__all__ = ["Catalogue", "ModelFacts", "TuningLimits", "load_catalogue"]

Thinking = Literal["none", "budget", "level"]


@dataclass(frozen=True)
class TuningLimits:
    """What a service accepts as a tuning job on one model. None is no documented limit."""

    model: str  # provider:name, as in ModelFacts; may end in *
    methods: tuple[Literal["supervised", "preference"], ...]
    read_on: date
    source: str
    tokens_per_example: int | None = None
    least_rows: int | None = None
    most_rows: int | None = None
    most_bytes: int | None = None  # of the training file
    most_validation_rows: int | None = None
    most_validation_share: float | None = None  # of the training rows, above `validation_free_rows`
    validation_free_rows: int | None = None
    adapter_sizes: tuple[int, ...] = ()
    regions: tuple[str, ...] = ()  # where a job may run
    serving_regions: tuple[str, ...] = ()  # where the tuned model answers
    function_rows: bool = False  # rows with function calls are accepted
    schema_when_tuned: bool = True  # a tuned model may be asked with a response schema
    batch_when_tuned: bool = True
    ends: date | None = None  # no new jobs from this day on


@dataclass(frozen=True)
class ModelFacts:
    """One model of one provider. None is unknown."""

    model: str  # provider:name; may end in *
    read_on: date
    source: str
    context_tokens: int | None = None
    output_tokens: int | None = None
    inputs: tuple[str, ...] = ("text",)
    thinking: Thinking = "none"
    least_thinking: str | int | None = None  # what "as little as it can" is: a budget or a level
    cache_least_tokens: int | None = None  # an explicit cache below this is refused
    logprobs: bool = False
    batch: bool = False
    retires: date | None = None
    retires_not_before: date | None = None
    note: str = ""


def load_catalogue(override: Path | None = None, *, today: date) -> Catalogue:
    """The facts that come with stepladder, with those of the user's file in their place."""
    return Catalogue(today=today)


@dataclass(frozen=True)
class Catalogue:
    """All dated data on models, the user's entries first. Names as in `core.Model`."""

    today: date = date.min
    models: tuple[ModelFacts, ...] = ()
    tuning: tuple[TuningLimits, ...] = ()

    def facts(self, model: str) -> ModelFacts | None:
        """What is known of a model; a tuned one (`base@tuned`) is known by its base."""
        raise NotImplementedError

    def limits(self, model: str) -> TuningLimits | None:
        """What a tuning job on this model may be; None when it cannot be tuned, as far as known."""
        raise NotImplementedError
