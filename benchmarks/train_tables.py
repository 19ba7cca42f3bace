"""The part of RESULTS.md on the speed of tuning; `tables.py` puts it in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from page import ran

__all__ = ["train_speed"]

NAMES = {
    "stepladder": "ours",
    "trl": "TRL, activations computed once",
    "trl_as_it_comes": "TRL as it comes",
}


def train_speed(found: Mapping[str, Any]) -> Iterator[str]:
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
