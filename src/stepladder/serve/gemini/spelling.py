"""The two spellings of a name in proto3 JSON, `mimeType` and `mime_type`, made one.

Clients mix both within one body. Where the form of a body is known, `forms.py` reads it and checks
it as well; this is for bodies that are kept or passed on as they are.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ...core import Json

__all__ = ["camel_case", "camel_keys", "snake_case"]

DATA = frozenset({"args", "response", "labels", "metadata"})  # their keys are the caller's own


@lru_cache(maxsize=4096)
def camel_case(name: str) -> str:
    """`mime_type` as `mimeType`; what has no underscore inside stays."""
    return re.sub(r"(?<=[^_])_+([a-zA-Z0-9])", lambda found: found[1].upper(), name)


@lru_cache(maxsize=4096)
def snake_case(name: str) -> str:
    """`mimeType` as `mime_type`."""
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)


def camel_keys(value: Json) -> Json:
    """The same with every key in camel case, but for those of maps, which are data.

    Maps are `args`, `response`, `labels`, `metadata`, whatever ends in `JsonSchema`, and the
    `properties` of a schema, whose own schemas are read again. A field that is there in both
    spellings keeps what was said in camel case.
    """
    if isinstance(value, list):
        return [camel_keys(one) for one in value]
    if not isinstance(value, dict):
        return value
    renamed: dict[str, Json] = {}
    for key, inner in value.items():
        name = camel_case(key)
        if name == key or name not in value:
            renamed[name] = _inner(name, inner)
    return renamed


def _inner(name: str, value: Json) -> Json:
    if name in DATA or name.endswith("JsonSchema"):
        return value
    if name in ("properties", "defs") and isinstance(value, dict):
        return {key: camel_keys(inner) for key, inner in value.items()}
    return camel_keys(value)
