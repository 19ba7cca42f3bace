"""Whether a schema is one that OpenAI's strict mode takes as it is; pure.

Strict mode guarantees the form of the answer and takes a part of JSON schema only. A schema outside
of it is sent unaltered and not strict, which most services treat as a wish.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...core import Json

__all__ = ["allows_strict"]

TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
MOST_DEPTH = 10
# OpenAI's guide to structured outputs, in the state of February 2026 (as kept at
# https://jsonschemaprofiles.unitvectorylabs.com/schemas/openai, read on 2026-11-22).
NAMING = {"$defs", "$ref", "definitions", "description", "title"}
FORMING = {
    "additionalProperties",
    "anyOf",
    "const",
    "enum",
    "items",
    "properties",
    "required",
    "type",
}
BOUNDING = {
    "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems", "maximum", "minItems", "minimum",
    "multipleOf", "pattern",
}  # fmt: skip


def allows_strict(schema: Mapping[str, Json], *, tuned: bool = False) -> bool:
    """Whether every object is closed with all its fields required, and only known words occur.

    A `tuned` model knows fewer: nothing that bounds a value.
    """
    if schema.get("type") != "object" or "anyOf" in schema:
        return False
    known = NAMING | FORMING if tuned else NAMING | FORMING | BOUNDING
    return _allowed(schema, known, 0)


def _allowed(schema: Json, known: set[str], depth: int) -> bool:
    if not isinstance(schema, Mapping) or not schema.keys() <= known or depth > MOST_DEPTH:
        return False
    below = [
        *_values(schema.get("properties", {})),
        *_values(schema.get("$defs", {})),
        *_values(schema.get("definitions", {})),
        *_listed(schema.get("anyOf", [])),
    ]
    if "items" in schema:
        below.append(schema["items"])
    return _typed(schema) and _closed(schema) and all(_allowed(s, known, depth + 1) for s in below)


def _typed(schema: Mapping[str, Json]) -> bool:
    if "type" not in schema:
        return bool(schema.keys() & {"$ref", "anyOf", "enum", "const"})
    return all(isinstance(one, str) and one in TYPES for one in _listed(schema["type"]))


def _closed(schema: Mapping[str, Json]) -> bool:
    if "object" not in _listed(schema.get("type")):
        return True
    fields, required = schema.get("properties", {}), schema.get("required", [])
    named = isinstance(fields, Mapping) and isinstance(required, list)
    return (
        named
        and schema.get("additionalProperties") is False
        and sorted(map(str, required)) == sorted(fields)
    )


def _values(schemas: Json) -> list[Json]:
    return list(schemas.values()) if isinstance(schemas, Mapping) else [schemas]


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]
