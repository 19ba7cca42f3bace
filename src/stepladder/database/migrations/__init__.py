"""The versions of the database, for Alembic; `migrating.py` runs them when a database is opened."""
