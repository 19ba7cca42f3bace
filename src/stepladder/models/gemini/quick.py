"""The SDK's own types and arguments, in the forms that it is quickest with.

To make a request, the SDK asks each of its objects for every key it knows, as `key in object`. Its
types do not answer that, so Python walks all their fields, some two thousand steps a call: a
quarter of what a call computes, and Python computes for one call at a time. These say at once
that they hold no keys, which is what the walk finds, and the SDK goes on to their attributes.

A list of turns is tried against every type that the SDK takes for a part or a file, turn by turn:
0.3 ms of each. A single turn is recognised at once, so it is given as itself; of several, the first
is, and all of them go into the body as they are, where they take its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.genai import types

__all__ = ["Config", "Content", "Part", "arguments"]


class _NoKeys:
    __contains__ = frozenset[object]().__contains__


class Config(_NoKeys, types.GenerateContentConfig):
    """How an answer is to be generated."""


class Content(_NoKeys, types.Content):
    """One turn."""


class Part(_NoKeys, types.Part):
    """A piece of a turn."""


def arguments(
    contents: Sequence[types.Content], config: types.GenerateContentConfig
) -> tuple[types.Content, types.GenerateContentConfig]:
    """What to call `generate_content` with, so that it sends these turns as it sends a list.

    The config is one without `http_options`.
    """
    if len(contents) == 1:
        return contents[0], config
    turns = [turn.model_dump(mode="json", by_alias=True, exclude_none=True) for turn in contents]
    body = types.HttpOptions(extra_body={"contents": turns})
    return contents[0], config.model_copy(update={"http_options": body})
