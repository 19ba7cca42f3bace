"""Documents cut at the ends of sentences into passages of about one size.

A passage is what is searched, shown to a model and cited. Sizes are in words and marks, which need
no tokenizer; a model's tokenizer makes about 1.3 tokens of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ..errors import StepladderError
from .documents import Document

__all__ = ["Passage", "check_sizes", "cut", "sentences"]

_TOKEN = re.compile(r"\w+|[^\w\s]")
# A sentence ends with its marks and what closes them before a space, with the full-width marks of
# Chinese and Japanese, or with an empty line.
_CLOSE = "\"'\u201d\u2019)\\]"
_WIDE, _WIDE_CLOSE = "\u3002\uff01\uff1f", "\"'\u201d\u2019\uff09\u300d\u300f"
_END = re.compile(
    rf"(?<![.!?\u2026])[.!?\u2026]+[{_CLOSE}]*(?=\s)|[{_WIDE}]+[{_WIDE_CLOSE}]*|(?=\n[ \t]*\n)"
)
# What ends with a full stop and no sentence: an initial, or one of these before it.
_SHORT = re.compile(
    r"(?:\b[A-Za-z]|\b(?:al|approx|cf|ca|co|corp|dept|dr|ed|eds|eq|eqs|est|etc|fig|figs|inc|jr|ltd"
    r"|mr|mrs|ms|no|nos|pp|prof|ref|refs|sec|sr|st|vol|vs|i\.e|e\.g))\.$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: `text` is the characters from `start` to `end` of its text."""

    id: str
    document: str
    title: str
    source: str
    text: str
    start: int
    end: int


def check_sizes(size: int, overlap: int) -> None:
    """Raise StepladderError unless passages of `size` can share `overlap` and still go on."""
    if size < 1 or not 0 <= overlap < size:
        raise StepladderError(
            f"passages cannot have size {size} and overlap {overlap}",
            hint="give a size of at least 1 and an overlap from 0 to below the size",
        )


def cut(document: Document, size: int, overlap: int = 0) -> list[Passage]:
    """The passages, each of at most `size` words and marks, in their order.

    The end of one is repeated at the beginning of the next, as whole sentences of together at most
    `overlap`. A sentence longer than `size` is cut between words. Each character that is not a
    space is in some passage; a document of spaces has none.
    """
    made = []
    for number, (start, end) in enumerate(_spans(document.text, size, overlap)):
        made.append(
            Passage(
                f"{document.id}#{number}",
                document.id,
                document.title,
                document.source,
                document.text[start:end],
                start,
                end,
            )
        )
    return made


def sentences(text: str) -> list[str]:
    """The sentences of a text, in their order, without the spaces around them."""
    ends = [0, *_sentence_ends(text), len(text)]
    found = (text[start:end].strip() for start, end in pairwise(ends))
    return [sentence for sentence in found if sentence]


def _spans(text: str, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    starts = [match.start() for match in _TOKEN.finditer(text)]
    if not starts:
        return
    if len(starts) <= size:
        yield _trimmed(text, 0, len(text))
        return
    pieces = _pieces(text, starts, size)  # (first token, token after the last)
    first = 0
    while first < len(pieces):
        last = first
        while last + 1 < len(pieces) and pieces[last + 1][1] - pieces[first][0] <= size:
            last += 1
        after = pieces[last][1]
        yield _trimmed(text, starts[pieces[first][0]], starts[after] if after < len(starts) else -1)
        following = last + 1
        if following < len(pieces):  # begin earlier, as long as the next piece still fits
            while (
                following - 1 > first
                and after - pieces[following - 1][0] <= overlap
                and pieces[last + 1][1] - pieces[following - 1][0] <= size
            ):
                following -= 1
        first = following


def _pieces(text: str, starts: list[int], size: int) -> list[tuple[int, int]]:
    """Sentences as ranges of tokens; those longer than `size` in parts."""
    pieces = []
    begin = token = 0
    for end in [*_sentence_ends(text), len(text)]:
        while token < len(starts) and starts[token] < end:
            token += 1
        for part in range(begin, token, size):
            pieces.append((part, min(part + size, token)))
        begin = token
    return pieces


def _sentence_ends(text: str) -> Iterator[int]:
    for match in _END.finditer(text):
        if match.group() == "." and _SHORT.search(text, max(0, match.start() - 8), match.end()):
            continue
        yield match.end()


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the spaces around; `end` -1 is the end of the text."""
    end = len(text) if end == -1 else end
    while end > start and text[end - 1].isspace():
        end -= 1
    while start < end and text[start].isspace():
        start += 1
    return start, end
