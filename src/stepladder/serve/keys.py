"""Who calls, and what that caller may still do: roles, requests a minute, dollars a month.

Of a key only its SHA-256 is stored, here and in the database; it is printed once, when it is made.
The keys are held in memory and read anew every few seconds, so that a call waits for no database
and a revoked key soon ends. Requests a minute are counted by each server for itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from anyio.to_thread import run_sync
from starlette.requests import HTTPConnection  # FastAPI reads it from the signature below

from ..database.records import ApiKey
from ..errors import StoreError
from . import Caller, Refusal, Role
from .log import LOGGER

if TYPE_CHECKING:
    from ..database import Database

__all__ = ["ENVIRONMENT_KEY", "Keyring", "caller_of", "hash_of", "need_role", "new_key"]

ENVIRONMENT_KEY = "STEPLADDER_API_KEY"
ROLES: tuple[Role, ...] = ("use", "tune", "admin")
LOCAL = Caller("local", "admin")
ENVIRONMENT = Caller("environment", "admin")
KEYS_TTL = 5.0  # seconds after which a revoked key is known to be
UNKNOWN_TTL = 0.5  # an unknown key is looked for in the database no more often than this
SPENT_TTL = 10.0
OFFER = "give it as 'Authorization: Bearer KEY', as the header 'x-goog-api-key', or as '?key='"


def new_key() -> str:
    """A key of 256 random bits."""
    return f"sl-{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str:
    """The SHA-256 under which a key is stored."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def need_role(caller: Caller, role: Role) -> None:
    """Raise Refusal (forbidden) unless the caller may do what `role` may."""
    if ROLES.index(caller.role) < ROLES.index(role):
        raise Refusal(
            "forbidden",
            f"this key has the role {caller.role!r}; the call needs {role!r}",
            hint=f"make a key that may: stepladder keys add --role {role}",
        )


async def caller_of(request: HTTPConnection) -> Caller:
    """The caller of a request: a dependency of every route that is not open to all.

    Raises:
        Refusal: unauthenticated without a known key, rate_limited over its requests a minute.
    """
    keyring: Keyring = request.app.state.server.keyring
    caller = await keyring.caller(key_in(request.scope))
    visit = request.scope.get("stepladder.visit")
    if visit is not None:
        visit.key = caller.id
    keyring.count_request(caller)
    return caller


def key_in(scope: Mapping[str, Any]) -> str | None:
    """The key that a request carries, in whichever place its protocol puts it."""
    bearer = None
    for name, value in scope["headers"]:
        if name == b"x-goog-api-key":
            return str(value.decode("latin-1")).strip()
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            if kind.lower() == "bearer":
                bearer = str(token).strip()
    if bearer is None and b"key=" in scope["query_string"]:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("key")
        return given[0] if given else None
    return bearer


@dataclass
class _Bucket:
    """Requests that a key may still make now."""

    left: float
    at: float


@dataclass
class _Spent:
    """Dollars of a key in a month: what the database had said, and what was added here since."""

    month: datetime
    dollars: float
    added: float
    at: float


class Keyring:
    """The keys of a server.

    Where there was never one, and only with `open_without_keys`, every caller is local and may do
    everything; from the first key on that is over.
    """

    def __init__(
        self,
        database: Database,
        environment_key: str | None = None,
        *,
        open_without_keys: bool = False,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._environment = hash_of(environment_key) if environment_key else None
        self.closed = not open_without_keys or self._environment is not None
        self._clock = clock
        self._today = today
        self._keys: dict[str, ApiKey] = {}
        self._by_id: dict[str, ApiKey] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._buckets: dict[str, _Bucket] = {}
        self._spent: dict[str, _Spent] = {}
        self._summing: dict[str, asyncio.Task[None]] = {}
        self.read()

    def read(self) -> None:
        """Read all keys from the database, now."""
        ever = self._database.keys()
        found = [key for key in ever if key.revoked_at is None]
        self._keys = {key.hash: key for key in found}
        self._by_id = {key.id: key for key in found}
        self.closed = self.closed or bool(ever)
        self._read_at = self._clock()

    async def caller(self, key: str | None) -> Caller:
        """Who `key` belongs to; raises Refusal (unauthenticated) when nobody."""
        if not self.closed:  # the first key closes it: nobody passes on what was known before
            with suppress(StoreError):
                await self._refresh(KEYS_TTL, wait=True)
            if not self.closed:
                return LOCAL
        await self._refresh(KEYS_TTL, wait=False)
        if not key:
            raise Refusal("unauthenticated", "the call has no API key", hint=OFFER)
        found = self._find(key)
        if found is None:
            await self._refresh(UNKNOWN_TTL, wait=True)
            found = self._find(key)
        if found is None:
            raise Refusal(
                "unauthenticated",
                "the API key is not known, or was revoked",
                hint="make one with: stepladder keys add",
            )
        return found

    async def caller_named(self, id: str) -> Caller | None:
        """Who has the id that a batch or a job was made by; None once the key was revoked."""
        if id == LOCAL.id:  # it was taken on before there was a key
            return LOCAL
        if id == ENVIRONMENT.id:
            return None if self._environment is None else ENVIRONMENT
        await self._refresh(KEYS_TTL, wait=True)
        found = self._by_id.get(id)
        return None if found is None else Caller(found.id, found.role)

    def count_request(self, caller: Caller) -> None:
        """Count one request; raises Refusal (rate_limited) when the key's minute is used up."""
        key = self._by_id.get(caller.id)
        if key is None or key.requests_per_minute is None:
            return
        now, rate = self._clock(), key.requests_per_minute
        bucket = self._buckets.setdefault(key.id, _Bucket(max(rate, 1.0), now))
        bucket.left = min(max(rate, 1.0), bucket.left + (now - bucket.at) * rate / 60)
        bucket.at = now
        if bucket.left < 1:
            raise Refusal(
                "rate_limited",
                f"this key may make {rate:g} requests a minute",
                hint="send the call again after the time in Retry-After",
                retry_after_seconds=(1 - bucket.left) * 60 / rate if rate else 60.0,
            )
        bucket.left -= 1

    async def check_budget(self, caller: Caller) -> None:
        """Raise Refusal (rate_limited) when the key's dollars of this month are spent."""
        key = self._by_id.get(caller.id)
        if key is None or key.dollars_per_month is None:
            return
        month = self._today().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        spent = self._spent.get(key.id)
        if spent is None or spent.month != month:
            await self._sum(key.id, month)
        elif self._clock() - spent.at > SPENT_TTL and key.id not in self._summing:
            task = asyncio.create_task(self._sum(key.id, month))
            self._summing[key.id] = task
            task.add_done_callback(lambda done: self._summing.pop(key.id, None))
            task.add_done_callback(_told)
        now = self._spent[key.id]
        if now.dollars + now.added >= key.dollars_per_month:
            following = (month + timedelta(days=32)).replace(day=1)
            raise Refusal(
                "rate_limited",
                f"this key has spent its {key.dollars_per_month:g} dollars of this month",
                hint="raise it with a new key: stepladder keys add --dollars-per-month N",
                retry_after_seconds=(following - self._today()).total_seconds(),
                detail="budget",
            )

    def spend(self, key: str, dollars: float) -> None:
        """Count dollars at once; the database will have them with its next group of records."""
        if (spent := self._spent.get(key)) is not None:
            spent.added += dollars

    def _find(self, key: str) -> Caller | None:
        digest = hash_of(key)
        if self._environment is not None and hmac.compare_digest(digest, self._environment):
            return ENVIRONMENT
        found = self._keys.get(digest)
        if found is None or not hmac.compare_digest(digest, found.hash):
            return None
        return Caller(found.id, found.role)

    async def _refresh(self, ttl: float, *, wait: bool) -> None:
        if self._clock() - self._read_at <= ttl:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(run_sync(self.read))
            self._reading.add_done_callback(_told)
        if wait:
            await asyncio.shield(self._reading)

    async def _sum(self, key: str, month: datetime) -> None:
        before = self._spent.get(key)
        carried = before.added if before is not None else 0.0
        dollars = await run_sync(self._database.spent_dollars, key, month)
        after = self._spent.get(key)
        added = after.added - carried if after is not None and after.month == month else 0.0
        self._spent[key] = _Spent(month, dollars, added, self._clock())


def _told(task: asyncio.Task[None]) -> None:
    """What was known goes on being used when the database is away; the next call tries again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        LOGGER.warning("keys or budgets could not be read: %s", error)
