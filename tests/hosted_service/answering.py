"""The learner's answer in the form that was asked for, token by token, with what it cost."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from .asking import Asked, Called, Declared, Said, Token, count, cut
from .learner import Prompt, bare, log_shares, read_prompt, score, words

__all__ = ["Scores", "answer", "prompt_tokens"]

Scores = Callable[[Prompt], Mapping[str, float]]  # log probability of each answer


@dataclass(frozen=True)
class _Piece:
    """Text of an answer, and what else it could have been (log probability of each)."""

    text: str
    instead_of: Mapping[str, float] | None = None


def prompt_tokens(asked: Asked) -> int:
    """Text by the token rule of `asking.py`, three tokens for each turn, media as given."""
    texts = count(asked.system) + sum(count(text) + 3 for _, text in asked.turns)
    return texts + sum(asked.media.values()) + asked.overhead


def answer(asked: Asked, *, closer: bool, tuned: Scores | None = None) -> Said:
    """What the model says. With `tuned` scores the labels and examples of the prompt do nothing."""
    prompt = read_prompt(asked)
    spent = prompt_tokens(asked)
    thought = min(asked.thinking, 8 + count(prompt.question)) if asked.thinking else 0
    if asked.max_tokens is not None:
        thought = min(thought, asked.max_tokens)
    if asked.functions and asked.calling != "none" and (call := _call(asked, prompt)):
        return Said((), "call", spent, thought, (call,))
    if tuned is not None:
        scores = dict(tuned(prompt))
        if asked.choices:
            scores = log_shares({c: scores.get(c, -20.0) for c in asked.choices})
    else:
        scores = score(prompt, closer=closer or thought > 0)
    pieces = list(_pieces(asked, prompt, scores))
    tokens = tuple(token for piece in pieces for token in _tokens(piece, asked.top_logprobs))
    tokens, finish = _within(tokens, asked, thought)
    return Said(tokens, finish, spent, thought)


def _pieces(asked: Asked, prompt: Prompt, scores: Mapping[str, float]) -> Iterator[_Piece]:
    schema = asked.schema or _shown_schema(asked.system)
    if schema is not None:
        yield from _filled(schema, prompt, _Drawn(asked, scores), name="answer")
        return
    if scores:
        label = _pick(asked, scores)
        form = _form(asked)
        yield _Piece(form[0])
        yield _Piece(label, scores)
        yield _Piece(form[1])
    elif asked.json:
        yield _Piece(json.dumps({"answer": _extract(prompt)}, ensure_ascii=False))
    else:
        yield _Piece(_extract(prompt))


def _form(asked: Asked) -> tuple[str, str]:
    """What stands around a label: the JSON of the examples or of JSON mode, else nothing."""
    for role, text in asked.turns:
        if role == "assistant" and bare(text) != text:
            (key,) = json.loads(text)
            return f'{{"{key}": "', '"}'
    if asked.json or "json only" in asked.system.lower():
        return '{"label": "', '"}'
    return "", ""


@dataclass(frozen=True)
class _Drawn:
    asked: Asked
    scores: Mapping[str, float]


def _pick(asked: Asked, scores: Mapping[str, float]) -> str:
    """The most probable at temperature 0; else drawn, by the seed or by what was asked."""
    if asked.temperature <= 0:
        return max(scores, key=lambda name: (scores[name], name))
    flat = log_shares({name: value / asked.temperature for name, value in scores.items()})
    text = repr((asked.seed, asked.system, asked.turns))
    draw = random.Random(hashlib.blake2b(text.encode(), digest_size=8).digest())
    weights = [math.exp(value) for value in flat.values()]
    return draw.choices(list(flat), weights)[0]


def _shown_schema(system: str) -> Mapping[str, Any] | None:
    """A JSON schema that stands in the instructions."""
    at = re.search(r"schema[^\n]*:\s*\n(\{.*)", system, re.DOTALL | re.IGNORECASE)
    if at is None:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(at[1])
    except ValueError:
        return None
    return value if isinstance(value, dict) and "properties" in value else None


# --- an answer that fits a schema ---------------------------------------------------------------


def _filled(
    schema: Mapping[str, Any], prompt: Prompt, drawn: _Drawn, *, name: str
) -> Iterator[_Piece]:
    """A value of the schema made of what the input says."""
    kind = _kind(schema)
    if "enum" in schema:
        yield from _chosen(tuple(map(str, schema["enum"])), prompt, drawn, name)
    elif kind == "object":
        yield _Piece("{")
        for place, (key, inner) in enumerate(dict(schema.get("properties", {})).items()):
            yield _Piece(f"{', ' if place else ''}{json.dumps(key)}: ")
            yield from _filled(inner, prompt, drawn, name=key)
        yield _Piece("}")
    elif kind == "array":
        yield _Piece("[")
        if int(schema.get("minItems", 0) or 0) > 0 or _mentions(prompt, name):
            yield from _filled(schema.get("items", {}), prompt, drawn, name=name)
        yield _Piece("]")
    elif kind in ("integer", "number"):
        found = re.search(r"\d+", prompt.question)
        yield _Piece(found[0].lstrip("0") or "0" if found else "0")
    elif kind == "boolean":
        yield _Piece("true" if _mentions(prompt, name) else "false")
    else:
        yield _Piece(json.dumps(_extract(prompt, name), ensure_ascii=False))


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = next(item for item in kind if item != "null")
    return str(kind).lower()


def _chosen(values: tuple[str, ...], prompt: Prompt, drawn: _Drawn, name: str) -> Iterator[_Piece]:
    scores = {value: drawn.scores[value] for value in values if value in drawn.scores}
    if len(scores) < len(values):
        scores = score(replace(prompt, labels=tuple((v, "") for v in values)), closer=False)
    yield _Piece('"')
    yield _Piece(_pick(drawn.asked, scores), scores)
    yield _Piece('"')


def _mentions(prompt: Prompt, name: str) -> bool:
    return bool(set(words(name.replace("_", " "))) & set(words(prompt.question)))


def _extract(prompt: Prompt, about: str = "") -> str:
    """The sentence of the input that shares most words with what is asked for."""
    if not about and prompt.examples:
        near = score(
            replace(prompt, labels=tuple((a, "") for _, a in prompt.examples)), closer=True
        )
        return max(near, key=lambda name: near[name])
    sentences = re.split(r"(?<=[.!?\n])\s+", prompt.question.strip()) or [""]
    asked_for = set(words(about.replace("_", " ") or prompt.instructions))
    return max(sentences, key=lambda sentence: len(asked_for & set(words(sentence))))


# --- functions ----------------------------------------------------------------------------------


def _call(asked: Asked, prompt: Prompt) -> Called | None:
    """The function whose words fit the input best; none fits when it may also just answer."""
    if asked.turns and asked.turns[-1][0] == "function":
        return None
    best, most = asked.functions[0], 0
    said = set(words(prompt.question))
    for function in asked.functions:
        shared = len(said & set(words(f"{function.name.replace('_', ' ')} {function.description}")))
        if shared > most:
            best, most = function, shared
    if not most and asked.calling == "auto":
        return None
    return Called(best.name, _arguments(best, prompt))


def _arguments(function: Declared, prompt: Prompt) -> Mapping[str, Any]:
    schema = {**function.parameters, "type": "object"}
    nobody = _Drawn(Asked("", "", ()), {})
    text = "".join(piece.text for piece in _filled(schema, prompt, nobody, name=function.name))
    arguments: Mapping[str, Any] = json.loads(text)
    return arguments


# --- tokens -------------------------------------------------------------------------------------


def _tokens(piece: _Piece, top: int) -> Iterator[Token]:
    """The tokens of a piece. Each has the share of what it could still be, given those before.

    So the log probabilities of a label's tokens add up to that of the label, unless another label
    begins with it. Nobody is told them (`top` is 0): then they are not worked out.
    """
    if piece.instead_of is None or not top:
        yield from (Token(token, 0.0, ((token, 0.0),)) for token in cut(piece.text))
        return
    left = {cut(name): value for name, value in piece.instead_of.items()}
    said = cut(piece.text)
    for place, token in enumerate(said):
        shares: dict[str, float] = {}
        for name, value in left.items():
            following = name[place] if place < len(name) else ""
            shares[following] = shares.get(following, 0.0) + math.exp(value)
        total = sum(shares.values()) or 1.0
        ranked = sorted(shares.items(), key=lambda item: -item[1])[: max(1, top)]
        named = tuple((name, _log(share / total)) for name, share in ranked if name)
        yield Token(token, _log(shares[token] / total), named)
        left = {n: v for n, v in left.items() if place < len(n) and n[place] == token}


def _log(share: float) -> float:
    return math.log(max(share, 1e-30))


def _within(
    tokens: tuple[Token, ...], asked: Asked, thought: int
) -> tuple[tuple[Token, ...], Literal["stop", "length"]]:
    """Ended before a stop sequence, and at the most tokens allowed, thinking among them."""
    text = "".join(token.text for token in tokens)
    ends = [at for stop in asked.stop if stop and (at := text.find(stop)) >= 0]
    if ends:
        tokens = _until(tokens, min(ends))
    if asked.max_tokens is not None and len(tokens) + thought > asked.max_tokens:
        return tokens[: max(0, asked.max_tokens - thought)], "length"
    return tokens, "stop"


def _until(tokens: tuple[Token, ...], end: int) -> tuple[Token, ...]:
    kept, at = [], 0
    for token in tokens:
        if at + len(token.text) > end:
            if end > at:
                kept.append(replace(token, text=token.text[: end - at]))
            break
        kept.append(token)
        at += len(token.text)
    return tuple(kept)
