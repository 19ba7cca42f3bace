"""Calls as a model writes them without a form of its own for them: a JSON list, under a schema.

What the model is told of the functions is for `solvers/calling.py`, what runs for `running.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..core import Call, Function, Json, Response
from ..models.local.functions import calls_schema
from .calls import calls_in

__all__ = ["list_schema", "read_list"]

_NO_CALLS = {"type": "array", "maxItems": 0}


def list_schema(functions: Sequence[Function]) -> Mapping[str, Json]:
    """The schema of a list of calls of these functions, which may be empty.

    Raises:
        ValueError: a function's parameters are no schema.
    """
    return {**calls_schema(functions), "minItems": 0} if functions else _NO_CALLS


def read_list(response: Response) -> Response | None:
    """The answer with the calls that its text lists; None where the text is no such list."""
    try:
        calls = calls_in(json.loads(response.text))
    except ValueError:
        return None
    return replace(
        response,
        calls=tuple(
            Call(one["name"], one["arguments"], f"call_{place}") for place, one in enumerate(calls)
        ),
    )
