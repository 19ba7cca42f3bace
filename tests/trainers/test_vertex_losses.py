"""The losses of a Vertex job, read from what a TensorBoard tells, or does not."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

genai = pytest.importorskip("google.genai")

from google.genai.errors import APIError, UnknownApiResponseError  # noqa: E402

from stepladder.core import LearningPoint  # noqa: E402
from stepladder.models.gemini.client import vertex_http  # noqa: E402
from stepladder.trainers.vertex_losses import VertexLosses  # noqa: E402

HTTP = importlib.import_module("httpx2" if genai.__version__ >= "3" else "httpx")
PLACE = "projects/1/locations/us-central1"
EXPERIMENT = f"{PLACE}/metadataStores/default/contexts/tuning-7"
BOARD = f"{PLACE}/tensorboards/9"
RUNS = f"{BOARD}/experiments/tuning-7/runs"
RUN = f"{RUNS}/r"


def series(*names: str) -> dict[str, Any]:
    return {
        "tensorboardTimeSeries": [
            {"name": f"{RUN}/timeSeries/{name.strip('/')}", "displayName": name} for name in names
        ]
    }


def values(*points: tuple[int, float]) -> dict[str, Any]:
    return {
        "timeSeriesData": {"values": [{"step": str(s), "scalar": {"value": v}} for s, v in points]}
    }


def told(**changes: Any) -> dict[str, Any]:
    """The answers of a service whose job has both losses, by path; `changes` by the last word."""
    answers = {
        EXPERIMENT: {"metadata": {"backing_tensorboard_resource": BOARD}},
        RUNS: {"tensorboardRuns": [{"name": RUN}]},
        f"{RUN}/timeSeries": series(
            "/train_num_predictions", "/train_total_loss", "/eval_total_loss"
        ),
        f"{RUN}/timeSeries/train_total_loss:read": values((1, 2.0), (5, 1.0), (9, 0.5)),
        f"{RUN}/timeSeries/eval_total_loss:read": values((6, 1.5), (9, 1.25)),
    }
    return answers | changes


class Board:
    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, request: Any) -> Any:
        path = str(request.url).removeprefix("http://board/v1/")
        self.asked.append(path)
        answer = self.answers.get(path, 404)
        if isinstance(answer, int):
            return HTTP.Response(answer, json={"error": {"code": answer, "message": "no"}})
        return HTTP.Response(200, json=answer)

    @property
    def losses(self) -> VertexLosses:
        transport = HTTP.MockTransport(self)
        return VertexLosses(HTTP.Client(transport=transport, base_url="http://board"))


def test_a_look_at_held_out_rows_belongs_to_the_training_step_before_it() -> None:
    assert Board(told()).losses.curve(EXPERIMENT, 0.5) == [
        LearningPoint(1, 0.5, 2.0),
        LearningPoint(5, 2.5, 1.0, 1.5),
        LearningPoint(9, 4.5, 0.5, 1.25),
    ]


def test_a_loss_of_zero_is_one() -> None:
    board = Board(told())
    name = f"{RUN}/timeSeries/train_total_loss:read"
    board.answers[name] = {"timeSeriesData": {"values": [{"scalar": {}}]}}  # zeros are left out
    assert board.losses.curve(EXPERIMENT, 0.0) == [LearningPoint(0, 0.0, 0.0, 1.25)]


def test_the_series_are_found_once_both_are_there() -> None:
    board = Board(told())
    losses = board.losses
    losses.curve(EXPERIMENT, 1.0)
    found = len(board.asked)
    losses.curve(EXPERIMENT, 1.0)
    assert board.asked[found:] == board.asked[-2:]
    assert all(path.endswith(":read") for path in board.asked[found:])


def test_a_series_that_comes_later_is_found() -> None:
    board = Board(told())
    board.answers[f"{RUN}/timeSeries"] = series("/train_total_loss")
    losses = board.losses
    assert {point.held_out_loss for point in losses.curve(EXPERIMENT, 1.0)} == {None}
    board.answers = told()
    assert losses.curve(EXPERIMENT, 1.0)[-1].held_out_loss == 1.25


def test_lists_come_in_pages() -> None:
    board = Board(told())
    board.answers[f"{RUN}/timeSeries"] = {**series("/eval_total_loss"), "nextPageToken": "2"}
    board.answers[f"{RUN}/timeSeries?pageToken=2"] = series("/train_total_loss")
    assert [point.step for point in board.losses.curve(EXPERIMENT, 1.0)] == [1, 5, 9]


@pytest.mark.parametrize(
    "nothing",
    [
        {EXPERIMENT: {"metadata": {}}},
        {EXPERIMENT: {}},
        {RUNS: {}},
        {f"{RUN}/timeSeries": {}},
        {f"{RUN}/timeSeries/train_total_loss:read": {}},
    ],
)
def test_what_is_not_there_yet_is_no_curve(nothing: dict[str, Any]) -> None:
    assert Board({**told(), **nothing}).losses.curve(EXPERIMENT, 1.0) == []


@pytest.mark.parametrize(
    "damage",
    [
        {EXPERIMENT: ["no object"]},
        {RUNS: {"tensorboardRuns": [{}]}},
        {
            f"{RUN}/timeSeries/train_total_loss:read": {
                "timeSeriesData": {"values": [{"step": "x"}]}
            }
        },
    ],
)
def test_what_has_another_form_is_told_as_such(damage: dict[str, Any]) -> None:
    with pytest.raises(UnknownApiResponseError, match="documented form"):
        Board({**told(), **damage}).losses.curve(EXPERIMENT, 1.0)


def test_an_error_of_the_service_is_the_sdks() -> None:
    with pytest.raises(APIError, match="no") as caught:
        Board({**told(), RUNS: 403}).losses.curve(EXPERIMENT, 1.0)
    assert caught.value.code == 403


def test_a_page_in_place_of_json_is_an_error_too() -> None:
    losses = VertexLosses(
        HTTP.Client(
            transport=HTTP.MockTransport(lambda request: HTTP.Response(502, text="<html>")),
            base_url="http://board",
        )
    )
    with pytest.raises(APIError, match="<html>"):
        losses.curve(EXPERIMENT, 1.0)


@pytest.mark.parametrize(
    "name",
    ["https://elsewhere.example/x", "//elsewhere.example", "projects/../../x", "projects/a b"],
)
def test_a_name_from_the_service_leads_nowhere_else(name: str) -> None:
    board = Board({**told(), EXPERIMENT: {"metadata": {"backing_tensorboard_resource": name}}})
    with pytest.raises(UnknownApiResponseError, match="not the name of a resource"):
        board.losses.curve(EXPERIMENT, 1.0)
    assert board.asked == [EXPERIMENT]


def test_the_calls_are_signed_and_go_where_the_sdks_go(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def answer(transport: Any, request: Any) -> Any:
        seen.append(request)
        return HTTP.Response(200, json={})

    monkeypatch.setattr(HTTP.HTTPTransport, "handle_request", answer)
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "token-of-the-test-0123456789")
    http = vertex_http("us-central1", 5)
    VertexLosses(http).curve(EXPERIMENT, 1.0)
    http.close()
    (request,) = seen
    assert str(request.url) == f"http://127.0.0.1:1/v1/{EXPERIMENT}"
    assert request.headers["authorization"] == "Bearer token-of-the-test-0123456789"
