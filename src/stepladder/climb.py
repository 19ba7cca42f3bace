"""The loop. Read this second, after `core.py`.

Steps are tried in the order of what they cost to build. Each proposes candidates from train; they
race on dev; what looks able is confirmed on the sealed test, the cheapest to own first; the first
that is confirmed ends the climb.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from .budget import Budget
from .catalogue import Catalogue
from .compare import paired_gain
from .core import (
    Candidate,
    Confirmation,
    Decision,
    Estimate,
    Example,
    Json,
    Ownership,
    Skipped,
    Split,
    Step,
    Trial,
)
from .cost import Prices, machine_dollars
from .decide import SealedTest, conclude, confirm, next_to_confirm
from .diagnose import advice
from .errors import BudgetExceeded, MissingExtra, NotApplicable, StepladderError
from .evaluate import Bench
from .measuring import MEASURING, measuring
from .ownership import own
from .racing import race_on_dev
from .runner import Runner
from .solvers import content_hash, model_of
from .store import RunFolder, bar_of, hash_of
from .upgrades import upgrades

__all__ = ["Climb", "climb", "plan"]

LAST_CHANCE = 0.1  # with nothing left to climb, unspent alpha is worth nothing: confirm long shots


@dataclass(frozen=True)
class Climb:
    """What one climb works with: the measurements' bench, the run's folder, prices and budget."""

    bench: Bench
    split: Split
    run: RunFolder
    prices: Prices
    budget: Budget
    whole_ladder: bool = False  # measure every step, even after one was confirmed able
    catalogue: Catalogue = field(default_factory=Catalogue)

    def tell(self, event: str, **fields: Json) -> None:
        self.bench.workshop.tell(event, fields)

    def runner(
        self, candidate: Candidate, set_name: Literal["dev", "test"], examples: Sequence[Example]
    ) -> Runner:
        return Runner(candidate, set_name, examples, self.bench, self.run, self.budget)


def plan(steps: Sequence[Step], on: Climb) -> list[tuple[str, Estimate | Skipped]]:
    """What each step would take, and then measuring, without doing anything."""
    found: list[tuple[str, Estimate | Skipped]] = []
    going: list[Step] = []
    for step in _rungs(steps, on):
        try:
            estimate = step.estimate(on.bench.task, on.split.train, on.bench.workshop)
            found.append((step.name, _priced(estimate, on)))
            going.append(step)
        except (NotApplicable, MissingExtra) as reason:
            found.append((step.name, Skipped(step.name, _why(reason))))
    bench = on.bench
    asked = measuring(going, bench.task, on.split, bench.workshop, lambda one: _priced(one, on))
    return [*found, (MEASURING, asked)]


@dataclass
class _Seen:
    """What the climb has met so far."""

    trials: list[Trial] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    base: Trial | None = None
    blocked_by: str | None = None


def climb(steps: Sequence[Step], on: Climb) -> Decision:
    """Climb until a step is confirmed, or to the end; then say which, and why."""
    seen, openings = _Seen(), _Openings(on)
    steps = _rungs(steps, on)
    on.budget.start()
    try:
        for place, step in enumerate(steps, start=1):
            _climb_step(step, (place, len(steps)), seen, on)
            if not on.whole_ladder and openings.confirm_able(seen.trials):
                break
        else:
            if not openings.confirm_able(seen.trials):
                openings.confirm_able(seen.trials, least_chance=LAST_CHANCE)
        openings.confirm_cheaper(seen.trials)
    except BudgetExceeded as reason:
        seen.blocked_by = "; ".join([reason.message, *openings.unfinished()])
        done = {trial.candidate.step for trial in seen.trials}
        done |= {one.step for one in seen.skipped}
        left = dict.fromkeys(step.name for step in steps if step.name not in done)
        seen.skipped += [Skipped(name, reason.message) for name in left]
    target, sealed = on.bench.task.target, openings.sealed()
    decision = conclude(seen.trials, openings.made, seen.skipped, target, sealed, seen.blocked_by)
    return replace(
        decision,
        cautions=(*decision.cautions, *openings.unfinished()),
        ownership=_own(seen.trials, openings.made, on),
        upgrades=upgrades(seen.trials, on.bench.metric.scale, on.bench.task, on.bench.alpha),
    )


# --- one step -----------------------------------------------------------------------------------


def _rungs(steps: Sequence[Step], on: Climb) -> list[Step]:
    """Each step, or those that it is made of: the climb may end between them."""
    found: list[Step] = []
    for step in steps:
        made_of = getattr(step, "rungs", None)
        found += (made_of(on.bench.task, on.bench.workshop) if made_of else ()) or [step]
    return found


def _climb_step(step: Step, place: tuple[int, int], seen: _Seen, on: Climb) -> None:
    """Measure what the step proposes; where it proposes nothing, `seen.skipped` says why."""
    try:
        candidates = _propose(step, seen, on, place)
        if not candidates:
            return
        measured = race_on_dev(candidates, on)
    except (NotApplicable, MissingExtra) as reason:  # perhaps prepared here, but it cannot run
        seen.skipped.append(_skip(step, reason, on))
        return
    except _TooDear as reason:  # a later step may not be; what is measured may suffice
        seen.blocked_by = seen.blocked_by or reason.message
        seen.skipped.append(_skip(step, reason, on))
        return
    measured = [_with_gain(trial, seen.base, on) for trial in measured]
    for trial in measured:
        on.tell("trial", **_shown(trial))
    seen.trials += measured
    before, seen.base = seen.base, _base(seen.trials)
    _tell_advice(None if seen.base is before else seen.base, on)


def _propose(step: Step, seen: _Seen, on: Climb, place: tuple[int, int]) -> list[Candidate]:
    """The step's candidates, once its estimate was found to fit the budget."""
    task, workshop = on.bench.task, on.bench.workshop
    estimate = _priced(step.estimate(task, on.split.train, workshop), on)
    _afford(step, estimate, on)
    on.tell(
        "step",
        step=step.name,
        index=place[0],
        total=place[1],
        estimate_seconds=estimate.seconds,
        estimate_calls=estimate.calls,
        estimate_dollars=estimate.dollars,
    )
    on.tell("building", step=step.name, note=estimate.note)
    with on.budget.building():
        proposed = list(step.propose(task, on.split.train, seen.base, workshop))
    candidates = [_with_build_dollars(candidate, on) for candidate in proposed]
    on.budget.spend(_spent(candidates))
    return _distinct(candidates)


def _spent(candidates: Iterable[Candidate]) -> float | None:
    """Dollars that building them took; unknown where it is of one.

    Each candidate of a search on one model carries the whole search, which was paid for once; what
    was tuned is a model of its own, and each was paid for.
    """
    of_model: dict[str | None, float] = {}
    for candidate in candidates:
        if candidate.build_dollars is None:
            return None
        model = model_of(candidate.solver)
        of_model[model] = max(of_model.get(model, 0.0), candidate.build_dollars)
    return sum(of_model.values())


class _TooDear(BudgetExceeded):
    """A step's estimate does not fit what is left; nothing was begun."""


def _afford(step: Step, estimate: Estimate, on: Climb) -> None:
    try:
        on.budget.afford(step.name, estimate)
    except BudgetExceeded as reason:
        raise _TooDear(reason.message, hint=reason.hint) from reason


def _skip(step: Step, reason: StepladderError, on: Climb) -> Skipped:
    on.tell("skipped", step=step.name, reason=_why(reason))
    return Skipped(step.name, _why(reason))


def _why(reason: StepladderError) -> str:
    """What is the matter and its cure, on one line."""
    return "; ".join([reason.message, *(line.strip() for line in reason.hint.splitlines())])


def _priced(estimate: Estimate, on: Climb) -> Estimate:
    """Dollars of machine time where the step could not know them."""
    if estimate.dollars is not None or estimate.seconds is None:
        return estimate
    return replace(
        estimate,
        dollars=machine_dollars(estimate.seconds, on.bench.task.hardware, on.prices).dollars,
    )


def _with_build_dollars(candidate: Candidate, on: Climb) -> Candidate:
    model = model_of(candidate.solver)
    hosted = model is not None and not model.startswith("local:")
    if candidate.build_dollars is not None or hosted:
        return candidate
    cost = machine_dollars(candidate.build_seconds, on.bench.task.hardware, on.prices)
    return replace(candidate, build_dollars=cost.dollars)


def _distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates whose solvers differ, the first of each kind."""
    found: dict[str, Candidate] = {}
    for candidate in candidates:
        found.setdefault(content_hash(candidate.solver), candidate)
    return list(found.values())


# --- what the next step starts from, and what is told ---------------------------------------------


def _base(trials: Sequence[Trial]) -> Trial | None:
    """What the next step starts from: the best that asks a model, else the best of all.

    A baseline has no prompt to go on with, however well it scores.
    """
    complete = [trial for trial in trials if trial.stopped_early is None]
    asking = [trial for trial in complete if model_of(trial.candidate.solver) is not None]
    return max(asking or complete, key=lambda trial: trial.evaluation.score, default=None)


def _with_gain(trial: Trial, base: Trial | None, on: Climb) -> Trial:
    if base is None:
        return trial
    gain = paired_gain(
        trial.evaluation.rows,
        base.evaluation.rows,
        on.bench.metric.scale,
        on.bench.alpha,
        against=f"{base.candidate.step}: {base.candidate.name}",
        seed=on.bench.task.seed,
    )
    return replace(trial, gain=gain)


def _tell_advice(best: Trial | None, on: Climb) -> None:
    """What the failures of a step's best point to; the next step is given them as its base's."""
    if best is not None:
        for _, sentence in advice(best.diagnosis, on.bench.task):
            name = f"{best.candidate.step} / {best.candidate.name}"
            on.tell("note", text=f"{name}: {sentence}")


def _shown(trial: Trial) -> dict[str, Json]:
    seen = trial.evaluation
    return {
        "step": trial.candidate.step,
        "name": trial.candidate.name,
        "score": seen.score,
        "low": seen.low,
        "high": seen.high,
        "n": seen.n,
        "p50_seconds": seen.p50_seconds,
        "p95_seconds": seen.p95_seconds,
        "dollars_per_1000": seen.dollars_per_1000,
        "gain": trial.gain and trial.gain.difference,
    }


# --- confirming on the sealed test --------------------------------------------------------------


class _Openings:
    """The sealed test: each opening is in the ledger before its first answer is seen."""

    def __init__(self, on: Climb) -> None:
        self.made: list[Confirmation] = []
        self._under_way: tuple[Trial, int, float] | None = None  # with its number and its level
        self._on = on
        self._test = hash_of(on.split.test)

    def sealed(self) -> SealedTest:
        # what earlier climbs opened, and this one: the same again when this one is replayed
        run = self._on.run
        openings = run.openings.before(self._test, run.name) + len(self.made)
        return _sealed(self._on, openings)

    def unfinished(self) -> tuple[str, ...]:
        """What is to be known of an opening that a budget ended, if there is one."""
        if self._under_way is None:
            return ()
        trial, opening, level = self._under_way
        return (
            f"opening {opening} of the sealed test, for "
            f"'{trial.candidate.step}/{trial.candidate.name}', was begun and not finished: its "
            f"{level:.3g} of alpha is spoken for, and the same command with a larger budget "
            "finishes it",
        )

    def confirm_able(self, trials: Sequence[Trial], least_chance: float = 0.5) -> bool:
        """Open the test for the cheapest to own of the able, until one passes or none is left."""
        while (trial := self._next(trials, least_chance)) is not None:
            self.made.append(self._open(trial))
            if self.made[-1].passed:
                return True
        return False

    def confirm_cheaper(self, trials: Sequence[Trial]) -> None:
        """After a pass, spend what is left of alpha on what would be cheaper to own.

        A cheap candidate too close to the target to be worth an opening at first may have been
        climbed past; passing it over for good would cost its owner every month.
        """
        while any(one.passed for one in self.made):
            trial = self._next(trials, LAST_CHANCE)
            if trial is None:
                return
            self.made.append(self._open(trial))

    def _next(self, trials: Sequence[Trial], least_chance: float) -> Trial | None:
        # without what was confirmed: a refused candidate's test score must not steer what is next
        ownership = _own(trials, (), self._on)
        target = self._on.bench.task.target
        return next_to_confirm(trials, target, ownership, self.made, self.sealed(), least_chance)

    def _open(self, trial: Trial) -> Confirmation:
        on, candidate = self._on, trial.candidate
        identity = content_hash(candidate.solver)
        bar = bar_of(on.bench.task)
        opening = on.run.openings.open(self._test, identity, bar, on.run.name)
        sealed = _sealed(on, opening - 1)
        level = sealed.level(on.bench.task.target)
        self._under_way = (trial, opening, level)
        on.tell(
            "confirming",
            step=candidate.step,
            name=candidate.name,
            alpha=level,
            opening=opening,
            n=sealed.size,
        )
        with on.runner(candidate, "test", on.split.test) as runner:
            runner.answer(on.split.test)
        evaluation = runner.evaluation()
        result = confirm(trial, evaluation, on.bench.task.target, on.split.test, sealed)
        self._under_way = None
        on.tell(
            "confirmed",
            step=result.step,
            name=result.name,
            score=result.score,
            low=result.low,
            passed=result.passed,
        )
        return result


def _own(trials: Sequence[Trial], made: Sequence[Confirmation], on: Climb) -> tuple[Ownership, ...]:
    task, split = on.bench.task, on.split
    labels: int | None = len(split.train) + len(split.dev) + len(split.test)
    if task.economics.dollars_per_label is None:
        labels = None  # already there: told among the assumptions, not an unknown in the total
    return own(trials, task, on.prices, confirmations=made, labels=labels, catalogue=on.catalogue)


def _sealed(on: Climb, openings: int) -> SealedTest:
    also = {metric.name: metric.scale for metric in on.bench.also}
    return SealedTest(len(on.split.test), on.bench.metric.scale, openings, also)
