"""Our own code, called as a climb calls it: provider and model by name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from stepladder.catalogue import load_catalogue
from stepladder.core import Request, Response
from stepladder.models import ProviderSettings
from stepladder.registry import look_up

KNOWN = load_catalogue(today=date(2026, 11, 22))


def ask(name: str, *requests: Request, **options: object) -> Sequence[Response]:
    """The answers of a model, in the order of the requests; none may have failed."""
    provider_name = name.partition(":")[0]
    settings = ProviderSettings(provider_name, options=options, catalogue=KNOWN)
    provider = look_up("provider", provider_name)(settings)
    try:
        answers = dict(provider.model(name).generate(requests))
    finally:
        provider.close()
    ordered = [answers[place] for place in range(len(requests))]
    assert [one.error for one in ordered] == [None] * len(requests)
    return ordered
