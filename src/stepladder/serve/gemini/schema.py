"""Gemini's dialect of schemas as standard JSON Schema.

The dialect has types in upper case, `nullable`, `propertyOrdering`, and `defs` and `ref` without
the dollar. Whether an engine can hold a model to the schema is not decided here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache

from ...core import Json
from .. import Refusal
from .forms import (
    Form,
    anything,
    at,
    decimal,
    each,
    flag,
    later,
    long,
    mapped,
    message,
    one_of,
    text,
)  # fmt: skip

__all__ = ["SCHEMA", "checked_schema", "to_json_schema"]

TYPES = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
AS_THEY_ARE = (
    "title", "description", "default", "minItems", "maxItems", "minProperties", "maxProperties",
    "minLength", "maxLength", "minimum", "maximum", "pattern", "required",
)  # fmt: skip
_AGAIN = later(lambda: SCHEMA)
SCHEMA: Form = message({
    "type": one_of("TYPE_UNSPECIFIED", *TYPES), "format": text, "title": text, "description": text,
    "nullable": flag, "default": anything, "example": anything, "enum": each(text),
    "items": _AGAIN, "minItems": long, "maxItems": long, "properties": mapped(_AGAIN),
    "required": each(text), "propertyOrdering": each(text), "minProperties": long,
    "maxProperties": long, "minimum": decimal, "maximum": decimal, "minLength": long,
    "maxLength": long, "pattern": text, "anyOf": each(_AGAIN), "additionalProperties": anything,
    "ref": text, "defs": mapped(_AGAIN),
})  # fmt: skip


def to_json_schema(schema: Mapping[str, Json], place: str) -> dict[str, Json]:
    """The schema, as read by `SCHEMA`, in JSON Schema 2020-12.

    Properties stand in the order in which the model shall write them. An object that names its
    properties has no others, unless it says so. Raises Refusal for what contradicts itself.
    """
    for name in ("enum", "anyOf"):
        if name in schema and not schema[name]:
            raise Refusal(
                "invalid", f"{at(place, name)!r} leaves nothing to choose", param=at(place, name)
            )
    found: dict[str, Json] = {}
    kind = schema.get("type", "TYPE_UNSPECIFIED")
    if kind != "TYPE_UNSPECIFIED":
        found["type"] = kind.lower()
    found |= {key: schema[key] for key in AS_THEY_ARE if key in schema}
    if "enum" in schema:
        found["enum"] = [_constant(one, kind, at(place, "enum")) for one in schema["enum"]]
    if kind == "STRING" and schema.get("format", "enum") != "enum":
        found["format"] = schema["format"]  # those of numbers, int32 and so on, say nothing more
    if "example" in schema:
        found["examples"] = [schema["example"]]
    if "items" in schema:
        found["items"] = to_json_schema(schema["items"], at(place, "items"))
    if "anyOf" in schema:
        found["anyOf"] = [
            to_json_schema(one, f"{place}.anyOf[{index}]")
            for index, one in enumerate(schema["anyOf"])
        ]
    found |= _object(schema, place)
    found |= _references(schema, place)
    return {"anyOf": [found, {"type": "null"}]} if schema.get("nullable") else found


def checked_schema(schema: Json, place: str) -> dict[str, Json]:
    """The caller's own JSON Schema, if it is one; raises Refusal."""
    if not isinstance(schema, dict):
        raise Refusal("invalid", f"{place!r} has to be an object, a JSON Schema", param=place)
    wrong = _wrong(json.dumps(schema))
    if wrong:
        raise Refusal("invalid", f"{place!r} is no JSON Schema: {wrong}", param=place)
    return schema


@lru_cache(maxsize=256)
def _wrong(schema: str) -> str:
    """What is wrong with a schema. Kept, since callers send the same one again and again."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(json.loads(schema))
    except SchemaError as error:
        return f"{error.message[:200]} at {error.json_path}"
    except (ValueError, RecursionError) as error:  # what the checker itself cannot cope with
        return str(error)[:200]
    return ""


def _object(schema: Mapping[str, Json], place: str) -> dict[str, Json]:
    properties = schema.get("properties")
    for name in ("required", "propertyOrdering"):
        for one in schema.get(name, ()):
            if one not in (properties or {}):
                raise Refusal(
                    "invalid",
                    f"{at(place, name)!r} names {one!r}, which is not among the properties",
                    param=at(place, name),
                )
    found: dict[str, Json] = {}
    if properties is not None:
        order = [*dict.fromkeys(schema.get("propertyOrdering", ()))]
        order += [name for name in properties if name not in order]
        found["properties"] = {
            name: to_json_schema(properties[name], f"{place}.properties[{name!r}]")
            for name in order
        }
        found["additionalProperties"] = schema.get("additionalProperties", False)
    elif "additionalProperties" in schema:
        found["additionalProperties"] = schema["additionalProperties"]
    return found


def _references(schema: Mapping[str, Json], place: str) -> dict[str, Json]:
    found: dict[str, Json] = {}
    if "ref" in schema:
        found["$ref"] = schema["ref"].replace("#/defs/", "#/$defs/", 1)
    if "defs" in schema:
        found["$defs"] = {
            name: to_json_schema(one, f"{place}.defs[{name!r}]")
            for name, one in schema["defs"].items()
        }
    return found


def _constant(value: str, kind: str, place: str) -> Json:
    """A value of an enum, which is always written as a string, as what it stands for."""
    read: Mapping[str, Callable[[str], Json]] = {
        "INTEGER": int, "NUMBER": float, "BOOLEAN": {"true": True, "false": False}.__getitem__,
    }  # fmt: skip
    try:
        return read[kind](value) if kind in read else value
    except (ValueError, KeyError) as error:
        raise Refusal(
            "invalid", f"{place!r} holds {value[:80]!r}, which is no {kind}", param=place
        ) from error
