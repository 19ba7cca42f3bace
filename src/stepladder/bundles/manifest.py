"""What is in a bundle, by hash: written once beside the files, checked before anything is believed.

A bundle's folder is named by the SHA-256 of its manifest, and the manifest has that of every file:
the name pins every byte. Only formats that run no code when they are read may be in one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StoreError

__all__ = [
    "CURE", "MANIFEST", "SAFE", "SCHEMA", "BundleFile", "bundle_disk", "check_path", "load_record",
    "load_records", "manifest_bytes", "parse_json", "sync_folder", "verify",
]  # fmt: skip

SCHEMA = "stepladder.bundle/1"
MANIFEST = "manifest.json"
# arrays (.npy) without objects; .jinja is a chat template, filled in within a sandbox; .model is
# a tokenizer's table
SAFE = (".json", ".jsonl", ".safetensors", ".npy", ".txt", ".md", ".jinja", ".model")
MOST_FILES = 10_000
LARGEST_MANIFEST = 8 * 2**20  # bytes
CURE = "use another copy of the bundle, or make it anew with: stepladder deploy"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BundleFile:
    """One file: its path within the bundle, written with '/', its length in bytes and SHA-256."""

    path: str
    size: int
    sha256: str


def manifest_bytes(files: Sequence[BundleFile]) -> bytes:
    """The manifest of these files, the same for the same files in any order."""
    listed = [asdict(file) for file in sorted(files, key=lambda file: file.path)]
    record = {"schema": SCHEMA, "files": listed}
    return (json.dumps(record, indent=1, ensure_ascii=True) + "\n").encode()


def check_path(path: str) -> None:
    """Raise ValueError unless this is a plain relative path to a file of a safe format."""
    parts = path.split("/")
    if len(parts) > 5 or not all(_NAME.fullmatch(part) for part in parts):
        raise ValueError(f"{path!r} is not a plain path within the bundle")
    if not path.endswith(SAFE):
        raise ValueError(f"{path!r} is not of a safe format ({', '.join(SAFE)})")
    if path == MANIFEST:
        raise ValueError(f"{path!r} cannot list itself")


def verify(folder: Path) -> tuple[BundleFile, ...]:
    """The files of the bundle in `folder`, once each is there, whole and unchanged.

    Raises:
        StoreError: something is missing, changed, added or unsafe; the message names it.
    """
    with bundle_disk(folder, "read"):
        files = _read_manifest(folder)
        _refuse_strangers(folder, files)
        for file in files:
            _check_file(folder, file)
    return files


@contextmanager
def bundle_disk(path: Path, doing: str) -> Iterator[None]:
    """Turn what the disk says into one clear message."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot {doing} {str(path)!r}: {error.strerror or error}",
            hint="check its permissions and run the same command again"
            if doing == "read"
            else "free some space or make the folder writable, and run the same command again; "
            "what was current still is. --to keeps bundles elsewhere",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in this folder last through a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def parse_json(raw: bytes) -> Any:
    """JSON of which each key is there once; raises ValueError for anything else."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key is there twice")
        return dict(pairs)

    try:
        return json.loads(raw.decode(), object_pairs_hook=once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


# --- reading ------------------------------------------------------------------------------------


def _damaged(folder: Path, what: str) -> StoreError:
    return StoreError(f"the bundle {str(folder)!r} cannot be used: {what}", hint=CURE)


def _read_manifest(folder: Path) -> tuple[BundleFile, ...]:
    if folder.is_symlink() or not folder.is_dir():
        raise _damaged(folder, "it is not a folder")
    raw = _manifest_of(folder)
    found = hashlib.sha256(raw).hexdigest()
    if folder.resolve().name != found:
        raise StoreError(
            f"the bundle {str(folder)!r} cannot be used: its {MANIFEST!r} has SHA-256 {found}, "
            "and the folder is not called so",
            hint=f"if it was renamed, rename it back; else the manifest was changed: {CURE}",
        )
    try:
        return _files_of(parse_json(raw))
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{MANIFEST!r}: {error}") from error


def _manifest_of(folder: Path) -> bytes:
    try:
        opened = os.open(folder / MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise _damaged(folder, f"{MANIFEST!r} is missing") from error
    with os.fdopen(opened, "rb") as file:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_MANIFEST:
            raise _damaged(folder, f"{MANIFEST!r} is not a file of at most {LARGEST_MANIFEST} B")
        return file.read()


def _files_of(record: Any) -> tuple[BundleFile, ...]:
    """The files that a manifest lists; raises ValueError, KeyError or TypeError when it is off."""
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else None
        raise ValueError(f"is of schema {found!r}; this version reads {SCHEMA!r}")
    if record.keys() != {"schema", "files"} or not isinstance(record["files"], list):
        raise ValueError("needs 'schema' and the list 'files', and nothing else")
    if len(record["files"]) > MOST_FILES:
        raise ValueError(f"lists more than {MOST_FILES} files")
    files = tuple(_file_of(each) for each in record["files"])
    if len({file.path.lower() for file in files}) < len(files):
        raise ValueError("lists a file twice")
    return files


def _file_of(record: Any) -> BundleFile:
    file = BundleFile(**record)
    if not isinstance(file.path, str):
        raise ValueError(f"{file.path!r} is not a path")
    check_path(file.path)
    if type(file.size) is not int or not 0 <= file.size < 2**63:
        raise ValueError(f"{file.path!r} cannot have a size of {file.size!r}")
    if not isinstance(file.sha256, str) or not _SHA256.fullmatch(file.sha256):
        raise ValueError(f"{file.path!r} has no SHA-256, but {file.sha256!r}")
    return file


def _refuse_strangers(folder: Path, files: Sequence[BundleFile]) -> None:
    """Anything that the manifest does not list: links, other kinds of files, more files."""
    listed = {MANIFEST, *(file.path for file in files)}
    folders = {str(parent) for path in listed for parent in Path(path).parents}
    for path, status in _walk(folder, folder):
        name = path.relative_to(folder).as_posix()
        if stat.S_ISDIR(status.st_mode):
            if name not in folders:
                raise _damaged(folder, f"the folder {name!r} is not in its manifest")
        elif not stat.S_ISREG(status.st_mode):
            raise _damaged(folder, f"{name!r} is a link or no ordinary file")
        elif name not in listed:
            raise _damaged(folder, f"the file {name!r} is not in its manifest")


def _walk(folder: Path, top: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            path = Path(entry.path)
            yield path, status
            if stat.S_ISDIR(status.st_mode) and len(path.relative_to(top).parts) < 5:
                yield from _walk(path, top)


def _check_file(folder: Path, file: BundleFile) -> None:
    path = folder / file.path
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise _damaged(folder, f"the file {file.path!r} is missing") from error
    with os.fdopen(opened, "rb") as stream:
        size = os.fstat(opened).st_size
        if size != file.size:
            raise _damaged(folder, f"{file.path!r} has {size} bytes, not {file.size}")
        if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
            raise _damaged(folder, f"{file.path!r} was changed: its SHA-256 is not that listed")
    if file.path.endswith(".npy"):
        _refuse_objects(folder, file)


def _refuse_objects(folder: Path, file: BundleFile) -> None:
    """An array of Python objects would be a pickle."""
    try:
        np.load(folder / file.path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _damaged(folder, f"{file.path!r} is not a plain array: {error}") from error


def load_record(folder: Path, name: str) -> Mapping[str, Any]:
    """A JSON object in a verified bundle.

    Raises:
        StoreError: it is not one.
    """
    record = _load(folder, name)
    if not isinstance(record, dict):
        raise _damaged(folder, f"{name!r} is not a JSON object")
    return record


def load_records(folder: Path, name: str) -> Sequence[Any]:
    """A JSON array in a verified bundle.

    Raises:
        StoreError: it is not one.
    """
    records = _load(folder, name)
    if not isinstance(records, list):
        raise _damaged(folder, f"{name!r} is not a JSON array")
    return records


def _load(folder: Path, name: str) -> Any:
    with bundle_disk(folder / name, "read"):
        try:
            return parse_json((folder / name).read_bytes())
        except ValueError as error:
            raise _damaged(folder, f"{name!r} is not JSON: {error}") from error
