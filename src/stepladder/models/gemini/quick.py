"""The SDK's own types, quicker to be asked.

To make a request, the SDK asks each of its objects for every key it knows, as `key in object`. Its
types do not answer that, so Python walks all their fields, some two thousand steps a call: a
quarter of what a call computes, and Python computes for one call at a time. These say at once
that they hold no keys, which is what the walk finds, and the SDK goes on to their attributes.
"""

from __future__ import annotations

from google.genai import types

__all__ = ["Config", "Content", "Part"]


class _NoKeys:
    def __contains__(self, key: object) -> bool:
        return False


class Config(_NoKeys, types.GenerateContentConfig):
    """How an answer is to be generated."""


class Content(_NoKeys, types.Content):
    """One turn."""


class Part(_NoKeys, types.Part):
    """A piece of a turn."""
