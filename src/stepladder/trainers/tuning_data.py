"""Training rows as services want them, and what they would refuse, found before anything is sent.

Limits are the catalogue's: dated data with a source, never code. Nothing here uploads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ..catalogue import Method, TuningLimits
from ..core import Example, Function, Input, Json, Message, Part
from ..data.chat import Malformed, as_text, simplify
from ..data.chat_gemini import to_gemini
from ..data.chat_openai import messages_from_json, to_openai
from ..data.findings import Finding
from ..errors import TaskError
from .service import Form, TuningJob, TuningRow, TuningService

__all__ = [
    "PREFERENCES", "Preference", "check_job", "read_preferences", "to_row", "tokens_of",
]  # fmt: skip

PREFERENCES = "preferences.jsonl"
FUNCTION_KEYS = {"functionCall", "functionResponse", "tool_calls", "tools", "tool_call_id"}

_FETCHED: dict[Form, tuple[str, ...]] = {
    "gemini": ("gs://", "https://", "http://"),
    "openai": ("https://", "http://", "data:"),
}

Count = Callable[[Sequence[Message]], int]  # tokens, an estimate for a hosted model


def to_row(row: TuningRow, form: Form, method: Method) -> dict[str, Json]:
    """The row as a line of a training file of this form."""
    write = to_gemini if form == "gemini" else to_openai
    said = [{"name": call.name, "arguments": dict(call.arguments)} for call in row.calls]
    tools = {"tools": _tools(row.functions, form)} if row.functions else {}
    chosen = write(Example("", row.messages, said or row.answer, metadata=tools))
    if method == "supervised":
        return chosen
    assert row.rejected is not None
    rejected = write(Example("", row.messages, row.rejected))
    return _gemini_pair(chosen, rejected) if form == "gemini" else _openai_pair(chosen, rejected)


def _tools(functions: Sequence[Function], form: Form) -> list[Json]:
    told = [_tool(one) for one in functions]
    if form == "gemini":
        return [{"functionDeclarations": told}]
    return [{"type": "function", "function": one} for one in told]


def _tool(function: Function) -> dict[str, Json]:
    """Without what it does not say: Gemini takes no object that has no properties."""
    told: dict[str, Json] = {"name": function.name}
    if function.description:
        told["description"] = function.description
    if function.parameters.get("properties"):
        told["parameters"] = dict(function.parameters)
    return told


def _gemini_pair(chosen: dict[str, Json], rejected: dict[str, Json]) -> dict[str, Json]:
    *before, good = chosen["contents"]
    bad = rejected["contents"][-1]
    completions = [{"score": 1.0, "completion": good}, {"score": 0.0, "completion": bad}]
    return {**chosen, "contents": before, "completions": completions}


def _openai_pair(chosen: dict[str, Json], rejected: dict[str, Json]) -> dict[str, Json]:
    *before, good = chosen["messages"]
    bad = rejected["messages"][-1]
    return {
        "input": {"messages": before},
        "preferred_output": [good],
        "non_preferred_output": [bad],
    }


@dataclass(frozen=True)
class Preference:
    """One input with a better and a worse answer; `place` is `file:line`."""

    input: Input
    chosen: Json
    rejected: Json
    place: str


def read_preferences(path: Path) -> tuple[Preference, ...]:
    """The pairs in a file of lines `{"input", "chosen", "rejected"}`.

    An input is text, named fields or a list of turns, as in a task's examples. Raises TaskError,
    with the line, for what cannot be used.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(
            f"preference tuning needs {str(path)!r}, which cannot be read: {error}",
            hint='write one line per pair: {"input": ..., "chosen": ..., "rejected": ...}',
        ) from error
    return tuple(
        _pair(line, f"{path.name}:{number}") for number, line in enumerate(lines, 1) if line.strip()
    )


def _pair(line: str, place: str) -> Preference:
    try:
        row = json.loads(line)
        asked, chosen, rejected = row["input"], row["chosen"], row["rejected"]
        asked = simplify(messages_from_json(asked)) if isinstance(asked, list) else asked
        if not isinstance(asked, str | dict | tuple):
            raise Malformed("'input' is neither text nor fields nor turns")
    except (ValueError, KeyError, TypeError, Malformed) as error:
        raise TaskError(
            f"{place}: not a preference: {error}",
            hint='a line needs "input", "chosen" and "rejected"',
        ) from error
    if as_text(chosen) == as_text(rejected):
        raise TaskError(f"{place}: both answers are the same", hint="leave the line out")
    return Preference(asked, chosen, rejected, place)


# --- what a service would refuse ----------------------------------------------------------------


def check_job(
    job: TuningJob, limits: TuningLimits, service: TuningService, count: Count, today: date
) -> list[Finding]:
    """Everything about a job that goes against the documented limits; empty when nothing does."""
    if limits.ends is not None and today >= limits.ends:
        closed = f"the service takes no new jobs on {job.base!r} since {limits.ends}"
        return [Finding("closed", closed, cure=f"tune another model{_since(limits)}")]
    return [
        *_about_the_service(job, limits, service.region),
        *_about_the_choices(job, limits, service.form),
        *_about_the_numbers(job, limits),
        *_about_the_rows(job, limits, service.form, count),
        *_about_the_files(job, limits, service.form),
    ]


def _about_the_service(
    job: TuningJob, limits: TuningLimits, region: str | None
) -> Iterator[Finding]:
    if job.method not in limits.methods:
        yield Finding(
            "method",
            f"{job.base!r} cannot be tuned by the method {job.method!r}",
            cure=f"it can be by: {', '.join(limits.methods)}{_since(limits)}",
        )
    if limits.regions and region not in limits.regions:
        yield Finding(
            "region",
            f"{job.base!r} cannot be tuned in {region!r}",
            cure=f"set location in [providers.{job.base.partition(':')[0]}] to one of "
            f"{', '.join(limits.regions)}{_since(limits)}",
        )


def _about_the_choices(job: TuningJob, limits: TuningLimits, form: Form) -> Iterator[Finding]:
    size = job.choices.adapter_size
    if size is not None and size not in limits.adapter_sizes:
        sizes = ", ".join(map(str, limits.adapter_sizes)) or "none can be chosen"
        yield Finding(
            "adapter_size",
            f"{job.base!r} cannot be tuned with adapter_size = {size}",
            cure=f"possible: {sizes}; or leave it out{_since(limits)}",
        )
    if not limits.own_rate and job.choices.learning_rate_multiplier is not None:
        yield Finding(
            "learning_rate",
            f"the service of {job.base!r} has no learning rate of its own to multiply",
            cure=f"set learning_rate in its place, or neither of the two{_since(limits)}",
        )
    if form == "gemini" and job.choices.batch_size is not None:
        yield Finding(
            "batch_size",
            f"the batch size of {job.base!r} is the service's own choice",
            cure="leave batch_size out of [steps.fine_tune]",
        )


def _about_the_numbers(job: TuningJob, limits: TuningLimits) -> Iterator[Finding]:
    rows, held = len(job.train), len(job.held_out)
    if limits.least_rows is not None and rows < limits.least_rows:
        yield Finding(
            "too few rows",
            f"{rows} rows are too few to tune {job.base!r}: it takes {limits.least_rows}",
            cure=f"label more examples, or lower held_out{_since(limits)}",
        )
    if limits.most_rows is not None and rows > limits.most_rows:
        yield Finding(
            "too many rows",
            f"{rows} rows are too many to tune {job.base!r}: it takes {limits.most_rows}",
            cure=f"set examples = {limits.most_rows} in [steps.fine_tune]{_since(limits)}",
        )
    if held > (most := _most_held_out(rows, limits)):
        yield Finding(
            "too many held out",
            f"{held} held-out rows are too many to tune {job.base!r}: it takes {most}",
            cure=f"lower held_out in [steps.fine_tune]{_since(limits)}",
        )


def _most_held_out(rows: int, limits: TuningLimits) -> float:
    most = float("inf") if limits.most_validation_rows is None else limits.most_validation_rows
    if limits.most_validation_share is not None:
        share = int(limits.most_validation_share * rows)
        most = min(most, max(limits.validation_free_rows or 0, share))
    return most


def _about_the_rows(
    job: TuningJob, limits: TuningLimits, form: Form, count: Count
) -> Iterator[Finding]:
    written = 0
    for place, row in enumerate((*job.train, *job.held_out)):
        line = to_row(row, form, job.method)
        size = len(json.dumps(line, ensure_ascii=False).encode())
        written += size + 1 if place < len(job.train) else 0
        most = limits.tokens_per_example
        # a token is a byte or more, so only long rows need counting
        if most is not None and size > most and (tokens := tokens_of(row, count)) > most:
            yield Finding(
                "too long",
                f"an example of about {tokens:,} tokens is too long to tune {job.base!r}: "
                f"it takes {most:,}",
                row.place,
                f"shorten the example or leave it out{_since(limits)}",
            )
        if not limits.function_rows and _has_functions(line):
            yield Finding(
                "function row",
                f"an example with function calls cannot tune {job.base!r}",
                row.place,
                f"leave such examples out, or tune another model{_since(limits)}",
            )
    if limits.most_bytes is not None and written > limits.most_bytes:
        yield Finding(
            "too many bytes",
            f"{written:,} bytes of rows are too many to tune {job.base!r}: "
            f"it takes {limits.most_bytes:,}",
            cure=f"set examples in [steps.fine_tune] to fewer{_since(limits)}",
        )


def _about_the_files(job: TuningJob, limits: TuningLimits, form: Form) -> Iterator[Finding]:
    """Rows may point to images and other files, which the service then fetches itself."""
    with_files = 0
    for place, row in enumerate((*job.train, *job.held_out)):
        uris = [part.uri for part in _files(row)]
        with_files += bool(uris) and place < len(job.train)
        if any(not uri.startswith(_FETCHED[form]) for uri in uris):
            yield Finding(
                "file",
                f"an example has a file that the service of {job.base!r} cannot fetch",
                row.place,
                f"put it where it can, and name it by an address that begins with one of "
                f"{', '.join(_FETCHED[form])}",
            )
    if with_files and job.method == "preference" and form == "gemini":
        yield Finding(
            "file",
            f"{with_files} pairs have files, and {job.base!r} is tuned on pairs of text only",
            cure="leave them out",
        )
    most = limits.most_multimodal_rows
    if with_files and most is not None and len(job.train) > most:
        yield Finding(
            "too many rows",
            f"{len(job.train)} rows, some with files, are too many to tune {job.base!r}: "
            f"it takes {most:,} where there are files",
            cure=f"set examples = {most} in [steps.fine_tune]{_since(limits)}",
        )


def _files(row: TuningRow) -> Iterator[Part]:
    for message in row.messages:
        if not isinstance(message.content, str):
            yield from (part for part in message.content if part.kind != "text")


def tokens_of(row: TuningRow, count: Count) -> int:
    """Tokens of a row in one pass over it; a preference is read once with each answer.

    Descriptions of functions are counted as the text that they are.
    """
    answers = [row.answer] if row.rejected is None else [row.answer, row.rejected]
    told = [Message("system", json.dumps(_tools(row.functions, "openai")))] if row.functions else []
    messages = (*told, *row.messages)
    return sum(count((*messages, Message("assistant", answer))) for answer in answers)


def _has_functions(value: Any) -> bool:
    if isinstance(value, dict):
        return any(key in FUNCTION_KEYS or _has_functions(part) for key, part in value.items())
    return isinstance(value, list) and any(map(_has_functions, value))


def _since(limits: TuningLimits) -> str:
    return f" (documented on {limits.read_on}: {limits.source})"
