"""What the processor says of itself, asked without loading a library that computes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["has_bfloat16", "said_by_the_cpu"]

_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # of Intel and AMD, and of Arm


@cache
def has_bfloat16() -> bool | None:
    """Whether the processor has units for bfloat16; None where it cannot be asked."""
    able = said_by_the_cpu("flags") or said_by_the_cpu("Features")
    return None if able is None else not _BFLOAT16.isdisjoint(able.split())


def said_by_the_cpu(what: str) -> str | None:
    """The first line of that name; None without one, and where no such file is."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            for line in file:
                name, _, said = line.partition(":")
                if name.strip() == what:
                    return said.strip()
    except OSError:
        pass
    return None
