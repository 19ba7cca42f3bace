"""Adapters of tuned models on this machine's disk: fetched when first asked, the rest makes room.

    FOLDER/<hash of its files>/     one adapter, whole or not there

Servers of one machine share the folder. Beyond its size the adapters that were asked least recently
go, except those asked in the last minutes, by whichever server; they are fetched again when they
are asked again. The database keeps all of them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from ...database.records import StoredFile, TunedModel
from ...errors import StoreError

__all__ = ["AdapterCache", "Files"]

FILES = frozenset({"adapter_config.json", "adapter_model.safetensors"})
IN_USE_SECONDS = 600.0  # since it was last asked: an engine may still read it
FORGOTTEN_SECONDS = 86_400.0  # a fetch that a killed server began
FETCHING = "fetching-"


class Files(Protocol):
    """Where the files are; the database is one."""

    def file(self, id: str) -> StoredFile | None: ...

    def read_file(self, id: str) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class AdapterCache:
    """The adapters in `folder`, at most about `most_bytes` of them."""

    folder: Path
    most_bytes: int
    clock: Callable[[], float] = time.time

    def fetch(self, files: Files, record: TunedModel) -> Path:
        """The folder of a tuned model's adapter, which is marked as asked now.

        Raises StoreError when files are missing, damaged or not those of an adapter.
        """
        if set(record.files) != FILES:
            raise StoreError(
                f"the tuned model {record.id!r} has the files {sorted(record.files)}, not those of "
                "an adapter",
                hint=f"an adapter is {' and '.join(sorted(FILES))}",
            )
        stored = {name: _stored(files, record, id) for name, id in sorted(record.files.items())}
        hashes = " ".join(file.sha256 for file in stored.values())
        target = self.folder / hashlib.sha256(hashes.encode()).hexdigest()[:32]
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            is_new = not target.is_dir()
            if is_new:
                self._bring(files, stored, target)
            self.mark(target)
        if is_new:
            self._make_room()
        return target

    def mark(self, adapter: Path) -> bool:
        """Note that an adapter is asked now; False where it is not there any more."""
        now = self.clock()
        try:
            os.utime(adapter, (now, now))
        except FileNotFoundError:
            return False
        return True

    def _bring(self, files: Files, stored: dict[str, StoredFile], target: Path) -> None:
        scratch = Path(tempfile.mkdtemp(dir=self.folder, prefix=FETCHING))
        try:
            for name, file in stored.items():
                _fetch(files, file, scratch / name)
            os.replace(scratch, target)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def _make_room(self) -> None:
        """Remove what was asked least recently until the rest fits."""
        now = self.clock()
        found = []
        for path in self.folder.iterdir():
            with suppress(OSError):  # another server removes as well
                age = now - path.stat().st_mtime
                if path.name.startswith(FETCHING) and age > FORGOTTEN_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
                elif path.is_dir() and not path.name.startswith(FETCHING):
                    found.append((age, sum(one.stat().st_size for one in path.iterdir()), path))
        total = sum(size for _, size, _ in found)
        for age, size, path in sorted(found, reverse=True):
            if total <= self.most_bytes or age < IN_USE_SECONDS:
                return
            if self._remove(path):
                total -= size

    def _remove(self, adapter: Path) -> bool:
        """Whether it is gone; one that somebody fetches or asks at this moment stays."""
        try:
            with FileLock(f"{adapter}.lock", timeout=0):
                if self.clock() - adapter.stat().st_mtime < IN_USE_SECONDS:
                    return False
                gone = Path(tempfile.mkdtemp(dir=self.folder, prefix=FETCHING))
                os.replace(adapter, gone)  # at once: nobody sees half of it
        except (Timeout, OSError):
            return False
        shutil.rmtree(gone, ignore_errors=True)
        return True


def _stored(files: Files, record: TunedModel, id: str) -> StoredFile:
    file = files.file(id)
    if file is None:
        raise StoreError(f"a file of the tuned model {record.id!r} is gone", hint="tune it anew")
    return file


def _fetch(files: Files, file: StoredFile, target: Path) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as sink:
        for piece in files.read_file(file.id):
            digest.update(piece)
            sink.write(piece)
    if digest.hexdigest() != file.sha256:
        raise StoreError(
            f"the file {file.name!r} in the database is not as it was stored",
            hint="restore the database, or tune the model anew",
        )
