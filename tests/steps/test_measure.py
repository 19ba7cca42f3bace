"""The arithmetic that steps search by, and the draws they search on."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Counts, Example, Usage
from stepladder.errors import ModelError
from stepladder.metrics.accuracy import Accuracy
from stepladder.solvers.prompt import PromptSolver
from stepladder.steps.measure import paired_gain, seconds_of, try_solver
from stepladder.steps.sampling import hold_out, spread_over_labels
from stepladder.steps.worth import Measured, choose_k
from stepladder.testing import FakeModel, fake_workshop

EXAMPLES = (Example("1", "a", "yes"), Example("2", "b", "no"))
SOLVER = PromptSolver("fake:model", "Say yes or no.", output_format="label", labels=("yes", "no"))


def rights(*values: float) -> tuple[Counts, ...]:
    return tuple((("all", float(value), 1.0),) for value in values)


def test_an_attempt_scores_and_counts_what_it_took(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(lambda request: "yes"), tmp_path)
    attempt = try_solver(SOLVER, EXAMPLES, Accuracy(), workshop)
    assert attempt.score == 0.5
    assert attempt.effort.calls == 2
    more = attempt + try_solver(SOLVER, EXAMPLES[:1], Accuracy(), workshop)
    assert more.score == pytest.approx(2 / 3)
    assert more.effort.calls == 3
    assert more.tokens_per_request == pytest.approx(attempt.tokens_per_request)


def test_calls_of_a_service_took_what_they_took_when_they_were_made() -> None:
    away = [Usage("a:b", 1, 1, waited_seconds=seconds) for seconds in (2.0, 0.5)]
    assert seconds_of(away, elapsed=0.01) == 2.5
    local = Usage("local:b", 1, 1, seconds=9.0, compute_seconds=1.0)
    assert seconds_of([*away, local], elapsed=0.01) == 3.5
    assert seconds_of([*away, Usage("a:b", 1, 1)], elapsed=0.01) == 0.01, "one does not tell"
    assert seconds_of([], elapsed=0.01) == 0.01


def test_a_model_that_is_down_is_no_score_of_zero(tmp_path: Path) -> None:
    def reply(request: object) -> str:
        raise RuntimeError("down")

    with pytest.raises(ModelError, match=r"all 2 calls .*down"):
        try_solver(SOLVER, EXAMPLES, Accuracy(), fake_workshop(FakeModel(reply), tmp_path))
    with pytest.raises(ModelError, match=r"the only call .*down"):
        try_solver(SOLVER, EXAMPLES[:1], Accuracy(), fake_workshop(FakeModel(reply), tmp_path))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30))
def test_the_jackknife_error_of_a_mean_is_the_textbook_one(pairs: list[tuple[bool, bool]]) -> None:
    better, base = rights(*(a for a, _ in pairs)), rights(*(b for _, b in pairs))
    gain, error = paired_gain(better, base)
    n = len(pairs)
    differences = [float(a) - float(b) for a, b in pairs]
    mean = sum(differences) / n
    assert gain == pytest.approx(mean)
    spread = sum((d - mean) ** 2 for d in differences)
    assert error == pytest.approx(math.sqrt(spread / (n - 1) / n), abs=1e-9)


def test_one_example_tells_nothing() -> None:
    assert paired_gain(rights(1), rights(0)) == (1.0, math.inf)


def k_of(k: int, counts: tuple[Counts, ...], dollars: float | None = None) -> Measured:
    return Measured(k, counts, 10.0 * k, dollars)


def test_without_a_price_the_smallest_k_within_one_standard_error() -> None:
    few, some, many = (rights(*[1] * n, *[0] * (40 - n)) for n in (10, 29, 30))
    kept, why = choose_k([k_of(8, many), k_of(2, few), k_of(4, some)], None)
    assert kept.k == 4
    assert "standard error" in why
    assert "k=8" in why
    assert choose_k([k_of(2, few), k_of(8, many)], None)[0].k == 8
    assert choose_k([k_of(2, many), k_of(8, many)], None)[0].k == 2


def test_with_a_price_a_larger_k_must_earn_its_tokens() -> None:
    few, many = rights(*[1] * 10, *[0] * 30), rights(*[1] * 30, *[0] * 10)
    cheap = [k_of(2, few, 0.001), k_of(8, many, 0.002)]
    dear = [k_of(2, few, 0.001), k_of(8, many, 0.9)]
    assert choose_k(cheap, 0.1)[0].k == 8
    assert choose_k(dear, 0.1)[0].k == 2
    assert choose_k(dear, 10.0)[0].k == 8
    assert choose_k([k_of(2, few, 0.001), k_of(8, many)], 0.0)[0].k == 8, "a price is unknown"


examples = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([None, "g1", "g2", "g3"])), max_size=40
).map(
    lambda rows: tuple(
        Example(str(at), f"text {at}", label, group) for at, (label, group) in enumerate(rows)
    )
)


@given(examples, st.integers(0, 20), st.integers(0, 5))
def test_holding_out_divides_train_and_never_a_group(
    train: tuple[Example, ...], n: int, seed: int
) -> None:
    rest, held = hold_out(train, n, seed)
    assert sorted(e.id for e in (*rest, *held)) == sorted(e.id for e in train)
    assert len(held) <= min(n, len(train) // 2)
    assert not {e.group for e in rest if e.group} & {e.group for e in held if e.group}
    assert hold_out(train, n, seed) == (rest, held)


@given(examples, st.integers(0, 5))
def test_every_beginning_spreads_over_the_labels(train: tuple[Example, ...], seed: int) -> None:
    order = spread_over_labels(train, seed)
    assert sorted(e.id for e in order) == sorted(e.id for e in train)
    for n in range(len(order) + 1):
        taken = {label: sum(e.expected == label for e in order[:n]) for label in "abc"}
        left = {label: sum(e.expected == label for e in order[n:]) for label in "abc"}
        open_labels = [taken[label] for label in "abc" if left[label]]
        assert not open_labels or max(taken.values()) <= min(open_labels) + 1
