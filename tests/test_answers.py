"""Paid answers: kept when a run ends early, and asked once by several processes together."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from stepladder.answers import Answers, CachedModel
from stepladder.core import Message, Request, Response, Usage
from stepladder.errors import StoreError

TEXTS = [f"input {n}" for n in range(6)]


def ask(text: str) -> Request:
    return Request((Message("user", text),))


def asked(texts: Sequence[str]) -> list[Request]:
    return [ask(text) for text in texts]


class Hosted:
    """A model that costs money: two calls are always under way; `stop` begins no more."""

    hosted = True
    name = "paid:model"

    def __init__(self, reply: Callable[[str], str] = str.upper) -> None:
        self.reply = reply
        self.calls: list[str] = []
        self.stopped = False

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        self.stopped = False
        for place in range(0, len(requests), 2):
            if self.stopped:
                return
            pair = [str(one.messages[0].content) for one in requests[place : place + 2]]
            self.calls += pair  # both are sent at once
            for offset, text in enumerate(pair):
                yield place + offset, self._response(text)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return 1

    def stop(self) -> None:
        self.stopped = True

    def _response(self, text: str) -> Response:
        try:
            return Response(self.reply(text), Usage(self.name, 1, 1))
        except ValueError as error:
            return Response("", Usage(self.name, 0, 0), "error", error=str(error))


def kept(path: Path, model: Hosted, sleep: Callable[[float], None] | None = None) -> CachedModel:
    return CachedModel(model, Answers(path / "answers.sqlite"), sleep or (lambda seconds: None))


def test_how_long_a_paid_answer_was_waited_for_is_kept_with_it(tmp_path: Path) -> None:
    now = [100.0]

    def slow(text: str) -> str:
        now[0] += 2.0
        return text

    def waited(model: Hosted) -> float:
        answers = Answers(tmp_path / "answers.sqlite")
        found = CachedModel(model, answers, clock=lambda: now[0]).generate(asked(TEXTS))
        seconds = []
        for _, response in found:
            now[0] += 50.0  # what is done with an answer is no waiting
            assert response.usage.waited_seconds is not None
            seconds.append(response.usage.waited_seconds)
        return sum(seconds)

    assert waited(Hosted(slow)) == pytest.approx(2.0 * len(TEXTS))
    assert waited(Hosted(lambda text: pytest.fail(text))) == pytest.approx(2.0 * len(TEXTS))


@pytest.mark.parametrize("paid", [True, False])
def test_of_many_requests_those_that_are_kept_are_not_asked_again(
    paid: bool, tmp_path: Path
) -> None:
    """More than go into one question to the database, with some of them asked for twice."""
    model = Hosted()
    model.hosted = paid
    texts = [f"input {(7 * n) % 1300}" for n in range(2000)]
    list(kept(tmp_path, model).generate(asked([f"input {n}" for n in range(250, 900)])))
    before = len(model.calls)
    answers = Answers(tmp_path / "answers.sqlite")
    found = dict(CachedModel(model, answers).generate(asked(texts)))
    assert [found[place].text for place in range(2000)] == [text.upper() for text in texts]
    assert (before, len(model.calls), len({*model.calls})) == (650, 1300, 1300)
    again = {index: one.text for index, one in CachedModel(model, answers).generate(asked(texts))}
    assert again == {place: one.text for place, one in found.items()}
    assert len(model.calls) == 1300
    kept_before = sum(250 <= int(text.split()[1]) < 900 for text in texts)
    assert (answers.hits, answers.misses) == (kept_before + 2000, 650)


def test_when_nobody_wants_more_what_is_under_way_is_kept(tmp_path: Path) -> None:
    model = Hosted()
    answers = kept(tmp_path, model).generate(asked(TEXTS))
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert model.calls == TEXTS[:2]
    list(kept(tmp_path, model).generate(asked(TEXTS)))
    assert sorted(model.calls) == TEXTS, "each was paid for once"


def test_an_interrupt_of_the_consumer_keeps_what_is_under_way(tmp_path: Path) -> None:
    model = Hosted()

    def consume() -> None:
        for _ in kept(tmp_path, model).generate(asked(TEXTS)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    list(kept(tmp_path, model).generate(asked(TEXTS)))
    assert sorted(model.calls) == TEXTS


def test_a_model_that_cannot_stop_is_not_asked_to_the_end(tmp_path: Path) -> None:
    model = Hosted()
    model.stop = None  # type: ignore[assignment,method-assign]
    answers = kept(tmp_path, model).generate(asked(TEXTS))
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert model.calls == TEXTS[:2]


def test_while_another_is_asked_its_answer_is_waited_for(tmp_path: Path) -> None:
    first = Hosted()
    theirs = kept(tmp_path, first).generate(asked(TEXTS))
    next(theirs)  # all six are claimed, two are under way
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        next(theirs, None)

    second = Hosted()
    found = dict(kept(tmp_path, second, sleep).generate(asked([*TEXTS, "another"])))
    assert [found[n].text for n in range(7)] == [text.upper() for text in [*TEXTS, "another"]]
    assert second.calls == ["another"]
    assert first.calls == TEXTS
    assert waits


def test_when_the_other_fails_the_call_is_made_here(tmp_path: Path) -> None:
    def reply(text: str) -> str:
        if text == "input 1":
            raise ValueError("down")
        return text

    left: list[int] = []

    def noted(text: str) -> str:
        left.append(len(TEXTS) - len(first.calls))
        return text.upper()

    first, second = Hosted(reply), Hosted(noted)
    theirs = kept(tmp_path, first).generate(asked(TEXTS))
    next(theirs)
    found = dict(kept(tmp_path, second, lambda seconds: next(theirs, None)).generate(asked(TEXTS)))
    assert second.calls == ["input 1"]
    assert found[1].text == "INPUT 1"
    assert left[0] > 0, "at once, not when the other is through"


def test_when_the_other_stops_early_the_rest_is_asked_here(tmp_path: Path) -> None:
    first, second = Hosted(), Hosted()
    other = kept(tmp_path, first)  # it lives on, and could hold on to what it does not ask
    theirs = other.generate(asked(TEXTS))
    next(theirs)
    found = dict(
        kept(tmp_path, second, lambda seconds: theirs.close()).generate(  # type: ignore[attr-defined]
            asked(TEXTS)
        )
    )
    assert len(found) == 6
    assert sorted(first.calls + second.calls) == TEXTS


def test_pauses_grow_while_nothing_comes(tmp_path: Path) -> None:
    theirs = kept(tmp_path, Hosted()).generate(asked(TEXTS))
    next(theirs)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 8:
            list(theirs)

    list(kept(tmp_path, Hosted(), sleep).generate(asked(TEXTS)))
    assert waits == sorted(waits)
    assert waits[-1] == 2.0


def test_two_runs_in_one_process_do_not_wait_for_each_other(tmp_path: Path) -> None:
    model = Hosted()
    one = kept(tmp_path, model, sleep=lambda seconds: pytest.fail("waited for oneself"))
    outer = one.generate(asked(TEXTS))
    next(outer)
    assert len(dict(one.generate(asked(TEXTS)))) == 6
    assert len(dict(outer)) == 5


def test_a_model_on_this_machine_claims_nothing(tmp_path: Path) -> None:
    model = Hosted()
    model.hosted = False
    list(kept(tmp_path, model).generate(asked(TEXTS)))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_closing_leaves_no_claim_and_no_lock(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers.sqlite")
    list(CachedModel(Hosted(), answers).generate(asked(TEXTS)))
    assert len(list((tmp_path / "claims").iterdir())) == 1
    answers.close()
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_folder_for_claims_that_cannot_be_made_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("a file stands in the way", encoding="utf-8")
    with pytest.raises(StoreError, match=r"answers\.sqlite"):
        list(kept(tmp_path, Hosted()).generate(asked(TEXTS)))


PROCESS = """
import json, sys, time
from pathlib import Path
from stepladder.answers import Answers, CachedModel
from stepladder.core import Message, Request, Response, Usage

folder, name, die_at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

class Paid:
    hosted = True
    name = "paid:model"
    def generate(self, requests):
        for place, request in enumerate(requests):
            text = request.messages[0].content
            with open(folder / "bill", "a") as bill:   # what the service was asked
                bill.write(f"{name} {text}\\n")
            time.sleep(0.02)
            if place == die_at:
                print("asked", flush=True)
                sys.stdin.readline()
            yield place, Response(text.upper(), Usage(self.name, 1, 1))
    def count_tokens(self, messages):
        return 1
    def stop(self):
        pass

def wait(seconds):
    print("waits", flush=True)
    time.sleep(seconds)

model = CachedModel(Paid(), Answers(folder / "answers.sqlite"), wait)
requests = [Request((Message("user", f"input {n}"),)) for n in range(20)]
print("ready", flush=True)
sys.stdin.readline()
found = dict(model.generate(requests))
print(json.dumps([found[n].text for n in range(20)]), flush=True)
"""


def process(folder: Path, name: str, die_at: int = -1) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(folder), name, str(die_at)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def go(one: subprocess.Popen[str]) -> None:
    assert one.stdin is not None
    one.stdin.write("go\n")
    one.stdin.flush()


def found(one: subprocess.Popen[str]) -> list[str]:
    return json.loads(one.communicate(timeout=60)[0].splitlines()[-1])


def bill(folder: Path) -> list[str]:
    lines = (folder / "bill").read_text(encoding="utf-8").splitlines()
    return [line.partition(" ")[2] for line in lines]


ALL = [f"input {n}" for n in range(20)]


def test_two_processes_at_once_make_each_call_once_and_both_have_all_answers(
    tmp_path: Path,
) -> None:
    both = [process(tmp_path, name) for name in "ab"]
    for one in both:
        go(one)
    assert [found(one) for one in both] == [[text.upper() for text in ALL]] * 2
    assert sorted(bill(tmp_path)) == sorted(ALL)


def test_the_claims_of_a_killed_process_are_taken_over(tmp_path: Path) -> None:
    first = process(tmp_path, "a", die_at=5)
    go(first)
    assert first.stdout is not None
    assert first.stdout.readline() == "asked\n"
    second = process(tmp_path, "b")
    go(second)
    assert second.stdout is not None
    assert second.stdout.readline() == "waits\n"
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    assert found(second) == [text.upper() for text in ALL]
    made = bill(tmp_path)
    assert made.count("input 5") == 2, "the one whose answer died with its process"
    assert len(made) == 21
