"""A prefix of turns kept at the service for a while, for a price (`cachedContents`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...core import Message
from ...errors import ModelError
from ..hosted.api import PrefixCache
from .client import Client
from .names import Named
from .request import Traits, to_cached

__all__ = ["drop_prefix", "location_of", "write_prefix"]

_LOCATION = re.compile(r"projects/[^/]+/locations/([^/]+)/cachedContents/[^/]+")


def write_prefix(
    client: Client,
    named: Named,
    traits: Traits,
    prefix: Sequence[Message],
    seconds: int,
    folder: Path | None = None,
) -> PrefixCache:
    """Keep the turns for so many seconds.

    What is kept is billed by its tokens, so a service that does not say how many there are is not
    used: what it kept is dropped, and ModelError raised.
    """
    kept = client.caches.create(model=named.path, config=to_cached(prefix, seconds, folder, traits))
    if not kept.name:
        raise ModelError("the service kept a prefix but did not say under which name")
    tokens = kept.usage_metadata.total_token_count if kept.usage_metadata else None
    cache = PrefixCache(kept.name, len(prefix), tokens or 0)
    if not tokens:
        drop_prefix(client, cache)
        raise ModelError("the service kept a prefix but did not say how many tokens it has")
    return cache


def drop_prefix(client: Client, cache: PrefixCache) -> None:
    """Keep it no longer; from then on it costs nothing."""
    client.caches.delete(name=cache.name)


def location_of(cache: PrefixCache) -> str | None:
    """Where a prefix is kept, if its name says."""
    found = _LOCATION.fullmatch(cache.name)
    return found[1] if found else None
