"""What can go wrong, told to people: one message, one cure, no traceback.

    StepladderError
      + TaskError         task.toml or the examples are not usable
      + MissingExtra      an optional package is not installed
      + ModelError        a model or its weights cannot be had or used
      + NotApplicable     a step has nothing to offer this task (it is skipped, with the reason)
      + BudgetExceeded    the next piece of work does not fit the budget
      + StoreError        the run folder cannot be read or written

Every other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

__all__ = [
    "BudgetExceeded",
    "MissingExtra",
    "ModelError",
    "NotApplicable",
    "StepladderError",
    "StoreError",
    "TaskError",
]


class StepladderError(Exception):
    """An expected failure: `message` says what and where, `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint)


class TaskError(StepladderError):
    """The task file or its examples cannot be used as they are."""


class MissingExtra(StepladderError):
    """A feature needs a package that is not installed."""


class ModelError(StepladderError):
    """A model is unknown, its weights are damaged, or it cannot do what was asked."""


class NotApplicable(StepladderError):
    """A step does not fit this task; the climb records why and goes on."""


class BudgetExceeded(StepladderError):
    """The next piece of work would cost more than what is left."""


class StoreError(StepladderError):
    """The run folder is full, read-only or damaged."""


def _rebuild(kind: type[StepladderError], message: str, hint: str) -> StepladderError:
    return kind(message, hint=hint)
