"""A solver over examples. Each result is on disk as soon as it is known; a failure is a row.

    measure ....... rows, as they finish, for one more block of examples
    summarise ..... an Evaluation of rows: score with interval, latency, tokens, dollars
    evaluate ...... both, for a whole set

Nothing here compares or chooses.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from .core import (
    Counts,
    Evaluation,
    Example,
    Json,
    Metric,
    Output,
    Row,
    Solver,
    Task,
    Usage,
    Workshop,
)
from .diagnose import kind_of_failure
from .errors import ModelError, StepladderError
from .executors import HERE, Executor
from .stats import Interval, expected_calibration_error, interval

__all__ = ["Bench", "evaluate", "measure", "summarise"]

SetName = Literal["train", "dev", "test"]
LANGUAGE = "language"  # of metadata: a slice unasked, since a mean hides the one that fails
LEAST_FAILED = 20  # below so many failed calls nothing is stopped
LEAST_SURE = 50  # answers with a confidence; the error of fewer is mostly chance


@dataclass(frozen=True)
class Bench:
    """What every measurement of a task shares. `price` gives dollars, or None when unknown."""

    task: Task
    metric: Metric
    workshop: Workshop
    price: Callable[[Iterable[Usage]], float | None]
    alpha: float = 0.05  # of the two-sided interval that is shown
    also: tuple[Metric, ...] = ()  # those of `Task.also_measured`
    executor: Executor = HERE


Sink = Callable[[Mapping[str, Json]], None]


def evaluate(
    solver: Solver, examples: Sequence[Example], bench: Bench, set_name: SetName, sink: Sink
) -> Evaluation:
    """The solver over the whole set."""
    started = time.perf_counter()
    rows = list(measure(solver, examples, bench, sink))
    return summarise(
        rows, examples, bench, set_name=set_name, wall_seconds=time.perf_counter() - started
    )


def measure(solver: Solver, examples: Sequence[Example], bench: Bench, sink: Sink) -> Iterator[Row]:
    """One row per example, in the order in which answers finish, each given to `sink` first.

    A metric that raises ends the measurement: without its counts there is no row, and a score of
    zero would be invented.

    Raises:
        ModelError: more than half of the calls fail; what would be measured is the outage.
    """
    failed: list[str] = []
    for index, output in _answers(solver, examples, bench):
        example = examples[index]
        row, record = _row(example, output, bench)
        sink(record)
        if row.error is not None:
            failed.append(row.error)
            if len(failed) >= LEAST_FAILED and len(failed) > len(examples) / 2:
                raise ModelError(
                    f"{len(failed)} of {len(examples)} calls failed; the first: {failed[0]}",
                    hint="mend what the message names and run the same command again; "
                    "finished calls are kept",
                )
        yield row


def summarise(
    rows: Sequence[Row],
    examples: Sequence[Example],
    bench: Bench,
    *,
    set_name: SetName,
    wall_seconds: float | None = None,
) -> Evaluation:
    """The score of these rows with its interval, what answering took, and each slice apart.

    `examples` is the whole set, of which the rows may be a part.
    """
    ordered = sorted(rows, key=lambda row: row.id)
    bound = _interval(ordered, bench)
    latencies = sorted(row.seconds for row in ordered if row.seconds is not None)
    return Evaluation(
        set=set_name,
        metric=bench.metric.name,
        rows=tuple(ordered),
        score=bound.score,
        low=bound.low,
        high=bound.high,
        alpha=bench.alpha,
        method=bound.method,
        planned=len(examples),
        p50_seconds=_quantile(latencies, 0.50),
        p95_seconds=_quantile(latencies, 0.95),
        input_tokens=_mean([row.input_tokens for row in ordered]),
        output_tokens=_mean([row.output_tokens for row in ordered]),
        cached_tokens=_mean([row.cached_tokens for row in ordered]),
        dollars_per_1000=_times(_mean([row.dollars for row in ordered]), 1000),
        wall_seconds=wall_seconds,
        thinking_tokens=_mean([row.thinking_tokens for row in ordered]),
        cache_saved_dollars_per_1000=_times(
            _mean([row.cache_saved_dollars for row in ordered]), 1000
        ),
        batch_share=sum(row.tier == "batch" for row in ordered) / max(1, len(ordered)),
        slices=_slices(ordered, examples, bench),
        also=_also(ordered, bench),
        model_calls=_mean([float(row.model_calls) for row in ordered]),
        calibration_error=_calibration(ordered),
    )


def _answers(
    solver: Solver, examples: Sequence[Example], bench: Bench
) -> Iterator[tuple[int, Output]]:
    """Every example exactly once, whatever the solver does."""
    missing = set(range(len(examples)))
    problem = "the solver gave no answer"
    try:
        inputs = [example.input for example in examples]
        for index, output in bench.executor.answer(solver, inputs, bench.workshop):
            if index in missing:
                missing.discard(index)
                yield index, output
    except (StepladderError, AssertionError):
        raise
    except Exception as error:  # one bad example must not cost a night's run: it becomes rows
        problem = repr(error)
    for index in sorted(missing):
        yield index, Output(None, error=problem)


def _row(example: Example, output: Output, bench: Bench) -> tuple[Row, dict[str, Json]]:
    counts: Counts = bench.metric.score(example, output)
    failure = kind_of_failure(bench.task, example, output, counts)
    usage = output.usage
    row = Row(
        id=example.id,
        counts=counts,
        group=example.group,
        failure=failure,
        error=output.error,
        input_tokens=_sum([one.input_tokens for one in usage]),
        output_tokens=_sum([one.output_tokens for one in usage]),
        cached_tokens=_sum([one.cached_tokens for one in usage]),
        seconds=_sum([one.seconds for one in usage]),
        compute_seconds=_sum([one.compute_seconds for one in usage]),
        dollars=bench.price(usage) if usage else None,
        thinking_tokens=_sum([one.thinking_tokens for one in usage]),
        audio_tokens=_sum([one.audio_tokens for one in usage]),
        cache_saved_dollars=_saved(usage, bench),
        kept_tokens=_kept(usage),
        tier="batch" if usage and all(one.tier == "batch" for one in usage) else "standard",
        also={metric.name: metric.score(example, output) for metric in bench.also},
        model_calls=len(usage),
        confidence=output.confidence,
    )
    record = {
        "id": example.id,
        "input": example.input,
        "expected": example.expected,
        "text": output.text,
        "value": output.value,
        "counts": counts,
        "failure": failure,
        "error": output.error,
        "group": example.group,
        "confidence": row.confidence,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cached_tokens": row.cached_tokens,
        "seconds": row.seconds,
        "compute_seconds": row.compute_seconds,
        "dollars": row.dollars,
        "thinking_tokens": row.thinking_tokens,
        "audio_tokens": row.audio_tokens,
        "cache_saved_dollars": row.cache_saved_dollars,
        "kept_tokens": row.kept_tokens,
        "tier": row.tier,
        "model_calls": row.model_calls,
    }
    if example.metadata:  # a metric may score by it, and what is served is scored again
        record["metadata"] = dict(example.metadata)
    for name, cited in (("citations", output.citations), ("context", output.context)):
        if cited:
            record[name] = [asdict(one) for one in cited]
    if row.also:
        record["also"] = dict(row.also)
    return row, record


def _saved(usage: Sequence[Usage], bench: Bench) -> float | None:
    """What the same calls would have cost without a cache, less what they did cost."""
    if any(one.cached_tokens is None for one in usage):
        return None
    if not any(_used_cache(one) for one in usage):
        return 0.0 if usage else None
    without = bench.price(
        [
            replace(one, cached_tokens=0, cache_write_tokens=0.0, cache_token_hours=0.0)
            for one in usage
        ]
    )
    spent = bench.price(usage)
    return None if without is None or spent is None else without - spent


def _kept(usage: Sequence[Usage]) -> tuple[int, ...] | None:
    """What each call read of a prefix written for it and others, in tokens; None without one."""
    kept = tuple(one.cached_tokens or 0 for one in usage if one.cache_write_tokens)
    return kept or None


def _used_cache(one: Usage) -> bool:
    return bool(one.cached_tokens or one.cache_write_tokens or one.cache_token_hours)


def _interval(rows: Sequence[Row], bench: Bench, also: Metric | None = None) -> Interval:
    """Of the task's metric, or of the one of `also_measured`."""
    return interval(
        [row.also[also.name] if also else row.counts for row in rows],
        (also or bench.metric).scale,
        bench.alpha,
        groups=[row.group for row in rows],
        seed=bench.task.seed,
    )


def _also(rows: Sequence[Row], bench: Bench) -> dict[str, tuple[float, float, float, int]]:
    found = {}
    for metric in bench.also:
        bound = _interval(rows, bench, metric)
        found[metric.name] = (bound.score, bound.low, bound.high, len(rows))
    return found


def _calibration(rows: Sequence[Row]) -> float | None:
    """Of the rows whose answer came with a confidence; None where they are too few to tell."""
    sure = [(row.confidence, row.failure is None) for row in rows if row.confidence is not None]
    if len(sure) < LEAST_SURE:
        return None
    confidence, right = zip(*sure, strict=True)
    return expected_calibration_error(confidence, right)


def _slices(
    rows: Sequence[Row], examples: Sequence[Example], bench: Bench
) -> dict[str, tuple[float, float, float, int]]:
    floors = [name for name in bench.task.target.floors if "=" in name]
    wanted = {*bench.task.slices, *(name.partition("=")[0] for name in floors)}
    metadata = {example.id: example.metadata for example in examples}
    if len({str(one[LANGUAGE]) for one in metadata.values() if LANGUAGE in one}) > 1:
        wanted.add(LANGUAGE)
    if not wanted:
        return {}
    members: dict[str, list[Row]] = {}
    for row in rows:
        for name in wanted & metadata[row.id].keys():
            members.setdefault(f"{name}={metadata[row.id][name]}", []).append(row)
    found = {}
    for name, inside in sorted(members.items()):
        bound = _interval(inside, bench)
        found[name] = (bound.score, bound.low, bound.high, len(inside))
    return found


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def _sum(values: Sequence[int | float | None]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _mean(values: Sequence[int | float | None]) -> float | None:
    """The mean where every value is known; one unknown makes it unknown."""
    total = _sum(values)
    return None if total is None else float(total) / len(values)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
