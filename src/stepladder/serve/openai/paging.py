"""Lists by the page: `after` is the id of the last thing seen, `limit` how many come at most."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from ...core import Json
from ...database.rows import NotKept
from .. import Caller, Refusal
from .names import Kind, bare_id

__all__ = ["Query", "collect", "listed", "owner_of", "read_query"]

Thing = TypeVar("Thing")
METADATA = re.compile(r"metadata\[(.*)\]")


@dataclass(frozen=True, slots=True)
class Query:
    """What a list is asked for; `after` is a bare id."""

    after: str | None
    limit: int
    given: dict[str, str]
    metadata: dict[str, str] | None = None  # None: any


def read_query(
    request: Request, kind: Kind, *, default: int, most: int, also: Collection[str] = ()
) -> Query:
    """The query of a list; raises Refusal for what is malformed.

    Parameters that no list has are let pass: clients and proxies add their own.
    """
    given = dict(request.query_params)
    limit = given.get("limit")
    if limit is not None and not (limit.isascii() and limit.isdigit() and len(limit) < 10):
        raise Refusal("invalid", f"'limit' has to be a whole number, not {limit!r}", param="limit")
    count = default if limit is None else int(limit)
    if not 1 <= count <= most:
        raise Refusal("invalid", f"'limit' has to be 1 to {most}, not {count}", param="limit")
    after = given.get("after") or None
    bare = None if after is None else bare_id(kind, after)
    if after is not None and bare is None:
        raise Refusal("invalid", f"'after' is no id of this list: {after!r}", param="after")
    known = {name: given[name] for name in also if name in given}
    return Query(bare, count, known, _metadata(given))


def collect(
    fetch: Callable[[str | None, int], Sequence[Thing]],
    wanted: Callable[[Thing], bool],
    id_of: Callable[[Thing], str],
    query: Query,
) -> tuple[list[Thing], bool]:
    """A page of what is wanted, however much lies between, and whether more comes after it.

    `fetch(after, limit)` gives what follows a cursor; raises Refusal where the cursor is not known.
    """
    found: list[Thing] = []
    after, size = query.after, query.limit + 1
    while len(found) <= query.limit:
        try:
            page = fetch(after, size)
        except NotKept as error:
            raise Refusal(
                "invalid", f"'after' is not in the list: {after!r}", param="after"
            ) from error
        found += [one for one in page if wanted(one)]
        if len(page) < size:
            break
        after = id_of(page[-1])
    return found[: query.limit], len(found) > query.limit


def owner_of(caller: Caller) -> str | None:
    """Whose things the caller sees; None: everybody's."""
    return None if caller.role == "admin" else caller.id


def listed(data: Sequence[dict[str, Json]], *, more: bool) -> dict[str, Json]:
    """A list as it goes out."""
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }


def _metadata(given: dict[str, str]) -> dict[str, str] | None:
    if given.get("metadata") == "null":
        return {}
    found = {m[1]: value for name, value in given.items() if (m := METADATA.fullmatch(name))}
    return found or None
