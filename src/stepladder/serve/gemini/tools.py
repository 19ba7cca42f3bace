"""The functions that a model may call, and whether it has to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...core import Function, Json
from .. import Refusal
from .schema import checked_schema, to_json_schema

__all__ = ["Choice", "to_choice", "to_functions"]

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


@dataclass(frozen=True, slots=True)
class Choice:
    """As in `Ask`: which functions may be called, and whether one has to be."""

    functions: tuple[Function, ...] = ()
    mode: Literal["auto", "none", "required"] = "auto"
    allowed: tuple[str, ...] = ()


def to_functions(tools: Sequence[Mapping[str, Json]]) -> tuple[Function, ...]:
    """The functions of all tools, as read by the form `TOOL`; raises Refusal for a bad one."""
    found: dict[str, Function] = {}
    for number, tool in enumerate(tools):
        for index, one in enumerate(tool.get("functionDeclarations", ())):
            place = f"tools[{number}].functionDeclarations[{index}]"
            function = _function(one, place)
            if function.name in found:
                raise Refusal(
                    "invalid",
                    f"two functions are called {function.name!r}",
                    param=f"{place}.name",
                )
            found[function.name] = function
    return tuple(found.values())


def to_choice(functions: tuple[Function, ...], config: Mapping[str, Json] | None) -> Choice:
    """Which of the functions may be called under a `toolConfig`; raises Refusal."""
    calling = (config or {}).get("functionCallingConfig", {})
    mode = calling.get("mode", "AUTO")
    allowed = tuple(calling.get("allowedFunctionNames", ()))
    place = "toolConfig.functionCallingConfig"
    known = {function.name for function in functions}
    for name in allowed:
        if name not in known:
            raise Refusal(
                "invalid",
                f"the function {name!r} is allowed, but not declared",
                hint=f"declared: {', '.join(sorted(known)) or 'none'}",
                param=f"{place}.allowedFunctionNames",
            )
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise Refusal(
            "invalid",
            "'allowedFunctionNames' is of use only in the modes ANY and VALIDATED",
            param=f"{place}.allowedFunctionNames",
        )
    if mode == "ANY":
        if not functions:
            raise Refusal("invalid", "mode ANY needs a declared function", param=f"{place}.mode")
        return Choice(functions, "required", allowed)
    if mode == "VALIDATED" and allowed:
        functions = tuple(one for one in functions if one.name in allowed)
    return Choice(functions, "none" if mode == "NONE" else "auto")


def _function(given: Mapping[str, Json], place: str) -> Function:
    name = given["name"]
    if not NAME.fullmatch(name):
        raise Refusal(
            "invalid",
            f"a function cannot be called {name[:140]!r}",
            hint="up to 128 letters, digits, '_', '.', ':' and '-', a letter or '_' first",
            param=f"{place}.name",
        )
    own, dialect = given.get("parametersJsonSchema"), given.get("parameters")
    if own is not None and dialect is not None:
        raise Refusal(
            "invalid",
            f"the function {name!r} has 'parameters' and 'parametersJsonSchema'",
            hint="give one of them",
            param=place,
        )
    parameters: Mapping[str, Json] = {}
    if own is not None:
        parameters = checked_schema(own, f"{place}.parametersJsonSchema")
    elif dialect is not None:
        parameters = to_json_schema(dialect, f"{place}.parameters")
    if parameters.get("type", "object") != "object":
        raise Refusal("invalid", f"the parameters of {name!r} have to be an object", param=place)
    return Function(name, given.get("description", ""), parameters)
