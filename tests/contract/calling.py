"""Our own code, called as a climb calls it: provider and model by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date

from stepladder.catalogue import load_catalogue
from stepladder.core import Request, Response
from stepladder.models import ProviderSettings
from stepladder.registry import look_up

KNOWN = load_catalogue(today=date(2026, 11, 22))


Ask = Callable[..., Sequence[Response]]


@contextmanager
def opened(name: str, **options: object) -> Iterator[Ask]:
    """A function that gives the answers of a model, in order; none of them may have failed."""
    provider_name = name.partition(":")[0]
    settings = ProviderSettings(provider_name, options=options, catalogue=KNOWN)
    provider = look_up("provider", provider_name)(settings)
    model = provider.model(name)

    def ask(*requests: Request) -> Sequence[Response]:
        answers = dict(model.generate(requests))
        ordered = [answers[place] for place in range(len(requests))]
        assert [one.error for one in ordered] == [None] * len(requests)
        return ordered

    try:
        yield ask
    finally:
        provider.close()


def ask(name: str, *requests: Request, **options: object) -> Sequence[Response]:
    """The answers of a model that is opened for them alone."""
    with opened(name, **options) as asked:
        return asked(*requests)
