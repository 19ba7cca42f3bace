"""Times as the protocols write them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["duration", "rfc3339"]


def rfc3339(seconds: float) -> str:
    """A time as Google writes it, from seconds since 1970."""
    said = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
    return said.replace("+00:00", "Z")


def duration(text: str) -> float:
    """Seconds, from Google's `3600s`."""
    return float(text.removesuffix("s"))
