"""How answers fail, and which next step the failures point to. Pure.

`kind_of_failure` sorts one answer, `diagnose` a trial, `advice` turns a diagnosis into sentences.
It steers what a step proposes and what the report says; it never changes the order of the ladder.

Too slow is not a failure of an answer: latency is part of the target and judged there. The language
of an answer is told by its script alone, because lists of function words are wrong on the short
answers that most tasks have.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .core import Citation, Counts, Diagnosis, Example, Input, Json, Output, Row, Task
from .functions.calls import calls_in
from .knowledge.scoring import GOLD
from .metrics.abstention import absent_of, is_absent
from .metrics.accuracy import known_labels, label_of
from .metrics.groundedness import support
from .metrics.items import Item, Itemise
from .metrics.json_validity import JsonValidity
from .metrics.text import as_text, fold, overlap, references, words

__all__ = ["KINDS", "advice", "diagnose", "form_fails", "kind_of_failure"]

KINDS: Mapping[str, str] = {
    "call failed": "the model or service gave an error instead of an answer",
    "empty": "the answer is empty",
    "cut off": "the answer ended at the limit of output tokens",
    "did not parse": "no answer could be read out of the text",
    "does not fit the schema": "the answer is JSON, but not of the shape that was asked for",
    "label outside the set": "the answer is none of the labels",
    "answered though absent": "the documents do not say it, and an answer was given",
    "answer not in retrieved": "no passage that was shown has the words of the expected answer",
    "refused though present": "a passage that was shown has the answer, and none was given",
    "another passage cited": "a passage that was shown has the answer, and others were cited",
    "wrong label": "the answer is another label",
    "text not in the source": "values should be copied from the input, and one is not in it",
    "inexact items": "the right place with only part of the right words, or with too many",
    "misplaced items": "the right words in the wrong place",
    "missing items": "fewer items than expected",
    "extra items": "more items than expected",
    "wrong items": "other items than expected",
    "no call": "a call was due, and none was made",
    "needless call": "no call was due, and one was made",
    "wrong function": "another function was called",
    "wrong argument": "the right function with other arguments",
    "call not run": "the right function was called, and did not run or failed",
    "other script": "the answer is written in another script than the expected one",
    "too long": "the answer is more than twice as long as the expected one",
    "misread": "a passage that was shown has the answer, and another answer was given",
    "wrong answer": "the answer has a fair form and the wrong content",
}
MOST_CONFUSIONS = 20
WORTH_ADVICE = 0.15  # of the failures
LONGER = 2.0
SLACK_WORDS = 10
HAS_ANSWER = 0.8  # of the expected answer's words, in a passage that is said to have it


def kind_of_failure(task: Task, example: Example, output: Output, counts: Counts) -> str | None:
    """The kind of an answer's failure, one of `KINDS`, or None where it is right.

    Right is a full score; for free text (generation, qa), where a full score is rare, it is a score
    at or above the target. One answer has one kind, the first of those that hold in the order of
    what must be mended first: the call, the form, then the content.
    """
    if output.error is not None:
        return "call failed"
    if _right(task, counts):
        return None
    return (
        _wrong_form(task, output)
        or _wrong_passages(task, example, output)
        or _wrong_content(task, example, output)
    )


def diagnose(rows: Iterable[Row], pairs: Iterable[tuple[Json, Json]] = ()) -> Diagnosis:
    """How often each kind occurs and, of (expected, answered) labels, the commonest mix-ups."""
    kinds: Counter[str] = Counter()
    n = 0
    for row in rows:
        n += 1
        if row.failure is not None:
            kinds[row.failure] += 1
    confused = Counter(
        (as_text(expected), as_text(answered))
        for expected, answered in pairs
        if answered is not None and label_of(expected) != label_of(answered)
    )
    most = sorted(confused.items(), key=lambda item: (-item[1], item[0]))[:MOST_CONFUSIONS]
    return Diagnosis(
        dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0]))),
        tuple((expected, answered, times) for (expected, answered), times in most),
        n,
    )


def advice(diagnosis: Diagnosis, task: Task) -> tuple[tuple[str, str], ...]:
    """(step, sentence) for each kind that makes up a fair share of the failures, commonest first.

    The step is one that can mend this kind, or "" where no step can.
    """
    failures = sum(diagnosis.kinds.values())
    facts = {"form": _form(task), "limit": task.max_output_tokens}
    told = []
    for kind, times in diagnosis.kinds.items():
        if times < WORTH_ADVICE * failures:
            continue
        share = f"{times} of {failures} failures: {KINDS.get(kind, kind)}"
        if kind == "wrong label":
            told += [(step, f"{share}; {what}") for step, what in _about_labels(diagnosis, times)]
        else:
            remedies = _REMEDIES.get(kind, ())
            told += [(step, f"{share}; {what.format(**facts)}") for step, what in remedies]
    return tuple(told)


def form_fails(diagnosis: Diagnosis) -> bool:
    """Whether a fair share of the failures is of form: what constrained decoding rules out."""
    failures = sum(diagnosis.kinds.values())
    of_form = sum(diagnosis.kinds.get(kind, 0) for kind in _OF_FORM)
    return of_form > 0 and of_form >= WORTH_ADVICE * failures


def _form(task: Task) -> str:
    if task.labels:
        return f"the {len(task.labels)} labels"
    return "the schema" if task.schema is not None else "a JSON schema, which the task lacks"


_OF_FORM = ("did not parse", "does not fit the schema", "label outside the set")
_FORM = (("prompt", "constrain the answer to {form}"),)
_CONTENT = (
    ("few_shot", "show examples of the cases that go wrong"),
    ("fine_tune", "train on the labels if examples in the prompt do not settle it"),
)
_REMEDIES: Mapping[str, Sequence[tuple[str, str]]] = {
    "call failed": (("", "see the errors of the rows; no step mends a failing service"),),
    "empty": (("prompt", "ask for an answer in every case, and say what to write if unsure"),),
    "cut off": (("prompt", "raise max_output_tokens above {limit}, or ask for a shorter answer"),),
    "did not parse": _FORM,
    "does not fit the schema": _FORM,
    "label outside the set": _FORM,
    "text not in the source": (
        ("prompt", "say that values are copied word for word from the input"),
        ("fine_tune", "a tuned model learns to copy"),
    ),
    "inexact items": (("few_shot", "show where an item begins and ends"), _CONTENT[1]),
    "misplaced items": (("prompt", "describe each field"), *_CONTENT),
    "missing items": _CONTENT,
    "extra items": _CONTENT,
    "wrong items": _CONTENT,
    "no call": (("prompt", "say when a call is due"), *_CONTENT),
    "needless call": (("prompt", "say when no call is due"), *_CONTENT),
    "call not run": (
        (
            "",
            "see why in the answers: the allow-list, a limit, or the function itself",
        ),
    ),
    "wrong function": (("prompt", "describe when each function is meant"), *_CONTENT),
    "wrong argument": (("prompt", "describe each argument and its format"), *_CONTENT),
    "other script": (("prompt", "name the language of the answer"), _CONTENT[1]),
    "too long": (("few_shot", "show answers of the right length"), _CONTENT[1]),
    "answered though absent": (
        ("prompt", "say what to answer where the documents do not say"),
        ("few_shot", "show questions that the documents do not answer"),
        _CONTENT[1],
    ),
    "answer not in retrieved": (
        ("retrieval", "search otherwise or show more passages, if the documents say it at all"),
    ),
    "refused though present": (("few_shot", "show answers from passages"), _CONTENT[1]),
    "another passage cited": (("retrieval", "show fewer passages, or rank them again"), *_CONTENT),
    "misread": _CONTENT,
    "wrong answer": (
        ("retrieval", "if the answer is not in the input, the model needs documents"),
        _CONTENT[1],
    ),
}


def _about_labels(diagnosis: Diagnosis, times: int) -> Iterator[tuple[str, str]]:
    top = diagnosis.confusions[:3]
    if not top or sum(each[2] for each in top) < max(3, 0.25 * times):
        yield from _CONTENT
        return
    pairs = ", ".join(f"{expected!r} as {answered!r} ({n})" for expected, answered, n in top)
    yield "few_shot", f"the same labels are mixed up again and again, {pairs}: show both sides"
    yield "fine_tune", f"training can draw the line that words do not: {pairs}"


def _right(task: Task, counts: Counts) -> bool:
    got, full = sum(each[1] for each in counts), sum(each[2] for each in counts)
    bar = task.target.score if task.kind in ("generation", "qa") else 1.0
    return got >= bar * full - 1e-9


def _wrong_form(task: Task, output: Output) -> str | None:
    if (output.value is None and not output.text.strip()) or output.value == "":
        return "empty"
    free_text = task.kind in ("generation", "qa")
    if _cut_off(task, output) and (free_text or output.value is None):
        return "cut off"
    if output.value is None:
        return "label outside the set" if task.kind == "classification" else "did not parse"
    if task.schema is not None and not _fits(task.schema, output):
        return "does not fit the schema"
    return None


def _wrong_passages(task: Task, example: Example, output: Output) -> str | None:
    """What went wrong between the documents and the answer; None where it cannot be told."""
    absent = absent_of(task)
    if is_absent(example.expected, absent):
        return None if is_absent(output.value, absent) else "answered though absent"
    if not output.context:
        return None
    if not _has_answer(task, example, output.context):
        return "answer not in retrieved"
    if is_absent(output.value, absent):
        return "refused though present"
    if output.citations and not _has_answer(task, example, output.citations):
        return "another passage cited"
    return None


def _has_answer(task: Task, example: Example, passages: Sequence[Citation]) -> bool:
    """Whether one of them is of a gold document, or has the words of an expected answer.

    A label need not be in any passage: without gold documents nothing is said against them.
    """
    gold = example.metadata.get(GOLD) or ()
    named = {gold} if isinstance(gold, str) else set(map(str, gold))
    if any(one.passage.rpartition("#")[0] in named for one in passages):
        return True
    if task.kind == "classification":
        return not named
    texts = [[one.title, one.text] for one in passages]
    accepted = references(example.expected)
    return any(support(a, t, match="words") >= HAS_ANSWER for a in accepted for t in texts)


def _cut_off(task: Task, output: Output) -> bool:
    written = output.usage[-1].output_tokens if output.usage else None
    return written is not None and written >= task.max_output_tokens


def _fits(schema: Mapping[str, Json], output: Output) -> bool:
    metric = JsonValidity(schema)
    ((_, fits, _),) = metric.score(Example("", "", None), output)
    return fits == 1.0


def _wrong_content(task: Task, example: Example, output: Output) -> str:
    if task.kind == "classification":
        known = known_labels(task.labels)
        inside = not known or label_of(output.value) in known
        return "wrong label" if inside else "label outside the set"
    if task.kind == "calls":
        return _wrong_call(example.expected, output.value)
    if isinstance(example.expected, Mapping) or task.kind == "extraction":
        return _wrong_items(task, example, output.value)
    return _wrong_text(task, example, output)


def _wrong_call(expected: Json, answered: Json) -> str:
    if isinstance(answered, str):  # what was said after all calls
        return "wrong answer"
    wanted, said = calls_in(expected), calls_in(answered)
    if wanted and not said:
        return "no call"
    if not wanted:
        return "needless call"
    if sorted(one["name"] for one in wanted) != sorted(one["name"] for one in said):
        return "wrong function"
    return "wrong argument" if _all_ran(answered) else "call not run"


def _all_ran(answered: Json) -> bool:
    """Whether every call worked; calls that are only predicted count as if they had."""
    calls = answered.get("calls") if isinstance(answered, Mapping) else None
    told = [one.get("state") for one in calls or () if isinstance(one, Mapping)]
    return all(state in (None, "done", "recorded") for state in told)


def _wrong_items(task: Task, example: Example, answered: Json) -> str:
    known = ("list", "type_key", "ignore")
    options = {key: task.metric.options[key] for key in known if key in task.metric.options}
    itemise = Itemise(**options)
    wanted, said = Counter(itemise.items(example.expected)), Counter(itemise.items(answered))
    missing, extra = list((wanted - said).elements()), list((said - wanted).elements())
    source = fold(_text_of(example.input))
    copied = all(text in source for _, text in wanted)
    if copied and wanted and any(text not in source for _, text in extra):
        return "text not in the source"
    if not extra:
        return "missing items"
    return "extra items" if not missing else _exchanged(missing, extra)


def _exchanged(missing: Sequence[Item], extra: Sequence[Item]) -> str:
    if any(p == q and overlap(a, b) > 0 for p, a in missing for q, b in extra):
        return "inexact items"
    if {text for _, text in missing} & {text for _, text in extra}:
        return "misplaced items"
    if len(missing) == len(extra):
        return "wrong items"
    return "missing items" if len(missing) > len(extra) else "extra items"


def _wrong_text(task: Task, example: Example, output: Output) -> str:
    expected, said = list(references(example.expected)), as_text(output.value)
    scripts = {_script(text) for text in expected}
    if _script(said) is not None and None not in scripts and _script(said) not in scripts:
        return "other script"
    source = fold(_text_of(example.input))
    if task.kind == "qa" and all(fold(text) in source for text in expected):
        return "wrong answer" if fold(said) in source else "text not in the source"
    longest = max((len(words(text)) for text in expected), default=0)
    if len(words(said)) > LONGER * longest + SLACK_WORDS:
        return "too long"
    return "misread" if output.context else "wrong answer"


def _script(text: str) -> str | None:
    """The script of most letters of a text, as the first word of their Unicode names."""
    letters = (unicodedata.name(letter, "?") for letter in text if letter.isalpha())
    common = Counter(name.split()[0] for name in letters).most_common(1)
    return common[0][0] if common else None


def _text_of(given: Input) -> str:
    """All the words of an input, to look for copied text in."""
    if isinstance(given, str):
        return given
    if isinstance(given, Mapping):
        return "\n".join(as_text(value) for value in given.values())
    return "\n".join(
        message.content
        if isinstance(message.content, str)
        else "\n".join(part.text for part in message.content)
        for message in given
    )
