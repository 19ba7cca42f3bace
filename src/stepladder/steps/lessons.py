"""From labelled failures to sentences that may prevent them: a wording made from train.

Failures are sorted into kinds, as `diagnose.py` does for trials, but with the examples at hand, so
that a sentence can name the labels that were confused or the fields that were missed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping

from ..core import Json
from ..solvers.prompt import PromptSolver, parse, render_input, render_target
from .measure import Attempt, is_right

__all__ = ["lessons"]

_MOST_CONFUSIONS = 5
_MOST_FIELDS = 4
_QUOTE = 160  # characters of an example that a sentence quotes
_OFTEN = 0.1  # a kind of failure in this share of the sample earns a sentence


def lessons(attempt: Attempt) -> tuple[str, ...]:
    """Corrective sentences for the failures of this attempt, the most frequent kinds only."""
    solver = attempt.solver
    if not isinstance(solver, PromptSolver):
        return ()
    enough = max(1.0, _OFTEN * len(attempt.examples))
    kinds = _kinds(attempt, solver)
    sentences = [text for kind, text in _form(solver).items() if kinds[kind] >= enough]
    if solver.labels:
        sentences += _confusions(attempt)
    elif solver.output_format == "json":
        sentences += _fields(attempt, enough)
    return tuple(sentences)


def _form(solver: PromptSolver) -> Mapping[str, str]:
    unparsed = {
        "json": "Write one JSON value and nothing else: no explanation, no code fence, no repeat.",
        "label": "Write one of the listed labels exactly as it is spelled, and no other words.",
        "text": "Write the answer itself, without an introduction.",
    }
    return {
        "empty": "Always give an answer.",
        "unparsed": unparsed[solver.output_format],
        "over_long": "Stop as soon as the answer is complete.",
        "not_in_text": "Copy values word for word from the text; never write what is not in it.",
    }


def _kinds(attempt: Attempt, solver: PromptSolver) -> Counter[str]:
    found: Counter[str] = Counter()
    for example, output, counts in zip(
        attempt.examples, attempt.outputs, attempt.counts, strict=True
    ):
        if output.error is not None or is_right(counts):
            continue
        wanted = render_target(solver, example.expected)
        found["empty"] += not output.text.strip()
        found["unparsed"] += bool(parse(solver, output.text).failure) and bool(output.text.strip())
        found["over_long"] += len(output.text) > 3 * len(wanted) + 40
        if solver.task_kind == "extraction" and output.value is not None:
            source = _source(example.input)
            copied = all(text.casefold() in source for _, text in _leaves(example.expected))
            invented = any(text.casefold() not in source for _, text in _leaves(output.value))
            found["not_in_text"] += copied and invented
    return found


def _confusions(attempt: Attempt) -> list[str]:
    """One sentence for each of the most frequent confusions, with a train example's wording."""
    pairs: Counter[tuple[str, str]] = Counter()
    wording: dict[tuple[str, str], str] = {}
    for example, output in zip(attempt.examples, attempt.outputs, strict=True):
        if isinstance(output.value, str) and output.value != example.expected:
            pair = (str(example.expected), output.value)
            pairs[pair] += 1
            wording.setdefault(pair, _quote(render_input(example.input)))
    return [
        f"Answer {expected!r}, not {answered!r}, to a text such as: {wording[expected, answered]}"
        for (expected, answered), _ in pairs.most_common(_MOST_CONFUSIONS)
    ]


def _fields(attempt: Attempt, enough: float) -> list[str]:
    missed: Counter[str] = Counter()
    added: Counter[str] = Counter()
    for example, output in zip(attempt.examples, attempt.outputs, strict=True):
        if output.value is not None:
            wanted = {path for path, _ in _leaves(example.expected)}
            given = {path for path, _ in _leaves(output.value)}
            missed.update(wanted - given)
            added.update(given - wanted)
    sentences = []
    if names := _names(missed, enough):
        sentences.append(f"Look in particular for {names}.")
    if names := _names(added, enough):
        sentences.append(f"Leave out {names} unless the text states it.")
    return sentences


def _names(paths: Counter[str], enough: float) -> str:
    most = [path for path, times in paths.most_common(_MOST_FIELDS) if path and times >= enough]
    return ", ".join(repr(path) for path in most)


def _leaves(value: Json, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, text) of every text in the answer; lists do not add to the path."""
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield from _leaves(inside, f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _leaves(inside, path)
    elif isinstance(value, str) and value:
        yield path, value


def _source(input: Json) -> str:
    return render_input(input).casefold()


def _quote(text: str) -> str:
    return json.dumps(text if len(text) <= _QUOTE else text[:_QUOTE] + "…", ensure_ascii=False)
