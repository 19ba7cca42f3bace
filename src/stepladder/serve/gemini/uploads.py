"""Uploads that come in pieces: they survive a restart, and each piece may meet another server.

A session is a small file in the database, and so is each piece that does not end it; both expire.
Who continues a session brings no key, only the session's id, which nobody can guess. Nothing here
knows a header.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING

from ...database.files import Taken
from ...database.records import StoredFile
from .. import Refusal

if TYPE_CHECKING:
    from ...database import Database

__all__ = ["PURPOSE", "Upload", "Wanted", "begin", "drop", "finish", "keep_piece", "resume"]

PURPOSE = "upload"  # of sessions and pieces, which no list of files shows
LIFE = timedelta(days=1)
READ = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """The file that is to be made. `size` None: as long as what comes. `id` "" is any."""

    owner: str
    name: str
    media_type: str
    size: int | None = None
    id: str = ""


@dataclass(frozen=True)
class Upload:
    """A session; `pieces` are what has come so far, from the beginning on and without a gap."""

    id: str
    wanted: Wanted
    pieces: tuple[StoredFile, ...] = ()

    @property
    def received(self) -> int:
        """How many bytes have come."""
        return sum(piece.size_bytes for piece in self.pieces)


def begin(database: Database, wanted: Wanted) -> str:
    """A new session; gives the token that continues it."""
    secret = secrets.token_urlsafe(24)
    session = {"wanted": asdict(wanted), "secret": _hash(secret)}
    stored = database.add_file(
        owner=f"{PURPOSE}:",
        name="session",
        purpose=PURPOSE,
        media_type="application/json",
        chunks=[json.dumps(session).encode()],
        expires_at=datetime.now(UTC) + LIFE,
    )
    return f"{stored.id}-{secret}"


def resume(database: Database, token: str) -> Upload:
    """The session of a token; raises Refusal where there is none (any more)."""
    id, _, secret = token.partition("-")
    stored = database.file(id)
    if stored is None or stored.purpose != PURPOSE or stored.name != "session":
        raise _gone()
    session = json.loads(b"".join(database.read_file(id)))
    if not hmac.compare_digest(session["secret"], _hash(secret)):
        raise _gone()
    return Upload(id, Wanted(**session["wanted"]), tuple(_pieces(database, id)))


def keep_piece(database: Database, upload: Upload, offset: int, content: IO[bytes]) -> int:
    """Keep a piece until the last one comes; gives how many bytes there are now.

    Sent again, a piece counts once.
    """
    skipped = _skipped(upload, offset)
    content.seek(skipped)
    stored = database.add_file(
        owner=f"{PURPOSE}:{upload.id}",
        name=f"{upload.received:020}",
        purpose=PURPOSE,
        media_type=upload.wanted.media_type,
        chunks=_read(content),
        expires_at=datetime.now(UTC) + LIFE,
    )
    return upload.received + stored.size_bytes


def finish(
    database: Database,
    upload: Upload,
    offset: int,
    content: IO[bytes],
    *,
    purpose: str,
    expires_at: datetime,
) -> StoredFile:
    """The whole file, of the pieces and this last one. The session is over then."""
    content.seek(0, 2)
    last = max(0, content.tell() - _skipped(upload, offset))
    size = upload.received + last
    if upload.wanted.size is not None and size != upload.wanted.size:
        raise Refusal(
            "invalid",
            f"the upload has {size} bytes; {upload.wanted.size} were announced",
            param="x-goog-upload-header-content-length",
        )
    content.seek(_skipped(upload, offset))

    def chunks() -> Iterator[bytes]:
        for piece in upload.pieces:
            yield from database.read_file(piece.id)
        yield from _read(content)

    stored = store(database, upload.wanted, chunks(), purpose=purpose, expires_at=expires_at)
    drop(database, upload)
    return stored


def drop(database: Database, upload: Upload) -> None:
    """Forget a session and its pieces."""
    database.delete_file(upload.id)
    for piece in database.files(owner=f"{PURPOSE}:{upload.id}", purpose=PURPOSE, limit=10**6):
        database.delete_file(piece.id)


def store(
    database: Database,
    wanted: Wanted,
    chunks: Iterator[bytes],
    *,
    purpose: str,
    expires_at: datetime,
) -> StoredFile:
    """The file itself, whole or not at all; raises Refusal where its id is taken."""
    try:
        return database.add_file(
            owner=wanted.owner,
            name=wanted.name,
            purpose=purpose,
            media_type=wanted.media_type,
            chunks=chunks,
            expires_at=expires_at,
            id=wanted.id or None,
        )
    except Taken as error:
        raise Refusal(
            "conflict", f"the file 'files/{wanted.id}' already exists", param="file.name"
        ) from error


def _pieces(database: Database, session: str) -> Iterator[StoredFile]:
    """The pieces in order, each beginning where the one before ends."""
    owner = f"{PURPOSE}:{session}"
    stored = database.files(owner=owner, purpose=PURPOSE, limit=10**6, newest_first=False)
    at = 0
    for piece in sorted(stored, key=lambda one: one.name):
        if int(piece.name) == at and piece.size_bytes:
            yield piece
            at += piece.size_bytes


def _skipped(upload: Upload, offset: int) -> int:
    """How much of what comes was there already."""
    if offset > upload.received:
        raise Refusal(
            "invalid",
            f"the upload has {upload.received} bytes; it cannot go on at {offset}",
            hint="ask with the command 'query' where to go on",
            param="x-goog-upload-offset",
        )
    return upload.received - offset


def _read(content: IO[bytes]) -> Iterator[bytes]:
    while chunk := content.read(READ):
        yield chunk


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _gone() -> Refusal:
    return Refusal(
        "not_found", "there is no such upload: it has ended, or was never begun", param="upload_id"
    )
