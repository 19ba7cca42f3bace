"""Opens the trainer of `vertex:` models: tuning jobs of Google Cloud, rows in a bucket.

Where a job runs follows from `location` in `[providers.vertex]`: that region if jobs run there,
else the first region of the same part of the world where they do. The jobs themselves are in
`vertex_jobs.py`, which loads the SDK; this file does not.
"""

from __future__ import annotations

from ..catalogue import Catalogue
from ..errors import ModelError
from ..models import ProviderSettings
from ..models.hosted.options import read_options
from ..registry import need
from .managed import ManagedTrainer

__all__ = ["open_trainer", "tuning_region"]

CALL_SECONDS = 120.0  # a call about a job; the job itself takes hours
_PARTS = {"us": ("us-",), "eu": ("europe-",), "global": ("",)}


def open_trainer(settings: ProviderSettings) -> ManagedTrainer:
    """The trainer, with Google's default credentials, for the options' project and bucket.

    Raises:
        MissingExtra: a package of the extra `vertex` is not installed.
        TaskError: `[providers.vertex]` has an option that is not known.
        ModelError: no bucket, project or credentials.
    """
    for package in ("google.genai", "httptools"):
        need(package, extra="vertex", what="tuning 'vertex' models")
    need("google.cloud.storage", extra="vertex", what="tuning 'vertex' models")
    from ..models.gemini.client import vertex_client, vertex_http, vertex_place
    from ..storage import open_bucket
    from .vertex_jobs import VertexService
    from .vertex_losses import VertexLosses

    read_options(settings, also=("project", "location", "bucket"))
    bucket = settings.options.get("bucket")
    if not bucket:
        raise ModelError(
            "tuning 'vertex' models needs a bucket for the training rows",
            hint="set bucket in [providers.vertex] to the name of one that you may write to",
        )
    project, location = vertex_place(settings.options)
    region = tuning_region(location, settings.catalogue)
    client = vertex_client(project, region, CALL_SECONDS)
    losses = VertexLosses(vertex_http(region, CALL_SECONDS))
    rows = open_bucket(str(bucket), project)
    return ManagedTrainer(VertexService(client, rows, project, region, losses))


def tuning_region(location: str, catalogue: Catalogue) -> str:
    """Where jobs run for somebody whose calls go to `location`."""
    known = [
        region
        for limits in catalogue.tuning
        if limits.model.startswith("vertex:")
        for region in limits.regions
    ]
    parts = _PARTS.get(location)
    if location in known or parts is None:
        return location
    return next((region for region in known if region.startswith(parts)), location)
