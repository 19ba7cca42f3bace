"""Google's discovery documents as a `Spec`.

They differ from JSON Schema in a few ways that matter here: references are bare names, 64-bit
integers are strings, `any` is a type, and what is required, sent only or given only is said in the
description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .specs import Json, Operation, Side, Spec, path_pattern

SIXTY_FOUR_BITS = {"anyOf": [{"type": "string", "pattern": r"^-?\d+$"}, {"type": "integer"}]}
FORMATS: Mapping[str, Json] = {
    "int64": SIXTY_FOUR_BITS,
    "uint64": SIXTY_FOUR_BITS,
    "byte": {"type": "string", "pattern": r"^[A-Za-z0-9+/_-]*={0,2}$"},
    "google-datetime": {
        "type": "string",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$",
    },
    "google-duration": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$"},
    "int32": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "uint32": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
}


def read_discovery(document: Mapping[str, Any], title: str, also: Sequence[str] = ()) -> Spec:
    """The calls and definitions of a document; `also` are versions taken to have the same calls."""
    definitions: dict[Side, Mapping[str, Json]] = {
        side: {name: _schema(one, side) for name, one in document["schemas"].items()}
        for side in ("request", "response")
    }
    operations = tuple(
        operation
        for name, method in _methods(document)
        for operation in _operations(name, method, document, definitions["request"], also)
    )
    return Spec(title, operations, definitions, snake_case=True)


def _methods(resource: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, method in resource.get("methods", {}).items():
        yield f"{prefix}{name}", method
    for name, inner in resource.get("resources", {}).items():
        yield from _methods(inner, f"{prefix}{name}.")


def _operations(
    name: str,
    method: Mapping[str, Any],
    document: Mapping[str, Any],
    definitions: Mapping[str, Json],
    also: Sequence[str],
) -> Iterator[Operation]:
    query = frozenset({*_placed(method, "query"), *document["parameters"]})
    request = _request(method, definitions)
    response = _schema(method["response"], "response") if "response" in method else None
    for path in _paths(method, document["version"], also):
        yield Operation(name, method["httpMethod"], path, query, request, response)


def _paths(method: Mapping[str, Any], own: str, also: Sequence[str]) -> Iterator[re.Pattern[str]]:
    paths = [f"/{method.get('flatPath', method['path'])}"]
    if upload := method.get("mediaUpload"):
        paths += [protocol["path"] for protocol in upload["protocols"].values()]
    for path in paths:
        for version in (own, *also):
            yield path_pattern(path.replace(f"/{own}/", f"/{version}/", 1))


def _placed(method: Mapping[str, Any], place: str) -> set[str]:
    given = method.get("parameters", {})
    return {key for key, one in given.items() if one["location"] == place}


def _request(method: Mapping[str, Any], definitions: Mapping[str, Json]) -> Json | None:
    """The body's schema. What the path says need not be said again, and a patch is not whole."""
    if "request" not in method:
        return None
    if "$ref" not in method["request"]:
        return _schema(method["request"], "request")
    whole = definitions[method["request"]["$ref"]]
    patch = method["httpMethod"] == "PATCH"
    required = set() if patch else {*whole["required"]} - _placed(method, "path")
    return {**whole, "required": sorted(required)}


def _schema(given: Mapping[str, Any], side: Side) -> Json:
    """One schema of the document as JSON Schema. An object takes no key that it does not name."""
    if "$ref" in given:
        return {"$ref": f"#/$defs/{given['$ref']}"}
    kind = given.get("type")
    if kind == "any":
        return {}
    if kind == "array":
        return {"type": "array", "items": _schema(given["items"], side)}
    if kind == "object":
        return _object(given, side)
    if (form := given.get("format")) in FORMATS:
        return FORMATS[form]
    return {"type": kind, **({"enum": given["enum"]} if "enum" in given else {})}


def _object(given: Mapping[str, Any], side: Side) -> Json:
    properties = given.get("properties", {})
    kept = {key: one for key, one in properties.items() if not _hidden(one, side)}
    converted: dict[str, Json] = {
        "type": "object",
        "properties": {key: _schema(one, side) for key, one in kept.items()},
    }
    if "additionalProperties" in given:
        converted["additionalProperties"] = _schema(given["additionalProperties"], side)
    elif properties or "id" in given:
        converted["additionalProperties"] = False
    if side == "request":
        converted["required"] = [key for key, one in kept.items() if _said(one, "Required.")]
    return converted


def _hidden(given: Mapping[str, Any], side: Side) -> bool:
    if side == "request":
        return bool(given.get("readOnly")) or _said(given, "Output only.")
    return _said(given, "Input only.")


def _said(given: Mapping[str, Any], words: str) -> bool:
    """Whether the description opens with these words, perhaps after `Optional.` and the like."""
    return words in " ".join(given.get("description", "").split()[:6])
