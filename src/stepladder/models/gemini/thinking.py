"""How much a model may think, in the words of the service, by the facts known of the model.

Thoughts count against the service's limit of output tokens, so a limit meant for the answer alone
is raised by what the thoughts may take; otherwise the thoughts use it up and no answer is left.
"""

from __future__ import annotations

from google.genai import types

from ...catalogue import ModelFacts
from ...errors import ModelError

__all__ = ["thinking_config", "tokens_for_thoughts"]

# What Google equates the levels with where it translates OpenAI's `reasoning_effort`.
_BUDGETS = {"HIGH": 24_576, "MEDIUM": 8_192, "LOW": 1_024}
# Levels bound nothing, so more is left for thoughts than a level is said to take.
_ROOM = {"MINIMAL": 1_024, "LOW": 8_192, "MEDIUM": 24_576, "HIGH": 32_768}
_ROOM_BY_DEFAULT = 32_768  # the highest budget that a model has had


def thinking_config(
    model: str, facts: ModelFacts | None, tokens: int | None
) -> types.ThinkingConfig | None:
    """The setting for at most `tokens` of thought (0: as few as it can); None: its own default.

    A model that has levels gets the highest one that is said to take no more than `tokens`. Raises
    ModelError when nothing is known of how the model thinks.
    """
    if tokens is None:
        return None
    if facts is None:
        raise ModelError(
            f"nothing is known of how {model!r} thinks, so its thinking cannot be bounded",
            hint="add it to your own models file, or leave out thinking_tokens",
        )
    if facts.thinking == "budget":
        return types.ThinkingConfig(thinking_budget=_budget(facts, tokens))
    if facts.thinking == "level":
        return types.ThinkingConfig(thinking_level=types.ThinkingLevel(_level(facts, tokens)))
    return None  # it does not think


def tokens_for_thoughts(facts: ModelFacts | None, tokens: int | None) -> int:
    """What to add to the limit of output tokens so that thinking leaves the answer its share."""
    if facts is None or facts.thinking == "none":
        return 0
    if tokens is None:
        return _ROOM_BY_DEFAULT
    if facts.thinking == "budget":
        return _budget(facts, tokens)
    return _ROOM.get(_level(facts, tokens), _ROOM_BY_DEFAULT)


def _budget(facts: ModelFacts, tokens: int) -> int:
    return max(tokens, int(facts.least_thinking or 0))


def _level(facts: ModelFacts, tokens: int) -> str:
    least = str(facts.least_thinking or "LOW").upper()
    return next((level for level, budget in _BUDGETS.items() if budget <= tokens), least)
