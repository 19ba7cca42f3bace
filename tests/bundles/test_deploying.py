"""From a run to what is current: what is chosen, what is refused, and what a kill leaves behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from bundling import climb_to, deploy_and_die, deploy_often

from stepladder.bundles import bundles_of, current_bundle, deploy, list_bundles, load_bundle
from stepladder.bundles.current import current_of
from stepladder.bundles.deploying import UNFINISHED
from stepladder.errors import StepladderError, StoreError


def history(task: Path) -> list[dict[str, object]]:
    lines = (task / "bundles" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def bundles(task: Path) -> list[str]:
    return sorted(path.name for path in (task / "bundles").iterdir() if path.is_dir())


def test_what_was_confirmed_becomes_current(task: Path, run: Path) -> None:
    done = deploy(run)
    assert (done.step, done.confirmed, done.made, done.moved) == ("baseline", True, True, True)
    assert done.folder == bundles_of(run) / done.bundle
    assert done.before is None
    bundle = current_bundle(task)
    assert bundle.id == done.bundle
    assert bundle.confirmed
    assert bundle.task.labels == ("red", "blue")
    assert bundle.task.target.score == 0.8
    assert bundle.evaluation["confirmed"]["score"] > 0.8
    assert set(bundle.evaluation["data"]) == {"train", "dev", "test"}
    assert bundle.evaluation["run"]["name"] == run.name


def test_the_same_decision_again_changes_nothing(task: Path, run: Path) -> None:
    first = deploy(run)
    before = (task / "bundles" / "current.json").read_bytes()
    again = deploy(run)
    assert (again.bundle, again.made, again.moved) == (first.bundle, False, False)
    assert (task / "bundles" / "current.json").read_bytes() == before
    assert bundles(task) == [first.bundle]
    assert len(history(task)) == 1


def test_a_climb_that_was_replayed_is_the_same_decision(task: Path, run: Path) -> None:
    first = deploy(run)
    assert climb_to(task, "baseline", "prompt", "few_shot") == run
    assert not deploy(run).moved
    assert bundles(task) == [first.bundle]


def test_the_task_is_that_which_was_climbed(task: Path, run: Path) -> None:
    path = task / "task.toml"
    path.write_text(path.read_text().replace("Which colour is it?", "Something else?"))
    deploy(run)
    assert current_bundle(task).task.instructions == "Which colour is it?"


# --- what is refused ----------------------------------------------------------------------------


def test_another_solver_is_refused_unless_told_otherwise(task: Path, run: Path) -> None:
    with pytest.raises(StepladderError, match="'baseline/majority' was not confirmed") as refused:
        deploy(run, solver="baseline/majority")
    assert "--unconfirmed" in refused.value.hint
    assert not (task / "bundles").exists()
    done = deploy(run, solver="baseline/majority", unconfirmed=True)
    assert not done.confirmed
    assert not current_bundle(task).confirmed
    assert current_bundle(task).evaluation["confirmed"] is None


def test_a_solver_that_nobody_measured(run: Path) -> None:
    with pytest.raises(StepladderError, match="no solver called 'baseline/magic'") as refused:
        deploy(run, solver="baseline/magic")
    assert "'baseline/linear'" in refused.value.hint


def test_only_a_model_that_was_tuned_can_be_merged(task: Path, run: Path) -> None:
    with pytest.raises(StepladderError, match="nothing is merged"):
        deploy(run, merged=True)
    assert current_of(task / "bundles") is None


def test_a_decision_that_was_not_met(task: Path, run: Path) -> None:
    path = run / "decision.json"
    record = json.loads(path.read_text())
    record |= {"verdict": "undecided", "chosen": None, "confirmed": None, "confirmations": []}
    record |= {"reason": "too few test examples", "examples_needed": 340}
    path.write_text(json.dumps(record))
    with pytest.raises(StepladderError, match=r"nothing was confirmed .*too few") as refused:
        deploy(run)
    assert "about 340 test examples would settle it" in refused.value.hint
    best = max(record["trials"], key=lambda trial: trial["score"])
    done = deploy(run, unconfirmed=True)
    assert (done.step, done.solver) == (best["step"], best["solver"])
    assert current_bundle(task).evaluation["verdict"] == "undecided"


def test_a_run_of_an_older_version_is_to_be_climbed_again(run: Path) -> None:
    (run / "solvers.json").unlink()
    with pytest.raises(StoreError, match=r"solvers\.json") as refused:
        deploy(run)
    assert "climb again" in refused.value.hint


def test_an_artefact_that_was_changed_or_lost(task: Path, run: Path) -> None:
    (terms, *_) = (task / "runs" / "artifacts").glob("*/terms.json")
    raw = terms.read_bytes()
    for path in (task / "runs" / "artifacts").glob("*/terms.json"):
        path.write_bytes(raw[:-1] + b" ")
    with pytest.raises(StoreError, match="were changed or cut off") as refused:
        deploy(run)
    assert "run the climb again" in refused.value.hint
    shutil.rmtree(task / "runs" / "artifacts")
    with pytest.raises(StepladderError, match="is not in"):
        deploy(run)
    assert not (task / "bundles" / "current.json").exists()


def test_a_run_apart_from_its_task_needs_a_place(task: Path, run: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart"
    shutil.copytree(task / "runs", apart)
    with pytest.raises(StepladderError, match="kept apart") as refused:
        deploy(apart / run.name)
    assert "--to" in refused.value.hint
    done = deploy(apart / run.name, tmp_path / "place")
    assert current_bundle(tmp_path / "place").id == done.bundle


def test_a_demonstration_by_path_cannot_be_bundled(run: Path) -> None:
    path = run / "solvers.json"
    record = json.loads(path.read_text())
    for one in record["solvers"]:
        if one["step"] == "prompt":
            part = {"kind": "image", "text": "", "uri": "a.png", "media_type": "image/png"}
            said = [{"role": "user", "content": [part], "calls": [], "result_of": None}]
            one["record"]["demos"] = [[said, "red"]]
            name = f"prompt/{one['solver']}"
    path.write_text(json.dumps(record))
    with pytest.raises(StepladderError, match=r"the file 'a\.png'"):
        deploy(run, solver=name, unconfirmed=True)


# --- what the disk and a kill do ----------------------------------------------------------------


def test_killed_at_any_moment_what_was_current_still_is_and_nothing_half_is_seen(
    task: Path, run: Path, tmp_path: Path
) -> None:
    old = deploy(run, solver="baseline/linear", unconfirmed=True).bundle
    kept = tmp_path / "kept"
    shutil.copytree(task / "bundles", kept)
    new, at = None, 1
    while deploy_and_die(run, "baseline/majority", at):
        current = current_bundle(task)
        seen = [load_bundle(task / "bundles" / name).id for name in bundles(task) if name[0] != "."]
        assert current.id == old or current.id in seen
        assert {old} <= {*seen}
        done = deploy(run, solver="baseline/majority", unconfirmed=True)
        new = new or done.bundle
        assert current_bundle(task).id == new
        assert [one["number"] for one in history(task)] == [1, 2]
        assert history(task)[1]["before"] == old
        assert not list((task / "bundles").glob(f"{UNFINISHED}*"))
        shutil.rmtree(task / "bundles")
        shutil.copytree(kept, task / "bundles")
        at += 1
    assert at > 15, "so many times at least it touches the disk"


def test_two_at_once_are_one_after_the_other(task: Path, run: Path) -> None:
    solvers = ["baseline/linear", "baseline/majority", "baseline/nearest"] * 2
    assert deploy_often(run, solvers) == [0] * 6
    told = history(task)
    assert [one["number"] for one in told] == list(range(1, len(told) + 1))
    assert [one["before"] for one in told[1:]] == [one["after"] for one in told[:-1]]
    assert len(list_bundles(task)) == 3
    assert all("problem" not in one for one in list_bundles(task))


@pytest.mark.parametrize("name", ["fsync", "replace", "rename"])
def test_a_full_disk_is_said_and_leaves_what_was(
    task: Path, run: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = deploy(run, solver="baseline/majority", unconfirmed=True).bundle

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, full)
        with pytest.raises(StoreError, match="No space left") as refused:
            deploy(run)
    assert "free some space" in refused.value.hint
    assert current_bundle(task).id == old
    assert deploy(run).moved


def test_a_place_that_cannot_be_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write") as refused:
        deploy(run, tmp_path / "file" / "bundles")
    assert "--to" in refused.value.hint


def test_a_damaged_bundle_is_made_anew(task: Path, run: Path) -> None:
    first = deploy(run)
    path = first.folder / "task.json"
    path.write_bytes(path.read_bytes().replace(b"colours", b"colors!"))
    with pytest.raises(StoreError, match=r"task\.json"):
        current_bundle(task)
    again = deploy(run)
    assert (again.bundle, again.made) == (first.bundle, True)
    assert current_bundle(task).id == first.bundle
    assert current_of(task / "bundles").earlier == ()  # type: ignore[union-attr]
