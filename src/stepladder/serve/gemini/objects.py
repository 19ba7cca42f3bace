"""Objects of Cloud Storage that are written: in a folder that stands for it, or in Google's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from .. import Refusal

__all__ = ["in_folder", "write_object"]


def write_object(uri: str, written: Path, root: Path | None) -> None:
    """Put a file where `gs://bucket/name` lies: below `root`, or in the bucket of that name.

    Raises:
        Refusal: the folder that stands for Cloud Storage cannot be written.
        ModelError: the bucket cannot be written.
    """
    if root is None:
        _put(uri, written)
    else:
        _copy(uri, written, root)


def _copy(uri: str, written: Path, root: Path) -> None:
    """Into the folder that stands for Cloud Storage, whole or not at all."""
    target = in_folder(uri, root)
    beside = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(written, beside)
        beside.replace(target)
    except OSError as error:
        raise Refusal("unavailable", f"{uri!r} cannot be written: {error.strerror}") from error


def in_folder(uri: str, root: Path) -> Path:
    """Where `gs://bucket/name` lies; raises Refusal for what would lie elsewhere."""
    root = root.resolve()
    try:
        target = (root / uri.removeprefix("gs://")).resolve()
    except (OSError, ValueError) as error:
        raise Refusal("invalid", f"{uri!r} cannot be the name of an object") from error
    if not target.is_relative_to(root) or target == root:
        raise Refusal("invalid", f"{uri!r} is no place for output", param="outputConfig")
    return target


def _put(uri: str, written: Path) -> None:
    from ...storage import open_bucket

    bucket_name, _, name = uri.removeprefix("gs://").partition("/")
    bucket = open_bucket(bucket_name, "")
    try:
        bucket.put(written, name)
    finally:
        bucket.close()
