"""An answer of the service as a `Response`: its text or calls, why it ended, what it is billed for.

Read from the service's own JSON. The SDK would build its types of it first, which takes a quarter
of the time that a call computes, and Python computes for one call at a time.

The service leaves out counters that are zero, so a counter missing from a usage report is 0; only
a report that is missing altogether, or has no prompt count, leaves the usage unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.genai.errors import UnknownApiResponseError

from ...core import Call, Json, Request, Response, Tier, Usage

__all__ = ["continuation_of", "joined", "to_response"]

_PLAIN = (None, "FINISH_REASON_UNSPECIFIED", "STOP")
_STANDARD = (None, "unspecified", "traffic_type_unspecified", "on_demand", "standard")
_COUNTERS = (
    "promptTokenCount", "toolUsePromptTokenCount", "thoughtsTokenCount", "candidatesTokenCount",
    "totalTokenCount", "cachedContentTokenCount",
)  # fmt: skip


def to_response(answer: Json, request: Request, model: str, tier: Tier = "standard") -> Response:
    """The answer to `request`; one that was blocked, cut before any text, or empty has `error`.

    Raises UnknownApiResponseError for JSON that is not of the form of an answer.
    """
    try:
        return _response(answer, request, model, tier)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UnknownApiResponseError(f"not of the form of an answer: {error}") from error


def continuation_of(answer: Json) -> str | None:
    """What to send in order to get the rest of an answer that the service broke off."""
    if not isinstance(answer, dict) or not isinstance(answer.get("candidates"), list):
        return None
    first = next(iter(answer["candidates"]), None)
    if not isinstance(first, dict) or first.get("finishReason") != "CONTINUATION":
        return None
    token = first.get("continuationToken")
    return token if isinstance(token, str) and token else None


def joined(answers: Sequence[Json]) -> Json:
    """An answer that came in several: the parts one after another, the counters added up.

    A candidate is broken off only after it said something, so each answer but the last has one.
    """
    *earlier, last = answers
    if not earlier:
        return last
    candidate, usage = dict(_first(last) or {}), dict(last.get("usageMetadata") or {})
    parts: list[Json] = []
    for answer in answers:
        parts += ((_first(answer) or {}).get("content") or {}).get("parts") or []
    for name in _COUNTERS:
        counts = [(answer.get("usageMetadata") or {}).get(name) for answer in answers]
        if any(count is not None for count in counts):
            usage[name] = sum(_count(count) or 0 for count in counts)
    if details := [
        detail
        for answer in answers
        for detail in (answer.get("usageMetadata") or {}).get("promptTokensDetails") or []
    ]:
        usage["promptTokensDetails"] = details
    candidate["content"] = {"role": "model", "parts": parts}
    candidate.pop("logprobsResult", None)  # of the last part only, and so not the answer's
    return {**last, "candidates": [candidate], "usageMetadata": usage}


def _response(answer: Json, request: Request, model: str, tier: Tier) -> Response:
    if not isinstance(answer, dict):
        raise TypeError(f"a {type(answer).__name__}, not an object")
    usage = _usage(answer.get("usageMetadata"), request, model, tier)
    candidate = _first(answer)
    if candidate is None:
        return Response("", usage, finish="error", error=_no_candidate(answer))
    text, calls = _said(candidate)
    if error := _fault(candidate, bool(text or calls), usage):
        return Response("", usage, finish="error", error=error)
    return Response(
        text,
        usage,
        finish="length" if candidate.get("finishReason") == "MAX_TOKENS" else "stop",
        logprob=_logprob(candidate) if request.logprob else None,
        calls=calls,
    )


def _first(answer: Mapping[str, Json]) -> Mapping[str, Json] | None:
    candidates = answer.get("candidates") or []
    if not isinstance(candidates, list):
        raise TypeError("'candidates' is not a list")
    return candidates[0] if candidates else None


def _usage(report: Json, request: Request, model: str, tier: Tier) -> Usage:
    """What the call consumed, by the service's own report."""
    counts = {name: _count((report or {}).get(name)) for name in _COUNTERS}
    prompt = counts["promptTokenCount"]
    tier = _tier(report or {}, tier)
    if prompt is None:
        return Usage(model, tier=tier)
    read = prompt + (counts["toolUsePromptTokenCount"] or 0)
    thought = counts["thoughtsTokenCount"] or 0
    if counts["candidatesTokenCount"] is not None:
        written: int | None = counts["candidatesTokenCount"] + thought
    elif counts["totalTokenCount"] is not None:
        written = counts["totalTokenCount"] - read
    else:
        written = None
    return Usage(
        model,
        input_tokens=read,
        output_tokens=written,
        cached_tokens=counts["cachedContentTokenCount"] or 0,
        thinking_tokens=thought,
        audio_tokens=_audio_tokens(report.get("promptTokensDetails"), request),
        tier=tier,
    )


def _tier(report: Mapping[str, Json], asked: Tier) -> Tier:
    """The tier that is billed: a project may be served in one (priority, provisioned) unasked."""
    told = (report.get("trafficType"), report.get("serviceTier"))
    if asked == "standard" and any(_lower(one) not in _STANDARD for one in told):
        return "other"
    return asked


def _lower(value: Json) -> str | None:
    return None if value is None else str(value).lower()


def _count(value: Json) -> int | None:
    """A number of tokens; the service may write it as text."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{value!r} is not a number of tokens")
    return int(value)


def _audio_tokens(details: Json, request: Request) -> int | None:
    if details is not None:
        return sum(
            _count(one.get("tokenCount")) or 0 for one in details if one.get("modality") == "AUDIO"
        )
    parts = [part for m in request.messages if not isinstance(m.content, str) for part in m.content]
    return None if any(part.kind in ("audio", "video") for part in parts) else 0


def _said(candidate: Mapping[str, Json]) -> tuple[str, tuple[Call, ...]]:
    parts = (candidate.get("content") or {}).get("parts") or []
    text = "".join(part["text"] for part in parts if part.get("text") and not part.get("thought"))
    return text, tuple(_call(part) for part in parts if part.get("functionCall"))


def _call(part: Mapping[str, Any]) -> Call:
    call = part["functionCall"]
    arguments = call.get("args") or {}
    if not isinstance(arguments, dict):
        raise TypeError("the arguments of a call are not an object")
    return Call(
        name=str(call.get("name") or ""),
        arguments=arguments,
        id=str(call.get("id") or ""),
        signature=str(part.get("thoughtSignature") or ""),
    )


def _fault(candidate: Mapping[str, Json], said: bool, usage: Usage) -> str | None:
    """Why the candidate is not an answer, or None."""
    reason = candidate.get("finishReason")
    if reason in _PLAIN:
        return None if said else "the model said nothing"
    if reason == "MAX_TOKENS":
        return None if said else _cut_while_thinking(usage)
    if reason == "CONTINUATION":  # and no token to go on with
        return "the service broke the answer off in its middle (CONTINUATION)"
    told = candidate.get("finishMessage")
    return f"the service withheld the answer ({reason})" + (f": {told}" if told else "")


def _cut_while_thinking(usage: Usage) -> str:
    took = usage.thinking_tokens
    thinking = f": thinking took {took} of them" if took else ""
    return f"the answer was cut at the limit of output tokens before it began{thinking}"


def _no_candidate(answer: Mapping[str, Json]) -> str:
    feedback = answer.get("promptFeedback") or {}
    if not feedback.get("blockReason"):
        return "the service gave no answer and no reason"
    told = feedback.get("blockReasonMessage")
    return f"the service blocked the prompt ({feedback['blockReason']})" + (
        f": {told}" if told else ""
    )


def _logprob(candidate: Mapping[str, Json]) -> float | None:
    result = candidate.get("logprobsResult")
    if result is None:
        return None
    if result.get("logProbabilitySum") is not None:
        return float(result["logProbabilitySum"])
    chosen = [token.get("logProbability") for token in result.get("chosenCandidates") or []]
    known = [float(value) for value in chosen if value is not None]
    return sum(known) if chosen and len(known) == len(chosen) else None
