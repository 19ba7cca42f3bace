"""Are the examples fit to decide on? Problems refuse the climb, warnings go into the report.

`check` judges a split in memory; `check_task` reads it first. What is looked for is in `leaks.py`
(problems) and `advice.py` (warnings); rows that cannot be read are found by `formats.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core import Json, Split, Task
from ..errors import TaskError
from .advice import ADVICE, facts_of
from .findings import Finding, Findings, as_error
from .judged import CountTokens, Judged
from .leaks import LEAKS
from .split import SETS, read_split

__all__ = ["CheckReport", "check", "check_task"]

NO_FINDINGS = Findings()


@dataclass(frozen=True)
class CheckReport:
    """What was found. Findings are the first of each kind; `counts` says how many there are.

    `facts` describe the data: sizes, labels, lengths and how many test examples the target takes.
    """

    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    facts: Mapping[str, Json]
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether a climb may start."""
        return not self.problems

    @property
    def total_problems(self) -> int:
        """How many problems there are, those not kept included."""
        kinds = {problem.kind for problem in self.problems}
        return sum(count for kind, count in self.counts.items() if kind in kinds)

    def refuse(self) -> None:
        """Raise the problems as one TaskError, if there are any."""
        if self.problems:
            raise as_error(self.problems, self.total_problems)


def check(
    task: Task,
    split: Split,
    *,
    count_tokens: CountTokens | None = None,
    context_limit: int | None = None,
    unread: Findings = NO_FINDINGS,
) -> CheckReport:
    """Judge a split.

    Args:
        task: what the examples are for.
        split: the examples.
        count_tokens: of the chosen model (`Model.count_tokens`); None leaves lengths in characters.
        context_limit: tokens that the chosen model reads and writes at most.
        unread: what the reader complained about; these are problems too.
    """
    judged = Judged(task, split, count_tokens, context_limit)
    problems, warnings = Findings(unread.cap), Findings(unread.cap)
    for check_for in LEAKS:
        for finding in check_for(judged):
            problems(finding)
    for name in SETS:
        if not getattr(split, name):
            cure = "add examples: three (or three groups) at the very least"
            problems(Finding("empty set", f"the {name} set has no examples", cure=cure))
    for advise in ADVICE:
        for finding in advise(judged):
            warnings(finding)
    return CheckReport(
        (*unread.kept, *problems.kept),
        tuple(warnings.kept),
        facts_of(judged),
        {**unread.counts, **problems.counts, **warnings.counts},
    )


def check_task(
    task: Task, *, count_tokens: CountTokens | None = None, context_limit: int | None = None
) -> CheckReport:
    """Read the task's examples and judge them, rows that cannot be read included."""
    unread = Findings()
    try:
        split = read_split(task, unread)
    except TaskError as error:  # the file as a whole: nothing is left to judge
        finding = Finding("unreadable file", error.message, cure=error.hint)
        return CheckReport((finding,), (), {}, {finding.kind: 1})
    return check(task, split, count_tokens=count_tokens, context_limit=context_limit, unread=unread)
