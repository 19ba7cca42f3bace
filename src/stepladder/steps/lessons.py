"""From labelled failures to sentences that may prevent them: a wording made from train.

`diagnose.py` says what kind of failure each is; with the examples at hand a sentence can also name
the labels that were confused or the fields that were missed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping

from ..core import Json, Task
from ..diagnose import kind_of_failure
from ..solvers.prompt import PromptSolver, render_input
from .measure import Attempt

__all__ = ["lessons"]

_MOST_CONFUSIONS = 5
_MOST_FIELDS = 4
_QUOTE = 160  # characters of an example that a sentence quotes
_OFTEN = 0.1  # a kind of failure in this share of the sample earns a sentence

_STOP = "Stop as soon as the answer is complete."
_LABEL = "Write one of the listed labels exactly as it is spelled, and no other words."
_JSON = "Write one JSON value and nothing else: no explanation, no code fence, no repeat."
_SENTENCES: Mapping[str, str] = {
    "empty": "Always give an answer.",
    "cut off": _STOP,
    "too long": _STOP,
    "does not fit the schema": "Use the keys of the schema, spelled as they are, and no others.",
    "label outside the set": _LABEL,
    "text not in the source": (
        "Copy values word for word from the text; never write what is not in it."
    ),
}
_UNPARSED = {"json": _JSON, "label": _LABEL, "text": "Write the answer itself."}


def lessons(task: Task, attempt: Attempt) -> tuple[str, ...]:
    """Corrective sentences for the failures of this attempt, for frequent kinds only."""
    solver = attempt.solver
    if not isinstance(solver, PromptSolver):
        return ()
    enough = max(1.0, _OFTEN * len(attempt.examples))
    rows = zip(attempt.examples, attempt.outputs, attempt.counts, strict=True)
    kinds = Counter(kind_of_failure(task, *row) for row in rows)
    known = {**_SENTENCES, "did not parse": _UNPARSED[solver.output_format]}
    sentences = [text for kind, text in known.items() if kinds[kind] >= enough]
    if solver.labels:
        sentences += _confusions(attempt)
    elif solver.output_format == "json":
        sentences += _fields(attempt, enough)
    return tuple(dict.fromkeys(sentences))


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


def _quote(text: str) -> str:
    return json.dumps(text if len(text) <= _QUOTE else text[:_QUOTE] + "…", ensure_ascii=False)
