"""What was written is asked what the trial was asked, and compared with it in pairs.

The comparison is that of a deploy (`bundles/served.py`): scores whose difference is shown, or more
other answers than arithmetic explains, and the export is refused. Asks; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..bundles.chosen import Chosen
from ..bundles.served import NOISE, Reply, ServedCheck, check_served, said
from ..core import Input, Output, Task
from ..errors import StepladderError
from ..metrics import load_metric
from ..solvers import content_hash
from ..store import read_rows, rows_name

__all__ = ["EXAMPLES", "Answer", "NotExported", "measure_again"]

EXAMPLES = 100
Answer = Callable[[Sequence[Input]], Iterator[tuple[int, Output]]]


class NotExported(StepladderError):
    """The exported model does not answer as the measured one did; `check` has the examples."""

    def __init__(self, message: str, *, hint: str, check: ServedCheck) -> None:
        super().__init__(message, hint=hint)
        self.check = check

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.message, self.hint, self.check)


def measure_again(
    chosen: Chosen, task: Task, answer: Answer, *, most: int = EXAMPLES
) -> ServedCheck:
    """The export against its trial on dev, on `most` examples that are picked by their ids alone.

    Raises:
        NotExported: it answers differently, beyond noise.
        StepladderError: the trial's answers are gone.
    """
    trial = chosen.trial
    identity = content_hash(chosen.solver)[:8]
    name = rows_name(trial["step"], trial["solver"], identity, trial["set"])
    rows = list(read_rows(chosen.run / "rows" / name))
    metric = load_metric(task)

    def ask(inputs: Sequence[Input]) -> Iterator[tuple[int, Reply]]:
        for index, output in answer(inputs):
            yield index, _reply(output)

    check = check_served(f"export of {chosen.title}", rows, metric, ask, noise=NOISE, most=most)
    if not check.passed:
        gain = check.gain
        raise NotExported(
            f"{chosen.title} does not answer as it was measured once it is exported: "
            f"{check.differing} of {check.n} answers differ, and the score moved by "
            f"{gain.difference:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
            hint="nothing was exported",
            check=check,
        )
    return check


def _reply(output: Output) -> Reply:
    return Reply(said(output.value, output.text), output.value is not None, output.error)


def _rebuild(message: str, hint: str, check: ServedCheck) -> NotExported:
    return NotExported(message, hint=hint, check=check)
