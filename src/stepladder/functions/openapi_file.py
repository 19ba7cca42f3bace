"""An OpenAPI file (3.0 or 3.1, JSON or YAML) as operations with one schema of arguments each.

References within the file are followed, those to other files are refused. What cannot be called
rightly (cookies, forms, rare styles) is refused by name, not left out. Calls nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import SplitResult, urlsplit

from ..core import Function, Json
from ..errors import TaskError
from ..registry import need
from .description import Described, as_schema
from .openapi_shapes import Part, check_part

__all__ = ["Operation", "Parameter", "Scheme", "base_of", "read_operations", "read_schemes",
           "read_spec"]  # fmt: skip

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
SAFE = ("get", "head", "options", "trace")
# header parameters of these names mean nothing, says the specification
_NOT_PARAMETERS = ("accept", "content-type", "authorization")
_STYLES = {"path": "simple", "query": "form", "header": "simple"}
_BODY = "body"
_JSON_BODY = re.compile(r"application/(json|[\w.-]+\+json)(\s*;.*)?")


@dataclass(frozen=True)
class Parameter:
    """An argument, and where in a request it goes."""

    argument: str
    name: str
    place: Literal["path", "query", "header"]
    explode: bool


@dataclass(frozen=True)
class Operation:
    """What is sent for one function. `body` names the argument that is the body, if there is one.

    `schemes` are the security schemes whose secrets go along.
    """

    described: Described
    method: str
    path: str
    parameters: tuple[Parameter, ...]
    body: str | None
    schemes: tuple[str, ...]


@dataclass(frozen=True)
class Scheme:
    """Where a secret goes, and what stands before it there."""

    name: str
    place: Literal["query", "header"]
    before: str = ""


def read_spec(path: Path) -> Mapping[str, Json]:
    """The file's content; raises TaskError where it is not OpenAPI 3."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(
            f"{path.name!r} cannot be read: {error}", hint=f"put it at {str(path)!r}"
        ) from error
    spec = _yaml(text, path) if path.suffix.lower() in (".yaml", ".yml") else _json(text, path)
    version = spec.get("openapi") if isinstance(spec, Mapping) else None
    if not isinstance(version, str) or not version.startswith(("3.0", "3.1")):
        raise TaskError(
            f"{path.name} is not OpenAPI 3.0 or 3.1: it says openapi = {version!r}",
            hint="convert it, for instance from Swagger 2.0",
        )
    check_part(spec, "file", path.name)
    return dict(spec)


def base_of(spec: Mapping[str, Json], path: Path, given: str | None) -> str:
    """The address that requests begin with, without a slash at its end."""
    servers = spec.get("servers") or [{}]
    base = given if given is not None else servers[0].get("url", "")
    if given is None:
        for name, variable in (servers[0].get("variables") or {}).items():
            base = base.replace("{" + name + "}", str(variable.get("default", "")))
    parts = _split(base, path)
    odd = parts.query or parts.fragment or parts.username is not None or "{" in base
    if parts.scheme not in ("http", "https") or not parts.hostname or odd:
        raise TaskError(
            f"{path.name}: {base!r} is no address of a service",
            hint='give base = "https://host/path"',
        )
    return base.rstrip("/")


def _split(base: str, path: Path) -> SplitResult:
    try:
        return urlsplit(base)
    except ValueError as error:
        raise TaskError(
            f"{path.name}: {base!r} is no address of a service: {error}",
            hint='give base = "https://host/path"',
        ) from error


def read_schemes(spec: Mapping[str, Json], place: str) -> dict[str, Scheme]:
    """The security schemes that a secret of the environment can serve, by name."""
    told = _at(spec, "components").get("securitySchemes") or {}
    found = {}
    for name in told:
        one = _resolved(told[name], spec, f"{place}: security scheme {name!r}", "scheme")
        kind, where = one.get("type"), one.get("in")
        if kind == "apiKey" and where in ("query", "header"):
            found[name] = Scheme(one["name"], where)
        elif kind == "http" and str(one.get("scheme")).lower() in ("bearer", "basic"):
            before = str(one["scheme"]).capitalize()
            found[name] = Scheme("authorization", "header", f"{before} ")
        elif kind in ("oauth2", "openIdConnect"):  # whoever has a token can send it
            found[name] = Scheme("authorization", "header", "Bearer ")
    return found


def read_operations(spec: Mapping[str, Json], place: str) -> list[Operation]:
    """Every operation of the file; raises TaskError naming the one that cannot be used."""
    schemes = read_schemes(spec, place)
    found: list[Operation] = []
    for path, item in _at(spec, "paths").items():
        item = _resolved(item, spec, f"{place}: {path}", "path")
        for method in METHODS:
            if method in item:
                one = _Reader(spec, schemes, f"{place}: {method.upper()} {path}")
                found.append(one.operation(path, method, item))
    names = [one.described.name for one in found]
    if twice := [name for place_, name in enumerate(names) if name in names[:place_]]:
        raise TaskError(
            f"{place}: two operations are called {twice[0]!r}", hint="give each an operationId"
        )
    if not found:
        raise TaskError(f"{place} has no operations", hint="fill in 'paths'")
    return found


@dataclass(frozen=True)
class _Reader:
    """Reads one operation; `place` names it in complaints."""

    spec: Mapping[str, Json]
    schemes: Mapping[str, Scheme]
    place: str

    def operation(self, path: str, method: str, item: Mapping[str, Json]) -> Operation:
        told = item[method]
        check_part(told, "operation", self.place)
        name = told.get("operationId") or re.sub(r"[^a-zA-Z0-9]+", "_", f"{method} {path}").strip(
            "_"
        )
        properties: dict[str, Json] = {}
        required: list[str] = []
        parameters = []
        for one, where in self._parameters(item, told):
            properties[one.argument] = self._schema(where)
            parameters.append(one)
            if where.get("required") or one.place == "path":
                required.append(one.argument)
        body = self._body(told)
        if body is not None:
            if _BODY in properties:
                self._refuse(f"a parameter is called {_BODY!r}", "rename it: the body is called so")
            properties[_BODY] = body[0]
            required += [_BODY] if body[1] else []
        self._check_path(path, parameters)
        schema: dict[str, Json] = {"type": "object", "properties": properties}
        schema |= {"required": required, "additionalProperties": False}
        said = ". ".join(
            str(told[key]).strip().rstrip(".")
            for key in ("summary", "description")
            if told.get(key)
        )
        function = Function(name, said, as_schema(_with_definitions(schema, self.spec, self.place),
                                                  self.place))  # fmt: skip
        described = Described(function, method not in SAFE, self.place.partition(":")[0])
        return Operation(
            described, method.upper(), path, tuple(parameters), _BODY if body else None,
            self._security(told),
        )  # fmt: skip

    def _parameters(
        self, item: Mapping[str, Json], told: Mapping[str, Json]
    ) -> Iterator[tuple[Parameter, Mapping[str, Json]]]:
        """Those of the path, and those of the operation, which go before them."""
        found: dict[tuple[str, str], Mapping[str, Json]] = {}
        for one in [*(item.get("parameters") or ()), *(told.get("parameters") or ())]:
            where = _resolved(one, self.spec, self.place, "parameter")
            found[where["in"], where["name"]] = where
        names = [name for _, name in found]
        for (place, name), where in found.items():
            if place == "header" and name.lower() in _NOT_PARAMETERS:
                continue
            if place not in _STYLES:
                if where.get("required"):
                    self._refuse(f"{name!r} is a {place} parameter", "leave the operation out")
                continue
            style = where.get("style", _STYLES[place])
            if style != _STYLES[place] or "schema" not in where:
                self._refuse(
                    f"the parameter {name!r} has style {style!r}", f"use {_STYLES[place]!r}"
                )
            argument = f"{name}_{place}" if names.count(name) > 1 else name
            yield Parameter(argument, name, place, bool(where.get("explode", True))), where  # type: ignore[arg-type]  # one of the keys of _STYLES

    def _schema(self, where: Mapping[str, Json]) -> dict[str, Json]:
        schema = _as_object(where["schema"])
        if where.get("description"):
            schema = {"allOf": [schema]} if "$ref" in schema else schema
            schema["description"] = where["description"]
        return schema

    def _body(self, told: Mapping[str, Json]) -> tuple[Json, bool] | None:
        if "requestBody" not in told:
            return None
        body = _resolved(told["requestBody"], self.spec, self.place, "body")
        content = body.get("content") or {}
        for kind, one in content.items():
            if _JSON_BODY.fullmatch(kind.lower()):
                return one.get("schema", {}), bool(body.get("required"))
        if body.get("required"):
            self._refuse(f"its body is {', '.join(content) or 'nothing'}", "only JSON can be sent")
        return None

    def _security(self, told: Mapping[str, Json]) -> tuple[str, ...]:
        """Of the ways in, the first that secrets can serve."""
        ways = told.get("security", self.spec.get("security")) or [{}]
        for way in ways:
            if all(name in self.schemes for name in way):
                return tuple(way)
        self._refuse(f"it needs {', '.join(ways[0])}", "use an apiKey, bearer or basic")

    def _check_path(self, path: str, parameters: list[Parameter]) -> None:
        named = set(re.findall(r"\{([^{}]+)\}", path))
        told = {one.name for one in parameters if one.place == "path"}
        if not path.startswith("/") or named != told:
            odd = ", ".join(sorted(named ^ told)) or path
            self._refuse(f"its path and its path parameters differ: {odd}", "describe each")

    def _refuse(self, what: str, cure: str) -> NoReturn:
        raise TaskError(f"{self.place} cannot be called: {what}", hint=cure)


# --- references and schemas ---------------------------------------------------------------------


def _resolved(told: Json, spec: Mapping[str, Json], place: str, part: Part) -> Mapping[str, Json]:
    """What a reference leads to, or the thing itself, which has the form of this part."""
    for _ in range(16):
        if not isinstance(told, Mapping):
            break
        if "$ref" not in told:
            check_part(told, part, place)
            return told
        told = _led_to(told["$ref"], spec, place)
    raise TaskError(f"{place}: a reference leads to no object", hint="correct the file")


def _as_object(schema: Json) -> dict[str, Json]:
    """A schema in words: `true` lets everything in, `false` nothing."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    return dict(schema)


def _led_to(reference: Json, spec: Mapping[str, Json], place: str) -> Json:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        raise TaskError(
            f"{place}: the reference {reference!r} leads out of the file",
            hint="bundle the specification into one file; nothing else is read or fetched",
        )
    found: Json = spec
    for part in reference[2:].split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or part not in found:
            raise TaskError(f"{place}: {reference!r} leads nowhere", hint="correct the file")
        found = found[part]
    return found


def _with_definitions(schema: Json, spec: Mapping[str, Json], place: str) -> dict[str, Json]:
    """The schema with all that it refers to inside it, under `$defs`."""
    names: dict[str, str] = {}
    definitions: dict[str, Json] = {}
    found = _moved(schema, names)
    while missing := [one for one in names if names[one] not in definitions]:
        for reference in missing:
            definitions[names[reference]] = _moved(_led_to(reference, spec, place), names)
    return {**found, "$defs": definitions} if definitions else found


def _moved(schema: Json, names: dict[str, str]) -> Any:
    """In the words of JSON Schema 2020-12, with references led to `$defs`."""
    if isinstance(schema, list):
        return [_moved(each, names) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if isinstance(schema.get("$ref"), str):
        reference = schema["$ref"]
        if reference not in names:
            last = re.sub(r"\W", "_", reference.rpartition("/")[2])
            taken = set(names.values())
            names[reference] = last if last not in taken else f"{last}_{len(names)}"
        return {**schema, "$ref": f"#/$defs/{names[reference]}"}
    moved: dict[str, Json] = {}
    for key, value in schema.items():
        if key == "properties" and isinstance(value, Mapping):
            moved[key] = {name: _moved(one, names) for name, one in value.items()}
        elif key in ("default", "enum", "const", "example", "examples"):
            moved[key] = value
        else:
            moved[key] = _moved(value, names)
    return _modern(moved)


def _modern(schema: dict[str, Json]) -> dict[str, Json]:
    """What OpenAPI 3.0 says otherwise than JSON Schema."""
    schema.pop("example", None)
    for bound, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if schema.get(strict) is True and bound in schema:
            schema[strict] = schema.pop(bound)
        elif isinstance(schema.get(strict), bool):
            del schema[strict]
    if schema.pop("nullable", False) is True:
        if isinstance(schema.get("type"), str):
            schema["type"] = [schema["type"], "null"]
        if "enum" in schema and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    return schema


def _at(spec: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    found = spec.get(key)
    return found if isinstance(found, Mapping) else {}


def _json(text: str, path: Path) -> Json:
    try:
        return json.loads(text)
    except ValueError as error:
        raise TaskError(f"{path.name} is not JSON: {error}", hint="correct it") from error


def _yaml(text: str, path: Path) -> Json:
    yaml = need("yaml", extra="functions", what="reading an OpenAPI file in YAML")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TaskError(f"{path.name} is not YAML: {error}", hint="correct it") from error
