"""A made-up climb with everything a report must survive: long prompts, unicode, hostile strings."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stepladder.core import (
    Candidate,
    Confirmation,
    DataSource,
    Decision,
    Diagnosis,
    Economics,
    Evaluation,
    Gain,
    Input,
    Json,
    LearningPoint,
    MetricSpec,
    Output,
    Ownership,
    Row,
    Skipped,
    Target,
    Task,
    Trial,
    Workshop,
)

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028{{ 7*7 }}"
LABELS = (
    "refund_not_showing_up",
    "card_arrival",
    "lost_or_stolen_card",
    "verbergen & <b>fett</b>",
    "exchange_rate",
    "top_up_failed",
    "解約する",
    HOSTILE,
)
KINDS = ("wrong label", "did not parse", "empty", "over-long")
TEXTS = (
    "My card still hasn't arrived, and it has been two weeks. What now?",
    "Why did the top-up fail although there is money on my account?",
    "¿Por qué me cobraron una comisión de cambio el sábado pasado?",
    "カードを解約したいのですが、どうすればいいですか。",
    "I was charged twice for the same coffee 😠 and one payment is still pending.",
    HOSTILE,
)
INSTRUCTIONS = (
    "You sort messages that customers send to a bank. Read the message and answer with the one "
    "label that fits best, and nothing else. When two labels fit, take the one that names what "
    "the customer wants done."
)


@dataclass(frozen=True)
class FakeSolver:
    """The shape of a real solver record: JSON-able fields only."""

    model: str | None = None
    instructions: str = ""
    demos: tuple[Mapping[str, Json], ...] = ()
    options: Mapping[str, Json] | None = None
    weights: tuple[float, ...] = ()
    kind: str = "prompt"

    def answer(self, inputs: tuple[Input, ...], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        raise NotImplementedError  # the report never asks


def fake_task(**changes: Any) -> Task:
    task = Task(
        name="customer-intents",
        kind="classification",
        instructions=INSTRUCTIONS,
        target=Target(0.8, p95_seconds=2.0, floors={"language=es": 0.7}),
        metric=MetricSpec("accuracy"),
        data=DataSource(examples="examples.csv"),
        labels=LABELS,
        economics=Economics(requests_per_month=50_000, dollars_per_success=0.4),
        seed=7,
    )
    return replace(task, **changes)


# step, name, score, seconds, input tokens, dollars per 1,000, n, stopped early
PLAN: tuple[tuple[str, str, float, float, float, float | None, int, str | None], ...] = (
    ("baseline", "majority", 0.14, 0.00002, 0, 0.0, 600, None),
    ("baseline", "nearest", 0.49, 0.0004, 0, 0.00002, 600, None),
    ("baseline", "linear", 0.688, 0.0006, 0, 0.00003, 600, None),
    ("prompt", "label scoring, calibrated", 0.612, 0.21, 412, 0.031, 600, None),
    ("prompt", "constrained", 0.574, 0.26, 418, 0.038, 240, "cannot catch label scoring"),
    ("prompt", f"free {HOSTILE}", 0.431, 0.41, 395, 0.055, 120, "cannot catch label scoring"),
    ("few_shot", "random k=8", 0.655, 0.34, 980, 0.052, 180, "cannot catch nearest k=20"),
    ("few_shot", "nearest k=8", 0.731, 0.35, 990, 0.053, 600, None),
    ("few_shot", "nearest k=20", 0.774, 0.62, 1_960, 0.096, 600, None),
    ("few_shot", "diverse k=20", 0.702, 0.61, 1_940, None, 180, "cannot catch nearest k=20"),
    ("fine_tune", "lora r=16", 0.861, 0.052, 96, 0.0081, 600, None),
    ("fine_tune", "lora r=64", 0.866, 0.055, 96, 0.0085, 600, None),
)


def fake_trials() -> tuple[Trial, ...]:
    trials: list[Trial] = []
    best: dict[str, Trial] = {}
    for step, name, score, seconds, tokens, dollars, n, stopped in PLAN:
        trial = _trial(step, name, (score, seconds, tokens, dollars, n), stopped)
        earlier = [each for each in best if each != step]
        if earlier:
            against = best[earlier[-1]]
            trial = replace(trial, gain=_gain(trial, against))
        trials.append(trial)
        if step not in best or best[step].evaluation.score < score:
            best[step] = trial
    return tuple(trials)


def fake_decision(**changes: Any) -> Decision:
    trials = fake_trials()
    chosen = trials[-2]
    decision = Decision(
        verdict="met",
        reason="lora r=16 is the cheapest to own of 2 candidates whose lower bound clears 80.0%",
        chosen=chosen,
        trials=trials,
        confirmations=(
            Confirmation(
                "few_shot", "nearest k=20", 0.771, 0.741, 800, 0.025, 1, False,
                "Clopper-Pearson, one-sided", ("score",),
            ),
            Confirmation(
                "fine_tune", "lora r=16", 0.857, 0.8313, 800, 0.0125, 2, True,
                "Clopper-Pearson, one-sided",
            ),
        ),
        skipped=(
            Skipped("retrieval", "the task names no knowledge folder"),
            Skipped("functions", f"the task names no functions {HOSTILE}"),
        ),
        cautions=(
            "fine_tune / lora r=64 begins to over-fit after epoch 2: held-out loss rises",
            "'verbergen & <b>fett</b>' has 9 training examples; its score is a guess",
        ),
        ownership=tuple(_own(trial) for trial in trials if trial.stopped_early is None),
    )  # fmt: skip
    return replace(decision, **changes)


def fake_run(rows_per_trial: int = 600, **changes: Any) -> dict[str, Any]:
    run: dict[str, Any] = {
        "started": "2026-11-21T09:14:03+00:00",
        "finished": "2026-11-21T09:28:41+00:00",
        "machine": {
            "cpu": "Intel Xeon @ 2.20GHz", "cores": 2, "memory_gib": 24.0,
            "platform": "Linux-6.1-x86_64", "python": "3.11.9",
        },
        "version": "0.1.0",
        "commit": "bad841c",
        "seed": 7,
        "data": {
            "train": 1_800, "dev": 600, "test": 800,
            "labels": {label: 400 // (1 + i) for i, label in enumerate(LABELS)},
            "warnings": [f"label {HOSTILE!r} has 50 examples", "12 near-duplicates inside train"],
            "split": "seeded, stratified by label, grouped by customer",
            "sha256": {"examples.csv": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15"},
            "input_tokens": {"mean": 18.2, "p95": 47.0},
            "licence": "CC-BY-4.0",
        },
        "racing": {"calls_planned": 7_200, "calls_made": 5_520, "calls_saved": 1_680},
        "cache": {"hits": 412, "misses": 5_108},
        "limits": "a slice of the data: 600 of 2,400 dev examples",
        "budget": {"minutes": 15, "minutes_used": 14.6, "dollars": None},
        "rows": lambda step, name, which: fake_rows(step, name, rows_per_trial),
    }  # fmt: skip
    return {**run, **changes}


def fake_rows(step: str, name: str, n: int) -> Iterator[dict[str, Any]]:
    """Lines of a rows file: the same examples for every candidate, answers by its own skill."""
    plan = next(each for each in PLAN if each[:2] == (step, name))
    luck = random.Random(f"{step}/{name}")
    for index in range(min(n, n * plan[6] // 600)):
        draw = random.Random(index)
        expected = LABELS[draw.randrange(len(LABELS))]
        right = luck.random() < plan[2]
        kind = None if right else luck.choices(KINDS, weights=(8, 2, 1, 1))[0]
        answer = expected if right else luck.choice(LABELS)
        if kind == "empty":
            answer = ""
        text = f"{TEXTS[index % len(TEXTS)]} (case {index})"
        yield {
            "id": f"row-{index:05d}", "input": text * (40 if index % 50 == 0 else 1),
            "expected": expected,
            "text": f"Sure! Label: {answer}" if kind == "did not parse" else answer,
            "value": None if kind in ("did not parse", "empty") else answer,
            "counts": [["all", float(right), 1.0]], "failure": kind,
            "error": "TimeoutError('no answer in 30 s')" if kind == "empty" else None,
            "group": f"customer-{index // 3}", "input_tokens": plan[4], "output_tokens": 4,
            "seconds": plan[3], "dollars": None,
        }  # fmt: skip


Figures = tuple[float, float, float, float | None, int]


def _trial(step: str, name: str, figures: Figures, stopped: str | None) -> Trial:
    score, seconds, tokens, dollars, n = figures
    half = 1.96 * math.sqrt(score * (1 - score) / n)
    right = round(score * n)
    rows = tuple(Row(f"row-{i:05d}", (("all", float(i < right), 1.0),)) for i in range(n))
    wrong = n - right
    shares = {"wrong label": wrong * 8 // 12, "did not parse": wrong * 2 // 12}
    kinds = {**shares, "empty": wrong - sum(shares.values())}
    evaluation = Evaluation(
        set="dev", metric="accuracy", rows=rows, score=score, low=max(0.0, score - half),
        high=min(1.0, score + half), alpha=0.05, method="Clopper-Pearson", planned=600,
        p50_seconds=seconds, p95_seconds=seconds * 2.3, input_tokens=tokens, output_tokens=4.2,
        cached_tokens=tokens * 0.7, dollars_per_1000=dollars, wall_seconds=seconds * n,
        slices={"language=en": (score + 0.02, score - 0.03, score + 0.07, n * 2 // 3),
                "language=es": (score - 0.05, score - 0.15, score + 0.05, n // 3)},
        also={"groundedness": (0.921, 0.9, 0.94, n)} if step == "few_shot" else {},
    )  # fmt: skip
    confusions = (("card_arrival", "lost_or_stolen_card", 11), (HOSTILE, "exchange_rate", 6))
    return Trial(_candidate(step, name), evaluation, Diagnosis(kinds, confusions, n), None, stopped)


def _candidate(step: str, name: str) -> Candidate:
    demos = tuple(
        {"input": text, "expected": LABELS[i % len(LABELS)]} for i, text in enumerate(TEXTS * 4)
    )
    if step == "baseline":
        solver = FakeSolver(kind=name, weights=tuple(i / 7 for i in range(5_000)))
        return Candidate(step, name, solver, "counts labels; no model", build_seconds=0.4)
    base = FakeSolver(
        "local:smollm2-135m-instruct", INSTRUCTIONS, options={"constrained": name == "constrained"}
    )
    if step == "prompt":
        longer = replace(base, instructions=INSTRUCTIONS + "\n\nLabels:\n- " + "\n- ".join(LABELS))
        return Candidate(step, name, longer, "wording and answer format", 41.0, build_calls=220)
    if step == "few_shot":
        k = 20 if "20" in name else 6
        return Candidate(step, name, replace(base, demos=demos[:k]), f"{k} examples in the prompt")
    tuned = replace(base, model=f"local:adapters/{name.replace(' ', '-')}", instructions="Label:")
    return Candidate(
        step, name, tuned, "LoRA on 1,800 examples, short prompt", 384.0, 0.021,
        build_tokens=410_000, learning=_learning("64" in name),
        cautions=("begins to over-fit after epoch 2",) if "64" in name else (),
    )  # fmt: skip


def _learning(over_fits: bool) -> tuple[LearningPoint, ...]:
    points = []
    for i in range(31):
        train = 2.1 * math.exp(-i / 7) + 0.15 + 0.03 * math.sin(i * 2.1)
        held = 2.1 * math.exp(-i / 7) + 0.32 + (0.012 * max(0, i - 16) if over_fits else 0)
        points.append(LearningPoint(i * 20, i / 10, train, held if i % 5 == 0 else None, i * 12.4))
    return tuple(points)


def _gain(trial: Trial, against: Trial) -> Gain:
    difference = trial.evaluation.score - against.evaluation.score
    half = 0.035 * math.sqrt(600 / trial.evaluation.n)
    return Gain(
        f"{against.candidate.step}/{against.candidate.name}", difference, difference - half,
        difference + half, trial.evaluation.n, 0.05, "exact McNemar",
        math.exp(-abs(difference) * 60),
    )  # fmt: skip


def _own(trial: Trial) -> Ownership:
    rate = trial.evaluation.dollars_per_1000
    build = {"baseline": 0.0, "prompt": 400.0, "few_shot": 450.0, "fine_tune": 900.0}
    cost = build[trial.candidate.step]
    keep = {"baseline": 5.0, "prompt": 20.0, "few_shot": 22.0, "fine_tune": 60.0}
    run = None if rate is None else rate * 50
    total = None if run is None else cost / 12 + run + keep[trial.candidate.step]
    return Ownership(
        trial.candidate.step, trial.candidate.name, cost, run, keep[trial.candidate.step],
        None if total is None else (total * 0.8, total, total * 1.5),
        dollars_per_extra_success=0.0031, roi=4.2,
        break_even_requests_per_month=21_400 if trial.candidate.step == "fine_tune" else None,
        curve=() if run is None or total is None else tuple(
            (volume, cost / 12 + keep[trial.candidate.step] + run * volume / 50_000)
            for volume in (500 * 10 ** (i / 20) for i in range(81))
        ),
        probability_best={"fine_tune": 0.42}.get(trial.candidate.step, 0.05),
        sensitivity={"requests per month": (92.0, 310.0), "price change": (120.0, 150.0),
                     "score": (125.0, 141.0), "months until re-tuning": (110.0, 190.0)},
        assumptions=("hardware: 2 cores at $0.08 an hour, prices of 2026-11-01",
                     "an engineer's hour is $90"),
    )  # fmt: skip
