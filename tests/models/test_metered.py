"""Calls counted as they are paid for: what a budget ends, and what is kept all the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from stepladder.answers import Answers, CachedModel
from stepladder.budget import Budget
from stepladder.core import Message, Request, Response, Usage
from stepladder.errors import BudgetExceeded
from stepladder.models.metered import Metered

UNDER_WAY = 3


class Counting:
    """Answers one after the other; once stopped, only those under way."""

    name = "house:model"
    hosted = True
    context_tokens = 77

    def __init__(self) -> None:
        self.begun = 0
        self.stopped = False

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return len(messages)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        self.stopped, left = False, UNDER_WAY
        for index in range(len(requests)):
            if self.stopped:
                left -= 1
                if left < 0:
                    return
            self.begun += 1
            yield index, Response(str(index), Usage(self.name, 10, 1, 0), "stop")

    def stop(self) -> None:
        self.stopped = True


def dollar_each(usage: Iterable[Usage]) -> float | None:
    return float(len(list(usage)))


def requests(count: int) -> list[Request]:
    return [Request((Message("user", f"number {place}"),)) for place in range(count)]


def test_the_budget_ends_the_calls_and_keeps_those_under_way(tmp_path: Path) -> None:
    model, budget = Counting(), Budget(dollars=5.0)
    answers = Answers(tmp_path / "answers.sqlite")
    kept = CachedModel(Metered(model, dollar_each, budget.pay), answers)
    seen = []
    with pytest.raises(BudgetExceeded, match=r"\$6\.00 of \$5\.00"), budget.building():
        seen += [index for index, _ in kept.generate(requests(100))]
    assert model.begun == 6 + UNDER_WAY

    again = CachedModel(model, answers)
    assert len(dict(again.generate(requests(6 + UNDER_WAY)))) == 6 + UNDER_WAY
    assert model.begun == 6 + UNDER_WAY  # all were kept
    answers.close()


def test_where_nothing_is_left_no_call_begins(tmp_path: Path) -> None:
    model, budget = Counting(), Budget(dollars=1.0)
    metered = Metered(model, dollar_each, budget.pay)
    budget.spent_dollars = 2.0
    with budget.building(), pytest.raises(BudgetExceeded):
        dict(metered.generate(requests(10)))
    assert model.begun == 0


def test_without_a_limit_all_is_as_of_the_model_itself() -> None:
    model = Counting()
    metered = Metered(model, dollar_each, Budget().pay)
    assert (metered.name, metered.context_tokens, metered.hosted) == (model.name, 77, True)
    assert metered.count_tokens([Message("user", "a")]) == 1
    assert [index for index, _ in metered.generate(requests(10))] == [*range(10)]


def test_an_interrupt_while_paying_takes_what_is_under_way() -> None:
    model = Counting()

    def interrupted(dollars: float | None) -> None:
        if dollars:
            raise KeyboardInterrupt

    seen = []
    metered = Metered(model, dollar_each, interrupted)
    with pytest.raises(KeyboardInterrupt):
        seen += [index for index, _ in metered.generate(requests(10))]
    assert model.begun == 1 + UNDER_WAY
