"""What goes to a language model and what comes back: the nouns that every provider speaks.

Part of `core.py`'s vocabulary, which re-exports them; imports nothing of stepladder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

__all__ = [
    "Call", "Function", "Json", "Message", "Model", "Part", "Request", "Response", "Tier", "Usage",
]  # fmt: skip

Json = Any  # None, bool, int, float, str, list or dict of these
Tier = Literal["standard", "batch", "other"]  # other: a project's own setting, of unknown price


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message; what is not text is named by `uri` (a path or URI) and `media_type`."""

    kind: Literal["text", "image", "audio", "video", "document"]
    text: str = ""
    uri: str = ""
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that a model may ask for; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A function that a model asks to have called.

    `id` tells parallel calls apart; `signature` is the service's own and goes back unchanged.
    """

    name: str
    arguments: Mapping[str, Json] = field(default_factory=dict)
    id: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    An assistant's turn may hold `calls`. A function's turn is the result of the call `result_of`;
    its content is the result, as JSON or text.
    """

    role: Literal["system", "user", "assistant", "function"]
    content: str | tuple[Part, ...] = ""
    calls: tuple[Call, ...] = ()
    result_of: Call | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or more calls to `model` consumed. None is unknown.

    `input_tokens` includes those read from a cache, `output_tokens` those of thinking: both are
    billed so. `seconds` is the latency of the call, from being admitted to its last token, under
    whatever concurrency it ran; `compute_seconds` is its share of the machine's busy time, so that
    the shares of a batch add up to the batch, and stays None for a model that runs elsewhere. For
    such a model `waited_seconds` is its share of the time that whoever asked waited for answers,
    when they were first given: of all that was asked, the shares add up to that time.
    """

    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None  # of the input tokens, those whose computation was reused
    seconds: float | None = None
    compute_seconds: float | None = None
    thinking_tokens: int | None = None  # of the output tokens
    audio_tokens: int | None = None  # of the input tokens; a request without audio has 0
    cache_write_tokens: float = 0.0  # put into a paid cache on behalf of this call
    cache_token_hours: float = 0.0  # this call's share of keeping them there
    tier: Tier = "standard"
    waited_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What goes to a model.

    `schema` or `choices` constrain the answer's form. With `score_choices` nothing is generated:
    the response carries log P(choice | messages) for each choice. `logprob` asks for the
    probability of what was generated, which costs some engines a tenth of their speed.
    `functions` may be called instead of answering. `thinking_tokens` bounds what the model thinks
    before it answers: 0 is as little as it can, None its own default.
    """

    messages: tuple[Message, ...]
    max_output_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Json] | None = None
    choices: tuple[str, ...] = ()
    score_choices: bool = False
    logprob: bool = False
    functions: tuple[Function, ...] = ()
    thinking_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What comes back from a model. A failed call has `error` and no text."""

    text: str
    usage: Usage
    finish: Literal["stop", "length", "error"] = "stop"
    logprob: float | None = None  # natural log, summed over the generated tokens; when asked for
    choice_logprobs: tuple[float, ...] = ()  # natural log, one per choice
    error: str | None = None
    calls: tuple[Call, ...] = ()


@runtime_checkable
class Model(Protocol):
    """A language model by name, `provider:name`; a tuned one is `provider:base@tuned`.

    A model may also have `stop()`, after which `generate` begins no more calls but still yields
    those under way, since they are paid for; and `fingerprint`, which changes when the same name
    would answer differently.
    """

    name: str

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        """Each answer as it finishes, with the index of its request."""
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """How many input tokens these messages are for this model; hosted ones estimate it."""
        ...
