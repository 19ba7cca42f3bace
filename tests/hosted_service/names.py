"""Keys of a Google request in one spelling: the SDK mixes two in one body."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["camel"]

# below these, keys are the caller's own
_OWN = {"args", "response", "labels", "metadata", "struct"}
_SNAKE = re.compile(r"_([a-z0-9])")


def camel(value: Any) -> Any:
    """The same with camelCase keys, save in maps whose keys are data."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, inner in value.items():
        name = _SNAKE.sub(lambda letter: letter[1].upper(), key)
        own = name in _OWN or name.endswith(("JsonSchema", "properties"))
        if name == "properties" and isinstance(inner, dict):
            found[name] = {own_name: camel(item) for own_name, item in inner.items()}
        else:
            found[name] = inner if own else camel(inner)
    return found
