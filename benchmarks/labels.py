"""Whether a learning curve tells the truth, and whether chosen labels beat random ones.

Curves: the power law is fitted to scores at up to 1/4 and up to 1/2 of train, and asked for all of
it; how often what was measured lies in its 90 % interval, and how far off its middle is, are
counted over data sets and orders of the data. Choice: from two labels of each kind on, labels are
bought in five rounds, at random and as `stepladder labels` would choose them, by the same solver on
the same test; the difference to random is taken in pairs, round by round and order by order.

The data sets are folders with train.jsonl and test.jsonl in the form of the examples here
(input, output); name the folder that holds them.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from environment import finish, parser, where

from stepladder.compare import paired_gain
from stepladder.core import Counts, Example, Output, Row, Workshop
from stepladder.embeddings import embed_kept
from stepladder.labels.active import WAYS, Known, Way, choose
from stepladder.labels.curve import Measured, fit_curve
from stepladder.labels.nested import nested_subsets, sizes_up_to
from stepladder.solvers.linear import fit_linear
from stepladder.testing import FakeModel, fake_workshop

CURVES = ("banking77", "clinc150", "nusax_senti", "cuad_clauses")
CHOICES = ("banking77", "clinc150")
FIRST, ROUNDS = 2, 5  # labels of each kind to begin with; then one of each in a round, on average


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    options.add_argument("--orders", type=int, default=3)
    chosen = options.parse_args()
    place = where()
    curves: list[dict[str, Any]] = []
    choices: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        workshop = fake_workshop(FakeModel(lambda request: ""), Path(folder))
        for name in CURVES:
            train, test = (read(chosen.data / name / f"{part}.jsonl") for part in ("train", "test"))
            for order in range(chosen.orders):
                curves += curve_guesses(name, train, test, order, workshop)
            if name in CHOICES:
                choices[name] = chosen_labels(train, test, chosen.orders, workshop)
                print(name, json.dumps(choices[name], indent=1), flush=True)
    result = {**place, "orders": chosen.orders, "curves": told(curves), "choices": choices}
    finish("labels", result, write=chosen.write)


# --- curves ---------------------------------------------------------------------------------------


def curve_guesses(
    name: str, train: Sequence[Example], test: Sequence[Example], order: int, workshop: Workshop
) -> list[dict[str, Any]]:
    """What the law said of all of train from a quarter and a half of it, and what was there."""
    kinds = len({example.expected for example in train})
    quarter = sizes_up_to(len(train) // 4, 5, least=FIRST * kinds)
    sizes = [*quarter, len(train) // 2, len(train)]
    subsets = nested_subsets(train, sizes, order, by_label=True)
    scored = {
        size: score(subset, test, workshop) for size, subset in zip(sizes, subsets, strict=True)
    }
    measured = share(scored[len(train)])
    found = []
    for part in (4, 2):
        known = [size for size in sizes if size <= len(train) // part]
        curve = fit_curve([Measured(n, 0, scored[n]) for n in known], "binary", seed=order)
        guess = curve.at(len(train))
        gain = np.quantile(curve.gain(known[-1], len(train)), [0.05, 0.5, 0.95])
        there = measured - share(scored[known[-1]])
        found.append(
            {
                "data": name,
                "order": order,
                "from": known[-1],
                "to": len(train),
                "said": guess.score,
                "low": guess.low,
                "high": guess.high,
                "measured": measured,
                "gain_said": [round(float(one), 4) for one in gain],
                "gain_measured": there,
            }
        )
        print(json.dumps(found[-1]), flush=True)
    return found


def told(curves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    inside = [one["low"] <= one["measured"] <= one["high"] for one in curves]
    gained = [one["gain_said"][0] <= one["gain_measured"] <= one["gain_said"][2] for one in curves]
    off = [abs(one["said"] - one["measured"]) for one in curves]
    return {
        "guesses": len(curves),
        "score_inside_90": sum(inside) / len(inside),
        "gain_inside_90": sum(gained) / len(gained),
        "mean_absolute_error": statistics.mean(off),
        "worst_error": max(off),
        "mean_width": statistics.mean(one["high"] - one["low"] for one in curves),
        "each": list(curves),
    }


# --- choice ---------------------------------------------------------------------------------------


def chosen_labels(
    train: Sequence[Example], test: Sequence[Example], orders: int, workshop: Workshop
) -> dict[str, Any]:
    """Scores by way and number of labels, and each way against random in pairs."""
    vectors = np.asarray(embed_kept([str(one.input) for one in train], workshop.artifacts))
    kinds = len({example.expected for example in train})
    scored: dict[Way, list[list[Sequence[Counts]]]] = {way: [] for way in WAYS}
    for order in range(orders):
        [begin] = nested_subsets(train, [FIRST * kinds], order, by_label=True)
        first = [train.index(example) for example in begin]
        for way in WAYS:
            buying = Buying(way, kinds, train, test, vectors, order)
            scored[way].append(bought(buying, first, workshop))
    rounds = [(FIRST + at) * kinds for at in range(ROUNDS + 1)]
    return {
        "labels": rounds,
        "score": {
            way: [statistics.mean(share(run[at]) for run in runs) for at in range(ROUNDS + 1)]
            for way, runs in scored.items()
        },
        "against_random": {way: against(scored[way], scored["random"]) for way in WAYS[1:]},
    }


@dataclass(frozen=True)
class Buying:
    """One way of choosing, how many labels a round buys, and from what."""

    way: Way
    labels: int
    train: Sequence[Example]
    test: Sequence[Example]
    vectors: np.ndarray
    order: int


def bought(buying: Buying, first: Sequence[int], workshop: Workshop) -> list[Sequence[Counts]]:
    """Test counts before the first round and after each."""
    train, have = buying.train, list(first)
    found: list[Sequence[Counts]] = []
    for turn in range(ROUNDS + 1):
        solver = fit([train[at] for at in have], workshop)
        found.append(counts(solver, buying.test, workshop))
        if turn < ROUNDS:
            left = sorted(set(range(len(train))) - set(have))
            answers = dict(solver.answer([train[at].input for at in left], workshop))
            confidence = [answers[at].confidence for at in range(len(left))]
            known = Known(len(left), confidence, buying.vectors[left], buying.vectors[have])
            seed = 1000 * buying.order + turn
            have += [left[at] for at in choose(buying.way, buying.labels, known, seed=seed)]
    return found


def against(
    way: Sequence[Sequence[Sequence[Counts]]], random: Sequence[Sequence[Sequence[Counts]]]
) -> dict[str, Any]:
    """The paired difference over all rounds after the first and all orders.

    A test example is one unit, whatever number of rounds and orders asked it.
    """
    first, second = _rows(way), _rows(random)
    gain = paired_gain(first, second, "bounded", alpha=0.05, against="random")
    return {
        "difference": gain.difference,
        "low": gain.low,
        "high": gain.high,
        "p_value": gain.p_value,
        "n": gain.n,
    }


def _rows(runs: Sequence[Sequence[Sequence[Counts]]]) -> list[Row]:
    after = [run[1:] for run in runs]
    tests = len(after[0][0])
    right = np.array([[[one[0][1] for one in turn] for turn in run] for run in after])
    mean = right.mean(axis=(0, 1))
    return [Row(str(at), (("", float(mean[at]), 1.0),)) for at in range(tests)]


# --- both -----------------------------------------------------------------------------------------


def read(path: Path) -> list[Example]:
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    found = [Example(row["id"], row["input"], row["output"]) for row in rows]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[at] for at in order]


def fit(train: Sequence[Example], workshop: Workshop) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # few examples of many labels: meant here
        return fit_linear(train, workshop)


def score(
    train: Sequence[Example], test: Sequence[Example], workshop: Workshop
) -> Sequence[Counts]:
    return counts(fit(train, workshop), test, workshop)


def counts(solver: Any, test: Sequence[Example], workshop: Workshop) -> Sequence[Counts]:
    answers: dict[int, Output] = dict(solver.answer([one.input for one in test], workshop))
    return [
        (("", float(answers[at].value == example.expected), 1.0),)
        for at, example in enumerate(test)
    ]


def share(counted: Sequence[Counts]) -> float:
    return sum(one[0][1] for one in counted) / len(counted)


if __name__ == "__main__":
    main()
