"""How often a climb stops on a candidate that is truly below the target: ours and the usual rules.

2,000 climbs with known truth per setting. A climb measures its candidates on dev, cheapest first,
and asks the real `next_to_confirm` and `confirm` after each, as `climb.py` does; when the ladder
ends it asks once more with a lower bar. Beside it, on the same answers:

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
import math
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import product, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import beta

from stepladder import decide, stats, units
from stepladder.core import Candidate, Confirmation, Counts, Evaluation, Example, Row, Target, Trial
from stepladder.decide import EVEN, SealedTest, next_to_confirm
from stepladder.units import Scale

Array = NDArray[Any]
TARGET = Target(0.85)
KINDS: dict[str, Scale] = {"accuracy": "binary", "micro-F1": "ratio"}
SIZES, CANDIDATES = (50, 100, 300, 1000), (3, 10, 30)
SHARED = {"independent": 0.0, "correlated": 0.7}  # correlation of difficulty between candidates
LAST_CHANCE = 0.1  # the bar once the ladder has ended
CHUNK = 250  # climbs at a time
KEPT = 32_000  # draws of weights


def qualities(truth: str, k: int) -> Array:
    """The true scores of `k` candidates, cheapest first."""
    same = {"at the edge": TARGET.score - 1e-9, "2 points below": TARGET.score - 0.02}
    if truth in same:
        return np.full(k, same[truth])
    top = {"rising to 0.93": 0.93, "rising to 0.88": 0.88}[truth]
    return np.linspace(top - 0.28, top, k)


TRUTHS = ("at the edge", "2 points below", "rising to 0.93", "rising to 0.88")


# --- a world with known truth -------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Answers of candidates with true scores `scores` to random examples.

    Whether an item of an example is found hangs on the example's difficulty, a normal variable that
    candidates share to the degree `shared`. With "accuracy" an example is one item. With
    "micro-F1" it has 1 + Poisson(1.5) items, and whoever misses items also invents some.
    """

    kind: str
    shared: float
    n: int
    scores: Array

    @property
    def at_the_edge(self) -> bool:
        """Whether this is the hardest world for the guarantee: many, all a hair too bad."""
        return len(self.scores) == max(CANDIDATES) and bool(self.scores[0] > TARGET.score - 1e-6)

    def examples(self, rng: np.random.Generator, climbs: int) -> tuple[Array, Array]:
        """Difficulty and number of items, each of shape (climbs, n)."""
        shape = (climbs, self.n)
        items = 1 + rng.poisson(1.5, shape) if self.kind == "micro-F1" else np.ones(shape, int)
        return rng.standard_normal(shape, np.float32), items.astype(np.int8)

    def answers(
        self, rng: np.random.Generator, hard: Array, items: Array, which: int
    ) -> tuple[Array, Array]:
        """Numerators and denominators of one candidate on examples of any shape."""
        own = rng.standard_normal(hard.shape, np.float32)
        hard = math.sqrt(self.shared) * hard + math.sqrt(1 - self.shared) * own
        if self.kind == "accuracy":
            right = hard < ndtri(self.scores[which])
            return right.astype(np.float32), np.ones(hard.shape, np.float32)
        rate = ndtri(_recall(float(self.scores[which])))
        found = rng.binomial(items, ndtr((rate - math.sqrt(0.4) * hard) / math.sqrt(0.6)))
        invented = rng.binomial(items - found, 0.8) + (rng.random(hard.shape) < 0.1)
        return (2 * found).astype(np.float32), (found + items + invented).astype(np.float32)


def _recall(score: float) -> float:
    """The recall at which 2·tp / (tp + items + invented) is `score` in expectation."""
    items = 2.5
    return score * (items * 1.8 + 0.1) / (2 * items - score * (items - 0.8 * items))


# --- bounds, for many climbs at once ------------------------------------------------------------


@lru_cache(maxsize=1)
def _kept(count: int, seed: int) -> list[NDArray[np.float32]]:
    return list(units.weights(count, KEPT, seed))


def _weights(count: int, draws: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """`units.weights`, drawn once: fewer draws are the first of more."""
    if draws > KEPT:
        yield from units.weights(count, draws, seed)
        return
    for chunk in _kept(count, seed):
        if draws > 0:
            yield chunk[:draws]
        draws -= len(chunk)


def ratio_lows(top: Array, bottom: Array, alpha: float) -> Array:
    """`stats.lower_bound(..., "ratio", alpha).low` of each row of (climbs, n) counts."""
    if not len(top):
        return np.zeros(0)
    typical = (bottom.astype(float) ** 2).sum(axis=1) / bottom.sum(axis=1)
    draws = units.draws_for(alpha)
    drawn = []
    for weight in _weights(top.shape[1] + 1, draws, 0):
        below = weight[:, :-1] @ bottom.T + weight[:, -1:] * typical.astype(np.float32)
        drawn.append((weight[:, :-1] @ top.T) / below)
    rank = math.floor(alpha * (draws + 1)) - 1
    low = np.partition(np.concatenate(drawn), rank, axis=0)[rank]
    return np.asarray(np.minimum(low, top.sum(axis=1) / bottom.sum(axis=1)))


@cache
def binary_low(right: int, n: int, alpha: float) -> float:
    return stats.clopper_pearson_low(right, n, alpha)


def lows(kind: str, top: Array, bottom: Array, alpha: float) -> Array:
    if kind == "micro-F1":
        return ratio_lows(top, bottom, alpha)
    return np.array([binary_low(int(one.sum()), one.size, alpha) for one in top])


def counts_of(top: Array, bottom: Array) -> list[Counts]:
    return [(("all", float(a), float(b)),) for a, b in zip(top, bottom, strict=True)]


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


class Ladder:
    """A chunk of climbs of one world, kept in step so that bounds are computed together."""

    def __init__(self, world: World, rng: np.random.Generator, climbs: int) -> None:
        self.world, self.rng = world, rng
        self.dev, self.test = (world.examples(rng, climbs) for _ in range(2))
        k = len(world.scores)
        self.dev_scores, self.test_means = np.zeros((climbs, k)), np.zeros((climbs, k))
        self.climbs = [Climb() for _ in range(climbs)]
        self.seen: dict[tuple[int, int], tuple[Array, Array]] = {}

    def run(self) -> None:
        for which in range(len(self.world.scores)):
            top, bottom = self.world.answers(self.rng, *self.dev, which)
            self.dev_scores[:, which] = top.sum(axis=1) / bottom.sum(axis=1)
            self._open(self._measure(which, top, bottom), EVEN)
        while self._open({i: one.promising for i, one in enumerate(self.climbs)}, LAST_CHANCE):
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
            if climb.stopped is None:
                one = next_to_confirm(trials, TARGET, (), climb.opened, test, least_chance)
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
        """The lower bounds after so many openings; one that fails a milder level is not worked out."""
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
        climb.stopped = int(one.candidate.name) if shown.passed else None

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
    if world.at_the_edge:
        found["reckless"] = _share(reckless, climbs)
    return found


def _reckless(ladder: Ladder) -> int:
    """How many climbs pass a candidate at the edge when every one is opened, whatever dev says."""
    world = ladder.world
    if not world.at_the_edge:
        return 0
    passed = np.zeros(len(ladder.climbs), bool)
    for which in range(len(world.scores) if world.kind == "accuracy" else 4):
        top, bottom = world.answers(ladder.rng, *ladder.test, which)
        passed |= ladder.shown(top, bottom, which) >= TARGET.score
    return int(passed.sum())


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


def provenance(seconds: float, workers: int) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "workers": workers,
        "python": platform.python_version(),
        "seconds": round(seconds),
    }


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
