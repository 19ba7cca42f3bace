"""A task folder becomes a `Task`: task.toml is checked here, once, at the door.

Every complaint names the file, the line and what to write instead. The examples themselves are
read by `data.split` and judged by `data.checks`.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .core import DataSource, Economics, Hardware, Json, MetricSpec, Target, Task
from .data.toml_lines import line_of, lines_of
from .errors import TaskError
from .metrics import load_also
from .metrics.own import own_names
from .registry import known
from .task_file import ALTERNATIVES, EXAMPLES, DataTable, MetricTable, TaskFile, keys_at

__all__ = ["TASK_FILE", "inside", "load_task"]

TASK_FILE = "task.toml"
LARGEST_TASK_FILE = 4 * 2**20  # bytes


def load_task(folder: Path) -> Task:
    """The task in a folder, or of a TOML file in one; raises TaskError with file, line and cure.

    A second TOML file in the folder is a variant of the task: the same data, other settings.
    """
    path = folder if folder.suffix == ".toml" else folder / TASK_FILE
    text = _read(path)
    door = _Door(path, lines_of(text))
    table = _parse(text, path)
    _refuse_unset_score(table, door)
    try:
        file = TaskFile.model_validate(table)
    except ValidationError as error:
        raise door.translate(error) from error
    return _task(file, door)


def inside(folder: Path, name: str) -> Path:
    """The path of a file of the task; raises ValueError when it is not within the folder."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name):
        raise ValueError(f"{name!r} is a URL; fetch the file and put it into the task folder")
    if "\0" in name or "\\" in name or Path(name).is_absolute():
        raise ValueError(f"{name!r} is not a path relative to the task folder, written with '/'")
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or path == root:
        raise ValueError(f"{name!r} leads out of the task folder; put a copy of the file inside")
    return path


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TaskError(
            f"{str(path)!r} cannot be read: {error.strerror or error}",
            hint="give the folder that holds task.toml, or write one with: "
            "stepladder init NAME --data FILE",
        ) from error
    if len(raw) > LARGEST_TASK_FILE:
        raise TaskError(
            f"{path.name} has {len(raw)} bytes, more than {LARGEST_TASK_FILE}",
            hint="examples, labels and schemas go into files of their own",
        )
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise TaskError(f"{path.name}:{line}: not UTF-8", hint="save it as UTF-8") from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at (?:line (\d+), column (\d+)|end of document)\)", str(error))
        message = re.sub(r" \(at .*\)$", "", str(error))
        line = place[1] if place and place[1] else str(text.count("\n") + 1)
        column = f":{place[2]}" if place and place[2] else ""
        raise TaskError(
            f"{path.name}:{line}{column}: not TOML: {message}",
            hint='text goes into quotes: name = "mail"; a table starts with [name]',
        ) from error


def _refuse_unset_score(table: Mapping[str, Any], door: _Door) -> None:
    target = table.get("target", {})
    if isinstance(target, dict) and "score" not in target:
        raise TaskError(
            f"{door.place(('target',))}: [target] score is not set",
            hint="decide which score is good enough for the work the answers are used in, and "
            "write it:\n    [target]\n    score = 0.85",
        )


class _Door:
    """Where task.toml is and on which line each of its keys stands."""

    def __init__(self, path: Path, lines: dict[tuple[str, ...], int]) -> None:
        self.path = path
        self.lines = lines
        self.folder = path.parent

    def place(self, key: Sequence[object]) -> str:
        line = line_of(self.lines, key)
        return self.path.name if line is None else f"{self.path.name}:{line}"

    def error(self, key: Sequence[object], message: str, hint: str) -> TaskError:
        return TaskError(f"{self.place(key)}: {message}", hint=hint)

    def file(self, key: str, name: str) -> Path:
        """The path of a file named in task.toml; raises TaskError when it is not in the folder."""
        try:
            path = inside(self.folder, name)
        except ValueError as error:
            raise self.error(
                tuple(key.split(".")), f"{key}: {error}", "paths stay inside the task folder"
            ) from error
        if not path.is_file():
            raise self.error(
                tuple(key.split(".")), f"{key}: there is no file {name!r} in {str(self.folder)!r}",
                "put the file there, or correct the name",
            )  # fmt: skip
        return path

    def translate(self, error: ValidationError) -> TaskError:
        """Pydantic's findings in our words, one a line."""
        by_key: dict[tuple[Any, ...], list[Any]] = {}
        for finding in error.errors(include_url=False):
            key = tuple(part for part in finding["loc"] if part not in ALTERNATIVES)
            by_key.setdefault(key, []).append(finding)
        # a value that may have several forms is complained about once for each: keep the nearest
        deepest = [k for k in by_key if not any(o[: len(k)] == k and o != k for o in by_key)]
        told = [self._tell(key, by_key[key]) for key in deepest]
        hints = dict.fromkeys(hint for _, hint in told)
        return TaskError("\n".join(message for message, _ in told), hint="\n  ".join(hints))

    def _tell(self, key: tuple[Any, ...], findings: Sequence[Any]) -> tuple[str, str]:
        dotted = ".".join(map(str, key)) or self.path.name
        place = self.place(key)
        kind = findings[0]["type"]
        if kind == "extra_forbidden":
            allowed = keys_at(key[:-1])
            message = f"{place}: {dotted!r} is not a key"
            return message, f"{_did_you_mean(str(key[-1]), allowed)}known here: {_listed(allowed)}"
        if kind == "missing":
            return f"{place}: {dotted!r} is missing", f"add it: {EXAMPLES.get(dotted, dotted)}"
        said = (f["msg"].removeprefix("Value error, ").removeprefix("Input ") for f in findings)
        message = " or ".join(dict.fromkeys(said)).replace(" or should be", " or")
        message = re.sub(r"valid dictionary( or instance of \w+)?", "table", message)
        shown = [".".join(map(str, key[:depth])) for depth in range(len(key), 0, -1)]
        example = next((EXAMPLES[name] for name in shown if name in EXAMPLES), None)
        hint = f"for example: {example}" if example else f"correct {dotted!r}"
        return f"{place}: {dotted}: {message}", hint


def _did_you_mean(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, 1, 0.6)
    return f"did you mean {close[0]!r}? " if close else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


Built = TypeVar("Built", Target, Economics, Hardware)


def _same(cls: type[Built], table: BaseModel) -> Built:
    return cls(**{field.name: getattr(table, field.name) for field in fields(cls)})


def _task(file: TaskFile, door: _Door) -> Task:
    labels, descriptions = _labels(file, door)
    task = Task(
        name=file.name or door.folder.resolve().name,
        kind=file.kind,
        instructions=file.instructions.strip(),
        target=_same(Target, file.target),
        metric=_metric("metric", file.metric, door),
        data=_data(file.data, door),
        labels=labels,
        label_descriptions=descriptions,
        schema=_schema(file, door),
        models=_models(file, door),
        prompt_model=file.prompt_model,
        economics=_same(Economics, file.economics),
        hardware=_same(Hardware, file.hardware),
        steps=_steps(file, door),
        slices=tuple(file.slices),
        also_measured=tuple(_metric("also_measured", one, door) for one in file.also_measured),
        max_output_tokens=file.max_output_tokens,
        thinking_tokens=file.thinking_tokens,
        providers=file.providers,
        seed=file.seed,
        folder=door.folder,
    )
    _check_floors(task, door)
    return task


def _check_floors(task: Task, door: _Door) -> None:
    """A floor is of a slice, whose examples are looked for later, or of a metric beside."""
    named = [floor for floor in task.target.floors if "=" not in floor]
    measured = [metric.name for metric in load_also(task)] if named else []
    if unknown := sorted(set(named) - set(measured)):
        raise door.error(
            ("target", "floors", unknown[0]),
            f"{unknown[0]!r} is neither a slice nor measured",
            'write "field=value" = least score, or name the metric in also_measured',
        )


def _metric(key: str, metric: MetricTable, door: _Door) -> MetricSpec:
    names = [*known("metric"), *own_names(door.folder)]
    if metric.name not in names:
        hint = f"{_did_you_mean(metric.name, names)}known: {_listed(names)}"
        message = f"no metric is called {metric.name!r}"
        raise door.error((key,), message, f"{hint}; or define it in metrics.py in the task folder")
    return MetricSpec(metric.name, dict(metric.model_extra or {}))


def _data(data: DataTable, door: _Door) -> DataSource:
    values = data.model_dump()
    for name in ("examples", "train", "dev", "test"):
        if values[name] is not None:
            door.file(f"data.{name}", values[name])
    if isinstance(data.input, list):
        values["input"] = tuple(data.input)
    train, dev, test = data.fractions
    return DataSource(**{**values, "fractions": (train, dev, test)})


def _labels(file: TaskFile, door: _Door) -> tuple[tuple[str, ...], dict[str, str]]:
    given, key = file.labels, "labels"
    if file.labels_file is not None:
        if given:
            raise door.error(("labels_file",), "labels are given twice", "keep one of the two")
        key = "labels_file"
        given = _labels_from(door.file(key, file.labels_file), door)
    labels = tuple(given)
    told = dict(given) if isinstance(given, dict) else {}
    descriptions = {**told, **file.label_descriptions}
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise door.error((key,), f"the label {twice!r} is given twice", "remove one")
    if file.kind == "classification" and len(labels) < 2:
        raise door.error(
            (key,), "a classification needs at least two labels",
            'labels = ["yes", "no"], or labels_file = "labels.txt" with one a line',
        )  # fmt: skip
    if labels and (strange := sorted(descriptions.keys() - set(labels))):
        raise door.error(
            ("label_descriptions", strange[0]), f"{strange[0]!r} is described but not a label",
            f"labels: {', '.join(map(repr, labels))}",
        )  # fmt: skip
    return labels, {label: text for label, text in descriptions.items() if text}


def _labels_from(path: Path, door: _Door) -> list[str] | dict[str, str]:
    """Labels of a text file, one a line, or of a JSON list or object of descriptions."""
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix != ".json":
            return [line.strip() for line in text.split("\n") if line.strip()]
        labels = json.loads(text)
    except ValueError as error:
        raise TaskError(f"{path.name}: {error}", hint="save it as UTF-8 text") from error
    texts = [*labels, *labels.values()] if isinstance(labels, dict) else labels
    if not isinstance(labels, list | dict) or not all(isinstance(t, str) and t for t in texts):
        raise TaskError(
            f"{path.name} is neither a list of labels nor labels with descriptions",
            hint='["yes", "no"] or {"yes": "what it means", "no": "what it means"}',
        )
    return labels


def _schema(file: TaskFile, door: _Door) -> Mapping[str, Json] | None:
    schema, place = file.schema_, door.place(("schema",))
    if file.schema_file is not None:
        if schema is not None:
            raise door.error(("schema_file",), "the schema is given twice", "keep one of the two")
        path = door.file("schema_file", file.schema_file)
        place = path.name
        try:
            schema = json.loads(path.read_text("utf-8-sig"))
        except ValueError as error:
            raise TaskError(f"{path.name} is not JSON: {error}", hint="correct it") from error
    if schema is None:
        return None
    import jsonschema  # here, because the command line's help should not wait for it

    try:
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "the schema"
        raise TaskError(
            f"{place}: not a JSON schema: {where}: {error.message}",
            hint='for example: {"type": "object", "properties": {"drug": {"type": "string"}}}',
        ) from error
    return dict(schema)


def _models(file: TaskFile, door: _Door) -> tuple[str, ...]:
    if file.model is not None and file.models is not None:
        raise door.error(("models",), "'model' and 'models' exclude each other", "keep one")
    if file.models is not None:
        return tuple(dict.fromkeys(file.models))
    return (file.model,) if file.model is not None else Task.models


def _steps(file: TaskFile, door: _Door) -> dict[str, dict[str, Json]]:
    names = known("step")
    for name in file.steps:
        if name not in names:
            hint = f"{_did_you_mean(name, names)}known: {_listed(names)}"
            raise door.error(("steps", name), f"no step is called {name!r}", hint)
    return file.steps
