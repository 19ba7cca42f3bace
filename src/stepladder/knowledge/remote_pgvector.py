"""A store in PostgreSQL with the extension pgvector: two tables, an HNSW index over the vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..embeddings import DIMENSIONS
from ..errors import StepladderError
from ..registry import need
from .passages import Passage
from .retriever import Hit

if TYPE_CHECKING:
    from .remote import Stored

__all__ = ["PgvectorStore"]

_TABLES = f"""
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE IF NOT EXISTS stepladder_documents (
    collection text, id text, sha256 text NOT NULL, PRIMARY KEY (collection, id)
);
CREATE TABLE IF NOT EXISTS stepladder_passages (
    collection text, id text, document text NOT NULL, title text NOT NULL, source text NOT NULL,
    body text NOT NULL, first integer NOT NULL, last integer NOT NULL,
    embedding vector({DIMENSIONS}) NOT NULL, PRIMARY KEY (collection, id),
    FOREIGN KEY (collection, document) REFERENCES stepladder_documents ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS stepladder_passages_document
    ON stepladder_passages (collection, document);
CREATE INDEX IF NOT EXISTS stepladder_passages_embedding
    ON stepladder_passages USING hnsw (embedding vector_cosine_ops);
"""
_SEARCH = """
SELECT id, document, title, source, body, first, last, 1 - (embedding <=> %(v)s::vector)
FROM stepladder_passages WHERE collection = %(collection)s
ORDER BY embedding <=> %(v)s::vector LIMIT %(k)s
"""
_LOCK = 0x57E9_1ADD  # one process at a time makes the tables


class PgvectorStore:
    """One connection, one call at a time."""

    def __init__(self, url: str, collection: str) -> None:
        self._psycopg: Any = need("psycopg", extra="postgres", what="searching in PostgreSQL")
        self._collection = collection
        self._lock = Lock()
        with self._told():
            self._connection = self._psycopg.connect(url, autocommit=True, connect_timeout=30)
        with self._transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            cursor.execute(_TABLES)

    def hashes(self) -> Mapping[str, str]:
        with self._transaction() as cursor:
            asked = "SELECT id, sha256 FROM stepladder_documents WHERE collection = %s"
            return dict(cursor.execute(asked, (self._collection,)).fetchall())

    def put(self, documents: Sequence[Stored]) -> None:
        named = [(self._collection, one.document.id, one.document.sha256) for one in documents]
        rows = [
            (
                self._collection,
                p.id,
                p.document,
                p.title,
                p.source,
                p.text,
                p.start,
                p.end,
                _text(v),
            )
            for one in documents
            for p, v in zip(one.passages, one.vectors, strict=True)
        ]
        with self._transaction() as cursor:
            self._remove(cursor, [one.document.id for one in documents])
            cursor.executemany("INSERT INTO stepladder_documents VALUES (%s, %s, %s)", named)
            cursor.executemany(
                "INSERT INTO stepladder_passages VALUES"
                " (%s, %s, %s, %s, %s, %s, %s, %s, %s::vector)",
                rows,
            )

    def remove(self, ids: Sequence[str]) -> None:
        with self._transaction() as cursor:
            self._remove(cursor, ids)

    def nearest(self, vectors: Any, k: int) -> list[list[Hit]]:
        found = []
        with self._transaction() as cursor:
            # the graph is searched for all collections: go on until this one has given enough
            cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            cursor.execute(f"SET LOCAL hnsw.ef_search = {min(max(2 * k, 64), 1000)}")
            for vector in vectors:
                given = {"v": _text(vector), "collection": self._collection, "k": k}
                rows = cursor.execute(_SEARCH, given).fetchall()
                found.append([Hit(Passage(*row[:7]), float(row[7])) for row in rows])
        return found

    def count(self) -> int:
        with self._transaction() as cursor:
            asked = "SELECT count(*) FROM stepladder_passages WHERE collection = %s"
            (found,) = cursor.execute(asked, (self._collection,)).fetchone()
        return int(found)

    def close(self) -> None:
        self._connection.close()

    def _remove(self, cursor: Any, ids: Sequence[str]) -> None:
        asked = "DELETE FROM stepladder_documents WHERE collection = %s AND id = ANY(%s)"
        cursor.execute(asked, (self._collection, list(ids)))

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._lock, self._told(), self._connection.transaction():
            yield self._connection.cursor()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.Error as error:
            raise StepladderError(
                f"PostgreSQL with pgvector cannot be used: {str(error).strip() or type(error)}",
                hint="look at the URL, and whether the extension 'vector' (0.8 or newer) is "
                "installed there",
            ) from error


def _text(vector: Any) -> str:
    return "[" + ",".join(f"{float(value):.7g}" for value in vector) + "]"
