"""The retrieval step over a database of vectors: filled, searched, named by the solver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_retrieval_step import CITIES, code_of, make_task, questions, reads

from stepladder.knowledge import remote
from stepladder.solvers import artifacts_of, grounding, solver_from_record, solver_record
from stepladder.solvers.prompt import PromptSolver
from stepladder.steps.retrieval import Retrieval
from stepladder.testing import FakeModel, fake_workshop

AT = "qdrant://db.example:6333"
pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, encoder: Any) -> Iterator[list[str]]:
    """Qdrant in this process; which collections of it were opened."""
    qdrant = pytest.importorskip("qdrant_client")
    from stepladder.knowledge.remote_qdrant import QdrantStore

    client = qdrant.QdrantClient(":memory:")
    opened: list[str] = []

    class Kept(QdrantStore):
        def close(self) -> None:
            """A client in memory forgets all when it is closed."""

    def open_store(url: str, collection: str, *, key: str | None = None) -> Kept:
        assert url == AT
        opened.append(collection)
        return Kept(client, collection)

    monkeypatch.setattr(remote, "open_store", open_store)
    grounding._remote.cache_clear()
    yield opened
    grounding._remote.cache_clear()
    client.close()


def test_passages_live_in_the_database_and_the_solver_names_them(
    tmp_path: Path, database: list[str], encoder: Any
) -> None:
    task = make_task(tmp_path)
    workshop = fake_workshop(FakeModel(reads), tmp_path / "artifacts")
    step = Retrieval(at=AT, slice=8, k=(1, 3), sizes=(60,))
    best, *_ = step.propose(task, questions(), None, workshop)
    solver = best.solver
    assert isinstance(solver, PromptSolver)
    assert solver.knowledge is not None
    assert (solver.knowledge.at, solver.knowledge.collection) == (AT, "stepladder_doors_60")
    assert artifacts_of(solver) == ()
    assert solver_from_record(json.loads(json.dumps(solver_record(solver)))) == solver
    ((_, output),) = solver.answer([questions()[4].input], workshop)
    assert output.value == code_of(CITIES[4])
    assert [one.passage for one in output.citations] == [f"{CITIES[4]}#0"]
    assert set(database) == {"stepladder_doors_60"}
    assert "meaning, 60 words" in best.changed
    encoder.texts.clear()
    list(step.propose(task, questions(), None, workshop))
    assert not any("door code is" in text for text in encoder.texts), "documents are there already"
