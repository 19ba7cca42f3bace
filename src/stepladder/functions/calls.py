"""Calls in an answer, in whichever of the usual forms it tells of them. Judges nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import Json

__all__ = ["calls_in", "in_order"]


def calls_in(value: Json) -> list[dict[str, Json]]:
    """The calls that a value tells of, as {"name", "arguments"}.

    It is a list of calls, one call, or a record with a list under "calls". None, an empty list and
    a call of "none" are no calls.
    """
    if isinstance(value, Mapping) and "calls" in value and "name" not in value:
        value = value["calls"]
    each = value if isinstance(value, list | tuple) else [value]
    calls = []
    for one in each:
        name = one.get("name") if isinstance(one, Mapping) else None
        if not isinstance(name, str) or name.casefold() == "none":
            continue
        arguments = one.get("arguments")
        calls.append(
            {"name": name, "arguments": dict(arguments) if isinstance(arguments, Mapping) else {}}
        )
    return calls


def in_order(value: Json, schema: Json) -> Any:
    """The value with its objects' fields in the schema's order, as engines write it under one.

    What the schema does not name follows as it was.
    """
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, list | tuple):
        return [in_order(each, schema.get("items")) for each in value]
    if not isinstance(value, Mapping):
        return value
    told = schema.get("properties")
    told = told if isinstance(told, Mapping) else {}
    ordered = {name: in_order(value[name], told[name]) for name in told if name in value}
    return {**ordered, **{name: one for name, one in value.items() if name not in ordered}}
