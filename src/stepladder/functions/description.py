"""What every source of functions gives: described functions, and a way to call one of them.

The schema of a function's arguments is JSON Schema 2020-12. Nothing here calls anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..core import Function, Json
from ..errors import TaskError

__all__ = [
    "CallFailed", "Described", "Source", "as_schema", "described_from_record", "described_record",
    "shown_names", "validator_of",
]  # fmt: skip

# names of types that catalogues of functions use beside those of JSON Schema
_TYPES = {"dict": "object", "float": "number", "int": "integer", "str": "string",
          "bool": "boolean", "list": "array", "tuple": "array"}  # fmt: skip
_ANYTHING = "any"
_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME = 64  # characters; what hosted models take


class CallFailed(Exception):
    """A call that did not work out; the text is for the model that asked for it."""


@dataclass(frozen=True, slots=True)
class Described:
    """A function, whether calling it changes anything, and where it is from.

    Where nothing says that it only reads, it has side effects.
    """

    function: Function
    side_effects: bool = True
    source: str = ""

    @property
    def name(self) -> str:
        return self.function.name


@runtime_checkable
class Source(Protocol):
    """Somewhere functions live. Calls may come from several threads at once."""

    described: tuple[Described, ...]

    def call(self, name: str, arguments: Mapping[str, Json], seconds: float) -> Json:
        """The result of the function, whose arguments were checked against its schema.

        `seconds` is how long it may take where the source can end it. Raises CallFailed with what
        the model should know.
        """
        ...

    def close(self) -> None:
        """Let go of connections and processes; closing twice is free."""
        ...


def described_record(one: Described) -> dict[str, Json]:
    """The description as a JSON object."""
    return {
        "name": one.name,
        "description": one.function.description,
        "parameters": dict(one.function.parameters),
        "side_effects": one.side_effects,
        "source": one.source,
    }


def described_from_record(record: Json, place: str) -> Described:
    """The description in a JSON object; `place` is named in complaints.

    Raises:
        TaskError: it has no name, or its parameters are no schema of an object.
    """
    name = record.get("name") if isinstance(record, Mapping) else None
    if not isinstance(name, str) or not name:
        raise TaskError(
            f"{place}: a function without a name",
            hint='write {"name": ..., "description": ..., "parameters": {...}}',
        )
    parameters = as_schema(record.get("parameters") or {}, f"{place}: function {name!r}")
    return Described(
        Function(name, str(record.get("description") or ""), parameters),
        record.get("side_effects", True) is not False,
        str(record.get("source") or ""),
    )


def as_schema(parameters: Json, place: str) -> dict[str, Json]:
    """The parameters as a JSON schema of an object, with the names of types that it knows.

    Raises:
        TaskError: they are no schema of an object; the parameter is named.
    """
    from jsonschema import Draft202012Validator, SchemaError

    if not isinstance(parameters, Mapping):
        raise TaskError(
            f"{place}: the parameters are not an object",
            hint='write {"type": "object", "properties": {...}}',
        )
    schema: dict[str, Json] = _with_types(parameters)
    schema.setdefault("type", "object")
    schema.setdefault("properties", {})
    if schema["type"] != "object":
        raise TaskError(
            f"{place}: the parameters have type {schema['type']!r}, not 'object'",
            hint="arguments are named: describe each under 'properties'",
        )
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "parameters"
        raise TaskError(
            f"{place}: {where!r} is not JSON Schema: {error.message}",
            hint="see json-schema.org/draft/2020-12",
        ) from error
    return schema


def validator_of(schema: Mapping[str, Json]) -> Any:
    """A validator whose references lead nowhere outside the schema."""
    from jsonschema import Draft202012Validator
    from referencing import Registry

    return Draft202012Validator(dict(schema), registry=Registry())


def shown_names(functions: Iterable[Function]) -> dict[str, str]:
    """For each name as a model is shown it, which every service takes, the function's own.

    Letters, digits, `_` and `-` stay; where two become the same, the later has a number.
    """
    shown: dict[str, str] = {}
    for function in functions:
        plain = _UNSAFE.sub("_", function.name)[:_LONGEST_NAME]
        name, times = plain, 1
        while name in shown:
            times += 1
            name = f"{plain[: _LONGEST_NAME - len(str(times)) - 1]}_{times}"
        shown[name] = function.name
    return shown


def _with_types(schema: Json) -> Any:
    """The schema with JSON Schema's names of types."""
    if isinstance(schema, list):
        return [_with_types(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    changed = {key: _inside(key, value) for key, value in schema.items()}
    kind = changed.get("type")
    if kind == _ANYTHING:
        del changed["type"]
    elif isinstance(kind, str):
        changed["type"] = _TYPES.get(kind, kind)
    return changed


def _inside(key: str, value: Json) -> Json:
    if key in ("default", "enum", "const", "examples"):
        return value
    if key in ("properties", "$defs") and isinstance(value, Mapping):
        return {name: _with_types(one) for name, one in value.items()}
    return _with_types(value)
