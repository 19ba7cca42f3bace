"""`deploy` and `rollback` as people and scripts use them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_here import Stepladder
from task_folders import make_task_folder

from stepladder.bundles import current_bundle

pytest.importorskip("transformers")
pytestmark = pytest.mark.network  # deploy asks a server of its own


@pytest.fixture
def task(tmp_path: Path, stepladder: Stepladder) -> Path:
    """A task that was climbed, without any model."""
    more = '[steps.baseline]\nsolvers = ["majority", "linear"]\n'
    folder = make_task_folder(tmp_path / "task", "openai:any", easy=True, more=more)
    assert stepladder("climb", folder, "--steps", "baseline").code == 0
    return folder


def test_deploy_again_other_back_and_the_list(task: Path, stepladder: Stepladder) -> None:
    first = stepladder("deploy", task)
    assert first.code == 0, first.err
    assert "baseline/linear is current now" in first.out
    assert "nothing was changed" in stepladder("deploy", task / "task.toml").out
    other = stepladder("deploy", task, "--solver", "baseline/majority", "--unconfirmed")
    assert "in place of" in other.out
    assert "NOT confirmed" in other.out

    listed = stepladder("deploy", task, "--list").out.splitlines()
    assert len(listed) == 2
    (current,) = (line for line in listed if line.startswith("*"))
    assert "baseline/majority" in current
    assert "not confirmed" in current

    back = stepladder("rollback", task)
    assert back.code == 0
    assert "is current now, in place of" in back.out
    assert current_bundle(task).confirmed
    none = stepladder("rollback", task)
    assert none.code == 2
    assert "nothing before" in none.err


def test_what_was_not_confirmed_is_refused_in_one_message(
    task: Path, stepladder: Stepladder
) -> None:
    refused = stepladder("deploy", task, "--solver", "baseline/majority")
    assert (refused.code, refused.out) == (2, "")
    assert "was not confirmed" in refused.err
    assert "--unconfirmed" in refused.err


def test_a_run_by_its_folder_or_decision_goes_where_it_is_told(
    task: Path, tmp_path: Path, stepladder: Stepladder
) -> None:
    (run,) = (task / "runs").glob("climb-*")
    done = stepladder("deploy", run, "--to", tmp_path / "place", "--json")
    assert done.record["made"] is True
    assert current_bundle(tmp_path / "place").id == done.record["bundle"]
    assert not (task / "bundles").exists()
    again = stepladder("deploy", run / "decision.json", "--to", tmp_path / "place", "--json")
    assert again.record["made"] is again.record["moved"] is False
    assert stepladder("deploy", run, "--json").record["folder"].startswith(str(task.resolve()))


def test_all_speak_json(task: Path, stepladder: Stepladder) -> None:
    first = stepladder("deploy", task, "--json").record
    stepladder("deploy", task, "--solver", "baseline/majority", "--unconfirmed")
    listed = stepladder("deploy", task, "--list", "--json").record
    assert [one["current"] for one in listed].count(True) == 1
    moved = stepladder("rollback", task, "--json").record
    assert (moved["action"], moved["after"]) == ("rollback", first["bundle"])


def test_nothing_was_climbed_or_deployed(tmp_path: Path, stepladder: Stepladder) -> None:
    assert "no finished climb" in stepladder("deploy", tmp_path).err
    assert "there is no folder" in stepladder("deploy", tmp_path / "mistyped").err
    assert "nothing was deployed" in stepladder("rollback", tmp_path).err
    assert stepladder("deploy", tmp_path, "--list").out == "no bundles\n"
    assert stepladder("deploy", tmp_path, "--list", "--json").record == []
    assert list(tmp_path.iterdir()) == []
