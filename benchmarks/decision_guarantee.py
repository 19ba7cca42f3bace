"""How often a climb stops on a candidate that is truly below the target: ours and the usual rules.

2,000 climbs with known truth per setting. A climb measures its candidates on dev, cheapest first,
and asks the real `next_to_confirm` and `confirm` after each, as `climb.py` does; when the ladder
ends it asks once more with a lower bar, and after a pass once more for what would be cheaper to
own. Beside it, on the same answers:

    max dev      stop at the first candidate whose dev score reaches the target
    mean chosen  take the best on dev, stop if its mean on the test reaches the target
    limit        an oracle names the best candidate, which gets one opening at the whole of alpha
    reckless     our openings without our choosing: candidates at the edge are opened whatever dev
                 says (all 30, or the first four for micro-F1). The guarantee must hold even so

Bounds are computed for many climbs at once and handed to the real `confirm`; that they equal those
of the library is checked on a sample of every setting.

    OMP_NUM_THREADS=1 python benchmarks/decision_guarantee.py [--climbs 2000] [--write PATH]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import product, repeat
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta
from simulated_world import KINDS, SIZES, TARGET, Array, World, counts_of, lows, provenance

from stepladder import decide, stats
from stepladder.climb import LAST_CHANCE  # the bar once the ladder has ended
from stepladder.core import Candidate, Confirmation, Evaluation, Example, Ownership, Row, Trial
from stepladder.decide import EVEN, SealedTest, next_to_confirm

CANDIDATES = (3, 10, 30)
SHARED = {"independent": 0.0, "correlated": 0.7}  # correlation of difficulty between candidates
CHUNK = 250  # climbs at a time


def qualities(truth: str, k: int) -> Array:
    """The true scores of `k` candidates, cheapest first."""
    same = {"at the edge": TARGET.score - 1e-9, "2 points below": TARGET.score - 0.02}
    if truth in same:
        return np.full(k, same[truth])
    top = {"rising to 0.93": 0.93, "rising to 0.88": 0.88}[truth]
    return np.linspace(top - 0.28, top, k)


TRUTHS = ("at the edge", "2 points below", "rising to 0.93", "rising to 0.88")


def check_same(kind: str, top: Array, bottom: Array, alpha: float) -> None:
    """The bounds above are the library's."""
    ours = lows(kind, top, bottom, alpha)
    for i in range(len(top)):
        theirs = stats.lower_bound(counts_of(top[i], bottom[i]), KINDS[kind], alpha).low
        assert abs(ours[i] - theirs) < 1e-5, (ours[i], theirs)


# --- a climb ------------------------------------------------------------------------------------


@dataclass
class Climb:
    """One climb as it goes: what looked promising, what was opened, where it stopped."""

    promising: list[Trial] = field(default_factory=list)
    opened: list[Confirmation] = field(default_factory=list)
    stopped: int | None = None


@cache
def _blank(n: int) -> tuple[tuple[Row, ...], tuple[Example, ...]]:
    ids = [str(i) for i in range(n)]
    return tuple(Row(id, ()) for id in ids), tuple(Example(id, "", "") for id in ids)


def evaluation(part: str, rows: tuple[Row, ...], score: float, low: float) -> Evaluation:
    return Evaluation(part, "", rows, score, low, score, TARGET.alpha, "", len(rows))  # type: ignore[arg-type]


def trial(which: int, n: int, score: float, low: float) -> Trial:
    candidate = Candidate("step", str(which), None)  # type: ignore[arg-type]  # never asked
    return Trial(candidate, evaluation("dev", _blank(n)[0], score, low))


def owned(which: int) -> Ownership:
    """What a candidate costs to own: more than those before it."""
    total = (float(which),) * 3
    return Ownership("step", str(which), None, None, None, total)


class Ladder:
    """A chunk of climbs of one world, kept in step so that bounds are computed together."""

    def __init__(self, world: World, rng: np.random.Generator, climbs: int) -> None:
        self.world, self.rng = world, rng
        self.dev, self.test = (world.examples(rng, climbs) for _ in range(2))
        k = len(world.scores)
        self.dev_scores, self.test_means = np.zeros((climbs, k)), np.zeros((climbs, k))
        self.climbs = [Climb() for _ in range(climbs)]
        self.owned = [owned(which) for which in range(k)]
        self.seen: dict[tuple[int, int], tuple[Array, Array]] = {}

    def run(self) -> None:
        for which in range(len(self.world.scores)):
            top, bottom = self.world.answers(self.rng, *self.dev, which)
            self.dev_scores[:, which] = top.sum(axis=1) / bottom.sum(axis=1)
            self._open(self._measure(which, top, bottom), EVEN)
        while self._open(
            {i: one.promising for i, one in enumerate(self.climbs) if one.stopped is None},
            LAST_CHANCE,
        ):
            pass
        while self._open(
            {i: one.promising for i, one in enumerate(self.climbs) if one.stopped is not None},
            LAST_CHANCE,
        ):
            pass

    def _measure(self, which: int, top: Array, bottom: Array) -> dict[int, list[Trial]]:
        """One rung of all climbs that go on.

        A score less than 0.1 standard errors above the target is passed over: the forecast's least
        bar, LAST_CHANCE, lies at 0.14 standard errors or more.
        """
        lead = self.dev_scores[:, which] - TARGET.score
        off = top - self.dev_scores[:, which, None] * bottom
        hopeful = lead > 0.1 * np.sqrt((off**2).sum(axis=1)) / bottom.sum(axis=1)
        on = [i for i in map(int, np.flatnonzero(hopeful)) if self.climbs[i].stopped is None]
        kind, alpha = self.world.kind, TARGET.alpha / 2
        if which == 0:
            check_same(kind, top[on[:1]], bottom[on[:1]], alpha)
        for i, low in zip(on, lows(kind, top[on], bottom[on], alpha), strict=True):
            score = float(self.dev_scores[i, which])
            self.climbs[i].promising.append(trial(which, self.world.n, score, float(low)))
        return {i: self.climbs[i].promising[-1:] for i in on}

    def _open(self, offers: Mapping[int, Sequence[Trial]], least_chance: float) -> bool:
        """At most one opening of each climb that goes on; whether there was any."""
        chosen: dict[int, list[tuple[int, Trial]]] = {}
        for i, trials in offers.items():
            climb = self.climbs[i]
            test = self._sealed(len(climb.opened))
            one = next_to_confirm(trials, TARGET, self.owned, climb.opened, test, least_chance)
            if one is not None:
                chosen.setdefault(test.openings, []).append((i, one))
        for openings, pairs in chosen.items():
            answers = [self.on_test(i, int(one.candidate.name)) for i, one in pairs]
            top, bottom = (np.stack([each[side] for each in answers]) for side in (0, 1))
            test = self._sealed(openings)
            for (i, one), low in zip(pairs, self.shown(top, bottom, openings), strict=True):
                self._record(self.climbs[i], one, low, test)
        return bool(chosen)

    def _sealed(self, openings: int) -> SealedTest:
        return SealedTest(self.world.n, KINDS[self.world.kind], openings)

    def shown(self, top: Array, bottom: Array, openings: int) -> Array:
        """Lower bounds after so many openings, worked out only where a milder level passes."""
        level, kind = self._sealed(openings).level(TARGET), self.world.kind
        low = lows(kind, top, bottom, max(level, 0.0125))
        deep = np.flatnonzero(low >= TARGET.score)
        if level < 0.0125 and deep.size:
            low[deep] = lows(kind, top[deep], bottom[deep], level)
        return low

    def _record(self, climb: Climb, one: Trial, low: float, test: SealedTest) -> None:
        rows, examples = _blank(test.size)
        bound = stats.Interval(low, low, 1.0, test.level(TARGET), "worked out with the others")
        vars(decide)["rows_lower_bound"] = lambda rows, scale, alpha: bound
        shown = decide.confirm(one, evaluation("test", rows, low, low), TARGET, examples, test)
        climb.opened.append(shown)
        if shown.passed:
            climb.stopped = int(one.candidate.name)

    def on_test(self, i: int, which: int) -> tuple[Array, Array]:
        """A candidate's answers on a climb's test set, the same whenever they are asked for."""
        if (i, which) not in self.seen:
            hard, items = self.test[0][i], self.test[1][i]
            self.seen[i, which] = self.world.answers(self.rng, hard, items, which)
        return self.seen[i, which]


# --- counting -----------------------------------------------------------------------------------


def simulate(world: World, climbs: int, seed: int) -> dict[str, Any]:
    """Rates over `climbs` climbs of one world, of each rule."""
    rng = np.random.default_rng(seed)
    stops: dict[str, list[int | None]] = {"stepladder": [], "max dev": [], "mean chosen": []}
    openings, limit, reckless = 0, 0, 0
    for start in range(0, climbs, CHUNK):
        ladder = Ladder(world, rng, min(CHUNK, climbs - start))
        ladder.run()
        stops["stepladder"] += [climb.stopped for climb in ladder.climbs]
        openings += sum(len(climb.opened) for climb in ladder.climbs)
        for i, scores in enumerate(ladder.dev_scores):
            reached = np.flatnonzero(scores >= TARGET.score)
            stops["max dev"].append(int(reached[0]) if reached.size else None)
            best = int(scores.argmax())
            top, bottom = ladder.on_test(i, best)
            mean = top.sum() / bottom.sum()
            stops["mean chosen"].append(best if mean >= TARGET.score else None)
        limit += _limit(ladder)
        reckless += _reckless(ladder)
    able = world.scores >= TARGET.score
    cheapest = int(able.argmax())
    found: dict[str, Any] = {rule: _rates(where, able, cheapest) for rule, where in stops.items()}
    found["stepladder"]["openings"] = openings / climbs
    found["limit"] = {"power": limit / climbs if able.any() else None}
    if _at_the_edge(world):
        found["reckless"] = _share(reckless, climbs)
    return found


def _reckless(ladder: Ladder) -> int:
    """How many climbs pass a candidate at the edge when every one is opened, whatever dev says."""
    world = ladder.world
    if not _at_the_edge(world):
        return 0
    passed = np.zeros(len(ladder.climbs), bool)
    for which in range(len(world.scores) if world.kind == "accuracy" else 4):
        top, bottom = world.answers(ladder.rng, *ladder.test, which)
        passed |= ladder.shown(top, bottom, which) >= TARGET.score
    return int(passed.sum())


def _at_the_edge(world: World) -> bool:
    """Whether this is the hardest world for the guarantee: many, all a hair too bad."""
    return len(world.scores) == max(CANDIDATES) and bool(world.scores[0] > TARGET.score - 1e-6)


def _limit(ladder: Ladder) -> int:
    """How many climbs an oracle's one opening at the whole of alpha would confirm."""
    if ladder.world.scores[-1] < TARGET.score:
        return 0
    hard, items = ladder.test
    top, bottom = ladder.world.answers(ladder.rng, hard, items, len(ladder.world.scores) - 1)
    return int((lows(ladder.world.kind, top, bottom, TARGET.alpha) >= TARGET.score).sum())


def _rates(where: Sequence[int | None], able: Array, cheapest: int) -> dict[str, Any]:
    wrong = sum(one is not None and not able[one] for one in where)
    right = [one for one in where if one is not None and able[one]]
    n = len(where)
    return {
        **_share(wrong, n),
        "power": len(right) / n if able.any() else None,
        "rungs_too_dear": float(np.mean(right)) - cheapest if right else None,
    }


def _share(wrong: int, n: int) -> dict[str, float]:
    """A rate of stopping below the target with its 95 % Clopper-Pearson interval."""
    return {
        "below_target": wrong / n,
        "low": float(beta.ppf(0.025, wrong, n - wrong + 1)) if wrong else 0.0,
        "high": float(beta.ppf(0.975, wrong + 1, n - wrong)) if wrong < n else 1.0,
    }


SETTINGS = list(product(KINDS, SIZES, TRUTHS, SHARED, CANDIDATES))


def simulate_setting(seed: int, climbs: int) -> dict[str, Any]:
    """One line of the result, told by its number."""
    kind, n, truth, shared, k = SETTINGS[seed]
    world = World(kind, SHARED[shared], n, qualities(truth, k))
    named = {"metric": kind, "n": n, "truth": truth, "difficulty": shared, "k": k}
    return named | simulate(world, climbs, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--climbs", type=int, default=2000)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    began, found = time.monotonic(), list[dict[str, Any]]()
    with ProcessPoolExecutor(options.workers) as pool:
        for one in pool.map(simulate_setting, range(len(SETTINGS)), repeat(options.climbs)):
            found.append(one)
            ours = one["stepladder"]
            shown = (*SETTINGS[len(found) - 1], ours["below_target"], ours["power"])
            print(f"{time.monotonic() - began:5.0f} s", *shown, flush=True)
    result = {
        **provenance(time.monotonic() - began, options.workers),
        "climbs": options.climbs,
        "target": TARGET.score,
        "alpha": TARGET.alpha,
        "worst": max(one["stepladder"]["below_target"] for one in found),
        "worst_reckless": max(
            one["reckless"]["below_target"] for one in found if "reckless" in one
        ),
        "settings": found,
    }
    if options.write:
        options.write.write_text(json.dumps(result, indent=1) + "\n")
    print(f"worst rate of stopping below the target: {result['worst']:.4f}")
    print(f"worst rate when every candidate is opened: {result['worst_reckless']:.4f}")


if __name__ == "__main__":
    main()
