"""Batches are submitted once and their answers taken whole, through crashes and other processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fake_api import NAME, BatchingApi, Broken, FakeApi, Told, ask, settings_of, text_of
from hypothesis import given
from hypothesis import strategies as st
from simulated import SimulatedTime

from stepladder.answers import Answers, CachedModel
from stepladder.cli_parts import interruptible
from stepladder.core import Request
from stepladder.errors import ModelError, StoreError
from stepladder.models.hosted import batches
from stepladder.models.hosted.batches import in_chunks
from stepladder.models.hosted.model import HostedModel

REQUESTS = [ask(f"input {n}") for n in range(5)]


def model_of(api: FakeApi, folder: Path, told: Told | None = None) -> HostedModel:
    settings = settings_of(folder, told, batch=True)
    return HostedModel(NAME, api, settings, SimulatedTime().timing)


def test_all_answers_come_from_one_job_at_the_price_of_batches(tmp_path: Path) -> None:
    api, told = BatchingApi(), Told()
    found = dict(model_of(api, tmp_path, told).generate(REQUESTS))
    assert [found[n].text for n in range(5)] == [f"re: input {n}" for n in range(5)]
    assert {response.usage.tier for response in found.values()} == {"batch"}
    assert {response.usage.seconds for response in found.values()} == {None}
    assert len(api.jobs) == 1
    assert not api.sent
    assert any("1 of 5" in text for text in told), "progress is told"


def test_looks_at_a_job_grow_apart(tmp_path: Path) -> None:
    time, api = SimulatedTime(), BatchingApi(polls=20)
    model = HostedModel(NAME, api, settings_of(tmp_path, batch=True), time.timing)
    list(model.generate(REQUESTS))
    assert time.waited == sorted(time.waited)
    assert time.waited[0] == 5.0
    assert time.waited[-1] == 300.0


def test_a_request_that_failed_in_its_job_is_an_error_and_can_be_asked_again(
    tmp_path: Path,
) -> None:
    failing = [True]

    def reply(request: Request) -> str:
        if text_of(request) == "input 2" and failing:
            raise Broken("blocked")
        return "yes"

    api = BatchingApi(reply=reply, leave_out=frozenset({4}))
    kept = CachedModel(model_of(api, tmp_path), Answers(tmp_path / "a.sqlite"))
    found = dict(kept.generate(REQUESTS))
    assert found[2].error == "blocked"
    assert "without an answer" in str(found[4].error)
    assert sum(response.error is None for response in found.values()) == 3
    failing.clear()
    api.leave_out = frozenset()
    again = dict(kept.generate(REQUESTS))
    assert all(response.error is None for response in again.values())
    assert [len(requests) for _, requests in api.jobs.values()] == [5, 2]


def test_the_same_requests_that_all_failed_are_a_new_job(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        raise Broken("blocked")

    api = BatchingApi(reply=reply)
    model = model_of(api, tmp_path)
    assert all(response.error for _, response in model.generate(REQUESTS))
    list(model.generate(REQUESTS))
    assert len(api.jobs) == 2
    assert len({label for label, _ in api.jobs.values()}) == 2


def test_a_job_that_failed_is_one_error_and_the_next_command_submits_anew(tmp_path: Path) -> None:
    api = BatchingApi(ends="failed")
    with pytest.raises(ModelError, match="'jobs/1' of 'fake:model' failed: expired"):
        list(model_of(api, tmp_path).generate(REQUESTS))
    api.ends = "succeeded"
    assert len(dict(model_of(api, tmp_path).generate(REQUESTS))) == 5
    assert len(api.jobs) == 2


def test_a_submission_whose_answer_was_lost_is_found_again(tmp_path: Path) -> None:
    api = BatchingApi(lost_answers=[Broken("broke off", retry=True, maybe_billed=True)])
    assert len(dict(model_of(api, tmp_path).generate(REQUESTS))) == 5
    assert len(api.jobs) == 1


def test_outages_are_borne_and_what_is_final_is_raised(tmp_path: Path) -> None:
    api = BatchingApi(
        submit_errors=[Broken("503", retry=True)] * 3, poll_errors=[Broken("500", retry=True)] * 3
    )
    assert len(dict(model_of(api, tmp_path).generate(REQUESTS))) == 5
    denied = BatchingApi(submit_errors=[Broken("403", hint="ask for access")])
    with pytest.raises(ModelError, match="cannot be submitted: 403") as failed:
        list(model_of(denied, tmp_path / "other").generate(REQUESTS))
    assert failed.value.hint == "ask for access"
    gone = BatchingApi(poll_errors=[Broken("404", fatal=True)])
    with pytest.raises(ModelError, match="cannot be asked after: 404"):
        list(model_of(gone, tmp_path / "third").generate(REQUESTS))


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("moment", ["before", "after", "waiting", "taking"])
def test_after_a_crash_the_job_is_picked_up_and_none_is_submitted_twice(
    moment: str, tmp_path: Path
) -> None:
    api = BatchingApi()
    if moment == "before":
        api.submit_errors = [Crash()]  # type: ignore[list-item]
    if moment == "after":
        api.lost_answers = [Crash()]  # type: ignore[list-item]
    if moment == "waiting":
        api.poll_errors = [Crash()]  # type: ignore[list-item]
    answers = model_of(api, tmp_path).generate(REQUESTS)
    if moment == "taking":
        next(answers)
        answers.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(Crash):
            list(answers)
    assert len(dict(model_of(api, tmp_path).generate(REQUESTS))) == 5
    assert len(api.jobs) == 1


def test_what_is_about_to_be_submitted_is_on_disk_before(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    class Watched(BatchingApi):
        def submit_batch(self, model: str, requests: Sequence[Request], label: str) -> str:
            (record,) = tmp_path.glob("batch-*.json")
            seen.append(json.loads(record.read_text(encoding="utf-8")) | {"asked": label})
            return super().submit_batch(model, requests, label)

    list(model_of(Watched(), tmp_path).generate(REQUESTS))
    assert [(one["state"], one["job"]) for one in seen] == [("intended", None)]
    assert seen[0]["label"] == seen[0]["asked"]


def test_without_its_record_a_job_is_still_found_by_its_label(tmp_path: Path) -> None:
    api = BatchingApi()
    list(model_of(api, tmp_path / "one").generate(REQUESTS))
    list(model_of(api, tmp_path / "two").generate(REQUESTS))
    assert len(api.jobs) == 1


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    api = BatchingApi()
    list(model_of(api, tmp_path).generate(REQUESTS))
    (record,) = tmp_path.glob("batch-*.json")
    record.write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match="damaged"):
        list(model_of(api, tmp_path).generate(REQUESTS))
    assert len(api.jobs) == 1


def test_an_interrupt_leaves_the_job_and_says_so(tmp_path: Path) -> None:
    api, told = BatchingApi(poll_errors=[KeyboardInterrupt()]), Told()  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        list(model_of(api, tmp_path, told).generate(REQUESTS))
    assert "the same command picks it up" in told[-1]
    assert json.loads(next(tmp_path.glob("batch-*.json")).read_text())["job"] == "jobs/1"


@pytest.mark.parametrize("during", ["find_batch", "submit_batch", "poll_batch"])
def test_ctrl_c_does_not_wait_for_a_call_about_a_job_and_nothing_is_submitted_twice(
    during: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, told, waited = BatchingApi(), Told(), []
    call = getattr(api, during)

    def hanging(*arguments: Any) -> Any:
        given = call(*arguments)
        signal.raise_signal(signal.SIGINT)
        waited.append(during)
        return given

    def answers(kept: Answers) -> dict[int, str]:
        model = CachedModel(model_of(api, tmp_path, told), kept)
        return {place: one.text for place, one in model.generate(REQUESTS)}

    with closing(Answers(tmp_path / "a.sqlite")) as kept:
        with monkeypatch.context() as patch:
            patch.setattr(api, during, hanging)
            with interruptible(told), pytest.raises(KeyboardInterrupt):
                answers(kept)
        assert not waited
        assert answers(kept) == {n: f"re: input {n}" for n in range(5)}
    assert len(api.jobs) == 1


def test_stop_ends_the_waiting(tmp_path: Path) -> None:
    api = BatchingApi(polls=10**9)
    model = HostedModel(NAME, api, settings_of(tmp_path, batch=True))  # real time: 5 s a look
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.extend(model.generate(REQUESTS)))
    waiting.start()
    while not api.looks:
        waiting.join(0.01)
    model.stop()
    waiting.join(4)
    assert not waiting.is_alive()
    assert got == []


def test_a_model_without_batches_is_asked_one_by_one_and_it_is_said_once(tmp_path: Path) -> None:
    api, told = FakeApi(), Told()
    model = model_of(api, tmp_path, told)
    list(model.generate(REQUESTS))
    list(model.generate(REQUESTS))
    assert len(api.sent) == 10
    assert [text for text in told if "no batch mode" in text] == [
        "fake:model has no batch mode: its calls are made one by one, at the full price"
    ]


@given(sizes=st.lists(st.integers(0, 40), max_size=30), most=st.integers(1, 5))
def test_chunks_hold_every_request_once_and_no_more_than_a_job_takes(
    sizes: list[int], most: int
) -> None:
    requests = [ask("x" * size) for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "MOST_REQUESTS", most)
        patch.setattr(batches, "MOST_BYTES", 200)
        chunks = in_chunks(requests)
    assert [place for chunk in chunks for place in chunk] == list(range(len(requests)))
    assert all(0 < len(chunk) <= most for chunk in chunks)
    assert all(len(chunk) == 1 or sum(sizes[p] for p in chunk) < 200 for chunk in chunks)


def test_several_jobs_are_waited_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_REQUESTS", 2)
    api = BatchingApi()
    found = dict(model_of(api, tmp_path).generate(REQUESTS))
    assert [found[n].text for n in range(5)] == [f"re: input {n}" for n in range(5)]
    assert sorted(len(requests) for _, requests in api.jobs.values()) == [1, 2, 2]


OTHER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from fake_api import NAME, BatchingApi, ask, settings_of
from stepladder.models.hosted.model import HostedModel

class Shared(BatchingApi):
    # a service that both processes ask: its jobs are lines of a file
    def find_batch(self, model, label):
        return None  # as if the list of jobs were late
    def submit_batch(self, model, requests, label):
        with open(sys.argv[3], "a") as file:
            file.write(label + "\\n")
        return super().submit_batch(model, requests, label)
    def poll_batch(self, model, job, requests):
        self.jobs[job] = ("", list(requests))
        return super().poll_batch(model, job, requests)

def tell(event, fields):
    if "another process" in fields["text"]:
        print("waits", flush=True)

settings = settings_of(Path(sys.argv[1]), tell, batch=True)
model = HostedModel(NAME, Shared(polls=0), settings)
answers = model.generate([ask(f"input {n}") for n in range(5)])
first = next(answers)
print("taken", flush=True)
sys.stdin.readline()
print(len([first, *answers]), flush=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a process that takes one answer, and the rest when it is told to go on."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        here, bill = Path(__file__).parent, tmp_path / "submitted"
        words = [sys.executable, "-c", OTHER, tmp_path / "jobs", here, bill]
        one = subprocess.Popen(
            [str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
        one.communicate()


Start = Callable[[], subprocess.Popen[str]]


def says(one: subprocess.Popen[str]) -> str:
    assert one.stdout is not None
    return one.stdout.readline().strip()


def test_two_processes_with_the_same_requests_submit_one_job(start: Start, tmp_path: Path) -> None:
    first = start()
    assert says(first) == "taken"
    second = start()
    assert says(second) == "waits"
    assert first.communicate("go\n", timeout=60)[0].split() == ["5"]
    assert second.communicate("go\n", timeout=60)[0].split() == ["taken", "5"]
    assert len((tmp_path / "submitted").read_text().splitlines()) == 1


def test_a_killed_process_lets_go_of_its_job(start: Start, tmp_path: Path) -> None:
    first = start()
    assert says(first) == "taken"
    first.send_signal(signal.SIGKILL)
    first.wait(60)
    assert start().communicate("go\n", timeout=60)[0].split() == ["taken", "5"]
    assert len((tmp_path / "submitted").read_text().splitlines()) == 1
