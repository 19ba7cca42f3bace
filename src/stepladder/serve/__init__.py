"""The server: what a caller asks, what a served model gives back, and why a call is refused.

These nouns are the common ground of the protocols. `openai/` and `gemini/` turn wire bodies into an
`Ask` and events back into wire bodies; `answering.py` stands between them and the models with keys,
limits, metrics, traces and traffic. Nothing here knows a wire format.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from ..core import Call, Citation, Function, Json, Message, Usage
from ..errors import StepladderError
from ..models.live import Sampling

__all__ = [
    "Ask", "Caller", "EmbedAsk", "Embedded", "End", "Event", "ModelCard", "Piece", "Reason",
    "Refusal", "Role", "ServedModel", "Spoken", "Totals",
]  # fmt: skip

Role = Literal["use", "tune", "admin"]
Reason = Literal[
    "invalid", "unauthenticated", "forbidden", "not_found", "conflict", "too_large",
    "rate_limited", "busy", "timeout", "unavailable", "unsupported", "internal",
]  # fmt: skip

STATUS: Mapping[Reason, int] = {
    "invalid": 400, "unauthenticated": 401, "forbidden": 403, "not_found": 404, "conflict": 409,
    "too_large": 413, "rate_limited": 429, "busy": 429, "timeout": 504, "unavailable": 503,
    "unsupported": 400, "internal": 500,
}  # fmt: skip


class Refusal(StepladderError):
    """A call that is not answered; each protocol tells it in its own form.

    `param` names the field of the request that is at fault, as the caller spelled it. `detail` is
    said of two cases that some protocols have a word of their own for: a prompt that is longer than
    the model's context, and a key whose budget is spent.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        hint: str = "",
        param: str | None = None,
        retry_after_seconds: float | None = None,
        detail: Literal["", "context_length", "budget"] = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.detail = detail

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.reason]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the id of the key (never the key) and what it may do.

    Each role may do what the one before it may: use models, tune them, see everything.
    """

    id: str
    role: Role


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants said, whichever protocol it came in.

    Either `messages`, or for a plain completion `prompt`, which no chat template is put around.
    None is "the caller did not say": the model's own default applies. `given` has the names of all
    fields that the caller set, as spelled, so that a model which does not use one can say so.
    The first `kept_messages` of the messages come from a cached prefix.
    """

    model: str
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    max_output_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    n: int = 1
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Json] | None = None
    any_json: bool = False  # any JSON object will do
    choices: tuple[str, ...] = ()
    functions: tuple[Function, ...] = ()
    function_choice: Literal["auto", "none", "required"] = "auto"
    allowed_functions: tuple[str, ...] = ()  # with "required": only these; empty: all
    parallel_calls: bool = True
    top_logprobs: int | None = None  # as in `models.live.Prompt`
    thinking_tokens: int | None = None
    kept_messages: int = 0
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Spoken:
    """A token as the caller sees it; log-probabilities are natural logarithms.

    `data` are the token's own bytes: a character may take several tokens, and then `text` of the
    earlier ones is empty or a replacement character. A negative `id` is no token's: a whole label.
    """

    id: int
    text: str
    data: bytes
    logprob: float
    top: tuple[Spoken, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of candidate `index`: more text, its tokens where asked for, or whole calls."""

    index: int
    text: str = ""
    tokens: tuple[Spoken, ...] = ()
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """Candidate `index` is complete; `citations` are the passages that all of it cites."""

    index: int
    finish: Literal["stop", "length", "calls"]
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class Totals:
    """The last event of an answer: what all its candidates took together.

    Prompt tokens count once for all candidates. `ignored` are the fields of `Ask.given` that this
    model did not use; the server names them in a response header. `failure` says that a bundle
    could not read what its model said, so that the text is that and no answer of its task.
    """

    usage: Usage
    calls: tuple[Usage, ...] = ()  # what underlying models were asked, for the price
    dollars: float | None = None
    ignored: tuple[str, ...] = ()
    failure: str = ""


Event = Piece | End | Totals


@dataclass(frozen=True, slots=True)
class EmbedAsk:
    """What a caller wants embedded, and in how many dimensions where it says so.

    Without `cut_long`, a text that is longer than the model reads is refused.
    """

    model: str
    texts: Sequence[str]
    dimensions: int | None = None
    cut_long: bool = True


@dataclass(frozen=True)
class Embedded:
    """One vector of `float` per text, the tokens of each that were read, and if it has more."""

    vectors: Sequence[Sequence[float]]
    tokens: Sequence[int]
    cut: Sequence[bool]


@dataclass(frozen=True)
class ModelCard:
    """What is told about a served model.

    `kind`: "base" (weights or a service), "tuned" (an adapter on a base), "bundle" (a whole
    solver, which takes only the input), "encoder" (embeds). `version` changes whenever the same
    name would answer differently: a bundle's id, a fingerprint.
    """

    name: str
    kind: Literal["base", "tuned", "bundle", "encoder"]
    created_at: datetime
    version: str = ""
    title: str = ""
    description: str = ""
    base: str | None = None
    context_tokens: int | None = None
    most_output_tokens: int | None = None
    dimensions: int | None = None
    inputs: tuple[str, ...] = ("text",)  # or "image", "audio", "video", "document"
    owner: str | None = None  # the caller who tuned it; None: everybody's
    facts: Mapping[str, Json] = field(default_factory=dict)


@runtime_checkable
class ServedModel(Protocol):
    """A model that many callers use at once.

    A model that can may also have `embed(ask) -> Embedded` (async), `tokens(ask) -> list
    of (id, bytes)` and `keep(messages)` (async), which computes a prefix ahead of its use.
    """

    card: ModelCard

    def generate(self, ask: Ask) -> AsyncIterator[Event]:
        """The answer as it is made. Closing the iterator frees its place in the engine.

        Raises Refusal for what this model cannot do, before the first event.
        """
        ...

    async def count_tokens(self, ask: Ask) -> int:
        """How many input tokens this would be."""
        ...
