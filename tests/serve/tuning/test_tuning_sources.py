"""Where the rows of a job come from: the database, a folder for gs://, or Cloud Storage itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tuning_jobs import upload

from stepladder.database.database import Database
from stepladder.serve.tuning import sources
from stepladder.serve.tuning.failing import JobFailed
from stepladder.serve.tuning.sources import read_source


def content(database: Database, address: str, folder: Path | None = None) -> bytes:
    return b"".join(read_source(database, address, folder, "training_file"))


def failure(database: Database, address: str, folder: Path | None = None) -> JobFailed:
    with pytest.raises(JobFailed) as caught:
        content(database, address, folder)
    assert caught.value.param == "training_file"
    return caught.value


def test_a_stored_file_is_read_in_pieces(database: Database) -> None:
    written = b"0123456789" * 300_000
    address = upload(database, written)
    assert content(database, address) == written
    assert len(list(read_source(database, address, None, "training_file"))) > 1


def test_a_folder_stands_for_cloud_storage_and_nothing_outside_it(
    database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "gs"
    (folder / "b" / "deep").mkdir(parents=True)
    (folder / "b" / "deep" / "rows.jsonl").write_bytes(b"rows")
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "b" / "link").symlink_to(tmp_path / "secret")
    assert content(database, "gs://b/deep/rows.jsonl", folder) == b"rows"
    for address in ("gs://../secret", "gs://b/link", "gs://b/none", "gs://b", "gs:///etc/passwd"):
        assert "there is no object" in failure(database, address, folder).message


def test_a_file_that_is_too_large_is_not_read_to_its_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MOST_BYTES", 100)
    assert "more than 100 bytes" in failure(database, upload(database, b"x" * 101)).message
    assert content(database, upload(database, b"x" * 100)) == b"x" * 100


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Cloud Storage on this machine, with a bucket `rows-of-tests`."""
    pytest.importorskip("google.cloud.storage")
    pytest.importorskip("gcp_storage_emulator")
    from gcp_storage_emulator.server import create_server

    from stepladder.storage import open_bucket

    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    port = server._api._httpd.server_address[1]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    bucket = open_bucket("rows-of-tests", "project-of-tests")
    bucket.client.create_bucket("rows-of-tests")
    yield bucket
    bucket.close()
    server.stop()


@pytest.mark.network
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the emulator's own
def test_an_object_in_cloud_storage_is_read(
    database: Database, emulated: Any, tmp_path: Path
) -> None:
    for name, written in (("a/rows.jsonl", b"rows" * 5_000_000), ("a/rows.jsonl.old", b"other")):
        file = tmp_path / "file"
        file.write_bytes(written)
        emulated.put(file, name)
    assert content(database, "gs://rows-of-tests/a/rows.jsonl") == b"rows" * 5_000_000
    assert "there is no object" in failure(database, "gs://rows-of-tests/a").message
    assert failure(database, "gs://-/a").reason == "unavailable"
