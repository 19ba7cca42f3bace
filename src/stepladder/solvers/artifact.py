"""Folders of weights and indexes, named by the hash of what is in them.

Written once, whole or not at all; verified on first use. Nothing in them is a pickle.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from ..errors import StepladderError, StoreError

__all__ = ["keep_folder", "open_artifact", "save_artifact"]


def save_artifact(artifacts: Path, files: Mapping[str, bytes]) -> str:
    """Write the files under their content hash and return it; saving the same again is free.

    Raises:
        StoreError: the folder cannot be written.
    """
    name = _hash({file: hashlib.sha256(content).digest() for file, content in files.items()})
    target = artifacts / name
    if target.is_dir():
        return name
    try:
        artifacts.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=artifacts, prefix=".unfinished-"))
        for file, content in files.items():
            (unfinished / file).write_bytes(content)
        try:
            with _first_wins(target):
                unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise StoreError(
            f"cannot write the artifact folder {str(target)!r}: {error}",
            hint="free some space, or choose a run folder that can be written",
        ) from error
    return name


def keep_folder(artifacts: Path, unfinished: Path) -> str:
    """Name a folder of plain files, written beside the others, by the hash of what is in it.

    For what is too large to hold in memory; `unfinished` is gone afterwards.

    Raises:
        StoreError: it cannot be read or renamed.
    """
    try:
        name = _hash(_digests(unfinished))
        if not (artifacts / name).is_dir():
            with _first_wins(artifacts / name):
                unfinished.rename(artifacts / name)
    except OSError as error:
        raise StoreError(
            f"cannot write an artifact folder in {str(artifacts)!r}: {error}",
            hint="free some space, or choose a run folder that can be written",
        ) from error
    shutil.rmtree(unfinished, ignore_errors=True)
    return name


def open_artifact(artifacts: Path, name: str) -> Path:
    """The folder of this artifact, its content verified once per process.

    Raises:
        StepladderError: it is not there, or its files are not those that were saved.
    """
    return _verified(artifacts.resolve(), name)


@lru_cache(maxsize=256)
def _verified(artifacts: Path, name: str) -> Path:
    folder = artifacts / name
    if Path(name).name != name or not folder.is_dir():
        raise StepladderError(
            f"the solver's artifact {name!r} is not in {str(artifacts)!r}",
            hint="use the artifacts folder of the run or bundle that the solver came from",
        )
    if _hash(_digests(folder)) != name:
        raise StepladderError(
            f"the files of artifact {name!r} in {str(artifacts)!r} were changed or cut off",
            hint="delete that folder and run the step again",
        )
    return folder


@contextmanager
def _first_wins(target: Path) -> Iterator[None]:
    """Another process may finish the same folder first: same name, same content."""
    try:
        yield
    except OSError:
        if not target.is_dir():
            raise


def _digests(folder: Path) -> dict[str, bytes]:
    digests = {}
    for path in folder.iterdir():
        with path.open("rb") as stream:
            digests[path.name] = hashlib.file_digest(stream, "sha256").digest()
    return digests


def _hash(digests: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for file in sorted(digests):
        whole.update(file.encode() + b"\0" + digests[file])
    return whole.hexdigest()
