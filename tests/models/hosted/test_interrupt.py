"""Ctrl-C in a real process: what is under way is kept, nothing more is sent, a second one ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fake_api import NAME, FakeApi, ask, settings_of, text_of

from stepladder.answers import Answers, CachedModel
from stepladder.cli_parts import interruptible
from stepladder.core import Request
from stepladder.models.hosted.model import HostedModel
from stepladder.models.hosted.pool import Timing

PROGRAM = r"""
import os, signal, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from fake_api import NAME, FakeApi, ask, settings_of, text_of
from stepladder.answers import Answers, CachedModel
from stepladder.cli_parts import interruptible
from stepladder.models.hosted.model import HostedModel
from stepladder.models.hosted.pool import Timing

class Interrupted(Answers):
    puts = 0
    def put(self, key, response):
        self.puts += 1
        if where == "keeping" and self.puts == 3:
            os.kill(os.getpid(), signal.SIGINT)
        super().put(key, response)

folder, where = Path(sys.argv[1]), sys.argv[3]
def reply(request):
    number = int(text_of(request))
    print(f"sent {number}\n", end="", flush=True)  # at once, whatever other threads print
    while number >= 4 and not (folder / "open").exists():
        time.sleep(0.01)
    return f"answer {number}"

def wait(condition, seconds):
    if threading.current_thread() is threading.main_thread():
        print("waits\n", end="", flush=True)
    condition.wait(seconds)

def tell(event, fields):
    print(f"told {event}\n", end="", flush=True)

settings = settings_of(folder, told=tell, concurrency=4)
hosted = HostedModel(NAME, FakeApi(reply), settings, Timing(wait=wait))
model = CachedModel(hosted, Interrupted(folder / "a.sqlite"))
try:
    with interruptible(tell):
        for place, response in model.generate([ask(str(n)) for n in range(100)]):
            print(f"got {response.text}\n", end="", flush=True)
            while where == "consumer" and place == 3:
                time.sleep(0.01)  # interrupted here: in the code of whoever takes the answers
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts the program, which is to be interrupted in the `pool` or in the `consumer`."""
    started: list[subprocess.Popen[str]] = []

    def start(where: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, tmp_path, Path(__file__).parent, where]
        words = [str(word) for word in command]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


Start = Callable[[str], subprocess.Popen[str]]


def read_until(process: subprocess.Popen[str], done: Callable[[list[str]], bool]) -> list[str]:
    """The lines up to the one with which `done` holds."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.strip())
        if done(lines):
            return lines
    raise AssertionError(f"ended too early: {lines}")


def four_are_under_way(lines: list[str]) -> bool:
    """And the main thread has taken the four before, and waits."""
    taken = [line for line in lines if line.startswith(("got", "waits"))]
    answered = {f"got answer {number}" for number in range(4)}
    return (UNDER_WAY | answered) <= set(lines) and taken[-1] == "waits"


def consumer_is_busy(lines: list[str]) -> bool:
    return (UNDER_WAY | {"got answer 3"}) <= set(lines)


def said(line: str) -> Callable[[list[str]], bool]:
    return lambda lines: lines[-1] == line


def kept(folder: Path) -> int:
    answers = Answers(folder / "a.sqlite")
    found = answers._db.execute("SELECT count(*) FROM answers").fetchone()[0]
    answers.close()
    return int(found)


UNDER_WAY = {f"sent {number}" for number in range(8)}


def interrupt(start: Start, folder: Path, where: str) -> list[str]:
    """Interrupt with four calls under way, then let them be answered; all that was printed."""
    process = start(where)
    lines = read_until(process, four_are_under_way if where == "pool" else consumer_is_busy)
    process.send_signal(signal.SIGINT)
    lines += read_until(process, said("told stopping"))
    (folder / "open").touch()
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    return lines + rest.splitlines()


def test_an_interrupt_while_waiting_yields_and_keeps_what_is_under_way(
    start: Start, tmp_path: Path
) -> None:
    lines = interrupt(start, tmp_path, "pool")
    assert {line for line in lines if line.startswith("sent")} == UNDER_WAY
    assert {f"got answer {n}" for n in range(8)} <= set(lines)
    assert kept(tmp_path) == 8


def test_an_interrupt_of_who_takes_the_answers_keeps_what_is_under_way(
    start: Start, tmp_path: Path
) -> None:
    lines = interrupt(start, tmp_path, "consumer")
    assert {line for line in lines if line.startswith("sent")} == UNDER_WAY
    assert kept(tmp_path) == 8


def test_a_second_interrupt_ends_at_once(start: Start, tmp_path: Path) -> None:
    process = start("pool")
    read_until(process, four_are_under_way)
    process.send_signal(signal.SIGINT)
    read_until(process, said("told stopping"))
    process.send_signal(signal.SIGINT)  # the four calls are never answered
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert kept(tmp_path) == 4


def test_an_interrupt_while_an_answer_is_kept_loses_neither_it_nor_those_under_way(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "open").touch()
    process = start("keeping")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = printed.splitlines()
    sent = [line for line in lines if line.startswith("sent")]
    assert len(sent) >= 4
    assert lines[-1] == "interrupted"
    assert kept(tmp_path) == len(sent)


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_while_what_is_under_way_is_waited_for_is_the_first_one(
    times: int, tmp_path: Path
) -> None:
    """Nobody wanted more answers, so calls are waited for that nobody interrupted yet."""
    open_now, all_sent = threading.Event(), threading.Barrier(5, timeout=60)
    left, closing_now = [times], []

    def reply(request: Request) -> str:
        if int(text_of(request)) >= 4:
            all_sent.wait()
            assert open_now.wait(60)
        return "yes"

    def wait(condition: threading.Condition, seconds: float | None) -> None:
        if closing_now and left[0] and threading.current_thread() is threading.main_thread():
            left[0] -= 1
            if not left[0]:
                open_now.set()
            signal.raise_signal(signal.SIGINT)
        condition.wait(seconds)

    settings = settings_of(tmp_path, concurrency=4)
    with closing(Answers(tmp_path / "a.sqlite")) as kept_here:
        model = CachedModel(
            HostedModel(NAME, FakeApi(reply), settings, Timing(wait=wait)), kept_here
        )
        asked = model.generate([ask(str(number)) for number in range(100)])
        for _ in range(4):
            next(asked)
        all_sent.wait()
        closing_now.append(True)
        with interruptible(settings.tell), pytest.raises(KeyboardInterrupt):
            asked.close()  # type: ignore[attr-defined]
    assert kept(tmp_path) == (8 if times == 1 else 4)
