"""Why a tuning job fails, in words that each protocol spells in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ...core import Json
from ...errors import StepladderError
from .. import Reason

__all__ = ["JobFailed", "Problem", "Unusable", "bad_file"]

MOST_TOLD = 50  # of the rows that are at fault


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be learned from: its line, from 1, and what is wrong with it."""

    line: int
    message: str


class Unusable(Exception):
    """A row that cannot be learned from; the message is for whoever wrote it."""


class JobFailed(StepladderError):
    """A tuning job that cannot succeed. `param` is the field at fault, `code` OpenAI's word."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        reason: Reason = "invalid",
        code: str = "invalid_training_file",
        param: str | None = None,
        rows: Sequence[Problem] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.code = code
        self.param = param
        self.rows = tuple(rows)

    def record(self) -> Mapping[str, Json]:
        """What the job keeps of it."""
        return {
            "reason": self.reason,
            "code": self.code,
            "message": f"{self.message}; {self.hint}" if self.hint else self.message,
            "param": self.param,
            "rows": [asdict(row) for row in self.rows],
        }


def bad_file(param: str, message: str, rows: Sequence[Problem] = (), hint: str = "") -> JobFailed:
    """A training or validation file that cannot be used; `param` says which of them."""
    return JobFailed(
        message, hint=hint, code=f"invalid_{param}", param=param, rows=rows[:MOST_TOLD]
    )
