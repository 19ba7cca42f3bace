"""What a call and an hour cost, from dated data with a source. Unknown stays unknown, never zero.

`load_prices` reads the file; everything else here is pure. What a whole solution costs to own is
the business of `ownership.py`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

from .core import Hardware, Usage
from .errors import StepladderError

__all__ = [
    "Assumption", "Effort", "MachinePrice", "Price", "Prices", "TokenPrice", "dollars",
    "dollars_per_hour", "load_prices", "machine_dollars", "price", "price_all", "stale",
]  # fmt: skip

STALE_AFTER_DAYS = 180
PER_MILLION = 1e-6
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class TokenPrice:
    """Dollars per million tokens of one model, for inputs above a size, from a day on."""

    model: str
    input: float
    output: float
    read_on: date
    source: str
    cached: float | None = None
    above_input_tokens: int = 0
    since: date = date.min


@dataclass(frozen=True)
class MachinePrice:
    """Dollars per hour of one machine."""

    name: str
    dollars_per_hour: float
    about: str
    read_on: date
    source: str


@dataclass(frozen=True)
class Effort:
    """Hours of an engineer that a kind of step takes: an assumption, not a measurement."""

    step: str
    build_hours: float
    rebuild_hours: float
    hours_per_month: float
    read_on: date
    source: str


@dataclass(frozen=True)
class Assumption:
    """The 90 % range of a quantity that nobody knows yet."""

    name: str
    low: float
    high: float
    about: str
    read_on: date
    source: str

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise ValueError("`low` must be above zero and no more than `high`")


@dataclass(frozen=True)
class Prices:
    """All dated data, as it applies on `today`."""

    today: date
    tokens: tuple[TokenPrice, ...] = ()
    machines: Mapping[str, MachinePrice] = field(default_factory=dict)
    effort: Mapping[str, Effort] = field(default_factory=dict)
    assumptions: Mapping[str, Assumption] = field(default_factory=dict)


@dataclass(frozen=True)
class Price:
    """Dollars, or None and the reason why they are unknown."""

    dollars: float | None
    unknown: str | None = None


def load_prices(override: Path | None = None, *, today: date) -> Prices:
    """The prices that come with stepladder, with those of the user's file in their place.

    Raises:
        StepladderError: The file cannot be read, or an entry is not of the right shape; the message
            names the file and the entry.
    """
    built_in = files("stepladder").joinpath("prices.toml").read_text(encoding="utf-8")
    prices = _merged(Prices(today), _parsed(built_in, "prices.toml"))
    if override is None:
        return prices
    try:
        text = override.read_text(encoding="utf-8")
    except OSError as error:
        raise StepladderError(
            f"price file {str(override)!r} cannot be read: {error.strerror}", hint="check the path"
        ) from error
    return _merged(prices, _parsed(text, str(override)))


def dollars(usage: Usage, prices: Prices, hardware: Hardware) -> float | None:
    """What the calls cost, or None when a price or a count is missing; `price` says which."""
    return price(usage, prices, hardware).dollars


def price(usage: Usage, prices: Prices, hardware: Hardware) -> Price:
    """What the calls cost: by tokens where the model has token prices, else by machine time.

    A hosted model that is not in the table reports no `compute_seconds`, so it stays unknown.
    """
    tiers = _tiers(usage.model, prices)
    if tiers:
        return _by_tokens(usage, tiers)
    if usage.compute_seconds is None:
        return Price(None, f"no token price is known for {usage.model!r}")
    return machine_dollars(usage.compute_seconds, hardware, prices)


def price_all(usages: Iterable[Usage], prices: Prices, hardware: Hardware) -> Price:
    """What several calls cost together; unknown when one is, or when there are none to go by."""
    total, calls = 0.0, 0
    for usage in usages:
        one = price(usage, prices, hardware)
        if one.dollars is None:
            return one
        total, calls = total + one.dollars, calls + 1
    return Price(total) if calls else Price(None, "the solver reported no usage")


def machine_dollars(seconds: float, hardware: Hardware, prices: Prices) -> Price:
    """What `seconds` of the task's machine cost."""
    rate = dollars_per_hour(hardware, prices)
    if rate.dollars is None:
        return rate
    return Price(seconds / SECONDS_PER_HOUR * rate.dollars)


def dollars_per_hour(hardware: Hardware, prices: Prices) -> Price:
    """What an hour of the task's machine costs: the task's own figure, else the table's."""
    if hardware.dollars_per_hour is not None:
        return Price(hardware.dollars_per_hour)
    if hardware.name is None:
        return Price(None, "no machine is named: set hardware.name or hardware.dollars_per_hour")
    machine = prices.machines.get(hardware.name)
    if machine is None:
        known = ", ".join(sorted(prices.machines)) or "none"
        return Price(None, f"no price is known for machine {hardware.name!r} (known: {known})")
    return Price(machine.dollars_per_hour)


def stale(prices: Prices, models: Iterable[str], hardware: Hardware) -> tuple[str, ...]:
    """A sentence for each price in use that was read more than 180 days ago."""
    used: list[tuple[str, TokenPrice | MachinePrice]] = [
        (model, entry) for model in sorted(set(models)) for entry in _tiers(model, prices)
    ]
    machine = prices.machines.get(hardware.name or "")
    if hardware.dollars_per_hour is None and machine is not None:
        used.append((machine.name, machine))
    told = (
        f"the price of {name!r} was read on {entry.read_on}, {days} days ago ({entry.source})"
        for name, entry in used
        if (days := (prices.today - entry.read_on).days) > STALE_AFTER_DAYS
    )
    return tuple(dict.fromkeys(told))


def _tiers(model: str, prices: Prices) -> Sequence[TokenPrice]:
    """The entries in force today for the best fitting name, the tier for the longest input last."""
    names = {entry.model for entry in prices.tokens if _fits(entry.model, model)}
    if not names:
        return ()
    best = max(names, key=lambda name: (not name.endswith("*"), len(name)))
    in_force: dict[int, TokenPrice] = {}
    for entry in sorted(prices.tokens, key=lambda entry: entry.since):
        if entry.model == best and entry.since <= prices.today:
            in_force[entry.above_input_tokens] = entry
    return [in_force[size] for size in sorted(in_force)]


def _fits(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


def _by_tokens(usage: Usage, tiers: Sequence[TokenPrice]) -> Price:
    if usage.input_tokens is None or usage.output_tokens is None:
        return Price(None, f"{usage.model!r} did not report its tokens")
    under = [tier for tier in tiers if usage.input_tokens > tier.above_input_tokens]
    tier = under[-1] if under else tiers[0]
    cached = 0
    if tier.cached is not None:
        if usage.cached_tokens is None:
            return Price(None, f"{usage.model!r} did not report how many tokens were cached")
        cached = usage.cached_tokens
    fresh = usage.input_tokens - cached
    total = fresh * tier.input + cached * (tier.cached or 0.0) + usage.output_tokens * tier.output
    return Price(total * PER_MILLION)


_TABLES: Mapping[str, type] = {
    "tokens": TokenPrice,
    "machine": MachinePrice,
    "effort": Effort,
    "assumption": Assumption,
}


def _parsed(text: str, name: str) -> Mapping[str, Sequence[Any]]:
    """The entries of each table, checked."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StepladderError(f"{name}: {error}", hint="correct the TOML") from error
    if unknown := sorted(set(content) - set(_TABLES)):
        raise StepladderError(
            f"{name}: unknown table {', '.join(map(repr, unknown))}",
            hint=f"known, as [[name]]: {', '.join(_TABLES)}",
        )
    return {
        table: [
            _entry(raw, kind, f"{name}: {table}[{index}]")
            for index, raw in enumerate(content.get(table, ()), 1)
        ]
        for table, kind in _TABLES.items()
    }


def _entry(raw: Mapping[str, Any], kind: type, place: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    hint = "every entry needs its figures, `read_on` (a date) and `source`, and nothing else"
    try:
        entry: Any = TypeAdapter(kind).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = "".join(f".{part}" for part in first["loc"])
        raise StepladderError(f"{place}{key}: {first['msg']}", hint=hint) from error
    for key, value in raw.items():
        if key not in vars(entry):
            raise StepladderError(f"{place}.{key}: not a known key", hint=hint)
        if isinstance(value, float | int) and value < 0:
            raise StepladderError(f"{place}.{key}: {value} is below zero", hint=hint)
    return entry


def _merged(prices: Prices, more: Mapping[str, Sequence[Any]]) -> Prices:
    replaced = {entry.model for entry in more["tokens"]}
    kept = tuple(entry for entry in prices.tokens if entry.model not in replaced)
    return replace(
        prices,
        tokens=(*kept, *more["tokens"]),
        machines={**prices.machines, **{each.name: each for each in more["machine"]}},
        effort={**prices.effort, **{each.step: each for each in more["effort"]}},
        assumptions={**prices.assumptions, **{each.name: each for each in more["assumption"]}},
    )
