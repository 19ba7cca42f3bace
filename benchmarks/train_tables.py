"""The part of RESULTS.md on the speed of tuning; `tables.py` puts it in its place."""

from __future__ import annotations

from collections.abc import Iterator

from page import Result, ran, table

__all__ = ["passes", "train_speed"]

NAMES = {
    "stepladder": "ours",
    "trl": "TRL, activations computed once",
    "trl_as_it_comes": "TRL as it comes",
}


def train_speed(found: Result) -> Iterator[str]:
    """Tokens a second and what was learned, ours against TRL."""
    yield f"## Tuning on a CPU\n\n{ran(found)}\n"
    yield (
        f"{found['rows']} rows of the pharmacovigilance example, one epoch, {found['threads']} "
        f"threads, {found['model']}. Tokens are counted once, without padding; the loss is that of "
        f"{found['held_out']} held-out rows, per answer token, in float32.\n"
    )
    yield "| method | by | tokens/s | seconds | ours is faster | held-out loss |"
    yield "|---|---|--:|--:|--:|--:|"
    for method in ("lora", "full"):
        if method not in found:
            continue
        one = found[method]
        yield f"| {method} | untuned | | | | {one['held_out_loss_before']:.3f} |"
        for side, name in NAMES.items():
            if side not in one:
                continue
            times = one.get(f"times_{side}")
            yield (
                f"| {method} | {name} | {one[side]['tokens_per_second']:.0f} "
                f"| {one[side]['seconds']:.0f} | {'' if times is None else f'{times:.2f}x'} "
                f"| {one[side]['held_out_loss']:.3f} |"
            )
    yield ""


def passes(found: Result) -> Iterator[str]:
    """Scores of trainings by how often they pass over the data, and how they end."""
    yield "## How often to pass over little data\n"
    yield (
        f"{ran(found)} smollm2-135m-instruct under LoRA on {found['train']} train examples, a "
        f'tenth of them held out, measured on {found["dev"]} others. "chosen" is what the step '
        "did by itself at that commit; the others go to the end of so many epochs. All keep the "
        "weights of the lowest held-out loss. Seconds were taken beside other work.\n"
    )
    rows = []
    for task, lines in found["tasks"].items():
        for one in lines:
            gain = one["gain"]
            rows.append([
                task, one["way"], f"{one['score']:.3f} ({one['low']:.3f} to {one['high']:.3f})",
                f"{gain['difference']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})",
                f"{one['train_seconds']:.0f}",
            ])  # fmt: skip
    yield from table(["task", "epochs", "score", "over the first, in pairs", "train s"], rows)
