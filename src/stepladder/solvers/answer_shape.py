"""The shape of JSON answers that are made of spans of the text, and answers put together again.

An answer is an object, or a list, of records. A record has fields whose values are copied from the
text, and fields that name a class. What a task's answers look like is learnt from train by
`trainers/alignment.py`; which spans there are is found by `tagger.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..core import Json

__all__ = [
    "ClassField", "Found", "Node", "Records", "Shape", "SpanField", "Style", "Tag", "put_together",
    "shape_from_record",
]  # fmt: skip

Style = Literal["single", "pair", "frame"]


@dataclass(frozen=True)
class Tag:
    """What a span can be: the value of a field, and where records have one span, of which class."""

    records: int
    field: str
    classes: tuple[Json, ...] = ()


@dataclass(frozen=True)
class SpanField:
    """A field copied from the text. `many`: a list of spans; `always`: never left out."""

    name: str
    many: bool
    always: bool


@dataclass(frozen=True)
class ClassField:
    """A field with one of a few values; None among them stands for: left out."""

    name: str
    values: tuple[Json, ...]


@dataclass(frozen=True)
class Records:
    """The records under one key of the answer, or the answer itself where `key` is None.

    A "single" is one span with its classes. A "pair" holds two spans with the classes of their
    relation; `source` says which singles these spans are, None: they are tagged for themselves. A
    "frame" is any number of spans, with classes of the whole. Without `listed` there is one record.
    """

    key: str | None
    style: Style
    listed: bool
    always: bool  # at least one record is in each answer
    spans: tuple[SpanField, ...]
    classes: tuple[ClassField, ...]
    order: tuple[str, ...]  # of the fields
    combinations: tuple[tuple[Json, ...], ...] = ()  # of classes: what singles and pairs can be
    source: int | None = None
    ends: tuple[tuple[int, int], ...] = ()  # of a pair: which tags it goes from and to
    grouped: bool = False  # a frame whose spans are dealt to several records


@dataclass(frozen=True)
class Shape:
    """All records of an answer, the tags of its spans, and whether it is an object or a list."""

    records: tuple[Records, ...]
    tags: tuple[Tag, ...]
    widest: int  # tokens of a span, at most
    keys: tuple[str, ...] = field(default=())  # of the answer, in their order

    @property
    def links(self) -> tuple[tuple[int, tuple[Json, ...]], ...]:
        """What two spans can be to each other: (records, classes); of frames: in one record."""
        found: list[tuple[int, tuple[Json, ...]]] = []
        for at, records in enumerate(self.records):
            if records.style == "pair":
                found += [(at, classes) for classes in records.combinations]
            elif records.grouped:
                found.append((at, ()))
        return tuple(found)

    @property
    def choices(self) -> tuple[tuple[int, ClassField], ...]:
        """The classes that whole frames have: (records, field)."""
        return tuple(
            (at, one)
            for at, records in enumerate(self.records)
            if records.style == "frame"
            for one in records.classes
        )


@dataclass(frozen=True)
class Node:
    """A span that was found: its tag's place, characters, words and how sure it is (a logit)."""

    tag: int
    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True)
class Found:
    """What was found in a text.

    `links` has the logit of each link for (node, node), `choices` the place of the value for each
    class of each group of nodes.
    """

    nodes: Sequence[Node]
    links: Mapping[tuple[int, int], Sequence[float]]
    groups: Mapping[int, Sequence[Sequence[int]]]  # of frames: records -> nodes of each
    choices: Mapping[tuple[int, int], Sequence[int]]  # (records, group) -> value of each class


def put_together(shape: Shape, found: Found) -> Json:
    """The answer that states what was found."""
    made: dict[str | None, Json] = {}
    for at, records in enumerate(shape.records):
        if records.style == "single":
            rows = _singles(shape, at, found)
        elif records.style == "pair":
            rows = _pairs(shape, at, found)
        else:
            rows = _frames(shape, at, found)
        made[records.key] = rows if records.listed else (rows[0] if rows else {})
    if not shape.keys and None in made:
        return made[None]
    flat = made.pop(None, {})
    joined = {**made, **flat}
    return {key: joined[key] for key in shape.keys if key in joined}


def _singles(shape: Shape, at: int, found: Found) -> list[Json]:
    records = shape.records[at]
    rows = []
    for node in sorted(found.nodes, key=lambda one: (one.start, one.end)):
        tag = shape.tags[node.tag]
        if tag.records == at:
            given = dict(zip((one.name for one in records.classes), tag.classes, strict=True))
            rows.append(_ordered(records, {tag.field: node.text, **given}))
    return _once(rows)


def _pairs(shape: Shape, at: int, found: Found) -> list[Json]:
    records = shape.records[at]
    first, second = (one.name for one in records.spans)
    ours = [(n, classes) for n, (of, classes) in enumerate(shape.links) if of == at]
    rows = []
    for (one, other), scores in sorted(found.links.items()):
        ends = (found.nodes[one].tag, found.nodes[other].tag)
        if ends not in records.ends:
            continue
        for place, classes in ours:
            if scores[place] > 0:
                given = dict(zip((c.name for c in records.classes), classes, strict=True))
                texts = {first: found.nodes[one].text, second: found.nodes[other].text}
                rows.append(_ordered(records, {**texts, **given}))
    return _once(rows)


def _frames(shape: Shape, at: int, found: Found) -> list[Json]:
    records = shape.records[at]
    rows = []
    for number, group in enumerate(found.groups.get(at, ())):
        values: dict[str, Json] = {}
        for span in records.spans:
            nodes = [
                found.nodes[n] for n in group if shape.tags[found.nodes[n].tag].field == span.name
            ]
            if span.many and (nodes or span.always):
                nodes.sort(key=lambda one: (one.start, one.end))
                values[span.name] = list(dict.fromkeys(one.text for one in nodes))
            elif nodes:
                values[span.name] = max(nodes, key=lambda one: one.score).text
            elif span.always:
                values[span.name] = None
        chosen = found.choices[at, number]
        for one, place in zip(records.classes, chosen, strict=True):
            if one.values[place] is not None:
                values[one.name] = one.values[place]
        rows.append(_ordered(records, values))
    return rows


def _ordered(records: Records, values: Mapping[str, Json]) -> dict[str, Json]:
    return {
        name: values[name]
        for name in records.order
        if name in values and (values[name] is not None or name in {s.name for s in records.spans})
    }


def _once(rows: Sequence[Json]) -> list[Json]:
    seen: dict[str, Json] = {}
    for row in rows:
        seen.setdefault(json.dumps(row, sort_keys=True), row)
    return list(seen.values())


def shape_from_record(record: Mapping[str, Any]) -> Shape:
    """What `dataclasses.asdict` and JSON made of a shape."""

    def classes(values: Sequence[Json]) -> tuple[Json, ...]:
        return tuple(values)

    records = tuple(
        Records(
            one["key"],
            one["style"],
            one["listed"],
            one["always"],
            tuple(SpanField(**span) for span in one["spans"]),
            tuple(ClassField(c["name"], tuple(c["values"])) for c in one["classes"]),
            tuple(one["order"]),
            tuple(classes(c) for c in one["combinations"]),
            one["source"],
            tuple((first, second) for first, second in one["ends"]),
            one["grouped"],
        )
        for one in record["records"]
    )
    tags = tuple(Tag(t["records"], t["field"], tuple(t["classes"])) for t in record["tags"])
    return Shape(records, tags, record["widest"], tuple(record["keys"]))
