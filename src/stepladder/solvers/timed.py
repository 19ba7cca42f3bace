"""The clock around solvers that use no language model: their compute has a price too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..core import Input, Output, Usage

__all__ = ["timed"]

BATCH = 64


def timed(
    kind: str,
    inputs: Sequence[Input],
    answer: Callable[[Sequence[Input]], Sequence[Output]],
    most: int = BATCH,
) -> Iterator[tuple[int, Output]]:
    """Outputs of `answer`, `most` at a time, each with its share of the measured seconds.

    Its latency is that of all it was answered with, as it would be for a caller: what takes long
    for each text is asked with few others.
    There are no tokens; the model is named `solver:kind`, so that no token price ever fits.
    """
    for start in range(0, len(inputs), most):
        batch = inputs[start : start + most]
        began = time.perf_counter()
        outputs = answer(batch)
        took = time.perf_counter() - began
        usage = Usage(f"solver:{kind}", seconds=took, compute_seconds=took / len(batch))
        for offset, output in enumerate(outputs):
            yield start + offset, replace(output, usage=(usage,))
