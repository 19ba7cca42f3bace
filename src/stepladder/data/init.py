"""The first look at a file of examples: a task folder to start from, every guess written down.

What is guessed here is stated in the report and, as comments, in task.toml. The target is never
guessed: it is the user's to decide.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ..core import DataSource, Example, Json, Kind
from ..errors import StoreError, TaskError
from .advice import plausible_score
from .chat import as_text
from .findings import Findings, as_error
from .formats import CONVERSATIONS, ROW_READERS, format_of, read_examples
from .task_text import task_text

__all__ = ["Guess", "InitReport", "init_task"]

INPUT = (
    "input", "inputs", "prompt", "question", "text", "message", "messages", "query", "sentence",
    "utterance", "document", "body", "content",
)  # fmt: skip
EXPECTED = (
    "expected", "output", "outputs", "answer", "answers", "label", "labels", "completion",
    "response", "target", "category", "intent", "class", "sentiment", "summary", "reference",
)  # fmt: skip
ID = ("id", "uid", "uuid", "example_id", "row_id")
GROUP = (
    "group", "group_id", "document_id", "doc_id", "customer_id", "customer", "patient_id",
    "patient", "pmid", "user_id", "conversation_id", "session_id", "thread_id", "context_id",
    "sentence_id", "account_id",
)  # fmt: skip
ENOUGH = 100_000  # rows looked at
FEW_ROWS = 12  # below this, whether answers repeat says little
MOST_LABELS = 500
LABEL_LENGTH = 80  # characters; a longer answer is not a label
LABELS_IN_TASK_FILE = 20
FEW_SHOWN = 3  # of rows that cannot be used; `check` shows more
FEW_GROUPS = 5  # fewer cannot be spread over three sets
PER_LABEL = 2.5  # answers repeat at least this often, on average, when they are labels


@dataclass(frozen=True)
class Guess:
    """One thing that was guessed, what from, and the key of task.toml to correct it with."""

    key: str
    value: Json
    reason: str


@dataclass(frozen=True)
class InitReport:
    """What `init_task` wrote and guessed, and what is left to the user."""

    folder: Path
    files: tuple[str, ...]
    examples: int
    guesses: tuple[Guess, ...]
    suggested_score: float
    next: tuple[str, ...]
    warnings: tuple[str, ...] = ()  # rows that are left out of all this


def init_task(name: str, data_file: Path, folder: Path) -> InitReport:
    """Write a task folder from a file of examples: the new `folder` / `name`.

    Raises:
        TaskError: the file has no columns for input and answer, or the name is no folder name.
        StoreError: the folder exists already, or cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise TaskError(
            f"{name!r} cannot be the name of a task",
            hint="letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )
    look = look_at(data_file)
    place = folder / name
    data_name = f"examples{data_file.suffix.lower()}"
    text = task_text(name, data_name, look)
    files = {"task.toml": text}
    if look.labels and look.labels_apart:
        files["labels.txt"] = "".join(f"{label}\n" for label in look.labels)
    if look.schema is not None:
        files["schema.json"] = json.dumps(look.schema, indent=2, ensure_ascii=False) + "\n"
    _write(place, files, data_file, data_name)
    return InitReport(
        place, (*files, data_name), len(look.examples), look.guesses, look.suggested_score,
        (
            f"read {place / 'task.toml'} and correct what was guessed wrong",
            "decide the target: [target] score",
            f"stepladder check {place}",
        ),
        look.warnings,
    )  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What a file of examples seems to hold."""

    examples: Sequence[Example]
    source: DataSource
    kind: Kind
    instructions: str
    metric: str
    labels: tuple[str, ...]
    schema: Mapping[str, Json] | None
    suggested_score: float
    guesses: tuple[Guess, ...]
    warnings: tuple[str, ...]

    @property
    def labels_apart(self) -> bool:
        """Whether the labels go to a file: many, and each on a line as it is."""
        on_a_line = all(x.strip() == x and "\n" not in x for x in self.labels)
        return len(self.labels) > LABELS_IN_TASK_FILE and on_a_line


def look_at(path: Path) -> Look:
    """Guess how to read a file and what task it holds; raises TaskError when it cannot be told."""
    form = format_of(path)
    columns, guesses = _columns(path, form)
    problems = Findings()
    read = read_examples(path, columns, on_problem=problems)
    examples = list(islice(read, ENOUGH))
    if not examples:
        if problems.kept:
            raise as_error(problems.kept, problems.total)
        raise TaskError(f"{path.name!r} has no examples", hint="one example a row or line")
    warnings = tuple(_left_out(problems, more=next(read, None) is not None))
    columns, guesses = _without_useless(columns, guesses, examples)
    kind, reason = _kind(examples)
    answers = [
        _parsed(e.expected) if kind in {"extraction", "calls"} else e.expected for e in examples
    ]
    labels = tuple(sorted({as_text(a) for a in answers})) if kind == "classification" else ()
    schema = infer_schema(answers) if kind in {"extraction", "calls"} else None
    metric, metric_reason = METRICS[kind]
    instructions, said = _instructions(examples, kind)
    score, score_reason = _suggestion(kind, answers)
    guesses += (
        Guess("kind", kind, reason),
        Guess("metric", metric, metric_reason),
        Guess("instructions", instructions, said),
        Guess("target.score", None, score_reason),
    )
    return Look(
        examples, columns, kind, instructions, metric, labels, schema, score, guesses, warnings
    )


def _left_out(problems: Findings, *, more: bool) -> Iterator[str]:
    """What the guesses do not know of."""
    if problems.kept:
        rows = "1 row" if problems.total == 1 else f"{problems.total:,} rows"
        yield (
            f"{rows} cannot be used and {'is' if problems.total == 1 else 'are'} not counted: "
            + ("; ".join(str(problem) for problem in problems.kept[:FEW_SHOWN]))
        )
    if more:
        yield f"only the first {ENOUGH:,} rows were looked at; there are more"


def _without_useless(
    columns: DataSource, guesses: tuple[Guess, ...], examples: Sequence[Example]
) -> tuple[DataSource, tuple[Guess, ...]]:
    """The columns less a group with too few values, and an id that is not one."""
    useless = []
    if len({example.group for example in examples}) < FEW_GROUPS:
        columns = replace(columns, group=None)
        useless.append("data.group")
    if len({example.id for example in examples}) < len(examples):
        columns = replace(columns, id=None)
        useless.append("data.id")
    return columns, tuple(guess for guess in guesses if guess.key not in useless)


METRICS: dict[Kind, tuple[str, str]] = {
    "classification": ("accuracy", "each answer is right or wrong"),
    "extraction": ("micro_f1", "answers are records: found and missed items both count"),
    "generation": ("rouge", "answers are long text: overlap with the expected one is a start"),
    "qa": ("token_f1", "answers are short text: shared words count"),
    "calls": ("exact_match", "a call is right when its name and arguments are"),
}
INSTRUCTIONS: dict[Kind, str] = {
    "classification": "Say which of the labels fits the input. Answer with the label only.",
    "extraction": "Extract the fields of the schema from the input. Answer with JSON only.",
    "generation": "Write the output for the input.",
    "qa": "Answer the question as briefly as possible.",
    "calls": "Give the function call that the input asks for, as JSON with name and arguments.",
}


def infer_schema(answers: Sequence[Json]) -> dict[str, Json]:
    """A JSON schema that every one of the answers satisfies."""
    types: dict[str, list[Json]] = {}
    for answer in answers:
        types.setdefault(_type(answer), []).append(answer)
    if {"integer", "number"} <= types.keys():
        types["number"] += types.pop("integer")
    options = [_schema_of(name, values) for name, values in sorted(types.items())]
    if not options:
        return {}
    return options[0] if len(options) == 1 else {"anyOf": options}


def _schema_of(name: str, values: Sequence[Json]) -> dict[str, Json]:
    if name == "array":
        items = infer_schema([item for value in values for item in value])
        return {"type": "array", **({"items": items} if items else {})}
    if name != "object":
        return {"type": name}
    keys = dict.fromkeys(key for value in values for key in value)
    return {
        "type": "object",
        "properties": {key: infer_schema([v[key] for v in values if key in v]) for key in keys},
        "required": [key for key in keys if all(key in value for value in values)],
        "additionalProperties": False,
    }


def _type(value: Json) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return "null" if value is None else names.get(type(value), "object")


def _columns(path: Path, form: str) -> tuple[DataSource, tuple[Guess, ...]]:
    if form in CONVERSATIONS:
        guess = Guess("data.format", form, "rows are conversations; the last turn is the answer")
        return DataSource(examples=path.name, format=form), (guess,)
    problems = Findings()
    rows = [row for _, row in islice(ROW_READERS[form](path, problems), 200)]
    if not rows:
        if problems.kept:
            raise as_error(problems.kept, problems.total)
        raise TaskError(f"{path.name!r} has no rows", hint="one example a row or line")
    counts = Counter(column for row in rows for column in _names(row))
    found = {what: _find(names, counts) for what, names in COLUMNS.items()}
    for what in ("input", "expected"):
        if found[what] is None:
            raise TaskError(
                f"{path.name}:1: no column looks like the {what}; there are "
                f"{', '.join(map(repr, counts))}",
                hint=f"rename it to {what!r} (or one of {', '.join(COLUMNS[what][1:])})",
            )
    guesses = tuple(
        Guess(f"data.{what}", column, f"the column {column!r}")
        for what, column in found.items()
        if column is not None
    )
    source = DataSource(
        examples=path.name,
        input=found["input"] or "input",
        expected=found["expected"] or "expected",
        id=found["id"],
        group=found["group"],
    )
    return source, guesses


COLUMNS = {"input": INPUT, "expected": EXPECTED, "id": ID, "group": GROUP}


def _names(row: Mapping[str, Json]) -> list[str]:
    """Columns, and the fields of metadata columns as dotted paths."""
    nested = [
        f"{name}.{key}"
        for name in ("meta", "metadata")
        if isinstance(row.get(name), dict)
        for key in row[name]
    ]
    return [*row, *nested]


def _find(names: Sequence[str], counts: Mapping[str, int]) -> str | None:
    """The column of the first of `names` that there is, whatever its case, the fullest first."""
    plain: dict[str, str] = {}
    for column in sorted(counts, key=lambda c: ("." in c, -counts[c])):
        plain.setdefault(column.rpartition(".")[2].casefold().replace(" ", "_"), column)
    return next((plain[name] for name in names if name in plain), None)


def _parsed(expected: Json) -> Json:
    try:
        return json.loads(expected) if isinstance(expected, str) else expected
    except ValueError:
        return expected


def _kind(examples: Sequence[Example]) -> tuple[Kind, str]:
    answers = [_parsed(example.expected) for example in examples]
    records = [answer for answer in answers if isinstance(answer, dict | list)]
    if len(records) == len(answers):
        if all(map(_is_call, answers)):
            return "calls", "every answer is a function's name with arguments"
        return "extraction", "every answer is a JSON record"
    texts = [as_text(example.expected) for example in examples]
    distinct = set(texts)
    words = sorted(len(text.split()) for text in texts)
    median = words[len(words) // 2]
    labels = 2 <= len(distinct) <= MOST_LABELS and max(map(len, distinct)) <= LABEL_LENGTH
    few = len(distinct) < len(texts) < FEW_ROWS  # a repeated answer is the least sign of a label
    if labels and (few or len(texts) >= PER_LABEL * len(distinct)):
        return "classification", f"{len(texts)} answers, {len(distinct)} of them distinct"
    if median <= 12:
        return "qa", f"answers differ and are short (half have at most {median} words)"
    return "generation", f"answers differ and are long (half have more than {median - 1} words)"


def _is_call(answer: Json) -> bool:
    calls = answer if isinstance(answer, list) else [answer]
    return all(isinstance(c, dict) and c.keys() == {"name", "arguments"} for c in calls)


def _instructions(examples: Sequence[Example], kind: Kind) -> tuple[str, str]:
    systems = {
        message.content
        for example in examples
        for message in (example.input if isinstance(example.input, tuple) else ())
        if message.role == "system" and isinstance(message.content, str)
    }
    if len(systems) == 1:
        return next(iter(systems)).strip(), "the system turn that the conversations share"
    return INSTRUCTIONS[kind], "a start for this kind of task; say more about yours"


def _suggestion(kind: Kind, answers: Sequence[Json]) -> tuple[float, str]:
    """A score to start the thinking from, above what needs no model at all."""
    if kind != "classification":
        return 0.8, "ask what happens to an answer that is wrong; 0.8 is a place to start"
    ((label, most),) = Counter(map(as_text, answers)).most_common(1)
    floor = most / len(answers)
    score = round(max(0.85, plausible_score(floor) + 0.05) if floor < 0.9 else (1 + floor) / 2, 2)
    return score, (
        f"always answering {label!r} scores {floor:.2f}, so the target lies well above; "
        "ask what a wrong answer costs"
    )


def _write(place: Path, files: Mapping[str, str], data_file: Path, data_name: str) -> None:
    try:
        place.mkdir(parents=True)
    except FileExistsError as error:
        raise StoreError(
            f"{str(place)!r} exists already", hint="choose another name; nothing was changed"
        ) from error
    except OSError as error:
        raise StoreError(
            f"{str(place)!r} cannot be made: {error.strerror or error}",
            hint="choose a folder that may be written to",
        ) from error
    try:
        for name, text in files.items():
            (place / name).write_text(text, "utf-8")
        shutil.copyfile(data_file, place / data_name)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise StoreError(
            f"{str(place)!r} cannot be written: {error.strerror or error}",
            hint="make room, or choose another folder",
        ) from error
