"""Tuning jobs, what happened to them, and the tuned models they left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from sqlalchemy import delete, func, insert, select

from ..core import Json
from .leases import Leased, checked_changes, only
from .records import Checkpoint, JobState, TunedModel, TuningEvent, TuningJob
from .rows import NotKept, Page, add, change, counted, find, limited, page, same
from .tables import tuned_models, tuning_events, tuning_jobs
from .values import encode, is_storable, record_of, values_of

__all__ = ["Jobs"]


class Jobs(Leased):
    """The queue of tuning jobs, and the models that came of them."""

    def add_job(self, job: TuningJob) -> None:
        """Queue a job."""
        with self._connections.write() as connection:
            add(connection, tuning_jobs, job)

    def job(self, id: str) -> TuningJob | None:
        """The job as it is now."""
        with self._connections.read() as connection:
            return _whole(find(connection, tuning_jobs, TuningJob, id))

    def jobs(
        self,
        *,
        owner: str | None = None,
        protocol: str | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> list[TuningJob]:
        """Jobs, the newest first."""
        wanted = same(tuning_jobs, owner=owner, protocol=protocol)
        with self._connections.read() as connection:
            found = page(connection, tuning_jobs, TuningJob, Page(after, limit), *wanted)
        return [job for each in found if (job := _whole(each))]

    def count_jobs(self) -> dict[JobState, int]:
        """How many jobs there are, by state."""
        counted = select(tuning_jobs.c.state, func.count()).group_by(tuning_jobs.c.state)
        with self._connections.read() as connection:
            return {state: number for state, number in connection.execute(counted)}

    def change_job(
        self,
        id: str,
        *,
        only_in: tuple[JobState, ...] = (),
        held_by: str | None = None,
        **changes: Any,
    ) -> TuningJob | None:
        """The job after the change.

        None where it is gone, in none of the states `only_in`, or no longer claimed by `held_by`.
        """
        return _whole(
            self._change(tuning_jobs, TuningJob, id, only(tuning_jobs, only_in, held_by), changes)
        )

    def claim_job(self, worker: str, lease_seconds: float) -> TuningJob | None:
        """The oldest job that waits, or whose worker has been silent for longer than its lease.

        It is `running` then, or still `cancelling` or `pausing`: its worker died before it could
        stop, and the new one has to finish that.
        """
        return _whole(self._claim(tuning_jobs, TuningJob, worker, lease_seconds))

    def keep_claim(self, id: str, worker: str, lease_seconds: float) -> bool:
        """Go on holding a job; False where it is no longer this worker's."""
        return self._keep(tuning_jobs, id, worker, lease_seconds)

    def add_event(
        self,
        job: str,
        level: Literal["info", "warn", "error"],
        message: str,
        data: Mapping[str, Json] = {},
    ) -> TuningEvent:
        """Tell something about a job; raises NotKept where there is no such job."""
        here = tuning_events.c.job == job
        with self._connections.write() as connection:
            held = select(tuning_jobs.c.id).where(tuning_jobs.c.id == job).with_for_update()
            if not is_storable(job) or connection.scalar(held) is None:
                raise NotKept(f"there is no tuning job {job!r}", hint="list the jobs")
            last = connection.scalar(select(func.max(tuning_events.c.number)).where(here)) or 0
            event = TuningEvent(job, last + 1, self._clock(), level, message, data)
            connection.execute(insert(tuning_events), encode(tuning_events, values_of(event)))
        return event

    def events(
        self, job: str, *, after: int = 0, limit: int = 100, newest_first: bool = False
    ) -> list[TuningEvent]:
        """What happened to a job: what comes after the event `after` in the order asked for."""
        number = tuning_events.c.number
        query = select(tuning_events).where(*same(tuning_events, job=job)).limit(limited(limit))
        after = counted(after)
        if newest_first:
            query = query.order_by(number.desc()).where(*([number < after] if after else []))
        else:
            query = query.order_by(number).where(number > after)
        with self._connections.read() as connection:
            rows = connection.execute(query).mappings()
            return [record_of(TuningEvent, tuning_events, dict(row)) for row in rows]

    def add_tuned(self, model: TunedModel) -> None:
        """Keep a tuned model."""
        with self._connections.write() as connection:
            add(connection, tuned_models, model)

    def tuned(self, id: str) -> TunedModel | None:
        """The tuned model with this id."""
        with self._connections.read() as connection:
            return find(connection, tuned_models, TunedModel, id)

    def tuned_models(
        self, *, owner: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[TunedModel]:
        """Tuned models, the newest first."""
        wanted = same(tuned_models, owner=owner)
        with self._connections.read() as connection:
            return page(connection, tuned_models, TunedModel, Page(after, limit), *wanted)

    def change_tuned(self, id: str, **changes: Any) -> TunedModel | None:
        """The tuned model after the change; None where it is gone."""
        checked_changes(TunedModel, changes)
        changes = {"updated_at": self._clock(), **changes}
        with self._connections.write() as connection:
            return change(connection, tuned_models, TunedModel, changes, same(tuned_models, id=id))

    def delete_tuned(self, id: str) -> bool:
        """Forget a tuned model; its files are apart. False where there was none."""
        with self._connections.write() as connection:
            gone = delete(tuned_models).where(*same(tuned_models, id=id))
            return bool(connection.execute(gone).rowcount)


def _whole(job: TuningJob | None) -> TuningJob | None:
    """With its checkpoints and files as the record has them, not as JSON has."""
    if job is None:
        return None
    points: Any = job.checkpoints
    checkpoints = tuple(Checkpoint(**point) for point in points)
    return replace(job, checkpoints=checkpoints, result_files=tuple(job.result_files))
