"""The verdict in plain words: one sentence with the numbers that matter, from the public record.

The terminal, the page and the notebook say the same sentence, and so does a record that is read
back later. Pure: it words what was decided, no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import Json
from .words import about, count, dollars, duration, interval, percent, who_of

__all__ = ["VERDICTS", "best_record", "target_text", "verdict_sentence"]

Record = Mapping[str, Json]

VERDICTS = {
    "met": "Target met",
    "not_met": "Target not met",
    "undecided": "Undecided",
    "blocked": "Blocked",
}


def verdict_sentence(record: Record) -> str:
    """The verdict of a decision record with the numbers that matter, ready to be read aloud."""
    words = {"met": _met, "not_met": _not_met, "undecided": _undecided, "blocked": _blocked}
    return words[record["verdict"]](record)


def target_text(target: Record) -> str:
    """The bar in words: 'accuracy of at least 80.0%, 95% of answers within 2 s'."""
    parts = [f"{target['metric']} of at least {percent(target['score'])}"]
    if target["p95_seconds"] is not None:
        parts.append(f"95% of answers within {duration(target['p95_seconds'])}")
    if target["dollars_per_1000"] is not None:
        parts.append(f"at most {dollars(target['dollars_per_1000'])} per 1,000 requests")
    parts += [f"{where} at least {percent(score)}" for where, score in target["floors"].items()]
    return ", ".join(parts)


def best_record(record: Record) -> dict[str, Any] | None:
    """The chosen trial of a record, or the best one that was measured whole."""
    chosen, trials = record.get("chosen"), list(record["trials"])
    for trial in trials:
        if chosen and (trial["step"], trial["solver"]) == (chosen["step"], chosen["solver"]):
            return dict(trial)
    whole = [trial for trial in trials if not trial.get("stopped_early")] or trials
    return max(whole, key=lambda trial: trial["score"] or 0.0, default=None)


def _met(record: Record) -> str:
    proof, best = record["confirmed"], best_record(record)
    if record["chosen"] is None or best is None:
        return f"Target met: {record['reason']}"
    # of an unknown price it is only known where it stands: steps go by what they cost to build
    way = "the first way" if best["dollars_per_1000"] is None else "the cheapest way"
    shown = f"{_who(best)} is {way} shown to reach {_goal(record)}"
    if proof is None:
        return f"Target met: {shown}."
    return (
        f"Target met: {shown}: at least {percent(proof['low'])} with {_level(proof)} confidence "
        f"({percent(proof['score'])} on {count(proof['n'])} sealed test examples)."
        f"{_running(record, best)}"
    )


def _not_met(record: Record) -> str:
    return f"Target not met: nothing tried was shown to reach {_goal(record)}.{_closest(record)}"


def _undecided(record: Record) -> str:
    needed = record["examples_needed"]
    kind = "fresh" if record["confirmations"] else "more"  # an opened test steered what was wished
    what = "test example" if needed == 1 else "test examples"
    cure = f" About {about(needed)} {kind} {what} would settle it." if needed else ""
    question = f"Undecided: the data cannot tell whether {_goal(record)} is reached."
    return f"{question}{_closest(record)}{cure}"


def _blocked(record: Record) -> str:
    return f"Blocked: whether {_goal(record)} can be reached was not found out."


def _goal(record: Record) -> str:
    return f"{percent(record['target']['score'])} {record['target']['metric']}"


def _level(proof: Record) -> str:
    return f"{100 * (1 - proof['alpha']):.4g}%"  # never rounded up to a round number


def _closest(record: Record) -> str:
    tested = max(record["confirmations"], key=lambda each: each["low"] or 0.0, default=None)
    if tested is not None:
        return (
            f" The closest, {_who(tested)}, scored {percent(tested['score'])} on "
            f"{count(tested['n'])} sealed test examples: at least {percent(tested['low'])} with "
            f"{_level(tested)} confidence."
        )
    best = best_record(record)
    if best is None:
        return ""
    return (
        f" The best, {_who(best)}, scored {percent(best['score'])} "
        f"({interval(best['low'], best['high'])}) on {count(best['n'])} {best['set']} examples."
    )


def _running(record: Record, chosen: Record) -> str:
    facts = []
    if chosen["dollars_per_1000"] is not None:
        facts.append(f"costs {dollars(chosen['dollars_per_1000'])} per 1,000 requests")
    if chosen["p95_seconds"] is not None:
        facts.append(f"answers 95% of requests within {duration(chosen['p95_seconds'])}")
    text = f" It {' and '.join(facts)}." if facts else ""
    if chosen["dollars_per_1000"] is None:
        text += " Its cost per request is unknown."
    volume, month = record.get("requests_per_month"), _month(record, chosen)
    if month is not None and volume:
        low, middle, high = month
        text += (
            f" Owning it costs {dollars(middle)} a month ({dollars(low)} to {dollars(high)}) "
            f"at {count(volume)} requests a month."
        )
    return text


def _month(record: Record, trial: Record) -> list[float] | None:
    for own in record["ownership"]:
        if (own["step"], own["solver"]) == (trial["step"], trial["solver"]):
            total: list[float] | None = own["total_dollars_per_month"]
            return total
    return None


def _who(trial: Record) -> str:
    return who_of(trial["step"], trial["solver"])
