"""The verdict. Pure: choosing sees dev, confirming sees one opening of the sealed test.

    able ............ which trials are worth an opening
    next_to_confirm . the cheapest to own among them
    confirm ......... one opening: score, floors and latency, all at the level this opening has
    conclude ........ met, not met, undecided or blocked, in one sentence with numbers

The guarantee: the chance that any opening passes a candidate whose true score is below the target
is at most alpha over the whole climb, whatever was searched on train and dev. Opening j has level
alpha / 2**j, which is enough even if what is opened next depends on whether the last one passed
(docs/decisions/0013). It needs one thing of the caller: what is tried next may depend on *that* an
opening passed or was refused, never on by how much. So nothing here chooses by a test score, and no
step may see test rows. What must hold together (score and floors and latency)
is an intersection-union test: each part at the full level of the opening, no correction.

Nothing here measures; see `evaluate.py`, and `stats.py` for the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from .core import (
    Confirmation,
    Decision,
    Evaluation,
    Example,
    Ownership,
    Row,
    Skipped,
    Target,
    Trial,
    Verdict,
)
from .errors import StepladderError
from .forecast import (
    Part,
    SealedTest,
    broken_limits,
    chance,
    dollars_fault,
    least_test_size,
    parts_of,
)
from .stats import p95_upper, rows_lower_bound

__all__ = ["SealedTest", "able", "conclude", "confirm", "next_to_confirm"]

EVEN = 0.5  # the chance of being confirmed from which a trial is worth an opening


def able(
    trials: Sequence[Trial], target: Target, test: SealedTest, *, least_chance: float = EVEN
) -> list[Trial]:
    """The trials worth an opening: those that the test would confirm if it answered as dev did.

    An opening is not free: refused, it leaves half the level to the next one. A dev score that only
    just reaches the target is mostly luck and would be refused anyway, so the bar is the target
    plus the margin that the test's size and this opening's level will take off. That also shrinks
    the flattery of picking among many, without making one trial's fate depend on how many others
    there are. Lower `least_chance` when nothing is left to try: alpha unspent is worth nothing.

    A trial that racing stopped early is never able. Nor is one whose latency, dollars or slice
    scores are unknown where the target asks for them.
    """
    return [trial for trial in trials if chance(trial, target, test) >= least_chance]


def next_to_confirm(
    trials: Sequence[Trial],
    target: Target,
    ownership: Sequence[Ownership],
    already: Sequence[Confirmation],
    test: SealedTest,
    least_chance: float = EVEN,
) -> Trial | None:
    """The able trial that is cheapest to own and not yet refused, or None.

    Cheapest by the median total of `ownership`. Trials whose total is unknown come after those
    whose total is known, in the order of `trials`, which is the ladder's (cheapest to build first).
    With `least_chance` below one half, for a ladder that has ended, the able ones are followed by
    long shots, the likeliest first, since each refusal halves what the next one may spend. Once one
    has passed, only trials known to be cheaper to own than it are left. Of `already` only the names
    and whether they passed are used.
    """
    opened = {(one.step, one.name) for one in already}
    totals = {
        (one.step, one.name): one.total_dollars_per_month[1]
        for one in ownership
        if one.total_dollars_per_month is not None
    }

    def order(trial: Trial) -> tuple[bool, float]:
        odds = chance(trial, target, test)
        if odds < EVEN:
            return True, -odds
        return False, totals.get(_key(trial), math.inf)

    left = [
        trial
        for trial in able(trials, target, test, least_chance=least_chance)
        if _key(trial) not in opened
    ]
    if passed := [one for one in already if one.passed]:
        most = min(totals.get((one.step, one.name), -math.inf) for one in passed)
        left = [trial for trial in left if totals.get(_key(trial), math.inf) < most]
    return min(left, key=order, default=None)


def confirm(
    trial: Trial,
    evaluation: Evaluation,
    target: Target,
    examples: Sequence[Example],
    test: SealedTest,
) -> Confirmation:
    """One opening of the sealed test: is every part of the target shown at this opening's level?

    Args:
        trial: whose solver answered.
        evaluation: of that solver on the test set; failed answers are rows and count as wrong.
        target: score and floors need a lower bound at or above them, p95 an upper bound at or below
            it. Dollars are tokens and seconds times a price list, so their mean is compared as is.
        examples: the sealed test examples, whose metadata tell the slices.
        test: with the number of openings before this one.

    Raises:
        StepladderError: some test examples have no row.
    """
    rows = _complete(evaluation, examples)
    level = test.level(target)
    bound = rows_lower_bound(rows, test.scale, level)
    failed = []
    if bound.low < target.score:
        failed.append(f"score: shown to be at least {bound.low:.3f}, target {target.score:g}")
    for where, floor in target.floors.items():
        inside = _rows_of(where, rows, examples)
        low = rows_lower_bound(inside, test.scale_of(where), level).low
        if low < floor:
            failed.append(
                f"{where}: shown to be at least {low:.3f} "
                f"on {len(inside)} examples, floor {floor:g}"
            )
    if target.p95_seconds is not None:
        slowest = p95_upper([row.seconds for row in rows], level)
        if slowest > target.p95_seconds:
            failed.append(
                f"p95: shown to be at most {slowest:.3g} s, target {target.p95_seconds:g} s"
            )
    dollars = dollars_fault(evaluation, target)
    if dollars:
        failed.append(dollars)
    return Confirmation(
        step=trial.candidate.step,
        name=trial.candidate.name,
        score=bound.score,
        low=bound.low,
        n=len(rows),
        alpha_spent=level,
        opening=test.openings + 1,
        passed=not failed,
        method=bound.method,
        failed=tuple(failed),
    )


def conclude(
    trials: Sequence[Trial],
    confirmations: Sequence[Confirmation],
    skipped: Sequence[Skipped],
    target: Target,
    test: SealedTest,
    blocked_by: str | None = None,
) -> Decision:
    """The verdict with its reason in one sentence.

    met        an opening showed every part of the target
    blocked    `blocked_by` (a budget, a missing extra) ended the climb, nothing was measured to the
               end, or the test set is too small for even a perfect score to be confirmed
    not_met    dev puts the best candidate below the target, or every one beyond its limits
    undecided  the target lies within what the data allows; `examples_needed` more test examples
               would settle it eight times in ten if the score seen is the true one. Where the test
               was opened they must be fresh: what was seen steered the wish for more
    """
    verdict, reason, chosen, needed = _judge(trials, confirmations, target, test, blocked_by)
    return Decision(
        verdict=verdict,
        reason=reason,
        chosen=chosen,
        trials=tuple(trials),
        confirmations=tuple(confirmations),
        skipped=tuple(skipped),
        cautions=tuple(_cautions(trials, confirmations, target, chosen)),
        examples_needed=needed,
    )


def _rows_of(where: str, rows: Sequence[Row], examples: Sequence[Example]) -> list[Row]:
    """What a floor is about: the rows of a slice, or all of them, counted by another metric."""
    if "=" not in where:
        return [replace(row, counts=row.also[where]) for row in rows]
    ids = {example.id for example in examples if _lies_in(example, where)}
    return [row for row in rows if row.id in ids]


def _lies_in(example: Example, where: str) -> bool:
    """Whether "language=ilocano" is true of the example."""
    name, _, value = where.partition("=")
    return name in example.metadata and str(example.metadata[name]) == value


def _complete(evaluation: Evaluation, examples: Sequence[Example]) -> list[Row]:
    rows = {row.id: row for row in evaluation.rows}
    missing = [example.id for example in examples if example.id not in rows]
    if missing:
        raise StepladderError(
            f"{len(missing)} of {len(examples)} test examples were not answered, "
            f"the first is {missing[0]!r}",
            hint="run the same command again; an answer that fails must be a row with an error",
        )
    return [rows[example.id] for example in examples]


# --- the verdict --------------------------------------------------------------------------------

_Judgement = tuple[Verdict, str, Trial | None, int | None]


def _judge(
    trials: Sequence[Trial],
    confirmations: Sequence[Confirmation],
    target: Target,
    test: SealedTest,
    blocked_by: str | None,
) -> _Judgement:
    passed = [one for one in confirmations if one.passed]
    if passed:
        proof = passed[-1]  # after a pass only cheaper ones are opened, so the last is the cheapest
        chosen = next(trial for trial in trials if _key(trial) == (proof.step, proof.name))
        return "met", _met_reason(chosen, proof, target), chosen, None
    if blocked_by is not None:
        return "blocked", _sentence(f"the climb could not go on: {blocked_by}"), None, None
    whole = [trial for trial in trials if trial.stopped_early is None and trial.evaluation.n]
    if not whole:
        return "blocked", "No candidate was measured to the end.", None, None
    within = [trial for trial in whole if not broken_limits(trial.evaluation, target)]
    if not within:
        best = max(whole, key=lambda trial: trial.evaluation.score)
        broken = "; ".join(broken_limits(best.evaluation, target))
        reason = f"no candidate keeps the limits; the best by score, {_name(best)}, has {broken}"
        return "not_met", _sentence(reason), None, None
    closest = max(within, key=lambda trial: _closeness(trial, target))
    short = [part for part in parts_of(closest.evaluation, target) if part.high < part.bar]
    if short:
        return "not_met", _not_met_reason(closest, short[0], target), None, None
    least = least_test_size(target, test)
    if least is None or test.size < least:
        return "blocked", _too_small_reason(least, target, test), None, least
    return _undecided(closest, confirmations, target, test)


def _closeness(trial: Trial, target: Target) -> float:
    """How far the worst part of the target is exceeded on dev."""
    return min(part.score - part.bar for part in parts_of(trial.evaluation, target))


def _undecided(
    closest: Trial, confirmations: Sequence[Confirmation], target: Target, test: SealedTest
) -> _Judgement:
    more = _examples_needed(closest, confirmations, target, test)
    dev, refused = closest.evaluation, _refusal(closest, confirmations)
    seen = (
        f"{_name(closest)} came closest with {dev.score:.3f} on {dev.n} dev examples "
        f"({dev.low:.3f} to {dev.high:.3f}), target {target.score:g}"
    )
    if refused:
        seen += (
            f"; opening {refused.opening} of the test at level {refused.alpha_spent:.3g} refused "
            f"it with {refused.score:.3f} on {refused.n} examples ({'; '.join(refused.failed)})"
        )
    kind = "fresh" if confirmations else "more"
    cure = (
        f"{more:,} {kind} test examples would settle it at level {test.level(target):.3g}"
        if more
        else "it lies so close to the target that no practical number of examples would settle it"
    )
    return "undecided", _sentence(f"{seen}; {cure}"), None, more


def _examples_needed(
    closest: Trial, confirmations: Sequence[Confirmation], target: Target, test: SealedTest
) -> int | None:
    """Test examples to add so that the next opening tells every part from its bar.

    The test's own score counts for more than dev's, which was chosen for being high.
    """
    score, *floors = parts_of(closest.evaluation, target)
    refused = _refusal(closest, confirmations)
    if refused:
        alpha = 2 * refused.alpha_spent
        score = replace(score, score=refused.score, low=refused.low, n=refused.n, alpha=alpha)
    level, most = test.level(target), 0
    for part, whole in [(score, score.n), *((part, closest.evaluation.n) for part in floors)]:
        size = part.needed(level, test.scale_of(part.where))
        if size is None:
            return None
        most = max(most, math.ceil(size * whole / max(part.n, 1)))
    return max(1, most if confirmations else most - test.size)


def _refusal(trial: Trial, confirmations: Sequence[Confirmation]) -> Confirmation | None:
    found = [one for one in confirmations if (one.step, one.name) == _key(trial)]
    return found[-1] if found else None


def _met_reason(chosen: Trial, passed: Confirmation, target: Target) -> str:
    spent = chosen.evaluation.dollars_per_1000
    cost = "unknown dollars" if spent is None else f"${spent:.4g}"
    return (
        f"{_name(chosen)} scored {passed.score:.3f} on {passed.n} sealed test examples, at least "
        f"{passed.low:.3f} at level {passed.alpha_spent:.3g} (opening {passed.opening}, alpha "
        f"{target.alpha:g} over the climb), which clears the target of {target.score:g}, at {cost} "
        f"per 1,000 requests."
    )


def _not_met_reason(closest: Trial, short: Part, target: Target) -> str:
    what = "" if short.where == "score" else f" in {short.where}"
    return (
        f"{_name(closest)} came closest and scored {short.score:.3f}{what} on {short.n} dev "
        f"examples, at most {short.high:.3f}, which is below the target of {short.bar:g}."
    )


def _too_small_reason(least: int | None, target: Target, test: SealedTest) -> str:
    if least is None:
        return f"No test set can confirm a target of {target.score:g}: choose one below 1."
    return (
        f"The test set is too small: at level {test.level(target):.3g} even a perfect score on its "
        f"{test.size} examples would not confirm {target.score:g}; {least} are the least."
    )


def _cautions(
    trials: Sequence[Trial],
    confirmations: Sequence[Confirmation],
    target: Target,
    chosen: Trial | None,
) -> Iterator[str]:
    priceless = sum(trial.evaluation.dollars_per_1000 is None for trial in trials)
    if target.dollars_per_1000 is not None and priceless:
        yield (
            f"{priceless} of {len(trials)} candidates cannot pass the dollars target: price unknown"
        )
    elif chosen is not None and chosen.evaluation.dollars_per_1000 is None:
        yield "what the chosen candidate costs to run is unknown: give prices or hardware"
    refused = sum(not one.passed for one in confirmations)
    if refused:
        spent = sum(one.alpha_spent for one in confirmations)
        times = "once" if refused == 1 else f"{refused} times"
        yield f"the test refused what it was opened for {times}; {spent:.3g} of alpha is spent"
    if any("approximate" in one.method for one in confirmations):
        yield "the bound on this metric is approximate: it has no proof for small test sets"
    yield from _built_with_cautions(trials)


def _built_with_cautions(trials: Sequence[Trial]) -> Iterator[str]:
    """What was said when candidates were built, once for all of a step that share it."""
    shared: dict[tuple[str, str], list[str]] = {}
    for trial in trials:
        for said in trial.candidate.cautions:
            shared.setdefault((trial.candidate.step, said), []).append(trial.candidate.name)
    for (step, said), names in shared.items():
        yield said if said.startswith(f"{step} / ") else f"{step} / {', '.join(names)}: {said}"


def _key(trial: Trial) -> tuple[str, str]:
    return trial.candidate.step, trial.candidate.name


def _name(trial: Trial) -> str:
    return repr(f"{trial.candidate.step}/{trial.candidate.name}")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
