"""Who answers a path: every shape of path that the official clients send, and the explicit ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.serve.protocols import Decided, decide

HOME = "/projects/p/locations/us-central1"
BARE = "/openai/v1/models"


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/v1/models/m:generateContent", "/gemini/v1/models/m:generateContent"),
        ("/v1beta/models/m:generateContent", "/gemini/v1beta/models/m:generateContent"),
        ("/v1alpha/models", "/gemini/v1alpha/models"),
        ("/v1beta/files/f", "/gemini/v1beta/files/f"),
        ("/v1/models/m:streamGenerateContent", "/gemini/v1/models/m:streamGenerateContent"),
        ("/v1/models/m:batchGenerateContent", "/gemini/v1/models/m:batchGenerateContent"),
        ("/v1/models/m:asyncBatchEmbedContent", "/gemini/v1/models/m:asyncBatchEmbedContent"),
        ("/v1/models/m:predict", "/gemini/v1/models/m:predict"),
        ("/v1/tunedModels", "/gemini/v1/tunedModels"),
        ("/v1/tunedModels/x:generateContent", "/gemini/v1/tunedModels/x:generateContent"),
        ("/v1/tunedModels/x:cancel", "/gemini/v1/tunedModels/x:cancel"),
        ("/v1/cachedContents/c", "/gemini/v1/cachedContents/c"),
        ("/upload/v1/files", "/gemini/upload/v1/files"),
        ("/upload/v1beta/files", "/gemini/upload/v1beta/files"),
        ("/v1/files/abc-123:download", "/gemini/v1/files/abc-123:download"),
        ("/v1/batches/b1:cancel", "/gemini/v1/batches/b1:cancel"),
        (f"/v1{HOME}/tuningJobs", f"/vertex/v1{HOME}/tuningJobs"),
        (f"/v1beta1{HOME}/tuningJobs/7:cancel", f"/vertex/v1beta1{HOME}/tuningJobs/7:cancel"),
        (f"/v1{HOME}/endpoints/4:countTokens", f"/vertex/v1{HOME}/endpoints/4:countTokens"),
        (f"/v1beta1{HOME}/:evaluateInstances", f"/vertex/v1beta1{HOME}/:evaluateInstances"),
        (f"/v1beta1{HOME}:evaluateInstances", f"/vertex/v1beta1{HOME}:evaluateInstances"),
        ("/v1beta1/:evaluateInstances", "/vertex/v1beta1/:evaluateInstances"),
        ("/v1:evaluateInstances", "/vertex/v1:evaluateInstances"),
        ("/v1/publishers/google/models/m:predict", "/vertex/v1/publishers/google/models/m:predict"),
        ("/v1beta1/publishers/google/models", "/vertex/v1beta1/publishers/google/models"),
        ("/publishers/google/models/m:generateContent",
         "/vertex/v1beta1/publishers/google/models/m:generateContent"),
        (f"{HOME}/models", f"/vertex/v1beta1{HOME}/models"),
        ("/token", "/vertex/token"),
        ("/v1/chat/completions", "/openai/v1/chat/completions"),
        ("/v1/embeddings", "/openai/v1/embeddings"),
        ("/v1/fine_tuning/jobs/ftjob-1/events", "/openai/v1/fine_tuning/jobs/ftjob-1/events"),
        ("/v1/fine_tuning/jobs/ftjob-1/cancel", "/openai/v1/fine_tuning/jobs/ftjob-1/cancel"),
        ("/v1/models/ft:m:org::id", "/openai/v1/models/ft:m:org::id"),
        ("/v1/models/ft:m:stepladder:cancel:1", "/openai/v1/models/ft:m:stepladder:cancel:1"),
        ("/v1/batches/batch_1/cancel", "/openai/v1/batches/batch_1/cancel"),
        ("/v1/files/file-abc/content", "/openai/v1/files/file-abc/content"),
        ("/v1/responses", "/openai/v1/responses"),
        ("/v1beta/openai/chat/completions", "/openai/v1/chat/completions"),
        (f"/v1{HOME}/endpoints/openapi/chat/completions", "/openai/v1/chat/completions"),
        ("/v1/feedback", "/v1/feedback"),
        ("/openai/v1/feedback", "/v1/feedback"),
        ("/gemini/v1beta/feedback", "/v1/feedback"),
        ("/vertex/v1beta1/feedback", "/v1/feedback"),
        ("/healthz", "/healthz"),
        ("/", "/"),
        ("/nowhere", "/nowhere"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("google", [False, True])
def test_a_path_that_settles_it(path: str, inside: str, google: bool) -> None:
    decided = decide(path, google=google)
    assert decided.path == inside
    first = inside.split("/")[1]
    assert decided.protocol == (first if first in ("openai", "gemini", "vertex") else "own")


@pytest.mark.parametrize(
    "shared", ["models", "models/m", "files", "files/f", "batches", "batches/1"]
)
def test_shared_paths_go_by_the_clients_headers(shared: str) -> None:
    assert decide(f"/v1/{shared}", google=True).path == f"/gemini/v1/{shared}"
    assert decide(f"/v1/{shared}", google=False).path == f"/openai/v1/{shared}"


@pytest.mark.parametrize("prefix", ["openai", "gemini", "vertex"])
@pytest.mark.parametrize("google", [False, True])
def test_a_prefix_is_a_base_url(prefix: str, google: bool) -> None:
    decided = decide(f"/{prefix}/v1/models", google=google)
    assert (decided.protocol, decided.path) == (prefix, f"/{prefix}/v1/models")


def test_google_headers_do_not_move_what_only_openai_has() -> None:
    assert decide("/v1/chat/completions", google=True).protocol == "openai"


@given(path=st.from_regex(r"(/[a-z0-9:._-]{0,12}){1,6}", fullmatch=True), google=st.booleans())
def test_every_path_has_an_answer_that_is_inside(path: str, google: bool) -> None:
    decided = decide(path, google=google)
    if decided.protocol != "own":
        assert decided.path.startswith(f"/{decided.protocol}/")
        again = decide(decided.path, google=not google)
        assert again in (decided, decide("/v1/feedback", google=False))


@pytest.mark.parametrize("path", ["", "*", "http://other.test/v1/models", "projects"])
def test_what_is_no_path_is_nobodys(path: str) -> None:
    assert decide(path, google=False) == Decided("own", path)
