"""What hosted models add to a report: when a dearer one pays, and what their calls were made of.

Sentences from the public record, so that the terminal and the page say the same, at once and later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..compare import reading
from ..core import Json
from .words import UNKNOWN, count, dollars, finite, one_line, percent, points, who_of

__all__ = ["call_sentences", "upgrade_sentences"]

Record = Mapping[str, Json]


def upgrade_sentences(record: Record) -> list[str]:
    """For each pair of models, what the dearer one gains and when that is worth its price."""
    return [_upgrade(each) for each in record.get("upgrades") or ()]


def call_sentences(record: Record) -> list[str]:
    """Per solver: how often it asks for one answer, and what a hosted model's calls were."""
    said = []
    for trial in record["trials"]:
        model = trial.get("model") or "local:"
        parts = [] if model.startswith("local:") else list(_calls(trial))
        if (often := finite(trial.get("model_calls"))) is not None and often > 1:
            parts.insert(0, f"{often:.2g} calls of the model per request")
        if parts:
            said.append(f"{who_of(trial['step'], trial['solver'])}: {'; '.join(parts)}")
    return said


def _upgrade(each: Record) -> str:
    gain, other = each["gain"], each["against"]
    bounds = f"{points(gain['low'])} to {points(gain['high'])}; n = {count(gain['n'])}"
    return (
        f"{_who(each)}: {points(gain['difference'])} points ({bounds}) over {_who(other)} "
        f"{_price(each['dollars_per_1000'])}: {_worth(each)}"
    )


def _price(more: float | None) -> str:
    if finite(more) is None or more is None:
        return "for dollars that are unknown"
    if more == 0:
        return "at the same price"
    return f"for {dollars(abs(more))} {'more' if more > 0 else 'less'} per 1,000 requests"


def _worth(each: Record) -> str:
    """What follows; a gain that interval and test do not both show is not priced."""
    gain, more = each["gain"], each["dollars_per_1000"]
    ends = gain["low"] or 0.0, gain["high"] or 0.0
    shown = reading(*ends, gain["p_value"], gain["alpha"])
    if shown == "worse":
        return "shown to be worse"
    if shown != "better":
        return "not shown to be better"
    if each["dollars_per_success"] is None:
        if more is None:
            return "better; whether that is worth it depends on what it costs"
        return "better, and it costs no more"
    said = f"worth it when a right answer is worth more than {dollars(each['dollars_per_success'])}"
    if each["pays"] is None:
        return said
    return f"{said}; by what the task says one is worth, it {'is' if each['pays'] else 'is not'}"


def _who(side: Record) -> str:
    """The solver, with its model where the name does not say it."""
    name = who_of(side["step"], side["solver"])
    base, _, tuned = side["model"].partition(":")[2].partition("@")
    if side["model"].startswith("local:tuned/") or base in side["solver"]:
        return name
    return f"{name} on {'tuned ' if tuned else ''}{one_line(base, 60)}"


def _calls(trial: Record) -> Iterator[str]:
    read, whole = trial.get("cached_tokens"), trial.get("input_tokens")
    saved = finite(trial.get("cache_saved_dollars_per_1000"))
    if read and whole:
        yield f"{_share(read / whole)} of the input was read from a cache, {_saving(saved)}"
    elif saved:  # written, and never read
        yield f"a cache was kept, {_saving(saved)}"
    if trial.get("thinking_tokens"):
        yield f"{count(trial['thinking_tokens'])} tokens of thinking per request, billed as output"
    if share := trial.get("batch_share"):
        of = "" if share == 1 else f"{percent(share, 0)} of the answers: "
        yield f"{of}priced as batch jobs; answering at once costs more"


def _share(part: float) -> str:
    """With one digit, and only called the whole where it is."""
    return percent(part if part >= 1 else min(part, 0.999), 1)


def _saving(saved: float | None) -> str:
    if saved is None:
        return f"the saving is {UNKNOWN}"
    if saved < 0:
        return f"which cost {dollars(-saved)} more per 1,000 requests than it saved"
    return f"which saved {dollars(saved)} per 1,000 requests"
