"""Share of answers that are the expected answer, as text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Counts, Example, Json, Output
from .text import Fold, check_choice, failed, fold, whole

__all__ = ["ExactMatch"]


@dataclass(frozen=True)
class ExactMatch:
    """Right when the answer equals what is expected.

    JSON is compared by structure: the order of keys is free, the order of list items counts unless
    `any_order`, 1 equals 1.0 and "1" does not equal 1. Strings are folded by `normalise` ("none",
    "case", "words"). With `any_of`, the expected value is a list of answers that are all right. A
    failed answer is wrong.
    """

    normalise: Fold = "case"
    any_order: bool = False
    any_of: bool = False
    name = "exact_match"
    scale: ClassVar[Literal["binary"]] = "binary"

    def __post_init__(self) -> None:
        check_choice("normalise", self.normalise, ("none", "case", "words"))

    def score(self, example: Example, output: Output) -> Counts:
        if failed(output):
            return whole(0.0)
        answers = example.expected if self.any_of else [example.expected]
        said = self._canonical(output.value)
        return whole(any(said == self._canonical(answer) for answer in answers))

    def _canonical(self, value: Json) -> str:
        return _json(self._folded(value))

    def _folded(self, value: Json) -> Json:
        if isinstance(value, Mapping):
            return {key: self._folded(inside) for key, inside in value.items()}
        if isinstance(value, list | tuple):
            inside = [self._folded(each) for each in value]
            return sorted(inside, key=_json) if self.any_order else inside
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return fold(value, self.normalise) if isinstance(value, str) else value


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
