"""The seam between a service and everything we do around one: send a call, explain a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from ...core import Message, Request, Response

__all__ = ["Api", "BatchApi", "BatchState", "Failure", "PrefixCache", "PrefixCacheApi"]


@dataclass(frozen=True)
class Failure:
    """Why a call failed, and what may be done about it. `message` holds no secret.

    `throttled`: the service asks for fewer calls. `maybe_billed`: it broke off after the service
    may have done the work. `fatal`: every other call would fail likewise (key, project, model).
    `unreached`: it never got to the service, which may not be where it is looked for.
    """

    message: str
    retry: bool = False
    throttled: bool = False
    wait_seconds: float | None = None  # what the service said
    maybe_billed: bool = False
    fatal: bool = False
    unreached: bool = False
    hint: str = ""


@dataclass(frozen=True)
class PrefixCache:
    """The first `turns` messages of a request, kept at the service under `name`."""

    name: str
    turns: int
    tokens: int


@runtime_checkable
class Api(Protocol):
    """One service. Thread-safe: calls are made from many threads at once.

    `model` is the name without its provider; `base@tuned` for a tuned one.
    """

    def send(self, model: str, request: Request, cache: PrefixCache | None) -> Response:
        """One call; the response's usage has no `seconds` yet. Raises what the SDK raises.

        An answer that the service refused or cut (blocked, empty) is a Response with `error`.
        """
        ...

    def explain(self, error: Exception) -> Failure:
        """What an exception of `send` or of the other methods means."""
        ...

    def close(self) -> None: ...


class PrefixCacheApi(Protocol):
    """A service that keeps a prefix for a price."""

    def write_cache(self, model: str, prefix: Sequence[Message], seconds: int) -> PrefixCache: ...

    def drop_cache(self, cache: PrefixCache) -> None: ...


@dataclass(frozen=True)
class BatchState:
    """A batch job: where it is, and the answers once it ended (by the place of the request)."""

    state: Literal["running", "succeeded", "failed"]
    done: int = 0
    total: int = 0
    answers: Mapping[int, Response] | None = None
    error: str | None = None


class BatchApi(Protocol):
    """A service that answers many requests later at a lower price."""

    def find_batch(self, model: str, label: str) -> str | None:
        """The job that was submitted under `label`, if there is one: it is not submitted twice."""
        ...

    def submit_batch(self, model: str, requests: Sequence[Request], label: str) -> str:
        """Submit and give the job's name."""
        ...

    def poll_batch(self, model: str, job: str, requests: Sequence[Request]) -> BatchState: ...

    def cancel_batch(self, job: str) -> None: ...
