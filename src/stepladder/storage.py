"""Files in a bucket of Google Cloud Storage: put there whole, once, and unchanged.

What services read, such as training rows, is put under a name that no other content has; what they
write there is read. Opening needs the package `google-cloud-storage`. Nothing here decides what is
put, and nothing is removed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from .errors import ModelError, StoreError
from .models.hosted.keys import redact
from .registry import need

__all__ = ["Bucket", "open_bucket"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_SECONDS = 60.0  # for one request; a large file goes in pieces of its own
_PIECE = 8 * 2**20  # bytes


@dataclass(frozen=True)
class Bucket:
    """A bucket that is there. `client` is a `google.cloud.storage.Client`."""

    name: str
    client: Any

    def put(self, file: Path, name: str) -> str:
        """Put a file into the bucket, unless it is there already; gives its `gs://` address.

        Raises:
            StoreError: the name is taken by other content, or the file did not arrive as it was.
            ModelError: the bucket cannot be written.
        """
        uri = f"gs://{self.name}/{name}"
        digest = _md5(file)
        with _told(f"cannot write {uri!r}"):
            bucket = self.client.bucket(self.name)
            there = bucket.get_blob(name, timeout=_SECONDS)
            if there is None:
                there = self._send(bucket, file, name)
        if there.md5_hash is not None and there.md5_hash != digest:
            raise StoreError(
                f"{uri!r} is not what was to be put there", hint="remove it, and run again"
            )
        return uri

    def read(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Name and content of each file whose name begins so, by name.

        Raises:
            ModelError: the bucket cannot be read.
        """
        with _told(f"cannot read what is below 'gs://{self.name}/{prefix}'"):
            for blob in self.client.list_blobs(self.name, prefix=prefix, timeout=_SECONDS):
                yield blob.name, blob.download_as_bytes(checksum="md5", timeout=_SECONDS)

    def pieces(self, name: str) -> Iterator[bytes] | None:
        """The content of one file in pieces, never whole in memory; None where it is not there.

        Raises:
            ModelError: the bucket cannot be read, here or while the pieces are.
        """
        with _told(f"cannot read 'gs://{self.name}/{name}'"):
            blob = self.client.bucket(self.name).get_blob(name, timeout=_SECONDS)
        return None if blob is None else self._read(blob)

    def _read(self, blob: Any) -> Iterator[bytes]:
        with (
            _told(f"cannot read 'gs://{self.name}/{blob.name}'"),
            blob.open("rb", chunk_size=_PIECE) as file,
        ):
            while piece := file.read(_PIECE):
                yield piece

    def _send(self, bucket: Any, file: Path, name: str) -> Any:
        """The object as the service then describes it; an object that came first is left alone."""
        from google.api_core.exceptions import PreconditionFailed

        blob = bucket.blob(name, chunk_size=_PIECE)
        try:
            # the service checks what arrives against the checksum
            blob.upload_from_filename(
                str(file),
                content_type="application/jsonl",
                if_generation_match=0,  # only if nothing has the name
                checksum="md5",
                timeout=_SECONDS,
            )
        except PreconditionFailed:  # another process was faster
            return bucket.get_blob(name, timeout=_SECONDS)
        return blob

    def close(self) -> None:
        self.client.close()


def open_bucket(name: str, project: str) -> Bucket:
    """The bucket called `name`, with Google's default credentials.

    STORAGE_EMULATOR_HOST, if set, is asked instead of Google, and without credentials.

    Raises:
        MissingExtra: the package `google-cloud-storage` is not installed.
        ModelError: the name is not that of a bucket, or there are no credentials.
    """
    name = name.removeprefix("gs://").rstrip("/")
    if not _BUCKET.fullmatch(name):
        raise ModelError(
            f"{name!r} is not the name of a bucket",
            hint="set bucket in [providers.vertex] to the name of one that you may write to",
        )
    storage = need("google.cloud.storage", extra="vertex", what="a bucket of Google Cloud")
    with _told(f"cannot open the bucket {name!r}"):
        return Bucket(name, storage.Client(project=project))


def _md5(file: Path) -> str:
    """The checksum as the service writes it."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what the client raises into a ModelError that says what could not be done."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    try:
        yield
    except GoogleAuthError as error:
        raise ModelError(
            f"{what}: {redact(str(error))}",
            hint="sign in with 'gcloud auth application-default login'",
        ) from error
    except (GoogleAPICallError, RetryError, RequestException) as error:
        raise ModelError(
            f"{what}: {redact(_said(error))}",
            hint="the bucket has to exist, and you need the role 'Storage Object User' on it",
        ) from error


def _said(error: Any) -> str:
    """One line: the status and the service's own words, without the request and its whole body."""
    status = getattr(error, "code", None)
    if status is None:
        return " ".join(str(error).split())
    try:
        words = error.response.json()["error"]["message"]
    except (AttributeError, KeyError, TypeError, ValueError):  # no body, or not JSON
        words = status.phrase if isinstance(status, HTTPStatus) else ""
    return " ".join(f"{int(status)} {words}".split())
