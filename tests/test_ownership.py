"""Cost of ownership: by hand at medians, by property over draws, and honest about the unknown."""

import math
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.candidate_costs import break_even, cost_curve, costs_of, monthly, world_at
from stepladder.catalogue import Catalogue, ModelFacts
from stepladder.core import (
    Candidate,
    Confirmation,
    DataSource,
    Economics,
    Evaluation,
    Hardware,
    MetricSpec,
    Row,
    Target,
    Task,
    Trial,
)
from stepladder.cost import Prices, TokenPrice, load_prices
from stepladder.errors import StepladderError
from stepladder.ownership import own

PRICES = load_prices(today=date(2026, 11, 21))
KNOWN = Economics(
    requests_per_month=100_000,
    months=12,
    dollars_per_label=1.0,
    dollars_per_engineer_hour=100.0,
    retune_every_months=6,
)
BOX = Hardware("box", dollars_per_hour=0.10)
ENOUGH = 0.99


def task(economics=KNOWN, hardware=BOX, target=0.8) -> Task:
    return Task(
        "t", "classification", "Sort.", Target(target), MetricSpec("accuracy"),
        DataSource("x.csv"), hardware=hardware, economics=economics,
    )  # fmt: skip


def trial(step, *, right=90, n=100, dollars=None, seconds=None, build=0.0, **more) -> Trial:
    """A candidate that was right `right` times in `n`, at given dollars or machine seconds."""
    rows = tuple(
        Row(str(i), (("all", float(i < right), 1.0),), dollars=dollars, compute_seconds=seconds)
        for i in range(n)
    )
    score, spread = right / n, 1.96 * math.sqrt(right * (n - right) / n**3)
    evaluation = Evaluation(
        "dev", "accuracy", rows, score, score - spread, score + spread, 0.05, "exact", n,
        p95_seconds=more.pop("p95_seconds", None),
    )  # fmt: skip
    candidate = Candidate(step, "only", solver=None, build_dollars=build, **more)  # type: ignore[arg-type]
    return Trial(candidate, evaluation)


def hosted(step="prompt", dollars=0.001, **more) -> Trial:
    return trial(step, dollars=dollars, **more)


def local(step="fine_tune", seconds=0.5, **more) -> Trial:
    return trial(step, seconds=seconds, dollars=seconds * 0.10 / 3600, **more)


def test_a_hosted_candidate_by_hand():
    (found,) = own([hosted(build=7.0)], task(), PRICES, labels=1000)
    hours = PRICES.effort["prompt"]
    relabelled = math.sqrt(0.1 * 0.5)
    assert found.build_dollars == pytest.approx(7 + 1000 + 100 * hours.build_hours)
    assert found.run_dollars_per_month == pytest.approx(100_000 * 0.001, rel=0.01)
    rebuild = 7 + relabelled * 1000 + 100 * hours.rebuild_hours + 100 * 0.001
    keep = 100 * hours.hours_per_month + rebuild / 12  # one rebuild, after six of twelve months
    assert found.keep_dollars_per_month == pytest.approx(keep)
    low, middle, high = found.total_dollars_per_month
    at_medians = found.build_dollars / 12 + found.run_dollars_per_month + keep
    assert low < at_medians < high
    assert middle == pytest.approx(at_medians, rel=0.1)


def test_a_local_candidate_pays_for_whole_machines_around_the_clock():
    (found,) = own([local()], task(), PRICES)
    assert found.run_dollars_per_month == pytest.approx(730 * 0.10, rel=0.01)
    assert any("1 x box, paid around the clock, 1.9% busy" in text for text in found.assumptions)
    idle = replace(KNOWN, requests_per_month=0)
    assert own([local()], task(idle), PRICES)[0].run_dollars_per_month == pytest.approx(73)
    many = replace(KNOWN, requests_per_month=10_000_000)
    (found,) = own([local()], task(many), PRICES)
    machines = math.ceil(10_000_000 * 0.5 / 3600 / (730 * math.sqrt(0.3 * 0.7)))
    assert machines == 5
    assert found.run_dollars_per_month == pytest.approx(5 * 73, rel=0.01)


def test_what_is_partly_hosted_pays_for_both():
    mixed = trial("cascade", seconds=0.5, dollars=0.002 + 0.5 * 0.10 / 3600)
    (found,) = own([mixed], task(), PRICES)
    assert found.run_dollars_per_month == pytest.approx(73 + 200, rel=0.01)


def test_prices_drift_over_the_horizon_and_stay_at_their_median():
    world = world_at(KNOWN, PRICES)
    assert world.price_factor[0] == pytest.approx(1.0)
    doubled = world_at(KNOWN, PRICES, {"price_factor_per_year": np.array([1.6449])})
    # 1.6 a year is on average int_0^1 1.6^t dt = 0.6 / ln 1.6 over twelve months
    assert doubled.price_factor[0] == pytest.approx(0.6 / math.log(1.6), rel=1e-3)


def test_training_time_is_priced_by_the_machine_when_the_step_gives_no_dollars():
    trained = local(build=None, build_seconds=7200)
    assert costs_of(trained, task(), PRICES).build_dollars == pytest.approx(0.20)
    assert costs_of(local(build=None), task(), PRICES).build_dollars == 0
    unpriced = hosted(build=None, build_seconds=60, build_calls=10)
    assert math.isnan(costs_of(unpriced, task(), PRICES).build_dollars)


@pytest.mark.parametrize(
    ("economics", "hardware", "labels", "one", "unknown", "says"),
    [
        (replace(KNOWN, requests_per_month=None), BOX, None, hosted(), {"run"}, "requests_per"),
        (
            replace(KNOWN, dollars_per_engineer_hour=None),
            BOX,
            None,
            hosted(),
            {"build", "keep"},
            "engineer_hour",
        ),
        (replace(KNOWN, dollars_per_label=None), BOX, 9, hosted(), {"build", "keep"}, "per_label"),
        (
            KNOWN,
            Hardware(),
            None,
            trial("fine_tune", seconds=0.5),
            {"run", "keep"},
            "[hardware] name or dollars_per_hour",
        ),
        (KNOWN, Hardware("bix"), None, trial("fine_tune", seconds=0.5), {"run", "keep"}, "'bix'"),
        (KNOWN, BOX, None, hosted(dollars=None), {"run", "keep"}, "what a request costs"),
        (
            KNOWN,
            BOX,
            None,
            hosted(build=None, build_calls=3),
            {"build", "keep"},
            "calls of the build",
        ),
    ],
)
def test_the_unknown_flows_and_is_named(economics, hardware, labels, one, unknown, says):
    (found,) = own([one], task(economics, hardware), PRICES, labels=labels)
    parts = {
        "build": found.build_dollars,
        "run": found.run_dollars_per_month,
        "keep": found.keep_dollars_per_month,
    }
    assert {name for name, value in parts.items() if value is None} == unknown
    assert found.total_dollars_per_month is None
    assert found.probability_best is None
    assert any(text.startswith("unknown") and says in text for text in found.assumptions)


def test_nothing_known_at_all_still_answers():
    found = own(
        [trial("prompt"), trial("fine_tune", right=95)], task(Economics(), Hardware()), PRICES
    )
    assert all(each.total_dollars_per_month is None for each in found)
    assert all(each.curve == () and each.roi is None for each in found)
    assert all(sum(text.startswith("unknown") for text in each.assumptions) >= 3 for each in found)
    assert own([], task(), PRICES) == ()


def test_an_unknown_step_takes_the_hours_of_the_star_and_unknown_hours_stay_unknown():
    (found,) = own([hosted("mine")], task(), PRICES)
    assert found.build_dollars == 100 * PRICES.effort["*"].build_hours
    without = replace(PRICES, effort={})
    (found,) = own([hosted("mine")], task(), without)
    assert found.build_dollars is None
    assert any("effort" in text for text in found.assumptions)


def test_prices_without_assumptions_are_refused():
    with pytest.raises(StepladderError, match="price_factor_per_year"):
        own([hosted()], task(), Prices(date(2026, 11, 21)))


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others():
    trials = [hosted(), local(right=93)]
    three, four = (replace(task(), seed=seed) for seed in (3, 4))
    assert own(trials, three, PRICES) == own(trials, three, PRICES)
    assert own(trials, three, PRICES) != own(trials, four, PRICES)


def test_who_else_is_compared_changes_no_total():
    alone = own([hosted()], task(), PRICES)[0]
    beside = own([trial("baseline", right=50, seconds=0.1), hosted()], task(), PRICES)[1]
    assert beside.total_dollars_per_month == alone.total_dollars_per_month


def test_probability_best_needs_the_target_and_shares_out_what_is_met():
    cheap_and_bad = hosted("prompt", dollars=0.0001, right=10)
    dear_and_good = hosted("few_shot", dollars=0.01, right=99)
    bad, good = own([cheap_and_bad, dear_and_good], task(), PRICES)
    assert bad.probability_best == 0.0
    assert good.probability_best > ENOUGH
    twins = own([hosted("prompt"), hosted("few_shot", dollars=0.0011)], task(), PRICES)
    assert sum(each.probability_best for each in twins) <= 1.0 + 1e-9
    nobody = own([hosted(right=10)], task(), PRICES)
    assert nobody[0].probability_best < 1 - ENOUGH


def test_shared_circumstances_make_a_sure_difference_sure():
    """A tenth dearer in every world is dearer in every draw, though the ranges overlap widely."""
    cheap, dear = own(
        [hosted("mine", right=100), hosted("yours", dollars=0.0011, right=100)],
        task(target=0.5),
        PRICES,
    )
    assert cheap.total_dollars_per_month[2] > dear.total_dollars_per_month[0]
    assert (cheap.probability_best, dear.probability_best) == (1.0, 0.0)


def test_true_scores_are_drawn_apart():
    """Two coins of one half: the dear one is the cheapest that meets when only it lands well."""
    cheap, dear = own(
        [hosted("mine", right=80), hosted("yours", dollars=0.01, right=80)], task(), PRICES
    )
    assert cheap.probability_best == pytest.approx(0.5, abs=0.05)
    assert dear.probability_best == pytest.approx(0.25, abs=0.05)


def test_a_score_that_is_no_count_of_right_answers_is_drawn_from_its_interval():
    one = hosted(right=80)
    rows = tuple(replace(row, counts=(("all", 1.6, 2.0),)) for row in one.evaluation.rows)
    ratio = replace(one, evaluation=replace(one.evaluation, rows=rows, low=0.7, high=0.9))
    assert own([ratio], task(), PRICES)[0].probability_best == pytest.approx(0.5, abs=0.03)
    one_deviation_down = 0.8 - (0.9 - 0.7) / 2 / 1.96
    lower = own([ratio], task(target=one_deviation_down), PRICES)[0]
    assert lower.probability_best == pytest.approx(0.841, abs=0.03)


def test_too_slow_or_stopped_candidates_are_not_in_the_race():
    slow = hosted("prompt", p95_seconds=9.0)
    stopped = replace(hosted("few_shot", p95_seconds=1.0), stopped_early="behind the leader")
    quick = hosted("fine_tune", dollars=0.01, p95_seconds=1.0)
    hurried = replace(task(), target=Target(0.8, p95_seconds=2.0))
    found = own([slow, stopped, quick], hurried, PRICES)
    assert [each.probability_best is None for each in found] == [True, True, False]


def test_a_confirmed_score_takes_the_place_of_the_one_on_dev():
    confirmed = Confirmation("prompt", "only", 0.7, 0.66, 400, 0.025, 1, False, "exact")
    found = own([hosted()], task(), PRICES, confirmations=[confirmed])
    assert own([hosted()], task(), PRICES)[0].probability_best > ENOUGH
    assert found[0].probability_best < 1 - ENOUGH


def test_extra_successes_are_counted_against_the_best_baseline():
    floor = trial("baseline", right=60, seconds=0.001, dollars=0.001 * 0.10 / 3600)
    worse = trial("baseline", right=30, seconds=0.001, dollars=0.001 * 0.10 / 3600)
    found = own([worse, floor, hosted()], task(), PRICES)
    monthly = [
        each.build_dollars / 12 + each.run_dollars_per_month + each.keep_dollars_per_month
        for each in found
    ]
    extra = 100_000 * (0.9 - 0.6)
    assert found[2].dollars_per_extra_success == pytest.approx((monthly[2] - monthly[1]) / extra)
    assert found[1].dollars_per_extra_success is None
    assert all(each.roi is None for each in found)  # nobody said what a success is worth


def test_return_on_the_extra_dollars_by_hand():
    floor = trial("baseline", right=60, seconds=0.001, dollars=0.001 * 0.10 / 3600)
    worth = replace(KNOWN, dollars_per_success=0.05)
    found = own([floor, hosted(dollars=0.01)], task(worth), PRICES)[1]
    value = 0.05 * 100_000 * 0.3
    spent = found.dollars_per_extra_success * 100_000 * 0.3
    assert found.roi == pytest.approx((value - spent) / spent)


def test_errors_cost_what_the_task_says():
    priced = replace(KNOWN, dollars_per_error=0.02)
    found = own([hosted()], task(priced), PRICES)[0]
    without = own([hosted()], task(), PRICES)[0]
    assert found.error_dollars_per_month == pytest.approx(100_000 * 0.1 * 0.02)
    assert without.error_dollars_per_month is None
    assert found.total_dollars_per_month[1] > without.total_dollars_per_month[1] + 150
    assert "score" in found.sensitivity


def test_break_even_by_hand():
    """Hosted: a line from its fixed costs; local: one machine at 73 dollars, dearer to build."""
    prompt, tuned = hosted("prompt", build=0.0), local("fine_tune", build=0.0)
    found = own([prompt, tuned], task(), PRICES)
    costs = [costs_of(each, task(), PRICES) for each in (prompt, tuned)]
    fixed = [each.build_dollars / 12 + each.keep_dollars_per_month for each in found]
    by_hand = (fixed[1] + 73.0 - fixed[0]) / 0.001
    assert found[1].break_even_requests_per_month == pytest.approx(by_hand, rel=0.01)
    assert found[0].break_even_requests_per_month is None
    assert break_even(costs[0], costs[0], KNOWN, PRICES) == 0.0
    dearer = costs_of(hosted("prompt", dollars=0.002), task(), PRICES)
    assert break_even(dearer, costs[0], KNOWN, PRICES) is None
    nothing = replace(costs[0], token_dollars=math.nan)
    assert break_even(nothing, costs[1], KNOWN, PRICES) is None


def test_the_choice_hangs_on_the_volume_near_the_break_even():
    found = own([hosted("prompt"), local("fine_tune")], task(), PRICES)
    near = replace(KNOWN, requests_per_month=found[1].break_even_requests_per_month)
    both = own([hosted("prompt"), local("fine_tune")], task(near), PRICES)
    told = [text for each in both for text in each.assumptions if "hangs on" in text]
    assert any("requests per month" in text for text in told)
    far = replace(KNOWN, requests_per_month=1000)
    (first, _) = own([hosted("prompt"), local("fine_tune")], task(far), PRICES)
    assert not any("hangs on requests" in text for text in first.assumptions)


def test_sensitivity_starts_with_what_matters_most():
    busy = replace(KNOWN, requests_per_month=10_000_000)
    found = own([hosted()], task(busy), PRICES)[0]
    assert next(iter(found.sensitivity)) == "requests per month"
    low, high = found.sensitivity["requests per month"]
    assert high - low == pytest.approx(10_000_000 * 0.001 * (2.0 - 0.5), rel=0.01)
    assert "months until a rebuild" not in found.sensitivity  # the task plans it
    assumed = own([hosted()], task(replace(busy, retune_every_months=None)), PRICES)[0]
    assert "months until a rebuild" in assumed.sensitivity


def test_the_curve_goes_through_the_users_volume():
    found = own([local()], task(), PRICES)[0]
    at_hand = dict(found.curve)[100_000.0]
    parts = found.build_dollars / 12 + found.run_dollars_per_month + found.keep_dollars_per_month
    assert at_hand == pytest.approx(parts)
    assert len(found.curve) == 81


volumes = st.floats(0, 1e8)
candidates = st.builds(
    lambda tokens, seconds, build: trial(
        "prompt",
        dollars=tokens + seconds * 0.10 / 3600,
        seconds=seconds or None,
        build=build,
        n=20,
        right=18,
    ),
    st.floats(0, 0.1),
    st.one_of(st.just(0.0), st.floats(1e-3, 5)),
    st.floats(0, 1e4),
)


@settings(deadline=None, max_examples=50)
@given(candidates, volumes, volumes)
def test_more_requests_never_cost_less(one, few, many):
    few, many = sorted((few, many))
    costs = costs_of(one, task(), PRICES)
    (_, less), (_, more) = cost_curve(costs, KNOWN, PRICES, [few, many])
    assert less <= more + 1e-9


@settings(deadline=None, max_examples=25)
@given(candidates, candidates)
def test_beyond_the_break_even_it_costs_no_more(one, other):
    costs = [costs_of(each, task(), PRICES) for each in (one, other)]
    volume = break_even(*costs, KNOWN, PRICES)
    if volume is not None:
        (_, mine), (_, theirs) = (cost_curve(each, KNOWN, PRICES, [volume])[0] for each in costs)
        assert mine <= theirs + 1e-6


@settings(deadline=None, max_examples=20)
@given(candidates, st.floats(0, 100))
def test_a_dearer_build_never_lowers_a_total(one, more):
    dearer = replace(
        one, candidate=replace(one.candidate, build_dollars=one.candidate.build_dollars + more)
    )
    (cheap,), (dear,) = own([one], task(), PRICES), own([dearer], task(), PRICES)
    assert all(
        a <= b + 1e-9
        for a, b in zip(cheap.total_dollars_per_month, dear.total_dollars_per_month, strict=True)
    )


# --- models that retire -------------------------------------------------------------------------


@dataclass(frozen=True)
class Asking:
    """As much of a solver as ownership looks at."""

    model: str


def asking(model: str, **more) -> Trial:
    made = hosted(build=7.0, **more)
    return replace(made, candidate=replace(made.candidate, solver=Asking(model)))


def ending(model: str, **day) -> Catalogue:
    read = date(2026, 11, 1)
    return Catalogue(date(2026, 11, 21), (ModelFacts(model, read, "a page", **day),))


def test_the_day_a_model_retires_forces_a_rebuild_by_hand():
    stays = Economics(**{**asdict(KNOWN), "retune_every_months": 24})
    ends = ending("x:a", retires=date(2027, 5, 21))
    (free,) = own([asking("x:a")], task(stays), PRICES)
    (bound,) = own([asking("x:a")], task(stays), PRICES, catalogue=ends)
    hours = PRICES.effort["prompt"]
    rebuild = 7.0 + hours.rebuild_hours * 100 + 100 * 0.001  # nothing is labelled anew: unpaid
    extra = bound.keep_dollars_per_month - free.keep_dollars_per_month
    assert extra == pytest.approx(rebuild / 12)
    assert any("in 5.9 months at the latest: 'x:a' may be retired" in a for a in bound.assumptions)
    assert not any("retired" in a for a in free.assumptions)


def test_what_was_tuned_ends_with_its_base_and_others_stay():
    ends = ending("x:a", retires_not_before=date(2027, 5, 21))
    tuned, other = own([asking("x:a@1"), asking("x:b")], task(), PRICES, catalogue=ends)
    assert any("may be retired" in each for each in tuned.assumptions)
    assert not any("may be retired" in each for each in other.assumptions)


@given(
    st.floats(1, 48), st.floats(0.5, 60), st.integers(-900, 2000), st.sampled_from(["x:a", "x:a@1"])
)
@settings(max_examples=60)
def test_retiring_never_makes_owning_cheaper_and_never_costs_more_than_one_rebuild(
    months, life, days, model
):
    economics = replace(KNOWN, months=months, retune_every_months=life)
    ends = ending("x:a", retires=date(2026, 11, 21) + timedelta(days=days))
    world = world_at(economics, PRICES)
    one = asking(model)
    free = monthly(costs_of(one, task(economics), PRICES), economics, world).keep
    bound = monthly(costs_of(one, task(economics), PRICES, catalogue=ends), economics, world).keep
    rebuild = 7.0 + PRICES.effort["prompt"].rebuild_hours * 100 + 100 * 0.001
    assert free - 1e-9 <= bound <= free + rebuild / months + 1e-9
    if days >= months * 365.25 / 12:
        assert bound == free


def test_a_tuning_job_without_a_price_is_not_priced_by_the_time_it_took():
    made = asking("x:a@1", build_seconds=3600.0)
    unpriced = replace(made, candidate=replace(made.candidate, build_dollars=None))
    assert math.isnan(costs_of(unpriced, task(), PRICES).build_dollars)


def test_what_is_assumed_of_tuned_models_is_told():
    model = "vertex:gemini-3.5-flash@projects/p/locations/us/endpoints/5"
    (found,) = own([asking(model)], task(), PRICES)
    assert any("taken to cost 1.5 times its base" in each for each in found.assumptions)


FLASH = TokenPrice(
    "gemini:flash", 0.30, 2.50, date(2026, 11, 1), "test", cached=0.03, cache_hour=1.0
)
KEPT = 5_765  # tokens: 4.21 dollars a month to keep, 0.00155655 saved by each request that reads it


def keeping(volume, model="gemini:flash", kept=KEPT):
    """Ownership of a candidate whose evaluation kept a prefix, 0.17 dollars per 1,000 requests."""
    plain = (5_765 + 235) * 0.30e-6 + 10 * 2.5e-6
    measured = asking(model, dollars=0.00017)
    rows = tuple(
        replace(row, kept_tokens=(kept,), cache_saved_dollars=plain - 0.00017)
        for row in measured.evaluation.rows
    )
    one = replace(measured, evaluation=replace(measured.evaluation, rows=rows))
    prices = replace(PRICES, tokens=(FLASH,))
    economics = replace(KNOWN, requests_per_month=volume)
    (found,) = own([one], task(economics), prices)
    return found, plain, _drift(prices, economics)


def _drift(prices, economics):
    return float(world_at(economics, prices).price_factor[0])


def test_few_requests_do_not_pay_for_keeping_a_prefix_by_hand():
    found, plain, drift = keeping(1_000)
    assert plain == pytest.approx(0.001825)
    assert found.run_dollars_per_month == pytest.approx(1.825 * drift), "not the 0.17 measured"
    (said,) = [each for each in found.assumptions if "prefix" in each]
    assert said.startswith(
        "no prefix is kept: 5,765 tokens would cost $4.21 a month and save $1.56"
    )


def test_many_requests_pay_for_keeping_a_prefix_all_month_by_hand():
    found, _, drift = keeping(100_000)
    written_and_kept = 5_765 * 0.30e-6 + 5_765e-6 * 730 * 1.0
    run = 182.5 - 155.655 + written_and_kept
    assert run == pytest.approx(31.06, abs=0.01)
    assert found.run_dollars_per_month == pytest.approx(run * drift)
    assert (
        "a prefix of 5,765 tokens is kept all month, for $4.21 a month: that is cheaper here"
        in (found.assumptions)
    )


def test_each_of_several_kept_prefixes_is_kept_where_it_pays_for_itself():
    def rewriting(volume):
        """Every request reads 5,765 tokens of one prefix; one in ten also 4,000 of another."""
        measured = asking("gemini:flash", dollars=0.0002)
        rows = tuple(
            replace(
                row,
                kept_tokens=(KEPT, 4_000) if place % 10 == 0 else (KEPT,),
                cache_saved_dollars=0.001,
            )
            for place, row in enumerate(measured.evaluation.rows)
        )
        one = replace(measured, evaluation=replace(measured.evaluation, rows=rows))
        prices, economics = (
            replace(PRICES, tokens=(FLASH,)),
            replace(KNOWN, requests_per_month=volume),
        )
        (found,) = own([one], task(economics), prices)
        return found.run_dollars_per_month / _drift(prices, economics), found.assumptions

    def saved(tokens, requests):
        return requests * tokens * 0.27e-6 - tokens * (0.30e-6 + 730e-6)

    run, said = rewriting(100_000)
    assert run == pytest.approx(120 - saved(KEPT, 100_000) - saved(4_000, 10_000))
    assert sum("is kept all month" in each for each in said) == 2
    run, said = rewriting(10_000)  # too few for the second
    assert saved(4_000, 1_000) < 0 < saved(KEPT, 10_000)
    assert run == pytest.approx(12 - saved(KEPT, 10_000))
    assert sum("no prefix is kept: 4,000 tokens" in each for each in said) == 1


def test_a_kept_prefix_is_left_out_where_the_volume_or_its_price_is_unknown():
    found, *_ = keeping(None)
    assert any("priced without a kept prefix" in each for each in found.assumptions)
    found, _, drift = keeping(100_000, kept=0)  # written, and gone before it was read
    assert found.run_dollars_per_month == pytest.approx(182.5 * drift)
