"""What a cited passage is called in the answers of any protocol."""

from __future__ import annotations

from urllib.parse import quote, unquote

from ..core import Citation

__all__ = ["address", "passage_at"]


def address(citation: Citation) -> str:
    """The file that was indexed, as it is called in the task's folder, and the passage in it."""
    return f"{quote(citation.source)}#{quote(citation.passage, safe='')}"


def passage_at(address: str) -> str:
    """The id of the passage in an address."""
    return unquote(address.rpartition("#")[2])
