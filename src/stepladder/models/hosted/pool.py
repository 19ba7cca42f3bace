"""Many calls at once: as many as the service takes, with retries, a deadline, and an orderly end.

Workers take the next call that is due while `pace.py` has room; the consumer's thread only yields.
An interrupt begins no more calls, but those under way are waited for: they are paid for.
What a call is and what its errors mean is passed in; nothing here knows a service.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from ...core import Tell
from ...errors import MissingExtra, StepladderError
from ...interrupts import allowed, came_first
from .api import Failure
from .pace import Pace, backoff

__all__ = ["Limits", "Pool", "Timing"]

T = TypeVar("T")
LEAST_WAITING = 64  # calls that wait for a retry before no new ones begin
LEAST_UNREAD = 256  # answers that nobody took yet before no new calls begin
WORKER = "stepladder-call"  # what its threads are called
NEVER_REACHED_SECONDS = 10.0  # a wrong address or no network: told as such, and soon
TOLD_SECONDS = 10.0  # a shorter wait is not worth a line on the screen


@dataclass(frozen=True)
class Limits:
    """What the user allows: calls at once, and per answer the seconds and the attempts.

    An attempt that the service turned away for coming too soon does not count as one; the deadline
    ends those. `retry_unsure` sends again what broke off after it was sent and may be billed.
    """

    concurrency: int = 16
    deadline_seconds: float = 600.0
    attempts: int = 6
    retry_unsure: bool = True


def _wait(condition: threading.Condition, seconds: float | None) -> None:
    condition.wait(seconds)


@dataclass(frozen=True)
class Timing:
    """The clock, how a thread waits on a condition, and chance: passed in, so tests own them."""

    clock: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Condition, float | None], None] = _wait
    random: Callable[[], float] = random.random


@dataclass
class _Job(Generic[T]):
    """One call with what it went through."""

    index: int
    call: Callable[[], T]
    began: float = 0.0
    number: int = 0  # of the attempt, for the pace
    failures: int = 0
    turned_away: int = 0


@dataclass
class _Run(Generic[T]):
    """The state of one `Pool.run`, read and written under the pool's lock."""

    calls: Iterator[tuple[int, Callable[[], T]]]
    ready: threading.Condition
    results: deque[tuple[int, T | Failure]] = field(default_factory=deque)
    retries: list[tuple[float, int, _Job[T]]] = field(default_factory=list)
    notes: deque[str] = field(default_factory=deque)
    under_way: int = 0
    threads: int = 0
    idle: int = 0
    unsure: int = 0
    failing_since: float | None = None  # the first failure since the last answer
    exhausted: bool = False
    stopping: bool = False
    fatal: Failure | None = None
    crash: BaseException | None = None

    @property
    def ending(self) -> bool:
        """Whether no call is to begin any more."""
        return self.stopping or self.fatal is not None or self.crash is not None

    @property
    def over(self) -> bool:
        """Whether no result is to come any more."""
        left = bool(self.retries) or not self.exhausted
        return self.under_way == 0 and (self.ending or not left)


class Pool:
    """Runs calls against one model of one service, and remembers how many it takes at once."""

    def __init__(
        self,
        limits: Limits,
        explain: Callable[[Exception], Failure],
        tell: Tell = lambda event, fields: None,
        timing: Timing | None = None,
    ) -> None:
        self._limits = limits
        self._explain = explain
        self._tell = tell
        self._timing = timing or Timing()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._runs: list[_Run[object]] = []
        self._reached = False  # the service, by any call yet
        self.pace = Pace(limits.concurrency)

    def run(self, calls: Iterable[Callable[[], T]]) -> Iterator[tuple[int, T | Failure]]:
        """What each call gave, or why it failed in the end, as they finish, with its place.

        The calls are taken as they are needed. After a failure that every other call would share,
        the rest fail with it and are not sent. On Ctrl-C the calls under way are still yielded,
        then KeyboardInterrupt is raised; on a second one it is raised at once. After `stop` those
        under way are yielded and no others.
        """
        run: _Run[T] = _Run(enumerate(calls), threading.Condition(self._lock))
        with self._lock:
            self._hire(run)
            self._runs.append(run)  # type: ignore[arg-type]
        last: tuple[int, T | Failure] | None = None
        interrupt: KeyboardInterrupt | None = None
        try:
            while True:
                try:
                    while (item := self._after(last, run)) is not None:
                        last = item
                        yield item  # no call since `last`: an interrupt here loses or doubles none
                    break
                except KeyboardInterrupt as error:
                    if run.stopping and not came_first():
                        raise
                    interrupt = error
                    self._interrupted(run)
            self._tell_notes(run, ended=True)
            if interrupt is not None:
                raise interrupt
        finally:
            self._end(run)

    def stop(self) -> None:
        """Begin no more calls in the runs that go on now; those under way are still yielded."""
        with self._lock:
            under_way = sum(run.under_way for run in self._runs if not run.stopping)
            for run in self._runs:
                run.stopping = True
                run.ready.notify_all()
            self._room.notify_all()
        self._tell_stopping(under_way)

    # --- the consumer's side --------------------------------------------------------------------

    def _after(
        self, last: tuple[int, T | Failure] | None, run: _Run[T]
    ) -> tuple[int, T | Failure] | None:
        """The result after `last`, waited for; None when there are no more."""
        while True:
            with self._lock:
                if run.results and run.results[0] is last:
                    run.results.popleft()
                    if len(run.results) == self._most_unread - 1:
                        self._room.notify_all()
                if run.results:
                    return run.results[0]
                if run.over:
                    return self._rest(run)
                if not run.notes:
                    with allowed():
                        self._timing.wait(run.ready, None)
            self._tell_notes(run)

    def _rest(self, run: _Run[T]) -> tuple[int, T | Failure] | None:
        """What was never sent fails like the one that ended the run."""
        if run.crash is not None:
            raise run.crash
        if run.fatal is None or run.stopping:
            return None
        if run.retries:
            return heapq.heappop(run.retries)[2].index, run.fatal
        following = next(run.calls, None)
        return None if following is None else (following[0], run.fatal)

    def _interrupted(self, run: _Run[T]) -> None:
        with self._lock:
            run.stopping = True
            under_way = run.under_way
            self._room.notify_all()
        self._tell_stopping(under_way)

    def _tell_stopping(self, under_way: int) -> None:
        if under_way:
            said = (
                f"stopping: {_counted(under_way, 'call')} under way will be waited for and kept, "
                "since they are paid for; a second Ctrl-C ends at once"
            )
            self._tell("stopping", {"text": said, "calls": under_way})

    def _end(self, run: _Run[T]) -> None:
        with self._lock:
            run.stopping = True
            self._runs.remove(run)  # type: ignore[arg-type]
            self._room.notify_all()

    def _tell_notes(self, run: _Run[T], *, ended: bool = False) -> None:
        """What workers have to say, said from the consumer's thread."""
        while run.notes:
            self._note(run.notes.popleft())
        if ended and run.unsure:
            said = (
                f"{_counted(run.unsure, 'call')} broke off after being sent; "
                "the service may have billed them"
            )
            self._tell("note", {"text": said, "unsure": run.unsure})

    def _note(self, text: str) -> None:
        self._tell("note", {"text": text})

    # --- the workers' side ----------------------------------------------------------------------

    @property
    def _most_unread(self) -> int:
        return max(LEAST_UNREAD, 8 * self._limits.concurrency)

    def _hire(self, run: _Run[T]) -> None:
        """One more thread. They may not keep the process alive: a second Ctrl-C ends at once."""
        worker = threading.Thread(target=self._work, args=(run,), name=WORKER, daemon=True)
        try:
            worker.start()
        except RuntimeError:  # the system has no more threads to give: those there are will do
            if not run.threads:
                raise
            return
        run.threads += 1

    def _work(self, run: _Run[T]) -> None:
        while (job := self._take(run)) is not None:
            outcome = self._attempt(job, run)
            with self._lock:
                self._settle(job, outcome, run)

    def _attempt(self, job: _Job[T], run: _Run[T]) -> T | Failure:
        try:
            try:
                return job.call()
            except MissingExtra:
                raise
            except StepladderError as error:  # of ours: this request cannot be sent at all
                return Failure(error.message, hint=error.hint)
            except Exception as error:
                return self._explain(error)
        except BaseException as error:  # a bug: it ends the run and is raised to the consumer
            run.crash = error
            return Failure(repr(error))

    def _take(self, run: _Run[T]) -> _Job[T] | None:
        """The next call that is due, waited for; None when there will be none."""
        with self._lock:
            while not run.ending:
                now = self._timing.clock()
                try:
                    job, seconds = self._next(run, now)
                except BaseException as error:  # of the iterable of calls: the consumer's own
                    run.crash = error
                    run.ready.notify_all()
                    break
                if job is not None:
                    self._begin(job, run, now)
                    return job
                if run.over:
                    break
                run.idle += 1
                try:
                    self._timing.wait(self._room, seconds)
                finally:
                    run.idle -= 1
            return None

    def _next(self, run: _Run[T], now: float) -> tuple[_Job[T] | None, float | None]:
        """A call that may begin now, or the seconds until one may (None: until something ends)."""
        due = run.retries[0][0] if run.retries else None
        if not self.pace.room(now):
            held = self.pace.hold_until - now
            return None, held if held > 0 else None
        if due is not None and due <= now:
            return heapq.heappop(run.retries)[2], None
        if self._may_begin_new(run):
            following = next(run.calls, None)
            if following is not None:
                return _Job(*following), None
            run.exhausted = True
            run.ready.notify_all()  # whoever waits may wait for nothing now
            self._room.notify_all()
        return None, None if due is None else due - now

    def _may_begin_new(self, run: _Run[T]) -> bool:
        waiting = max(LEAST_WAITING, 8 * self._limits.concurrency)
        return (
            not run.exhausted
            and len(run.retries) < waiting
            and len(run.results) < self._most_unread
        )

    def _begin(self, job: _Job[T], run: _Run[T], now: float) -> None:
        if job.number == 0:
            job.began = now
        job.number = self.pace.begin()
        run.under_way += 1
        if not self.pace.room(now):
            return
        if run.idle:
            self._room.notify() if len(self._runs) == 1 else self._room.notify_all()
        elif run.threads < self._limits.concurrency and self._may_begin_new(run):
            self._hire(run)

    def _settle(self, job: _Job[T], outcome: T | Failure, run: _Run[T]) -> None:
        """Keep an answer; send again what may be; let the rest fail."""
        now = self._timing.clock()
        self._reached |= not (isinstance(outcome, Failure) and outcome.unreached)
        if isinstance(outcome, Failure):
            self._slow_down(job, outcome, run, now)
            seconds = backoff(job.failures + job.turned_away, self._timing.random)
            seconds += outcome.wait_seconds or 0.0
            final = self._final(job, outcome, run, now + seconds)
            if final is None:
                heapq.heappush(run.retries, (now + seconds, job.index, job))
            else:
                run.results.append((job.index, final))
                run.fatal = run.fatal or (final if final.fatal else None)
        else:
            self.pace.succeeded(job.number)
            run.failing_since = None
            run.results.append((job.index, outcome))
        self.pace.end()
        run.under_way -= 1
        run.ready.notify_all()
        if run.over or run.ending or len(self._runs) > 1:
            self._room.notify_all()

    def _slow_down(self, job: _Job[T], failure: Failure, run: _Run[T], now: float) -> None:
        """Count the failure; keep all calls back as long as the service asks."""
        if run.failing_since is None:
            run.failing_since = now
        run.unsure += failure.maybe_billed
        if failure.throttled:
            job.turned_away += 1
            self.pace.throttled(job.number)
        else:
            job.failures += 1
        if failure.wait_seconds is not None and failure.retry:
            until = now + failure.wait_seconds
            if failure.wait_seconds >= TOLD_SECONDS and until > self.pace.hold_until + 1:
                run.notes.append(f"waiting {failure.wait_seconds:.0f} s, as the service asks")
            self.pace.hold(until)

    def _final(
        self, job: _Job[T], failure: Failure, run: _Run[T], again_at: float
    ) -> Failure | None:
        """What the call fails with, or None when it is to be sent again at `again_at`."""
        limits, tries = self._limits, job.failures + job.turned_away
        outage = limits.deadline_seconds
        if not self._reached:
            outage = min(outage, NEVER_REACHED_SECONDS)
        if failure.fatal or not failure.retry or run.ending:
            return failure
        if failure.maybe_billed and not limits.retry_unsure:
            return replace(
                failure, hint=failure.hint or "retry_unsure = true sends such calls again"
            )
        if (failure.wait_seconds or 0.0) > limits.deadline_seconds:
            asked = f"the service asks to wait {failure.wait_seconds:.0f} s"
            return replace(failure, message=f"{failure.message} ({asked})", fatal=True)
        if run.failing_since is not None and again_at - run.failing_since > outage:
            message = f"nothing was answered for {outage:.0f} s; the last: {failure.message}"
            return replace(failure, message=message, fatal=True)
        late = again_at - job.began > limits.deadline_seconds
        if late or job.failures >= limits.attempts:
            return replace(failure, message=f"{failure.message} (tried {_counted(tries, 'time')})")
        return None


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
