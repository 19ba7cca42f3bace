"""A JSON answer as a multiset of items to find. Knows nothing of scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..core import Json
from .text import Fold, as_text, fold

__all__ = ["Item", "Itemise"]

Item = tuple[str, str]  # (where in the answer, what was said), folded


@dataclass(frozen=True)
class Itemise:
    """How an answer is read as items; every option is plain data.

    `list` names the key that holds the records, `type_key` the field of a record that says what
    kind it is: it joins the path of the record's other fields instead of being an item of its own.
    Fields named in `ignore` are left out. `unit` "value" makes every leaf an item, so that
    `{"events": [{"event": "adverse", "drug": ["x", "y"]}]}` read with list="events" and
    type_key="event" gives ("adverse/drug", "x") and ("adverse/drug", "y"); "record" makes each
    record one item that is right only as a whole.
    """

    list: str | None = None
    type_key: str | None = None
    ignore: tuple[str, ...] = ()
    unit: Literal["value", "record"] = "value"
    normalise: Fold = "case"

    def items(self, answer: Json) -> tuple[Item, ...]:
        """The items, in the order of the answer.

        The order of lists and keys carries no meaning. null, "" and empty lists say nothing.
        Without records where `list` promises them there are no items.
        """
        found = []
        for record in self._records(answer):
            kind = fold(as_text(record[self.type_key])) if self._typed(record) else ""
            leaves = list(self._leaves(record, kind))
            if self.unit == "record" and leaves:
                found.append((kind, as_text(sorted([list(leaf) for leaf in leaves]))))
            elif self.unit == "value":
                found.extend(leaves)
        return tuple(found)

    def _records(self, answer: Json) -> Iterator[Json]:
        if self.list is None:
            yield from answer if isinstance(answer, list | tuple) else (answer,)
            return
        inside = answer.get(self.list) if isinstance(answer, Mapping) else None
        yield from inside if isinstance(inside, list | tuple) else ()

    def _typed(self, record: Json) -> bool:
        return isinstance(record, Mapping) and self.type_key in record

    def _leaves(self, value: Json, path: str) -> Iterator[Item]:
        if isinstance(value, Mapping):
            for key, inside in value.items():
                if key not in self.ignore and key != self.type_key:
                    yield from self._leaves(inside, f"{path}/{key}" if path else key)
        elif isinstance(value, list | tuple):
            for inside in value:
                yield from self._leaves(inside, path)
        elif value is not None and (text := fold(as_text(value), self.normalise)):
            yield path, text
