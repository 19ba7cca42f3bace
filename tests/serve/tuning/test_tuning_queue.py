"""The queue keeps a worker running: started again when it dies, and ended with the server."""

from __future__ import annotations

import sys
import threading
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.serve.tuning import queue
from stepladder.serve.tuning.queue import TuningQueue, backoff_seconds, start_worker


class FakeWorker:
    """A process that ends when the test says so."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.woken = threading.Event()
        self.stopped = False
        self.status = 0

    def wait(self) -> int:
        assert self.ended.wait(20)
        return self.status

    def wake(self) -> None:
        self.woken.set()

    def stop(self) -> None:
        self.stopped = True
        self.ended.set()

    def end(self, status: int) -> None:
        self.status = status
        self.ended.set()


class Started:
    """Starts fake workers; a test waits for the next."""

    def __init__(self, failing: int = 0) -> None:
        self.workers: list[FakeWorker] = []
        self._failing = failing
        self._more = threading.Condition()

    def __call__(self) -> FakeWorker:
        if self._failing:
            self._failing -= 1
            raise OSError("no more processes")
        with self._more:
            self.workers.append(FakeWorker())
            self._more.notify_all()
            return self.workers[-1]

    def number(self, count: int) -> FakeWorker:
        with self._more:
            assert self._more.wait_for(lambda: len(self.workers) >= count, 20)
            return self.workers[count - 1]


NOBODY = cast(Any, None)  # the server: only the command of a real process needs one


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "FIRST_PAUSE_SECONDS", 0.001)


def test_a_worker_that_did_its_job_is_followed_by_the_next() -> None:
    started = Started()
    running = TuningQueue(NOBODY, started)
    running.start()
    started.number(1).end(0)
    started.number(2).end(0)
    last = started.number(3)
    running.stop()
    assert last.stopped
    assert len(started.workers) == 3


def test_a_worker_that_dies_is_started_again() -> None:
    started = Started(failing=2)
    running = TuningQueue(NOBODY, started)
    running.start()
    started.number(1).end(-9)
    started.number(2)
    running.stop()


def test_a_new_job_wakes_the_worker() -> None:
    started = Started()
    running = TuningQueue(NOBODY, started)
    running.wake()  # nobody runs yet
    running.start()
    worker = started.number(1)
    while not worker.woken.wait(0.01):
        running.wake()
    running.stop()
    running.wake()  # nobody runs any more


def test_pauses_grow_until_a_worker_lives_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[int] = []

    def pause(failures: int) -> float:
        paused.append(failures)
        return 0.0

    monkeypatch.setattr(queue, "backoff_seconds", pause)
    times = iter([0.0, 1.0, 1.0, 2.0, 2.0, 100.0, 100.0, 101.0, 101.0, 101.0])
    started = Started()
    running = TuningQueue(NOBODY, started, clock=lambda: next(times, 200.0))
    running.start()
    for number in range(1, 5):
        started.number(number).end(1)
    started.number(5)
    running.stop()
    assert paused == [1, 2, 1, 2]


@given(st.integers(1, 10_000))
def test_no_pause_is_longer_than_a_minute(failures: int) -> None:
    assert 0 < backoff_seconds(failures) <= backoff_seconds(failures + 1) <= 60


ECHO = """
import os, sys
while data := os.read(0, 100):
    os.write(2, b"woken\\n")
sys.exit(3)
"""


def test_a_real_process_is_woken_and_ends_when_its_input_does() -> None:
    process = start_worker([sys.executable, "-c", ECHO], {})
    process.wake()
    process.stop()
    assert process.wait() == 3
    process.wake()  # says nothing to nobody


def test_a_process_that_ended_by_itself_leaves_no_open_pipe() -> None:
    process = cast(Any, start_worker([sys.executable, "-c", "pass"], {}))
    assert process.wait() == 0
    assert process.process.stdin.closed


def test_a_process_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "STOP_SECONDS", 0.05)
    process = start_worker([sys.executable, "-c", "import time; time.sleep(600)"], {})
    process.stop()
    assert process.wait() == -9


def test_many_wakes_of_a_worker_that_does_not_listen_block_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "STOP_SECONDS", 0.05)
    process = start_worker([sys.executable, "-c", "import time; time.sleep(600)"], {})
    for _ in range(200_000):
        process.wake()
    process.stop()


def test_the_server_tells_its_worker_where_everything_is(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database's address may hold a password: it is in no argument, which others can see."""
    from types import SimpleNamespace

    from stepladder.serve.settings import ServeSettings

    commands: list[tuple[list[str], dict[str, str]]] = []

    def start(command: list[str], environment: dict[str, str]) -> FakeWorker:
        commands.append((command, environment))
        return FakeWorker()

    monkeypatch.setattr(queue, "start_worker", start)
    settings = ServeSettings(database="postgresql://u:secret@h/d", gs_folder=tmp_path)
    running = TuningQueue(cast(Any, SimpleNamespace(settings=settings)))
    assert isinstance(running._start(), FakeWorker)
    ((command, environment),) = commands
    assert not any("secret" in argument for argument in command)
    assert environment["STEPLADDER_TUNING_DATABASE"] == settings.database
    from stepladder.serve.tuning.worker import _parser

    given = _parser().parse_args(command[3:])
    assert given.gs_folder == tmp_path
    assert given.attached
    assert given.nice > 0
