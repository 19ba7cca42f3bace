"""Measuring: failures become rows, unknown stays unknown, and an outage stops the run."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from climbing import number_task, numbers
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import (
    Citation,
    Evaluation,
    Example,
    Input,
    Json,
    MetricSpec,
    Output,
    Row,
    Target,
    Usage,
    Workshop,
)
from stepladder.errors import ModelError, StepladderError, StoreError, TaskError
from stepladder.evaluate import Bench, _kept, evaluate, measure, summarise
from stepladder.metrics import load_also, load_metric
from stepladder.store import output_of


@dataclass(frozen=True)
class Says:
    """A solver that gives what the function gives for each input, in the order of `order`."""

    reply: Callable[[int], Output]
    order: Sequence[int] | None = None
    kind: str = field(default="says", init=False)

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        for index in self.order if self.order is not None else range(len(inputs)):
            yield index, self.reply(index)


def make_bench(price: float | None = 0.001, **changes: Any) -> Bench:
    task = replace(number_task(Path()), **changes)
    workshop = Workshop(lambda name: None, Path(), lambda event, fields: None)  # type: ignore[arg-type,return-value]
    return Bench(task, load_metric(task), workshop, lambda usage: price)


def used(**known: Any) -> tuple[Usage, ...]:
    return (Usage("fake:model", **known),)


def right(index: int) -> Output:
    return Output(numbers(0, 50)[index].expected, usage=used(input_tokens=7, seconds=0.5))


def run(
    solver: Says, examples: Sequence[Example] = numbers(0, 10), bench: Bench | None = None
) -> tuple[Evaluation, list[Mapping[str, Json]]]:
    records: list[Mapping[str, Json]] = []
    return evaluate(solver, examples, bench or make_bench(), "dev", records.append), records


# --- how far confidence can be believed -----------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "sure", "error"), [(60, 0.9, 0.4), (60, 0.5, 0.0), (49, 0.9, None), (60, None, None)]
)
def test_confidence_is_held_against_the_share_of_right_answers(n, sure, error) -> None:
    examples = numbers(0, n)

    def every_second(index: int) -> Output:
        value = examples[index].expected if index % 2 else "wrong"
        return Output(value, confidence=sure, usage=used(input_tokens=7))

    found, _ = run(Says(every_second), examples)
    assert found.calibration_error == pytest.approx(error, abs=1e-9)


# --- one row per example -------------------------------------------------------------------------


def test_rows_are_in_the_order_of_ids_and_records_in_the_order_of_answers() -> None:
    evaluation, records = run(Says(right, [3, 1, 0, 2]), numbers(0, 4))
    assert [row.id for row in evaluation.rows] == ["n00000", "n00001", "n00002", "n00003"]
    assert [record["id"] for record in records] == ["n00003", "n00001", "n00000", "n00002"]
    assert evaluation.score == 1.0


@given(order=st.lists(st.integers(0, 9), max_size=40))
def test_every_example_has_one_row_whatever_the_solver_gives(order: list[int]) -> None:
    evaluation, records = run(Says(right, order))
    assert [row.id for row in evaluation.rows] == [example.id for example in numbers(0, 10)]
    assert len(records) == 10
    answered = {f"n{index:05}" for index in order}
    assert {row.id for row in evaluation.rows if row.error is None} == answered
    assert evaluation.score == pytest.approx(len(answered) / 10)


def test_a_row_is_told_before_the_next_answer_is_asked_for() -> None:
    """So that a kill between two answers loses nothing."""
    told: list[str] = []

    def reply(index: int) -> Output:
        assert len(told) == index
        return right(index)

    for row in measure(Says(reply), numbers(0, 5), make_bench(), lambda r: told.append(r["id"])):
        assert told[-1] == row.id


def test_a_solver_that_raises_half_way_costs_only_what_it_did_not_answer() -> None:
    def reply(index: int) -> Output:
        if index == 6:
            raise ValueError("the connection broke")
        return right(index)

    evaluation, _ = run(Says(reply))
    assert [row.error is None for row in evaluation.rows] == [True] * 6 + [False] * 4
    assert "the connection broke" in (evaluation.rows[7].error or "")
    assert evaluation.score == 0.6


@pytest.mark.parametrize("error", [StoreError("the disk is full"), StepladderError("no")])
def test_an_expected_error_ends_the_measurement(error: StepladderError) -> None:
    def reply(index: int) -> Output:
        raise error

    with pytest.raises(StepladderError) as told:
        run(Says(reply))
    assert told.value is error


def test_stopping_by_hand_is_no_failure_of_an_example() -> None:
    def reply(index: int) -> Output:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Says(reply))


def test_a_failed_call_is_a_row_that_scores_nothing() -> None:
    def reply(index: int) -> Output:
        if index % 5 == 0:
            return Output(right(index).value, error="timed out")  # right, but it never came
        return right(index)

    evaluation, records = run(Says(reply))
    assert evaluation.score == 0.8
    assert [record["error"] for record in records].count("timed out") == 2
    assert records[0]["failure"] is not None


def test_a_metric_that_raises_ends_the_measurement_and_names_its_place(tmp_path: Path) -> None:
    """No row can stand for it: without counts there is no score, and zero would be invented."""
    (tmp_path / "metrics.py").write_text(
        "def fragile(example, output) -> bool:\n    return {'even': True}[output.value]\n",
        encoding="utf-8",
    )
    records: list[Mapping[str, Json]] = []
    bench = make_bench(metric=MetricSpec("fragile"), folder=tmp_path)
    with pytest.raises(TaskError, match=r"metrics\.py:2: 'fragile' raised KeyError") as told:
        evaluate(Says(right), numbers(0, 5), bench, "dev", records.append)
    assert "'n00001'" in told.value.message
    assert [record["id"] for record in records] == ["n00000"]


# --- an outage -----------------------------------------------------------------------------------


def fails_first(count: int) -> Says:
    def reply(index: int) -> Output:
        return Output(None, error="503 busy") if index < count else right(index)

    return Says(reply)


def test_more_than_half_failing_stops_the_measurement() -> None:
    with pytest.raises(ModelError, match="26 of 50 calls failed; the first: 503 busy"):
        run(fails_first(26), numbers(0, 50))


def test_half_failing_is_measured() -> None:
    evaluation, _ = run(fails_first(25), numbers(0, 50))
    assert evaluation.score == 0.5


def test_a_few_failures_in_a_small_set_are_measured() -> None:
    evaluation, _ = run(fails_first(10))
    assert evaluation.score == 0.0


# --- what answering took -------------------------------------------------------------------------

maybe = st.none() | st.integers(0, 10_000)


@given(st.lists(maybe, min_size=1, max_size=20), st.sampled_from(["input", "output", "cached"]))
def test_one_unknown_count_makes_the_mean_unknown(counts: list[int | None], kind: str) -> None:
    examples = numbers(0, len(counts))

    def reply(index: int) -> Output:
        return replace(right(index), usage=used(**{f"{kind}_tokens": counts[index]}))

    evaluation, records = run(Says(reply), examples)
    mean = getattr(evaluation, f"{kind}_tokens")
    if None in counts:
        assert mean is None
    else:
        assert mean == pytest.approx(statistics.mean(counts))  # type: ignore[type-var]
    assert [record[f"{kind}_tokens"] for record in records] == counts


def test_an_unknown_price_is_unknown_and_free_is_free() -> None:
    assert run(Says(right), bench=make_bench(price=None))[0].dollars_per_1000 is None
    assert run(Says(right), bench=make_bench(price=0.0))[0].dollars_per_1000 == 0.0
    assert run(Says(right), bench=make_bench(price=0.002))[0].dollars_per_1000 == pytest.approx(2)


def test_an_answer_of_two_calls_is_charged_for_both() -> None:
    both = (*used(input_tokens=3, seconds=1.0), *used(input_tokens=4, seconds=0.5))
    evaluation, records = run(Says(lambda index: replace(right(index), usage=both)))
    assert (evaluation.model_calls, records[0]["model_calls"]) == (2, 2)
    assert evaluation.input_tokens == 7
    assert evaluation.p50_seconds == 1.5


def by_tokens(calls: Iterable[Usage]) -> float | None:
    """A dollar a token; cached ones a tenth, writing a cache half as much again."""
    total = 0.0
    for one in calls:
        if one.input_tokens is None:
            return None
        total += one.input_tokens - 0.9 * (one.cached_tokens or 0) + 1.5 * one.cache_write_tokens
    return total


@pytest.mark.parametrize(
    ("usage", "saved"),
    [
        ({"input_tokens": 100, "cached_tokens": 80}, 72.0),
        ({"input_tokens": 100, "cached_tokens": 80, "cache_write_tokens": 60.0}, -18.0),
        ({"input_tokens": 100, "cached_tokens": 0}, 0.0),
        ({"input_tokens": 100, "cached_tokens": None}, None),
        ({"input_tokens": None, "cached_tokens": 80}, None),
    ],
)
def test_what_a_cache_saved_is_the_price_without_it_less_the_price(
    usage: dict[str, Any], saved: float | None
) -> None:
    bench = replace(make_bench(), price=by_tokens)
    evaluation, records = run(
        Says(lambda index: replace(right(index), usage=used(**usage))), bench=bench
    )
    assert records[0]["cache_saved_dollars"] == (None if saved is None else pytest.approx(saved))
    expected = None if saved is None else pytest.approx(1000 * saved)
    assert evaluation.cache_saved_dollars_per_1000 == expected


def test_thinking_sound_and_batch_jobs_are_on_every_row() -> None:
    def reply(index: int) -> Output:
        tier: Any = "batch" if index < 4 else "standard"
        return replace(right(index), usage=used(thinking_tokens=9, audio_tokens=32, tier=tier))

    evaluation, records = run(Says(reply))
    assert evaluation.thinking_tokens == 9
    assert evaluation.batch_share == 0.4
    assert [record["tier"] for record in records] == ["batch"] * 4 + ["standard"] * 6
    assert {(record["thinking_tokens"], record["audio_tokens"]) for record in records} == {(9, 32)}


def test_an_answer_without_calls_has_no_tokens_and_no_price() -> None:
    evaluation, _ = run(Says(lambda index: replace(right(index), usage=())))
    assert evaluation.input_tokens is None
    assert evaluation.p50_seconds is None
    assert evaluation.dollars_per_1000 is None


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=60))
def test_percentiles_are_latencies_that_happened(seconds: list[float]) -> None:
    rows = [
        Row(f"n{index:05}", (("", 1.0, 1.0),), seconds=value) for index, value in enumerate(seconds)
    ]
    seen = summarise(rows, numbers(0, len(rows)), make_bench(), set_name="dev")
    for share, value in ((0.5, seen.p50_seconds), (0.95, seen.p95_seconds)):
        assert value in seconds
        assert sum(one <= value for one in seconds) >= share * len(seconds)
        assert sum(one < value for one in seconds) < share * len(seconds) or value == min(seconds)


def test_percentiles_leave_out_what_has_no_latency() -> None:
    rows = [
        Row("n00000", (("", 1.0, 1.0),), seconds=None),
        Row("n00001", (("", 1.0, 1.0),), seconds=2.0),
    ]
    assert summarise(rows, numbers(0, 2), make_bench(), set_name="dev").p95_seconds == 2.0


# --- the score -----------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_the_score_lies_in_its_interval(lucky: list[bool]) -> None:
    def reply(index: int) -> Output:
        return right(index) if lucky[index] else Output("neither")

    evaluation, _ = run(Says(reply), numbers(0, len(lucky)))
    assert 0 <= evaluation.low <= evaluation.score <= evaluation.high <= 1
    assert evaluation.score == pytest.approx(sum(lucky) / len(lucky))
    assert (evaluation.n, evaluation.planned) == (len(lucky), len(lucky))


def test_part_of_a_set_is_told_from_the_whole() -> None:
    examples = numbers(0, 40)
    rows = list(measure(Says(right), examples[:10], make_bench(), lambda record: None))
    evaluation = summarise(rows, examples, make_bench(), set_name="dev")
    assert (evaluation.n, evaluation.planned) == (10, 40)


def in_languages(count: int) -> tuple[Example, ...]:
    return tuple(
        replace(example, metadata={"language": "de" if index % 4 else "ilo", "length": 7})
        for index, example in enumerate(numbers(0, count))
    )


def bad_in_ilocano(index: int) -> Output:
    return right(index) if index % 4 else Output("neither")


def test_slices_are_scored_apart() -> None:
    bench = make_bench(slices=("language",))
    evaluation, _ = run(Says(bad_in_ilocano), in_languages(40), bench)
    assert evaluation.slices.keys() == {"language=de", "language=ilo"}
    score, low, high, n = evaluation.slices["language=ilo"]
    assert (score, n) == (0.0, 10)
    assert 0 == low < high < 0.5
    assert evaluation.slices["language=de"][0] == 1.0


def test_a_floor_measures_its_slice_without_being_asked() -> None:
    bench = make_bench(target=Target(0.5, floors={"language=ilo": 0.8}))
    evaluation, _ = run(Says(bad_in_ilocano), in_languages(40), bench)
    assert "language=ilo" in evaluation.slices
    assert not any(name.startswith("length") for name in evaluation.slices)


def test_examples_without_the_field_are_in_no_slice() -> None:
    mixed = (*in_languages(8), *numbers(8, 4))
    evaluation, _ = run(Says(right), mixed, make_bench(slices=("language",)))
    assert sum(n for *_, n in evaluation.slices.values()) == 8


def test_metrics_beside_are_in_rows_records_and_the_evaluation() -> None:
    also = (MetricSpec("groundedness"), MetricSpec("token_f1"))
    bench = make_bench(also_measured=also, target=Target(0.5, floors={"token_f1": 0.5}))
    bench = replace(bench, also=load_also(bench.task))
    evaluation, records = run(Says(right), numbers(0, 4), bench)
    assert evaluation.also["token_f1"][0] == 1.0
    assert evaluation.also["groundedness"][0] == 0.0
    assert evaluation.also["token_f1"][3] == 4
    assert evaluation.slices == {}
    assert evaluation.rows[0].also["groundedness"] == (("all", 0.0, 1.0),)
    assert records[0]["also"] == dict(evaluation.rows[0].also)
    assert "also" not in run(Says(right))[1][0]


def test_wall_time_is_at_least_nothing() -> None:
    evaluation, _ = run(Says(right))
    assert evaluation.wall_seconds is not None
    assert 0 <= evaluation.wall_seconds < math.inf


def test_a_prefix_kept_for_a_price_is_told_from_what_the_service_keeps_by_itself() -> None:
    free = Usage("m:x", 100, 5, cached_tokens=80)
    assert _kept([free]) is None
    assert _kept([replace(free, cache_write_tokens=1.0)]) == (80,)
    assert _kept([replace(free, cached_tokens=0, cache_write_tokens=1.0)]) == (0,)


def test_what_an_answer_cites_is_in_its_row_and_comes_back() -> None:
    cited = Citation("a#0", "handbook.md", "Pay day is the last day of the month.", "Pay")
    other = Citation("b#0", "handbook.md", "Leave is 25 days.")
    says = Says(lambda _: Output(1, "1", citations=(cited,), context=(cited, other)))
    _, (row,) = run(says, numbers(0, 1))
    read = output_of(json.loads(json.dumps(row)))
    assert (read.citations, read.context) == ((cited,), (cited, other))


def test_a_row_without_citations_has_no_field_for_them() -> None:
    _, (row,) = run(Says(right), numbers(0, 1))
    assert not {"citations", "context"} & row.keys()
