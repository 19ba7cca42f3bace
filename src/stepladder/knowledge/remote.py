"""Passages in a vector database by URL: PostgreSQL with pgvector, or Qdrant.

For more than one machine holds, or where there is such a database already. What changed is told by
the hash of each document, as with an index of files. Searching is by meaning; `Fused` joins it with
another retriever. Databases are in `remote_pgvector.py` and `remote_qdrant.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..embeddings import embed_kept
from ..errors import StepladderError
from .documents import Document
from .encoder import encode, encoder_name
from .passages import Passage, check_sizes, cut
from .retriever import Hit

__all__ = ["Remote", "Store", "Stored", "fill", "open_store"]

_BATCH = 64  # documents put at once


@dataclass(frozen=True)
class Stored:
    """A document with its passages and their vectors, float32, one row each."""

    document: Document
    passages: tuple[Passage, ...]
    vectors: Any


class Store(Protocol):
    """One collection of passages in a database. Safe to call from several threads."""

    def hashes(self) -> Mapping[str, str]:
        """The hash of each document that is there whole, by its id."""
        ...

    def put(self, documents: Sequence[Stored]) -> None:
        """Put documents in the place of what has their ids; each is there whole or not at all."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Take documents out."""
        ...

    def nearest(self, vectors: Any, k: int) -> list[list[Hit]]:
        """Per vector the nearest `k` passages, with their cosines."""
        ...

    def count(self) -> int:
        """How many passages there are."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Remote:
    """A retriever over a store."""

    store: Store

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """As `Retriever.search`."""
        return self.store.nearest(encode(queries), k) if queries else []


def open_store(url: str, collection: str, *, key: str | None = None) -> Store:
    """The collection at a `postgresql://` URL, or at the URL of a Qdrant server.

    The latter is `http(s)://`, or `qdrant://`, which is `http://` by another name. The collection
    is made if it is not there. `key` is Qdrant's.

    Raises:
        StepladderError: the URL is of neither kind, or the database cannot be reached or used.
        MissingExtra: its client is not installed.
    """
    kind = url.partition("://")[0]
    if kind in ("postgresql", "postgres"):
        from .remote_pgvector import PgvectorStore

        return PgvectorStore(url, collection)
    if kind in ("http", "https", "qdrant"):
        from .remote_qdrant import connect

        return connect(re.sub("^qdrant://", "http://", url), collection, key)
    raise StepladderError(
        f"no vector database is reached by {kind!r}",
        hint="give postgresql://... (with pgvector), or qdrant://... or http(s)://... (Qdrant)",
    )


def fill(
    store: Store, documents: Iterable[Document], size: int, overlap: int, kept: Path
) -> dict[str, int]:
    """Make the store hold these documents and no others; how many were put, kept and removed.

    Vectors are kept in `kept` by content. Killed halfway, it goes on where it was the next time.
    Passages of another size or encoder are other passages: give them a collection of their own.
    """
    check_sizes(size, overlap)
    known = dict(store.hashes())
    done = {"put": 0, "kept": 0, "removed": 0}
    waiting: list[Document] = []
    for document in documents:
        if known.pop(document.id, None) == document.sha256:
            done["kept"] += 1
            continue
        waiting.append(document)
        if len(waiting) == _BATCH:
            done["put"] += _put(store, waiting, (size, overlap), kept)
            waiting = []
    done["put"] += _put(store, waiting, (size, overlap), kept)
    if known:
        store.remove(list(known))
        done["removed"] = len(known)
    return done


def _put(store: Store, documents: Sequence[Document], sizes: tuple[int, int], kept: Path) -> int:
    if not documents:
        return 0
    cuts = [tuple(cut(document, *sizes)) for document in documents]
    texts = [passage.text for passages in cuts for passage in passages]
    vectors = embed_kept(texts, kept, encode, encoder_name()) if texts else encode([])
    made, start = [], 0
    for document, passages in zip(documents, cuts, strict=True):
        made.append(Stored(document, passages, vectors[start : start + len(passages)]))
        start += len(passages)
    store.put(made)
    return len(made)
