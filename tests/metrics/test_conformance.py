"""Our own metrics keep the contract that any metric must keep."""

from dataclasses import dataclass

import pytest

from stepladder.core import Example
from stepladder.metrics.abstention import Abstention
from stepladder.metrics.accuracy import Accuracy
from stepladder.metrics.argument_f1 import ArgumentF1
from stepladder.metrics.call_match import CallMatch
from stepladder.metrics.chrf import ChrF
from stepladder.metrics.exact_match import ExactMatch
from stepladder.metrics.executed_result import ExecutedResult
from stepladder.metrics.groundedness import Groundedness
from stepladder.metrics.json_validity import JsonValidity
from stepladder.metrics.macro_f1 import MacroF1
from stepladder.metrics.micro_f1 import MicroF1
from stepladder.metrics.rouge import Rouge
from stepladder.metrics.task_success import TaskSuccess
from stepladder.metrics.text import whole
from stepladder.metrics.token_f1 import TokenF1
from stepladder.testing import check_metric

LABELS = [Example("1", "x", "a"), Example("2", "y", "b")]
TEXTS = [Example("1", "x", "rain falls on the hill"), Example("2", "y", "snow")]
JSON = [Example("1", "x", {"a": ["p", "q"], "b": "r"}), Example("2", "y", {"a": []})]
ABSENCES = [Example("1", "x", "not in the documents")]
CALLS = [
    Example("1", "x", [{"name": "f", "arguments": {"a": 1}}], metadata={"results": [1]}),
    Example("2", "y", [], metadata={"results": []}),
]


@pytest.mark.parametrize(
    ("metric", "examples"),
    [
        (Accuracy(), LABELS),
        (Accuracy(normalise=False), LABELS),
        (MacroF1(("a", "b")), LABELS),
        (MicroF1(), JSON),
        (MicroF1(match="partial"), JSON),
        (MicroF1(unit="record"), JSON),
        (ExactMatch(), LABELS + TEXTS + JSON),
        (ExactMatch(any_order=True), JSON),
        (TokenF1(), TEXTS),
        (Rouge(), TEXTS),
        (Rouge("rouge1", tokens="unicode"), TEXTS),
        (ChrF(), TEXTS),
        (JsonValidity(), JSON),
        (CallMatch(), CALLS),
        (CallMatch(compare="name"), CALLS),
        (ArgumentF1(), CALLS),
        (ExecutedResult(), CALLS),
        (TaskSuccess(), CALLS),
        (Abstention(), ABSENCES),
        (Abstention(of="precision"), ABSENCES),
        (Abstention(of="recall"), ABSENCES),
        (Groundedness(), ABSENCES),
    ],
)
def test_conformance(metric, examples):
    check_metric(metric, examples)


@dataclass(frozen=True)
class Generous:
    """Gives points for failed answers, which the check must not let pass."""

    name = "generous"
    scale = "binary"

    def score(self, example, output):
        return whole(1.0)


def test_the_check_can_fail():
    with pytest.raises(AssertionError):
        check_metric(Generous(), LABELS)
