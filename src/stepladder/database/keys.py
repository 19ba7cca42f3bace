"""API keys: who may call, known by the hash of the key alone."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import select, update

from .records import ApiKey
from .rows import Kept, add, same
from .tables import keys
from .values import record_of

__all__ = ["Keys"]


class Keys(Kept):
    """The keys, those that were revoked included."""

    def add_key(
        self,
        id: str,
        hash: str,
        role: Literal["use", "tune", "admin"],
        requests_per_minute: int | None,
        dollars_per_month: float | None,
        created_at: datetime,
    ) -> None:
        """Let a key in. Of the key itself only the hash comes here."""
        key = ApiKey(id, hash, role, requests_per_minute, dollars_per_month, created_at)
        with self._connections.write() as connection:
            add(connection, keys, key)

    def keys(self) -> list[ApiKey]:
        """All keys there ever were, the oldest first."""
        with self._connections.read() as connection:
            rows = connection.execute(select(keys).order_by(keys.c.created_at, keys.c.id))
            return [record_of(ApiKey, keys, dict(row)) for row in rows.mappings()]

    def revoke_key(self, id: str) -> bool:
        """Let a key in no more; False where there is none or it was revoked before."""
        stands = update(keys).where(*same(keys, id=id), keys.c.revoked_at.is_(None))
        with self._connections.write() as connection:
            return bool(connection.execute(stands.values(revoked_at=self._clock())).rowcount)
