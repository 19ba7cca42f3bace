"""What Alembic runs to migrate: on the connection of `migrating.py`, within its transaction."""

from __future__ import annotations

from alembic import context

from stepladder.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
)
context.run_migrations()
