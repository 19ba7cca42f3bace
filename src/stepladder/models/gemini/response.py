"""An answer of the SDK as a `Response`: its text or calls, why it ended, and what it is billed for.

The service leaves out counters that are zero, so a counter missing from a usage report is 0; only
a report that is missing altogether, or has no prompt count, leaves the usage unknown.
"""

from __future__ import annotations

from google.genai import types

from ...core import Call, Request, Response, Tier, Usage
from .contents import signature_of

__all__ = ["to_response"]


def to_response(
    answer: types.GenerateContentResponse, request: Request, model: str, tier: Tier = "standard"
) -> Response:
    """The answer to `request`; one that was blocked, cut before any text, or empty has `error`."""
    usage = to_usage(answer.usage_metadata, request, model, tier)
    candidate = answer.candidates[0] if answer.candidates else None
    if candidate is None:
        return Response("", usage, finish="error", error=_no_candidate(answer))
    text, calls = _said(candidate)
    if error := _fault(candidate, bool(text or calls), usage):
        return Response("", usage, finish="error", error=error)
    cut = candidate.finish_reason == types.FinishReason.MAX_TOKENS
    return Response(
        text,
        usage,
        finish="length" if cut else "stop",
        logprob=_logprob(candidate) if request.logprob else None,
        calls=calls,
    )


def to_usage(
    report: types.GenerateContentResponseUsageMetadata | None,
    request: Request,
    model: str,
    tier: Tier,
) -> Usage:
    """What the call consumed, by the service's own report."""
    if report is None or report.prompt_token_count is None:
        return Usage(model, tier=tier)
    read = report.prompt_token_count + (report.tool_use_prompt_token_count or 0)
    thought = report.thoughts_token_count or 0
    if report.candidates_token_count is not None:
        written: int | None = report.candidates_token_count + thought
    elif report.total_token_count is not None:
        written = report.total_token_count - read
    else:
        written = None
    return Usage(
        model,
        input_tokens=read,
        output_tokens=written,
        cached_tokens=report.cached_content_token_count or 0,
        thinking_tokens=thought,
        audio_tokens=_audio_tokens(report, request),
        tier=tier,
    )


def _audio_tokens(
    report: types.GenerateContentResponseUsageMetadata, request: Request
) -> int | None:
    if report.prompt_tokens_details is not None:
        return sum(
            detail.token_count or 0
            for detail in report.prompt_tokens_details
            if detail.modality == types.MediaModality.AUDIO
        )
    parts = [part for m in request.messages if not isinstance(m.content, str) for part in m.content]
    return None if any(part.kind in ("audio", "video") for part in parts) else 0


def _said(candidate: types.Candidate) -> tuple[str, tuple[Call, ...]]:
    parts = (candidate.content.parts if candidate.content else None) or []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    calls = tuple(
        Call(
            name=part.function_call.name or "",
            arguments=part.function_call.args or {},
            id=part.function_call.id or "",
            signature=signature_of(part),
        )
        for part in parts
        if part.function_call
    )
    return text, calls


def _fault(candidate: types.Candidate, said: bool, usage: Usage) -> str | None:
    """Why the candidate is not an answer, or None."""
    reason = candidate.finish_reason
    if reason in (None, types.FinishReason.FINISH_REASON_UNSPECIFIED, types.FinishReason.STOP):
        return None if said else "the model said nothing"
    if reason == types.FinishReason.MAX_TOKENS:
        return None if said else _cut_while_thinking(usage)
    if reason.value == "CONTINUATION":  # an SDK before it learned to go on
        return "the service broke the answer off in its middle (CONTINUATION)"
    detail = f": {candidate.finish_message}" if candidate.finish_message else ""
    return f"the service withheld the answer ({reason.value}){detail}"


def _cut_while_thinking(usage: Usage) -> str:
    took = usage.thinking_tokens
    thinking = f": thinking took {took} of them" if took else ""
    return f"the answer was cut at the limit of output tokens before it began{thinking}"


def _no_candidate(answer: types.GenerateContentResponse) -> str:
    feedback = answer.prompt_feedback
    if feedback is None or feedback.block_reason is None:
        return "the service gave no answer and no reason"
    detail = f": {feedback.block_reason_message}" if feedback.block_reason_message else ""
    return f"the service blocked the prompt ({feedback.block_reason.value}){detail}"


def _logprob(candidate: types.Candidate) -> float | None:
    result = candidate.logprobs_result
    if result is None:
        return None
    if result.log_probability_sum is not None:
        return result.log_probability_sum
    chosen = [token.log_probability for token in result.chosen_candidates or []]
    known = [value for value in chosen if value is not None]
    return sum(known) if chosen and len(known) == len(chosen) else None
