"""Reads the shape of train's JSON answers, and finds their values in the texts. Trains nothing.

Values are searched for as whole words. One that stands in the text several times is learnt at all
of these places, since the answer does not say which is meant; one that is not there is left out.
Both are counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core import Example, Json
from ..errors import NotApplicable
from ..solvers.answer_shape import ClassField, Records, Shape, SpanField, Style, Tag
from ..solvers.prompt import render_input

__all__ = ["Aligned", "Alignment", "align", "places_of"]

COPIED = 0.5  # share of a field's values that are in the text from which on it is copied from it
MOST_VALUES = 60  # of a field that names a class
MOST_CLASSES = 60  # combinations of classes of a single or pair
FROM_SINGLES = 0.9  # share of a pair's ends that are singles from which on they are taken as such
GROUPED = 0.05  # share of answers with several frames from which on spans are dealt to them

Row = Mapping[str, Json]
Place = tuple[int, int]  # first and last character but one


@dataclass(frozen=True)
class Aligned:
    """An example's spans: (tag, start, end), which links hold between them, and frames.

    `links` are (span, span, place among the shape's links); `frames` are (records, spans, places
    of the values of its classes).
    """

    spans: tuple[tuple[int, int, int], ...]
    links: tuple[tuple[int, int, int], ...]
    frames: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]


@dataclass
class _Counts:
    values: int = 0
    absent: int = 0
    ambiguous: int = 0
    merged: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Alignment:
    """The shape, train aligned with it, and what of train cannot be learnt this way, in words."""

    shape: Shape
    rows: tuple[Aligned, ...]
    cautions: tuple[str, ...]


def align(train: Sequence[Example]) -> Alignment:
    """The shape of train's answers, and each example's spans in it.

    Raises:
        NotApplicable: answers are no records of values that are copied from the text.
    """
    texts = [render_input(example.input) for example in train]
    answers = [_parts(example.expected) for example in train]
    keys = list(dict.fromkeys(key for one in answers for key in one))
    counts = _Counts()
    read = [_read_records(key, texts, answers, counts) for key in keys]
    records = [one for one in read if one is not None]
    if not any(one.spans for one in records):
        raise NotApplicable("no field of the answers is copied from the text")
    shape = _with_tags(records, texts, answers, _keys(train))
    rows = tuple(_align(shape, text, one, counts) for text, one in zip(texts, answers, strict=True))
    shape = _with_ends(shape, rows)
    return Alignment(shape, rows, tuple(_cautions(counts, len(train))))


def places_of(value: str, text: str) -> list[Place]:
    """Where the value stands in the text as whole words; where not so, in any case of letters."""
    if not value.strip():
        return []
    pattern = rf"(?<!\w){re.escape(value.strip())}(?!\w)"
    found = re.finditer(pattern, text)
    places = [(one.start(), one.end()) for one in found]
    return places or [(m.start(), m.end()) for m in re.finditer(pattern, text, re.IGNORECASE)]


# --- the shape ----------------------------------------------------------------------------------


def _parts(answer: Json) -> dict[str | None, list[Row]]:
    """The records under each key; what stands beside lists of records is one record of its own."""
    if isinstance(answer, list):
        if not all(isinstance(one, Mapping) for one in answer):
            raise NotApplicable("answers are lists of something else than JSON objects")
        return {None: answer}
    if not isinstance(answer, Mapping):
        raise NotApplicable("a tagger needs JSON answers, and train has others")
    found: dict[str | None, list[Row]] = {}
    beside: dict[str, Json] = {}
    for key, value in answer.items():
        if isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            found[key] = [one for one in value if isinstance(one, Mapping)]
        elif value == []:
            found[key] = []
        else:
            beside[key] = value
    if beside:
        found[None] = [beside]
    return found


def _keys(train: Sequence[Example]) -> tuple[str, ...]:
    objects = [one.expected for one in train if isinstance(one.expected, Mapping)]
    return tuple(dict.fromkeys(key for one in objects for key in one))


def _texts_of(value: Json) -> list[str] | None:
    """The strings of a field, None where it holds something else."""
    values = value if isinstance(value, list) else [value]
    return values if all(isinstance(one, str) for one in values) else None


def _read_records(
    key: str | None,
    texts: Sequence[str],
    answers: Sequence[Mapping[str | None, list[Row]]],
    counts: _Counts,
) -> Records | None:
    rows = [
        (text, row) for text, one in zip(texts, answers, strict=True) for row in one.get(key, ())
    ]
    if not rows:
        return None
    order = tuple(dict.fromkeys(name for _, row in rows for name in row))
    spans, classes = _read_fields(key, order, rows, counts)
    per_answer = [len(one.get(key, ())) for one in answers]
    several = sum(number > 1 for number in per_answer) / len(per_answer)
    listed = not all(number == 1 for number in per_answer) or key is not None
    style: Style = _style(spans) if listed else "frame"
    grouped = style == "frame" and several >= GROUPED
    if style == "frame" and not grouped:
        counts.merged += sum(number > 1 for number in per_answer)
    return Records(
        key, style, listed, min(per_answer) > 0, tuple(spans), tuple(classes), order,
        grouped=grouped,
    )  # fmt: skip


def _read_fields(
    key: str | None,
    names: Sequence[str],
    rows: Sequence[tuple[str, Row]],
    counts: _Counts,
) -> tuple[list[SpanField], list[ClassField]]:
    """The fields that are copied from the text, and those of few values; others are dropped."""
    spans, classes = [], []
    for name in names:
        given = [(text, row[name]) for text, row in rows if row.get(name) is not None]
        if not given:
            continue
        if _is_copied(given):
            many = any(isinstance(value, list) for _, value in given)
            spans.append(SpanField(name, many, len(given) == len(rows)))
            continue
        values = _class_values([value for _, value in given])
        if values is None:
            counts.dropped[f"{key}.{name}" if key else name] += len(given)
        else:
            absent: tuple[Json, ...] = () if len(given) == len(rows) else (None,)
            classes.append(ClassField(name, (*absent, *values)))
    return spans, classes


def _is_copied(given: Sequence[tuple[str, Json]]) -> bool:
    found = [(text, one) for text, value in given for one in _texts_of(value) or ()]
    if not found:
        return False
    return sum(bool(places_of(one, text)) for text, one in found) >= COPIED * len(found)


def _class_values(values: Sequence[Json]) -> tuple[Json, ...] | None:
    if any(isinstance(value, list | Mapping) for value in values):
        return None
    distinct = {json.dumps(value): value for value in values}
    return (
        tuple(distinct[key] for key in sorted(distinct)) if len(distinct) <= MOST_VALUES else None
    )


def _style(spans: Sequence[SpanField]) -> Style:
    if any(span.many or not span.always for span in spans):
        return "frame"
    by_number: dict[int, Style] = {1: "single", 2: "pair"}
    return by_number.get(len(spans), "frame")


def _combination(records: Records, row: Row) -> tuple[Json, ...]:
    return tuple(row.get(one.name) for one in records.classes)


def _with_tags(
    records: Sequence[Records],
    texts: Sequence[str],
    answers: Sequence[Mapping[str | None, list[Row]]],
    keys: tuple[str, ...],
) -> Shape:
    """With the tags of all spans, the classes of singles and pairs, and where pairs end."""
    made: list[Records] = []
    tags: list[Tag] = []
    singles = [at for at, one in enumerate(records) if one.style == "single"]
    for at, one in enumerate(records):
        seen = Counter(
            json.dumps(_combination(one, row)) for each in answers for row in each.get(one.key, ())
        )
        common = [tuple(json.loads(text)) for text, _ in seen.most_common(MOST_CLASSES)]
        if one.style == "single":
            one = replace(one, combinations=tuple(common))
            tags += [Tag(at, one.spans[0].name, classes) for classes in common]
        elif one.style == "pair":
            source = next((s for s in singles if _ends_in(one, records[s], answers)), None)
            one = replace(one, combinations=tuple(common), source=source)
            tags += [] if source is not None else [Tag(at, span.name) for span in one.spans]
        else:
            tags += [Tag(at, span.name) for span in one.spans]
        made.append(one)
    return Shape(tuple(made), tuple(tags), 1, keys)


def _ends_in(
    pair: Records, single: Records, answers: Sequence[Mapping[str | None, list[Row]]]
) -> bool:
    """Whether the values of a pair are nearly all those of singles of the same answer."""
    name = single.spans[0].name
    there = total = 0
    for one in answers:
        known = {row.get(name) for row in one.get(single.key, ())}
        for row in one.get(pair.key, ()):
            for span in pair.spans:
                total += 1
                there += row.get(span.name) in known
    return total > 0 and there >= FROM_SINGLES * total


# --- spans --------------------------------------------------------------------------------------


@dataclass
class _Search:
    """The spans of one example as they are found, each once, and what is counted on the way."""

    shape: Shape
    text: str
    counts: _Counts
    spans: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def add(self, tag: Tag, value: Json) -> list[int]:
        """The numbers of the spans that a value has; none of a tag that is too rare."""
        if tag not in self.shape.tags:
            return []
        number, found = self.shape.tags.index(tag), []
        for one in _texts_of(value) or ():
            places = places_of(one, self.text)
            self.counts.values += 1
            self.counts.absent += not places
            self.counts.ambiguous += len(places) > 1
            found += [self.spans.setdefault((number, *p), len(self.spans)) for p in places]
        return found

    def of_source(self, source: int, value: str) -> list[int]:
        """The spans of these singles that say this."""
        places = {*places_of(value, self.text)}
        return [
            number
            for (tag, start, end), number in self.spans.items()
            if self.shape.tags[tag].records == source and (start, end) in places
        ]


def _align(
    shape: Shape, text: str, answer: Mapping[str | None, list[Row]], counts: _Counts
) -> Aligned:
    search = _Search(shape, text, counts)
    links: list[tuple[int, int, int]] = []
    frames: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []
    # singles first: pairs are made of them
    order = sorted(range(len(shape.records)), key=lambda at: shape.records[at].style == "pair")
    for at in order:
        records = shape.records[at]
        for row in answer.get(records.key, ()):
            if records.style == "single":
                name = records.spans[0].name
                search.add(Tag(at, name, _combination(records, row)), row[name])
            elif records.style == "pair":
                links += _links_of(search, at, row)
            else:
                frames.append((at, *_frame(search, at, row)))
        if records.grouped:
            own = shape.links.index((at, ()))
            together = [members for of, members, _ in frames if of == at]
            links += [(a, b, own) for group in together for a in group for b in group if a != b]
    return Aligned(tuple(search.spans), tuple(dict.fromkeys(links)), tuple(frames))


def _frame(search: _Search, at: int, row: Row) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(spans, places of the values of its classes) of one frame."""
    records = search.shape.records[at]
    members: list[int] = []
    for span in records.spans:
        members += search.add(Tag(at, span.name), row.get(span.name) or [])
    chosen = tuple(one.values.index(row.get(one.name)) for one in records.classes)
    return tuple(dict.fromkeys(members)), chosen


def _links_of(search: _Search, at: int, row: Row) -> Iterator[tuple[int, int, int]]:
    """What one pair says, for all places that its two values stand at."""
    shape, records = search.shape, search.shape.records[at]
    ends = [
        search.add(Tag(at, span.name), row[span.name])
        if records.source is None
        else search.of_source(records.source, str(row[span.name]))
        for span in records.spans
    ]
    key = (at, _combination(records, row))
    if key in shape.links:
        place = shape.links.index(key)
        yield from ((a, b, place) for a in ends[0] for b in ends[1] if a != b)


def _with_ends(shape: Shape, rows: Sequence[Aligned]) -> Shape:
    """With the tags that the ends of pairs have in train: others are not looked at."""
    ends: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for row in rows:
        for one, other, link in row.links:
            ends[shape.links[link][0]].add((row.spans[one][0], row.spans[other][0]))
    records = [
        replace(one, ends=tuple(sorted(ends[at]))) if one.style == "pair" or one.grouped else one
        for at, one in enumerate(shape.records)
    ]
    return replace(shape, records=tuple(records))


def _cautions(counts: _Counts, n: int) -> Iterator[str]:
    if counts.absent:
        yield (
            f"{counts.absent} of {counts.values} values of train are not in their text word for "
            "word; they cannot be learnt as spans"
        )
    if counts.ambiguous:
        yield (
            f"{counts.ambiguous} of {counts.values} values of train stand in their text more than "
            "once; all places were taken"
        )
    if counts.merged:
        yield (
            f"{counts.merged} of {n} train answers have several records of many fields, which is "
            "too few to learn from: all that is found goes into one record"
        )
    for name, times in counts.dropped.items():
        yield (
            f"the field {name!r} ({times} values in train) is neither copied from the text nor one "
            "of a few values: it is left out"
        )
