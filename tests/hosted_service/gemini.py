"""`generateContent` and its kin: Google's protocol to what is asked, and the answer back."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from starlette.responses import JSONResponse, Response

from .answering import Scores, answer, prompt_tokens
from .asking import Asked, Declared, Refused, Said, Token, count, token_id
from .models import Traits, thinking_tokens, traits
from .names import camel
from .times import rfc3339

__all__ = ["Shelf", "count_tokens", "generate", "generated", "read", "stream"]

_ROLES = {"user": "user", "model": "assistant", "function": "function", "": "user"}
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "call": "STOP"}
_IMAGE_TOKENS = 258
_BYTES_PER_AUDIO_TOKEN = 1_250  # 32 tokens a second, 40 kB a second


class Shelf(Protocol):
    """What answering needs beside the request."""

    def tuned(self, endpoint: str) -> tuple[str, Scores]:
        """The base of a tuned model, and what it makes of a prompt."""
        ...

    def prefix(self, name: str) -> Mapping[str, Any]:
        """A kept prefix as it was created, and its tokens."""
        ...


def generate(body: Mapping[str, Any], model: str, shelf: Shelf, outcome: str = "") -> Response:
    """The answer to one request; `model` is a path: of a model, or of an endpoint."""
    return JSONResponse(generated(camel(body), model, shelf, outcome))


def stream(body: Mapping[str, Any], model: str, shelf: Shelf, outcome: str = "") -> Response:
    """The same in events, the last with the usage."""
    whole = generated(camel(body), model, shelf, outcome)
    events = "".join(f"data: {json.dumps(event)}\n\n" for event in _events(whole))
    return Response(events, media_type="text/event-stream")


def count_tokens(body: Mapping[str, Any], *, developer: bool) -> Response:
    asked = camel(body)
    asked = asked.get("generateContentRequest", asked)
    total = prompt_tokens(read(asked, traits("gemini-3.5-flash")))
    found: dict[str, Any] = {
        "totalTokens": total,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": total}],
    }
    if not developer:
        found["totalBillableCharacters"] = len(json.dumps(asked.get("contents", "")))
    return JSONResponse(found)


def generated(
    body: Mapping[str, Any], model: str, shelf: Shelf, outcome: str = ""
) -> dict[str, Any]:
    """A GenerateContentResponse for a request whose keys are camelCase."""
    scores: Scores | None = None
    base = model.rpartition("models/")[2]
    if "/endpoints/" in model:
        base, scores = shelf.tuned(model)
    kind = traits(base)
    kept: Mapping[str, Any] = {}
    if name := body.get("cachedContent"):
        kept = shelf.prefix(name)
        _check_kept(body, kept, base)
        body = {
            **body,
            "contents": [*kept.get("contents", []), *body.get("contents", [])],
            "systemInstruction": kept.get("systemInstruction"),
        }
    asked = read(body, kind)
    if outcome:
        return _without_answer(outcome, asked, base)
    said = answer(asked, closer=kind.closer, tuned=scores)
    cached = kept.get("usageMetadata", {}).get("totalTokenCount", 0)
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": _parts(said)},
        "finishReason": _FINISH[said.finish],
        "index": 0,
    }
    config = body.get("generationConfig", {})
    if config.get("responseLogprobs") and said.tokens:
        candidate |= _logprobs(said.tokens)
    found = {
        "candidates": [candidate],
        "usageMetadata": _usage(asked, said, cached),
        "modelVersion": base,
        "responseId": uuid.uuid4().hex[:16],
    }
    return found | ({"createTime": rfc3339(time.time())} if "/locations/" in model else {})


def read(body: Mapping[str, Any], kind: Traits) -> Asked:
    """What a request asks for; raises Refused as the service would."""
    config = body.get("generationConfig", {}) or {}
    if not body.get("contents"):
        raise Refused(400, "* GenerateContentRequest.contents: contents is not specified")
    texts: list[tuple[str, str]] = []
    media: dict[str, int] = {}
    for content in body["contents"]:
        role = _ROLES.get(content.get("role", "user"))
        if role is None:
            raise Refused(400, "Please use a valid role: user, model.")
        parts = content.get("parts", [])
        if any("functionResponse" in part for part in parts):
            role = "function"
        texts.append((role, "".join(_text(part) for part in parts)))
        for part in parts:
            for modality, tokens in _media(part).items():
                media[modality] = media.get(modality, 0) + tokens
    system = "".join(_text(p) for p in (body.get("systemInstruction") or {}).get("parts", []))
    choices, schema, overhead = _form(config)
    declared, mode = _functions(body)
    return Asked(
        model=kind.name,
        system=system,
        turns=tuple(texts),
        choices=choices,
        schema=schema,
        json=config.get("responseMimeType") == "application/json",
        max_tokens=config.get("maxOutputTokens"),
        stop=tuple(config.get("stopSequences", ())),
        temperature=config.get("temperature", 0.0),
        seed=config.get("seed"),
        functions=declared,
        calling=mode,
        thinking=thinking_tokens(kind, config.get("thinkingConfig") or {}),
        top_logprobs=_top(config, kind),
        media=media,
        overhead=overhead + sum(count(f"{d.name}{d.description}{d.parameters}") for d in declared),
    )


def _text(part: Mapping[str, Any]) -> str:
    if "functionResponse" in part:
        return json.dumps(part["functionResponse"].get("response", {}))
    if "functionCall" in part:
        return json.dumps(part["functionCall"])
    return "" if part.get("thought") else str(part.get("text", ""))


def _media(part: Mapping[str, Any]) -> dict[str, int]:
    blob = part.get("inlineData") or part.get("fileData")
    if not blob:
        return {}
    kind = str(blob.get("mimeType", "")).partition("/")[0]
    if kind == "audio":
        return {"AUDIO": max(1, len(blob.get("data", "")) * 3 // 4 // _BYTES_PER_AUDIO_TOKEN)}
    modality = {"image": "IMAGE", "video": "VIDEO"}.get(kind, "DOCUMENT")
    return {modality: _IMAGE_TOKENS}


def _form(config: Mapping[str, Any]) -> tuple[tuple[str, ...], Mapping[str, Any] | None, int]:
    schema = config.get("responseSchema") or config.get("responseJsonSchema")
    if schema is None:
        return (), None, 0
    if config.get("responseMimeType") == "text/x.enum":
        return tuple(schema.get("enum", ())), None, count(json.dumps(schema))
    if config.get("responseMimeType") != "application/json":
        raise Refused(
            400, "response_schema is only supported with response_mime_type application/json"
        )
    return (), schema, count(json.dumps(schema))


def _functions(body: Mapping[str, Any]) -> tuple[tuple[Declared, ...], Any]:
    declared = tuple(
        Declared(
            item["name"],
            item.get("description", ""),
            item.get("parameters") or item.get("parametersJsonSchema") or {},
        )
        for tool in body.get("tools") or []
        for item in tool.get("functionDeclarations", [])
    )
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig", {})
    allowed = calling.get("allowedFunctionNames")
    if allowed:
        declared = tuple(item for item in declared if item.name in allowed)
    mode = str(calling.get("mode", "AUTO")).lower()
    return declared, mode if mode in ("any", "none") else "auto"


def _top(config: Mapping[str, Any], kind: Traits) -> int:
    if not config.get("responseLogprobs"):
        if config.get("logprobs"):
            raise Refused(400, "logprobs is only allowed when response_logprobs is true")
        return 0
    if not kind.logprobs:
        raise Refused(400, f"Logprobs is not enabled for models/{kind.name}")
    top = int(config.get("logprobs") or 0)
    if top > 20:
        raise Refused(400, "logprobs must be in the range [0, 20]")
    return max(1, top)


def _check_kept(body: Mapping[str, Any], kept: Mapping[str, Any], base: str) -> None:
    if any(body.get(name) for name in ("systemInstruction", "tools", "toolConfig")):
        raise Refused(
            400,
            "CachedContent can not be used with GenerateContent request setting "
            "system_instruction, tools or tool_config.",
        )
    if kept["model"].rpartition("/")[2] != base:
        raise Refused(
            400, f"Model used by GenerateContent request ({base}) and CachedContent differ"
        )


# --- the answer in Google's words ---------------------------------------------------------------


def _parts(said: Said) -> list[dict[str, Any]]:
    if said.calls:
        return [
            {
                "functionCall": {
                    "id": f"call-{uuid.uuid4().hex[:8]}",
                    "name": call.name,
                    "args": dict(call.arguments),
                },
                "thoughtSignature": "c2lnbmVk",
            }
            for call in said.calls
        ]
    return [{"text": said.text}] if said.tokens else []


def _usage(asked: Asked, said: Said, cached: int) -> dict[str, Any]:
    media = dict(asked.media)
    details = [{"modality": "TEXT", "tokenCount": said.prompt_tokens - sum(media.values())}]
    details += [{"modality": name, "tokenCount": tokens} for name, tokens in media.items()]
    usage: dict[str, Any] = {
        "promptTokenCount": said.prompt_tokens,
        "candidatesTokenCount": said.said_tokens,
        "totalTokenCount": said.prompt_tokens + said.said_tokens + said.thought_tokens,
        "promptTokensDetails": details,
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": said.said_tokens}],
    }
    if said.thought_tokens:
        usage["thoughtsTokenCount"] = said.thought_tokens
    if cached:
        usage["cachedContentTokenCount"] = cached
        usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": cached}]
    return usage


def _logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    total = sum(token.logprob for token in tokens)
    return {
        "avgLogprobs": total / len(tokens),
        "logprobsResult": {
            "chosenCandidates": [_candidate(token.text, token.logprob) for token in tokens],
            "topCandidates": [
                {"candidates": [_candidate(text, value) for text, value in token.top]}
                for token in tokens
            ],
        },
    }


def _candidate(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "tokenId": token_id(text), "logProbability": logprob}


def _without_answer(outcome: str, asked: Asked, base: str) -> dict[str, Any]:
    spent = prompt_tokens(asked)
    usage = {"promptTokenCount": spent, "totalTokenCount": spent}
    found: dict[str, Any] = {"usageMetadata": usage, "modelVersion": base}
    if outcome == "blocked":
        return {"promptFeedback": {"blockReason": "SAFETY"}, **found}
    return {"candidates": [{"finishReason": "OTHER", "index": 0}], **found}


def _events(whole: dict[str, Any]) -> list[dict[str, Any]]:
    candidates = whole.get("candidates") or [{}]
    parts = candidates[0].get("content", {}).get("parts", [])
    text = parts[0].get("text") if len(parts) == 1 else None
    if not text or "logprobsResult" in candidates[0]:
        return [whole]
    pieces = [text[at : at + 12] for at in range(0, len(text), 12)]
    events = []
    for piece in pieces[:-1]:
        content = {"role": "model", "parts": [{"text": piece}]}
        events.append(
            {
                "candidates": [{"content": content, "index": 0}],
                "modelVersion": whole["modelVersion"],
                "responseId": whole["responseId"],
            }
        )
    last = {**candidates[0], "content": {"role": "model", "parts": [{"text": pieces[-1]}]}}
    return [*events, {**whole, "candidates": [last]}]
