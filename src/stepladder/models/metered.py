"""A hosted model whose calls are paid for as they are made, so that a budget can end them.

It stands between a provider's model and `answers.py`: kept answers cost nothing and do not come
here. Which budget it is, and when it counts, is for `budget.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..core import Message, Model, Request, Response, Usage
from ..errors import BudgetExceeded

__all__ = ["Metered"]

Pay = Callable[[float | None], None]
PriceOf = Callable[[Iterable[Usage]], float | None]


class Metered:
    """`model`, with `pay` told the dollars of each call; raising BudgetExceeded ends the calls.

    Those under way are still yielded, since they are paid for, and then the error is raised.
    """

    def __init__(self, model: Model, price: PriceOf, pay: Pay) -> None:
        self.name = model.name
        self._model = model
        self._price = price
        self._pay = pay

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return self._model.count_tokens(messages)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        """The model's answers; raises BudgetExceeded, before any call where nothing is left."""
        self._pay(0.0)
        end: BaseException | None = None
        for place, response in self._model.generate(requests):
            yield place, response  # taken and kept by now
            if end is not None:
                continue
            try:
                self._pay(self._price([response.usage]))
            except (BudgetExceeded, KeyboardInterrupt) as error:
                end = error
                if (stop := getattr(self._model, "stop", None)) is not None:
                    stop()
        if end is not None:
            raise end
