"""Methods of fine-tuning side by side, in words and as a record."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import Json, Task
from ..tuning_methods import SERVING, Compared
from .words import UNKNOWN, duration, interval, latency, percent, points_interval

__all__ = ["methods_record", "methods_text"]


def methods_text(found: Sequence[Compared], task: Task) -> str:
    """A line for each method, then what serving it means, then what could not be had."""
    tried = [one for one in found if one.evaluation is not None]
    lines = [
        f"{task.metric.name} on dev after tuning on the same train",
        "",
        f"{'method':<8}  {'score':<22}  {'against ' + tried[0].method:<22}  {'trained':>9}  "
        f"{'memory':>8}  {'adapter':>8}  {'model':>8}  {'p50 / p95':>13}",
    ]
    for one in tried:
        scored = one.evaluation
        assert scored is not None
        assert one.candidate is not None
        score = f"{percent(scored.score)} {interval(scored.low, scored.high)}"
        gain = UNKNOWN if one.gain is None else points_interval(one.gain)
        lines.append(
            f"{one.method:<8}  {score:<22}  {gain if one.gain else '-':<22}  "
            f"{duration(one.candidate.build_seconds):>9}  "
            f"{_size(one.facts.get('peak_bytes')):>8}  "
            f"{_size(one.facts.get('adapter_bytes')):>8}  "
            f"{_size(one.facts.get('model_bytes')):>8}  "
            f"{latency(scored.p50_seconds, scored.p95_seconds):>13}"
        )
    lines += ["", "served as"]
    lines += [f"{one.method:<8}  {SERVING.get(one.method, UNKNOWN)}" for one in tried]
    lines += _slices(tried)
    lines += ["", "chosen for each"]
    lines += [f"{one.method:<8}  {one.candidate.changed}" for one in tried if one.candidate]
    said = [(one.method, each) for one in tried if one.candidate for each in one.candidate.cautions]
    left = [one for one in found if one.evaluation is None]
    for part in (
        [f"caution: {method}: {each}" for method, each in said],
        [f"not tried: {one.method}, since {one.why}" for one in left],
    ):
        lines += ["", *part] if part else []
    return "\n".join(lines)


def _slices(tried: Sequence[Compared]) -> list[str]:
    """Each slice of dev with the score of every method, below its name."""
    seen = [(one.method, one.evaluation.slices) for one in tried if one.evaluation is not None]
    lines: list[str] = []
    for name, (*_, n) in seen[0][1].items():
        lines += ["", f"{name}, n = {n}"]
        scores = [(method, slices[name]) for method, slices in seen if name in slices]
        lines += [
            f"{method:<8}  {percent(score)} {interval(low, high)}"
            for method, (score, low, high, _) in scores
        ]
    return lines


def methods_record(found: Sequence[Compared], task: Task) -> dict[str, Json]:
    """The same for machines; unknown is null."""
    return {
        "schema": "stepladder.tuning-methods/1",
        "task": task.name,
        "metric": task.metric.name,
        "methods": [_record(one) for one in found],
    }


def _record(one: Compared) -> dict[str, Json]:
    if one.evaluation is None or one.candidate is None:
        return {"method": one.method, "why": one.why}
    scored, gain = one.evaluation, one.gain
    return {
        "method": one.method,
        "solver": one.candidate.name,
        "changed": one.candidate.changed,
        "score": scored.score,
        "low": scored.low,
        "high": scored.high,
        "n": scored.n,
        "slices": {
            name: dict(zip(("score", "low", "high", "n"), found, strict=True))
            for name, found in scored.slices.items()
        },
        "gain": None
        if gain is None
        else {
            "against": gain.against,
            "difference": gain.difference,
            "low": gain.low,
            "high": gain.high,
            "p_value": gain.p_value,
        },
        "train_seconds": one.candidate.build_seconds,
        "train_tokens": one.candidate.build_tokens,
        "peak_bytes": one.facts.get("peak_bytes"),
        "adapter_bytes": one.facts.get("adapter_bytes"),
        "model_bytes": one.facts.get("model_bytes"),
        "p50_seconds": scored.p50_seconds,
        "p95_seconds": scored.p95_seconds,
        "input_tokens": scored.input_tokens,
        "serving": SERVING.get(one.method),
        "cautions": list(one.candidate.cautions),
    }


def _size(count: Json) -> str:
    if count is None:
        return "-"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
