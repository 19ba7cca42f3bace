"""The verdict in plain words: one sentence with the numbers that matter, and the facts under it.

The terminal and the page say the same sentence. Pure: it words what was decided, no more.
"""

from __future__ import annotations

from ..core import Confirmation, Decision, Gain, Ownership, Target, Task, Trial
from .words import (
    count,
    dollars,
    duration,
    interval,
    key_of,
    name_of,
    percent,
    points,
    points_interval,
    who_of,
)

__all__ = [
    "VERDICTS",
    "baseline_of",
    "best_trial",
    "confirmation_of",
    "gain_sentence",
    "owner_of",
    "target_text",
    "verdict_sentence",
]

VERDICTS = {
    "met": "Target met",
    "not_met": "Target not met",
    "undecided": "Undecided",
    "blocked": "Blocked",
}


def verdict_sentence(decision: Decision, task: Task) -> str:
    """The verdict with the numbers that matter, ready to be read aloud."""
    words = {"met": _met, "not_met": _not_met, "undecided": _undecided, "blocked": _blocked}
    return words[decision.verdict](decision, task)


def target_text(target: Target, metric: str) -> str:
    """The bar in words: 'accuracy of at least 80.0%, p95 within 2 s'."""
    parts = [f"{metric} of at least {percent(target.score)}"]
    if target.p95_seconds is not None:
        parts.append(f"95% of answers within {duration(target.p95_seconds)}")
    if target.dollars_per_1000 is not None:
        parts.append(f"at most {dollars(target.dollars_per_1000)} per 1,000 requests")
    parts += [f"{where} at least {percent(score)}" for where, score in target.floors.items()]
    return ", ".join(parts)


def best_trial(decision: Decision) -> Trial | None:
    """The chosen trial, or the one with the best score where none was chosen."""
    if decision.chosen is not None:
        return decision.chosen
    whole = [trial for trial in decision.trials if trial.stopped_early is None]
    return max(whole or decision.trials, key=lambda trial: trial.evaluation.score, default=None)


def baseline_of(trial: Trial, decision: Decision) -> Trial | None:
    """The trial that this one is compared with: the one its gain names, else the step before's."""
    earlier = [each for each in decision.trials if _before(each, trial, decision)]
    if trial.gain is not None:
        named = [each for each in earlier if _is_named(each, trial.gain.against)]
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


def gain_sentence(gain: Gain | None) -> str:
    """A paired gain in words: '+3.2 points over x (95% interval +0.4 to +6.0, n = 300)'."""
    if gain is None:
        return "nothing to compare with"
    level = percent(1 - gain.alpha, 0)
    return (
        f"{points(gain.difference)} points over {gain.against} "
        f"({level} interval {points_interval(gain)}, n = {count(gain.n)})"
    )


def _met(decision: Decision, task: Task) -> str:
    chosen, proof = decision.chosen, confirmation_of(decision, decision.chosen)
    if chosen is None:
        return f"Target met: {decision.reason}"
    shown = f"{name_of(chosen.candidate)} is the cheapest way shown to reach {_goal(task)}"
    if proof is None:
        return f"Target met: {shown}."
    return (
        f"Target met: {shown}: at least {percent(proof.low)} with "
        f"{_level(proof)} confidence ({percent(proof.score)} on {count(proof.n)} sealed test "
        f"examples).{_running(decision, chosen, task)}"
    )


def _not_met(decision: Decision, task: Task) -> str:
    return f"Target not met: nothing tried was shown to reach {_goal(task)}.{_closest(decision)}"


def _undecided(decision: Decision, task: Task) -> str:
    needed = decision.examples_needed
    cure = f" About {count(needed)} more test examples would settle it." if needed else ""
    open_question = f"Undecided: the data cannot tell whether {_goal(task)} is reached."
    return f"{open_question}{_closest(decision)}{cure}"


def _blocked(decision: Decision, task: Task) -> str:
    return f"Blocked: whether {_goal(task)} can be reached was not found out."


def _goal(task: Task) -> str:
    return f"{percent(task.target.score)} {task.metric.name}"


def _level(proof: Confirmation) -> str:
    return f"{100 * (1 - proof.alpha_spent):.4g}%"  # never rounded up to a round number


def _closest(decision: Decision) -> str:
    tested = max(decision.confirmations, key=lambda each: each.low, default=None)
    if tested is not None:
        return (
            f" The closest, {who_of(tested.step, tested.name)}, scored {percent(tested.score)} on "
            f"{count(tested.n)} sealed test examples: at least {percent(tested.low)} with "
            f"{_level(tested)} confidence."
        )
    best = best_trial(decision)
    if best is None:
        return ""
    seen = best.evaluation
    return (
        f" The best, {name_of(best.candidate)}, scored {percent(seen.score)} "
        f"({interval(seen.low, seen.high)}) on {count(seen.n)} {seen.set} examples."
    )


def _running(decision: Decision, chosen: Trial, task: Task) -> str:
    seen, own = chosen.evaluation, owner_of(decision, chosen)
    facts = []
    if seen.dollars_per_1000 is not None:
        facts.append(f"costs {dollars(seen.dollars_per_1000)} per 1,000 requests")
    if seen.p95_seconds is not None:
        facts.append(f"answers 95% of requests within {duration(seen.p95_seconds)}")
    text = f" It {' and '.join(facts)}." if facts else ""
    if seen.dollars_per_1000 is None:
        text += " Its cost per request is unknown."
    volume = task.economics.requests_per_month
    if own is not None and own.total_dollars_per_month is not None and volume:
        low, middle, high = own.total_dollars_per_month
        text += (
            f" Owning it costs {dollars(middle)} a month ({dollars(low)} to {dollars(high)}) "
            f"at {count(volume)} requests a month."
        )
    return text


def _before(each: Trial, trial: Trial, decision: Decision) -> bool:
    if each.candidate.step == trial.candidate.step:
        return False
    return decision.trials.index(each) < decision.trials.index(trial)


def _is_named(trial: Trial, name: str) -> bool:
    step, solver = key_of(trial)
    return name in (solver, f"{step}/{solver}", who_of(step, solver), f"{step}:{solver}")
