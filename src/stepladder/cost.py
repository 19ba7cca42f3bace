"""What a call and an hour cost, from dated data with a source. Unknown stays unknown, never zero.

`load_prices` reads the file; everything else here is pure. What a whole solution costs to own is
the business of `ownership.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

from .core import Hardware, Usage
from .dated import base_of, best_fit, is_tuned, load_entries

__all__ = [
    "Assumption", "Effort", "MachinePrice", "Price", "Prices", "TokenPrice", "TrainingPrice",
    "assumed", "cache_saving", "dollars", "dollars_per_hour", "load_prices", "machine_dollars",
    "price", "price_all", "stale", "token_price", "training_dollars", "training_price",
]  # fmt: skip

STALE_AFTER_DAYS = 180
PER_MILLION = 1e-6
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class TokenPrice:
    """Dollars per million tokens of one model, for inputs above a size, from a day on.

    What is left out of `cached`, `audio` and `cache_write` costs as much as other input tokens; a
    batch or a stored cache without its price is unknown.
    """

    model: str
    input: float
    output: float
    read_on: date
    source: str
    cached: float | None = None
    above_input_tokens: int = 0
    since: date = date.min
    audio: float | None = None
    batch: float | None = None  # share of the price of input and output that a batch job pays
    batch_cached: float | None = None  # in a batch job; None: as `cached`
    cache_write: float | None = None  # for a token put into a cache, beside the call's own input
    cache_hour: float | None = None  # for a million tokens kept for an hour


@dataclass(frozen=True)
class TrainingPrice:
    """Dollars per million billed tokens of a tuning job on one model, and what the result costs.

    `tuned_multiplier` times the price of the base is that of the tuned model; None is unknown.
    """

    model: str
    supervised: float
    read_on: date
    source: str
    preference: float | None = None
    tuned_multiplier: float | None = None
    note: str = ""  # where a figure is an assumption, why


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
    training: tuple[TrainingPrice, ...] = ()


@dataclass(frozen=True)
class Price:
    """Dollars, or None and the reason why they are unknown."""

    dollars: float | None
    unknown: str | None = None


_TABLES: Mapping[str, type] = {
    "tokens": TokenPrice,
    "training": TrainingPrice,
    "machine": MachinePrice,
    "effort": Effort,
    "assumption": Assumption,
}
_KEYS = {
    "tokens": "model",
    "training": "model",
    "machine": "name",
    "effort": "step",
    "assumption": "name",
}


def load_prices(override: Path | None = None, *, today: date) -> Prices:
    """The prices that come with stepladder, with those of the user's files in their place.

    The user's are `prices.toml` in the configuration folder and the file given as `override`.

    Raises:
        StepladderError: A file cannot be read, or an entry is not of the right shape; the message
            names the file and the entry.
    """
    found = load_entries("prices.toml", _TABLES, _KEYS, override)
    return Prices(
        today,
        tokens=tuple(found["tokens"]),
        machines={each.name: each for each in found["machine"]},
        effort={each.step: each for each in found["effort"]},
        assumptions={each.name: each for each in found["assumption"]},
        training=tuple(found["training"]),
    )


def dollars(usage: Usage, prices: Prices, hardware: Hardware) -> float | None:
    """What the calls cost, or None when a price or a count is missing; `price` says which."""
    return price(usage, prices, hardware).dollars


def price(usage: Usage, prices: Prices, hardware: Hardware) -> Price:
    """What the calls cost: by tokens where the model has token prices, else by machine time.

    A tuned model without a price of its own costs what its base costs, times the multiplier under
    `training`. A hosted model that is not in the table reports no `compute_seconds`, so it stays
    unknown.
    """
    tiers = _tiers(usage.model, prices)
    if tiers:
        return _by_tokens(usage, tiers, _multiplier(usage.model, prices))
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


def training_dollars(
    model: str,
    billed_tokens: float,
    prices: Prices,
    method: Literal["supervised", "preference"] = "supervised",
) -> Price:
    """What a tuning job on `model` costs; billed are the dataset's tokens times the epochs."""
    known = training_price(model, prices)
    rate = getattr(known, method, None)
    if rate is None:
        return Price(None, f"no price is known for {method} tuning of {base_of(model)!r}")
    return Price(billed_tokens * rate * PER_MILLION)


def cache_saving(
    model: str, prefix_tokens: int, calls: int, hours: float, prices: Prices
) -> float | None:
    """Dollars saved by keeping a prefix in an explicit cache for `calls` within `hours`.

    Against sending it with every call at the full price; below zero where writing and storing cost
    more. None where a price is unknown. A service's own implicit cache may save the same for free.
    """
    tiers, factor = _tiers(model, prices), _multiplier(model, prices)
    if not tiers or factor is None:
        return None
    tier = _tier(tiers, prefix_tokens)
    if tier.cached is None or tier.cache_hour is None:
        return None
    kept = _write(tier) + calls * tier.cached
    saved = (calls * tier.input - kept) * factor - hours * tier.cache_hour
    return prefix_tokens * saved * PER_MILLION


def token_price(model: str, prices: Prices) -> TokenPrice | None:
    """The price in force today for short inputs; of a tuned model's base where it has none."""
    tiers = _tiers(model, prices)
    return tiers[0] if tiers else None


def training_price(model: str, prices: Prices) -> TrainingPrice | None:
    """What tuning a model costs and does to its price, as far as known."""
    name = best_fit((each.model for each in prices.training), base_of(model))
    return next((each for each in prices.training if each.model == name), None)


def assumed(prices: Prices, models: Iterable[str]) -> tuple[str, ...]:
    """A sentence for each tuned model whose price is an assumption, with the reason."""
    told = []
    for model in sorted(filter(is_tuned, set(models))):
        known = training_price(model, prices)
        if known is None or not known.note or _own_entry(model, prices):
            continue
        told.append(
            f"what is tuned on {base_of(model)!r} is taken to cost {known.tuned_multiplier:g} "
            f"times its base: {known.note} ({known.source}, read on {known.read_on})"
        )
    return tuple(dict.fromkeys(told))


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
        return Price(
            None,
            "what an hour of this machine costs, where work is done on it, is not said: "
            "set [hardware] name or dollars_per_hour in task.toml",
        )
    machine = prices.machines.get(hardware.name)
    if machine is None:
        known = ", ".join(sorted(prices.machines)) or "none"
        return Price(None, f"no price is known for machine {hardware.name!r} (known: {known})")
    return Price(machine.dollars_per_hour)


def stale(prices: Prices, models: Iterable[str], hardware: Hardware) -> tuple[str, ...]:
    """A sentence for each price in use that was read more than 180 days ago."""
    used: list[tuple[str, TokenPrice | TrainingPrice | MachinePrice]] = [
        (model, entry) for model in sorted(set(models)) for entry in _used(model, prices)
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


def _used(model: str, prices: Prices) -> Sequence[TokenPrice | TrainingPrice]:
    training = training_price(model, prices) if is_tuned(model) else None
    return [*_tiers(model, prices), *([training] if training else [])]


def _tiers(model: str, prices: Prices) -> Sequence[TokenPrice]:
    """The entries in force today for the best fitting name, the tier for the longest input last."""
    best = _own_entry(model, prices) or best_fit(
        {entry.model for entry in prices.tokens}, base_of(model)
    )
    in_force: dict[int, TokenPrice] = {}
    for entry in sorted(prices.tokens, key=lambda entry: entry.since):
        if entry.model == best and entry.since <= prices.today:
            in_force[entry.above_input_tokens] = entry
    return [in_force[size] for size in sorted(in_force)]


def _own_entry(model: str, prices: Prices) -> str | None:
    """The entry that is about tuned models and fits this one."""
    return best_fit({entry.model for entry in prices.tokens if is_tuned(entry.model)}, model)


def _multiplier(model: str, prices: Prices) -> float | None:
    """What the base's price is multiplied by: 1 unless the price is for a tuned model's base."""
    if not is_tuned(model) or _own_entry(model, prices):
        return 1.0
    known = training_price(model, prices)
    return known.tuned_multiplier if known else None


def _tier(tiers: Sequence[TokenPrice], input_tokens: int) -> TokenPrice:
    under = [tier for tier in tiers if input_tokens > tier.above_input_tokens]
    return under[-1] if under else tiers[0]


def _write(tier: TokenPrice) -> float:
    return tier.input if tier.cache_write is None else tier.cache_write


def _by_tokens(usage: Usage, tiers: Sequence[TokenPrice], factor: float | None) -> Price:
    if usage.input_tokens is None or usage.output_tokens is None:
        return Price(None, f"{usage.model!r} did not report its tokens")
    tier = _tier(tiers, usage.input_tokens)
    if (missing := _missing(usage, tier)) is not None:
        return Price(None, missing)
    if factor is None:
        return Price(None, f"no price is known for what is tuned on {base_of(usage.model)!r}")
    share = (tier.batch or 0.0) if usage.tier == "batch" else 1.0
    fresh, cached = _input(usage, usage.input_tokens, tier, share)
    total = fresh + cached + usage.output_tokens * tier.output * share
    total += usage.cache_write_tokens * _write(tier)
    kept = usage.cache_token_hours * (tier.cache_hour or 0.0)
    return Price((total * factor + kept) * PER_MILLION)


def _missing(usage: Usage, tier: TokenPrice) -> str | None:
    """Why the dollars are unknown: what the service did not report, or the table does not have."""
    model = usage.model
    if usage.tier == "other":
        return f"{model!r} answered in a tier that is not the standard one; its price is not known"
    if tier.cached is not None and usage.cached_tokens is None:
        return f"{model!r} did not report how many tokens were cached"
    if tier.audio is not None and usage.audio_tokens is None:
        return f"{model!r} did not report how many tokens were audio"
    if usage.tier == "batch" and tier.batch is None:
        return f"no batch price is known for {model!r}"
    if usage.cache_token_hours and tier.cache_hour is None:
        return f"no price is known for keeping a cache of {model!r}"
    return None


def _input(usage: Usage, input_tokens: int, tier: TokenPrice, share: float) -> tuple[float, float]:
    """What fresh and what cached input tokens cost, in millionths of a dollar.

    Which of the audio tokens were cached is not reported: as few as can be, so that the price is
    never too low. A cached audio token costs more than another in the proportion of fresh ones, and
    nothing costs more for having been cached.
    """
    cached = min(usage.cached_tokens or 0, input_tokens) if tier.cached is not None else 0
    audio = min(usage.audio_tokens or 0, input_tokens) if tier.audio is not None else 0
    fresh_audio = min(audio, input_tokens - cached)
    cached_audio = audio - fresh_audio
    per_audio = tier.input if tier.audio is None else tier.audio
    fresh = (input_tokens - cached - fresh_audio) * tier.input + fresh_audio * per_audio
    rate = tier.cached or 0.0
    if usage.tier == "batch" and tier.batch_cached is not None:
        rate = tier.batch_cached
    dearer = per_audio / tier.input if tier.input else 1.0
    weight = cached - cached_audio + cached_audio * dearer
    return fresh * share, weight * min(rate, tier.input * share)
