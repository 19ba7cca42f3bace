"""Files put into a bucket, against a storage emulator in this process."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepladder.errors import ModelError, StoreError
from stepladder.storage import Bucket, open_bucket

pytest.importorskip("google.cloud.storage")
pytest.importorskip("gcp_storage_emulator")
pytestmark = [
    pytest.mark.network,  # of this machine
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the emulator's own
]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Any]:
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bucket(emulator: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    emulator.wipe()
    port = emulator._api._httpd.server_address[1]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    opened = open_bucket("gs://rows-of-tests/", "project-of-tests")
    opened.client.create_bucket("rows-of-tests")
    yield opened
    opened.close()


def content(bucket: Bucket, name: str) -> bytes:
    return bytes(bucket.client.bucket(bucket.name).blob(name).download_as_bytes())


def test_a_file_is_there_as_it_was(bucket: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"a": "ü"}\n', encoding="utf-8")
    uri = bucket.put(file, "stepladder/abc/train.jsonl")
    assert uri == "gs://rows-of-tests/stepladder/abc/train.jsonl"
    assert content(bucket, "stepladder/abc/train.jsonl") == file.read_bytes()


def test_a_large_file_goes_in_pieces(bucket: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"0123456789abcdef" * 2**20 + b"end")
    bucket.put(file, "large.jsonl")
    assert hashlib.sha256(content(bucket, "large.jsonl")).digest() == (
        hashlib.sha256(file.read_bytes()).digest()
    )


def test_what_is_there_already_is_not_sent_again(bucket: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("one\n")
    bucket.put(file, "a.jsonl")
    before = bucket.client.bucket(bucket.name).get_blob("a.jsonl").generation
    assert bucket.put(file, "a.jsonl") == "gs://rows-of-tests/a.jsonl"
    assert bucket.client.bucket(bucket.name).get_blob("a.jsonl").generation == before


def test_other_content_under_the_name_is_left_alone(bucket: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("one\n")
    bucket.put(file, "a.jsonl")
    file.write_text("two\n")
    with pytest.raises(StoreError, match="is not what was to be put there"):
        bucket.put(file, "a.jsonl")
    assert content(bucket, "a.jsonl") == b"one\n"


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("one\n")
    with pytest.raises(ModelError, match=r"gs://another-bucket/a\.jsonl") as caught:
        Bucket("another-bucket", bucket.client).put(file, "a.jsonl")
    assert "has to exist" in caught.value.hint


@pytest.mark.parametrize("name", ["", "a", "UPPER", "with space", "b/../c", "http://x"])
def test_what_is_no_name_of_a_bucket_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="is not the name of a bucket"):
        open_bucket(name, "project-of-tests")


class Raced:
    """A bucket that another process puts the file into first; the emulator knows no conditions."""

    def __init__(self, there: bytes) -> None:
        self._there = there
        self._looked = False

    def bucket(self, name: str) -> Raced:
        return self

    def get_blob(self, name: str, timeout: float) -> Raced | None:
        self._looked, looked = True, self._looked
        return self if looked else None

    def blob(self, name: str, chunk_size: int) -> Raced:
        return self

    def upload_from_filename(self, file: str, **asked: Any) -> None:
        from google.api_core.exceptions import PreconditionFailed

        assert asked["if_generation_match"] == 0
        raise PreconditionFailed("somebody was faster")  # type: ignore[no-untyped-call]

    @property
    def md5_hash(self) -> str:
        return base64.b64encode(hashlib.md5(self._there).digest()).decode()


def test_a_race_for_the_name_is_won_by_the_same_content_only(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("one\n")
    assert Bucket("rows", Raced(b"one\n")).put(file, "a.jsonl") == "gs://rows/a.jsonl"
    with pytest.raises(StoreError):
        Bucket("rows", Raced(b"two\n")).put(file, "a.jsonl")


def test_a_bucket_that_is_not_there_is_told_in_one_line(bucket: Bucket, tmp_path: Path) -> None:
    (file := tmp_path / "train.jsonl").write_text("{}\n", encoding="utf-8")
    elsewhere = replace(bucket, name="nobodys-bucket")
    with pytest.raises(ModelError) as caught:
        elsewhere.put(file, "train.jsonl")
    said = caught.value.message
    assert said == "cannot write 'gs://nobodys-bucket/train.jsonl': 404 Not Found"
    assert "has to exist" in caught.value.hint
