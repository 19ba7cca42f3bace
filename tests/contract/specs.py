"""An official document of a service, made into checks: does a call exist, is its body what it says?

    discovery.py .. Google's discovery documents become a `Spec`
    openapi.py .... an OpenAPI document becomes a `Spec`
    vendors.py .... which document belongs to which service

A document says what is accepted, not what a server then does: see `wire/README.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

Json = Any
Side = Literal["request", "response"]


class UnknownCall(LookupError):
    """The document knows no such method on such a path."""


@dataclass(frozen=True)
class Operation:
    """One call of the document. `None` for a body means that there is none."""

    name: str
    method: str
    path: re.Pattern[str]
    query: frozenset[str]
    request: Json | None
    response: Json | None
    form: bool = False  # the request is multipart

    @property
    def unknowns(self) -> int:
        """How many parts of the path are free: of two that fit, the more literal one is meant."""
        return self.path.groups


@dataclass(frozen=True)
class Exchange:
    """A call and, if it is known, its answer. `path` holds the query, as it was sent."""

    method: str
    path: str
    body: Json | None = None
    status: int = 200
    answer: Json | None = None


@dataclass(frozen=True)
class Spec:
    """One document: its calls, and the definitions as JSON Schema 2020-12 for either side."""

    title: str
    operations: tuple[Operation, ...]
    definitions: Mapping[Side, Mapping[str, Json]]
    snake_case: bool = False  # proto3 JSON: a key may also be written as the proto names it
    _validators: dict[tuple[Side, int], Draft202012Validator] = field(default_factory=dict)

    def operation(self, method: str, path: str) -> Operation:
        """The call that is meant; raises UnknownCall."""
        bare = unquote(urlsplit(path).path)
        fitting = [
            operation
            for operation in self.operations
            if operation.method == method and operation.path.fullmatch(bare)
        ]
        if not fitting:
            raise UnknownCall(f"{self.title} has no {method} {bare}")
        return min(fitting, key=lambda operation: operation.unknowns)

    def faults_of_request(self, exchange: Exchange) -> list[str]:
        """Everything in which a request departs from the document; empty when it conforms."""
        operation = self.operation(exchange.method, exchange.path)
        sent = {key for key, _ in parse_qsl(urlsplit(exchange.path).query, keep_blank_values=True)}
        faults = [f"unknown query parameter {key!r}" for key in sorted(sent - operation.query)]
        if operation.request is None:
            nothing = exchange.body in (None, {}, "")
            return faults if nothing else [*faults, "has a body; the document knows none"]
        return [*faults, *self._faults(operation.request, exchange.body or {}, "request")]

    def faults_of_response(self, exchange: Exchange) -> list[str]:
        """The same for an answer with status 200."""
        operation = self.operation(exchange.method, exchange.path)
        if operation.response is None:
            return []
        answer = {} if exchange.answer is None else exchange.answer
        return self._faults(operation.response, answer, "response")

    def faults(self, definition: str, value: Json, side: Side) -> list[str]:
        """In which `value` departs from one definition of the document."""
        return self._faults(self.definitions[side][definition], value, side)

    def _faults(self, schema: Json, value: Json, side: Side) -> list[str]:
        key = (side, id(schema))  # a schema lives as long as its document
        if key not in self._validators:
            self._validators[key] = Draft202012Validator(
                {**schema, "$defs": self.definitions[side]}
            )
        if self.snake_case:
            value = self._as_documented(value, schema, side)
        return sorted(map(_in_words, self._validators[key].iter_errors(value)))

    def _as_documented(self, value: Json, schema: Json, side: Side) -> Json:
        """The same with keys as the document spells them. Keys of maps are data and stay.

        The schema tells a message from a map, so no list of exceptions is needed.
        """
        schema = self._resolved(schema, side)
        if isinstance(value, list):
            items = schema.get("items", {})
            return [self._as_documented(one, items, side) for one in value]
        if not isinstance(value, dict):
            return value
        known = schema.get("properties", {})
        rest = schema.get("additionalProperties", {})
        rest = rest if isinstance(rest, dict) else {}
        renamed: dict[str, Json] = {}
        for key, inner in value.items():
            name = key if key in known or camel_case(key) not in known else camel_case(key)
            if name in renamed:
                name = key  # written twice: left as it is, so that it is a fault
            renamed[name] = self._as_documented(inner, known.get(name, rest), side)
        return renamed

    def _resolved(self, schema: Json, side: Side) -> Json:
        while isinstance(schema, dict) and "$ref" in schema:
            schema = self.definitions[side][schema["$ref"].removeprefix("#/$defs/")]
        return schema if isinstance(schema, dict) else {}


def camel_case(name: str) -> str:
    """`mime_type` as `mimeType`; what has no underscore stays."""
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def path_pattern(template: str, free: str = "[^/:]+") -> re.Pattern[str]:
    """A template with `{names}` as a pattern with a group for each."""
    parts = re.split(r"\{[^}]*\}", template)
    return re.compile(f"({free})".join(map(re.escape, parts)))


def _in_words(error: ValidationError) -> str:
    """Where and what; of alternatives, the complaint of the one that came closest."""
    while error.context:
        error = min(error.context, key=lambda one: -len(one.absolute_path))
    return f"{error.json_path}: {error.message[:300]}"
