"""Lines of a tuning file to what a model is trained on, read as the protocols read requests.

A row goes through the same code as a call of its protocol, so that what is trained is what is
served: roles, parts, functions, calls and their results. Every turn of the assistant is learned,
each after all turns before it; in OpenAI's form those with `weight` 0 are not. Of preferences a
pair of answers is learned (`pairs.py`). What is wrong with a row is told by its line and never
hides the next row. Nothing here counts tokens or trains.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from ...core import Function, Json, Message
from ...models.local.functions import plain_messages
from ...strict_json import read_strictly
from ...trainers import Conversation, Pair
from .. import Refusal
from ..gemini.contents import to_messages
from ..gemini.forms import each
from ..gemini.request_forms import CONTENT, TOOL
from ..gemini.tools import to_functions
from ..openai.fields import Fields
from ..openai.messages import read_messages
from ..openai.tools import read_functions
from .failing import MOST_TOLD, Problem, Unusable
from .pairs import gemini_pair, openai_pair

__all__ = ["LEAST_ROWS", "LONGEST_LINE", "MOST_ROWS", "Row", "Rows", "read_rows"]

Form = Literal["openai", "vertex"]
Method = Literal["supervised", "preference"]
Kind = TypeVar("Kind")

LEAST_ROWS: Mapping[Form, int] = {"openai": 10, "vertex": 1}  # OpenAI's documented least
MOST_ROWS = 300_000  # they are all in memory while they are learned
LONGEST_LINE = 8 * 2**20  # bytes

OPENAI_KEYS = {"messages", "tools", "parallel_tool_calls", "functions"}
GEMINI_KEYS = {
    "contents", "systemInstruction", "system_instruction", "tools", "toolConfig", "tool_config",
    "generationConfig", "generation_config", "labels",
}  # fmt: skip
PREFERENCE_KEYS = {
    "completions", "references", "input", "preferred_output", "non_preferred_output",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One example: where it is, how many turns it has, and what is learned of it."""

    line: int
    turns: int
    learned: tuple[Conversation | Pair, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """A whole file. `problems` are the first of the `bad` lines that cannot be used."""

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    bad: int = 0


def read_rows(pieces: Iterable[bytes], form: Form, method: Method = "supervised") -> Rows:
    """The rows of a file that comes in pieces. Empty lines are passed over.

    Reading ends at a file that is no text, or has more than MOST_ROWS rows: both are problems.
    """
    read = READERS[form, method]
    rows: list[Row] = []
    problems: list[Problem] = []
    bad = 0
    for number, line in _lines(pieces):
        try:
            if len(rows) >= MOST_ROWS:
                raise Unusable(f"the file has more than {MOST_ROWS:,} rows")
            rows.append(Row(number, *read(_object(line))))
        except (Unusable, Refusal, RecursionError) as error:
            bad += 1
            if len(problems) < MOST_TOLD:
                problems.append(Problem(number, _words(error)))
        if len(rows) >= MOST_ROWS and bad:
            break
    return Rows(rows, problems, bad)


def _lines(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers; one that is too long is cut."""
    number, held = 0, b""
    for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            number += 1
            if line.strip():
                yield number, line
        if len(held) > LONGEST_LINE:
            held = held[: LONGEST_LINE + 1]
    if held.strip():
        yield number + 1, held


def _object(line: bytes) -> dict[str, Json]:
    if len(line) > LONGEST_LINE:
        raise Unusable(f"the line is longer than {LONGEST_LINE:,} bytes")
    try:
        row = read_strictly(line.removeprefix(codecs.BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        raise Unusable(f"the line is not UTF-8 text: {error.reason}") from error
    except ValueError as error:
        raise Unusable(f"the line is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise Unusable(f"the line is {_named(row)}, not a JSON object")
    return row


def _openai_row(row: Mapping[str, Json]) -> tuple[int, tuple[Conversation, ...]]:
    _check_keys(row, OPENAI_KEYS, "messages")
    turns = row["messages"]
    if not isinstance(turns, list) or not turns:
        raise Unusable("'messages' has to be a list of turns")
    learned = [_is_learned(turn, n) for n, turn in enumerate(turns)]
    plain = [
        {name: value for name, value in turn.items() if name != "weight"}
        if isinstance(turn, dict)
        else turn
        for turn in turns
    ]
    answers = _answers_to(plain[-1])
    messages = _at_once(read_messages(Fields({"messages": [*plain, *answers]}), _NoMedia()))
    told = read_functions(Fields({key: row[key] for key in row if key != "messages"}))
    messages = messages[: len(turns)]
    return len(turns), _conversations(messages, learned, told.functions, parallel=told.parallel)


def _is_learned(turn: Json, number: int) -> bool:
    """Whether a turn is the assistant's and has a weight other than 0."""
    if not isinstance(turn, dict):
        return False
    weight = turn.get("weight")
    if weight is not None and turn.get("role") != "assistant":
        raise Unusable(f"'messages[{number}].weight' belongs to turns of the assistant only")
    if isinstance(weight, bool) or weight not in (None, 0, 1):
        raise Unusable(f"'messages[{number}].weight' has to be 0 or 1, not {weight!r}")
    return turn.get("role") == "assistant" and weight != 0


def _answers_to(turn: Json) -> list[Json]:
    """Results for the calls of the last turn.

    A request has to have them; in a row the calls are what is learned, and these are left out
    again.
    """
    if not isinstance(turn, dict):
        return []
    legacy = turn.get("function_call")
    if isinstance(legacy, dict):
        return [{"role": "function", "name": legacy.get("name"), "content": ""}]
    calls = turn.get("tool_calls")
    return [
        {"role": "tool", "tool_call_id": call.get("id"), "content": ""}
        for call in (calls if isinstance(calls, list) else ())
        if isinstance(call, dict)
    ]


class _NoMedia:
    """Stands for the files that a turn may name: the models that are trained read text."""

    async def read(self, part: Fields) -> str:
        raise Refusal("unsupported", "only text is learned here", param=part.path or "messages")


def _gemini_row(row: Mapping[str, Json]) -> tuple[int, tuple[Conversation, ...]]:
    _check_keys(row, GEMINI_KEYS, "contents")
    contents = each(CONTENT)(row["contents"], "contents")
    if not contents:
        raise Unusable("'contents' has to be a list of turns")
    system = row.get("systemInstruction", row.get("system_instruction"))
    if isinstance(system, str):
        system = {"parts": [{"text": system}]}
    if system is not None:
        system = CONTENT(system, "systemInstruction")
    functions = to_functions(each(TOOL)(row.get("tools") or [], "tools"))
    messages = to_messages(contents, system)
    learned = [message.role == "assistant" for message in messages]
    return len(contents), _conversations(messages, learned, functions)


def _conversations(
    messages: Sequence[Message],
    learned: Sequence[bool],
    functions: Sequence[Function],
    *,
    parallel: bool = True,
) -> tuple[Conversation, ...]:
    """Each turn to learn with what is before it, in the text that the model reads and says."""
    if messages[-1].role != "assistant":
        raise Unusable("the last turn has to be the assistant's ('model' in Gemini's words)")
    found = []
    for place, message in enumerate(messages):
        if not learned[place]:
            continue
        if not any(before.role != "system" for before in messages[:place]):
            raise Unusable("there is no turn of the user before the first answer")
        said = _said(plain_messages([message])[0])
        if not said.strip():
            raise Unusable(f"turn {place + 1} is an answer without text")
        found.append((plain_messages(messages[:place], functions, parallel=parallel), said))
    if not found:
        raise Unusable("no turn of the assistant is learned: all have 'weight' 0")
    return tuple(found)


def _said(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content)


def _check_keys(row: Mapping[str, Json], known: set[str], needed: str) -> None:
    if PREFERENCE_KEYS & row.keys():
        raise Unusable("a row of preferences or references cannot be used for supervised tuning")
    if needed not in row:
        raise Unusable(f"the field {needed!r} is missing")
    unknown = sorted(row.keys() - known)
    if unknown:
        raise Unusable(f"the field {unknown[0]!r} is not known; known: {', '.join(sorted(known))}")


READERS: Mapping[
    tuple[Form, Method],
    Callable[[Mapping[str, Json]], tuple[int, tuple[Conversation | Pair, ...]]],
] = {
    ("openai", "supervised"): _openai_row,
    ("vertex", "supervised"): _gemini_row,
    ("openai", "preference"): lambda row: openai_pair(row, _openai_row),
    ("vertex", "preference"): lambda row: gemini_pair(row, _gemini_row),
}


def _at_once(work: Coroutine[Any, Any, Kind]) -> Kind:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as ended:
        result: Kind = ended.value
        return result
    work.close()
    raise AssertionError("reading a row must not wait")


_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a truth value"), (str, "a string"), (list, "a list"),
)  # fmt: skip


def _named(value: Json) -> str:
    if value is None:
        return "null"
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "a number")


def _words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the row is nested too deeply"
    if isinstance(error, Refusal) and error.param and error.param not in error.message:
        return f"{error.param}: {error.message}"
    return error.message if isinstance(error, Refusal) else str(error)
