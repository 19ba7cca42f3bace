"""The functions that a chat may or has to call: `tools`, and the older `functions`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from ...core import Function, Json
from .fields import Fields, wrong

__all__ = ["Functions", "check_schema", "read_functions"]

MOST_TOOLS = 128
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Choice = Literal["auto", "none", "required"]


@dataclass(frozen=True, slots=True)
class Functions:
    """What may be called; `legacy` where the caller speaks of functions and not of tools."""

    functions: tuple[Function, ...] = ()
    choice: Choice = "auto"
    allowed: tuple[str, ...] = ()
    parallel: bool = True
    legacy: bool = False


def read_functions(body: Fields) -> Functions:
    """The functions of a chat; raises Refusal for what is malformed or contradicts itself."""
    if body.has("functions") or body.has("function_call"):
        return _legacy(body)
    parallel = body.flag("parallel_tool_calls")
    functions = tuple(_tool(one) for one in body.objects("tools", most=MOST_TOOLS))
    _check_names(body, "tools", functions)
    if not functions:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.given.get(name) not in (None, "none", "auto"):
                raise body.fault(name, "is of use only with 'tools'")
        return Functions()
    return _chosen(body, functions, parallel is not False)


def check_schema(schema: Mapping[str, Json], where: Fields, name: str) -> None:
    """Raise Refusal unless it is a JSON schema."""
    fault = _schema_fault(json.dumps(schema, sort_keys=True))
    if fault:
        raise where.fault(name, f"is no JSON schema: {fault}")


@lru_cache(maxsize=256)
def _schema_fault(schema: str) -> str:
    """What is wrong with it. Kept, since callers send the same schema with every call."""
    try:
        Draft202012Validator.check_schema(json.loads(schema))
    except SchemaError as error:
        return f"{error.json_path}: {error.message[:200]}"
    except (ValueError, RecursionError) as error:  # a pattern or a nesting beyond its means
        return str(error)[:200]
    return ""


def _tool(tool: Fields) -> Function:
    kind = tool.text("type")
    if kind is None:
        raise tool.missing("type")
    if kind != "function":
        raise tool.fault("type", f"has to be 'function': there are no {kind!r} tools here")
    tool.known({"type", "function"})
    function = tool.needed_inner("function")
    function.known({"name", "description", "parameters", "strict"})
    function.flag("strict")  # arguments always keep to their schema
    return _function(function)


def _function(given: Fields) -> Function:
    name = given.needed_text("name")
    if not NAME.fullmatch(name):
        raise wrong(given.at("name"), "1 to 64 letters, digits, '_' or '-'", name)
    parameters = given.inner("parameters")
    schema: Mapping[str, Json] = {}
    if parameters is not None and parameters.given:
        schema = parameters.given
        check_schema(schema, given, "parameters")
        if schema.get("type", "object") != "object":
            raise parameters.fault("type", "has to be 'object'")
    return Function(name, given.text("description") or "", schema)


def _chosen(body: Fields, functions: tuple[Function, ...], parallel: bool) -> Functions:
    value = body.given.get("tool_choice")
    if value is None or value == "auto":
        return Functions(functions, parallel=parallel)
    if value == "none":
        return Functions(functions, "none", parallel=parallel)
    if value == "required":
        return Functions(functions, "required", parallel=parallel)
    if not isinstance(value, dict):
        raise wrong(body.at("tool_choice"), "'none', 'auto', 'required' or an object", value)
    choice = body.needed_inner("tool_choice")
    kind = choice.one_of("type", ("function", "allowed_tools"))
    if kind is None:
        raise choice.missing("type")
    choice.known({"type", kind})
    if kind == "function":
        name = _named(choice, functions)
        return Functions(functions, "required", (name,), parallel)
    return _allowed(choice.needed_inner("allowed_tools"), functions, parallel)


def _allowed(given: Fields, functions: tuple[Function, ...], parallel: bool) -> Functions:
    given.known({"mode", "tools"})
    mode = given.one_of("mode", ("auto", "required"))
    if mode is None:
        raise given.missing("mode")
    names = tuple(_named(one, functions) for one in given.objects("tools", least=1))
    if not names:
        raise given.missing("tools")
    if mode == "required":
        return Functions(functions, "required", names, parallel)
    return Functions(tuple(one for one in functions if one.name in names), parallel=parallel)


def _named(given: Fields, functions: tuple[Function, ...]) -> str:
    """The name of a function that there is."""
    function = given.needed_inner("function")
    name = function.needed_text("name")
    if name not in {one.name for one in functions}:
        raise function.fault("name", f"is {name!r}, which is none of the functions")
    return name


def _legacy(body: Fields) -> Functions:
    for name in ("tools", "tool_choice", "parallel_tool_calls"):
        if body.has(name):
            raise body.fault(name, "cannot go together with 'functions' and 'function_call'")
    functions = []
    for one in body.objects("functions", least=1, most=MOST_TOOLS):
        one.known({"name", "description", "parameters"})
        functions.append(_function(one))
    if not functions:
        raise body.missing("functions")
    _check_names(body, "functions", functions)
    value = body.given.get("function_call")
    if value is None or value in ("none", "auto"):
        choice: Choice = "none" if value == "none" else "auto"
        return Functions(tuple(functions), choice, parallel=False, legacy=True)
    choice_of = Fields.of({"function": value}, body.at("function_call"))
    if not isinstance(value, dict):
        raise wrong(body.at("function_call"), "'none', 'auto' or an object", value)
    name = _named(choice_of, tuple(functions))
    return Functions(tuple(functions), "required", (name,), parallel=False, legacy=True)


def _check_names(
    body: Fields, field: str, functions: tuple[Function, ...] | list[Function]
) -> None:
    names = [one.name for one in functions]
    for name in names:
        if names.count(name) > 1:
            raise body.fault(field, f"has two functions with the name {name!r}")
