"""`cachedContents`: turns that requests begin with by name, computed ahead, kept for a time.

What is kept is the request; the engine's own cache holds the computed tokens as long as it has
room, and computes them anew afterwards. A minimum size is not asked for.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request

from ...core import Json
from ...database import new_id
from ...database.records import KeptPrefix
from ...errors import ModelError
from .. import Ask, Caller, Refusal
from ..answering import model_for
from ..calls import Recorded
from ..keys import caller_of
from .asking import Kept, to_kept
from .bodies import read_body
from .forms import anything, duration, each, message, moment, text
from .media import with_files
from .own import api_of, listed, may_see, model_name, owner_of_lists, place_of, rfc3339
from .page import cut, read_page
from .request_forms import CONTENT, TOOL, TOOL_CONFIG
from .tools import to_choice

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["gemini_router", "load", "prefix_of", "vertex_router"]

gemini_router = APIRouter()
vertex_router = APIRouter()

As = Annotated[Caller, Depends(caller_of)]
LASTS = timedelta(hours=1)  # where the caller does not say
LONGEST = timedelta(days=3660)
LONGEST_NAME = 128
PREFIX = message({"contents": each(CONTENT), "systemInstruction": CONTENT, "tools": each(TOOL),
                  "toolConfig": TOOL_CONFIG})  # fmt: skip
IN_PREFIX = ("contents", "systemInstruction", "tools", "toolConfig")
FIXED = ("model", "displayName", *IN_PREFIX)
TOLD = ("name", "createTime", "updateTime", "usageMetadata")
CACHED = message(
    {
        "model": text, "displayName": text, "ttl": duration, "expireTime": moment,
        "encryptionSpec": message({"kmsKeyName": text}),
        **dict.fromkeys((*IN_PREFIX, *TOLD), anything),
    },
    required=("model",),
)  # fmt: skip
CHANGE = message(
    {"ttl": duration, "expireTime": moment, **dict.fromkeys((*FIXED, *TOLD), anything)}
)
MASKED = frozenset({"ttl", "expireTime", "expire_time"})


@gemini_router.post("/cachedContents")
@vertex_router.post("/cachedContents")
async def create(request: Request, caller: As) -> Mapping[str, Json]:
    """A new prefix, computed before this answers."""
    server: Server = request.app.state.server
    asked = await read_body(request, CACHED)
    now = datetime.now(UTC)
    expires = _expiry(asked, now) or now + LASTS
    if len(asked.get("displayName", "")) > LONGEST_NAME:
        raise Refusal(
            "invalid",
            f"'displayName' is longer than {LONGEST_NAME} characters",
            param="displayName",
        )
    model = model_for(server, caller, model_name(asked["model"]))
    said = PREFIX({name: asked[name] for name in IN_PREFIX if name in asked}, "")
    if not said.get("contents") and "systemInstruction" not in said:
        raise Refusal("invalid", "there is nothing to keep", param="contents")
    said = await with_files(server, caller, said)
    kept = to_kept(model.card.name, said)
    call = Recorded(server, caller, model.card.name, api_of(request), "cachedContents", asked)
    tokens = await _computed(call, model, kept)
    prefix = KeptPrefix(
        id=new_id(),
        owner=caller.id,
        model=model.card.name,
        request={"model": asked["model"], **_jsonable(said)},
        tokens=tokens,
        created_at=now,
        updated_at=now,
        expires_at=expires,
        name=asked.get("displayName", ""),
    )
    await run_sync(server.database.add_prefix, prefix)
    return _body(request, prefix)


@gemini_router.get("/cachedContents")
@vertex_router.get("/cachedContents")
async def every(request: Request, caller: As) -> Mapping[str, Json]:
    """The caller's prefixes that have not expired, the newest first."""
    server: Server = request.app.state.server
    page = read_page(request)
    owner = owner_of_lists(caller)
    rows = await run_sync(
        lambda: listed(
            lambda after, limit: server.database.prefixes(owner=owner, after=after, limit=limit),
            page,
            lambda prefix: prefix.id,
        )
    )
    shown, token = cut(rows, page, lambda prefix: prefix.id)
    body: dict[str, Json] = {"cachedContents": [_body(request, prefix) for prefix in shown]}
    return {**body, "nextPageToken": token} if token else body


@gemini_router.get("/cachedContents/{prefix}")
@vertex_router.get("/cachedContents/{prefix}")
async def get(request: Request, prefix: str, caller: As) -> Mapping[str, Json]:
    """What is known of the prefix; what it says is not told back."""
    server: Server = request.app.state.server
    return _body(request, await run_sync(prefix_of, server, caller, prefix))


@gemini_router.patch("/cachedContents/{prefix}")
@vertex_router.patch("/cachedContents/{prefix}")
async def change(request: Request, prefix: str, caller: As) -> Mapping[str, Json]:
    """Another time to expire at; nothing else of a prefix changes."""
    server: Server = request.app.state.server
    asked = await read_body(request, CHANGE)
    mask = request.query_params.get("updateMask", request.query_params.get("update_mask", ""))
    masked = [one.strip() for one in mask.split(",") if one.strip()]
    for name in (*(name for name in FIXED if name in asked), *masked):
        if name not in MASKED:
            raise Refusal("invalid", f"{name!r} of a cached content cannot be changed", param=name)
    now = datetime.now(UTC)
    expires = _expiry(asked, now)
    if expires is None:
        raise Refusal("invalid", "'ttl' or 'expireTime' is missing", param="ttl")
    kept = await run_sync(prefix_of, server, caller, prefix)
    changed = await run_sync(
        lambda: server.database.change_prefix(kept.id, expires_at=expires, updated_at=now)
    )
    if changed is None:
        raise _gone(prefix)
    return _body(request, changed)


@gemini_router.delete("/cachedContents/{prefix}")
@vertex_router.delete("/cachedContents/{prefix}")
async def delete(request: Request, prefix: str, caller: As) -> Mapping[str, Json]:
    """Forgets it."""
    server: Server = request.app.state.server
    kept = await run_sync(prefix_of, server, caller, prefix)
    await run_sync(server.database.delete_prefix, kept.id)
    return {}


async def load(server: Server, caller: Caller, name: str) -> Kept:
    """What a request says that names this prefix; raises Refusal as `prefix_of` does."""
    prefix = await run_sync(prefix_of, server, caller, name)
    said = {key: value for key, value in prefix.request.items() if key in IN_PREFIX}
    return to_kept(prefix.model, PREFIX(said, ""))


def prefix_of(server: Server, caller: Caller, name: str) -> KeptPrefix:
    """The prefix of an id or of either protocol's name.

    Raises:
        Refusal: not_found, it has expired, or this caller may not use it.
    """
    prefix = server.database.prefix(name.rpartition("/")[2])
    if prefix is None or not may_see(caller, prefix.owner):
        raise _gone(name)
    return prefix


async def _computed(call: Recorded, model: Any, kept: Kept) -> int:
    """How many tokens the prefix has, once the engine has computed it."""
    try:
        await call.admit(model.card, 1)
        async with asyncio.timeout(call.server.settings.request_seconds):
            tokens = await _compute(model, kept)
    except Refusal as refusal:
        call.refuse(refusal)
        raise
    except TimeoutError as error:
        late = Refusal("timeout", "computing the prefix took longer than the server allows")
        call.refuse(late)
        raise late from error
    except asyncio.CancelledError:
        call.end(499, error="the caller went away")
        raise
    except Exception:
        call.end(500, error="internal")
        raise
    call.end(200, input_tokens=tokens)
    return tokens


async def _compute(model: Any, kept: Kept) -> int:
    """Functions are a part of the prompt that only a whole call writes down: it says one token."""
    choice = to_choice(kept.functions, kept.tool_config)
    ask = Ask(
        kept.model,
        kept.messages,
        functions=choice.functions,
        function_choice=choice.mode,
        allowed_functions=choice.allowed,
        max_output_tokens=1,
    )
    tokens: int = await model.count_tokens(ask)
    if choice.functions:
        async with aclosing(model.generate(ask)) as events:
            async for _ in events:
                pass
    elif hasattr(model, "keep"):
        try:
            await model.keep(kept.messages)
        except ModelError as error:  # of the model's chat template
            raise Refusal("invalid", error.message, hint=error.hint, param="contents") from error
    return tokens


def _jsonable(value: Json) -> Json:
    """What a form read, as JSON that it reads again."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {key: _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    return value


def _expiry(asked: Mapping[str, Any], now: datetime) -> datetime | None:
    """When it expires; None where that is not said."""
    if "ttl" in asked and "expireTime" in asked:
        raise Refusal("invalid", "'ttl' and 'expireTime' cannot go together", param="expireTime")
    if "ttl" in asked:
        seconds = asked["ttl"]
        if not 0 < seconds <= LONGEST.total_seconds():
            raise _out_of_range("ttl")
        return now + timedelta(seconds=seconds)
    if "expireTime" not in asked:
        return None
    try:
        expires = datetime.fromisoformat(asked["expireTime"].upper())
        is_soon = now < expires <= now + LONGEST
    except (ValueError, OverflowError) as error:
        raise Refusal("invalid", f"'expireTime' is no time: {error}", param="expireTime") from error
    if not is_soon:
        raise _out_of_range("expireTime")
    return expires.astimezone(UTC)


def _out_of_range(name: str) -> Refusal:
    return Refusal(
        "invalid",
        f"{name!r} has to be in the future, by no more than {LONGEST.days} days",
        param=name,
    )


def _gone(name: str) -> Refusal:
    return Refusal(
        "not_found",
        f"there is no cached content {name[:200]!r}",
        hint="it may have expired",
        param="cachedContent",
    )


def _body(request: Request, prefix: KeptPrefix) -> dict[str, Json]:
    place = f"{place_of(request)}/" if "project" in request.path_params else ""
    body: dict[str, Json] = {
        "name": f"{place}cachedContents/{prefix.id}",
        "model": prefix.request.get("model", prefix.model),
        "createTime": rfc3339(prefix.created_at),
        "updateTime": rfc3339(prefix.updated_at),
        "expireTime": rfc3339(prefix.expires_at),
        "usageMetadata": {"totalTokenCount": prefix.tokens},
    }
    return {**body, "displayName": prefix.name} if prefix.name else body
