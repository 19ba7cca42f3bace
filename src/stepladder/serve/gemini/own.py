"""What all resources of the Gemini and Vertex protocols have in common: names, owners, times.

A caller sees what is its own; an administrator sees everything. Projects and locations are accepted
and told back as they were said, but separate nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeVar

from fastapi import Request

from ...database.rows import NotKept
from .. import Caller, Refusal
from .page import Page

__all__ = [
    "api_of", "listed", "may_see", "model_name", "owner_of_lists", "place_of", "rfc3339",
]  # fmt: skip

One = TypeVar("One")
AT_ONCE = 200


def may_see(caller: Caller, owner: str) -> bool:
    return caller.role == "admin" or owner == caller.id


def owner_of_lists(caller: Caller) -> str | None:
    """Whose things this caller's lists hold; None for everybody's."""
    return None if caller.role == "admin" else caller.id


def place_of(request: Request) -> str:
    """`projects/P/locations/L` of a request to Vertex."""
    given = request.path_params
    return f"projects/{given['project']}/locations/{given['location']}"


def api_of(request: Request) -> Literal["gemini", "vertex"]:
    """Which of the two protocols a request speaks."""
    return "vertex" if "project" in request.path_params else "gemini"


def model_name(said: str) -> str:
    """A model's own name, of `models/M`, `publishers/google/models/M` or a longer one."""
    for word in ("/models/", "/endpoints/", "tunedModels/"):
        before, found, name = said.rpartition(word)
        if found:
            return name.partition("@")[0] if before.startswith("projects/") else name
    return said.removeprefix("models/")


def rfc3339(moment: datetime) -> str:
    """A time as Google writes it."""
    said = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return said.replace("+00:00", "Z")


def listed(
    read: Callable[[str | None, int], Sequence[One]],
    page: Page,
    id_of: Callable[[One], str],
    fits: Callable[[One], bool] = lambda one: True,
) -> list[One]:
    """Those of a page that fit, and one more where there is one.

    `read` gives so many after the one with this id. Raises Refusal where the page goes on after
    something that is not there any more.
    """
    found: list[One] = []
    after = page.after
    while len(found) <= page.size:
        try:
            rows = read(after, AT_ONCE)
        except NotKept as error:
            raise Refusal(
                "invalid",
                "the list cannot go on: what 'pageToken' stands for is not there any more",
                hint="list from the beginning",
                param="pageToken",
            ) from error
        found += [row for row in rows if fits(row)]
        if len(rows) < AT_ONCE:
            break
        after = id_of(rows[-1])
    return found
