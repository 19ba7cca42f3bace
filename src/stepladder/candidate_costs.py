"""What drives one candidate's costs, and what they come to under given circumstances.

    costs_of ...... what drives a candidate's costs, out of its trial
    world_at ...... volume, prices, hours and life, at medians or at given quantiles
    monthly ....... dollars per month in each of the world's draws
    cost_curve, break_even ... the same over volume

Pure arithmetic. An unknown price is NaN here and makes everything that rests on it NaN; it becomes
None in `ownership.py`, which draws the circumstances and compares candidates.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .catalogue import DAYS_PER_MONTH, Catalogue
from .core import Confirmation, Economics, Row, Task, Trial
from .cost import SECONDS_PER_HOUR, Prices, cache_saving, dollars_per_hour, machine_dollars
from .dated import is_tuned
from .errors import StepladderError

__all__ = [
    "DRIVERS", "HOURS_PER_MONTH", "NOTHING_KNOWN", "Z90", "Costs", "Floats", "KeptPrefix",
    "Monthly", "World", "break_even", "cost_curve", "costs_of", "kept_saving", "machines_for",
    "monthly", "or_nan", "or_none", "world_at",
]  # fmt: skip

Floats = NDArray[np.float64]

HOURS_PER_MONTH = 730.0
MOST_REQUESTS = 1e9  # per month: where the search for a break-even ends
NEGLIGIBLE = 0.01  # of a request's machine cost: a smaller rest is rounding, not a provider's bill
Z90 = NormalDist().inv_cdf(0.95)
NAN = math.nan
NOTHING_KNOWN = Catalogue()

DRIVERS: Mapping[str, str] = {  # the assumptions of the price file, in words
    "volume_factor": "requests per month",
    "price_factor_per_year": "prices",
    "hours_factor": "engineer hours",
    "life_months": "months until a rebuild",
    "busy_share": "machine utilisation",
    "relabelled_share": "labels made anew",
}


@dataclass(frozen=True)
class KeptPrefix:
    """A prefix of so many tokens: what keeping it costs a month, and what it saves a request."""

    tokens: int
    saved_dollars: float  # a mean over all requests, those that do not read it included
    dollars_per_month: float


@dataclass(frozen=True)
class Costs:
    """What drives one candidate's costs. NaN is unknown.

    `token_dollars` is paid per request to a provider; `busy_seconds` per request keep a machine of
    `machine_dollars_per_hour` busy. `build_dollars` is for calls and training; labels and hours are
    apart. `answers` is how many right/wrong answers the score rests on, 0 for another scale.
    `retires_in_months` is when the `model` may be gone, as announced; infinite where it is not.
    `token_dollars` is without a prefix kept for a price; `kept` are those that could be.
    """

    step: str
    name: str
    build_dollars: float
    label_dollars: float
    build_hours: float
    rebuild_hours: float
    hours_per_month: float
    token_dollars: float
    busy_seconds: float
    machine_dollars_per_hour: float
    evaluation_requests: float
    score: float
    score_deviation: float
    answers: float
    model: str | None = None
    retires_in_months: float = math.inf
    kept: tuple[KeptPrefix, ...] = ()


@dataclass(frozen=True)
class World:
    """The circumstances that all candidates share: one value per draw."""

    requests_per_month: Floats
    price_factor: Floats  # mean over the horizon, against today
    hours_factor: Floats
    life_months: Floats
    busy_share: Floats
    relabelled_share: Floats


@dataclass(frozen=True)
class Monthly:
    """Dollars per month in parts; `build` is spread over the horizon."""

    build: Floats
    run: Floats
    keep: Floats
    errors: Floats

    @property
    def total(self) -> Floats:
        return self.build + self.run + self.keep + self.errors


def costs_of(
    trial: Trial,
    task: Task,
    prices: Prices,
    confirmations: Sequence[Confirmation] = (),
    labels: int | None = None,
    catalogue: Catalogue = NOTHING_KNOWN,
) -> Costs:
    """What drives the costs of a trial's candidate; its score is the test's where there is one.

    `labels` is how many labelled examples were paid for, None where they were already there;
    `catalogue` knows when models retire.
    """
    candidate, evaluation = trial.candidate, trial.evaluation
    rate = or_nan(dollars_per_hour(task.hardware, prices).dollars)
    tokens, seconds = _per_request(evaluation.rows, rate)
    effort = prices.effort.get(candidate.step) or prices.effort.get("*")
    model = getattr(candidate.solver, "model", None)
    confirmed = [c for c in confirmations if (c.step, c.name) == (candidate.step, candidate.name)]
    score, deviation, answers = _quality(trial, confirmed[-1] if confirmed else None)
    return Costs(
        step=candidate.step,
        name=candidate.name,
        build_dollars=_build(trial, task, prices, hosted=seconds == 0),
        label_dollars=labels * or_nan(task.economics.dollars_per_label) if labels else 0.0,
        build_hours=effort.build_hours if effort else NAN,
        rebuild_hours=effort.rebuild_hours if effort else NAN,
        hours_per_month=effort.hours_per_month if effort else NAN,
        token_dollars=tokens,
        busy_seconds=seconds,
        machine_dollars_per_hour=rate,
        evaluation_requests=evaluation.planned + sum(each.n for each in confirmed),
        score=score,
        score_deviation=deviation,
        answers=answers,
        model=model,
        retires_in_months=_retires_in_months(model, catalogue, prices),
        kept=_keeping(evaluation.rows, model, prices),
    )


def world_at(
    economics: Economics, prices: Prices, quantiles: Mapping[str, Floats] | None = None
) -> World:
    """The circumstances at given quantiles, as normal scores per driver; others at their median.

    A user's own `retune_every_months` is a plan and does not vary.
    """

    def at(name: str) -> Floats:
        known = prices.assumptions.get(name)
        if known is None:
            raise StepladderError(
                f"there is no assumption {name!r} among the prices",
                hint="start from `load_prices`, which brings one for each unknown",
            )
        low, high = math.log(known.low), math.log(known.high)
        spread = (high - low) / (2 * Z90)
        scores = (quantiles or {}).get(name, np.zeros(1))
        return np.asarray(np.exp((low + high) / 2 + spread * scores))

    yearly = at("price_factor_per_year")
    years = (np.arange(max(1, round(economics.months))) + 0.5) / 12
    life = at("life_months")
    if economics.retune_every_months is not None:
        life = np.full_like(life, economics.retune_every_months)
    return World(
        requests_per_month=or_nan(economics.requests_per_month) * at("volume_factor"),
        price_factor=np.power(yearly[:, None], years[None, :]).mean(axis=1),
        hours_factor=at("hours_factor"),
        life_months=life,
        busy_share=np.minimum(at("busy_share"), 1.0),
        relabelled_share=np.minimum(at("relabelled_share"), 1.0),
    )


def monthly(
    costs: Costs, economics: Economics, world: World, score: Floats | None = None
) -> Monthly:
    """Dollars per month in each of the world's draws, with the measured score or one per draw.

    Each prefix that an evaluation kept at the service is kept all month where the volume pays for
    it, else not at all. A local model is served by machines that are paid by the hour, busy or not:
    as many as the volume needs at the busy share, and at least one. A rebuild comes whenever the
    life of the last one ends within the horizon, and takes the build's calls and training, the
    rebuild hours, a share of new labels and an evaluation; the day on which the model may retire
    forces one, and the next life starts there. Wrong answers cost what the task says; else they are
    left out of the total.
    """
    volume, months, machine = world.requests_per_month, economics.months, _machine_second(costs)
    hour = or_nan(economics.dollars_per_engineer_hour) * world.hours_factor
    run = _times(volume, costs.token_dollars) - kept_saving(costs, volume)
    run += _times(machines_for(costs, world) * HOURS_PER_MONTH * SECONDS_PER_HOUR, machine)
    request = costs.token_dollars + _times(costs.busy_seconds, machine)
    rebuild = (
        costs.build_dollars
        + _times(world.relabelled_share, costs.label_dollars)
        + _times(costs.rebuild_hours, hour)
        + _times(costs.evaluation_requests, request)
    )
    rebuilds = _rebuilds(months, world.life_months, costs.retires_in_months)
    build = costs.build_dollars + costs.label_dollars + _times(costs.build_hours, hour)
    wrong = 1 - (np.asarray(costs.score) if score is None else score)
    return Monthly(
        build=build / months,
        run=world.price_factor * run,
        keep=_times(costs.hours_per_month, hour) + _times(rebuilds / months, rebuild),
        errors=_times(economics.dollars_per_error or 0.0, wrong * volume),
    )


def kept_saving(costs: Costs, requests_per_month: Floats) -> Floats:
    """Dollars a month that kept prefixes save; 0 where the volume is too low for keeping any."""
    saving = np.zeros_like(requests_per_month)
    for one in costs.kept:
        saved = _times(requests_per_month, one.saved_dollars) - one.dollars_per_month
        saving = saving + np.maximum(saved, 0.0)
    return saving


def machines_for(costs: Costs, world: World) -> Floats:
    """How many machines serve the volume: none without machine time, else at least one."""
    if costs.busy_seconds == 0:
        return np.zeros_like(world.busy_share)
    busy_hours = world.requests_per_month * costs.busy_seconds / SECONDS_PER_HOUR
    return np.maximum(np.ceil(busy_hours / (HOURS_PER_MONTH * world.busy_share) - 1e-9), 1.0)


def cost_curve(
    costs: Costs, economics: Economics, prices: Prices, volumes: Sequence[float]
) -> tuple[tuple[float, float], ...]:
    """(requests per month, dollars per month) at median circumstances; empty when unknown."""
    dollars = _over_volume(costs, economics, prices, np.asarray(volumes, dtype=float))
    if np.isnan(dollars).any():
        return ()
    return tuple(zip(map(float, volumes), map(float, dollars), strict=True))


def break_even(one: Costs, other: Costs, economics: Economics, prices: Prices) -> float | None:
    """The requests per month from which on `one` costs no more than `other`, at medians.

    0 when it never costs more; None when it still does at a thousand million requests, or when a
    price is unknown.
    """
    grid = np.concatenate([[0.0], np.geomspace(1, MOST_REQUESTS, 721)])

    def excess(volumes: Floats) -> Floats:
        mine = _over_volume(one, economics, prices, volumes)
        return mine - _over_volume(other, economics, prices, volumes)

    over = excess(grid)
    dearer = np.flatnonzero(over > 1e-9)
    if np.isnan(over).any() or (dearer.size and dearer[-1] == grid.size - 1):
        return None
    if not dearer.size:
        return 0.0
    between = np.linspace(grid[dearer[-1]], grid[dearer[-1] + 1], 1001)
    return float(between[np.flatnonzero(excess(between) > 1e-9)[-1] + 1])


def or_nan(value: float | None) -> float:
    """Unknown on the inside."""
    return NAN if value is None else value


def or_none(value: float) -> float | None:
    """Unknown on the outside."""
    return None if math.isnan(value) else float(value)


def _per_request(rows: Sequence[Row], rate: float) -> tuple[float, float]:
    """(dollars to a provider, busy seconds of the machine) of a request, means over the answers.

    Without a kept prefix: an evaluation asks all its requests within minutes, and what keeping a
    prefix costs by the hour is next to nothing for each, as it is not over a month.
    """
    answered = [row for row in rows if row.error is None]
    dollars = _mean([_without_kept(row) for row in answered])
    seconds = _mean([row.compute_seconds for row in answered])
    if math.isnan(seconds):
        return dollars, 0.0
    on_machine = seconds / SECONDS_PER_HOUR * rate
    if math.isnan(on_machine):
        return 0.0, seconds  # what is unknown is the machine's price, and stays so through `rate`
    rest = dollars - on_machine
    return (0.0 if rest < NEGLIGIBLE * on_machine else rest), seconds


def _without_kept(row: Row) -> float | None:
    if row.kept_tokens is None or row.dollars is None:
        return row.dollars
    return None if row.cache_saved_dollars is None else row.dollars + row.cache_saved_dollars


def _keeping(rows: Sequence[Row], model: str | None, prices: Prices) -> tuple[KeptPrefix, ...]:
    """The prefixes that the evaluation kept; none where a price is missing.

    One prefix is told from another by its length, which the service counts alike in every answer.
    """
    if model is None:
        return ()
    answered = [row for row in rows if row.error is None]
    reads = Counter(tokens for row in answered for tokens in row.kept_tokens or () if tokens)
    found = []
    for tokens, times in sorted(reads.items()):
        written = cache_saving(model, tokens, 0, 0.0, prices)
        read = cache_saving(model, tokens, 1, 0.0, prices)
        month = cache_saving(model, tokens, 0, HOURS_PER_MONTH, prices)
        if written is None or read is None or month is None:
            return ()
        found.append(KeptPrefix(tokens, (read - written) * times / len(answered), -month))
    return tuple(found)


def _retires_in_months(model: str | None, catalogue: Catalogue, prices: Prices) -> float:
    facts = catalogue.facts(model) if model is not None else None
    if facts is None or facts.may_retire is None:
        return math.inf
    return max((facts.may_retire - prices.today).days / DAYS_PER_MONTH, 0.0)


def _rebuilds(months: float, life: Floats, retires_in: float) -> Floats:
    """How many rebuilds fall within the horizon: one at the end of each life but the last."""

    def within(span: float) -> Floats:
        return np.asarray(np.maximum(np.ceil(span / life - 1e-9) - 1, 0))

    if retires_in >= months:
        return within(months)
    return within(retires_in) + 1 + within(months - retires_in)


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else NAN


def _build(trial: Trial, task: Task, prices: Prices, *, hosted: bool) -> float:
    candidate = trial.candidate
    if candidate.build_dollars is not None:
        return candidate.build_dollars
    tuned = is_tuned(getattr(candidate.solver, "model", ""))
    if hosted and (candidate.build_calls or tuned):
        return NAN  # what a service was paid is not the time it took
    if candidate.build_seconds == 0:
        return 0.0
    return or_nan(machine_dollars(candidate.build_seconds, task.hardware, prices).dollars)


def _quality(trial: Trial, confirmed: Confirmation | None) -> tuple[float, float, float]:
    """(score, its standard deviation read off the bound, right/wrong answers behind it or 0)."""
    evaluation = trial.evaluation
    binary = all(
        len(row.counts) == 1 and row.counts[0][1] in (0, 1) and row.counts[0][2] == 1
        for row in evaluation.rows
    )
    if confirmed is not None:
        quantile = NormalDist().inv_cdf(1 - confirmed.alpha_spent)
        deviation = (confirmed.score - confirmed.low) / quantile
        return confirmed.score, max(deviation, 0.0), confirmed.n if binary else 0
    quantile = NormalDist().inv_cdf(1 - evaluation.alpha / 2)
    deviation = (evaluation.high - evaluation.low) / (2 * quantile)
    return evaluation.score, max(deviation, 0.0), evaluation.n if binary else 0


def _machine_second(costs: Costs) -> float:
    return costs.machine_dollars_per_hour / SECONDS_PER_HOUR


def _over_volume(costs: Costs, economics: Economics, prices: Prices, volumes: Floats) -> Floats:
    middle = world_at(replace(economics, requests_per_month=1.0), prices)
    at_each = {
        each.name: np.repeat(getattr(middle, each.name), volumes.size) for each in fields(World)
    }
    world = World(**{**at_each, "requests_per_month": volumes})
    return monthly(costs, economics, world).total


def _times(count: float | Floats, each: float | Floats) -> Floats:
    """The product, where nothing of something unknown is nothing."""
    amount, price = np.asarray(count, dtype=float), np.asarray(each, dtype=float)
    return np.where(amount == 0, 0.0, amount * price)
