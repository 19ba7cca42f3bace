"""The body of a chat completion as an `Ask`: every field is used, harmless, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...core import Json
from .. import Ask
from .fields import Fields, metadata, wrong
from .messages import Media, read_messages
from .names import served_name
from .sampling import (
    COMMON,
    MOST_CANDIDATES,
    read_count,
    read_sampling,
    read_stop,
    read_usage,
)  # fmt: skip
from .tools import Functions, check_schema, read_functions

__all__ = ["Chat", "read_chat"]

# accepted and told nowhere: notes, accounts and keys of caches change no answer
HARMLESS = frozenset({
    "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "prediction", "modalities", "verbosity",
})  # fmt: skip
KNOWN = COMMON | HARMLESS | {
    "messages", "max_completion_tokens", "logprobs", "top_logprobs", "response_format", "tools",
    "tool_choice", "parallel_tool_calls", "functions", "function_call", "reasoning_effort",
    "audio", "web_search_options", "structured_outputs",
}  # fmt: skip
# tokens of thinking; a model that does not think says that it ignores them
EFFORTS: Mapping[str, int] = {
    "none": 0, "minimal": 512, "low": 2048, "medium": 8192, "high": 24576, "xhigh": 65536,
}  # fmt: skip
TIERS = ("auto", "default", "flex", "scale", "priority")


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat completion: what is asked of the model `name`, and how the answer is told."""

    name: str
    ask: Ask
    stream: bool = False
    usage: bool = False
    legacy_functions: bool = False


async def read_chat(body: Fields, media: Media) -> Chat:
    """What the body asks.

    Raises:
        Refusal: A field is unknown, malformed, or asks for what no model here can do.
    """
    body.known(KNOWN)
    _check_harmless(body)
    functions = read_functions(body)
    stream = body.flag("stream") is True
    effort = body.one_of("reasoning_effort", tuple(EFFORTS))
    name = body.needed_text("model")
    ask = Ask(
        served_name(name),
        await read_messages(body, media),
        max_output_tokens=_limit(body),
        sampling=read_sampling(body),
        n=body.whole("n", 1, MOST_CANDIDATES) or 1,
        stop=read_stop(body),
        functions=functions.functions,
        function_choice=functions.choice,
        allowed_functions=functions.allowed,
        parallel_calls=functions.parallel,
        top_logprobs=_top_logprobs(body),
        thinking_tokens=None if effort is None else EFFORTS[effort],
        given=frozenset(name for name, value in body.given.items() if value is not None),
    )
    usage = read_usage(body, stream=stream)
    return Chat(name, _formed(body, ask, functions), stream, usage, functions.legacy)


def _limit(body: Fields) -> int | None:
    newer, older = read_count(body, "max_completion_tokens"), read_count(body, "max_tokens")
    if newer is not None and older is not None:
        raise body.fault("max_tokens", "cannot go together with 'max_completion_tokens'")
    return older if newer is None else newer


def _top_logprobs(body: Fields) -> int | None:
    asked = body.flag("logprobs")
    top = body.whole("top_logprobs", 0, 20)
    if top is not None and not asked:
        raise body.fault("top_logprobs", "is of use only with 'logprobs': true")
    return (top or 0) if asked else None


def _formed(body: Fields, ask: Ask, functions: Functions) -> Ask:
    """With the form that the answer is held to."""
    form = body.inner("response_format")
    outputs = body.inner("structured_outputs")
    if outputs is not None:
        if form is not None or functions.functions:
            raise body.fault(
                "structured_outputs", "cannot go together with 'response_format' or functions"
            )
        return replace(ask, choices=_choices(outputs))
    if form is None:
        return ask
    kind = form.one_of("type", ("text", "json_object", "json_schema"))
    if kind is None:
        raise form.missing("type")
    form.known({"type", "json_schema"} if kind == "json_schema" else {"type"})
    if kind == "json_object":
        return replace(ask, any_json=True)
    return replace(ask, schema=_schema(form)) if kind == "json_schema" else ask


def _schema(form: Fields) -> Mapping[str, Json]:
    given = form.needed_inner("json_schema")
    given.known({"name", "description", "schema", "strict"})
    given.needed_text("name")
    given.text("description")
    given.flag("strict")  # an answer always keeps to its schema
    schema = given.needed_inner("schema").given
    check_schema(schema, given, "schema")
    return schema


def _choices(outputs: Fields) -> tuple[str, ...]:
    """The few texts that an answer is held to: a field of vLLM's, since OpenAI has none."""
    outputs.known({"choice"})
    choices = outputs.items("choice", least=1, most=4096)
    if choices is None:
        raise outputs.missing("choice")
    for number, one in enumerate(choices):
        if not isinstance(one, str) or not one:
            raise wrong(f"{outputs.at('choice')}[{number}]", "a string that is not empty", one)
    return tuple(choices)


def _check_harmless(body: Fields) -> None:
    """What changes no answer is still well-formed; what would change one has its default."""
    metadata(body)
    body.flag("store")
    body.one_of("service_tier", TIERS)
    for name in ("user", "safety_identifier", "prompt_cache_key"):
        body.text(name)
    body.one_of("prompt_cache_retention", ("in_memory", "in-memory", "24h"))
    body.inner("prediction")  # what the answer may be, to be faster: never what it has to be
    if body.has("modalities") and body.items("modalities") != ["text"]:
        raise body.fault("modalities", 'has to be ["text"]: the models here write text')
    body.one_of("verbosity", ("low", "medium", "high"))  # the answer's header says: of no effect
    for name in ("audio", "web_search_options"):
        if body.has(name):
            raise body.fault(name, "is not offered by this server", hint="leave it out")
