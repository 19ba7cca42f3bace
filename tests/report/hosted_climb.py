"""A made-up climb with hosted models: two prices, a tuned one, a cache, thinking, batch jobs."""

from __future__ import annotations

from dataclasses import replace

from made_up_climb import FakeSolver, fake_decision

from stepladder.core import Candidate, Decision, Evaluation, Gain, Row, Trial, Upgrade

FLASH, PRO = "gemini:gemini-3.1-flash-lite", "gemini:gemini-3.1-pro-preview"
TUNED = "vertex:gemini-2.5-flash@projects/p/locations/us-central1/endpoints/5"


def hosted_trial(
    step: str, name: str, model: str, score: float, dollars: float | None, **seen: float
) -> Trial:
    rows = tuple(Row(f"row-{i:05d}", (("", float(i < 600 * score), 1.0),)) for i in range(600))
    evaluation = Evaluation(
        "dev", "accuracy", rows, score, score - 0.03, score + 0.03, 0.05, "Clopper-Pearson", 600,
        p50_seconds=0.8, p95_seconds=1.9, input_tokens=2_400, output_tokens=90,
        dollars_per_1000=dollars,
    )  # fmt: skip
    solver = FakeSolver(model, "Sort the message.")
    return Trial(Candidate(step, name, solver), replace(evaluation, **seen))  # type: ignore[arg-type]


def upgrade(
    dearer: Trial, cheaper: Trial, gain: tuple[float, float, float], **more: object
) -> Upgrade:
    one, other = dearer.candidate, cheaper.candidate
    return Upgrade(
        one.step, one.name, one.solver.model, other.step, other.name, other.solver.model,  # type: ignore[attr-defined]
        Gain(f"{other.step}: {other.name}", *gain, 600, 0.05, "exact McNemar test"),
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


def hosted_decision() -> Decision:
    flash = hosted_trial(
        "few_shot", "balanced-8", FLASH, 0.79, 0.35,
        cached_tokens=2_000.0, cache_saved_dollars_per_1000=0.45,
    )  # fmt: skip
    pro = hosted_trial(
        "dearer_model", f"balanced-8 on {PRO}", PRO, 0.831, 0.97,
        cached_tokens=0.0, cache_saved_dollars_per_1000=-0.02, thinking_tokens=412.0,
    )  # fmt: skip
    tuned = hosted_trial("fine_tune", "supervised", TUNED, 0.835, None, batch_share=0.5)
    return fake_decision(
        trials=(flash, pro, tuned),
        chosen=pro,
        confirmations=(),
        ownership=(),
        verdict="undecided",
        cautions=("dollars are unknown: no token price is known for 'vertex:gemini-2.5-flash'",),
        upgrades=(
            upgrade(pro, flash, (0.041, 0.01, 0.072), dollars_per_1000=0.62,
                    dollars_per_success=0.015, pays=True),
            upgrade(tuned, pro, (0.004, -0.02, 0.03)),
        ),
    )  # fmt: skip
