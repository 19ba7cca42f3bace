"""Whatever is sent, the server answers or says what is wrong: it never fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
from contract.vendors import openai as document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HI = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FUNCTION = {"name": "f", "parameters": SCHEMA}
BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {
        "model": "fake",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        "stream": True,
        "stream_options": {"include_usage": True},
        "logprobs": True,
        "top_logprobs": 2,
        "n": 2,
        "seed": 1,
        "stop": ["a"],
        "max_tokens": 5,
        "temperature": 1,
        "metadata": {"a": "b"},
    },
    "completions": {"model": "fake", "prompt": ["a", "b"], "logprobs": 1, "n": 2, "stop": "x"},
    "embeddings": {"model": "fake-encoder", "input": ["a"], "dimensions": 2},
    "fine_tuning/jobs": {
        "model": "fake",
        "training_file": "file-1",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}},
        "integrations": [{"type": "wandb", "wandb": {"project": "p"}}],
        "suffix": "s",
        "seed": 1,
    },
    "batches": {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "output_expires_after": {"anchor": "created_at", "seconds": 3600},
    },
}
ODD = st.sampled_from([
    None, True, 0, -1, 2**63, 10**40, 0.5, 1e308, "", "\x00", "a" * 3000, "\ud83d\ude00", [], {},
    [[]], [None], {"": None}, {"type": "object"}, {"$ref": "#"}, "file-\x00",
    "ft:fake:stepladder::1",
])  # fmt: skip
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = ODD | st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place within a value."""
    yield at
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, (*at, key))


@st.composite
def asks(draw: st.DrawFn) -> tuple[str, Any]:
    """A route and a body that was right until something was put in its place or taken away."""
    route = draw(st.sampled_from(sorted(BODIES)))
    body = json.loads(json.dumps(BODIES[route]))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.sampled_from(list(places(body))[1:] or [()]))
        if not at:
            continue
        holder = body
        for key in at[:-1]:
            holder = holder[key]
        if isinstance(holder, dict) and draw(st.booleans()):
            del holder[at[-1]]
        else:
            holder[at[-1]] = deepcopy(draw(VALUES))  # some are drawn again
    return route, body


def looked_at(response: httpx.Response) -> None:
    if "'fake' could not answer" in response.text:
        return  # the fake engine makes values of plain schemas only, and fails on others
    assert response.status_code < 500, response.text
    if response.status_code != 200:
        assert response.status_code >= 400
        assert document().faults("ErrorResponse", response.json(), "response") == []
    elif response.headers["content-type"].startswith("text/event-stream"):
        assert "server_error" not in response.text


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(asked=asks())
def test_no_body_makes_the_server_fail(call: Any, asked: tuple[str, Any]) -> None:
    route, body = asked
    looked_at(call("POST", f"/v1/{route}", content=json.dumps(body)))


@settings(max_examples=50)
@given(raw=st.binary(max_size=40), route=st.sampled_from(sorted(BODIES)))
def test_no_bytes_make_the_server_fail(call: Any, raw: bytes, route: str) -> None:
    looked_at(call("POST", f"/v1/{route}", content=raw))


RESOURCES = ("files", "batches", "fine_tuning/jobs", "models")
ENDS = ("", "/content", "/events", "/checkpoints", "/cancel", "/pause")
QUERIES = st.dictionaries(
    st.sampled_from(["limit", "after", "order", "purpose", "metadata", "metadata[a]", "x"]),
    st.text(max_size=8),
    max_size=3,
)


@settings(max_examples=150)
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT"]),
    resource=st.sampled_from(RESOURCES),
    id=st.none() | st.text(min_size=1, max_size=12) | st.sampled_from(["file-1", "ftjob-\x00"]),
    end=st.sampled_from(ENDS),
    query=QUERIES,
)
def test_no_path_makes_the_server_fail(
    call: Any, method: str, resource: str, id: str | None, end: str, query: dict[str, str]
) -> None:
    path = f"/openai/v1/{resource}"  # under the prefix, what looks like Gemini's is OpenAI's too
    if id is not None:
        path += f"/{quote(id, safe='', errors='replace')}{end}"
    looked_at(call(method, path, params=query))
