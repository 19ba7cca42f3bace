"""Scores of single answers: one metric per file, all of the same shape.

`load_metric` gives the metric that a task names, `load_also` those that it reports beside it.
Metrics see one example and one answer; how counts become a score with an interval is the business
of `stats.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import cast

from ..core import Json, Metric, MetricSpec, Task
from ..errors import StepladderError, TaskError
from ..registry import known, look_up
from .abstention import absent_of
from .own import FILE, UserMetric, own_names

__all__ = ["load_also", "load_metric", "metric_names"]


def load_metric(task: Task) -> Metric:
    """The metric that the task names, built with the task's options.

    A name is a registered metric or a function in `metrics.py` of the task folder; that file is
    run, because it is the user's own code beside the user's own data. A metric whose constructor
    has `labels`, `schema` or `absent` is given the task's unless the options say otherwise.

    Raises:
        TaskError: The name is unknown or stands for two things, or an option is unknown or wrong.
    """
    return _load(task.metric, task)


def load_also(task: Task) -> tuple[Metric, ...]:
    """The metrics of `also_measured`, in their order.

    Raises:
        TaskError: As of `load_metric`, or two have one name.
    """
    metrics = tuple(_load(spec, task) for spec in task.also_measured)
    names = [metric.name for metric in metrics]
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise TaskError(f"also_measured names {twice[0]!r} twice", hint="keep one of them")
    return metrics


def _load(spec: MetricSpec, task: Task) -> Metric:
    name = spec.name
    own = own_names(task.folder)
    if name in own and name in known("metric"):
        raise TaskError(
            f"{FILE} defines {name!r}, which is also a metric of stepladder",
            hint="give your function a name of its own",
        )
    if name in own:
        return UserMetric(name, task.folder / FILE, dict(spec.options))
    if name not in known("metric"):
        raise TaskError(
            f"no metric is called {name!r}",
            hint=f"known: {', '.join(metric_names(task))}; or define it in {FILE}",
        )
    return _build(spec, task)


def metric_names(task: Task | None = None) -> list[str]:
    """All names that `load_metric` would find, the task's own functions included."""
    return sorted({*known("metric"), *(own_names(task.folder) if task else ())})


def _build(spec: MetricSpec, task: Task) -> Metric:
    kind = look_up("metric", spec.name)
    parameters = inspect.signature(kind).parameters
    options = {key: _frozen(value) for key, value in spec.options.items()}
    if unknown := sorted(set(options) - set(parameters)):
        raise TaskError(
            f"metric {spec.name!r} has no option {', '.join(map(repr, unknown))}",
            hint=f"it has: {', '.join(parameters) or 'no options'}",
        )
    context: Mapping[str, Json] = {
        "labels": task.labels,
        "schema": task.schema,
        "absent": absent_of(task),
    }
    given = {key: value for key, value in context.items() if key in parameters}
    try:
        return cast(Metric, kind(**{**given, **options}))
    except StepladderError as error:
        raise TaskError(f"task {task.name!r}: {error.message}", hint=error.hint) from error


def _frozen(value: Json) -> Json:
    return tuple(value) if isinstance(value, list) else value
