"""Gemini, by Google's own SDK: `gemini:` is the Developer API, `vertex:` is Google Cloud.

    client.py ..... clients: keys, credentials, addresses
    names.py ...... a model's name, checked
    request.py .... a request as the SDK wants it, with contents.py, thinking.py, quick.py
    response.py ... an answer as a `Response`
    errors.py ..... what errors mean
    cache.py ...... a prefix kept at the service
    batch.py ...... many requests as one job at half the price, with batch_files.py for Vertex
    api.py ........ all of it as an `Api`

Opening needs the package `google-genai`; nothing else of stepladder loads it. Nothing of this was
ever run against Google: see `api.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ModelError
from ...registry import need
from ...storage import open_bucket
from .. import ProviderSettings
from ..hosted.model import HostedModel
from ..hosted.options import read_options

if TYPE_CHECKING:
    from .api import GeminiApi
    from .client import Client

__all__ = ["GeminiProvider", "open_gemini", "open_vertex"]


class GeminiProvider:
    """Gives models of one of the two services; all of them share its clients."""

    def __init__(self, settings: ProviderSettings, api: GeminiApi) -> None:
        self._settings = settings
        self._api = api

    def model(self, name: str) -> HostedModel:
        """The model called `gemini:...` or `vertex:...`; raises ModelError for what is no name."""
        from .names import read_name

        provider, _, rest = name.partition(":")
        if provider != self._settings.name:
            raise ModelError(f"{name!r} is not a model of {self._settings.name!r}")
        read_name(provider, rest)
        return HostedModel(name, self._api, self._settings)

    def close(self) -> None:
        self._api.close()


def open_gemini(settings: ProviderSettings) -> GeminiProvider:
    """The Developer API, with the key in GEMINI_API_KEY or GOOGLE_API_KEY or the keyring.

    GOOGLE_GEMINI_BASE_URL, if set, is called instead of Google. Raises MissingExtra, TaskError for
    an option that is not known, and ModelError when there is no key.
    """
    for package in ("google.genai", "httptools"):
        need(package, extra="gemini", what="the provider 'gemini'")
    from .api import GeminiApi
    from .client import ANSWER_SECONDS, developer_client

    limits = read_options(settings).limits
    client = developer_client(min(ANSWER_SECONDS, limits.deadline_seconds))
    return GeminiProvider(settings, GeminiApi(settings, client))


def open_vertex(settings: ProviderSettings) -> GeminiProvider:
    """Vertex, with Google's default credentials, for the options' project and location.

    Without those options GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION say where. The option
    `bucket` names where batches are put. GOOGLE_VERTEX_BASE_URL, if set, is called instead of
    Google, and if it is on this machine may be given a token from GOOGLE_OAUTH_ACCESS_TOKEN.
    Raises MissingExtra, TaskError for an option that is not known, and ModelError without
    credentials, project or location, or where `batch = true` has no bucket.
    """
    for package in ("google.genai", "httptools"):
        need(package, extra="vertex", what="the provider 'vertex'")
    from .api import GeminiApi, bucket_missing
    from .client import ANSWER_SECONDS, vertex_client, vertex_place

    options = read_options(settings, also=("project", "location", "bucket"))
    name = settings.options.get("bucket")
    if options.batch and not name:
        raise bucket_missing()  # now, not when the first batch is made
    project, location = vertex_place(settings.options)
    seconds = min(ANSWER_SECONDS, options.limits.deadline_seconds)
    client = vertex_client(project, location, seconds)

    def connect(elsewhere: str) -> Client:
        return client if elsewhere == location else vertex_client(project, elsewhere, seconds)

    bucket = (lambda: open_bucket(str(name), project)) if name else None
    return GeminiProvider(settings, GeminiApi(settings, client, connect, bucket))
