"""The names that the protocols have for how an answer is drawn and how long it may be.

A model that draws in its own way does not use them, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["LENGTHS", "THINKING", "unused"]

LENGTHS = frozenset({"verbosity"})  # how much is to be said, by a word that no model here knows
THINKING = frozenset({"reasoningeffort", "thinkingconfig", "thinkingbudget", "thinkinglevel"})
_DRAWING = frozenset(
    {
        "temperature", "topp", "topk", "seed", "stop", "stopsequences", "presencepenalty",
        "frequencypenalty", "maxtokens", "maxcompletiontokens", "maxoutputtokens", "bestof",
        "logitbias", "echo", "suffix", "paralleltoolcalls", "toolchoice", "toolconfig",
        *LENGTHS, *THINKING,
    }
)  # fmt: skip


def unused(given: Iterable[str], fields: frozenset[str] = _DRAWING) -> tuple[str, ...]:
    """Those of the given names, in whatever spelling and wherever they stood, that are `fields`."""
    return tuple(sorted(name for name in given if _bare(name) in fields))


def _bare(name: str) -> str:
    return name.rpartition(".")[2].replace("_", "").lower()
