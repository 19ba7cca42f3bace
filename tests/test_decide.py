"""The decision: who is worth an opening, what an opening shows, and what is then said."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import (
    Candidate,
    Confirmation,
    Evaluation,
    Example,
    Input,
    Output,
    Ownership,
    Row,
    Skipped,
    Target,
    Trial,
    Workshop,
)
from stepladder.decide import SealedTest, able, conclude, confirm, next_to_confirm
from stepladder.errors import StepladderError
from stepladder.forecast import Part, chance
from stepladder.stats import interval, least_n
from stepladder.units import Scale

TEST = SealedTest(size=300, scale="binary")
TARGET = Target(0.85)


@dataclass(frozen=True)
class Silent:
    kind: str = "silent"

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        return iter(())


def rows_of(right: int, n: int, **fields: object) -> tuple[Row, ...]:
    base = Row("", (), None)
    return tuple(
        replace(base, id=f"e{i:05}", counts=(("", float(i < right), 1.0),), **fields)
        for i in range(n)
    )


def evaluation_of(rows: tuple[Row, ...], set: str = "dev", **fields: object) -> Evaluation:
    bound = interval([row.counts for row in rows], "binary", 0.05)
    base = Evaluation(
        set, "accuracy", rows, bound.score, bound.low, bound.high, 0.05, bound.method, len(rows)
    )
    return replace(base, **fields)


def trial_of(name: str, right: int, n: int = 300, **fields: object) -> Trial:
    return Trial(Candidate("step", name, Silent()), evaluation_of(rows_of(right, n), **fields))


def owned(name: str, total: float | None) -> Ownership:
    spread = None if total is None else (total / 2, total, total * 2)
    return Ownership("step", name, None, None, None, spread)


def examples_of(n: int, metadata: Mapping[str, str] | None = None) -> list[Example]:
    return [Example(f"e{i:05}", "x", "y", metadata=metadata or {}) for i in range(n)]


def opened(trial: Trial, right: int, n: int = 300, target: Target = TARGET) -> Confirmation:
    evaluation = evaluation_of(rows_of(right, n), set="test")
    return confirm(trial, evaluation, target, examples_of(n), TEST)


# --- able ---------------------------------------------------------------------------------------


def test_a_dev_score_just_over_the_target_is_not_worth_an_opening() -> None:
    """270 of 300 is the fewest that the first opening confirms (bound 0.8603 at 0.025)."""
    assert able([trial_of("a", 258)], TARGET, TEST) == []
    assert [t.candidate.name for t in able([trial_of("a", 272)], TARGET, TEST)] == ["a"]


def test_able_asks_for_more_at_later_openings_and_on_smaller_tests() -> None:
    trial = trial_of("a", 272)
    first = chance(trial, TARGET, TEST)
    assert chance(trial, TARGET, replace(TEST, openings=3)) < first
    assert chance(trial, TARGET, replace(TEST, size=60)) < first


@pytest.mark.parametrize("scale", ["binary", "ratio"])
def test_a_test_too_small_for_a_perfect_score_is_not_opened(scale: Scale) -> None:
    """23 right answers of 23 are the fewest that show 0.85 at a level of 0.025."""
    trial = trial_of("a", 300)
    least = least_n(TARGET.score, SealedTest(1, scale).level(TARGET), scale)
    assert least is not None
    assert able([trial], TARGET, SealedTest(least - 1, scale), least_chance=1e-9) == []
    assert able([trial], TARGET, SealedTest(least, scale), least_chance=1e-9) == [trial]


def test_a_trial_that_racing_stopped_is_never_able() -> None:
    stopped = replace(trial_of("a", 300), stopped_early="behind the leader")
    assert able([stopped], Target(0.5), TEST, least_chance=1e-9) == []


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        (Target(0.5, dollars_per_1000=1.0), {}),
        (Target(0.5, dollars_per_1000=1.0), {"dollars_per_1000": 2.0}),
        (Target(0.5, p95_seconds=1.0), {}),
        (Target(0.5, p95_seconds=1.0), {"p95_seconds": 1.5}),
        (Target(0.5, floors={"language=ilocano": 0.5}), {}),
        (
            Target(0.5, floors={"language=ilocano": 0.5}),
            {"slices": {"language=ilocano": (0.4, 0.3, 0.5, 80)}},
        ),
    ],
)
def test_unknown_or_broken_limits_make_a_trial_unable(
    target: Target, fields: Mapping[str, object]
) -> None:
    assert able([trial_of("a", 295, **fields)], target, TEST) == []


def test_kept_limits_leave_a_trial_able() -> None:
    target = Target(0.5, 0.05, 1.0, 1.0, {"language=ilocano": 0.5})
    fields = {
        "p95_seconds": 0.9,
        "dollars_per_1000": 0.9,
        "slices": {"language=ilocano": (0.9, 0.8, 0.95, 80)},
    }
    assert able([trial_of("a", 295, **fields)], target, TEST)


def beside(right: int, grounded: int, n: int = 300) -> tuple[Row, ...]:
    """The first `right` rows are right, the last `grounded` are grounded."""
    return tuple(
        replace(row, also={"groundedness": (("all", float(at >= n - grounded), 1.0),)})
        for at, row in enumerate(rows_of(right, n))
    )


@pytest.mark.parametrize(("grounded", "passed"), [(300, True), (280, False), (0, False)])
def test_a_floor_of_another_metric_is_shown_on_all_rows_at_the_full_level(
    grounded: int, passed: bool
) -> None:
    target = Target(0.5, floors={"groundedness": 0.95})
    test = replace(TEST, also={"groundedness": "bounded"})
    evaluation = evaluation_of(beside(250, grounded), set="test")
    found = confirm(trial_of("a", 250), evaluation, target, examples_of(300), test)
    assert found.passed is passed
    assert passed or "groundedness: shown to be at least" in found.failed[0]


def test_what_a_metric_beside_gave_on_dev_says_whether_a_trial_is_able() -> None:
    target = Target(0.5, floors={"groundedness": 0.9})
    test = replace(TEST, also={"groundedness": "bounded"})
    good, poor = (trial_of("a", 295, also={"groundedness": found}) for found in (
        (0.99, 0.97, 1.0, 300), (0.8, 0.75, 0.85, 300),
    ))  # fmt: skip
    assert able([good, poor], target, test) == [good]
    verdict = conclude([poor], [], [], target, test)
    assert verdict.verdict == "not_met"
    assert "0.800 in groundedness" in verdict.reason


# --- next_to_confirm ----------------------------------------------------------------------------


def test_the_cheapest_to_own_goes_first_and_a_refused_one_never_again() -> None:
    trials = [trial_of("dear", 299), trial_of("cheap", 290), trial_of("poor", 200)]
    costs = [owned("dear", 90.0), owned("cheap", 10.0), owned("poor", 1.0)]
    first = next_to_confirm(trials, TARGET, costs, [], TEST)
    assert first is trials[1]
    refused = opened(trials[1], 200)
    assert next_to_confirm(trials, TARGET, costs, [refused], TEST) is trials[0]
    both = [refused, opened(trials[0], 200)]
    assert next_to_confirm(trials, TARGET, costs, both, TEST) is None


def test_an_unknown_total_is_never_taken_for_zero() -> None:
    trials = [trial_of("unknown", 290), trial_of("known", 290)]
    costs = [owned("unknown", None), owned("known", 10.0)]
    assert next_to_confirm(trials, TARGET, costs, [], TEST) is trials[1]
    assert next_to_confirm(trials, TARGET, [], [], TEST) is trials[0]  # the ladder's order


def test_when_the_ladder_has_ended_long_shots_follow_the_likeliest_first() -> None:
    trials = [trial_of("faint", 261), trial_of("fair", 266), trial_of("able", 285)]
    costs = [owned("faint", 1.0), owned("fair", 2.0), owned("able", 3.0)]
    found: list[Confirmation] = []
    while chosen := next_to_confirm(trials, TARGET, costs, found, TEST, 0.05):
        found.append(opened(chosen, 200))
    assert [one.name for one in found] == ["able", "fair", "faint"]


def test_after_a_pass_only_what_is_known_to_be_cheaper_is_left() -> None:
    trials = [trial_of(name, 266) for name in ("cheap", "cheaper", "unknown", "dear")]
    costs = [owned("cheap", 2.0), owned("cheaper", 1.0), owned("unknown", None), owned("dear", 9.0)]
    passed = opened(trial_of("able", 299), 299)
    assert passed.passed
    known = [*costs, owned("able", 5.0)]
    found = [passed]
    while chosen := next_to_confirm(trials, TARGET, known, found, TEST, 0.05):
        found.append(opened(chosen, 299))
    # equal odds: in the ladder's order, and each that passes lowers what the next may cost
    assert [one.name for one in found] == ["able", "cheap", "cheaper"]
    assert next_to_confirm(trials, TARGET, costs, [passed], TEST, 0.05) is None  # cost unknown


TRIALS = st.lists(
    st.tuples(st.integers(180, 300), st.integers(1, 1000)),
    min_size=1,
    max_size=8,
    unique_by=lambda pair: pair[1],
)
SCORES = st.floats(0.5, 0.99)


def _ladder(drawn: Sequence[tuple[int, int]]) -> tuple[list[Trial], list[Ownership]]:
    return (
        [trial_of(str(cost), right) for right, cost in drawn],
        [owned(str(cost), float(cost)) for _, cost in drawn],
    )


@settings(max_examples=25, deadline=None)
@given(TRIALS, SCORES, st.integers(180, 300))
def test_adding_a_dearer_trial_changes_no_choice(
    drawn: list[tuple[int, int]], bar: float, right: int
) -> None:
    trials, costs = _ladder(drawn)
    before = next_to_confirm(trials, Target(bar), costs, [], TEST)
    trials.append(trial_of("2000", right))
    costs.append(owned("2000", 2000.0))
    after = next_to_confirm(trials, Target(bar), costs, [], TEST)
    assert after is before or before is None


@settings(max_examples=25, deadline=None)
@given(TRIALS, SCORES, SCORES)
def test_raising_the_target_never_makes_the_choice_cheaper(
    drawn: list[tuple[int, int]], one: float, other: float
) -> None:
    trials, costs = _ladder(drawn)
    easy = next_to_confirm(trials, Target(min(one, other)), costs, [], TEST)
    hard = next_to_confirm(trials, Target(max(one, other)), costs, [], TEST)
    if hard is not None:
        assert easy is not None
        assert int(easy.candidate.name) <= int(hard.candidate.name)


@settings(max_examples=25, deadline=None)
@given(TRIALS, SCORES, st.randoms(use_true_random=False))
def test_the_order_in_which_trials_are_given_does_not_matter(
    drawn: list[tuple[int, int]], bar: float, random: object
) -> None:
    trials, costs = _ladder(drawn)
    expected = next_to_confirm(trials, Target(bar), costs, [], TEST)
    random.shuffle(trials)  # type: ignore[attr-defined]
    random.shuffle(costs)  # type: ignore[attr-defined]
    assert next_to_confirm(trials, Target(bar), costs, [], TEST) is expected


# --- confirm ------------------------------------------------------------------------------------


def test_the_first_opening_has_half_of_alpha_and_the_exact_bound() -> None:
    found = opened(trial_of("a", 290), 270)
    assert (found.alpha_spent, found.opening, found.n) == (0.025, 1, 300)
    assert found.low == pytest.approx(0.86033, abs=5e-6)
    assert found.passed
    assert not opened(trial_of("a", 290), 265).passed


def test_every_opening_costs_half_of_what_is_left() -> None:
    trial, rows = trial_of("a", 290), rows_of(268, 300)
    levels = []
    for openings in range(12):
        evaluation = evaluation_of(rows, set="test")
        test = replace(TEST, openings=openings)
        levels.append(confirm(trial, evaluation, TARGET, examples_of(300), test))
    assert [one.opening for one in levels] == list(range(1, 13))
    assert sum(one.alpha_spent for one in levels) < TARGET.alpha
    lows = [one.low for one in levels]
    assert lows == sorted(lows, reverse=True)


def test_a_failed_answer_is_wrong_and_a_missing_one_is_refused() -> None:
    rows = list(rows_of(300, 300))
    rows[:20] = [replace(row, error="timed out") for row in rows[:20]]
    evaluation = evaluation_of(tuple(rows), set="test")
    found = confirm(trial_of("a", 290), evaluation, TARGET, examples_of(300), TEST)
    assert found.score == pytest.approx(280 / 300)
    short = evaluation_of(tuple(rows[1:]), set="test")
    with pytest.raises(StepladderError, match=r"1 of 300 test examples .* 'e00000'"):
        confirm(trial_of("a", 290), short, TARGET, examples_of(300), TEST)


def test_every_part_of_the_target_must_be_shown() -> None:
    """300 right answers, but slow, dear, and too few of the slice to show its floor."""
    target = Target(0.85, 0.05, 1.0, 0.5, {"language=ilocano": 0.9, "language=tagalog": 0.9})
    examples = [
        replace(example, metadata={"language": "ilocano" if i < 20 else "tagalog"})
        for i, example in enumerate(examples_of(300))
    ]
    slow = evaluation_of(rows_of(300, 300, seconds=2.0), set="test", dollars_per_1000=0.7)
    found = confirm(trial_of("a", 290), slow, target, examples, TEST)
    assert not found.passed
    assert [text.partition(":")[0] for text in found.failed] == [
        "language=ilocano",
        "p95",
        "dollars per 1,000",
    ]
    fine = evaluation_of(rows_of(300, 300, seconds=0.2), set="test", dollars_per_1000=0.4)
    kept = replace(target, floors={"language=tagalog": 0.9})
    assert confirm(trial_of("a", 290), fine, kept, examples, TEST).passed


def test_an_answer_without_a_time_counts_as_infinitely_slow() -> None:
    rows = rows_of(300, 300, seconds=0.1)
    late = tuple(replace(row, seconds=None) if i < 40 else row for i, row in enumerate(rows))
    target = replace(TARGET, p95_seconds=1.0)
    evaluation = evaluation_of(late, set="test")
    found = confirm(trial_of("a", 290), evaluation, target, examples_of(300), TEST)
    assert found.failed == ("p95: shown to be at most inf s, target 1 s",)


# --- conclude -----------------------------------------------------------------------------------


def test_met_names_the_confirmed_trial_with_its_numbers() -> None:
    trials = [trial_of("a", 250), trial_of("b", 290, dollars_per_1000=0.125)]
    found = conclude(trials, [opened(trials[1], 285)], [Skipped("x", "why")], TARGET, TEST)
    assert found.verdict == "met"
    assert found.chosen is trials[1]
    assert found.reason == (
        "'step/b' scored 0.950 on 300 sealed test examples, at least 0.919 at level 0.025 "
        "(opening 1, alpha 0.05 over the climb), which clears the target of 0.85, at $0.125 per "
        "1,000 requests."
    )
    assert found.skipped == (Skipped("x", "why"),)
    assert found.cautions == ()


def test_not_met_when_dev_puts_the_best_below_the_target() -> None:
    found = conclude([trial_of("a", 150), trial_of("b", 200)], [], [], TARGET, TEST)
    assert (found.verdict, found.chosen, found.examples_needed) == ("not_met", None, None)
    assert found.reason.startswith("'step/b' came closest and scored 0.667 on 300 dev examples")


def test_not_met_when_nothing_keeps_the_limits() -> None:
    target = replace(TARGET, p95_seconds=1.0)
    found = conclude([trial_of("a", 290, p95_seconds=4.0)], [], [], target, TEST)
    assert found.verdict == "not_met"
    assert "p95: 4 s, target 1 s" in found.reason


def test_undecided_says_how_many_more_examples_would_settle_it() -> None:
    """0.90 against 0.85 at level 0.025 takes 371 examples: 71 more than the 300 there are."""
    found = conclude([trial_of("a", 270)], [], [], TARGET, TEST)
    assert found.verdict == "undecided"
    assert found.examples_needed is not None
    settled = replace(TEST, size=TEST.size + found.examples_needed)
    assert chance(trial_of("a", 270), TARGET, settled) > chance(trial_of("a", 270), TARGET, TEST)
    assert f"{found.examples_needed:,} more test examples would settle it" in found.reason


def test_undecided_after_a_refusal_asks_for_fresh_examples_by_the_test_score() -> None:
    trial = trial_of("a", 290)
    test = replace(TEST, openings=1)
    found = conclude([trial], [opened(trial, 264)], [], TARGET, test)
    assert found.verdict == "undecided"
    assert "opening 1 of the test at level 0.025 refused it with 0.880" in found.reason
    assert found.examples_needed == 1307  # 0.88 against 0.85 at level 0.0125
    assert "1,307 fresh test examples would settle it at level 0.0125" in found.reason
    assert any("refused what it was opened for once" in caution for caution in found.cautions)


def test_a_bound_at_the_end_of_the_scale_hides_nothing_of_what_is_needed() -> None:
    """Eleven groups say next to nothing: that the lower bound is 0 does not make them precise."""
    part = Part("score", 0.132, 0.0, 0.623, 77, 0.3, 0.05)
    needed = part.needed(0.025, "bounded")
    assert needed is not None
    assert needed > 1_000
    assert needed == replace(part, low=0.1).needed(0.025, "bounded")
    above = replace(part, score=0.5, low=0.2, high=1.0)
    assert above.needed(0.025, "bounded") == replace(above, high=0.6).needed(0.025, "bounded")


def test_a_score_on_the_target_is_never_settled() -> None:
    found = conclude([trial_of("a", 255)], [], [], TARGET, TEST)
    assert (found.verdict, found.examples_needed) == ("undecided", None)
    assert "no practical number of examples" in found.reason


def test_blocked_says_by_what() -> None:
    nothing = conclude([], [], [], TARGET, TEST)
    budget = conclude([trial_of("a", 290)], [], [], TARGET, TEST, "the budget of $5 is spent")
    small = conclude([trial_of("a", 290)], [], [], TARGET, replace(TEST, size=20))
    perfect = conclude([trial_of("a", 300)], [], [], Target(1.0), TEST)
    assert {x.verdict for x in (nothing, budget, small, perfect)} == {"blocked"}
    assert budget.reason == "The climb could not go on: the budget of $5 is spent."
    assert small.examples_needed == 23 == math.ceil(math.log(0.025) / math.log(0.85))
    assert "even a perfect score on its 20 examples" in small.reason
    assert "choose one below 1" in perfect.reason


def test_a_latency_target_needs_enough_examples_too() -> None:
    """The bound on p95 exists from 72 examples on at level 0.025."""
    target, trial = replace(TARGET, p95_seconds=1.0), trial_of("a", 290, p95_seconds=0.5)
    found = conclude([trial], [], [], target, replace(TEST, size=60))
    assert (found.verdict, found.examples_needed) == ("blocked", 72)


def test_what_was_said_when_candidates_were_built_is_a_caution_once_for_all_that_share_it() -> None:
    said = "ended by its time limit after 0.1 epochs"
    trials = [
        replace(one, candidate=replace(one.candidate, cautions=cautions))
        for one, cautions in (
            (trial_of("a", 100), (said,)),
            (trial_of("b", 100), (said, "step / b: it over-fitted")),
            (trial_of("c", 100), ()),
        )
    ]
    found = conclude(trials, [], [], TARGET, TEST)
    assert found.cautions == (f"step / a, b: {said}", "step / b: it over-fitted")


def test_cautions_name_unknown_money_and_approximate_bounds() -> None:
    trial = trial_of("a", 290)
    passed = replace(opened(trial, 290), method="bootstrap (approximate)")
    found = conclude([trial], [passed], [], TARGET, TEST)
    assert "unknown dollars" in found.reason
    assert len(found.cautions) == 2
    limited = conclude([trial], [], [], replace(TARGET, dollars_per_1000=1.0), TEST)
    assert limited.verdict == "not_met"
    assert "1 of 1 candidates cannot pass the dollars target: price unknown" in limited.cautions
