"""A store in Qdrant: a point per passage, which carries the hash of its document.

The first passage of a document is put last, and only documents whose first passage is there count
as there: one that was cut off is put again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..embeddings import DIMENSIONS
from ..errors import StepladderError
from ..registry import need
from .passages import Passage
from .retriever import Hit

if TYPE_CHECKING:
    from .remote import Stored

__all__ = ["QdrantStore", "connect"]

_PAGE = 1000
_AT_ONCE = 256  # points or vectors of one request: a server takes 32 MiB
_POINTS = uuid.UUID("5b1d6e34-4d0c-4c5e-9a2d-6a5f1e0c7d11")  # of which points' ids are made


def connect(url: str, collection: str, key: str | None) -> QdrantStore:
    """The collection on the server at this URL."""
    qdrant: Any = need("qdrant_client", extra="qdrant", what="searching in Qdrant")
    return QdrantStore(
        qdrant.QdrantClient(url=url, api_key=key, timeout=30, check_compatibility=False), collection
    )


class QdrantStore:
    """A collection behind a client of Qdrant's own."""

    def __init__(self, client: Any, collection: str) -> None:
        self._client = client
        self._collection = collection
        self._models: Any = need("qdrant_client.models", extra="qdrant", what="searching in Qdrant")
        with _told():
            if not client.collection_exists(collection):
                size = self._models.VectorParams(
                    size=DIMENSIONS, distance=self._models.Distance.COSINE
                )
                client.create_collection(collection, vectors_config=size)
                # without them a filter reads every point, and a server in strict mode refuses it
                kinds = self._models.PayloadSchemaType
                for name, kind in (("document", kinds.KEYWORD), ("order", kinds.INTEGER)):
                    client.create_payload_index(collection, name, kind, wait=True)

    def hashes(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        first = self._filter("order", [0])
        offset = None
        with _told():
            while True:
                points, offset = self._client.scroll(
                    self._collection,
                    scroll_filter=first,
                    limit=_PAGE,
                    offset=offset,
                    with_payload=["document", "sha256"],
                )
                found.update({p.payload["document"]: p.payload["sha256"] for p in points})
                if offset is None:
                    return found

    def put(self, documents: Sequence[Stored]) -> None:
        self.remove([one.document.id for one in documents])
        points: tuple[list[Any], list[Any]] = [], []
        for one in documents:
            for order, (passage, vector) in enumerate(zip(one.passages, one.vectors, strict=True)):
                told = {**asdict(passage), "order": order, "sha256": one.document.sha256}
                id = str(uuid.uuid5(_POINTS, passage.id))
                point = self._models.PointStruct(id=id, vector=vector.tolist(), payload=told)
                points[order == 0].append(point)
        with _told():
            for some in points:
                for group in _groups(some):
                    self._client.upsert(self._collection, group, wait=True)

    def remove(self, ids: Sequence[str]) -> None:
        for group in _groups(ids):
            chosen = self._models.FilterSelector(filter=self._filter("document", list(group)))
            with _told():
                self._client.delete(self._collection, chosen, wait=True)

    def nearest(self, vectors: Any, k: int) -> list[list[Hit]]:
        asked = [
            self._models.QueryRequest(query=vector.tolist(), limit=k, with_payload=True)
            for vector in vectors
        ]
        found: list[list[Hit]] = []
        with _told():
            for group in _groups(asked):
                answers = self._client.query_batch_points(self._collection, group)
                found += [[_hit(point) for point in answer.points] for answer in answers]
        return found

    def count(self) -> int:
        with _told():
            return int(self._client.count(self._collection, exact=True).count)

    def close(self) -> None:
        self._client.close()

    def _filter(self, field: str, values: list[Any]) -> Any:
        match = self._models.MatchAny(any=values)
        return self._models.Filter(must=[self._models.FieldCondition(key=field, match=match)])


def _groups(every: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """What goes into one request each."""
    for start in range(0, len(every), _AT_ONCE):
        yield every[start : start + _AT_ONCE]


def _hit(point: Any) -> Hit:
    names = Passage.__dataclass_fields__
    return Hit(Passage(**{name: point.payload[name] for name in names}), float(point.score))


@contextmanager
def _told() -> Iterator[None]:
    from qdrant_client.http.exceptions import ApiException

    try:
        yield
    except (ApiException, ValueError, OSError) as error:
        said = str(error).strip().partition("\n")[0]
        raise StepladderError(
            f"Qdrant cannot be used: {said}", hint="look at the URL, the key and the collection"
        ) from error
