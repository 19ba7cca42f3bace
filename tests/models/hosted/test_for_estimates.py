"""What a hosted model tells those who plan with it, before and after it has answered."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from stepladder.core import Message, Request, Response, Usage
from stepladder.models import ProviderSettings
from stepladder.models.hosted.api import Failure, PrefixCache
from stepladder.models.hosted.model import HostedModel
from stepladder.models.hosted.pool import Timing


class Echo:
    """A service that says the same to all."""

    def send(self, model: str, request: Request, cache: PrefixCache | None) -> Response:
        return Response("yes", Usage(f"echo:{model}", 3, 1, 0, thinking_tokens=0, audio_tokens=0))

    def explain(self, error: Exception) -> Failure:
        return Failure(repr(error))

    def close(self) -> None:
        """Nothing is held."""


def test_seconds_per_call_are_known_once_it_answered_and_share_what_runs_at_once(
    tmp_path: Any,
) -> None:
    ticks = count()
    per_call = {}
    for at_once in (1, 4):
        settings = ProviderSettings("echo", jobs=tmp_path, options={"concurrency": at_once})
        model = HostedModel("echo:m", Echo(), settings, Timing(clock=lambda: 5.0 * next(ticks)))
        assert model.seconds_per_call is None
        asked = [Request((Message("user", f"{n}?"),)) for n in range(5)]
        latencies = [response.usage.seconds for _, response in model.generate(asked)]
        per_call[at_once] = (model.seconds_per_call, sum(latencies) / 5)  # type: ignore[arg-type]
    assert per_call[1][0] == pytest.approx(per_call[1][1])
    assert per_call[4][0] == pytest.approx(per_call[4][1] / 4)


def test_it_says_that_it_scores_no_choices(tmp_path: Any) -> None:
    model = HostedModel("echo:m", Echo(), ProviderSettings("echo", jobs=tmp_path))
    assert model.hosted
    assert not model.scores_choices
    request = Request((Message("user", "?"),), choices=("a", "b"), score_choices=True)
    ((_, response),) = model.generate([request])
    assert response.error is not None
