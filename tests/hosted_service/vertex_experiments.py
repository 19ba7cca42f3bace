"""The experiment of a Vertex tuning job: its TensorBoard, and the losses that are kept there."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .asking import Refused
from .pages import google_page
from .state import State
from .trainings import Training

__all__ = ["experiment_of", "experiment_routes"]

_BOARD = "8151"  # one for all jobs of a region
_STORE = "metadataStores/default/contexts"


def experiment_of(training: Training) -> str:
    """The experiment's name, as a job tells it."""
    return f"{training.parent}/{_STORE}/tuning-experiment-{training.number}"


def experiment_routes(state: State, place: str) -> list[Route]:
    """`place` is what stands before `/metadataStores` and `/tensorboards`."""

    def training(request: Request) -> Training:
        number = request.path_params["experiment"].removeprefix("tuning-experiment-")
        for one in state.trainings.all.values():
            if one.protocol == "vertex" and str(one.number) == number and one.started:
                return one
        raise Refused(404, f"{request.path_params['experiment']} does not exist.")

    async def context(request: Request) -> Response:
        found = training(request)
        board = f"{found.parent}/tensorboards/{_BOARD}"
        return JSONResponse(
            {
                "name": experiment_of(found),
                "schemaTitle": "system.Experiment",
                "metadata": {"backing_tensorboard_resource": board, "experiment_deleted": False},
            }
        )

    async def runs(request: Request) -> Response:
        name = f"{_experiment(training(request))}/runs/tuning-run"
        return JSONResponse({"tensorboardRuns": [{"name": name, "displayName": "tuning-run"}]})

    async def series(request: Request) -> Response:
        found = training(request)
        place = f"{_experiment(found)}/runs/{request.path_params['run']}/timeSeries"
        told = [
            {"name": f"{place}/{number}", "displayName": name, "valueType": "SCALAR"}
            for number, name in enumerate(_curves(found))
        ]
        page, following = google_page(told, request.query_params, default=2)
        return JSONResponse({"tensorboardTimeSeries": page, **following})

    async def read(request: Request) -> Response:
        curves = list(_curves(training(request)).values())
        name = request.path_params["series"]
        values = [
            {"step": str(step), "scalar": {"value": value}} for step, value in curves[int(name)]
        ]
        told = {"tensorboardTimeSeriesId": name, "valueType": "SCALAR", "values": values}
        return JSONResponse({"timeSeriesData": told})

    one = f"{place}/tensorboards/{{board}}/experiments/{{experiment}}/runs"
    return [
        Route(f"{place}/{_STORE}/{{experiment}}", context, methods=["GET"]),
        Route(one, runs, methods=["GET"]),
        Route(f"{one}/{{run}}/timeSeries", series, methods=["GET"]),
        Route(f"{one}/{{run}}/timeSeries/{{series}}:read", read, methods=["GET"]),
    ]


def _experiment(training: Training) -> str:
    board = f"{training.parent}/tensorboards/{_BOARD}"
    return f"{board}/experiments/tuning-experiment-{training.number}"


def _curves(training: Training) -> dict[str, list[tuple[int, Any]]]:
    """Each series by its name: steps and values."""
    supervised = "supervisedTuningSpec" in training.asked
    loss = "/train_total_loss" if supervised else "/preference_optimization_train_loss"
    epochs = training.history
    found = {
        "/train_fraction_of_correct_next_step_preds": [(e.step, e.accuracy) for e in epochs],
        "/train_num_predictions": [(epoch.step, 100.0) for epoch in epochs],
        loss: [(epoch.step, epoch.loss) for epoch in epochs],
    }
    if training.validation:
        found["/eval_total_loss"] = [(epoch.step, epoch.validation_loss) for epoch in epochs]
    return found
