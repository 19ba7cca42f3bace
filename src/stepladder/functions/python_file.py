"""The user's own functions: `functions.py` of the task folder, typed and documented.

    READ_ONLY = {"find_rides"}

    def find_rides(city: str, seats: int = 1) -> list[str]:
        \"\"\"Rides that leave from a city.

Args:
            city: where the ride begins.
            seats: how many are needed.
        \"\"\"

A function that `READ_ONLY` does not name has side effects. Names that begin with `_`, and functions
that were imported, are not offered. This runs the user's own code from the user's own folder.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from ..core import Function, Json
from ..errors import TaskError
from ..own_code import run_file
from .description import CallFailed, Described, as_schema

__all__ = ["FILE", "PythonFile", "open_python"]

FILE = "functions.py"
READ_ONLY = "READ_ONLY"
_DOCUMENT_IT = "describe it in one sentence, and its parameters under 'Args:'"
_ARGUMENT = re.compile(r"(\w+)(?:\s*\([^)]*\))?:\s*(.*)")


@dataclass
class PythonFile:
    """The functions of one file. They run in this process, and in the thread that calls."""

    path: Path
    described: tuple[Described, ...]
    _functions: Mapping[str, _Own] = field(repr=False)

    def call(self, name: str, arguments: Mapping[str, Json], seconds: float) -> Json:
        """What the function returns, as JSON; CallFailed with what it raises.

        A function that takes too long is not ended: Python cannot.
        """
        from pydantic import ValidationError
        from pydantic_core import PydanticSerializationError, to_jsonable_python

        own = self._functions[name]
        try:
            given = own.arguments.model_validate(arguments)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "arguments"
            raise CallFailed(f"{place}: {first['msg']}") from error
        values = {key: getattr(given, key) for key in own.arguments.model_fields}
        try:
            returned = own.function(**values)
        except Exception as error:  # the user's code may raise anything; the model is told
            raise CallFailed(f"{type(error).__name__}: {error}") from error
        try:
            return to_jsonable_python(returned)
        except PydanticSerializationError as error:
            raise CallFailed(f"the result is not JSON: {error}") from error

    def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class _Own:
    function: Callable[..., Any]
    arguments: Any  # a pydantic model of them


def open_python(path: Path) -> PythonFile:
    """The functions of this file, which is run.

    Raises:
        TaskError: it cannot be run, or a function lacks types or words; it names the function and
            the parameter.
    """
    module = run_file(path)
    read_only = _read_only(module, path)
    functions: dict[str, _Own] = {}
    described = []
    for name, function in vars(module).items():
        mine = inspect.isfunction(function) and function.__module__ == module.__name__
        if not mine or name.startswith("_"):
            continue
        functions[name], one = _described(name, function, path, name not in read_only)
        described.append(one)
    if missing := sorted(read_only - functions.keys()):
        raise TaskError(
            f"{path.name}: {READ_ONLY} names {missing[0]!r}, which is no function of the file",
            hint=f"there are: {', '.join(functions) or 'none'}",
        )
    if not functions:
        raise TaskError(
            f"{path.name} defines no function", hint="define one whose name begins with no '_'"
        )
    return PythonFile(path, tuple(described), functions)


def _described(
    name: str, function: Callable[..., Any], path: Path, side_effects: bool
) -> tuple[_Own, Described]:
    from pydantic import create_model

    place = f"{path.name}: function {name!r}"
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TaskError(f"{place} is not a plain function", hint="write it with 'def' and 'return'")
    said, arguments = _words(inspect.getdoc(function) or "")
    if not said:
        raise TaskError(f"{place} has no docstring", hint=_DOCUMENT_IT)
    parameters = inspect.signature(function).parameters
    if unknown := [one for one in arguments if one not in parameters]:
        raise TaskError(
            f"{place} documents {unknown[0]!r}, which is none of its parameters",
            hint=f"it has: {', '.join(parameters) or 'none'}",
        )
    model = create_model(
        name, __config__={"extra": "forbid"}, **_fields(function, arguments, place)
    )
    schema = _without_titles(model.model_json_schema())
    told = Function(name, said, as_schema(schema, place))
    return _Own(function, model), Described(told, side_effects, path.name)


def _fields(
    function: Callable[..., Any], arguments: Mapping[str, str], place: str
) -> dict[str, Any]:
    from pydantic import Field

    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise TaskError(
            f"{place} has a type that is not there: {error}", hint="import it in the file"
        ) from error
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TaskError(
                f"{place}: the parameter {name!r} cannot be given by name",
                hint="use neither *args, **kwargs nor '/': a model names its arguments",
            )
        if name not in hints:
            raise TaskError(
                f"{place}: the parameter {name!r} has no type",
                hint=f"write {name}: str, int, float, bool, list[...], Literal[...] or a dataclass",
            )
        _check_type(hints[name], place, name)
        needed = parameter.default is parameter.empty
        default = ... if needed else parameter.default
        fields[name] = (hints[name], Field(default, description=arguments.get(name)))
    return fields


def _check_type(hint: Any, place: str, name: str) -> None:
    from pydantic import PydanticUserError, TypeAdapter

    try:
        TypeAdapter(hint).json_schema()
    except PydanticUserError as error:
        reason = str(error).partition("\n")[0]
        raise TaskError(
            f"{place}: the parameter {name!r} has a type that JSON cannot hold: {reason}",
            hint="use types that are JSON, or a dataclass of such",
        ) from error


def _words(docstring: str) -> tuple[str, dict[str, str]]:
    """What is said of the function, and of each parameter under 'Args:'."""
    said: list[str] = []
    arguments: dict[str, str] = {}
    section, last, depth = "", "", None
    for line in docstring.splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if re.fullmatch(r"(Args|Arguments|Returns|Raises|Yields|Examples?|Notes?):", text):
            section, last, depth = text, "", None
        elif not section:
            said.append(text)
        elif section.startswith("Arg") and text:
            depth = indent if depth is None else depth
            found = _ARGUMENT.fullmatch(text) if indent <= depth else None
            if found:
                last = found[1]
                arguments[last] = found[2]
            elif last:
                arguments[last] = f"{arguments[last]} {text}".strip()
    return " ".join(part for part in said if part), arguments


def _without_titles(schema: Json, *, names: bool = False) -> Any:
    """The schema without pydantic's titles, which only repeat the names."""
    if isinstance(schema, dict):
        return {
            key: _without_titles(value, names=key in ("properties", "$defs") and not names)
            for key, value in schema.items()
            if names or key != "title"
        }
    return [_without_titles(each) for each in schema] if isinstance(schema, list) else schema


def _read_only(module: ModuleType, path: Path) -> set[str]:
    named = getattr(module, READ_ONLY, ())
    if isinstance(named, str) or not all(isinstance(one, str) for one in named):
        raise TaskError(
            f"{path.name}: {READ_ONLY} is not a set of names",
            hint=f'write {READ_ONLY} = {{"name_of_a_function"}}',
        )
    return set(named)
