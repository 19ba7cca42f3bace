"""Which trial is meant: the chosen or best one, what it is compared with, its proof, its costs."""

from __future__ import annotations

from ..core import Confirmation, Decision, Ownership, Trial
from .words import key_of, who_of

__all__ = ["baseline_of", "best_trial", "confirmation_of", "owner_of"]


def best_trial(decision: Decision) -> Trial | None:
    """The chosen trial, or the one with the best score where none was chosen."""
    if decision.chosen is not None:
        return decision.chosen
    whole = [trial for trial in decision.trials if trial.stopped_early is None]
    return max(whole or decision.trials, key=lambda trial: trial.evaluation.score, default=None)


def baseline_of(trial: Trial, decision: Decision) -> Trial | None:
    """The trial that this one is compared with: the one its gain names, else the step before's."""
    places = {key_of(each): place for place, each in enumerate(decision.trials)}
    before = decision.trials[: places.get(key_of(trial), 0)]
    earlier = [each for each in before if each.candidate.step != trial.candidate.step]
    if trial.gain is not None:
        named = [each for each in before if trial.gain.against in _names(each)]
        if named:
            return named[-1]
    whole = [each for each in earlier if each.stopped_early is None]
    if not whole:
        return None
    last = whole[-1].candidate.step
    same_step = [each for each in whole if each.candidate.step == last]
    return max(same_step, key=lambda each: each.evaluation.score)


def confirmation_of(decision: Decision, trial: Trial | None) -> Confirmation | None:
    """The last opening of the sealed test for this trial."""
    if trial is None:
        return None
    who = key_of(trial)
    found = [each for each in decision.confirmations if (each.step, each.name) == who]
    return found[-1] if found else None


def owner_of(decision: Decision, trial: Trial | None) -> Ownership | None:
    """What owning this trial's solver costs, where it was worked out."""
    found = [each for each in decision.ownership if trial and key_of(each) == key_of(trial)]
    return found[0] if found else None


def _names(trial: Trial) -> tuple[str, ...]:
    step, solver = key_of(trial)
    return solver, f"{step}: {solver}", f"{step}/{solver}", who_of(step, solver)
