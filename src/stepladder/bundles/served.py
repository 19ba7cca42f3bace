"""Served equals measured: a bundle's endpoint is asked what its trial was asked, before it is used.

What was measured came from a solver in a climb; what callers get comes through a server: another
batch, a chat template, a protocol. The same examples go through both, and the two are compared in
pairs. Small differences are noise of the arithmetic (a batch of another size rounds otherwise);
larger ones are a fault, and block. Nothing here starts a server: see `endpoint.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..compare import paired_gain
from ..core import Example, Gain, Input, Json, Metric, Output, Row
from ..errors import StepladderError
from ..stats import aggregate, clopper_pearson_low
from ..store import output_of

__all__ = ["Difference", "NotServed", "Reply", "ServedCheck", "check_served", "said"]

ALPHA = 0.05  # of each of the two comparisons
NOISE = 0.10  # of the answers may differ
MOST = 200  # examples
SHOWN = 20  # differences in the record

Ask = Callable[[Sequence[Input]], Iterator[tuple[int, "Reply"]]]


class NotServed(StepladderError):
    """The served endpoint does not answer as the measured solver did; `check` has the examples."""

    def __init__(self, message: str, *, hint: str, check: ServedCheck) -> None:
        super().__init__(message, hint=hint)
        self.check = check

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.message, self.hint, self.check)


@dataclass(frozen=True)
class Reply:
    """What the endpoint answered; `citations` are ids of passages.

    `calls`, {"name", "arguments"} each, are those that the caller is to make.
    `parsed` False: the solver could not read what its model said.
    """

    text: str
    parsed: bool = True
    error: str | None = None
    seconds: float | None = None
    citations: tuple[str, ...] = ()
    calls: tuple[Json, ...] = ()


@dataclass(frozen=True)
class Difference:
    """An example that was answered differently; `error` is why the endpoint did not answer."""

    id: str
    input: Json
    expected: Json
    measured: str
    served: str
    error: str | None = None


@dataclass(frozen=True)
class ServedCheck:
    """The endpoint against the trial, on `n` examples that both answered.

    `differing` answers are not the same; with confidence 1 - `ALPHA` at least the share
    `differing_at_least` of all would not be. `gain` is the served score less the measured one.
    """

    bundle: str
    n: int
    differing: int
    differing_at_least: float
    noise: float
    measured_score: float
    served_score: float
    gain: Gain
    failed: int
    passed: bool
    why: str
    differences: tuple[Difference, ...]
    p50_seconds: float | None = None


def check_served(
    bundle: str,
    rows: Sequence[Mapping[str, Any]],
    metric: Metric,
    ask: Ask,
    *,
    noise: float = NOISE,
    most: int = MOST,
) -> ServedCheck:
    """Ask the endpoint what the trial was asked, and say whether it answers alike.

    Args:
        bundle: its id, for the record.
        rows: of the trial, as the climb wrote them.
        metric: scores both answers, so that a metric changed since then cannot look like a fault.
        ask: the endpoint; each reply comes with the index of its input.
        noise: the share of answers that may differ.
        most: so many examples at most; which ones depends on their ids alone.

    Raises:
        StepladderError: the trial has no answered examples, or the endpoint left some out.
    """
    answered = sorted((row for row in rows if row["error"] is None), key=_order)[:most]
    if not answered:
        raise StepladderError(
            "the trial has no answered example to compare the served endpoint with",
            hint="climb again: stepladder climb TASK",
        )
    replies = dict(ask([row["input"] for row in answered]))
    if missing := len(answered) - len(replies):
        raise StepladderError(f"the served endpoint left {missing} of {len(answered)} unanswered")
    as_json = any(not isinstance(row["value"], str | None) for row in answered)
    pairs = [(row, replies[place]) for place, row in enumerate(answered)]
    differing = [_difference(row, reply) for row, reply in pairs if _differs(row, reply, as_json)]
    before = [_row(row, metric, output_of(row)) for row, _ in pairs]
    after = [_row(row, metric, _output(row, reply, as_json)) for row, reply in pairs]
    gain = paired_gain(after, before, metric.scale, ALPHA, against="measured")
    least = clopper_pearson_low(len(differing), len(pairs), ALPHA)
    why = _why(gain, least, noise, (len(differing), len(pairs)))
    return ServedCheck(
        bundle=bundle,
        n=len(pairs),
        differing=len(differing),
        differing_at_least=least,
        noise=noise,
        measured_score=aggregate([row.counts for row in before]),
        served_score=aggregate([row.counts for row in after]),
        gain=gain,
        failed=sum(reply.error is not None for _, reply in pairs),
        passed=not why,
        why=why,
        differences=tuple(differing[:SHOWN]),
        p50_seconds=_median([reply.seconds for _, reply in pairs]),
    )


def said(value: Json, text: str) -> str:
    """What a server says for a solver's answer: the value, as JSON where it is no string.

    What could not be read as a value is said as the model said it.
    """
    if value is None:
        return text
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _order(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(str(row["id"]).encode()).hexdigest()


def _differs(row: Mapping[str, Any], reply: Reply, as_json: bool) -> bool:
    if reply.error is not None or reply.parsed != (row["value"] is not None):
        return True
    if not reply.parsed:
        return bool(reply.text != row["text"])
    return bool(_value(reply, as_json) != row["value"])


def _value(reply: Reply, as_json: bool) -> Json:
    if not reply.parsed or reply.error is not None:
        return None
    if reply.calls:
        return list(reply.calls)
    if not as_json:
        return reply.text
    try:
        return json.loads(reply.text)
    except ValueError:
        return []  # it was read, and is no JSON: no call is to be made


def _output(row: Mapping[str, Any], reply: Reply, as_json: bool) -> Output:
    """With what it cites, as far as the trial was shown the same: a reply has ids only."""
    context = output_of(row).context
    cited = tuple(one for one in context if one.passage in reply.citations)
    value = _value(reply, as_json)
    return Output(value, reply.text, error=reply.error, citations=cited, context=context)


def _difference(row: Mapping[str, Any], reply: Reply) -> Difference:
    measured = said(row["value"], row["text"])
    return Difference(
        str(row["id"]), row["input"], row["expected"], measured, _shown(reply), reply.error
    )


def _shown(reply: Reply) -> str:
    return said(list(reply.calls), "") if reply.calls else reply.text


def _row(row: Mapping[str, Any], metric: Metric, output: Output) -> Row:
    about = row.get("metadata", {})
    example = Example(str(row["id"]), row["input"], row["expected"], row["group"], about)
    return Row(example.id, metric.score(example, output), example.group, error=output.error)


def _why(gain: Gain, least: float, noise: float, differing: tuple[int, int]) -> str:
    """What is beyond noise; empty where nothing is."""
    if gain.low > 0 or gain.high < 0:
        worse = "lower" if gain.difference < 0 else "higher"
        return (
            f"the served score is {worse} by {abs(gain.difference):.3f} "
            f"({gain.low:+.3f} to {gain.high:+.3f})"
        )
    if least > noise:
        count, n = differing
        return f"{count} of {n} answers differ, more than the {noise:.0%} that noise explains"
    return ""


def _median(seconds: Sequence[float | None]) -> float | None:
    known = sorted(one for one in seconds if one is not None)
    return known[len(known) // 2] if known else None


def _rebuild(message: str, hint: str, check: ServedCheck) -> NotServed:
    return NotServed(message, hint=hint, check=check)
