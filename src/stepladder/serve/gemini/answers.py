"""Events as Gemini tells them: `GenerateContentResponse`, whole or in chunks. Pure.

The Developer API and Vertex differ in a few fields: only the former sums log-probabilities, only
the latter says when the response was made and which traffic it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ...core import Call, Citation, Json, Usage
from .. import End, ModelCard, Piece, Spoken, Totals
from ..answering import Whole
from ..citing import address
from .own import rfc3339

__all__ = [
    "Api",
    "Chunks",
    "Frame",
    "as_json",
    "to_response",
    "token_details",
    "version_of",
]

Api = Literal["gemini", "vertex"]
FINISH = {"stop": "STOP", "calls": "STOP", "length": "MAX_TOKENS"}
LEAST = -3.4028234663852886e38  # the least number of 32 bits: JSON knows no infinity


@dataclass(frozen=True, slots=True)
class Frame:
    """What every message of one response says of it."""

    api: Api
    id: str
    version: str
    created_at: datetime

    def around(self, candidates: list[Json], totals: Totals | None = None) -> dict[str, Json]:
        """A message with these candidates, and with the usage once it is known."""
        message: dict[str, Json] = {"candidates": candidates}
        if totals is not None:
            message["usageMetadata"] = _usage(totals.usage, self.api)
        message["modelVersion"] = self.version
        if self.api == "vertex":
            message["createTime"] = rfc3339(self.created_at)
        message["responseId"] = self.id
        return message


def to_response(whole: Whole, frame: Frame) -> dict[str, Json]:
    """The whole response."""
    candidates: list[Json] = []
    for index, one in enumerate(whole.candidates):
        candidate = _candidate(index, one.text, one.calls)
        candidate["finishReason"] = FINISH[one.finish]
        if one.tokens:
            candidate["avgLogprobs"] = _finite(_sum(one.tokens) / len(one.tokens))
            candidate["logprobsResult"] = _logprobs(one.tokens, frame.api)
        if one.citations:
            candidate["groundingMetadata"] = _grounding(one.citations, one.text)
        candidates.append(candidate)
    return frame.around(candidates, whole.totals)


@dataclass
class Chunks:
    """Makes the messages of a stream out of events; the last one has the usage.

    An end is told with the next event, so that it and the usage come in one message.
    """

    frame: Frame
    _ends: list[End] = field(default_factory=list)
    _sums: dict[int, tuple[float, int]] = field(default_factory=dict)
    _texts: dict[int, list[str]] = field(default_factory=dict)

    def tell(self, event: Piece | End | Totals) -> dict[str, Json] | None:
        """The next message, if there is something to tell."""
        if isinstance(event, End):
            told = self._told() if self._ends else None
            self._ends.append(event)
            return told
        if isinstance(event, Totals):
            return self._told(event)
        candidate = _candidate(event.index, event.text, event.calls)
        self._texts.setdefault(event.index, []).append(event.text)
        if event.tokens:
            total, count = self._sums.get(event.index, (0.0, 0))
            self._sums[event.index] = total + _sum(event.tokens), count + len(event.tokens)
            candidate["logprobsResult"] = _logprobs(event.tokens, self.frame.api)
        return self.frame.around([candidate])

    def _told(self, totals: Totals | None = None) -> dict[str, Json]:
        candidates: list[Json] = []
        for end in self._ends:
            candidate = _candidate(end.index, "", ())
            candidate["finishReason"] = FINISH[end.finish]
            if end.index in self._sums:
                total, count = self._sums[end.index]
                candidate["avgLogprobs"] = _finite(total / count)
            if end.citations:
                text = "".join(self._texts.get(end.index, []))
                candidate["groundingMetadata"] = _grounding(end.citations, text)
            candidates.append(candidate)
        self._ends.clear()
        return self.frame.around(candidates, totals)


def version_of(card: ModelCard) -> str:
    """A name that changes whenever the model would answer differently."""
    return f"{card.name}@{card.version}" if card.version else card.name


def token_details(count: int) -> list[Json]:
    """The tokens by modality; there is only text here."""
    return [{"modality": "TEXT", "tokenCount": count}]


def as_json(value: Json) -> bytes:
    """JSON as it goes out."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _candidate(index: int, text: str, calls: Sequence[Call]) -> dict[str, Json]:
    parts: list[Json] = [{"text": text}] if text or not calls else []
    parts += [_call(call) for call in calls]
    return {"content": {"role": "model", "parts": parts}, "index": index}


def _grounding(citations: Sequence[Citation], text: str) -> dict[str, Json]:
    """The passages that the whole text cites; a segment's end is counted in bytes."""
    chunks = [
        {"retrievedContext": {"uri": address(one), "title": one.title or one.source,
                              "text": one.text}}
        for one in citations
    ]  # fmt: skip
    segment = {"endIndex": len(text.encode()), "text": text}
    support = {"segment": segment, "groundingChunkIndices": list(range(len(chunks)))}
    return {"groundingChunks": chunks, "groundingSupports": [support]}


def _call(call: Call) -> dict[str, Json]:
    told: dict[str, Json] = {"name": call.name, "args": dict(call.arguments)}
    if call.id:
        told["id"] = call.id
    part: dict[str, Json] = {"functionCall": told}
    if call.signature:
        part["thoughtSignature"] = call.signature
    return part


def _logprobs(tokens: Sequence[Spoken], api: Api) -> dict[str, Json]:
    told: dict[str, Json] = {"chosenCandidates": [_token(one) for one in tokens]}
    if any(one.top for one in tokens):
        told["topCandidates"] = [{"candidates": [_token(top) for top in one.top]} for one in tokens]
    if api == "gemini":
        told["logProbabilitySum"] = _finite(_sum(tokens))
    return told


def _token(token: Spoken) -> dict[str, Json]:
    id = {"tokenId": token.id} if token.id >= 0 else {}
    return {"token": token.text, **id, "logProbability": _finite(token.logprob)}


def _sum(tokens: Sequence[Spoken]) -> float:
    return sum(token.logprob for token in tokens)


def _finite(logprob: float) -> float:
    return max(logprob, LEAST)


def _usage(usage: Usage, api: Api) -> dict[str, Json]:
    """The tokens of a call; those of thinking are told apart from the answer's."""
    told: dict[str, Json] = {}
    if usage.input_tokens is not None:
        told["promptTokenCount"] = usage.input_tokens
        told["promptTokensDetails"] = token_details(usage.input_tokens)
    if usage.cached_tokens:
        told["cachedContentTokenCount"] = usage.cached_tokens
        told["cacheTokensDetails"] = token_details(usage.cached_tokens)
    if usage.output_tokens is not None:
        thought = usage.thinking_tokens or 0
        told["candidatesTokenCount"] = usage.output_tokens - thought
        told["candidatesTokensDetails"] = token_details(usage.output_tokens - thought)
        if thought:
            told["thoughtsTokenCount"] = thought
    if usage.input_tokens is not None and usage.output_tokens is not None:
        told["totalTokenCount"] = usage.input_tokens + usage.output_tokens
    if api == "vertex":
        told["trafficType"] = "ON_DEMAND"
    return told
