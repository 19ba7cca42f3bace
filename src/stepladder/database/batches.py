"""Batches and their items: each item is answered once, whoever works on the batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, insert, select, update

from ..core import Json
from .leases import Leased, only
from .records import Batch, BatchItem, JobState
from .rows import Page, add, counted, find, limited, page, same
from .tables import batch_items, batches
from .values import encode, record_of, values_of

__all__ = ["Batches"]

AT_ONCE = 500  # items inserted with one statement


class Batches(Leased):
    """The queue of batches."""

    def add_batch(self, batch: Batch, items: Iterable[BatchItem]) -> Batch:
        """Queue a batch with its items, whose number becomes its `total`."""
        total, rows = 0, []
        with self._connections.write() as connection:
            add(connection, batches, batch)
            for item in items:
                rows.append(encode(batch_items, {**values_of(item), "batch": batch.id}))
                total += 1
                if len(rows) == AT_ONCE:
                    connection.execute(insert(batch_items), rows)
                    rows = []
            if rows:
                connection.execute(insert(batch_items), rows)
            counted = update(batches).where(batches.c.id == batch.id).values(total=total)
            connection.execute(counted)
            found = find(connection, batches, Batch, batch.id)
        assert found is not None
        return found

    def batch(self, id: str) -> Batch | None:
        """The batch as it is now."""
        with self._connections.read() as connection:
            return find(connection, batches, Batch, id)

    def batches(
        self,
        *,
        owner: str | None = None,
        protocol: str | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> list[Batch]:
        """Batches, the newest first."""
        wanted = same(batches, owner=owner, protocol=protocol)
        with self._connections.read() as connection:
            return page(connection, batches, Batch, Page(after, limit), *wanted)

    def change_batch(
        self,
        id: str,
        *,
        only_in: tuple[JobState, ...] = (),
        held_by: str | None = None,
        **changes: Any,
    ) -> Batch | None:
        """The batch after the change.

        None where it is gone, in none of the states `only_in`, or no longer claimed by `held_by`.
        """
        return self._change(batches, Batch, id, only(batches, only_in, held_by), changes)

    def claim_batch(self, worker: str, lease_seconds: float) -> Batch | None:
        """The oldest batch that waits or whose worker fell silent, as `claim_job` has it."""
        return self._claim(batches, Batch, worker, lease_seconds)

    def keep_batch(self, id: str, worker: str, lease_seconds: float) -> bool:
        """Go on holding a batch; False where it is no longer this worker's."""
        return self._keep(batches, id, worker, lease_seconds)

    def open_items(self, batch: str, limit: int = 100) -> list[BatchItem]:
        """The first items that are not done."""
        query = select(batch_items).where(
            *same(batch_items, batch=batch), batch_items.c.done.is_(False)
        )
        return self._items(query.order_by(batch_items.c.index).limit(limited(limit)))

    def finish_item(
        self,
        batch: str,
        index: int,
        *,
        answer: Json = None,
        error: Mapping[str, Json] | None = None,
    ) -> bool:
        """Save an item's answer or error and count it; False where it was done or is not there."""
        saved = encode(batch_items, {"answer": answer, "error": error})
        item = update(batch_items).where(
            *same(batch_items, batch=batch),
            batch_items.c.index == index,
            batch_items.c.done.is_(False),
        )
        counted = batches.c.succeeded if error is None else batches.c.failed
        # the batch first, as when it is deleted: who locks in another order may block each other
        held = select(batches.c.id).where(*same(batches, id=batch)).with_for_update()
        with self._connections.write() as connection:
            connection.execute(held)
            if not connection.execute(item.values(done=True, **saved)).rowcount:
                return False
            connection.execute(
                update(batches)
                .where(batches.c.id == batch)
                .values({counted: counted + 1, batches.c.updated_at: self._clock()})
            )
        return True

    def items(self, batch: str, *, after: int = -1, limit: int = 1000) -> list[BatchItem]:
        """Items by their index, from the one after `after` on."""
        query = select(batch_items).where(
            *same(batch_items, batch=batch), batch_items.c.index > counted(after)
        )
        return self._items(query.order_by(batch_items.c.index).limit(limited(limit)))

    def delete_batch(self, id: str) -> bool:
        """Forget a batch and its items; False where there was none."""
        with self._connections.write() as connection:
            gone = delete(batches).where(*same(batches, id=id))
            return bool(connection.execute(gone).rowcount)

    def _items(self, query: Any) -> list[BatchItem]:
        with self._connections.read() as connection:
            rows = connection.execute(query).mappings()
            return [record_of(BatchItem, batch_items, dict(row)) for row in rows]
