"""A vector for each token of each passage, stored small: what late interaction compares.

The encoder's 384 numbers are turned to the axes along which the corpus differs most, and the first
of them kept as bytes. A passage whose key was in the index before keeps what it had there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .encoder import encode_tokens

__all__ = ["TOKENS_UP_TO", "TokenVectors", "wrap_raw", "write_tokens"]

TOKENS_UP_TO = 20_000  # passages: about 20 KB of each
KEPT_AXES = 96
TOKENS, ENDS, AXES, KEYS = "tokens.npy", "tokens-ends.npy", "tokens-axes.npy", "passage-keys.npy"
_SAMPLE = 1000  # passages from which the axes are found
_CHUNK = 256
Texts = Callable[[Iterable[int]], Iterator[str]]


class TokenVectors:
    """Those of an index, mapped from the disk."""

    def __init__(self, folder: Path) -> None:
        self._bytes = np.asarray(np.load(folder / TOKENS, mmap_mode="r"))
        self._ends = np.load(folder / ENDS)
        self.axes = np.load(folder / AXES)

    def of(self, row: int) -> Any:
        """What is stored of this passage: shape (tokens, kept), int8."""
        return self._bytes[self._ends[row - 1] if row else 0 : self._ends[row]]

    def turned(self, tokens: Any) -> Any:
        """Token vectors of a query, so that their products with what is stored are cosines."""
        scale = np.linalg.norm(self.axes[:, 0])
        return np.asarray(tokens, dtype=np.float32) @ self.axes / scale**2


def write_tokens(texts: Texts, keys: Any, folder: Path, before: Path | None) -> None:
    """Write the token vectors of every passage; `texts` gives those of rows, `keys` name them."""
    old, known = None, {}
    if before is not None and (before / TOKENS).is_file():
        old = TokenVectors(before)
        known = {int(key): row for row, key in enumerate(np.load(before / KEYS))}
        axes = old.axes
    else:
        sample = np.unique(np.linspace(0, len(keys) - 1, min(_SAMPLE, len(keys))).astype(int))
        axes = _axes(np.concatenate(encode_tokens(list(texts(sample)))))
    lengths: list[int] = []
    with (folder / "tokens.raw").open("wb") as raw:
        for start in range(0, len(keys), _CHUNK):
            names = [int(key) for key in keys[start : start + _CHUNK]]
            new = [start + at for at, name in enumerate(names) if name not in known]
            made = iter(encode_tokens(list(texts(new))))
            for name in names:
                row = known.get(name)
                kept = _small(next(made), axes) if row is None or old is None else old.of(row)
                raw.write(kept.tobytes())
                lengths.append(len(kept))
    np.save(folder / ENDS, np.cumsum(lengths, dtype=np.int64))
    np.save(folder / AXES, axes)
    wrap_raw(folder / "tokens.raw", folder / TOKENS, "|i1", axes.shape[1])


def wrap_raw(raw: Path, target: Path, kind: str, width: int | None = None) -> None:
    """Turn a file of plain bytes into an array of this kind, of `width` columns; `raw` goes."""
    size = raw.stat().st_size
    shape = (size,) if width is None else (size // width, width)
    with target.open("wb") as stream, raw.open("rb") as source:
        form = {"descr": kind, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(stream, form)
        shutil.copyfileobj(source, stream, 2**20)
    raw.unlink()


def _axes(tokens: Any) -> Any:
    """(384, kept): the directions with most of the tokens' length, scaled to fill a byte."""
    wide = np.asarray(tokens, dtype=np.float32)
    _, directions = np.linalg.eigh(wide.T @ wide / max(len(wide), 1))
    kept = directions[:, ::-1][:, :KEPT_AXES]
    return (kept * (127 / max(float(np.abs(wide @ kept).max(initial=0.0)), 1e-6))).astype("f4")


def _small(tokens: Any, axes: Any) -> Any:
    turned = np.rint(np.asarray(tokens, dtype=np.float32) @ axes)
    return np.clip(turned, -127, 127).astype(np.int8)
