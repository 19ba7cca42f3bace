"""The losses of a tuning job of Google Cloud, from the TensorBoard of its experiment.

A job names its experiment; that names a TensorBoard; there the job's run keeps its losses as
series. google-genai has no calls for these, so they are plain HTTP with its credentials, by the
paths of the service's discovery document; what the series are called is from its documentation.
Never run against Google.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from google.genai.errors import APIError, UnknownApiResponseError

from ..core import Json, LearningPoint

__all__ = ["VertexLosses"]

VERSION = "v1"
_SERIES = {
    "/train_total_loss": "train",
    "/preference_optimization_train_loss": "train",
    "/eval_total_loss": "held_out",
}
_BOARD = "backing_tensorboard_resource"  # among an experiment's metadata
_NAME = re.compile(r"projects(/\w[\w.~-]*)+")  # of anything that the service names


class VertexLosses:
    """Reads the losses of jobs in one region through an HTTP client of `client.vertex_http`."""

    def __init__(self, http: Any) -> None:
        self._http = http
        self._series: dict[str, dict[str, str]] = {}  # of an experiment, what was found of it

    def curve(self, experiment: str, epochs_per_step: float) -> list[LearningPoint]:
        """The points told so far, none before the job tells any.

        A look at the held-out rows belongs to the last training step before it. Raises what the
        SDK raises for an answer that is an error or has another form, and what its HTTP client
        raises.
        """
        try:
            series = self._series.get(experiment) or dict(self._named(experiment))
            if "train" in series:  # the other may still be to come
                told = {what: dict(self._values(name)) for what, name in series.items()}
                if len(series) == len(set(_SERIES.values())):
                    self._series[experiment] = series
                return _joined(told["train"], told.get("held_out", {}), epochs_per_step)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, UnknownApiResponseError):
                raise
            raise UnknownApiResponseError(f"not of the documented form: {error!r}") from error
        return []

    def close(self) -> None:
        self._http.close()

    def _named(self, experiment: str) -> Iterator[tuple[str, str]]:
        """What the job's series show, and their names."""
        board = (self._get(experiment).get("metadata") or {}).get(_BOARD)
        if not board:
            return
        runs = f"{board}/experiments/{experiment.rpartition('/')[2]}/runs"
        for run in self._listed(runs, "tensorboardRuns"):
            for one in self._listed(f"{run['name']}/timeSeries", "tensorboardTimeSeries"):
                if what := _SERIES.get(one["displayName"]):
                    yield what, one["name"]

    def _values(self, series: str) -> Iterator[tuple[int, float]]:
        """Each step with its loss; the service thins out what is very long."""
        answer = self._get(f"{series}:read")
        for point in (answer.get("timeSeriesData") or {}).get("values") or []:
            # what is zero is left out
            yield int(point.get("step", 0)), float(point["scalar"].get("value", 0.0))

    def _listed(self, path: str, key: str) -> Iterator[Any]:
        token = ""
        while True:
            page = self._get(path, **({"pageToken": token} if token else {}))
            yield from page.get(key) or []
            token = page.get("nextPageToken") or ""
            if not token:
                return

    def _get(self, name: str, **query: str) -> Any:
        if not _NAME.fullmatch(name.removesuffix(":read")):
            raise ValueError(f"{name[:200]!r} is not the name of a resource")
        response = self._http.get(f"/{VERSION}/{name}", params=query)
        if response.status_code != 200:
            raise APIError(response.status_code, _error(response), response)
        found: Json = response.json()
        return found


def _error(response: Any) -> Json:
    try:
        told: Json = response.json()
    except ValueError:
        return {"error": {"message": response.text}}
    return told


def _joined(
    train: dict[int, float], held_out: dict[int, float], epochs_per_step: float
) -> list[LearningPoint]:
    steps = sorted(train)
    looks = {
        max((step for step in steps if step <= at), default=steps[0]): loss
        for at, loss in sorted(held_out.items())
        if steps
    }
    return [
        LearningPoint(step, step * epochs_per_step, train[step], looks.get(step)) for step in steps
    ]
