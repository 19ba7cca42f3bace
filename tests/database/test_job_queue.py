"""Jobs and batches as a state machine against a simple model, and with many workers at once."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from making import Clock, a_batch, a_job, items_of
from sqlalchemy import delete

from stepladder.database.database import Database, open_database
from stepladder.database.records import OVER, JobState
from stepladder.database.tables import batches, tuning_jobs

STATES: tuple[JobState, ...] = (
    "queued", "running", "succeeded", "failed", "cancelling", "cancelled", "pausing", "paused",
)  # fmt: skip
GOING = ("running", "cancelling", "pausing")
WORKERS = st.sampled_from(["w1", "w2"])
LEASES = st.sampled_from([1, 60])


@dataclass
class Modelled:
    """What a job or batch should be."""

    id: str
    created_at: datetime
    state: str = "queued"
    worker: str | None = None
    until: datetime | None = None
    open_items: set[int] = field(default_factory=set)
    succeeded: int = 0
    failed: int = 0

    def is_free(self, now: datetime) -> bool:
        lapsed = self.until is None or self.until <= now
        return self.state == "queued" or (self.state in GOING and lapsed)


class Queue(RuleBasedStateMachine):
    """One sort of work: what both sorts have in common. `database` and `clock` are set below."""

    database: Database
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, Modelled] = {}
        with self.database._connections.write() as connection:
            connection.execute(delete(tuning_jobs))
            connection.execute(delete(batches))

    @rule(worker=WORKERS, lease=LEASES)
    def claim(self, worker: str, lease: int) -> None:
        now = self.clock.now
        free = [one for one in self.known.values() if one.is_free(now)]
        got = self._claim(worker, lease)
        if not free:
            assert got is None
            return
        wanted = min(free, key=lambda one: (one.created_at, one.id))
        assert got is not None
        assert got.id == wanted.id
        wanted.state = "running" if wanted.state == "queued" else wanted.state
        wanted.worker, wanted.until = worker, now + timedelta(seconds=lease)
        assert got.state == wanted.state
        assert got.started_at is not None

    @precondition(lambda self: self.known)
    @rule(data=st.data(), worker=WORKERS, lease=LEASES)
    def keep(self, data: st.DataObject, worker: str, lease: int) -> None:
        one = self._any(data)
        held = one.state in GOING and one.worker == worker
        assert self._keep(one.id, worker, lease) is held
        if held:
            one.until = self.clock.now + timedelta(seconds=lease)

    @precondition(lambda self: self.known)
    @rule(
        data=st.data(),
        only_in=st.lists(st.sampled_from(STATES), max_size=3, unique=True),
        state=st.sampled_from(STATES),
    )
    def move(self, data: st.DataObject, only_in: list[JobState], state: JobState) -> None:
        one = self._any(data)
        allowed = not only_in or one.state in only_in
        got = self._change(one.id, tuple(only_in), state)
        assert (got is not None) is allowed
        if allowed:
            one.state = state
            if state in (*OVER, "queued", "paused"):
                one.worker = one.until = None

    @rule(seconds=st.sampled_from([0.5, 1, 59, 61]))
    def wait(self, seconds: float) -> None:
        self.clock.move(seconds=seconds)

    def _any(self, data: st.DataObject) -> Modelled:
        return self.known[data.draw(st.sampled_from(sorted(self.known)))]

    def teardown(self) -> None:
        if isinstance(self, JobQueue):
            states = Counter(one.state for one in self.known.values())
            assert Counter(self.database.count_jobs()) == states
        for one in self.known.values():
            assert self._state(one.id) == one.state


class JobQueue(Queue):
    @rule()
    def add(self) -> None:
        job = a_job(created_at=self.clock.now)
        self.database.add_job(job)
        self.known[job.id] = Modelled(job.id, job.created_at)

    def _claim(self, worker, lease):
        return self.database.claim_job(worker, lease)

    def _keep(self, id, worker, lease):
        return self.database.keep_claim(id, worker, lease)

    def _change(self, id, only_in, state):
        return self.database.change_job(id, only_in=only_in, state=state)

    def _state(self, id):
        return self.database.job(id).state


class BatchQueue(Queue):
    @rule(items=st.integers(0, 3))
    def add(self, items: int) -> None:
        batch = a_batch(created_at=self.clock.now)
        self.database.add_batch(batch, items_of(batch, items))
        self.known[batch.id] = Modelled(batch.id, batch.created_at, open_items={*range(items)})

    @precondition(lambda self: self.known)
    @rule(data=st.data(), index=st.integers(-1, 3), well=st.booleans())
    def finish(self, data: st.DataObject, index: int, well: bool) -> None:
        one = self._any(data)
        was_open = index in one.open_items
        outcome = {"answer": {"n": index}} if well else {"error": {"message": "no"}}
        assert self.database.finish_item(one.id, index, **outcome) is was_open
        one.open_items -= {index}
        one.succeeded += was_open and well
        one.failed += was_open and not well
        found = self.database.batch(one.id)
        assert found is not None
        assert (found.succeeded, found.failed) == (one.succeeded, one.failed)
        assert {item.index for item in self.database.open_items(one.id)} == one.open_items

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        one = self._any(data)
        assert self.database.delete_batch(one.id)
        assert self.database.items(one.id) == []
        del self.known[one.id]

    def _claim(self, worker, lease):
        return self.database.claim_batch(worker, lease)

    def _keep(self, id, worker, lease):
        return self.database.keep_batch(id, worker, lease)

    def _change(self, id, only_in, state):
        return self.database.change_batch(id, only_in=only_in, state=state)

    def _state(self, id):
        return self.database.batch(id).state


@pytest.mark.parametrize("kind", [JobQueue, BatchQueue])
def test_the_queue_does_what_a_simple_model_says(
    kind: type[Queue], database: Database, clock: Clock
) -> None:
    here = type("Here", (kind,), {"database": database, "clock": clock})
    run_state_machine_as_test(here, settings=settings(max_examples=8, stateful_step_count=25))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [JobQueue, BatchQueue])
def test_the_queue_does_so_at_length(kind: type[Queue], database: Database, clock: Clock) -> None:
    here = type("Here", (kind,), {"database": database, "clock": clock})
    run_state_machine_as_test(here, settings=settings(max_examples=200, stateful_step_count=50))


def test_a_worker_that_lost_its_claim_is_told(database: Database, clock: Clock) -> None:
    job = a_job()
    database.add_job(job)
    assert database.claim_job("w1", 60) is not None
    clock.move(seconds=59)
    assert database.claim_job("w2", 60) is None
    clock.move(seconds=1)
    taken = database.claim_job("w2", 60)
    assert taken is not None
    assert taken.id == job.id
    assert not database.keep_claim(job.id, "w1", 60)
    assert database.change_job(job.id, held_by="w1", state="succeeded") is None
    assert database.change_job(job.id, held_by="w2", state="succeeded") is not None


def test_what_goes_back_into_the_queue_is_nobodys(database: Database) -> None:
    job = a_job()
    database.add_job(job)
    assert database.claim_job("w1", 60) is not None
    assert database.change_job(job.id, state="queued") is not None
    assert not database.keep_claim(job.id, "w1", 60)
    assert database.change_job(job.id, state="running") is not None
    assert not database.keep_claim(job.id, "w1", 60)
    assert database.claim_job("w2", 60) is not None, "running, and no lease on it"


def test_a_cancelled_job_whose_worker_died_is_found_and_finished(
    database: Database, clock: Clock
) -> None:
    job = a_job()
    database.add_job(job)
    assert database.claim_job("w1", 60) is not None
    assert database.change_job(job.id, only_in=("running",), state="cancelling") is not None
    clock.move(seconds=60)
    left = database.claim_job("w2", 60)
    assert left is not None
    assert left.state == "cancelling"


@contextmanager
def claimers(url: str, count: int) -> Iterator[list[Database]]:
    opened = [open_database(url) for _ in range(count)]
    yield opened
    for database in opened:
        database.close()


def claim_all(database: Database, worker: str, start: threading.Barrier) -> list[str]:
    start.wait()
    got = []
    while (job := database.claim_job(worker, 600)) is not None:
        got.append(job.id)
    return got


def test_threads_of_several_servers_claim_each_job_once(database: Database, url: str) -> None:
    jobs = [a_job() for _ in range(60)]
    for job in jobs:
        database.add_job(job)
    start = threading.Barrier(6)
    with claimers(url, 2) as servers, ThreadPoolExecutor(6) as pool:
        waits = [pool.submit(claim_all, servers[n % 2], f"w{n}", start) for n in range(6)]
        claimed = [id for wait in waits for id in wait.result()]
    assert Counter(claimed) == Counter(job.id for job in jobs)


def test_servers_number_the_events_of_a_job_without_a_gap(database: Database, url: str) -> None:
    """What reads before it writes, at the same time as others do."""
    job = a_job()
    database.add_job(job)

    def tell(server: Database) -> None:
        for _ in range(25):
            server.add_event(job.id, "info", "step")

    with claimers(url, 3) as servers, ThreadPoolExecutor(3) as pool:
        list(pool.map(tell, servers))
    assert [event.number for event in database.events(job.id)] == [*range(1, 76)]


def claim_in_a_process(url: str, worker: str, told: multiprocessing.Queue[list[str]]) -> None:
    database = open_database(url)
    told.put(claim_all(database, worker, threading.Barrier(1)))
    database.close()


@pytest.mark.slow
def test_processes_claim_each_job_once(database: Database, url: str) -> None:
    jobs = [a_job() for _ in range(300)]
    for job in jobs:
        database.add_job(job)
    spawn = multiprocessing.get_context("spawn")
    told = spawn.Queue()
    workers = [
        spawn.Process(target=claim_in_a_process, args=(url, f"w{n}", told)) for n in range(4)
    ]
    for worker in workers:
        worker.start()
    claimed = [told.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert Counter(id for ids in claimed for id in ids) == Counter(job.id for job in jobs)


def test_items_are_finished_once_whoever_is_first(database: Database) -> None:
    batch = a_batch()
    database.add_batch(batch, items_of(batch, 40))

    def finish_all(worker: int) -> int:
        return sum(database.finish_item(batch.id, n, answer={"by": worker}) for n in range(40))

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(finish_all, range(4)))
    assert sum(won) == 40
    found = database.batch(batch.id)
    assert found is not None
    assert (found.succeeded, found.failed, found.total) == (40, 0, 40)
    assert Counter(item.answer["by"] for item in database.items(batch.id)) == Counter(
        {worker: count for worker, count in enumerate(won) if count}
    )


def test_a_batch_is_there_whole_or_not_at_all(database: Database) -> None:
    batch = a_batch()

    def broken():
        yield from items_of(batch, 700)
        raise ValueError("row 701 is no JSON")

    with pytest.raises(ValueError, match="row 701"):
        database.add_batch(batch, broken())
    assert database.batch(batch.id) is None
    assert database.items(batch.id) == []
