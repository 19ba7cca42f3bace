"""JSON schemas as the engine's grammars enforce them, and the check of what came out.

The engine (xgrammar, within OpenVINO GenAI 2026.4) leaves out without a word what it cannot
enforce, and makes of the bounds of fractions a grammar that lets wrong text through. What is here
was found by drawing random answers under each keyword. Knows no request and no model.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ...core import Json
from .bounds import BOUNDS, whole_ranges

__all__ = ["Checked", "Unenforced", "pattern_size", "read_schema"]

_NEVER = frozenset(
    {
        "multipleOf", "contains", "minContains", "maxContains", "not", "if", "then", "else",
        "dependentRequired", "dependentSchemas", "dependencies", "propertyNames", "$dynamicRef",
        "$recursiveRef", "$anchor",
    }
)  # fmt: skip
_LENGTHS = frozenset({"minLength", "maxLength"})
_WITHIN = {  # keywords that hold schemas: one, several by place, or several by name
    "one": ("items", "additionalProperties"),
    "places": ("anyOf", "oneOf", "allOf", "prefixItems"),
    "names": ("properties", "patternProperties", "$defs", "definitions"),
}
_DEEPEST = 64
_LONGEST = 100_000  # characters of JSON: longer ones would keep everybody waiting while read
_MOST_OPTIONAL = 300  # properties of an object: what they compile to grows faster than they do
_LARGEST_PATTERN = 20_000  # places, with all that is repeated written out: it is compiled so
_MOST_FOLLOWED = 20_000  # references in one check: two at each of 50 levels would take for ever
_FOLLOWED: ContextVar[Iterator[int]] = ContextVar("followed")
# of a regular expression: an escape, a class, a counted repetition, or one character
_TOKENS = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*(?:\]|\Z)|\{(?P<least>\d+)(?:,(?P<most>\d*))?\}|.",
    re.DOTALL,
)


class Unenforced(ValueError):
    """A schema asks for what the engine would not see to; `path` says where."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path or 'the schema'}: {what}")
        self.path = path


class Checked:
    """A schema that was read: `engine` is what the engine is given, `check` judges a value."""

    def __init__(self, schema: Mapping[str, Json], engine: Mapping[str, Json]) -> None:
        self.engine = engine
        self._validator = _validator(schema)

    def check(self, value: Json) -> None:
        """Raises ValueError that says where and why a value does not fit."""
        if (error := _first_error(self._validator, value)) is not None:
            place = "/".join(map(str, error.absolute_path))
            raise ValueError(f"{place}: {error.message}" if place else error.message)


def read_schema(schema: Mapping[str, Json], *, strict: bool = True) -> Checked:
    """The schema, all of which the engine enforces or the check sees to afterwards.

    Afterwards are seen to: bounds of numbers, that only one of `oneOf` fits, and without `strict`
    whatever else the engine does not enforce.

    Raises:
        Unenforced: with `strict`, something that the engine does not enforce.
        ValueError: it is no JSON schema, or refers to what is not in it.
    """
    text = json.dumps(schema, allow_nan=False)
    if len(text) > _LONGEST:
        raise ValueError(f"it has {len(text)} characters, more than {_LONGEST}")
    return _read(text, strict)


@lru_cache(maxsize=512)
def _read(text: str, strict: bool) -> Checked:
    schema = json.loads(text)
    _check_schema(schema)
    if '"patternProperties"' in text and '"unevaluatedProperties"' in text:
        raise Unenforced("", "'unevaluatedProperties' with 'patternProperties' is not enforced")
    return Checked(schema, _Rewriting(schema, strict).whole())


class _Rewriting:
    """Of the schema `root`, the parts as the engine is given them."""

    def __init__(self, root: Mapping[str, Json], strict: bool) -> None:
        self._root = root
        self._validator = _validator(root)
        self._strict = strict
        self._named: dict[str, Json] = {}  # definitions of our own, by name

    def whole(self) -> Json:
        """The schema, with the definitions that it needs now."""
        made = self.any(self._root, "", 0)
        if not self._named:
            return made
        return {**made, "$defs": {**made.get("$defs", {}), **self._named}}

    def any(self, schema: Json, path: str, depth: int) -> Json:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict) or depth > _DEEPEST:
            raise Unenforced(path, "schemas are objects, and not nested without end")
        made = self._alone(self._seen(schema, path), path)
        if {"enum", "const"} & made.keys():
            made = _values(made, self._validator)
            if not made["enum"]:
                raise Unenforced(path, "no value that it names fits the rest of it")
        made = self._bound(_one_of(made), path)
        if made.get("type") == "object" or "properties" in made:
            made = _with_required(made)
        _refuse_large(made, path)
        return self._inside(made, path, depth)

    def _seen(self, schema: Mapping[str, Json], path: str) -> dict[str, Json]:
        """Without what the engine never looks at."""
        for name in sorted(_NEVER & schema.keys()):
            self._refuse(path, f"{name!r} is not enforced")
        if schema.get("uniqueItems") is True:
            self._refuse(path, "'uniqueItems' is not enforced")
        if not self._leads_somewhere(schema.get("$ref", "#")):
            raise Unenforced(
                path, f"'$ref' leads to {schema['$ref']!r}, which is not in the schema"
            )
        return {name: value for name, value in schema.items() if name not in _NEVER}

    def _alone(self, schema: dict[str, Json], path: str) -> dict[str, Json]:
        """Without what the engine does not look at beside another keyword."""
        told = schema.keys() & _telling()
        for name in ("$ref", "anyOf", "oneOf", "allOf"):
            if name in schema and len(told) > 1:
                others = ", ".join(map(repr, sorted(told - {name})))
                self._refuse(path, f"{others} beside {name!r} is not enforced")
                if "type" in told:  # the engine would take this for all that there is
                    schema = {key: value for key, value in schema.items() if key != name}
        if len(schema.get("allOf", ())) > 1:
            self._refuse(path, "'allOf' of more than one is not enforced")
        if {"pattern", "format"} & told and _LENGTHS & told:
            self._refuse(path, "a length beside 'pattern' or 'format' is not enforced")
        if "patternProperties" in told and {"properties", "required"} & told:
            # the check does not see to it either, see `_kind`
            raise Unenforced(path, "'patternProperties' beside 'properties' is not enforced")
        return schema

    def _bound(self, schema: dict[str, Json], path: str) -> dict[str, Json]:
        """With the bounds of numbers that the engine keeps to; the check sees to the others."""
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        bounds = [name for name in BOUNDS if name in schema]
        if not bounds:
            return schema
        rest = {name: value for name, value in schema.items() if name not in bounds}
        if "integer" not in kinds or "number" in kinds:
            return rest
        try:
            ranges = whole_ranges(schema)
        except ValueError as error:
            self._refuse(path, f"{' and '.join(map(repr, bounds))}: {error}")
            return rest
        if len(ranges) == 1:
            return rest | _ends(*ranges[0])
        others = [kind for kind in kinds if kind != "integer"]
        options: list[Json] = [{**rest, "type": others}] if others else []
        described = {name: value for name, value in rest.items() if name not in _telling()}
        return {**described, "anyOf": [*map(self._referred, ranges), *options]}

    def _referred(self, ends: tuple[int | None, int | None]) -> dict[str, Json]:
        """A range under a name: beside other ranges the engine is only right with names."""
        name = f"whole_{ends[0]}_{ends[1]}"
        while name in self._root.get("$defs", {}):
            name += "_"
        self._named[name] = {"type": "integer", **_ends(*ends)}
        return {"$ref": f"#/$defs/{name}"}

    def _inside(self, schema: dict[str, Json], path: str, depth: int) -> dict[str, Json]:
        for name in _WITHIN["one"]:
            if isinstance(schema.get(name), dict):
                schema[name] = self.any(schema[name], f"{path}/{name}", depth + 1)
        for name in _WITHIN["places"]:
            if name in schema:
                schema[name] = [
                    self.any(one, f"{path}/{name}/{place}", depth + 1)
                    for place, one in enumerate(schema[name])
                ]
        for name in _WITHIN["names"]:
            if name in schema:
                schema[name] = {
                    key: self.any(one, f"{path}/{name}/{key}", depth + 1)
                    for key, one in schema[name].items()
                }
        return schema

    def _leads_somewhere(self, reference: str) -> bool:
        if reference == "#" or reference.removeprefix("#/$defs/") in self._named:
            return True
        found: Json = self._root
        for part in reference.removeprefix("#/").split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            if not reference.startswith("#/") or not isinstance(found, dict) or part not in found:
                return False
            found = found[part]
        return True

    def _refuse(self, path: str, what: str) -> None:
        if self._strict:
            raise Unenforced(path, what)


def _ends(low: int | None, high: int | None) -> dict[str, Json]:
    ends = {"minimum": low, "maximum": high}
    return {name: end for name, end in ends.items() if end is not None}


def _values(schema: dict[str, Json], root: Any) -> dict[str, Json]:
    """Of the values that are named, those that the rest of the schema allows."""
    named = [schema["const"]] if "const" in schema else schema["enum"]
    telling = _telling()
    # that a value is among those named needs no look at all of them for each
    asked = schema.keys() & telling - {"$ref"} - ({"enum"} if "const" not in schema else {"const"})
    validator = root.evolve(schema={name: schema[name] for name in asked})
    kept = {name: value for name, value in schema.items() if name not in telling}
    return {**kept, "enum": [value for value in named if _first_error(validator, value) is None]}


def _one_of(schema: dict[str, Json]) -> dict[str, Json]:
    if "oneOf" not in schema:
        return schema
    return {("anyOf" if name == "oneOf" else name): one for name, one in schema.items()}


def _with_required(schema: dict[str, Json]) -> dict[str, Json]:
    """With a property for each required name; the engine forgets those without."""
    properties = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in properties]
    if not missing:
        return schema
    rest = schema.get("additionalProperties", {})
    any_other: Json = rest if isinstance(rest, dict) else {}
    return {**schema, "properties": {**properties, **dict.fromkeys(missing, any_other)}}


def _refuse_large(schema: Mapping[str, Json], path: str) -> None:
    """Raise Unenforced for what the engine would be busy with for long, or run out of memory."""
    if pattern_size(schema.get("pattern", "")) > _LARGEST_PATTERN:
        raise Unenforced(f"{path}/pattern", "it repeats too much: 'a{1000}' within '{1000}'")
    optional = len(schema.get("properties", {}).keys() - set(schema.get("required", ())))
    if optional > _MOST_OPTIONAL:
        raise Unenforced(
            path, f"{optional} of its properties are not required, more than {_MOST_OPTIONAL}"
        )


def pattern_size(pattern: str) -> int:
    """How many places a regular expression has when its counted repetitions are written out."""
    sizes, last = [0], 0
    for token in _TOKENS.finditer(pattern):
        piece = token[0]
        if piece == "(":
            sizes.append(0)
            last = 0
        elif piece == ")":
            last = sizes.pop() if len(sizes) > 1 else 0
            sizes[-1] += last
        elif token["least"] is not None:
            times = max(int(token["most"] or token["least"]), 1)
            sizes[-1] += last * (times - 1)
            last *= times
        else:
            last = 1
            sizes[-1] += 1
    return sum(sizes)


def _check_schema(schema: Json) -> None:
    """Raises ValueError where it is no JSON schema."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path))
        raise ValueError(f"{place or 'the schema'}: {error.message}") from error


def _first_error(validator: Any, value: Json) -> Any:
    """What is wrong with a value, or None; raises ValueError where that cannot be told."""
    from referencing.exceptions import Unresolvable

    _FOLLOWED.set(itertools.count())
    try:
        return next(validator.iter_errors(value), None)
    except RecursionError as error:
        raise ValueError("it is nested too deeply to be checked") from error
    except Unresolvable as error:  # an `$id` within gives references another place to begin
        raise ValueError(f"the reference {error.ref!r} leads nowhere") from error


def _validator(schema: Mapping[str, Json]) -> Any:
    from referencing import Registry

    # an empty registry: a reference never leads to the network
    return _kind()(schema, registry=Registry())


@lru_cache(maxsize=1)
def _telling() -> frozenset[str]:
    """The keywords that say something of a value; the others describe."""
    return frozenset(_kind().VALIDATORS)


@lru_cache(maxsize=1)
def _kind() -> Any:
    """Patterns are the engine's affair: Python's could be made to take for ever on one."""
    from jsonschema import Draft202012Validator, ValidationError, validators

    known = Draft202012Validator.VALIDATORS

    def counted(*arguments: Any) -> Iterator[Any]:
        if next(_FOLLOWED.get()) >= _MOST_FOLLOWED:
            raise ValueError("its references branch too often to be checked")
        yield from known["$ref"](*arguments) or ()

    def others(validator: Any, rest: Json, value: Json, schema: Mapping[str, Json]) -> Any:
        if "patternProperties" not in schema:
            yield from known["additionalProperties"](validator, rest, value, schema)

    def multiple(validator: Any, unit: Any, value: Any, _: Json) -> Any:
        if validator.is_type(value, "number") and _exact(value) % _exact(unit):
            yield ValidationError(f"{value!r} is not a multiple of {unit}")

    changed: dict[str, Any] = dict.fromkeys(("pattern", "patternProperties"), lambda *_: None)
    changed |= {"$ref": counted, "additionalProperties": others, "multipleOf": multiple}
    return validators.extend(Draft202012Validator, changed)


def _exact(number: float) -> Fraction:
    """As it is written: what is a multiple of 0.1 in decimals is none in binary fractions."""
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))
