"""Which protocol a request speaks, told by its path and headers alone.

OpenAI, Gemini and Vertex share one host and some paths. Each is mounted once, under a prefix of its
own; `decide` gives the path there. The explicit prefixes are base URLs too. Nothing here reads a
body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Decided", "Protocol", "decide"]

Protocol = Literal["openai", "gemini", "vertex", "own"]

OWN = frozenset({"/healthz", "/readyz", "/metrics", "/v1/feedback"})
VERSION = re.compile(r"/(v1|v1beta|v1alpha|v1beta1)(/.*|:.*)?", re.DOTALL)
PREFIXED = re.compile(r"/(openai|gemini|vertex)(/.*)?", re.DOTALL)
# Google's own endpoints for OpenAI's protocol, with and without a project
OPENAI_AT_GOOGLE = re.compile(
    r"/(?:v1|v1beta|v1beta1)/(?:openai|projects/[^/]+/locations/[^/]+/endpoints/openapi)(/.*)"
)
VERTEX_ONLY = frozenset({
    "projects", "publishers", "endpoints", "tuningJobs", "batchPredictionJobs",
})  # fmt: skip
GEMINI_ONLY = frozenset({"cachedContents", "tunedModels", "operations", "interactions"})
SHARED = frozenset({"models", "files", "batches"})
OPENAI_NAMES = re.compile(r"/(?:models/ft:|files/file-|batches/batch_)")
VERB = re.compile(r"[^/]*:([a-z][A-Za-z]+)")
VERTEX_VERBS = frozenset({"evaluateInstances", "evaluateDataset", "computeTokens", "predict"})
GEMINI_VERBS = frozenset({
    "generateContent", "streamGenerateContent", "countTokens", "embedContent",
    "batchEmbedContents", "batchGenerateContent", "asyncBatchEmbedContent", "cancel", "download",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decided:
    """The protocol, and the path under its internal prefix."""

    protocol: Protocol
    path: str


def decide(path: str, *, google: bool) -> Decided:
    """Who answers `path`.

    `google` is whether the request carries what only Google's clients send: an `x-goog-api-key` or
    `x-goog-api-client` header, or a `key` in the query. It settles the paths both worlds use.
    """
    if path in OWN or path == "/":
        return Decided("own", path)
    if prefixed := PREFIXED.fullmatch(path):
        return _prefixed(prefixed[1], prefixed[2] or "/")
    if path == "/token":
        return Decided("vertex", "/vertex/token")
    if match := OPENAI_AT_GOOGLE.fullmatch(path):
        return Decided("openai", f"/openai/v1{match[1]}")
    if path.startswith("/upload/"):
        return Decided("gemini", f"/gemini{path}")
    version = VERSION.fullmatch(path)
    if version is None:
        return _unversioned(path)
    return _versioned(version[1], version[2] or "/", google)


def _prefixed(name: str, rest: str) -> Decided:
    protocol: Protocol = "openai" if name == "openai" else "gemini"
    if name == "vertex":
        protocol = "vertex"
    if re.fullmatch(r"/v1[a-z0-9]*/feedback", rest):
        return Decided("own", "/v1/feedback")
    return Decided(protocol, f"/{name}{rest}")


def _unversioned(path: str) -> Decided:
    """Vertex clients can be told to leave the version out; what else comes here is not found."""
    if path[1:].partition("/")[0] in VERTEX_ONLY:
        return Decided("vertex", f"/vertex/v1beta1{path}")
    return Decided("own", path)


def _versioned(version: str, rest: str, google: bool) -> Decided:
    if version == "v1beta1":
        return Decided("vertex", f"/vertex/{version}{rest}")
    first = rest.lstrip("/").partition("/")[0].partition(":")[0]
    verb = VERB.fullmatch(rest.rpartition("/")[2])
    name = verb[1] if verb is not None else ""
    if first in VERTEX_ONLY or (name in VERTEX_VERBS and first != "models"):
        return Decided("vertex", f"/vertex/{version}{rest}")
    if version == "v1" and OPENAI_NAMES.match(rest):
        return Decided("openai", f"/openai/{version}{rest}")
    if version in ("v1beta", "v1alpha") or first in GEMINI_ONLY:
        return Decided("gemini", f"/gemini/{version}{rest}")
    if name in GEMINI_VERBS | VERTEX_VERBS or (first in SHARED and google):
        return Decided("gemini", f"/gemini/{version}{rest}")
    return Decided("openai", f"/openai/{version}{rest}")
