"""A tuning job that is to wait: its worker stops within a step, and goes on from its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...database.database import Database
    from ...database.records import TuningJob

__all__ = ["paused", "resumed"]


def paused(database: Database, id: str) -> TuningJob | None:
    """The job as it is after that; None where it is over or being cancelled.

    What waits is paused; what runs is told to stop, and told so again does no harm.
    """
    return (
        database.change_job(id, only_in=("queued", "paused"), state="paused")
        or database.change_job(id, only_in=("running", "pausing"), state="pausing")
    )  # fmt: skip


def resumed(database: Database, id: str) -> TuningJob | None:
    """The job as it is after that; None where it was not paused.

    Where its worker had not stopped yet, it does not stop.
    """
    return (
        database.change_job(id, only_in=("pausing",), state="running")
        or database.change_job(id, only_in=("paused",), state="queued")
    )  # fmt: skip
