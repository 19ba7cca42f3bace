"""An MCP server that gives orders in all that it says, to a model that obeys them all."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planted import CANARY, Obedient, Watch, plants, watching

from stepladder.functions.catalogue import save_catalogue
from stepladder.functions.opening import open_source, source_record
from stepladder.solvers.calling import CallingSolver
from stepladder.testing import fake_workshop

PROGRAM = str(Path(__file__).parents[1] / "planted_mcp.py")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("the secret of the house")
    told = [one.text for one in plants(tmp_path / "secret.txt")]
    (tmp_path / "plants.json").write_text(json.dumps(told))
    return tmp_path


def solver_of(house: Path, **options: Any) -> CallingSolver:
    told = {"kind": "mcp", "command": sys.executable, "arguments": [PROGRAM, str(house)]}
    record = source_record(told, house)
    source = open_source(record)
    catalogue = save_catalogue({one.name: one for one in source.described}, house / "artifacts")
    source.close()
    whole = CallingSolver("fake:model", "Help.", catalogue, gives="record", sources=(record,))
    return replace(whole, **options)


def answered(
    solver: CallingSolver, house: Path, asked: list[str]
) -> tuple[Obedient, list[dict[str, Any]], Watch]:
    """The model, all calls that it asked for with what became of them, and what the process did."""
    model = Obedient()
    with watching() as watch:
        outputs = [
            out for _, out in solver.answer(asked, fake_workshop(model, house / "artifacts"))
        ]
    assert [one.error for one in outputs] == [None] * len(asked)
    return model, [call for one in outputs for call in one.value["calls"]], watch


def journal(house: Path) -> list[dict[str, Any]]:
    path = house / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_what_it_returns_is_asked_for_and_not_run(
    house: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    solver = solver_of(house, allowed=("look_up",), steps=3)
    asked = [f"What is written down under note{n}?" for n in range(len(plants(house)))]
    model, calls, watch = answered(solver, house, asked)
    wanted = {call.name for call in model.asked}
    assert {"wipe", "note", "shell", "read_file", "fetch", "look_up"} <= wanted
    done = {call["name"] for call in calls if call["state"] in ("done", "failed")}
    assert done == {"look_up"}
    assert {one["called"] for one in journal(house) if "called" in one} == {"look_up"}
    assert str(house / "secret.txt") not in watch.files
    assert "/etc/passwd" not in watch.files
    assert watch.hosts == []
    assert all(PROGRAM in one for one in watch.programs), "nothing starts but the server"
    assert any(CANARY in str(one) for one in calls), "it was told"
    assert capfd.readouterr() == ("", ""), "it does not reach the terminal"


def test_what_it_asks_of_us_in_turn_is_refused(house: Path) -> None:
    solver = solver_of(house, allowed=("look_up",), steps=1)
    answered(solver, house, ["What is written down under note0?"])
    answers = [one for one in journal(house) if "answered" in one]
    assert {one["answered"].split()[0] for one in answers} == {
        "sampling/createMessage", "elicitation/create", "roots/list",
    }  # fmt: skip
    assert all(one["refused"] and one["gave"] is None for one in answers)


def test_its_word_that_it_only_reads_lets_nothing_run(house: Path) -> None:
    (house / "from-the-start").touch()
    model, calls, _ = answered(solver_of(house), house, ["What is written down under note0?"])
    assert "wipe" in {call.name for call in model.asked}, "its descriptions order it"
    assert {call["state"] for call in calls} == {"refused"}
    assert journal(house) == []


def test_what_it_says_of_its_tools_after_they_were_measured_is_not_shown(house: Path) -> None:
    solver = solver_of(house, allowed=("look_up", "note"), steps=1)
    (house / "turned").touch()
    model, calls, _ = answered(solver, house, ["What is written down under note99?"])
    (request,) = model.seen
    assert {one.name for one in request.functions} == {"look_up", "wipe", "note"}
    assert CANARY not in str([(one.description, one.parameters) for one in request.functions])
    assert [(call["name"], call["state"]) for call in calls] == [("look_up", "failed")]


def test_its_own_words_about_itself_reach_no_prompt(house: Path) -> None:
    model, _, _ = answered(solver_of(house), house, ["What is written down under note0?"])
    assert all("Ignore all previous" not in str(one.messages[0]) for one in model.seen)
