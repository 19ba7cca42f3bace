"""From a run to a bundle that is current. Killed at any moment, what was current still is.

The folder is written beside its place, synced and renamed whole; only then is `current` changed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core import Json
from ..errors import StepladderError, StoreError
from ..models.local import TUNED
from ..solvers import models_of
from .bundle import Bundle, load_bundle
from .chosen import Chosen, choose
from .contents import EVALUATION, LOCAL, contents
from .current import BUNDLES, current_of, locked, point
from .manifest import MANIFEST, BundleFile, bundle_disk, load_record, manifest_bytes, sync_folder

__all__ = ["Deployed", "bundles_of", "deploy"]

UNFINISHED = ".unfinished-"
Check = Callable[[Bundle, Chosen], Mapping[str, Json]]


@dataclass(frozen=True)
class Deployed:
    """What `deploy` did. `made` says whether the bundle is new, `moved` whether it became current.

    `before` is the bundle that was current until then, None where there was none. `unlicensed`
    names the base models whose licence is not known. `served` is the record of the check that its
    endpoint answers as measured; None where none was asked for.
    """

    bundle: str
    folder: Path
    step: str
    solver: str
    confirmed: bool
    made: bool
    moved: bool
    before: str | None
    unlicensed: tuple[str, ...] = ()
    served: Mapping[str, Json] | None = None


def deploy(
    run: Path,
    bundles: Path | None = None,
    *,
    solver: str | None = None,
    unconfirmed: bool = False,
    merged: bool = False,
    check: Check | None = None,
) -> Deployed:
    """Make a bundle of what the run decided and point `current` at it; again, and nothing changes.

    Args:
        run: the folder of a finished run.
        bundles: where bundles are kept; None: `bundles` in the task folder of the run.
        solver: `step/name` of another solver that the run measured.
        unconfirmed: deploy it although the sealed test did not confirm it.
        merged: serve a tuned model by its own weights on an engine of its own, as it was measured,
            instead of by its adapter beside the base model.
        check: looks at the bundle before `current` points at it, and raises to prevent that; the
            command line gives `checking.ServedAsMeasured`.

    Raises:
        StepladderError: it was not confirmed, a bundle cannot carry it, or `check` refused it.
        StoreError: the run or an artefact is damaged, or the disk refuses.
    """
    chosen = choose(run, solver=solver, unconfirmed=unconfirmed)
    if merged and not any(name.startswith(LOCAL + TUNED) for name in models_of(chosen.solver)):
        raise StepladderError(
            f"{chosen.title} asks no model that was tuned here, so nothing is merged",
            hint="leave --merged out",
        )
    folder = bundles or bundles_of(run)
    with locked(folder):
        _sweep(folder)
        found = _same(folder, chosen, merged=merged)
        # read back before anything points at it
        bundle = found or load_bundle(folder / _write(folder, contents(chosen, merged=merged)))
    served = check(bundle, chosen) if check is not None else None  # minutes: others may go on
    with locked(folder):
        old = current_of(folder)
        moved = old is None or old.bundle != bundle.id
        if moved:
            earlier = (*old.earlier, old.bundle) if old else ()
            point(folder, "deploy", bundle.id, earlier)
    return Deployed(
        bundle=bundle.id,
        folder=bundle.folder,
        step=chosen.trial["step"],
        solver=chosen.trial["solver"],
        confirmed=chosen.confirmed is not None,
        made=found is None,
        moved=moved,
        before=old.bundle if old else None,
        unlicensed=tuple(model.base for model in bundle.models if model.licence is None),
        served=served,
    )


def bundles_of(run: Path) -> Path:
    """Where the bundles of a run's task are; raises StepladderError where the task is not known."""
    folder = run.resolve().parent
    if folder.name != "runs" or not any(folder.parent.glob("*.toml")):
        raise StepladderError(
            f"the run {str(run)!r} is kept apart from its task, so the place of its bundles is "
            "not known",
            hint="say where to keep them: --to FOLDER",
        )
    return folder.parent / BUNDLES


def _same(folder: Path, chosen: Chosen, *, merged: bool) -> Bundle | None:
    """A whole bundle of the same decision, however often its climb was replayed."""
    for path in sorted(folder.glob("[0-9a-f]" * 64)):
        try:
            record = load_record(path, EVALUATION)
            is_merged = record.get("merged", False)  # older bundles do not say
            if (record.get("decision"), is_merged) == (chosen.decision_id, merged):
                return load_bundle(path)
        except StoreError:  # damaged: it is made anew
            continue
    return None


def _sweep(folder: Path) -> None:
    """Away with what a killed deploy left; nobody else is at work here."""
    with bundle_disk(folder, "write"):
        for path in folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write(folder: Path, files: Mapping[str, bytes | Path]) -> str:
    """The id of the bundle with these files, written whole."""
    scratch = folder / f"{UNFINISHED}{secrets.token_hex(4)}"
    try:
        with bundle_disk(folder, "write"):
            scratch.mkdir()
            listed = [_put(scratch, path, files[path]) for path in sorted(files)]
            manifest = manifest_bytes(listed)
            _put(scratch, MANIFEST, manifest)
            for inner in sorted({path.parent for path in scratch.rglob("*")}, reverse=True):
                sync_folder(inner)
            bundle = hashlib.sha256(manifest).hexdigest()
            if (folder / bundle).is_dir():  # damaged, or it would have been found
                os.rename(folder / bundle, folder / f"{UNFINISHED}damaged-{bundle}")
            os.rename(scratch, folder / bundle)
            sync_folder(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return bundle


def _put(folder: Path, path: str, content: bytes | Path) -> BundleFile:
    """Write one file to stay, and say what was written."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("xb") as sink:
        for chunk in [content] if isinstance(content, bytes) else _chunks(content):
            sink.write(chunk)
            digest.update(chunk)
        sink.flush()
        os.fsync(sink.fileno())
        size = sink.tell()
    return BundleFile(path, size, digest.hexdigest())


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while chunk := source.read(2**20):
            yield chunk
