"""Going back, and what says which bundle is current."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.bundles import current_bundle, deploy, list_bundles, rollback
from stepladder.bundles.current import Current, current_of, locked, point
from stepladder.errors import StepladderError, StoreError

SOLVERS = ("baseline/majority", "baseline/linear", "baseline/nearest")


@pytest.fixture
def three(run: Path) -> list[str]:
    """Three bundles, deployed one after the other."""
    return [deploy(run, solver=one, unconfirmed=True).bundle for one in SOLVERS]


def test_back_and_back_again_until_nothing_is_left(task: Path, three: list[str]) -> None:
    first, second, third = three
    move = rollback(task)
    assert (move.action, move.before, move.after) == ("rollback", third, second)
    assert current_bundle(task).id == second
    assert rollback(task).after == first
    with pytest.raises(StepladderError, match="nothing before"):
        rollback(task)
    assert current_bundle(task).id == first


def test_back_to_where_it_was_after_a_deploy_in_between(
    task: Path, run: Path, three: list[str]
) -> None:
    rollback(task)
    rollback(task)
    deploy(run, solver=SOLVERS[2], unconfirmed=True)
    assert rollback(task).after == three[0]


def test_a_rollback_is_by_task_by_file_or_by_folder(task: Path, three: list[str]) -> None:
    assert rollback(task / "task.toml").after == three[1]
    assert rollback(task / "bundles").after == three[0]


def test_nothing_was_deployed(task: Path) -> None:
    for act in (rollback, current_bundle):
        with pytest.raises(StepladderError, match="nothing was deployed") as refused:
            act(task)
        assert f"stepladder deploy {task}" in refused.value.hint
    assert not (task / "bundles").exists()


def test_what_is_damaged_or_gone_does_not_become_current(task: Path, three: list[str]) -> None:
    path = task / "bundles" / three[1] / "solver.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(StoreError, match=r"solver\.json"):
        rollback(task)
    shutil.rmtree(task / "bundles" / three[1])
    with pytest.raises(StoreError, match="is not a folder"):
        rollback(task)
    assert current_bundle(task).id == three[2]


def test_a_line_that_a_kill_cut_off_is_written_anew(task: Path, three: list[str]) -> None:
    path = task / "bundles" / "history.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    rollback(task)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3, 4]
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"bundle": "../../x", "earlier": []}'])
def test_a_damaged_file_of_what_is_current_is_said(task: Path, run: Path, text: str) -> None:
    deploy(run)
    (task / "bundles" / "current.json").write_text(text)
    for act in (rollback, current_bundle, lambda where: deploy(run)):
        with pytest.raises(StoreError, match=r"current\.json"):
            act(task)


def test_current_never_points_out_of_its_folder(task: Path, run: Path) -> None:
    deploy(run)
    path = task / "bundles" / "current.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "bundle": "../runs"}))
    with pytest.raises(StoreError, match=r"current\.json"):
        current_bundle(task)


def test_the_list_says_what_there_is(task: Path, three: list[str]) -> None:
    listed = {one["bundle"]: one for one in list_bundles(task)}
    assert set(listed) == set(three)
    assert [name for name, one in listed.items() if one["current"]] == [three[2]]
    assert listed[three[1]]["solver"] == "linear"
    (task / "bundles" / three[0] / "evaluation.json").write_text("{")
    assert "problem" in next(one for one in list_bundles(task) if one["bundle"] == three[0])
    assert list_bundles(task / "runs") == []


@given(st.lists(st.one_of(st.integers(0, 4), st.none()), max_size=20))
@settings(max_examples=60)
def test_any_deploys_and_rollbacks_are_a_stack(
    tmp_path_factory: pytest.TempPathFactory, moves: list[int | None]
) -> None:
    folder = tmp_path_factory.mktemp("stack")
    stack: list[str] = []
    made = 0
    for one in moves:
        with locked(folder):
            if one is None and len(stack) > 1:
                stack.pop()
                point(folder, "rollback", stack[-1], tuple(stack[:-1]))
            elif one is not None:
                stack.append(f"{one:064x}")
                point(folder, "deploy", stack[-1], tuple(stack[:-1]))
            else:
                continue
        made += 1
        current = current_of(folder)
        assert isinstance(current, Current)
        assert [*current.earlier, current.bundle] == stack
        assert len((folder / "history.jsonl").read_text().splitlines()) == made
