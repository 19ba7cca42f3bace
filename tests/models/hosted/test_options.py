"""What a task file may say of a provider, and what is refused at the door."""

from __future__ import annotations

from typing import Any

import pytest

from stepladder.errors import TaskError
from stepladder.models import ProviderSettings
from stepladder.models.hosted.options import HostedOptions, read_options
from stepladder.models.hosted.pool import Limits


def read(also: tuple[str, ...] = (), **options: Any) -> HostedOptions:
    return read_options(ProviderSettings("gemini", options=options), also)


def test_what_is_not_said_has_its_default() -> None:
    assert read() == HostedOptions()
    assert read(concurrency=3, batch=True) == HostedOptions(Limits(concurrency=3), batch=True)
    assert read(cache="off", attempts=2, deadline_seconds=9.5, retry_unsure=False) == HostedOptions(
        Limits(deadline_seconds=9.5, attempts=2, retry_unsure=False), cache="off"
    )


@pytest.mark.parametrize("name", ["api_key", "base_url", "concurency"])
def test_an_unknown_option_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(TaskError, match=name) as failed:
        read(("project",), **{name: "x"})
    assert "concurrency" in failed.value.hint
    assert "project" in failed.value.hint


def test_a_providers_own_options_pass() -> None:
    assert read(("project",), project="p", concurrency=2) == read(concurrency=2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0),
        ("concurrency", True),
        ("concurrency", "many"),
        ("attempts", 1.5),
        ("deadline_seconds", -1),
        ("deadline_seconds", float("nan")),
        ("batch", "yes"),
        ("cache", "on"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(name: str, value: object) -> None:
    with pytest.raises(TaskError, match=f"{name} = "):
        read(**{name: value})
