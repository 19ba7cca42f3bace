"""How often the bounds without an exact formula lie above the truth, and how low they are.

Samples with known truth: micro-F1 over extracted items of examples of unequal size and difficulty,
macro-F1 over labels of unequal frequency, and a bounded score piled up near 1. For each level, the
share of one-sided lower bounds above the truth should not exceed it. Ours stands beside the
percentile and the BCa bootstrap (Efron 1987), which one would otherwise use for ratios.

    OMP_NUM_THREADS=1 python benchmarks/bound_coverage.py [--samples 2000] [--write PATH]
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import simulated_world
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from simulated_world import SIZES, Array, World, counts_of, provenance, ratio_lows, weights

from stepladder import stats, units

LEVELS = (0.05, 0.025, 0.0125)
DRAWS = 10_000
MICRO = (0.7, 0.85, 0.95)  # true scores
MACRO = ((3, 0.85), (10, 0.9), (77, 0.85))  # labels, chance of a right answer


def micro(score: float, n: int, samples: int) -> dict[str, Any]:
    """Ours, BCa and percentile on micro-F1."""
    rng = np.random.default_rng(n)
    world = World("micro-F1", 0.0, n, np.array([score]))
    top, bottom = world.answers(rng, *world.examples(rng, samples), 0)
    low = {"ours": np.stack([ratio_lows(top, bottom, level) for level in LEVELS])}
    drawn = rng.multinomial(n, np.full(n, 1 / n), DRAWS).astype(np.float32)
    scores = np.sort((drawn @ top.T) / (drawn @ bottom.T), axis=0)
    low["percentile"] = scores[[int(level * DRAWS) - 1 for level in LEVELS]]
    low["BCa"] = _bca(scores, top, bottom)
    mean = top.sum(axis=1) / bottom.sum(axis=1)
    return {name: _shares(each, score, mean) for name, each in low.items()}


def _bca(scores: Array, top: Array, bottom: Array) -> NDArray[np.float64]:
    """Bias-corrected and accelerated bounds; where nothing varies, the score itself."""
    estimate = top.sum(axis=1) / bottom.sum(axis=1)
    pull = (top - estimate[:, None] * bottom) / bottom.sum(axis=1)[:, None]
    spread = np.maximum((pull**2).sum(axis=1), 1e-30)
    bend = (pull**3).sum(axis=1) / (6 * spread**1.5)
    share = (scores < estimate).mean(axis=0) + (scores == estimate).mean(axis=0) / 2
    shift = ndtri(np.clip(share, 1 / DRAWS, 1 - 1 / DRAWS))
    found = []
    for level in LEVELS:
        z = shift + ndtri(level)
        rank = (ndtr(shift + z / (1 - bend * z)) * DRAWS).astype(int)
        found.append(scores[np.clip(rank - 1, 0, DRAWS - 1), np.arange(len(top))])
    return np.stack(found)


def macro(labels: int, right: float, n: int, samples: int) -> dict[str, Any]:
    """Ours on macro-F1 over labels whose frequency falls like 1 / sqrt(rank)."""
    rng = np.random.default_rng(n + labels)
    share = 1 / np.sqrt(np.arange(1, labels + 1))
    share /= share.sum()
    ease = np.clip(right + 0.08 * np.sin(3 * np.arange(labels)), 0, 0.995)
    truth = _macro_truth(share, ease)
    low, means = [], []
    for _ in range(samples):
        expected = rng.choice(labels, n, p=share)
        answered = _answers(rng, expected, share, ease)
        hit = (expected == answered)[:, None]
        label = np.arange(labels)
        said, meant = answered[:, None] == label, expected[:, None] == label
        bottom = said.astype(float) + meant
        kept = bottom.sum(axis=0) > 0
        top = (2.0 * (meant & hit))[:, kept]
        size = bottom.sum(axis=1)
        typical = float((size**2).sum() / size.sum())
        sample = units.Units(top, bottom[:, kept], float(size.max()), typical, n, False)
        drawn = [units.weighted_scores(sample, w, added=0.0) for w in weights(n + 1, DRAWS, 0)]
        scores = np.sort(np.concatenate(drawn))
        low.append([scores[int(level * (DRAWS + 1)) - 1] for level in LEVELS])
        means.append(sample.score)
    return {"truth": truth, "ours": _shares(np.array(low).T, truth, np.array(means))}


def _answers(rng: np.random.Generator, expected: Array, share: Array, ease: Array) -> Array:
    """The expected label with probability `ease`, else one drawn by frequency, or the next."""
    other = rng.choice(len(share), len(expected), p=share)
    other = np.where(other == expected, (expected + 1) % len(share), other)
    return np.where(rng.random(len(expected)) < ease[expected], expected, other)


def _macro_truth(share: Array, ease: Array) -> float:
    right, missed = share * ease, share * (1 - ease)
    said = right + missed.sum() * share - missed * share + np.roll(missed * share, 1)
    return float((2 * right / (share + said)).mean())


def bounded(n: int, samples: int) -> dict[str, Any]:
    """The betting bound on scores of mean 0.9 that pile up near 1."""
    rng = np.random.default_rng(n)
    values = rng.beta(1.8, 0.2, (samples, n))
    ones = np.ones(n)
    low = [
        [stats.lower_bound(counts_of(one, ones), "bounded", level).low for one in values]
        for level in LEVELS
    ]
    return {"ours": _shares(np.array(low), 0.9, values.mean(axis=1))}


def _shares(low: Array, truth: float, mean: Array) -> dict[str, list[float]]:
    """Per level: the share of bounds above the truth, and how far below the score they lie."""
    return {
        "above_truth": [round(float(one), 4) for one in (low > truth).mean(axis=1)],
        "margin": [round(float(one), 4) for one in (mean - low).mean(axis=1)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    simulated_world.KEPT = DRAWS  # of the weights that are drawn once
    began, found = time.monotonic(), list[dict[str, Any]]()
    for n in SIZES:
        for score in MICRO:
            found.append({"metric": "micro-F1", "truth": score, "n": n})
            found[-1] |= micro(score, n, options.samples)
        found.append({"metric": "bounded", "truth": 0.9, "n": n} | bounded(n, options.samples))
    for n, (labels, right) in product(SIZES, MACRO):
        few = options.samples // (20 if labels * n > 10_000 else 4)
        found.append({"metric": f"macro-F1 of {labels} labels", "n": n, "samples": few})
        found[-1] |= macro(labels, right, n, few)
    for one in found:
        print(json.dumps(one))
    result = provenance(time.monotonic() - began, 1) | {
        "samples": options.samples,
        "levels": LEVELS,
        "rows": found,
    }
    if options.write:
        options.write.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
