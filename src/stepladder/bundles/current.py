"""Which bundle is current, and what was before it: one small file, replaced whole.

`current.json` alone is believed. `history.jsonl` is for people: each change is a line; the last
change is in `current.json` too, so that a line lost to a kill is written by the next command.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from ..core import Json
from ..errors import StepladderError, StoreError
from .bundle import Bundle, load_bundle
from .contents import EVALUATION
from .manifest import bundle_disk, load_record, sync_folder

__all__ = [
    "BUNDLES", "Current", "Move", "current_bundle", "current_of", "list_bundles", "locked", "point",
    "rollback",
]  # fmt: skip

BUNDLES = "bundles"
CURRENT, HISTORY = "current.json", "history.jsonl"
SCHEMA = "stepladder.current/1"


@dataclass(frozen=True)
class Move:
    """A change of what is current: `after` took the place of `before`."""

    number: int
    at: str
    action: str  # "deploy" or "rollback"
    before: str | None
    after: str


@dataclass(frozen=True)
class Current:
    """What is current, and those it can be rolled back to, the last of them next."""

    bundle: str
    earlier: tuple[str, ...]
    move: Move
    schema: str = SCHEMA


def current_bundle(bundles: Path) -> Bundle:
    """The bundle to serve, of a task folder or of a folder of bundles.

    Raises:
        StepladderError: nothing was deployed.
        StoreError: it is damaged.
    """
    folder = bundles_in(bundles)
    current = current_of(folder)
    if current is None:
        raise _nothing(bundles)
    return load_bundle(folder / current.bundle)


def rollback(bundles: Path) -> Move:
    """Make current what was current before; again, and it is what was before that.

    Raises:
        StepladderError: there is nothing before.
        StoreError: what was before is damaged, or the folder cannot be written.
    """
    folder = bundles_in(bundles)
    if current_of(folder) is None:
        raise _nothing(bundles)
    with locked(folder):
        current = current_of(folder)
        assert current is not None, "nothing un-deploys"
        if not current.earlier:
            raise StepladderError(
                f"there is nothing before {current.bundle[:12]}, which is current",
                hint="deploy another run: stepladder deploy RUN",
            )
        load_bundle(folder / current.earlier[-1])  # what is damaged must not become current
        return point(folder, "rollback", current.earlier[-1], current.earlier[:-1])


def list_bundles(bundles: Path) -> list[dict[str, Json]]:
    """Each bundle there is, the newest first: id, when, which solver, its scores, whether current.

    They are not verified: one that cannot be read at all says why in `problem`.
    """
    folder = bundles_in(bundles)
    current = current_of(folder)
    with bundle_disk(folder, "read"):
        found = sorted(
            (path for path in folder.iterdir() if _is_bundle(path)) if folder.is_dir() else (),
            key=lambda path: path.stat().st_mtime,
            reverse=True,
        )
    return [_listed(path, current) for path in found]


def bundles_in(where: Path) -> Path:
    """The folder of bundles: of a task folder, of its task.toml, or the folder itself."""
    if where.suffix == ".toml":
        where = where.parent
    return where if (where / CURRENT).is_file() else where / BUNDLES


def _is_bundle(path: Path) -> bool:
    return path.is_dir() and len(path.name) == 64 and not path.is_symlink()


def _listed(path: Path, current: Current | None) -> dict[str, Json]:
    made = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    shown: dict[str, Json] = {"bundle": path.name, "made": made}
    shown["current"] = current is not None and current.bundle == path.name
    try:
        seen = load_record(path, EVALUATION)
        confirmed = seen["confirmed"]
        shown |= {
            "step": seen["step"],
            "solver": seen["solver"],
            "verdict": seen["verdict"],
            "score": confirmed["score"] if confirmed else seen["trial"]["score"],
            "low": confirmed["low"] if confirmed else None,
            "n": confirmed["n"] if confirmed else seen["trial"]["n"],
            "set": "test" if confirmed else seen["trial"]["set"],
            "confirmed": confirmed is not None,
        }
    except (StoreError, KeyError, TypeError) as error:
        shown["problem"] = str(error)
    return shown


# --- the file -----------------------------------------------------------------------------------


def current_of(folder: Path) -> Current | None:
    """What is current in this folder of bundles; None before the first deploy.

    Raises:
        StoreError: the file that says so is damaged.
    """
    path = folder / CURRENT
    with bundle_disk(path, "read"):
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        current = TypeAdapter(Current).validate_json(raw)
        if current.schema != SCHEMA or not all(map(_is_id, (current.bundle, *current.earlier))):
            raise ValueError(f"it is not of schema {SCHEMA!r}")
    except (ValidationError, ValueError) as error:
        raise StoreError(
            f"{str(path)!r} does not say which bundle is current",
            hint="move that file away and deploy again; history.jsonl tells what was current",
        ) from error
    return current


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone in this folder of bundles, with what a kill cost its history written first."""
    with bundle_disk(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    try:
        if (current := current_of(folder)) is not None:
            _tell_history(folder, current.move)
        yield
    finally:
        lock.release()


def point(folder: Path, action: str, bundle: str, earlier: tuple[str, ...]) -> Move:
    """Make `bundle` current, whole or not at all; call it while `locked`."""
    old = current_of(folder)
    move = Move(
        number=old.move.number + 1 if old else 1,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        action=action,
        before=old.bundle if old else None,
        after=bundle,
    )
    with bundle_disk(folder / CURRENT, "write"):
        scratch = folder / f".unfinished-{CURRENT}"
        text = json.dumps(asdict(Current(bundle, earlier, move)), indent=1) + "\n"
        with scratch.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, folder / CURRENT)
        sync_folder(folder)
    _tell_history(folder, move)
    return move


def _tell_history(folder: Path, move: Move) -> None:
    """Add the line of this move unless it is there; a line cut off by a kill goes first."""
    path = folder / HISTORY
    with bundle_disk(path, "write"), path.open("ab+") as file:
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            file.truncate(sum(map(len, lines[:-1])))
            lines.pop()
        if lines and _number(lines[-1]) >= move.number:
            return
        file.write(json.dumps(asdict(move)).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _number(line: bytes) -> int:
    try:
        record: Any = json.loads(line)
        return int(record["number"])
    except (ValueError, KeyError, TypeError):
        return 0


def _is_id(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")


def _nothing(where: Path) -> StepladderError:
    return StepladderError(
        f"nothing was deployed in {str(where)!r}", hint=f"run: stepladder deploy {where}"
    )
