"""Every call is answered once, whatever the service does; waits, ends and interrupts."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import SimulatedTime

from stepladder.errors import MissingExtra, ModelError
from stepladder.models.hosted.api import Failure
from stepladder.models.hosted.pool import Limits, Pool


class Broken(Exception):
    """What a service's SDK raises, with what it means."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def explain(error: Exception) -> Failure:
    assert isinstance(error, Broken), error
    return error.failure


class Service:
    """Goes wrong by schedule, and counts what it was asked and how many at once."""

    def __init__(self, schedule: Mapping[int, Sequence[Failure]] | None = None) -> None:
        self.schedule = {call: list(failures) for call, failures in (schedule or {}).items()}
        self.asked: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def call(self, number: int) -> Callable[[], str]:
        def made() -> str:
            with self._lock:
                self.asked[number] += 1
                self._now += 1
                self.most = max(self.most, self._now)
                failures = self.schedule.get(number)
                failure = failures.pop(0) if failures else None
                self.answered[number] += failure is None
            try:
                if failure is not None:
                    raise Broken(failure)
                return f"answer {number}"
            finally:
                with self._lock:
                    self._now -= 1

        return made

    def calls(self, count: int) -> Iterator[Callable[[], str]]:
        return (self.call(number) for number in range(count))


DOWN = Failure("500", retry=True)
BUSY = Failure("429", retry=True, throttled=True)
WAIT = Failure("429 wait", retry=True, throttled=True, wait_seconds=20.0)
CUT = Failure("broke off", retry=True, maybe_billed=True)
WRONG = Failure("400")
DENIED = Failure("401", fatal=True, hint="mend the key")


class Told(list[str]):
    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        self.append(fields["text"])


def pool(told: Told | None = None, time: SimulatedTime | None = None, **limits: Any) -> Pool:
    time = time or SimulatedTime()
    return Pool(Limits(**limits), explain, told if told is not None else Told(), time.timing)


@settings(max_examples=60)
@given(
    schedule=st.dictionaries(
        st.integers(0, 59),
        st.lists(st.sampled_from([DOWN, BUSY, WAIT, CUT, WRONG]), min_size=1, max_size=7),
    ),
    count=st.integers(0, 60),
    concurrency=st.integers(1, 8),
)
def test_every_call_is_answered_exactly_once_under_any_schedule_of_failures(
    schedule: dict[int, list[Failure]], count: int, concurrency: int
) -> None:
    service = Service(schedule)
    limits = {"concurrency": concurrency, "deadline_seconds": 1e5}
    outcomes = list(pool(**limits).run(service.calls(count)))
    assert sorted(index for index, _ in outcomes) == list(range(count))
    assert service.most <= concurrency
    for index, outcome in outcomes:
        hard = [failure for failure in schedule.get(index, ()) if not failure.throttled]
        hopeless = WRONG in hard or len(hard) >= 6
        assert isinstance(outcome, Failure) == hopeless
        assert service.answered[index] == (not hopeless), "what was answered was not asked again"


def test_threads_of_their_own_take_the_calls_together() -> None:
    together = threading.Barrier(4, timeout=30)  # broken unless four calls are under way at once
    outcomes = list(Pool(Limits(concurrency=4), explain).run(together.wait for _ in range(4)))
    assert sorted(index for index, _ in outcomes) == [0, 1, 2, 3]


def test_the_limit_that_was_found_is_remembered() -> None:
    service = Service({number: [BUSY] for number in range(4)})
    one = pool(concurrency=4)
    list(one.run(service.calls(8)))
    assert one.pace.limit < 4
    service.most = 0
    list(one.run(service.calls(2)))
    assert service.most <= 2


def test_when_the_service_asks_to_wait_nobody_calls_and_it_is_told() -> None:
    time, told = SimulatedTime(), Told()
    began: list[float] = []
    failing = iter([True])

    def call() -> str:
        began.append(time.now)
        if next(failing, False):
            raise Broken(WAIT)
        return "yes"

    list(pool(told, time, concurrency=1).run(call for _ in range(3)))
    assert len(began) == 4
    assert began[1] - began[0] >= 20
    assert told == ["waiting 20 s, as the service asks"]


def test_backing_off_grows_with_the_failures_of_a_call() -> None:
    time = SimulatedTime(chance=lambda: 1.0)
    began: list[float] = []

    def call() -> str:
        began.append(time.now)
        raise Broken(DOWN)

    ((_, outcome),) = pool(None, time, attempts=5).run([call])
    waits = [round(b - a, 2) for a, b in itertools.pairwise(began)]
    assert waits == [0.5, 1.0, 2.0, 4.0]
    assert isinstance(outcome, Failure)
    assert outcome.message == "500 (tried 5 times)"


def test_being_turned_away_is_no_attempt_but_the_deadline_ends_it() -> None:
    time = SimulatedTime()
    service = Service({0: [BUSY] * 1000, 1: []})
    limits = {"attempts": 2, "deadline_seconds": 300.0, "concurrency": 1}
    before = time.now
    outcomes = dict(pool(None, time, **limits).run(service.calls(2)))
    assert isinstance(outcomes[0], Failure)
    assert service.asked[0] > 6
    assert time.now - before <= 301


def test_the_deadline_is_each_answers_own_while_others_are_answered() -> None:
    time = SimulatedTime()
    service = Service({0: [BUSY] * 1000} | {number: [DOWN] for number in range(1, 400)})

    def timed(call: Callable[[], str]) -> Callable[[], str]:
        def made() -> str:
            time.pass_time(5.0)
            return call()

        return made

    limits = {"deadline_seconds": 200.0, "concurrency": 1}
    outcomes = dict(pool(None, time, **limits).run(map(timed, service.calls(400))))
    failed = {index: one for index, one in outcomes.items() if isinstance(one, Failure)}
    assert list(failed) == [0]
    assert not failed[0].fatal, "no outage: the others went on for an hour, failing once each"
    assert service.asked[0] < 100


def test_a_wait_beyond_the_deadline_ends_the_run() -> None:
    tomorrow = Failure("429", retry=True, throttled=True, wait_seconds=40_000.0)
    service = Service({0: [tomorrow]})
    outcomes = dict(pool(concurrency=1).run(service.calls(50)))
    assert all(isinstance(one, Failure) and one.fatal for one in outcomes.values())
    assert "asks to wait 40000 s" in str(outcomes[49])
    assert sum(service.asked.values()) == 1


def test_an_outage_ends_the_run_instead_of_failing_call_by_call() -> None:
    service = Service({number: [DOWN] * 100 for number in range(500)})
    limits = {"concurrency": 2, "deadline_seconds": 60.0, "attempts": 50}
    outcomes = dict(pool(None, SimulatedTime(lambda: 1.0), **limits).run(service.calls(500)))
    assert len(outcomes) == 500
    assert "nothing was answered for 60 s" in str(outcomes[499])
    assert len(service.asked) < 150


def test_a_service_that_was_never_reached_is_given_up_long_before_the_deadline() -> None:
    gone = replace(DOWN, unreached=True)

    def run(schedule: dict[int, list[Failure]], time: SimulatedTime) -> str:
        limits = {"concurrency": 1, "deadline_seconds": 600.0, "attempts": 50}
        outcomes = dict(pool(None, time, **limits).run(Service(schedule).calls(20)))
        return str(outcomes[19])

    never, then = ({number: [gone] * 200 for number in range(first, 20)} for first in (0, 1))
    assert "nothing was answered for 10 s" in run(never, time := SimulatedTime(lambda: 1.0))
    assert time.now < 1030
    assert "nothing was answered for 600 s" in run(then, SimulatedTime(lambda: 1.0)), "it was there"


def test_after_a_fatal_failure_nothing_is_sent_and_all_the_rest_fail_with_it() -> None:
    service = Service({3: [DENIED]})
    outcomes = dict(pool(concurrency=1).run(service.calls(1000)))
    assert len(outcomes) == 1000
    assert [index for index, one in outcomes.items() if not isinstance(one, Failure)] == [0, 1, 2]
    assert set(service.asked) == {0, 1, 2, 3}
    assert outcomes[999] == DENIED


def test_what_may_be_billed_is_counted_and_said_once() -> None:
    told = Told()
    service = Service({0: [CUT], 1: [CUT, CUT]})
    outcomes = dict(pool(told).run(service.calls(3)))
    assert not any(isinstance(one, Failure) for one in outcomes.values())
    assert told == ["3 calls broke off after being sent; the service may have billed them"]


def test_what_may_be_billed_is_told_as_a_number_too() -> None:
    counted = []
    service = Service({0: [CUT], 1: [CUT, CUT]})

    def tell(event: str, fields: Mapping[str, Any]) -> None:
        counted.append(fields.get("unsure"))

    watched = Pool(Limits(), explain, tell, SimulatedTime().timing)
    assert len(dict(watched.run(service.calls(3)))) == 3
    assert counted == [3]


def test_what_may_be_billed_is_not_sent_again_where_the_user_says_so() -> None:
    service = Service({0: [CUT]})
    ((_, outcome),) = pool(retry_unsure=False).run(service.calls(1))
    assert isinstance(outcome, Failure)
    assert "retry_unsure" in outcome.hint
    assert service.asked[0] == 1


def test_a_million_calls_are_taken_as_they_are_needed() -> None:
    made: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Call:
        def __call__(self) -> int:
            return 1

    def calls() -> Iterator[Callable[[], int]]:
        nonlocal most
        for _ in range(1_000_000):
            one = Call()
            made.add(one)
            most = max(most, len(made))
            yield one

    outcomes = Pool(Limits(), explain).run(calls())
    for _ in itertools.islice(outcomes, 2000):
        pass
    outcomes.close()  # type: ignore[attr-defined]
    gc.collect()
    assert most < 1000


def test_answers_that_nobody_takes_stop_the_sending() -> None:
    service = Service()
    outcomes = Pool(Limits(concurrency=4), explain).run(service.calls(10_000))
    next(outcomes)
    settled = threading.Event()
    for _ in range(100):
        before = len(service.asked)
        settled.wait(0.02)
        if len(service.asked) == before:
            break
    assert len(service.asked) < 300
    assert len(list(outcomes)) == 9_999


class Gate:
    """Calls that wait until they are let go."""

    def __init__(self, at_once: int) -> None:
        self.under_way = threading.Barrier(at_once + 1, timeout=30)
        self.open = threading.Event()
        self.begun: list[int] = []

    def call(self, number: int) -> Callable[[], int]:
        def made() -> int:
            self.begun.append(number)
            if number < self.under_way.parties - 1:
                self.under_way.wait()
                assert self.open.wait(30)
            return number

        return made


def test_stop_begins_no_more_and_yields_those_under_way() -> None:
    gate, told = Gate(3), Told()
    one = Pool(Limits(concurrency=3), explain, told)
    outcomes = one.run(gate.call(number) for number in range(100))
    got: list[tuple[int, int | Failure]] = []
    consumer = threading.Thread(target=lambda: got.extend(outcomes))
    consumer.start()
    gate.under_way.wait()
    one.stop()
    gate.open.set()
    consumer.join(30)
    assert sorted(got) == [(0, 0), (1, 1), (2, 2)]
    assert gate.begun.count(3) == 0
    assert told == [
        "stopping: 3 calls under way will be waited for and kept, since they are paid for; "
        "a second Ctrl-C ends at once"
    ]
    assert len(list(one.run(gate.call(number) for number in range(50, 60)))) == 10, "and runs again"


def test_what_fails_after_stop_is_yielded_as_failed_and_not_sent_again() -> None:
    gate = Gate(1)
    one = Pool(Limits(concurrency=1), explain)

    def failing() -> int:
        gate.call(0)()
        raise Broken(DOWN)

    outcomes = one.run([failing] * 5)
    got: list[tuple[int, int | Failure]] = []
    consumer = threading.Thread(target=lambda: got.extend(outcomes))
    consumer.start()
    gate.under_way.wait()
    one.stop()
    gate.open.set()
    consumer.join(30)
    assert got == [(0, DOWN)]
    assert gate.begun == [0]


def interrupting(pool_of: Callable[[Any], Pool], times: int) -> tuple[list[Any], Gate]:
    """The outcomes of calls whose consumer is interrupted while it waits for the first."""
    gate, left = Gate(2), [times]
    time = SimulatedTime()

    def wait(condition: threading.Condition, seconds: float | None) -> None:
        if threading.current_thread() is threading.main_thread() and left[0]:
            if left[0] == times:
                condition.release()
                gate.under_way.wait()
                condition.acquire()
            left[0] -= 1
            if not left[0]:
                gate.open.set()
            raise KeyboardInterrupt
        condition.wait(seconds)

    got: list[Any] = []
    outcomes = pool_of(replace(time.timing, wait=wait)).run(map(gate.call, range(100)))
    with pytest.raises(KeyboardInterrupt):
        got.extend(outcomes)
    return got, gate


def test_an_interrupt_keeps_what_is_under_way_and_a_second_one_ends_at_once() -> None:
    def pool_of(timing: Any) -> Pool:
        return Pool(Limits(concurrency=2), explain, Told(), timing)

    got, gate = interrupting(pool_of, times=1)
    assert sorted(got) == [(0, 0), (1, 1)]
    assert sorted(gate.begun) == [0, 1]
    got, gate = interrupting(pool_of, times=2)
    assert got == []


def test_closing_ends_the_threads() -> None:
    outcomes = Pool(Limits(concurrency=4), explain).run(Service().calls(1000))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    workers = [one for one in threading.enumerate() if one.name == "stepladder-call"]
    for worker in workers:
        worker.join(30)
        assert not worker.is_alive()


def test_two_runs_at_once_share_the_limit() -> None:
    service = Service()
    one = pool(concurrency=1)
    first = one.run(service.calls(5))
    got = [next(first)]
    second = list(one.run(service.calls(5)))
    got += list(first)
    assert len(got) == len(second) == 5
    assert service.most == 1


def test_our_own_errors_fail_the_call_with_their_message() -> None:
    def refuse() -> str:
        raise ModelError("an image cannot be sent", hint="send text")

    ((_, outcome),) = pool().run([refuse])
    assert outcome == Failure("an image cannot be sent", hint="send text")


@pytest.mark.parametrize("error", [MissingExtra("needs 'openai'"), AssertionError("a bug")])
def test_a_missing_package_and_bugs_are_raised_to_the_caller(error: Exception) -> None:
    def fail() -> str:
        raise error

    with pytest.raises(type(error), match=str(error)):
        list(pool().run([fail] * 5))


def test_an_error_of_the_iterable_of_calls_is_raised_to_the_caller() -> None:
    def calls() -> Iterator[Callable[[], str]]:
        yield lambda: "one"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(pool().run(calls()))
