"""Where a job's files are: in the database by id, or in Cloud Storage by `gs://` address.

With a folder that stands for Cloud Storage, `gs://bucket/name` is `folder/bucket/name`; without
one, Google's own is asked (extra `vertex`). Files are read in pieces and never written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import StepladderError
from .failing import JobFailed, bad_file

if TYPE_CHECKING:
    from ...database.database import Database

__all__ = ["MOST_BYTES", "read_source"]

MOST_BYTES = 2**30  # of a file, as at Google
PIECE = 2**20


def read_source(
    database: Database, address: str, gs_folder: Path | None, param: str
) -> Iterator[bytes]:
    """The bytes of a stored file or of an object; raises JobFailed, naming `param`."""
    if not address.startswith("gs://"):
        if database.file(address) is None:
            raise bad_file(param, "the file is not there any more", hint="upload it again")
        return _bounded(database.read_file(address), param)
    if gs_folder is not None:
        return _bounded(_in_folder(address, gs_folder, param), param)
    return _bounded(_in_bucket(address, param), param)


def _bounded(pieces: Iterator[bytes], param: str) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MOST_BYTES:
            raise bad_file(param, f"the file has more than {MOST_BYTES:,} bytes")
        yield piece


def _in_folder(address: str, folder: Path, param: str) -> Iterator[bytes]:
    root = folder.resolve()
    try:
        path = (root / address.removeprefix("gs://")).resolve()
    except (OSError, ValueError) as error:  # no name of a file
        raise _not_there(address, param) from error
    if not path.is_relative_to(root) or not path.is_file():
        raise _not_there(address, param)

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

    return pieces()


def _in_bucket(address: str, param: str) -> Iterator[bytes]:
    from ...storage import open_bucket

    bucket_name, _, name = address.removeprefix("gs://").partition("/")
    try:
        bucket = open_bucket(bucket_name, "")
        found = bucket.pieces(name)
        if found is None:
            raise _not_there(address, param)
        yield from found
    except JobFailed:
        raise
    except StepladderError as error:
        raise JobFailed(
            error.message, hint=error.hint, reason="unavailable", param=param
        ) from error


def _not_there(address: str, param: str) -> JobFailed:
    return bad_file(
        param,
        f"there is no object {address!r}",
        hint="put the file there, or upload it and name it by its id",
    )
