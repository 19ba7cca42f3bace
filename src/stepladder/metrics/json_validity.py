"""Share of answers that are JSON, and of the shape the task asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from ..core import Counts, Example, Json, Output
from ..errors import StepladderError
from .text import failed, whole

__all__ = ["JsonValidity"]


@dataclass(frozen=True)
class JsonValidity:
    """Right when the answer is JSON and fits `schema` (by default the task's; none: any JSON).

    An answer that the solver has already parsed is checked as it is; a string is read as JSON text
    first. What is expected plays no part. A failed answer is wrong.
    """

    schema: Mapping[str, Json] | None = None
    name = "json_validity"
    scale: ClassVar[Literal["binary"]] = "binary"

    def __post_init__(self) -> None:
        if self.schema is not None:
            _validator(json.dumps(self.schema, sort_keys=True))

    def score(self, example: Example, output: Output) -> Counts:
        if failed(output):
            return whole(0.0)
        value = output.value
        if isinstance(value, str):
            try:
                value = json.loads(value, parse_constant=_refuse)
            except ValueError:
                return whole(0.0)
        if self.schema is None:
            return whole(1.0)
        return whole(_validator(json.dumps(self.schema, sort_keys=True)).is_valid(value))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


@lru_cache(maxsize=8)
def _validator(schema: str) -> Any:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    parsed = json.loads(schema)
    kind = validator_for(parsed)
    try:
        kind.check_schema(parsed)
    except SchemaError as error:
        raise StepladderError(
            f"the answer's JSON schema is not valid at {error.json_path}: {error.message}",
            hint="correct `schema` in the task folder",
        ) from error
    return kind(parsed)
