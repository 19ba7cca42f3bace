"""Which models can be named in task.toml: one dated table of abilities, prices and ends.

What is not known is a dash here and null in the record. Nothing is asked of any service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import groupby
from shutil import get_terminal_size
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..catalogue import Catalogue, ModelFacts, TuningLimits
from ..core import Json
from ..cost import STALE_AFTER_DAYS, Prices, TokenPrice, TrainingPrice, token_price, training_price
from ..errors import StepladderError
from ..models.local.weights import EMBEDDED
from .terminal import as_text

__all__ = ["chosen", "models_record", "models_text"]

Row = dict[str, Json]
SNAPSHOT = re.compile(r"-20\d\d\*$")
KEYS = (
    "model", "provider", "name", "licence", "runs", "input_dollars_per_million",
    "output_dollars_per_million", "cached_dollars_per_million", "batch_share",
    "training_dollars_per_million", "preference_dollars_per_million", "tuned_multiplier", "tunable",
    "tuning_ends", "context_tokens", "output_tokens", "inputs", "retires", "retires_not_before",
    "replacement", "read_on", "stale", "sources", "notes",
)  # fmt: skip
COLUMNS = (
    "model", "in", "out", "cached", "training", "tuned", "tunable", "context", "retires", "read on",
)  # fmt: skip
SPARED = ("cached", "context", "tuned")
WIDE = 100
PROVIDERS = ("local", "gemini", "vertex", "openai")  # first; others follow by name
NOTES = (
    "Dollars per million tokens. training: per million billed tokens, the dataset's times the "
    "epochs. tuned: price of a tuned model over that of its base. both: supervised and preference.",
    f"+ not before that day.  ! read more than {STALE_AFTER_DAYS} days ago.  * every name that "
    "begins so.",
    "local: also takes a folder in Hugging Face layout, or a model-hub id.",
)


def models_record(prices: Prices, catalogue: Catalogue) -> list[Row]:
    """Every model that has a price, facts or tuning, the embedded ones first."""
    local = [_local(name, package.licence) for name, package in EMBEDDED.items()]
    return local + [_hosted(name, prices, catalogue) for name in _names(prices, catalogue)]


def chosen(record: Iterable[Row], provider: str | None, tunable: bool) -> list[Row]:
    """The rows of one provider, or of those that can be tuned today.

    Raises:
        StepladderError: There is no such provider; the hint names those there are.
    """
    rows = list(record)
    known = list(dict.fromkeys(row["provider"] for row in rows))
    if provider is not None and provider not in known:
        raise StepladderError(
            f"no models of {provider!r} are known", hint=f"known: {', '.join(known)}"
        )
    return [
        row
        for row in rows
        if provider in (None, row["provider"]) and (row["tunable"] or not tunable)
    ]


def models_text(record: Sequence[Row], *, width: int | None = None) -> str:
    """The table, a section for each provider, with what its marks mean.

    Where there is no room for a hundred columns, what can be spared is left out.
    """
    if not record:
        return "no model fits\n"
    room = width or get_terminal_size((WIDE, 24)).columns
    shown = [place for place, name in enumerate(COLUMNS) if room >= WIDE or name not in SPARED]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for place in shown:
        table.add_column(COLUMNS[place], **_layout(COLUMNS[place]))
    for provider, rows in groupby(record, key=lambda row: row["provider"]):
        table.add_row(Text(f"{provider}:", style="bold"))
        for row in rows:
            cells = list(_cells(row))
            table.add_row(*(Text(cells[place]) for place in shown))
    parts: list[RenderableType] = [table, Text(), *map(Text, NOTES)]
    return as_text(parts, width)


# --- the record ---------------------------------------------------------------------------------


def _names(prices: Prices, catalogue: Catalogue) -> list[str]:
    """Each model once; a snapshot by year only where it can be tuned and the plain name cannot."""
    tables = (catalogue.models, prices.tokens, catalogue.tuning)
    listed = dict.fromkeys(each.model for table in tables for each in table)

    def shown(name: str) -> bool:
        plain = SNAPSHOT.sub("", name)
        if plain == name or plain not in listed:
            return True
        return catalogue.limits(plain) is None and catalogue.limits(name) is not None

    def place(name: str) -> tuple[int, str]:
        provider = name.partition(":")[0]
        known = provider in PROVIDERS
        return (PROVIDERS.index(provider), "") if known else (len(PROVIDERS), provider)

    return sorted(filter(shown, listed), key=place)


def _local(name: str, licence: str) -> Row:
    return {**_blank(f"local:{name}"), "licence": licence, "runs": "on this machine, by the hour"}


def _hosted(name: str, prices: Prices, catalogue: Catalogue) -> Row:
    facts, limits = catalogue.facts(name), catalogue.limits(name)
    price = token_price(name, prices)
    training = training_price(name, prices) if limits else None
    used = [each for each in (facts, limits, price, training) if each is not None]
    oldest = min(each.read_on for each in used)
    notes = (each.note for each in (facts, limits, training) if each is not None and each.note)
    return {
        **_blank(name),
        "runs": "hosted",
        **(_price(price) if price else {}),
        **(_training(training) if training else {}),
        **(_facts(facts) if facts else {}),
        **(_tuning(limits, catalogue.today) if limits else {}),
        "read_on": oldest.isoformat(),
        "stale": (catalogue.today - oldest).days > STALE_AFTER_DAYS,
        "sources": list(dict.fromkeys(each.source for each in used)),
        "notes": list(dict.fromkeys(notes)),
    }


def _blank(name: str) -> Row:
    """Every key of a row, so that each row has the same."""
    provider, _, rest = name.partition(":")
    row = dict.fromkeys(KEYS)
    return {
        **row,
        "model": name,
        "provider": provider,
        "name": rest,
        "tunable": [],
        "stale": False,
        "sources": [],
        "notes": [],
    }


def _price(price: TokenPrice) -> Row:
    return {
        "input_dollars_per_million": price.input,
        "output_dollars_per_million": price.output,
        "cached_dollars_per_million": price.cached,
        "batch_share": price.batch,
    }


def _training(training: TrainingPrice) -> Row:
    return {
        "training_dollars_per_million": training.supervised,
        "preference_dollars_per_million": training.preference,
        "tuned_multiplier": training.tuned_multiplier,
    }


def _facts(facts: ModelFacts) -> Row:
    return {
        "context_tokens": facts.context_tokens,
        "output_tokens": facts.output_tokens,
        "inputs": list(facts.inputs),
        "retires": _iso(facts.retires),
        "retires_not_before": _iso(facts.retires_not_before),
        "replacement": facts.replacement or None,
    }


def _tuning(limits: TuningLimits, today: date) -> Row:
    ended = limits.ends is not None and limits.ends <= today
    return {"tunable": [] if ended else list(limits.methods), "tuning_ends": _iso(limits.ends)}


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None


# --- the table ----------------------------------------------------------------------------------


def _layout(column: str) -> dict[str, Any]:
    if column == "model":
        return {"overflow": "fold"}
    if column == "tunable":
        return {"overflow": "fold", "max_width": 10}
    return {"justify": "right", "no_wrap": True}


def _cells(row: Row) -> Iterator[str]:
    yield f" {row['name']}"
    for key in ("input", "output", "cached", "training"):
        yield _number(row[f"{key}_dollars_per_million"])
    yield _number(row["tuned_multiplier"], "x")
    yield _tunable(row)
    context = row["context_tokens"]
    yield "-" if context is None else f"{context / 1000:.0f}k"
    later = row["retires_not_before"]
    yield row["retires"] or (f"{later}+" if later else "-")
    yield "-" if row["read_on"] is None else f"{row['read_on']}{'!' if row['stale'] else ''}"


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{unit}{value:g}"


def _tunable(row: Row) -> str:
    methods, ends = row["tunable"], row["tuning_ends"]
    if not methods:
        return "ended" if ends else "-"
    what = "both" if len(methods) > 1 else methods[0]
    return f"{what} until {ends}" if ends else what
