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
# Read on 2026-11-22 in OpenAI's guide to structured outputs. Absent: allOf, oneOf, not,
# dependentRequired, if/then/else, uniqueItems, patternProperties and so on.
KEYWORDS = {
    "$defs", "$ref", "additionalProperties", "anyOf", "const", "definitions", "description", "enum",
    "exclusiveMaximum", "exclusiveMinimum", "format", "items", "maxItems", "maximum", "minItems",
    "minimum", "multipleOf", "pattern", "properties", "required", "title", "type",
}  # fmt: skip


def allows_strict(schema: Mapping[str, Json]) -> bool:
    """Whether every object is closed with all its fields required, and only known words occur."""
    return schema.get("type") == "object" and "anyOf" not in schema and _allowed(schema, 0)


def _allowed(schema: Json, depth: int) -> bool:
    if not isinstance(schema, Mapping) or not schema.keys() <= KEYWORDS or depth > MOST_DEPTH:
        return False
    if not (_typed(schema) and _closed(schema)):
        return False
    below = [
        *_values(schema.get("properties", {})),
        *_values(schema.get("$defs", {})),
        *_values(schema.get("definitions", {})),
        *schema.get("anyOf", ()),
    ]
    if "items" in schema:
        below.append(schema["items"])
    return all(_allowed(one, depth + 1) for one in below)


def _typed(schema: Mapping[str, Json]) -> bool:
    if "type" not in schema:
        return bool(schema.keys() & {"$ref", "anyOf", "enum", "const"})
    named = schema["type"]
    return set(named if isinstance(named, list) else [named]) <= TYPES


def _closed(schema: Mapping[str, Json]) -> bool:
    named = schema.get("type")
    if named != "object" and not (isinstance(named, list) and "object" in named):
        return True
    fields = schema.get("properties", {})
    required = schema.get("required", [])
    return schema.get("additionalProperties") is False and set(required) == set(fields)


def _values(schemas: Json) -> list[Json]:
    return list(schemas.values()) if isinstance(schemas, Mapping) else [schemas]
