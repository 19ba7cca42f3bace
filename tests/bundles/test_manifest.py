"""Every byte of a bundle is checked, and what could do harm is refused before it is read."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundling import forge, forge_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepladder.bundles import deploy, load_bundle
from stepladder.bundles.manifest import MANIFEST, SCHEMA, BundleFile, manifest_bytes, verify
from stepladder.errors import StepladderError, StoreError


@pytest.fixture(scope="module")
def whole(climbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that tests damage and mend again."""
    (run,) = (climbed / "runs").glob("climb-*")
    return deploy(run, tmp_path_factory.mktemp("whole")).folder


def paths(bundle: Path) -> list[Path]:
    return sorted(path for path in bundle.rglob("*") if path.is_file())


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_change_of_any_byte_of_any_file_is_noticed(whole: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths(whole)))
    raw = path.read_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    how = data.draw(st.sampled_from(["change", "cut", "add", "remove"]))
    changed = {
        "change": raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :],
        "cut": raw[:at],
        "add": raw[:at] + b" " + raw[at:],
        "remove": raw[:at] + raw[at + 1 :],
    }[how]
    try:
        path.write_bytes(changed)
        with pytest.raises(StoreError) as refused:
            load_bundle(whole)
    finally:
        path.write_bytes(raw)
    assert path.name in refused.value.message
    assert refused.value.hint
    assert load_bundle(whole).id == whole.name


def test_what_is_missing_added_or_renamed_is_named(whole: Path, tmp_path: Path) -> None:
    bundle = tmp_path / whole.name
    shutil.copytree(whole, bundle)
    (bundle / "more.json").write_text("{}")
    with pytest.raises(StoreError, match=r"'more\.json' is not in its manifest"):
        load_bundle(bundle)
    (bundle / "more.json").unlink()
    (bundle / "more").mkdir()
    with pytest.raises(StoreError, match="'more' is not in its manifest"):
        load_bundle(bundle)
    (bundle / "more").rmdir()
    (bundle / "task.json").rename(tmp_path / "away")
    with pytest.raises(StoreError, match=r"'task\.json' is missing"):
        load_bundle(bundle)
    (bundle / "task.json").symlink_to(tmp_path / "away")
    with pytest.raises(StoreError, match=r"'task\.json' is a link"):
        load_bundle(bundle)
    (bundle / "task.json").unlink()
    os.mkfifo(bundle / "task.json")
    with pytest.raises(StoreError, match="no ordinary file"):
        load_bundle(bundle)
    (bundle / "task.json").unlink()
    (tmp_path / "away").rename(bundle / "task.json")
    assert load_bundle(bundle).id == whole.name
    (tmp_path / "link").symlink_to(bundle)
    with pytest.raises(StoreError, match="is not a folder"):
        load_bundle(tmp_path / "link")
    with pytest.raises(StoreError, match="is not called so"):
        load_bundle(bundle.rename(tmp_path / "renamed"))


def listed(path: Any, content: bytes = b"{}", **more: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"path": path, "size": len(content), "sha256": sha256, **more}


HOSTILE = [
    listed("../outside.json"),
    listed("a/../../outside.json"),
    listed("/etc/hosts.json"),
    listed("a//b.json"),
    listed("./a.json"),
    listed("a\\b.json"),
    listed(".hidden.json"),
    listed("a\0.json"),
    listed("a" * 300 + ".json"),
    listed("a/b/c/d/e/f.json"),
    listed("weights.bin"),
    listed("weights.pkl"),
    listed("weights.pt"),
    listed("model.npz"),
    listed("metrics.py"),
    listed("MANIFEST.JSON"),
    listed(MANIFEST),
    listed(7),
    listed(None),
    listed("a.json", size=-1),
    listed("a.json", size=2**70),
    listed("a.json", size=True),
    listed("a.json", size="2"),
    listed("a.json", size=2.0),
    listed("a.json", sha256="0" * 63),
    listed("a.json", sha256=None),
    listed("a.json", mode="0777"),
    {"path": "a.json"},
    "a.json",
    None,
]


@pytest.mark.parametrize("entry", HOSTILE, ids=lambda entry: repr(entry)[:60])
def test_a_hostile_entry_is_refused(tmp_path: Path, entry: Any) -> None:
    (tmp_path / "outside.json").write_text("{}")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "a.json").write_text("{}")
    with pytest.raises(StoreError, match=r"manifest\.json") as refused:
        verify(forge(tmp_path / "bundle", [entry]))
    assert refused.value.hint


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "{",
        "[]",
        "null",
        "\ud83d".encode("utf-8", "surrogatepass").decode("latin-1"),
        '{"schema": "stepladder.bundle/2", "files": []}',
        f'{{"schema": "{SCHEMA}"}}',
        f'{{"schema": "{SCHEMA}", "files": {{}}}}',
        f'{{"schema": "{SCHEMA}", "files": [], "run": "me"}}',
        f'{{"schema": "{SCHEMA}", "files": [], "files": []}}',
        "[" * 100_000,
    ],
    ids=range(11),
)
def test_a_manifest_of_another_form_is_refused(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(StoreError, match=r"manifest\.json"):
        verify(forge_text(tmp_path / "bundle", manifest))


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "a.json").write_text("{}")
    for other in ("a.json", "A.json"):
        folder = forge(tmp_path / "bundle", [listed("a.json"), listed(other)])
        with pytest.raises(StoreError, match="twice"):
            verify(folder)
        folder.rename(tmp_path / "bundle")


def test_an_array_of_objects_is_a_pickle_and_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "a.npy").write_bytes(buffer.getvalue())
    folder = forge(tmp_path / "bundle", [listed("a.npy", buffer.getvalue())])
    with pytest.raises(StoreError, match=r"'a\.npy' is not a plain array"):
        verify(folder)


def test_a_manifest_too_large_to_be_one_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with (tmp_path / "bundle" / MANIFEST).open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(StoreError, match=r"manifest\.json"):
        verify(tmp_path / "bundle")


def test_a_whole_bundle_that_lacks_a_record_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "solver.json").write_text("{}")
    folder = forge(tmp_path / "bundle", [listed("solver.json")])
    assert len(verify(folder)) == 1
    with pytest.raises(StoreError, match=r"has no 'task\.json'"):
        load_bundle(folder)


def test_the_order_of_the_files_makes_no_other_manifest() -> None:
    one, two = (BundleFile(name, 0, "0" * 64) for name in ("a.json", "b.json"))
    assert manifest_bytes([one, two]) == manifest_bytes([two, one])


OTHER = '{"kind": "majority", "value": "red", "share": 1.0}'
RECORDS = {
    "solver.json": ['{"kind": "magic"}', '{"kind": 3}', "[]", "{", '{"kind": "linear"}', OTHER],
    "task.json": ["[]", "{}", '{"folder": "x"}', '{"name": 3}'],
    "models.json": [
        "{}",
        '[{"name": 1}]',
        '[{"nam": "x"}]',
        "[3]",
        '[{"name": "a:b", "base": "a:b", "inside": "../x"}]',
    ],
    "evaluation.json": ["[]", "{", "{}", '{"confirmed": 3}'],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in RECORDS.items() for text in texts]
)
def test_a_record_of_another_form_is_said(
    whole: Path, tmp_path: Path, name: str, text: str
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(whole, bundle)
    (bundle / name).write_text(text)
    (bundle / MANIFEST).unlink()
    files = [listed(p.relative_to(bundle).as_posix(), p.read_bytes()) for p in paths(bundle)]
    with pytest.raises(StepladderError) as refused:
        load_bundle(forge(bundle, files))
    assert refused.value.hint
