"""Long texts in overlapping pieces that an encoder can read. Knows nothing of what they are for."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["cut_windows", "window_spans"]


def window_spans(length: int, most: int, overlap: int) -> list[tuple[int, int]]:
    """(start, end) of each window over `length` tokens: all are covered, none is over `most`.

    Neighbours share at least `overlap` tokens, more where the last window is pushed back so that it
    is full too. An empty text is one empty window.
    """
    if length <= most:
        return [(0, length)]
    starts = [*range(0, length - most, most - overlap), length - most]
    return [(start, start + most) for start in starts]


def cut_windows(
    ids: Sequence[int], most: int, overlap: int
) -> list[tuple[tuple[int, int], list[int]]]:
    """Each window's (start, end) among the text's own tokens, and its ids with the two marks.

    `ids` begin and end with a mark; `most` counts both.
    """
    inner = ids[1:-1]
    return [
        ((start, end), [ids[0], *inner[start:end], ids[-1]])
        for start, end in window_spans(len(inner), most - 2, overlap)
    ]
