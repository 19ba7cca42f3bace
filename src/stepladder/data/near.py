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
    signatures = np.stack([_signature(shingles(text)) for text in texts])

    @lru_cache(maxsize=4096)
    def of(index: int) -> Hashes:
        return shingles(texts[index])

    for left, right in _candidates(signatures, near - SLACK):
        similarity = jaccard(of(left), of(right))
        if similarity >= near:
            yield left, right, similarity


def shingles(text: str) -> Hashes:
    """The distinct hashed shingles of a text, ascending."""
    bare = PUNCTUATION.sub(" ", text.casefold()).strip() or text
    codes = np.frombuffer(bare.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    codes = codes.astype(np.uint64)
    width = min(WIDTH, len(codes))
    count = len(codes) - width + 1
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(width):
        hashes = hashes * MULTIPLIER + codes[offset : offset + count]
    return np.unique(_mixed(hashes))


def jaccard(left: Hashes, right: Hashes) -> float:
    """Shared shingles over all shingles of two texts."""
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared) if len(left) or len(right) else 1.0


def _mixed(hashes: Hashes) -> Hashes:
    """Bits spread evenly (the finaliser of SplitMix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


EDGES = np.array([(bin_ << 64) // BINS for bin_ in range(BINS)], dtype=np.uint64)


def _signature(ascending: Hashes) -> Signatures:
    """The least hash of each of BINS equal ranges; an empty bin borrows from the next full one."""
    first = np.searchsorted(ascending, EDGES)
    after = np.append(first[1:], len(ascending))
    full = np.flatnonzero(first < after)
    if not len(full):
        return np.zeros(BINS, dtype=np.uint32)
    lender = full[np.searchsorted(full, np.arange(BINS)) % len(full)]
    distance = (lender - np.arange(BINS)) % BINS  # so that borrowed values of unlike bins differ
    values = ascending[first[lender]] + distance.astype(np.uint64) * MULTIPLIER
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
