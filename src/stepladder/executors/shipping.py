"""Artifact folders to machines that do not see them, by content hash, through the object store.

On a machine they are kept under the user's cache folder, where the next worker finds them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..errors import StepladderError
from ..models.local.weights import cache_folder

__all__ = ["Shipment", "pack"]

PIECE = 32 * 2**20  # bytes

Folder = Mapping[str, Sequence[Any]]  # file, relative -> references to its pieces


@dataclass(frozen=True)
class Shipment:
    """Folders in the object store, by the name of the artifact; none where all machines see them.

    Called with the climb's artifacts folder, it gives the one to use on this machine.
    """

    folders: Mapping[str, Folder] = field(default_factory=dict)
    shared: bool = True

    def __call__(self, artifacts: Path) -> Path:
        if self.shared:
            return artifacts
        here = cache_folder() / "cluster" / "artifacts"
        for name, folder in self.folders.items():
            _receive(folder, here / name)
        return here


def pack(artifacts: Path, names: Iterable[str]) -> Shipment:
    """Put these folders into the object store of the cluster that this process is connected to.

    Raises:
        StepladderError: one of them is not there.
    """
    import ray

    folders: dict[str, Folder] = {}
    for name in names:
        root = artifacts / name
        if not root.is_dir():
            raise StepladderError(
                f"the solver's artifact {name!r} is not in {str(artifacts)!r}",
                hint="use the artifacts folder of the run or bundle that the solver came from",
            )
        folders[name] = {
            str(path.relative_to(root)): [ray.put(piece) for piece in _pieces(path)]
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
    return Shipment(folders, shared=False)


def _pieces(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _receive(folder: Folder, target: Path) -> None:
    """Write the folder whole or not at all; of several workers on a machine, one writes it."""
    import ray

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_dir():
            return
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".unfinished-"))
        try:
            for name, pieces in folder.items():
                path = scratch / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    for piece in pieces:
                        content: Any = ray.get(piece)
                        file.write(content)
            os.replace(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
