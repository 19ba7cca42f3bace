"""Which models exist, what they can do, and until when: dated data with a source, never code.

`load_catalogue` reads the file; everything else here is pure. Prices are in `cost.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

from .dated import base_of, best_fit, is_tuned, load_entries

__all__ = [
    "DAYS_PER_MONTH", "Catalogue", "Method", "ModelFacts", "TuningLimits", "load_catalogue",
    "retirement_cautions",
]  # fmt: skip

Thinking = Literal["none", "budget", "level"]
Method = Literal["supervised", "preference"]

DAYS_PER_MONTH = 365.25 / 12


@dataclass(frozen=True)
class TuningLimits:
    """What a service accepts as a tuning job on one model. None is no documented limit."""

    model: str  # provider:name, as in ModelFacts; may end in *
    methods: tuple[Method, ...]
    read_on: date
    source: str
    tokens_per_example: int | None = None
    least_rows: int | None = None
    most_rows: int | None = None
    most_multimodal_rows: int | None = None  # where any row has more than text
    most_bytes: int | None = None  # of the training file
    most_validation_rows: int | None = None
    most_validation_share: float | None = None  # of the training rows, above `validation_free_rows`
    validation_free_rows: int | None = None
    adapter_sizes: tuple[int, ...] = ()
    regions: tuple[str, ...] = ()  # where a job may run
    serving_regions: tuple[str, ...] = ()  # where the tuned model answers
    function_rows: bool = False  # rows with function calls are accepted
    own_rate: bool = True  # the learning rate is the service's own, times a multiplier at most
    schema_when_tuned: bool = True  # a tuned model may be asked with a response schema
    batch_when_tuned: bool = True
    cache_when_tuned: bool = True  # a tuned model may be asked with an explicit cache
    jobs_at_once: int | None = None  # by default; more can be asked for
    ends: date | None = None  # no new jobs from this day on
    note: str = ""


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
    cache_least_tokens: int | None = None  # an explicit cache below this is refused; None: no cache
    logprobs: bool = False
    schema: bool = True  # may be asked with a response schema
    batch: bool = False
    retires: date | None = None
    retires_not_before: date | None = None
    replacement: str = ""  # what the provider names for afterwards
    caution: str = ""  # how it may end where no day is announced, told to whoever uses it
    note: str = ""

    @property
    def may_retire(self) -> date | None:
        """The first day on which the model may be gone, as far as announced."""
        return self.retires or self.retires_not_before


@dataclass(frozen=True)
class Catalogue:
    """All dated data on models, the user's entries first. Names as in `core.Model`."""

    today: date = date.min
    models: tuple[ModelFacts, ...] = ()
    tuning: tuple[TuningLimits, ...] = ()

    def facts(self, model: str) -> ModelFacts | None:
        """What is known of a model; a tuned one (`base@tuned`) is known by its base.

        Of a tuned model the facts are those of its base less what its service does not offer for
        tuned ones: batches, explicit caches, response schemas.
        """
        base = base_of(model)
        pattern = best_fit((facts.model for facts in self.models), base)
        known = next((facts for facts in self.models if facts.model == pattern), None)
        limits = self.limits(model) if is_tuned(model) else None
        if known is None or limits is None:
            return known
        return replace(
            known,
            batch=known.batch and limits.batch_when_tuned,
            schema=known.schema and limits.schema_when_tuned,
            cache_least_tokens=known.cache_least_tokens if limits.cache_when_tuned else None,
        )

    def limits(self, model: str) -> TuningLimits | None:
        """What a tuning job on this model may be; None when it cannot be tuned, as far as known."""
        pattern = best_fit((limits.model for limits in self.tuning), base_of(model))
        return next((limits for limits in self.tuning if limits.model == pattern), None)


def load_catalogue(override: Path | None = None, *, today: date) -> Catalogue:
    """The facts that come with stepladder, with those of the user's files in their place.

    The user's are `models.toml` in the configuration folder and the file given as `override`.

    Raises:
        StepladderError: A file cannot be read, or an entry is not of the right shape; the message
            names the file and the entry.
    """
    tables = {"model": ModelFacts, "tuning": TuningLimits}
    found = load_entries("models.toml", tables, dict.fromkeys(tables, "model"), override)
    return Catalogue(today, tuple(found["model"]), tuple(found["tuning"]))


def retirement_cautions(
    models: Iterable[str], catalogue: Catalogue, months: float, today: date
) -> tuple[str, ...]:
    """A sentence for each model that retires, or may, within `months` from `today`.

    A model and what was tuned on it are one: they end together.
    """
    named = tuple(models)
    tuned = {base_of(model) for model in named if is_tuned(model)}
    told = []
    for model in dict.fromkeys(map(base_of, named)):
        facts = catalogue.facts(model)
        ending = _ending(facts, months, today) if facts is not None else None
        if facts is None or ending is None:
            continue
        with_it = "; what was tuned on it goes with it" * (model in tuned)
        after = f"; its provider names {facts.replacement} for afterwards" * bool(facts.replacement)
        told.append(f"{model!r} {ending}{with_it}{after} ({facts.source}, read on {facts.read_on})")
    return tuple(told)


def _ending(facts: ModelFacts, months: float, today: date) -> str | None:
    """How the model ends within the months, None where nothing is known to end it."""
    day = facts.may_retire
    if day is None or day > today + timedelta(days=months * DAYS_PER_MONTH):
        return f"is {facts.caution}" if facts.caution else None
    horizon = f"within the {months:g} months planned for"
    if facts.retires is None:
        return f"may retire from {day} on, {horizon}"
    return f"retired on {day}" if day <= today else f"retires on {day}, {horizon}"
