"""Lists by the page: `pageSize` and `pageToken` in, a page and `nextPageToken` out."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from .. import Refusal

__all__ = ["Page", "cut", "read_page"]

One = TypeVar("One")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted: so many, after the one with this id."""

    size: int
    after: str | None = None


def read_page(request: Request, *, size: int = 50, most: int = 1000) -> Page:
    """The page that a request asks for; more than `most` is `most`, as at the services."""
    given = request.query_params
    wanted = given.get("pageSize", given.get("page_size", "")) or "0"
    if not re.fullmatch(r"\d{1,10}", wanted, re.ASCII):
        raise Refusal(
            "invalid", f"'pageSize' has to be a whole number, not {wanted!r}", param="pageSize"
        )
    token = given.get("pageToken", given.get("page_token", ""))
    return Page(min(int(wanted) or size, most), _read_token(token) if token else None)


def cut(rows: Sequence[One], page: Page, id_of: Callable[[One], str]) -> tuple[list[One], str]:
    """The rows of this page and the token of the next, which is "" on the last page.

    Give at least one row more than the page holds, where there is one.
    """
    shown = list(rows[: page.size])
    return shown, _token(id_of(shown[-1])) if len(rows) > page.size else ""


def _token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode("utf-8")).decode("ascii").rstrip("=")


def _read_token(token: str) -> str:
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("utf-8")
    except (binascii.Error, UnicodeError) as error:
        raise Refusal(
            "invalid",
            f"'pageToken' is not one that this server gave: {token[:80]!r}",
            hint="use 'nextPageToken' of the page before",
            param="pageToken",
        ) from error
