"""Solvers as data: to JSON, back, and hashed."""

import json
from pathlib import Path

import pytest

from stepladder.core import Message, Part
from stepladder.errors import StepladderError
from stepladder.solvers import artifacts_of, content_hash, solver_from_record, solver_record
from stepladder.solvers.majority import MajoritySolver
from stepladder.solvers.prompt import PromptSolver

SOLVER = PromptSolver(
    model="fake:model",
    instructions="Sort it.",
    task_kind="classification",
    labels=("a", "b"),
    output_format="json",
    schema={"type": "object", "properties": {"z": {}, "a": {}}},
    demos=(
        ("plain text", "a"),
        ({"subject": "s", "amount": 3}, {"z": [1, {"q": None}], "a": "x"}),
        ((Message("user", "hi"), Message("user", (Part("image", uri="x.png"),))), "b"),
    ),
    selector={"method": "bm25", "k": 2, "pool": "abc"},
)


def test_a_solver_survives_json() -> None:
    record = json.loads(json.dumps(solver_record(SOLVER)))
    assert record["kind"] == "prompt"
    assert solver_from_record(record) == SOLVER
    assert content_hash(solver_from_record(record)) == content_hash(SOLVER)


def test_the_order_of_keys_is_part_of_the_prompt_and_of_the_hash() -> None:
    other = MajoritySolver({"a": 1, "b": 2}, 0.5), MajoritySolver({"b": 2, "a": 1}, 0.5)
    assert content_hash(other[0]) != content_hash(other[1])


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ({}, "'kind'"),
        ({"kind": "no-such"}, "no solver is called 'no-such'"),
        ({"kind": "majority", "value": 1, "share": 1.0, "colour": 2}, "unknown fields: 'colour'"),
        ({"kind": "majority", "value": 1}, "lacks fields: 'share'"),
        ({"kind": "majority", "value": 1, "share": "much"}, "bad field 'share'"),
        ({"kind": "prompt", "model": "m", "instructions": "", "scoring": "x"}, "'scoring'"),
    ],
)
def test_a_bad_record_is_refused_with_the_place(record: dict[str, object], complaint: str) -> None:
    with pytest.raises(StepladderError, match=complaint) as caught:
        solver_from_record(record)
    assert caught.value.hint


def test_artifacts_are_found_in_fields_and_selectors() -> None:
    assert artifacts_of(SOLVER) == ("abc",)
    assert artifacts_of(MajoritySolver("x", 1.0)) == ()


def test_artifacts_are_named_by_content_and_verified(tmp_path: Path) -> None:
    from stepladder.solvers.artifact import open_artifact, save_artifact

    name = save_artifact(tmp_path, {"a.txt": b"one", "b.txt": b"two"})
    assert save_artifact(tmp_path, {"b.txt": b"two", "a.txt": b"one"}) == name
    assert (open_artifact(tmp_path, name) / "a.txt").read_bytes() == b"one"
    other = save_artifact(tmp_path, {"a.txt": b"changed"})
    assert other != name
    (tmp_path / other / "a.txt").write_bytes(b"tampered with")
    with pytest.raises(StepladderError, match="were changed"):
        open_artifact(tmp_path, other)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, other])


@pytest.mark.parametrize("name", ["missing", "../etc", "a/b"])
def test_an_artifact_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    from stepladder.solvers.artifact import open_artifact

    with pytest.raises(StepladderError, match="is not in"):
        open_artifact(tmp_path, name)
