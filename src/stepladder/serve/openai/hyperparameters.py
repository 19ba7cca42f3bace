"""How a fine-tuning job is to train, from the body and back: methods and hyperparameters. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...core import Json
from ...database.records import TuningJob
from .fields import Fields, wrong

__all__ = ["Method", "method_body", "read_method", "told_hyperparameters"]

MOST_EPOCHS, MOST_BATCH = 50, 256
OPTIONS = {"n_epochs": "epochs", "batch_size": "batch_size",
           "learning_rate_multiplier": "learning_rate_multiplier", "beta": "beta"}  # fmt: skip
SUPERVISED = ("n_epochs", "batch_size", "learning_rate_multiplier")


@dataclass(frozen=True, slots=True)
class Method:
    """A way to train. What is "auto" is not among the options: it is left to the trainer."""

    kind: Literal["supervised", "preference"] = "supervised"
    options: Mapping[str, Json] = field(default_factory=dict)


def read_method(body: Fields) -> Method:
    """The `method` of a job, or the `hyperparameters` that older clients send instead.

    Raises:
        Refusal: Either is malformed, both are there and differ, or nobody can train so.
    """
    legacy = body.inner("hyperparameters")
    older = {} if legacy is None else _options(legacy, SUPERVISED)
    method = body.inner("method")
    if method is None:
        return Method(options=older)
    kind = method.text("type")
    if kind is None:
        raise method.missing("type")
    if kind == "reinforcement":
        raise method.fault(
            "type",
            "is 'reinforcement', which no trainer of this server does",
            hint="use 'supervised' or 'dpo'",
        )
    kind = method.one_of("type", ("supervised", "dpo"))
    assert kind is not None
    method.known({"type", kind})
    settings = method.inner(kind)
    newer: dict[str, Json] = {}
    if settings is not None:
        settings.known({"hyperparameters"})
        given = settings.inner("hyperparameters")
        names = SUPERVISED if kind == "supervised" else (*SUPERVISED, "beta")
        newer = {} if given is None else _options(given, names)
    if older and newer and older != newer:
        raise body.fault("hyperparameters", f"differ from those in 'method.{kind}'")
    return Method("supervised" if kind == "supervised" else "preference", newer or older)


def told_hyperparameters(job: TuningJob) -> dict[str, Json]:
    """What a job trains with; "auto" is what the trainer has not decided yet."""
    return {name: _told(job, name) for name in SUPERVISED}


def method_body(job: TuningJob) -> dict[str, Json]:
    """A job's method as it is told."""
    settings = told_hyperparameters(job)
    if job.method == "supervised":
        return {"type": "supervised", "supervised": {"hyperparameters": settings}}
    settings["beta"] = _told(job, "beta")
    return {"type": "dpo", "dpo": {"hyperparameters": settings}}


def _told(job: TuningJob, name: str) -> Json:
    value = job.options.get(OPTIONS[name])
    return "auto" if value is None else value


def _options(given: Fields, names: tuple[str, ...]) -> dict[str, Json]:
    given.known(names)
    found = {name: _option(given, name) for name in names}
    return {OPTIONS[name]: value for name, value in found.items() if value is not None}


def _option(given: Fields, name: str) -> float | int | None:
    """The value of a hyperparameter; None for "auto" and for what is not there."""
    if given.given.get(name) == "auto":
        return None
    if name == "n_epochs":
        return given.whole(name, 1, MOST_EPOCHS)
    if name == "batch_size":
        return given.whole(name, 1, MOST_BATCH)
    value = given.number(name, 0, 2 if name == "beta" else 1e6)
    if value == 0:
        raise wrong(given.at(name), "a number above 0", 0)
    return value
