"""Version 0001: the first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

__all__ = ["downgrade", "upgrade"]

revision = "0001"
down_revision = None

MOMENT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
DOCUMENT = sa.Text().with_variant(postgresql.JSON(), "postgresql")
KINDS: dict[str, Any] = {
    "text": sa.Text(), "moment": MOMENT, "json": DOCUMENT, "count": sa.BigInteger(),
    "number": sa.Float(), "flag": sa.Boolean(), "bytes": sa.LargeBinary(),
}  # fmt: skip
IDENTITY = ["id text!", "owner text!", "created_at moment!"]
LEASE = ["worker text", "lease_until moment"]


def upgrade() -> None:
    """From an empty database."""
    _files()
    _tuning()
    _batches()
    _prefixes()
    _traffic()
    _keys()


def downgrade() -> None:
    """Back to an empty database."""
    for name in (
        "keys", "feedback", "traffic", "prefixes", "batch_items", "batches", "tuned_models",
        "tuning_events", "tuning_jobs", "file_pieces", "files",
    ):  # fmt: skip
        op.drop_table(name)


def _table(name: str, columns: list[str], *more: Any, key: tuple[str, ...] = ("id",)) -> None:
    """`columns` as "name kind", with "!" after the kind where there must be a value."""
    made = []
    for column in columns:
        called, _, kind = column.partition(" ")
        made.append(sa.Column(called, KINDS[kind.rstrip("!")], nullable=not kind.endswith("!")))
    op.create_table(name, *made, sa.PrimaryKeyConstraint(*key), *more)


def _index(name: str, *columns: str) -> None:
    op.create_index(name, name.rpartition("_by_")[0], list(columns))


def _of(column: str, parent: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{parent}.id"], ondelete="CASCADE")


def _files() -> None:
    _table(
        "files",
        [
            *IDENTITY, "name text!", "purpose text!", "media_type text!", "size_bytes count!",
            "sha256 text!", "expires_at moment", "whole flag!", "touched_at moment!",
        ],
    )  # fmt: skip
    _index("files_by_time", "created_at", "id")
    _index("files_by_owner", "owner", "created_at", "id")
    _index("files_by_expiry", "expires_at")
    _table(
        "file_pieces",
        ["file text!", "number count!", "data bytes!"],
        _of("file", "files"),
        key=("file", "number"),
    )


def _tuning() -> None:
    _table(
        "tuning_jobs",
        [
            *IDENTITY, "protocol text!", "base text!", "model text!", "method text!",
            "training_file text!", "updated_at moment!", "validation_file text", "pre_tuned text",
            "name text!", "options json!", "request json!", "state text!", "started_at moment",
            "finished_at moment", "error json", "statistics json", "trained_tokens count",
            "tuned_model text", "checkpoints json!", "result_files json!", *LEASE,
        ],
    )  # fmt: skip
    _index("tuning_jobs_by_time", "created_at", "id")
    _index("tuning_jobs_by_state", "state", "created_at")
    _table(
        "tuning_events",
        [
            "job text!", "number count!", "created_at moment!", "level text!", "message text!",
            "data json!",
        ],
        _of("job", "tuning_jobs"),
        key=("job", "number"),
    )  # fmt: skip
    _table(
        "tuned_models",
        [
            *IDENTITY, "job text!", "base text!", "model text!", "updated_at moment!",
            "files json!", "name text!", "description text!", "labels json!",
            "default_checkpoint text",
        ],
    )  # fmt: skip
    _index("tuned_models_by_time", "created_at", "id")


def _batches() -> None:
    _table(
        "batches",
        [
            *IDENTITY, "protocol text!", "route text!", "model text", "updated_at moment!",
            "name text!", "input_file text", "state text!", "started_at moment",
            "finished_at moment", "expires_at moment", "total count!", "succeeded count!",
            "failed count!", "output_file text", "error_file text", "error json", "request json!",
            *LEASE,
        ],
    )  # fmt: skip
    _index("batches_by_time", "created_at", "id")
    _index("batches_by_state", "state", "created_at")
    _table(
        "batch_items",
        [
            "batch text!", "index count!", "key text!", "request json!", "answer json",
            "error json", "done flag!",
        ],
        _of("batch", "batches"),
        key=("batch", "index"),
    )  # fmt: skip
    _index("batch_items_by_done", "batch", "done", "index")


def _prefixes() -> None:
    _table(
        "prefixes",
        [
            *IDENTITY, "model text!", "request json!", "tokens count!", "updated_at moment!",
            "expires_at moment!", "name text!",
        ],
    )  # fmt: skip
    _index("prefixes_by_time", "created_at", "id")
    _index("prefixes_by_expiry", "expires_at")


def _traffic() -> None:
    _table(
        "traffic",
        [
            "id text!", "at moment!", "key text!", "protocol text!", "route text!", "model text!",
            "version text!", "status count!", "seconds number!", "first_seconds number",
            "input_tokens count", "output_tokens count", "cached_tokens count", "dollars number",
            "finish text", "error text", "trace text", "request json", "answer json",
        ],
    )  # fmt: skip
    _index("traffic_by_time", "at", "id")
    _index("traffic_by_key", "key", "at")
    _table(
        "feedback",
        [
            "id text!", "request text!", "key text!", "at moment!", "verdict text",
            "correction json", "comment text!",
        ],
        _of("request", "traffic"),
    )  # fmt: skip
    _index("feedback_by_request", "request")


def _keys() -> None:
    _table(
        "keys",
        [
            "id text!", "hash text!", "role text!", "requests_per_minute count",
            "dollars_per_month number", "created_at moment!", "revoked_at moment",
        ],
        sa.UniqueConstraint("hash"),
    )  # fmt: skip
