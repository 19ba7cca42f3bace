"""How the parts of an OpenAPI file that are read have to look; what does not is told by place.

The specification asks for more: what is not read here may be as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from ..core import Json
from ..errors import TaskError

__all__ = ["Part", "check_part"]

Part = Literal["file", "path", "operation", "parameter", "body", "scheme"]

_TEXT = {"type": "string"}
_OBJECT = {"type": "object"}
_SCHEMA = {"type": ["object", "boolean"]}
_SECURITY = {"type": "array", "items": _OBJECT}
_SERVER = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": _TEXT,
        "variables": {"type": "object", "additionalProperties": _OBJECT},
    },
}
_SHAPES: Mapping[Part, Mapping[str, Any]] = {
    "file": {
        "properties": {
            "servers": {"type": "array", "items": _SERVER},
            "security": _SECURITY,
            "paths": _OBJECT,
            "components": {
                "type": "object",
                "properties": {"securitySchemes": _OBJECT},
            },
        },
    },
    "path": {"properties": {"parameters": {"type": "array"}}},
    "operation": {
        "type": "object",
        "properties": {
            "operationId": {"type": "string", "minLength": 1},
            "parameters": {"type": "array"},
            "security": _SECURITY,
        },
    },
    "parameter": {
        "required": ["name", "in"],
        "properties": {"name": _TEXT, "in": _TEXT, "style": _TEXT, "schema": _SCHEMA},
    },
    "body": {
        "properties": {
            "content": {
                "type": "object",
                "additionalProperties": {"type": "object", "properties": {"schema": _SCHEMA}},
            }
        },
    },
    "scheme": {
        "properties": {"type": _TEXT, "in": _TEXT, "scheme": _TEXT, "name": _TEXT},
        "if": {"properties": {"type": {"const": "apiKey"}}, "required": ["type"]},
        "then": {"required": ["name", "in"]},
    },
}


def check_part(value: Json, part: Part, place: str) -> None:
    """Raise TaskError that names what in this part is not as OpenAPI has it."""
    problem = next(iter(_validator(part).iter_errors(value)), None)
    if problem is not None:
        where = "/".join(map(str, problem.absolute_path))
        said = problem.message if len(problem.message) < 200 else f"{problem.message[:200]}..."
        raise TaskError(
            f"{place}: {where or f'the {part}'} is not as OpenAPI has it: {said}",
            hint="correct the file; spec.openapis.org has its form",
        )


@lru_cache(maxsize=len(_SHAPES))
def _validator(part: Part) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(dict(_SHAPES[part]))
