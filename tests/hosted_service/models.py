"""The models on offer, and how they differ where clients notice it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .asking import Refused

__all__ = ["LISTED", "Traits", "thinking_tokens", "traits"]

LISTED = (
    "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro", "gemini-3.1-flash-lite",
    "gemini-3.5-flash", "gemini-3.5-flash-lite", "gemini-3.6-flash", "gemini-3.8-flash",
)  # fmt: skip
_LEVELS = {"MINIMAL": 0, "LOW": 64, "MEDIUM": 256, "HIGH": 1024}
_CHEAP = ("lite", "mini", "nano", "8b", "7b", "3b", "1b")


@dataclass(frozen=True)
class Traits:
    """How a model differs. `closer`: the learner looks more closely, as a dearer model would."""

    name: str
    closer: bool
    thinks: bool = True  # unless told not to
    must_think: bool = False
    levels: bool = False  # thinking is asked for by level, else by budget
    logprobs: bool = True


def traits(name: str) -> Traits:
    """What is so of a model; raises Refused for a name that no model has."""
    if not name.startswith(("gemini-", "gpt-", "o4-", "llama", "qwen", "meta-llama/", "Qwen/")):
        raise Refused(
            404,
            f"models/{name} is not found for API version v1, or is not supported for "
            "generateContent. Call ListModels to see the list of available models and their "
            "supported methods.",
        )
    cheap = any(part in name.lower().removeprefix("gemini-") for part in _CHEAP)
    generation = name.removeprefix("gemini-")[:3]
    return Traits(
        name,
        closer=not cheap,
        thinks=not cheap and name.startswith("gemini-"),
        must_think=name.endswith("-pro") or "-pro-" in name or generation == "3.8",
        levels=generation[:1] in ("3", "4"),
    )


def thinking_tokens(kind: Traits, config: Mapping[str, Any]) -> int:
    """The most a model thinks for this setting; 0 is not at all."""
    budget, level = config.get("thinkingBudget"), config.get("thinkingLevel")
    if budget is not None and level is not None:
        raise Refused(400, "You can only set only one of thinking budget and thinking level.")
    if level is not None:
        if not kind.levels:
            raise Refused(400, "Thinking level is not supported for this model.")
        if level not in _LEVELS or (level == "MINIMAL" and kind.must_think):
            raise Refused(400, f"Thinking level {level} is not supported for this model.")
        return _LEVELS[level]
    if budget is not None and budget >= 0:
        if budget == 0 and kind.must_think:
            raise Refused(400, "Budget 0 is invalid. This model only works in thinking mode.")
        return int(budget)
    if config.get("includeThoughts") and not kind.thinks:
        raise Refused(400, "include_thoughts is only enabled when thinking is enabled.")
    return _LEVELS["MEDIUM"] if kind.thinks else 0
