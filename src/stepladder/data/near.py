"""Texts that are nearly the same, among very many: candidates by hashing, verdicts by counting.

A text is its set of 5-character shingles after case, spacing and punctuation are put aside. Two
texts are near when the Jaccard similarity of their sets is at least NEAR. Candidates come from
one-permutation MinHash (Li, Owen and Zhang 2012) with rotation for empty bins (Shrivastava and Li
2014) and banded buckets; each candidate pair is then checked exactly, so what is reported is true
and what can be missed is a pair that shares no bucket: 0.07 % of pairs at NEAR by the formula.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEAR", "jaccard", "near_pairs", "shingles"]

# Jaccard similarity of 5-character shingles. On customer questions, pairs from 0.8 on are the same
# question reworded; at 0.7 there are pairs with different answers ("an exchange rate", "... fee").
NEAR = 0.8
WIDTH = 5
BANDS, ROWS = 24, 6  # a pair at 0.8 shares a bucket with probability 1 - (1 - 0.8**6)**24
BINS = BANDS * ROWS
WINDOW = 16  # in a bucket, each text meets this many others: buckets of thousands stay cheap
EMPTY = np.uint64(2**64 - 1)
BATCH = 512  # texts hashed at once
CHUNK = 50_000  # candidate pairs whose signatures are compared at once
SLACK = 0.25  # candidates whose estimated similarity is below NEAR - SLACK are not counted out

PUNCTUATION = re.compile(r"[\W_]+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
Hashes = NDArray[np.uint64]
Signatures = NDArray[np.uint32]


def near_pairs(texts: Sequence[str], near: float = NEAR) -> Iterator[tuple[int, int, float]]:
    """Index pairs (i < j) of near texts with their similarity, each pair once.

    Identical texts (after the normalisation above) are pairs too; remove them first if there may
    be thousands.
    """
    if len(texts) < 2:
        return
    batches = [_signatures(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    signatures = np.concatenate(batches)

    @lru_cache(maxsize=4096)
    def of(index: int) -> Hashes:
        return shingles(texts[index])

    for left, right in _candidates(signatures, near - SLACK):
        similarity = jaccard(of(left), of(right))
        if similarity >= near:
            yield left, right, similarity


def shingles(text: str) -> Hashes:
    """The distinct hashed shingles of a text, ascending."""
    return np.unique(_hashes(_codes(_bare(text))))


def jaccard(left: Hashes, right: Hashes) -> float:
    """Shared shingles over all shingles of two texts."""
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared) if len(left) or len(right) else 1.0


def _bare(text: str) -> str:
    """Text without case, spacing and punctuation, long enough for one shingle."""
    return (PUNCTUATION.sub(" ", text.casefold()).strip() or text).ljust(WIDTH, "\0")


def _codes(text: str) -> Hashes:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return codes.astype(np.uint64)


def _hashes(codes: Hashes) -> Hashes:
    """The hash of every WIDTH characters in a row."""
    count = len(codes) - WIDTH + 1
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(WIDTH):
        hashes = hashes * MULTIPLIER + codes[offset : offset + count]
    return _mixed(hashes)


def _mixed(hashes: Hashes) -> Hashes:
    """Bits spread evenly (the finaliser of SplitMix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _signatures(texts: Sequence[str]) -> Signatures:
    """The least hash of each text in each of BINS ranges; an empty bin borrows from the next.

    The texts are hashed as one long text, and the shingles that span two of them are left out.
    """
    bare = [_bare(text) for text in texts]
    lengths = np.array([len(text) for text in bare])
    hashes = _hashes(_codes("".join(bare)))
    owner = np.repeat(np.arange(len(bare)), lengths)[: len(hashes)]
    whole = np.arange(len(hashes)) + WIDTH <= np.cumsum(lengths)[owner]
    hashes, owner = hashes[whole], owner[whole]
    bins = ((hashes >> np.uint64(32)) * np.uint64(BINS) >> np.uint64(32)).astype(np.intp)
    least = np.full(len(bare) * BINS, EMPTY, dtype=np.uint64)
    np.minimum.at(least, owner * BINS + bins, hashes)
    return _filled(least.reshape(len(bare), BINS))


def _filled(least: Hashes) -> Signatures:
    """Empty bins take the value of the next full one, changed by how far it came."""
    twice = np.concatenate([least, least], axis=1)
    place = np.where(twice == EMPTY, 2 * BINS, np.arange(2 * BINS))
    lender = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1][:, :BINS]
    distance = (lender - np.arange(BINS)).astype(np.uint64)
    values = np.take_along_axis(least, lender % BINS, axis=1) + distance * MULTIPLIER
    return (values >> np.uint64(20)).astype(np.uint32)


def _candidates(signatures: Signatures, least: float) -> Iterator[tuple[int, int]]:
    """Pairs in a common bucket whose signatures agree in at least a share `least` of bins."""
    size = np.uint64(len(signatures))
    coded: list[NDArray[np.uint64]] = []
    for band in range(BANDS):
        left, right = _bucket_mates(signatures[:, band * ROWS : (band + 1) * ROWS])
        for start in range(0, len(left), CHUNK):
            a, b = left[start : start + CHUNK], right[start : start + CHUNK]
            alike = (signatures[a] == signatures[b]).mean(axis=1) >= least
            low, high = np.minimum(a, b)[alike], np.maximum(a, b)[alike]
            coded.append(low.astype(np.uint64) * size + high.astype(np.uint64))
    pairs = np.unique(np.concatenate(coded)) if coded else np.zeros(0, dtype=np.uint64)
    for code in pairs:
        yield int(code // size), int(code % size)


def _bucket_mates(rows: Signatures) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of indices whose rows are the same, each with at most WINDOW of its fellows."""
    keys = np.zeros(len(rows), dtype=np.uint64)
    for column in rows.T:
        keys = _mixed(keys * MULTIPLIER + column.astype(np.uint64))
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    lefts, rights = [], []
    for step in range(1, min(WINDOW, len(rows) - 1) + 1):
        same = np.flatnonzero(ordered[step:] == ordered[:-step])
        if not len(same):
            break
        lefts.append(order[same])
        rights.append(order[same + step])
    nothing = np.zeros(0, dtype=np.intp)
    return (np.concatenate(lefts), np.concatenate(rights)) if lefts else (nothing, nothing)
