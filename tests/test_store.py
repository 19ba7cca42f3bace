"""What is kept, through crashes, two processes at once and disks that refuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stepladder.core import Message, Request
from stepladder.errors import StoreError
from stepladder.store import Answers, CachedModel, Openings, open_run, read_rows
from stepladder.testing import FakeModel, check_model


def ask(text: str, **options: object) -> Request:
    return Request((Message("user", text),), **options)  # type: ignore[arg-type]


def test_a_finished_call_is_not_made_twice(tmp_path: Path) -> None:
    model = FakeModel(lambda request: str(request.messages[0].content).upper())
    cached = CachedModel(model, Answers(tmp_path / "a.sqlite"))
    first = dict(cached.generate([ask("x"), ask("y")]))
    again = dict(CachedModel(model, Answers(tmp_path / "a.sqlite")).generate([ask("y"), ask("x")]))
    assert (again[1], again[0]) == (first[0], first[1])
    assert len(model.seen) == 2


def test_equal_requests_of_one_batch_are_one_call(tmp_path: Path) -> None:
    model = FakeModel(lambda request: "yes")
    cached = CachedModel(model, Answers(tmp_path / "a.sqlite"))
    assert sorted(index for index, _ in cached.generate([ask("x")] * 3)) == [0, 1, 2]
    assert len(model.seen) == 1


@pytest.mark.parametrize(
    "other",
    [
        ask("x", max_output_tokens=7),
        ask("x", temperature=1.0),
        ask("x", seed=1),
        ask("x", stop=("a",)),
        ask("x", schema={"type": "object"}),
        ask("x", choices=("a",)),
        ask("x", choices=("a",), score_choices=True),
        ask("y"),
    ],
)
def test_whatever_differs_in_a_request_is_another_answer(tmp_path: Path, other: Request) -> None:
    model = FakeModel(lambda request: "yes", score=lambda request: (0.0,))
    cached = CachedModel(model, Answers(tmp_path / "a.sqlite"))
    list(cached.generate([ask("x")]))
    list(cached.generate([other]))
    assert len(model.seen) == 2


def test_a_failed_call_is_tried_again(tmp_path: Path) -> None:
    replies = iter([ValueError("down"), "up"])

    def reply(request: Request) -> str:
        value = next(replies)
        if isinstance(value, Exception):
            raise value
        return value

    cached = CachedModel(FakeModel(reply), Answers(tmp_path / "a.sqlite"))
    assert dict(cached.generate([ask("x")]))[0].error is not None
    assert dict(cached.generate([ask("x")]))[0].text == "up"


def test_a_cached_model_keeps_the_contract_of_models(tmp_path: Path) -> None:
    check_model(CachedModel(FakeModel(lambda request: "yes"), Answers(tmp_path / "a.sqlite")))


def test_two_processes_with_one_run_each_have_a_folder(tmp_path: Path) -> None:
    with open_run(tmp_path, "climb") as first, open_run(tmp_path, "climb") as second:
        assert first.folder.name == "climb"
        assert second.folder.name == "climb-2"
    with open_run(tmp_path, "climb") as again:
        assert again.folder.name == "climb"


KILLED = """
import os, signal, sys
from pathlib import Path
from stepladder.core import Message, Request
from stepladder.store import CachedModel, open_run
from stepladder.testing import FakeModel

run = open_run(Path(sys.argv[1]), "climb")
calls = []

def reply(request):
    calls.append(1)
    if len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return "yes"

model = CachedModel(FakeModel(reply), run.answers)
list(model.generate([Request((Message("user", str(n)),)) for n in range(10)]))
"""


def test_after_a_kill_only_the_unfinished_calls_are_made(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    model = FakeModel(lambda request: "yes")
    with open_run(tmp_path, "climb") as run:  # the dead process holds no lock
        assert run.folder.name == "climb"
        list(CachedModel(model, run.answers).generate([ask(str(n)) for n in range(10)]))
    assert len(model.seen) == 5


def test_a_cut_off_last_row_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1}\n{"id": 2}\n{"id": 3, "te', encoding="utf-8")
    assert [row["id"] for row in read_rows(path)] == [1, 2]


def test_openings_are_counted_per_test_set_and_a_replay_costs_nothing(tmp_path: Path) -> None:
    ledger = Openings(tmp_path / "openings.jsonl")
    assert ledger.open("test", "solver-a", "bar", "run-1") == 1
    assert ledger.open("test", "solver-b", "bar", "run-1") == 2
    assert ledger.open("test", "solver-a", "bar", "run-2") == 1
    assert ledger.open("other test", "solver-a", "bar", "run-2") == 1
    assert ledger.before("test", "run-1") == 0
    assert ledger.before("test", "run-9") == 2


def test_a_lower_bar_for_the_same_solver_is_a_new_opening(tmp_path: Path) -> None:
    ledger = Openings(tmp_path / "openings.jsonl")
    ledger.open("test", "solver", "0.9", "run")
    assert ledger.open("test", "solver", "0.8", "run") == 2


def test_a_damaged_ledger_is_refused_and_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "openings.jsonl"
    path.write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(StoreError, match="ledger"):
        Openings(path).open("test", "solver", "bar", "run")
    assert path.read_text(encoding="utf-8") == "nonsense\n"


def test_a_folder_that_cannot_be_made_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file stands in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="runs"):
        open_run(tmp_path / "runs", "climb")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a tiny disk")
def test_a_full_disk_is_one_clear_message_and_what_was_written_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        model = FakeModel(lambda request: "long " * 2000)
        run = open_run(disk, "climb")
        cached = CachedModel(model, run.answers)
        with pytest.raises(StoreError, match="free some space"):
            list(cached.generate([ask(str(n)) for n in range(100)]))
        run.close()
        assert 1 < len(model.seen) < 100
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with open_run(tmp_path, "climb") as run:
        run.write_json("decision.json", {"a": 1})
        with pytest.raises(ValueError, match="JSON"):
            run.write_json("decision.json", {"a": float("nan")})
        assert json.loads((run.folder / "decision.json").read_text(encoding="utf-8")) == {"a": 1}
