"""What a model's name means to the service, checked to hold nothing but a name.

Names come from task files, and the SDK makes paths and host names of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import ModelError

__all__ = ["Named", "read_name"]

_BASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ENDPOINT = re.compile(
    r"projects/[a-z0-9][a-z0-9.:_-]*/locations/([a-z]+(?:-[a-z0-9]+)*)/endpoints/\d+"
)
_TUNED = re.compile(r"tunedModels/[a-z0-9-]+")


@dataclass(frozen=True)
class Named:
    """A model as the SDK wants it; `location` is where a tuned one answers, if its name says."""

    path: str
    tuned: bool = False
    location: str | None = None


def read_name(provider: str, name: str) -> Named:
    """What `name`, without its provider, stands for; raises ModelError for what is no name."""
    base, at, tuned = name.partition("@")
    if not _BASE.fullmatch(base):
        raise ModelError(
            f"{provider}:{name!r} is not the name of a model",
            hint="see which models there are with 'stepladder models'",
        )
    if not at:
        return Named(base)
    if provider == "gemini":
        if not _TUNED.fullmatch(tuned):
            raise _not_tuned(provider, tuned, "gemini:BASE@tunedModels/NAME, or use 'vertex'")
        return Named(tuned, tuned=True)
    found = _ENDPOINT.fullmatch(tuned)
    if found is None:
        raise _not_tuned(
            provider, tuned, "vertex:BASE@projects/PROJECT/locations/LOCATION/endpoints/NUMBER"
        )
    return Named(tuned, tuned=True, location=found[1])


def _not_tuned(provider: str, tuned: str, form: str) -> ModelError:
    return ModelError(f"{tuned!r} is not a tuned model of {provider!r}", hint=f"write {form}")
