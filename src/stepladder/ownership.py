"""What owning each candidate costs per month over the horizon, and which one is the cheapest.

Volume, prices, engineer hours, life, utilisation and quality are drawn jointly. Every candidate
meets the same draws of what they share (common random numbers), so that what differs between two
totals is what the candidates are. The arithmetic of one candidate is in `candidate_costs.py`.

Pure: no clock and no file; the same seed gives the same numbers. What rests on an unknown price is
None, and the assumptions say what to fill in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from .candidate_costs import (
    DRIVERS,
    HOURS_PER_MONTH,
    NOTHING_KNOWN,
    Z90,
    Costs,
    Floats,
    Monthly,
    World,
    break_even,
    cost_curve,
    costs_of,
    machines_for,
    monthly,
    or_nan,
    or_none,
    world_at,
)
from .catalogue import Catalogue
from .core import Confirmation, Ownership, Target, Task, Trial
from .cost import SECONDS_PER_HOUR, Prices, assumed, dollars_per_hour

__all__ = ["own"]

DRAWS = 4000
CENT = 0.005


def own(
    trials: Sequence[Trial],
    task: Task,
    prices: Prices,
    *,
    confirmations: Sequence[Confirmation] = (),
    labels: int | None = None,
    catalogue: Catalogue = NOTHING_KNOWN,
) -> tuple[Ownership, ...]:
    """The cost to own each trial's candidate, in the order of the trials.

    Args:
        trials: in the order of the ladder.
        task: with the economics, the hardware and the seed of the draws.
        prices: from `load_prices`.
        confirmations: where a candidate was confirmed, its score is the sealed test's.
        labels: how many labelled examples were paid for; None leaves them out as already there.
        catalogue: from `load_catalogue`; a model that retires forces a rebuild.

    `build_dollars` is for the whole horizon, all else is per month. `dollars_per_extra_success` and
    `roi` are against the best baseline (else the first trial). `break_even_requests_per_month` is
    against the first trial of the ladder whose score meets the target. `probability_best` is the
    share of draws in which the candidate is the cheapest of those that meet the target, both score
    and latency, in that draw; it compares the candidates whose total is known and which racing did
    not stop.
    """
    if not trials:
        return ()
    every = tuple(
        costs_of(trial, task, prices, confirmations, labels, catalogue) for trial in trials
    )
    in_race = tuple(_in_race(trial, task.target) for trial in trials)
    rivals = tuple(
        costs
        for costs, racing in zip(every, in_race, strict=True)
        if racing and costs.score >= task.target.score
    )
    middle = world_at(task.economics, prices)
    cheapest = _cheapest(rivals, task, middle, 0)
    field = _Field(task, prices, middle, rivals, cheapest, _floor(every), labels)
    world = _draw(field)
    scores = [_scores(costs, task.seed) for costs in every]
    totals = [
        monthly(costs, task.economics, world, score).total
        for costs, score in zip(every, scores, strict=True)
    ]
    best = _probability_best(totals, scores, in_race, task.target)
    return tuple(
        _ownership(costs, field, total, probability)
        for costs, total, probability in zip(every, totals, best, strict=True)
    )


@dataclass(frozen=True)
class _Field:
    """What a candidate is looked at against: the task, medians, its rivals and the floor."""

    task: Task
    prices: Prices
    middle: World
    rivals: tuple[Costs, ...]  # those that meet the target, in the order of the ladder
    cheapest: Costs | None  # of the rivals, at medians
    floor: Costs
    labels: int | None


def _ownership(costs: Costs, field: _Field, totals: Floats, probability: float | None) -> Ownership:
    economics = field.task.economics
    parts = monthly(costs, economics, field.middle)
    low, middle, high = np.quantile(totals, (0.05, 0.5, 0.95))
    per_success, roi = _against_floor(costs, field)
    return Ownership(
        step=costs.step,
        name=costs.name,
        build_dollars=or_none(_one(parts.build) * economics.months),
        run_dollars_per_month=or_none(_one(parts.run)),
        keep_dollars_per_month=or_none(_one(parts.keep)),
        total_dollars_per_month=None
        if math.isnan(middle)
        else (float(low), float(middle), float(high)),
        dollars_per_extra_success=per_success,
        roi=roi,
        break_even_requests_per_month=_break_even(costs, field),
        probability_best=probability,
        error_dollars_per_month=or_none(_one(parts.errors))
        if economics.dollars_per_error is not None
        else None,
        curve=_curve(costs, field),
        sensitivity=_sensitivity(costs, field),
        assumptions=tuple(
            [*_missing(costs, field), *_stated(costs, field, parts), *_turning(costs, field)]
        ),
    )


# --- drawing ------------------------------------------------------------------------------------


def _draw(field: _Field) -> World:
    stream = np.random.default_rng(field.task.seed)
    scores = {name: stream.standard_normal(DRAWS) for name in DRIVERS}
    return world_at(field.task.economics, field.prices, scores)


def _scores(costs: Costs, seed: int) -> Floats:
    """Draws of the true score, from a stream of the candidate's own, whoever else is compared."""
    stream = np.random.default_rng([seed, crc32(f"{costs.step}/{costs.name}".encode())])
    if costs.answers:
        right = costs.score * costs.answers
        return stream.beta(right + 0.5, costs.answers - right + 0.5, DRAWS)
    return np.clip(stream.normal(costs.score, costs.score_deviation, DRAWS), 0.0, 1.0)


def _in_race(trial: Trial, target: Target) -> bool:
    if trial.stopped_early is not None:
        return False
    slowest = trial.evaluation.p95_seconds
    return target.p95_seconds is None or (slowest is not None and slowest <= target.p95_seconds)


def _probability_best(
    totals: Sequence[Floats], scores: Sequence[Floats], in_race: Sequence[bool], target: Target
) -> list[float | None]:
    known = [
        racing and not np.isnan(total).any() for racing, total in zip(in_race, totals, strict=True)
    ]
    table = np.array(
        [
            np.where((score >= target.score) & usable, total, np.inf)
            for total, score, usable in zip(totals, scores, known, strict=True)
        ]
    )
    winner, anyone = table.argmin(axis=0), np.isfinite(table.min(axis=0))
    return [
        float(np.mean(anyone & (winner == index))) if usable else None
        for index, usable in enumerate(known)
    ]


# --- comparing ----------------------------------------------------------------------------------


def _floor(every: Sequence[Costs]) -> Costs:
    """What successes are counted against: the best without a model, else the first."""
    without_model = [costs for costs in every if costs.step == "baseline"]
    return max(without_model, key=lambda costs: costs.score, default=every[0])


def _against_floor(costs: Costs, field: _Field) -> tuple[float | None, float | None]:
    """(dollars per extra success, return on the extra dollars), None where nothing is extra."""
    economics, floor = field.task.economics, field.floor
    dollars = _one(monthly(costs, economics, field.middle).total) - _one(
        monthly(floor, economics, field.middle).total
    )
    successes = _one(field.middle.requests_per_month) * (costs.score - floor.score)
    if costs is floor or not successes > 0:
        return None, None
    value = or_nan(economics.dollars_per_success) * successes
    roi = (value - dollars) / dollars if dollars > 0 else math.nan
    return or_none(dollars / successes), or_none(roi)


def _break_even(costs: Costs, field: _Field) -> float | None:
    if not field.rivals or costs is field.rivals[0]:
        return None
    return break_even(costs, field.rivals[0], field.task.economics, field.prices)


def _curve(costs: Costs, field: _Field) -> tuple[tuple[float, float], ...]:
    around = field.task.economics.requests_per_month
    if not around:
        return ()
    volumes = [float(volume) for volume in around * np.geomspace(0.01, 100, 81)]
    return cost_curve(costs, field.task.economics, field.prices, volumes)


def _sensitivity(costs: Costs, field: _Field) -> Mapping[str, tuple[float, float]]:
    """Dollars per month at the 5 % and 95 % quantiles of each driver, others at the median."""
    economics = field.task.economics
    ends = {
        words: monthly(costs, economics, _world_with(field, name)).total
        for name, words in DRIVERS.items()
    }
    if economics.dollars_per_error is not None:
        quantiles = np.clip(costs.score + np.array([-1, 1]) * Z90 * costs.score_deviation, 0, 1)
        ends["score"] = monthly(costs, economics, _world_with(field, None), quantiles).total
    pairs = {words: (float(each[0]), float(each[-1])) for words, each in ends.items()}
    matter = [(words, pair) for words, pair in pairs.items() if abs(pair[1] - pair[0]) > CENT]
    return dict(sorted(matter, key=lambda item: -abs(item[1][1] - item[1][0])))


def _world_with(field: _Field, name: str | None) -> World:
    """Two draws: the driver at its 5 % and its 95 % quantile, everything else at its median."""
    scores = {each: np.zeros(2) for each in DRIVERS}
    if name is not None:
        scores[name] = np.array([-Z90, Z90])
    return world_at(field.task.economics, field.prices, scores)


# --- telling ------------------------------------------------------------------------------------


def _missing(costs: Costs, field: _Field) -> Iterator[str]:
    economics = field.task.economics
    if economics.requests_per_month is None:
        yield "unknown: the volume; set economics.requests_per_month"
    if economics.dollars_per_engineer_hour is None:
        yield "unknown: an engineer's hour; set economics.dollars_per_engineer_hour"
    if field.labels and economics.dollars_per_label is None:
        yield "unknown: what a label costs; set economics.dollars_per_label"
    rate = dollars_per_hour(field.task.hardware, field.prices)
    if rate.unknown and (costs.busy_seconds or math.isnan(costs.build_dollars)):
        yield f"unknown: what the machine costs; {rate.unknown}"
    if math.isnan(costs.token_dollars):
        yield "unknown: what a request costs; its model has no price, or reported no usage"
    if math.isnan(costs.build_dollars) and not rate.unknown:
        yield "unknown: what the calls of the build cost"
    if math.isnan(costs.build_hours):
        yield f"unknown: the hours that step {costs.step!r} takes; add it under effort"


def _stated(costs: Costs, field: _Field, parts: Monthly) -> Iterator[str]:
    economics = field.task.economics
    if field.labels is None:
        yield "labels are not counted: they are taken as already there"
    yield from _kept(costs, field)
    machines = float(machines_for(costs, field.middle)[0])
    if machines > 0:
        busy_hours = _one(field.middle.requests_per_month) * costs.busy_seconds / SECONDS_PER_HOUR
        name = field.task.hardware.name or "machine"
        share = busy_hours / (machines * HOURS_PER_MONTH)
        yield f"{machines:.0f} x {name}, paid around the clock, {share:.1%} busy"
    if not math.isnan(_one(parts.keep)):
        hours = f"{costs.build_hours:g} to build, {costs.rebuild_hours:g} for a rebuild"
        yield f"assumed hours of an engineer: {hours}, {costs.hours_per_month:g} a month"
        whose = "planned" if economics.retune_every_months is not None else "assumed"
        yield f"a rebuild every {_one(field.middle.life_months):.0f} months ({whose})"
        if costs.retires_in_months < economics.months:
            when = f"in {costs.retires_in_months:.1f} months"
            yield f"a rebuild {when} at the latest: {costs.model!r} may be retired then"
    yield from assumed(field.prices, [costs.model] if costs.model else [])
    if economics.dollars_per_error is None:
        yield "wrong answers cost nothing here: economics.dollars_per_error is not set"
    if field.rivals and costs is not field.rivals[0]:
        first = field.rivals[0]
        yield f"break-even is against {first.step} / {first.name}"


def _kept(costs: Costs, field: _Field) -> Iterator[str]:
    """Whether each prefix that the evaluation kept at the service is taken to be kept for good."""
    volume = _one(field.middle.requests_per_month)
    for one in costs.kept:
        tokens, keeping = f"{one.tokens:,}", f"${one.dollars_per_month:,.2f} a month"
        saved = volume * one.saved_dollars
        if math.isnan(volume):
            yield f"priced without a kept prefix of {tokens} tokens: the volume is unknown"
        elif saved > one.dollars_per_month:
            yield (
                f"a prefix of {tokens} tokens is kept all month, for {keeping}: that is cheaper "
                "here"
            )
        else:
            yield (
                f"no prefix is kept: {tokens} tokens would cost {keeping} and save ${saved:,.2f}; "
                "the evaluation kept one because its calls were close together"
            )


def _turning(costs: Costs, field: _Field) -> Iterator[str]:
    """For the cheapest at medians: the drivers whose range has an end where another is."""
    if costs is not field.cheapest:
        return
    for name, words in DRIVERS.items():
        world = _world_with(field, name)
        for draw, end in ((0, "low"), (1, "high")):
            other = _cheapest(field.rivals, field.task, world, draw)
            if other is not None and other is not costs:
                yield (
                    f"the choice hangs on {words}: at the {end} end of the range "
                    f"{other.step} / {other.name} is cheaper"
                )


def _cheapest(rivals: Sequence[Costs], task: Task, world: World, draw: int) -> Costs | None:
    totals = [float(monthly(each, task.economics, world).total[draw]) for each in rivals]
    known = [(total, index) for index, total in enumerate(totals) if not math.isnan(total)]
    return rivals[min(known)[1]] if known else None


def _one(values: Floats) -> float:
    """The one value of an array that is not drawn."""
    return float(np.ravel(values)[0])
