"""An OpenAPI document as a `Spec`.

OpenAPI 3.1 is JSON Schema already; what is undone here are leftovers of 3.0 (`nullable`, a boolean
`exclusiveMinimum`) and that an object takes keys that it does not name: a misspelt option would
pass. Where an object names its keys, others are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .specs import Json, Operation, Side, Spec, path_pattern

REFERENCE = "#/components/schemas/"
PASSED_ON = (
    "type", "enum", "const", "required", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "minItems", "maxItems", "minLength", "maxLength", "pattern",
)  # fmt: skip


def read_openapi(document: Mapping[str, Any], title: str, prefix: str) -> Spec:
    """The calls and definitions of a document; `prefix` is the path of its server."""
    schemas = document["components"]["schemas"]
    definitions = {name: _schema(one) for name, one in schemas.items()}
    sides: dict[Side, Mapping[str, Json]] = {"request": definitions, "response": definitions}
    return Spec(title, tuple(_operations(document, prefix)), sides)


def _operations(document: Mapping[str, Any], prefix: str) -> Iterator[Operation]:
    for path, calls in document["paths"].items():
        shared = calls.get("parameters", [])
        for method, call in calls.items():
            if method not in {"get", "post", "put", "patch", "delete"}:
                continue
            bodies = call.get("requestBody", {}).get("content", {})
            answers = call["responses"].get("200", {}).get("content", {})
            given = [_parameter(document, one) for one in [*shared, *call.get("parameters", [])]]
            yield Operation(
                call.get("operationId", path),
                method.upper(),
                path_pattern(f"{prefix}{path}", free="[^/]+"),
                frozenset(one["name"] for one in given if one["in"] == "query"),
                _body(bodies),
                _body({"application/json": answers.get("application/json")}),
                form="multipart/form-data" in bodies,
            )


def _parameter(document: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in given:
        return given
    found: Mapping[str, Any] = document["components"]["parameters"][given["$ref"].split("/")[-1]]
    return found


def _body(content: Mapping[str, Any]) -> Json | None:
    for media in ("application/json", "multipart/form-data"):
        if content.get(media):
            return _closed(_schema(content[media]["schema"]))
    return None


def _schema(given: Json) -> Json:
    if not isinstance(given, dict):
        return given  # true and false are schemas
    if "$ref" in given:
        return {"$ref": f"#/$defs/{given['$ref'].removeprefix(REFERENCE)}"}
    converted = {key: given[key] for key in PASSED_ON if key in given}
    for several in ("allOf", "anyOf", "oneOf"):
        if several in given:
            converted[several] = [_schema(one) for one in given[several]]
    if "properties" in given:
        named = given["properties"].items()
        converted["properties"] = {key: _closed(_schema(one)) for key, one in named}
    if "additionalProperties" in given:
        converted["additionalProperties"] = _schema(given["additionalProperties"])
    if "items" in given:
        converted["items"] = _closed(_schema(given["items"]))
    return _without_leftovers(converted, nullable=given.get("nullable") is True)


def _without_leftovers(schema: dict[str, Json], *, nullable: bool) -> Json:
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        is_strict = schema.get(exclusive)
        if isinstance(is_strict, bool):
            del schema[exclusive]
        if is_strict is True and bound in schema:
            schema[exclusive] = schema.pop(bound)
    return {"anyOf": [schema, {"type": "null"}]} if nullable else schema


def _closed(schema: Json) -> Json:
    """The same where it is used as a whole: keys that no part of it names are refused.

    Not said of the definitions themselves, which may be parts of a larger object.
    """
    if not isinstance(schema, dict):
        return schema
    named = schema.keys() & {"$ref", "properties", "allOf", "anyOf", "oneOf"}
    return {**schema, "unevaluatedProperties": False} if named else schema
