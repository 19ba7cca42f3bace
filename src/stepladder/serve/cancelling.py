"""The end of a job or batch that somebody cancels: at once, or as soon as its worker sees it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from ..database.records import HELD

__all__ = ["cancelled"]

Record = TypeVar("Record")


def cancelled(change: Callable[..., Record | None], id: str) -> Record | None:
    """The record as it is after that; None where it was over before.

    `change` changes a record that is in one of the states `only_in`, as the database does. What
    waits or is paused is cancelled; what runs is told to end, and told so again does no harm.
    """
    now = datetime.now(UTC)
    return change(
        id, only_in=("queued", "paused"), state="cancelled", finished_at=now, updated_at=now
    ) or change(id, only_in=HELD, state="cancelling", updated_at=now)
