"""What is wrong, or worth knowing, about a task's examples: a place, a message and a cure.

Readers and checks report here; whether a finding stops the work is decided by who asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..errors import TaskError

__all__ = ["Finding", "Findings", "OnProblem", "raise_problem"]

SHOWN = 8  # how many findings an error message spells out


@dataclass(frozen=True, slots=True)
class Finding:
    """One complaint. `place` is `file:line` of the first case, `count` how many cases there are."""

    kind: str
    message: str
    place: str = ""
    cure: str = ""
    count: int = 1

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


OnProblem = Callable[[Finding], None]


def raise_problem(finding: Finding) -> None:
    """Stop at the first problem, as an error."""
    raise TaskError(str(finding), hint=finding.cure)


@dataclass
class Findings:
    """Collects findings: `cap` of each kind are kept, all are counted. Call it to add one."""

    cap: int = 20
    kept: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __call__(self, finding: Finding) -> None:
        seen = self.counts.get(finding.kind, 0)
        self.counts[finding.kind] = seen + finding.count
        if seen < self.cap:
            self.kept.append(finding)

    @property
    def total(self) -> int:
        """How many findings there were, kept or not."""
        return sum(self.counts.values())


def as_error(problems: Sequence[Finding], total: int) -> TaskError:
    """One error that lists the first problems and says how many there are in all."""
    first = problems[0]
    if total == 1:
        return TaskError(str(first), hint=first.cure)
    lines = [str(problem) for problem in problems[:SHOWN]]
    if total > len(lines):
        lines.append(f"... and {total - len(lines)} more")
    cures = dict.fromkeys(problem.cure for problem in problems[:SHOWN] if problem.cure)
    return TaskError(
        f"{total} examples cannot be used:\n  " + "\n  ".join(lines), hint="\n  ".join(cures)
    )
