"""Functions in a few words: a signature and a line per parameter, for models that read slowly.

It says what the JSON schema says, in about half the tokens. What has no short form is left as
schema. The answer is still held to the schema itself, which stays where it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..core import Function, Json

__all__ = ["signature"]

_PLAIN = {"type", "description", "default", "enum", "title"}
_WORDS = {"string", "integer", "number", "boolean", "null"}


def signature(function: Function) -> str:
    """The function as text: `name(...): what it does`, and its parameters, optional ones with `?`.

    A parameter that JSON Schema says more of than type, choices, default and description keeps its
    schema.
    """
    said = " ".join(function.description.split())
    lines = [f"{function.name}: {said}" if said else function.name]
    needed = function.parameters.get("required", ())
    told: Mapping[str, Json] = function.parameters.get("properties") or {}
    lines += [f"  {_parameter(name, one, name in needed)}" for name, one in told.items()]
    if more := {key: value for key, value in function.parameters.items() if key in _MORE}:
        lines.append(f"  {_json(more)}")
    return "\n".join(lines)


_MORE = (
    "$defs", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentRequired",
    "dependentSchemas", "patternProperties", "propertyNames", "minProperties", "maxProperties",
)  # fmt: skip


def _parameter(name: str, schema: Json, needed: bool) -> str:
    kind = _kind(schema)
    if not needed:  # what may be left out need not be null as well
        kind = kind.removesuffix(" | null")
    line = f"{name}{'' if needed else '?'}: {kind}"
    if not isinstance(schema, Mapping):
        return line
    if "default" in schema and schema["default"] is not None:
        line += f" = {_json(schema['default'])}"
    said = " ".join(str(schema.get("description") or "").split())
    return f"{line} ({said})" if said else line


def _kind(schema: Json) -> str:
    """The type in a word, the choices, or what is left of the schema."""
    if not isinstance(schema, Mapping):
        return "any" if schema is True else _json(schema)
    if schema.keys() <= _PLAIN and "enum" in schema:
        return " | ".join(map(_json, schema["enum"]))
    kind = schema.get("type", "any")
    if schema.keys() <= _PLAIN and (kind in _WORDS or kind == "any"):
        return str(kind)
    if schema.keys() <= {"description", "default", "title", "anyOf"} and "anyOf" in schema:
        return " | ".join(map(_kind, schema["anyOf"]))
    items = schema.get("items")
    if kind == "array" and schema.keys() <= {*_PLAIN, "items"} and "enum" not in schema:
        inner = "any" if items is None else _kind(items)
        return f"[{inner}]"
    return _json({key: one for key, one in schema.items() if key not in ("description", "default")})


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)
