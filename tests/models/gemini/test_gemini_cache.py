"""A prefix is kept as the service wants it told, and dropped where it was kept."""

from __future__ import annotations

from typing import Any

import pytest
from gemini_calls import ENDPOINT, HTTP, Wire, developer, vertex

from stepladder.core import Message, Request
from stepladder.errors import ModelError
from stepladder.models.hosted.api import PrefixCache

PREFIX = (
    Message("system", "Sort."), Message("user", "lost it"), Message("assistant", "card_lost"),
)  # fmt: skip
KEPT = "projects/1/locations/us/cachedContents/9"


def kept(name: str, tokens: int | None = 5000) -> Any:
    usage = {} if tokens is None else {"usageMetadata": {"totalTokenCount": tokens}}
    return lambda request: {"name": name, **usage} if request.method == "POST" else {}


def test_the_developer_api_keeps_the_turns_for_so_many_seconds() -> None:
    wire = Wire(kept("cachedContents/abc"))
    api = developer(wire)
    cache = api.write_cache("plain", PREFIX, 600)
    assert cache == PrefixCache("cachedContents/abc", 3, 5000)
    assert wire.path.endswith("/cachedContents")
    assert wire.body == {
        "model": "models/plain",
        "ttl": "600s",
        "displayName": "stepladder",
        "systemInstruction": {"role": "user", "parts": [{"text": "Sort."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "lost it"}]},
            {"role": "model", "parts": [{"text": "card_lost"}]},
        ],
    }
    api.drop_cache(cache)
    assert (wire.requests[-1].method, wire.path.rpartition("/")[2]) == ("DELETE", "abc")


def test_an_instruction_alone_can_be_kept() -> None:
    wire = Wire(kept("cachedContents/abc"))
    assert developer(wire).write_cache("plain", PREFIX[:1], 600).turns == 1
    assert "contents" not in wire.body


def test_vertex_keeps_it_for_the_model_in_full() -> None:
    wire = Wire(kept(KEPT))
    api = vertex(wire)
    cache = api.write_cache("base", PREFIX, 60)
    place = "projects/p-1/locations/us-central1"
    assert wire.path == f"/v1beta1/{place}/cachedContents"
    assert wire.body["model"] == f"{place}/publishers/google/models/base"
    api.drop_cache(cache)
    assert wire.path == f"/v1beta1/{KEPT}"


def test_a_tuned_model_keeps_it_where_it_was_deployed() -> None:
    wire = Wire(kept(KEPT))
    api = vertex(wire)
    api.write_cache(f"base@{ENDPOINT}", PREFIX, 60)
    assert wire.path == "/v1beta1/projects/p-1/locations/us/cachedContents"
    assert wire.body["model"] == ENDPOINT


def test_what_a_kept_prefix_costs_has_to_be_known() -> None:
    wire = Wire(kept("cachedContents/abc", tokens=None))
    with pytest.raises(ModelError, match="how many tokens"):
        developer(wire).write_cache("plain", PREFIX, 60)
    assert wire.requests[-1].method == "DELETE"


def test_a_prefix_that_is_gone_is_one_requests_trouble_and_not_the_runs() -> None:
    """The model then sends the whole request instead."""
    message = "CachedContent not found (or permission denied)"
    error = {"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}}
    api = developer(Wire(lambda _: HTTP.Response(403, json=error)))
    with pytest.raises(Exception, match="CachedContent") as caught:
        api.send("plain", Request(PREFIX[:2]), PrefixCache("cachedContents/abc", 1, 5000))
    found = api.explain(caught.value)
    assert (found.retry, found.fatal) == (False, False)
