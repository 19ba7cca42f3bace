"""Lists in pages, as both protocols hand them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["google_page", "openai_page"]

Item = TypeVar("Item")


def google_page(
    items: Sequence[Item], query: Mapping[str, str], *, default: int = 50
) -> tuple[list[Item], dict[str, str]]:
    """The items of the page asked for, and what to say of the next one."""
    size = int(query.get("pageSize") or default)
    start = int(query.get("pageToken") or 0)
    end = start + size
    return list(items[start:end]), {"nextPageToken": str(end)} if end < len(items) else {}


def openai_page(records: Sequence[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """A list object with the records after `after`."""
    limit = int(query.get("limit") or 20)
    ids = [record["id"] for record in records]
    start = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
    page = list(records[start : start + limit])
    return {
        "object": "list",
        "data": page,
        "has_more": start + limit < len(records),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }
