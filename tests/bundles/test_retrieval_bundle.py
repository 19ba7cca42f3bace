"""A bundle of an answer from documents holds its index, and cites as its trial did."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from bundling import climb_to, rows_of

from stepladder.bundles import deploy, load_bundle
from stepladder.core import Request
from stepladder.models import ProviderSettings
from stepladder.registry import BUILT_IN
from stepladder.solvers.prompt import PromptSolver
from stepladder.store import output_of
from stepladder.testing import FakeModel

TASK = """
name = "doors"
kind = "qa"
instructions = "Answer the question."
model = "reader:any"
metric = "exact_match"

[target]
score = 0.9

[data]
train = "train.jsonl"
dev = "dev.jsonl"
test = "test.jsonl"

[steps.retrieval]
retrievers = ["words"]
rerank = false
slice = 8
k = [1, 2]
"""


class Readers:
    """`reader:any` finds the code of the door that is asked for in what it is shown."""

    def __init__(self, settings: ProviderSettings) -> None:
        pass

    def model(self, name: str) -> FakeModel:
        return FakeModel(reads, name=name)

    def close(self) -> None:
        pass


def reads(request: Request) -> str:
    text = str(request.messages[-1].content)
    (door,) = re.findall(r"code of (door\d+)\?", text)
    for number, block in re.findall(r"\[(\d+)\][^\n]*\n<passage>\n(.*?)\n</passage>", text, re.S):
        if found := re.search(rf"{door} has the code (\w+)", block):
            return f"{found.group(1)} [{number}]"
    return "not in the documents"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(BUILT_IN["provider"], "reader", f"{__name__}:Readers")
    folder = tmp_path / "doors"
    folder.mkdir()
    (folder / "task.toml").write_text(TASK, encoding="utf-8")
    doors = range(60)
    write(folder / "corpus.jsonl", [
        {"id": f"d{n}", "title": f"Door {n}", "text": f"The sign: door{n} has the code c{n * 7}."}
        for n in doors
    ])  # fmt: skip
    for name, some in (("train", doors[:40]), ("dev", doors[40:50]), ("test", doors[50:])):
        write(folder / f"{name}.jsonl", [
            {"input": f"What is the code of door{n}?", "expected": f"c{n * 7}",
             "meta": {"gold_docs": [f"d{n}"]}}
            for n in some
        ])  # fmt: skip
    return climb_to(folder, "retrieval")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


def test_it_answers_and_cites_as_the_trial_did_without_the_task(run: Path, tmp_path: Path) -> None:
    (trial, *_) = json.loads((run / "decision.json").read_text())["trials"]
    name = f"retrieval/{trial['solver']}"
    rows = rows_of(run, name)
    assert trial["score"] == 1.0
    assert any("searched by words" in one["name"] for one in trial["tried"])
    done = deploy(run, solver=name, unconfirmed=True)
    shutil.copytree(done.folder, tmp_path / "there" / done.folder.name)
    shutil.rmtree(tmp_path / "doors")
    bundle = load_bundle(tmp_path / "there" / done.folder.name)
    assert isinstance(bundle.solver, PromptSolver)
    assert bundle.solver.knowledge is not None
    index = bundle.solver.knowledge.index
    assert any(file.path == f"artifacts/{index}/texts.txt" for file in bundle.files)
    assert not any("jsonl" in file.path and "documents" not in file.path for file in bundle.files)
    with bundle.open() as workshop:
        said = dict(bundle.solver.answer([row["input"] for row in rows], workshop))
    for place, row in enumerate(rows):
        measured = output_of(row)
        assert measured.citations
        assert said[place].value == measured.value
        assert (said[place].citations, said[place].context) == (
            measured.citations, measured.context,
        )  # fmt: skip
