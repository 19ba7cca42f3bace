"""The tables of the server's database, the same for SQLite and PostgreSQL.

A column is named as the field of the record it holds; the rest (leases, pieces, what is not whole
yet) is the database's own. The tables are made by the migrations, which a test compares with these.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import JSON, TIMESTAMP
from sqlalchemy.types import TypeEngine

__all__ = [
    "Document", "Moment", "batch_items", "batches", "feedback", "file_pieces", "files", "keys",
    "metadata", "prefixes", "traffic", "tuned_models", "tuning_events", "tuning_jobs",
]  # fmt: skip


class Moment(TypeDecorator[datetime]):
    """A UTC time: a `timestamptz`, or in SQLite text that sorts by time and that people can read.

    >>> Moment().process_bind_param(datetime(2026, 11, 22, tzinfo=UTC), sqlite)
    '2026-11-22T00:00:00.000000Z'
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Which column type to use."""
        postgresql = dialect.name == "postgresql"
        return dialect.type_descriptor(TIMESTAMP(timezone=True) if postgresql else Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """A time on its way in."""
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """A time on its way out."""
        if value is None or dialect.name == "postgresql":
            return None if value is None else value.astimezone(UTC)
        return datetime.fromisoformat(value)


class Document(TypeDecorator[str]):
    """JSON text, which `values.py` writes and reads; None is NULL.

    In SQLite it is plain text: a column declared as JSON would turn a text of digits into a number.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Which column type to use."""
        postgresql = dialect.name == "postgresql"
        return dialect.type_descriptor(JSON(none_as_null=True) if postgresql else Text())


def _json(name: str, *, needed: bool = False) -> Column[Any]:
    return Column(name, Document, nullable=not needed)


def _text(name: str, *, needed: bool = True) -> Column[str]:
    return Column(name, Text, nullable=not needed)


def _count(name: str, *, needed: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=not needed)


def _moment(name: str, *, needed: bool = True) -> Column[datetime]:
    return Column(name, Moment, nullable=not needed)


def _id() -> Column[str]:
    return Column("id", Text, primary_key=True)


def _of(name: str, parent: str) -> Column[str]:
    return Column(name, ForeignKey(f"{parent}.id", ondelete="CASCADE"), nullable=False)


def _lease() -> tuple[Column[Any], ...]:
    """Who works on it, and until when nobody else may."""
    return _text("worker", needed=False), _moment("lease_until", needed=False)


metadata = MetaData()

files = Table(
    "files", metadata, _id(), _text("owner"), _text("name"), _text("purpose"),
    _text("media_type"), _count("size_bytes", needed=True), _text("sha256"), _moment("created_at"),
    _moment("expires_at", needed=False),
    Column("whole", Boolean, nullable=False),  # False: being written, or being deleted
    _moment("touched_at"),
    Index("files_by_time", "created_at", "id"),
    Index("files_by_owner", "owner", "created_at", "id"),
    Index("files_by_expiry", "expires_at"),
)  # fmt: skip

file_pieces = Table(
    "file_pieces", metadata, _of("file", "files"), _count("number", needed=True),
    Column("data", LargeBinary, nullable=False), PrimaryKeyConstraint("file", "number"),
)  # fmt: skip

tuning_jobs = Table(
    "tuning_jobs", metadata, _id(), _text("owner"), _text("protocol"), _text("base"),
    _text("model"), _text("method"), _text("training_file"), _moment("created_at"),
    _moment("updated_at"), _text("validation_file", needed=False), _text("pre_tuned", needed=False),
    _text("name"), _json("options", needed=True), _json("request", needed=True), _text("state"),
    _moment("started_at", needed=False), _moment("finished_at", needed=False), _json("error"),
    _json("statistics"), _count("trained_tokens"), _text("tuned_model", needed=False),
    _json("checkpoints", needed=True), _json("result_files", needed=True), *_lease(),
    Index("tuning_jobs_by_time", "created_at", "id"),
    Index("tuning_jobs_by_state", "state", "created_at"),
)  # fmt: skip

tuning_events = Table(
    "tuning_events", metadata, _of("job", "tuning_jobs"), _count("number", needed=True),
    _moment("created_at"), _text("level"), _text("message"), _json("data", needed=True),
    PrimaryKeyConstraint("job", "number"),
)  # fmt: skip

tuned_models = Table(
    "tuned_models", metadata, _id(), _text("owner"), _text("job"), _text("base"), _text("model"),
    _moment("created_at"), _moment("updated_at"), _json("files", needed=True), _text("name"),
    _text("description"), _json("labels", needed=True), _text("default_checkpoint", needed=False),
    Index("tuned_models_by_time", "created_at", "id"),
)  # fmt: skip

batches = Table(
    "batches", metadata, _id(), _text("owner"), _text("protocol"), _text("route"),
    _text("model", needed=False), _moment("created_at"), _moment("updated_at"), _text("name"),
    _text("input_file", needed=False), _text("state"), _moment("started_at", needed=False),
    _moment("finished_at", needed=False), _moment("expires_at", needed=False),
    _count("total", needed=True), _count("succeeded", needed=True), _count("failed", needed=True),
    _text("output_file", needed=False), _text("error_file", needed=False), _json("error"),
    _json("request", needed=True), *_lease(),
    Index("batches_by_time", "created_at", "id"),
    Index("batches_by_state", "state", "created_at"),
)  # fmt: skip

batch_items = Table(
    "batch_items", metadata, _of("batch", "batches"), _count("index", needed=True), _text("key"),
    _json("request", needed=True), _json("answer"), _json("error"),
    Column("done", Boolean, nullable=False), PrimaryKeyConstraint("batch", "index"),
    Index("batch_items_by_done", "batch", "done", "index"),
)  # fmt: skip

prefixes = Table(
    "prefixes", metadata, _id(), _text("owner"), _text("model"), _json("request", needed=True),
    _count("tokens", needed=True), _moment("created_at"), _moment("updated_at"),
    _moment("expires_at"), _text("name"),
    Index("prefixes_by_time", "created_at", "id"),
    Index("prefixes_by_expiry", "expires_at"),
)  # fmt: skip

traffic = Table(
    "traffic", metadata, _id(), _moment("at"), _text("key"), _text("protocol"), _text("route"),
    _text("model"), _text("version"), _count("status", needed=True),
    Column("seconds", Float, nullable=False), Column("first_seconds", Float),
    _count("input_tokens"), _count("output_tokens"), _count("cached_tokens"),
    Column("dollars", Float), _text("finish", needed=False), _text("error", needed=False),
    _text("trace", needed=False), _json("request"), _json("answer"),
    Index("traffic_by_time", "at", "id"),
    Index("traffic_by_key", "key", "at"),
)  # fmt: skip

feedback = Table(
    "feedback", metadata, _id(), _of("request", "traffic"), _text("key"), _moment("at"),
    _text("verdict", needed=False), _json("correction"), _text("comment"),
    Index("feedback_by_request", "request"),
)  # fmt: skip

keys = Table(
    "keys", metadata, _id(), Column("hash", Text, nullable=False, unique=True), _text("role"),
    _count("requests_per_minute"), Column("dollars_per_month", Float), _moment("created_at"),
    _moment("revoked_at", needed=False),
)  # fmt: skip
