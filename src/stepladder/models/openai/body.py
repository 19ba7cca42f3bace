"""A request as the body of a chat completion. Pure, but for the files that messages name.

What an endpoint cannot do is refused here, before anything is sent. Nothing is altered silently: a
schema goes out as it is, strict where OpenAI's rules for strict schemas allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...catalogue import ModelFacts
from ...core import Function, Json, Request
from ...errors import ModelError
from .endpoints import Endpoint
from .strict import allows_strict
from .turns import turns

__all__ = ["CHOICE", "chat_body", "served_name"]

CHOICE = "label"  # the one field of an answer that is held to a list of choices
ROOM_FOR_FIELD = 16  # tokens that {"label": ""} takes around the choice, with room to spare
EFFORTS = ((2048, "low"), (8192, "medium"))  # thinking up to so many tokens; more is "high"


def served_name(model: str) -> str:
    """What the service calls the model: of `base@tuned` the tuned one."""
    base, _, tuned = model.partition("@")
    return tuned if base and tuned else model


def chat_body(
    endpoint: Endpoint,
    model: str,
    request: Request,
    facts: ModelFacts | None = None,
    folder: Path | None = None,
) -> dict[str, Json]:
    """The JSON body of one call for `model` (its name without the provider).

    Raises:
        ModelError: The endpoint or the model cannot do what the request asks.
    """
    _check(endpoint, request, facts)
    body: dict[str, Json] = {
        "model": served_name(model),
        "messages": turns(request.messages, endpoint, folder),
        endpoint.output_limit: _limit(request, endpoint),
        **_sampling(endpoint, request, facts),
        **_form(endpoint, request, served_name(model)),
        **_thinking(endpoint, model, request, facts),
    }
    if request.stop:
        body["stop"] = list(request.stop)
    if request.functions:
        body["tools"] = [_tool(function) for function in request.functions]
    if request.logprob:
        body["logprobs"] = 1 if endpoint.logprobs == "count" else True
    if body.keys() & {"response_format", "tools", "logprobs"}:
        body |= endpoint.insists
    return body


def _check(endpoint: Endpoint, request: Request, facts: ModelFacts | None) -> None:
    formed = request.schema is not None or bool(request.choices)
    if request.score_choices:
        raise ModelError(
            f"{endpoint.name!r} generates answers and cannot score given ones",
            hint="let it generate: scoring = 'none'",
        )
    if request.schema is not None and request.choices:
        raise ModelError("a request has both a schema and choices", hint="use one of them")
    asked = {
        "logprobs": request.logprob,
        "functions": bool(request.functions),
        "schema": formed,
        "stop": bool(request.stop),
    }
    for feature, wanted in asked.items():
        if wanted and feature in endpoint.refuses:
            raise ModelError(
                f"{endpoint.name!r} has no {feature}, as far as known on {endpoint.read_on}",
                hint="leave it out, or say otherwise in your endpoints.toml",
            )
    if facts is None:
        return
    for feature, wanted in (("logprobs", facts.logprobs), ("schema", facts.schema)):
        if asked[feature] and not wanted:
            raise ModelError(
                f"{facts.model!r} has no {feature}, as far as known on {facts.read_on}",
                hint="leave it out, or say otherwise in your models.toml",
            )


def _limit(request: Request, endpoint: Endpoint) -> int:
    """What the answer may be long, and what is thought and written around it besides."""
    framed = request.choices and endpoint.choices == "schema"
    around = ROOM_FOR_FIELD if framed else 0
    return request.max_output_tokens + around + (request.thinking_tokens or 0)


def _sampling(endpoint: Endpoint, request: Request, facts: ModelFacts | None) -> dict[str, Json]:
    """Temperature and seed; a model that thinks by level takes no temperature but its own."""
    chosen: dict[str, Json] = {}
    if facts is None or facts.thinking != "level":
        chosen["temperature"] = request.temperature
    elif request.temperature not in (0.0, 1.0):
        raise ModelError(
            f"{facts.model!r} thinks, and takes no temperature", hint="leave temperature at 0"
        )
    if "seed" not in endpoint.leaves_out:
        chosen["seed"] = request.seed
    return chosen


def _form(endpoint: Endpoint, request: Request, served: str) -> dict[str, Json]:
    tuned = served.startswith("ft:")
    if request.schema is not None:
        return {"response_format": _held_to(request.schema, tuned)}
    if not request.choices:
        return {}
    if endpoint.choices == "structured_outputs":
        return {"structured_outputs": {"choice": list(request.choices)}}
    field = {"type": "string", "enum": list(request.choices)}
    return {
        "response_format": _held_to(
            {
                "type": "object",
                "properties": {CHOICE: field},
                "required": [CHOICE],
                "additionalProperties": False,
            },
            tuned,
        )
    }


def _held_to(schema: Mapping[str, Json], tuned: bool) -> dict[str, Json]:
    strict = allows_strict(schema, tuned=tuned)
    described = {"name": "answer", "schema": schema, "strict": strict}
    return {"type": "json_schema", "json_schema": described}


def _thinking(
    endpoint: Endpoint, model: str, request: Request, facts: ModelFacts | None
) -> dict[str, Json]:
    """How the wish to think so much is said; a model that does not think keeps any bound."""
    wished = request.thinking_tokens
    able = endpoint.effort or endpoint.no_thinking is not None
    if wished is None or not able or (facts is not None and facts.thinking == "none"):
        return {}
    if wished == 0 and (facts is None or facts.least_thinking is None):
        if endpoint.no_thinking is None:
            raise _unknown_thinking(endpoint, model, "how to keep it from thinking")
        return dict(endpoint.no_thinking)
    if not endpoint.effort:
        raise _unknown_thinking(endpoint, model, "how to bound its thinking")
    if wished == 0 and facts is not None:
        return {"reasoning_effort": str(facts.least_thinking)}
    return {"reasoning_effort": next((e for most, e in EFFORTS if wished <= most), "high")}


def _unknown_thinking(endpoint: Endpoint, model: str, what: str) -> ModelError:
    return ModelError(
        f"nothing is known of {endpoint.name + ':' + model!r} that tells {what}",
        hint="leave thinking_tokens out, or say in your models file how it thinks",
    )


def _tool(function: Function) -> dict[str, Json]:
    described: dict[str, Any] = {"name": function.name}
    if function.description:
        described["description"] = function.description
    if function.parameters:
        described["parameters"] = function.parameters
    return {"type": "function", "function": described}
