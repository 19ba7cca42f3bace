"""A `generateContent` request as an `Ask`: every field is used, without effect, or refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...core import Function, Json, Message
from ...models.live import Sampling
from .. import Ask, Refusal
from ..media import TEXT_ONLY
from .contents import to_messages
from .schema import checked_schema, to_json_schema
from .tools import to_choice, to_functions

__all__ = ["DEFAULTS", "Kept", "ask_for_count", "to_ask", "to_kept"]

# what Google documents for its models where the caller does not say
DEFAULTS = Sampling(temperature=1.0, top_p=0.95, top_k=64)
MOST_CANDIDATES = 8
MOST_STOPS = 5
MOST_LOGPROBS = 20
LEVELS: Mapping[str, int] = {"MINIMAL": 0, "LOW": 2048, "MEDIUM": 8192, "HIGH": 24576}  # tokens
IN_PREFIX = ("systemInstruction", "tools", "toolConfig")


@dataclass(frozen=True)
class Kept:
    """What a kept prefix (`cachedContent`) says before the request does."""

    model: str
    messages: tuple[Message, ...] = ()
    functions: tuple[Function, ...] = ()
    tool_config: Mapping[str, Json] | None = None


def to_kept(model: str, body: Mapping[str, Json], inputs: frozenset[str] = TEXT_ONLY) -> Kept:
    """The turns and functions of a prefix, from the fields that it shares with a request."""
    return Kept(
        model,
        to_messages(body.get("contents", ()), body.get("systemInstruction"), inputs=inputs),
        to_functions(body.get("tools", ())),
        body.get("toolConfig"),
    )


def to_ask(
    model: str,
    body: Mapping[str, Json],
    kept: Kept | None = None,
    given: Iterable[str] = (),
    inputs: frozenset[str] = TEXT_ONLY,
) -> Ask:
    """What the body, as read by the form `GENERATE`, asks of `model`, which reads `inputs`.

    Raises:
        Refusal: Something is malformed, out of range, or contradicts itself or the prefix.
    """
    config = body.get("generationConfig", {})
    if not body.get("contents"):
        raise Refusal("invalid", "'contents' is missing or empty", param="contents")
    own = to_kept(model, body, inputs)
    if kept is not None:
        _check_kept(kept, body)
    before = kept.messages if kept else ()
    functions = kept.functions if kept else own.functions
    choice = to_choice(functions, kept.tool_config if kept else own.tool_config)
    return Ask(
        model,
        (*before, *own.messages),
        max_output_tokens=_within(config, "maxOutputTokens", 1, 2**31),
        sampling=_sampling(config),
        n=_within(config, "candidateCount", 1, MOST_CANDIDATES) or 1,
        stop=_stops(config),
        functions=choice.functions,
        function_choice=choice.mode,
        allowed_functions=choice.allowed,
        top_logprobs=_top_logprobs(config),
        thinking_tokens=_thinking(config.get("thinkingConfig", {})),
        kept_messages=len(before),
        given=frozenset(given),
        **_form(config),
    )


def ask_for_count(model: str, body: Mapping[str, Json]) -> Ask:
    """What the tokens of a `countTokens` body are counted of."""
    if not body.get("contents"):
        raise Refusal("invalid", "'contents' is missing or empty", param="contents")
    own = to_kept(model, body)
    return Ask(model, own.messages, functions=own.functions)


def _check_kept(kept: Kept, body: Mapping[str, Json]) -> None:
    for name in IN_PREFIX:
        if name in body:
            raise Refusal(
                "invalid",
                f"{name!r} cannot be given beside 'cachedContent'",
                hint="make it a part of the cached content",
                param=name,
            )


def _sampling(config: Mapping[str, Json]) -> Sampling:
    temperature = _within(config, "temperature", 0, 2)
    top_p = _within(config, "topP", 0, 1)
    top_k = _within(config, "topK", 1, 2**31)
    if top_k is not None and not float(top_k).is_integer():
        raise _out_of_range("topK", "a whole number", top_k)
    if top_p == 0:  # only the most probable token is left
        temperature, top_p = 0.0, 1.0
    seed = config.get("seed")
    return Sampling(
        temperature=DEFAULTS.temperature if temperature is None else temperature,
        top_p=DEFAULTS.top_p if top_p is None else top_p,
        top_k=DEFAULTS.top_k if top_k is None else int(top_k),
        presence_penalty=_within(config, "presencePenalty", -2, 2) or 0.0,
        frequency_penalty=_within(config, "frequencyPenalty", -2, 2) or 0.0,
        seed=None if seed is None else seed % 2**32,  # engines want it not negative
    )


def _stops(config: Mapping[str, Json]) -> tuple[str, ...]:
    stops = tuple(config.get("stopSequences", ()))
    if len(stops) > MOST_STOPS or "" in stops:
        raise _out_of_range("stopSequences", f"up to {MOST_STOPS} texts that are not empty", stops)
    return stops


def _top_logprobs(config: Mapping[str, Json]) -> int | None:
    top = _within(config, "logprobs", 0, MOST_LOGPROBS)
    if not config.get("responseLogprobs"):
        if top is not None:
            raise _out_of_range("logprobs", "left out without 'responseLogprobs': true", top)
        return None
    return top or 0


def _thinking(config: Mapping[str, Json]) -> int | None:
    budget, level = config.get("thinkingBudget"), config.get("thinkingLevel")
    if budget is not None and level is not None:
        raise Refusal(
            "invalid",
            "'thinkingBudget' and 'thinkingLevel' cannot go together",
            param="generationConfig.thinkingConfig",
        )
    if budget is not None:
        if budget < -1:
            raise _out_of_range("thinkingConfig.thinkingBudget", "-1 or more", budget)
        return None if budget == -1 else int(budget)  # -1: as the model likes
    return LEVELS.get(level) if level else None


def _form(config: Mapping[str, Json]) -> dict[str, Any]:
    """The form that the answer is held to: `schema`, `choices` or `any_json` of the `Ask`."""
    for modality in config.get("responseModalities", ()):
        if modality not in ("TEXT", "MODALITY_UNSPECIFIED"):
            raise Refusal(
                "unsupported",
                f"the models here write text, not {modality}",
                param="generationConfig.responseModalities",
            )
    if "responseFormat" in config:
        return _text_format(config)
    media_type = config.get("responseMimeType") or "text/plain"
    dialect, own = config.get("responseSchema"), _own_schema(config)
    if dialect is not None and own is not None:
        raise Refusal(
            "invalid",
            "'responseSchema' and 'responseJsonSchema' cannot go together",
            param="generationConfig.responseJsonSchema",
        )
    schema = own
    if dialect is not None:
        schema = to_json_schema(dialect, "generationConfig.responseSchema")
    if media_type == "application/json":
        return {"any_json": True} if schema is None else {"schema": schema}
    if media_type == "text/x.enum":
        return {"choices": _choices(schema)}
    if media_type != "text/plain":
        raise _out_of_range(
            "responseMimeType", "text/plain, application/json or text/x.enum", media_type
        )
    if schema is not None:
        raise _out_of_range(
            "responseMimeType", "application/json where there is a schema", media_type
        )
    return {}


def _own_schema(config: Mapping[str, Json]) -> dict[str, Json] | None:
    for name in ("responseJsonSchema", "_responseJsonSchema"):
        if name in config:
            return checked_schema(config[name], f"generationConfig.{name}")
    return None


def _text_format(config: Mapping[str, Json]) -> dict[str, Any]:
    """The newer way to say the form of text."""
    place = "generationConfig.responseFormat"
    for name in ("responseMimeType", "responseSchema", "responseJsonSchema"):
        if name in config:
            raise Refusal(
                "invalid", f"{name!r} cannot go together with 'responseFormat'", param=place
            )
    texts = [one["text"] for one in config["responseFormat"] if "text" in one]
    if len(texts) > 1:
        raise Refusal("invalid", "'responseFormat' names text twice", param=place)
    text = texts[0] if texts else {}
    schema = text.get("schema")
    if text.get("mimeType") == "APPLICATION_JSON":
        if schema is None:
            return {"any_json": True}
        return {"schema": checked_schema(schema, f"{place}.text.schema")}
    if schema is not None:
        raise Refusal(
            "invalid", "a schema needs the mimeType APPLICATION_JSON", param=f"{place}.text"
        )
    return {}


def _choices(schema: Mapping[str, Json] | None) -> tuple[str, ...]:
    choices = (schema or {}).get("enum")
    if not choices or not all(isinstance(one, str) and one for one in choices):
        raise _out_of_range(
            "responseSchema", "a STRING with an 'enum' where text/x.enum is asked for", schema
        )
    return tuple(dict.fromkeys(choices))


def _within(config: Mapping[str, Json], name: str, low: float, high: float) -> Any:
    value = config.get(name)
    if value is not None and not low <= value <= high:
        raise _out_of_range(name, f"from {low} to {high}", value)
    return value


def _out_of_range(name: str, wanted: str, value: Json) -> Refusal:
    return Refusal(
        "invalid",
        f"'generationConfig.{name}' has to be {wanted}, not {str(value)[:80]!r}",
        param=f"generationConfig.{name}",
    )
