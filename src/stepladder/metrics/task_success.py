"""Share of tasks that were carried out: what had to be done was done, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Counts, Example, Json, Output
from ..functions.calls import calls_in
from .call_values import Strings, Wanted, pair, wanted_calls
from .text import as_text, check_choice, failed, fold, whole

__all__ = ["TaskSuccess"]


@dataclass(frozen=True)
class TaskSuccess:
    """Right when every expected call worked, nothing else was changed, and there is an answer.

    Calls that only read may be made besides; one with side effects that is not expected makes the
    task fail. Where the metadata has the field `says`, a text or a list of texts, each must be in
    the final answer, without regard to case. Calls of a dry run count as made. `strings` and
    `acceptable` are those of `call_match`. A failed answer is wrong.
    """

    strings: Strings = "loose"
    acceptable: str = "acceptable"
    says: str = "says"
    name = "task_success"
    scale: ClassVar[Literal["binary"]] = "binary"

    def __post_init__(self) -> None:
        check_choice("strings", self.strings, ("exact", "case", "loose"))

    def score(self, example: Example, output: Output) -> Counts:
        record = output.value
        if failed(output) or not isinstance(record, Mapping):
            return whole(0.0)
        if not self._says(example, record.get("answer")):
            return whole(0.0)
        wanted = wanted_calls(example, self.acceptable)
        made = [call for call in record.get("calls") or () if _took_effect(call)]
        return whole(self._done(wanted, made))

    def _done(self, wanted: Sequence[Wanted], made: Sequence[Mapping[str, Json]]) -> bool:
        read = calls_in(list(made))
        pairs = pair(
            wanted,
            read,
            lambda want, call: (
                want.name == call["name"] and want.fits(call["arguments"], self.strings)
            ),
        )
        expected = set(pairs.values())
        acted = [place for place, call in enumerate(made) if call.get("side_effects", True)]
        return len(pairs) == len(wanted) and expected.issuperset(acted)

    def _says(self, example: Example, answer: Json) -> bool:
        if not isinstance(answer, str):
            return False
        needed = example.metadata.get(self.says, ())
        needed = needed if isinstance(needed, list | tuple) else [needed]
        return all(fold(as_text(one)) in fold(answer) for one in needed)


def _took_effect(call: Json) -> bool:
    return isinstance(call, Mapping) and call.get("state") in ("done", "recorded")
