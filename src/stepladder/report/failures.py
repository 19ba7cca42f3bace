"""Failing examples for the report: a fair, bounded sample, with every compared solver's answer.

Reads the rows files as streams, twice, so that 100,000 rows cost time but not memory. It shows;
`diagnose.py` has already sorted the failures into kinds.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from ..core import Decision, Json, Trial
from ..errors import StepladderError
from .picks import baseline_of, best_trial
from .words import key_of, name_of

__all__ = ["Answer", "Case", "Failures", "compared_trials", "failing_examples"]

RowsOf = Callable[[str, str, str], Iterable[Mapping[str, Any]]]

INPUT_CHARACTERS = 2_000
ANSWER_CHARACTERS = 1_000
MOST_KINDS = 20
DEEPEST = 6  # levels of a nested answer that are laid out
OTHER = "other kinds"


@dataclass(frozen=True)
class Answer:
    """What one solver said to one example; `kind` is None where it was right."""

    text: str
    kind: str | None
    said: str = ""  # the raw text, where it differs from the answer that was read out of it
    error: str = ""


@dataclass(frozen=True)
class Case:
    """One example with the answers of the compared solvers; None where it was not asked."""

    id: str
    input: str
    expected: str
    group: str
    answers: tuple[Answer | None, ...]


@dataclass(frozen=True)
class Failures:
    """The sample and what it was taken from: `total` examples fail for the first two solvers."""

    trials: tuple[Trial, ...] = ()
    cases: tuple[Case, ...] = ()
    total: int = 0
    kinds: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass
class _Sample:
    """The failing examples of the compared pair: all counted, few kept, the same every time."""

    limit: int
    kept: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        kind = str(row["failure"])
        if kind not in self.kept and len(self.kept) >= MOST_KINDS:
            kind = OTHER
        draw = _draw(str(row["id"]))
        self.seen.add(draw)
        self.kinds[kind] += 1
        heap = self.kept.setdefault(kind, [])
        entry = (-draw, str(row["id"]))
        if entry in heap:
            return
        (heapq.heappush if len(heap) < self.limit else heapq.heappushpop)(heap, entry)

    def ids(self) -> dict[str, None]:
        """At most `limit` ids, a turn for each kind until all are used."""
        queues = [[each[1] for each in sorted(heap, reverse=True)] for heap in self.kept.values()]
        turns = (name for row in zip_longest(*queues) for name in row if name is not None)
        chosen: dict[str, None] = {}
        for name in turns:
            if len(chosen) >= self.limit:
                break
            chosen[name] = None
        return chosen


def compared_trials(decision: Decision) -> tuple[Trial, ...]:
    """The chosen (or best) trial, the one it is compared with, then the best of each other step."""
    first = best_trial(decision)
    if first is None:
        return ()
    second = baseline_of(first, decision)
    by_step: dict[str, Trial] = {}
    for trial in decision.trials:
        best = by_step.get(trial.candidate.step)
        if trial.stopped_early is None and (best is None or _score(trial) > _score(best)):
            by_step[trial.candidate.step] = trial
    ordered = [first, *([second] if second else []), *reversed(by_step.values())]
    if all(key_of(trial) == key_of(first) for trial in ordered):  # one step: its runner-up
        ordered += sorted(decision.trials, key=_score, reverse=True)[:2]
    return tuple({key_of(trial): trial for trial in ordered}.values())[:6]


def failing_examples(decision: Decision, rows_of: RowsOf | None, *, limit: int = 120) -> Failures:
    """At most `limit` failing examples of the compared pair, spread over the kinds of failure."""
    trials = compared_trials(decision)
    if rows_of is None or not trials:
        return Failures(trials)
    sample, problems = _Sample(limit), []
    for trial in trials[:2]:
        try:
            for row in _rows(rows_of, trial):
                if row.get("failure") is not None:
                    sample.add(row)
        except (StepladderError, OSError) as error:
            problems.append(f"the rows of {name_of(trial.candidate)} cannot be read: {error}")
    wanted = sample.ids()
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for place, trial in enumerate(trials) if wanted else ():
        try:
            for row in _rows(rows_of, trial):
                if str(row["id"]) in wanted:
                    found.setdefault(str(row["id"]), {})[place] = row
        except (StepladderError, OSError) as error:
            problems.append(f"the rows of {name_of(trial.candidate)} cannot be read: {error}")
    cases = tuple(_case(name, found[name], len(trials)) for name in wanted if name in found)
    kinds = tuple(kind for kind, _ in sample.kinds.most_common())
    return Failures(trials, cases, len(sample.seen), kinds, tuple(dict.fromkeys(problems)))


def readable(value: Json) -> str:
    """An input or an answer for reading: fields as lines, messages with their role."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if _is_conversation(value):
        return "\n".join(f"{m['role']}: {_content(m.get('content', ''))}" for m in value)
    return "\n".join(_outline(value))


def _is_conversation(value: Json) -> bool:
    return (
        isinstance(value, Sequence)
        and bool(value)
        and all(isinstance(each, Mapping) and "role" in each for each in value)
    )


def _outline(value: Json, depth: int = 0) -> list[str]:
    """JSON as indented lines: a field each, a dash before each entry of a list of records."""
    if depth > DEEPEST or not isinstance(value, Mapping | list | tuple):
        return [_inline(value)]
    if isinstance(value, Mapping):
        return [line for key, each in value.items() for line in _field(str(key), each, depth)]
    if not any(isinstance(each, Mapping | list | tuple) for each in value):
        return ["; ".join(_inline(each) for each in value) or "(none)"]
    lines = []
    for each in value:
        first, *rest = _outline(each, depth + 1) or ["(none)"]
        lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


def _field(name: str, value: Json, depth: int) -> list[str]:
    lines = _outline(value, depth + 1) or ["(none)"]
    if len(lines) == 1 and not isinstance(value, Mapping) and not lines[0].startswith("- "):
        return [f"{name}: {lines[0]}"]
    return [f"{name}:", *(f"  {line}" for line in lines)]


def _case(name: str, rows: Mapping[int, Mapping[str, Any]], places: int) -> Case:
    first = next(iter(rows.values()))
    return Case(
        name,
        _cut(readable(first.get("input")), INPUT_CHARACTERS),
        _cut(readable(first.get("expected")), ANSWER_CHARACTERS),
        str(first.get("group") or ""),
        tuple(_answer(rows[place]) if place in rows else None for place in range(places)),
    )


def _answer(row: Mapping[str, Any]) -> Answer:
    said, value = str(row.get("text") or ""), row.get("value")
    text = readable(value) if value is not None else said
    return Answer(
        _cut(text, ANSWER_CHARACTERS),
        str(row["failure"]) if row.get("failure") is not None else None,
        "" if value is None or _same(said, value) else _cut(said, ANSWER_CHARACTERS),
        _cut(str(row.get("error") or ""), 300),
    )


def _same(said: str, value: Json) -> bool:
    """Whether the text is the value and nothing more."""
    if isinstance(value, str):
        return said.strip() == value.strip()
    try:
        return bool(json.loads(said) == value)
    except ValueError:
        return False


def _rows(rows_of: RowsOf, trial: Trial) -> Iterable[Mapping[str, Any]]:
    return rows_of(*key_of(trial), trial.evaluation.set)


def _draw(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _score(trial: Trial) -> float:
    return trial.evaluation.score


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else [content]
    return " ".join(
        str(part.get("text") or f"[{part.get('kind', 'part')}: {part.get('uri', '')}]")
        if isinstance(part, Mapping)
        else str(part)
        for part in parts
    )


def _inline(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… (cut; {len(text):,} characters in all)"
