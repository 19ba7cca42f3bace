"""Ids for everything the server keeps: numbers that nobody can guess, in every protocol's form."""

from __future__ import annotations

import secrets

__all__ = ["new_id"]

FIRST, LAST = 10**17, 2**63 - 1


def new_id() -> str:
    """A random number of 18 or 19 digits, which fits into 63 bits."""
    return str(FIRST + secrets.randbelow(LAST - FIRST))
