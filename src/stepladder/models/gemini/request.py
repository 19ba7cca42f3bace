"""A `Request` as the arguments of the SDK's call. Nothing asked for is dropped: it is refused."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from google.genai import types

from ...catalogue import ModelFacts
from ...core import Function, Message, Request
from ...errors import ModelError
from ..hosted.api import PrefixCache
from .contents import to_contents
from .quick import Config
from .thinking import thinking_config, tokens_for_thoughts

__all__ = ["Asked", "Traits", "can_go_on", "continued", "to_asked", "to_cached"]


_NO_CALLS_OF_ITS_OWN = types.AutomaticFunctionCallingConfig(disable=True)


@dataclass(frozen=True)
class Traits:
    """What of a model shapes a request: its name, the facts known, and whether it is tuned."""

    model: str  # provider:name
    facts: ModelFacts | None = None
    tuned: bool = False

    @property
    def signed_calls(self) -> bool:
        """Gemini 3, which brought levels of thinking, also insists on signatures of its calls."""
        return self.facts is not None and self.facts.thinking == "level"


@dataclass(frozen=True)
class Asked:
    """The contents and the configuration of one call."""

    contents: list[types.Content]
    config: types.GenerateContentConfig


def to_asked(
    request: Request, traits: Traits, folder: Path | None, cache: PrefixCache | None = None
) -> Asked:
    """What the SDK is called with; raises ModelError for what the model or service cannot do.

    A tuned model that is told nothing of thinking thinks as little as it can, as in its training.
    The turns that `cache` holds are not sent again.
    """
    _check(request, traits, cache)
    sent = request.messages[cache.turns :] if cache else request.messages
    system, contents = to_contents(sent, folder, signed_calls=traits.signed_calls)
    if not contents:
        raise ModelError("a request has no turn but the system's", hint="add a user's turn")
    thinking = request.thinking_tokens
    if thinking is None and traits.tuned:
        thinking = 0
    most = _output_tokens(request, traits.facts, thinking)
    set_already = _numbers(request.temperature, most, request.seed, request.stop, request.logprob)
    config = set_already.model_copy(
        update={
            "system_instruction": system,
            "thinking_config": thinking_config(traits.model, traits.facts, thinking),
            "tools": to_tools(request.functions),
            "cached_content": cache.name if cache else None,
        }
    )
    _constrain(config, request)
    return Asked(contents, config)


@lru_cache(100)
def _numbers(
    temperature: float, most_tokens: int, seed: int, stop: tuple[str, ...], logprob: bool
) -> Config:
    """Settings that thousands of requests share: the SDK takes 30 us to look at them. To copy."""
    return Config(
        temperature=temperature,
        max_output_tokens=most_tokens,
        seed=seed % 2**31,  # all that the service takes
        stop_sequences=list(stop) or None,
        response_logprobs=logprob or None,
        automatic_function_calling=_NO_CALLS_OF_ITS_OWN,
        should_return_http_response=True,  # read in `response.py`
    )


def can_go_on() -> bool:
    """Whether this version of the SDK can ask for the rest of an answer that was broken off."""
    return "continuation_token" in types.GenerateContentConfig.model_fields


def continued(asked: Asked, token: str) -> Asked:
    """The call for that rest."""
    config = asked.config.model_copy()
    config.continuation_token = base64.urlsafe_b64decode(token)
    return Asked(asked.contents, config)


def to_cached(
    prefix: Sequence[Message], seconds: int, folder: Path | None, traits: Traits
) -> types.CreateCachedContentConfig:
    """What the SDK is called with to keep a prefix for so many seconds."""
    system, contents = to_contents(prefix, folder, signed_calls=traits.signed_calls)
    return types.CreateCachedContentConfig(
        ttl=f"{seconds}s",
        display_name="stepladder",
        system_instruction=system,
        contents=list(contents) or None,
    )


def to_tools(functions: Sequence[Function]) -> types.ToolListUnion | None:
    """The functions that the model may call, as one tool."""
    if not functions:
        return None
    declarations = [
        types.FunctionDeclaration(
            name=function.name,
            description=function.description or function.name,  # one is required
            parameters_json_schema=dict(function.parameters) or None,
        )
        for function in functions
    ]
    return [types.Tool(function_declarations=declarations)]


def _check(request: Request, traits: Traits, cache: PrefixCache | None) -> None:
    if request.score_choices:
        raise ModelError(
            f"{traits.model!r} cannot give the probability of an answer it did not generate",
            hint='use scoring = "none" with hosted models',
        )
    if request.schema is not None and request.choices:
        raise ModelError("a request has both a schema and choices", hint="use one of them")
    facts = traits.facts
    if facts is not None and (request.schema is not None or request.choices) and not facts.schema:
        raise ModelError(
            f"{traits.model!r} may not be asked with a response schema",
            hint="use constrained = false; a tuned model was taught the form of its answers",
        )
    if facts is not None and request.logprob and not facts.logprobs:
        raise ModelError(
            f"{traits.model!r} does not report log-probabilities",
            hint="use with_confidence = false",
        )
    if cache and request.functions:
        raise ModelError(
            "functions cannot be sent along with a kept prefix", hint='use cache = "off"'
        )
    if cache and any(message.role == "system" for message in request.messages[cache.turns :]):
        raise ModelError(
            "a system turn comes after the kept prefix, where the service has no place for it",
            hint="put what the system says first",
        )


def _constrain(config: types.GenerateContentConfig, request: Request) -> None:
    if request.choices:
        config.response_mime_type = "text/x.enum"
        config.response_schema = types.Schema(type=types.Type.STRING, enum=list(request.choices))
    elif request.schema is not None:
        config.response_mime_type = "application/json"
        config.response_json_schema = dict(request.schema)


def _output_tokens(request: Request, facts: ModelFacts | None, thinking: int | None) -> int:
    wanted = request.max_output_tokens + tokens_for_thoughts(facts, thinking)
    most = facts.output_tokens if facts else None
    return wanted if most is None else min(wanted, most)
