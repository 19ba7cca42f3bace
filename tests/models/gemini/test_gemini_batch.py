"""Batches: submitted whole, found again by their label, each answer given to its request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gemini_calls import Wire, developer
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Message, Request
from stepladder.errors import ModelError

LABEL = "stepladder-0123456789abcdef"
ASKED = tuple(
    Request((Message("system", "Sort."), Message("user", text)), max_output_tokens=8)
    for text in ("a", "b", "c")
)


def operation(state: str, answers: Any = None, **metadata: Any) -> dict[str, Any]:
    told = {
        "model": "models/plain", "displayName": LABEL, "state": f"BATCH_STATE_{state}", **metadata,
    }  # fmt: skip
    if answers is not None:
        told["output"] = {"inlinedResponses": {"inlinedResponses": answers}}
    return {"name": "batches/b1", "metadata": told}


def answer(text: str, place: str | None = None) -> dict[str, Any]:
    said = {
        "candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 1, "totalTokenCount": 10},
    }
    return {"response": said} | ({} if place is None else {"metadata": {"place": place}})


def polled(wire_answer: Any) -> Any:
    return developer(Wire(lambda _: wire_answer)).poll_batch("plain", "batches/b1", ASKED)


def test_a_batch_holds_each_request_as_it_would_be_sent_alone() -> None:
    wire = Wire()
    api = developer(wire)
    request = replace(ASKED[0], choices=("x", "y"), stop=("\n",))
    api.send("plain", request, None)
    alone = wire.body
    wire.answer = lambda _: operation("PENDING")
    assert api.submit_batch("plain", (request, ASKED[1]), LABEL) == "batches/b1"
    assert wire.path.endswith("/models/plain:batchGenerateContent")
    batch = wire.body["batch"]
    assert batch["displayName"] == LABEL
    rows = batch["inputConfig"]["requests"]["requests"]
    assert [row["metadata"] for row in rows] == [{"place": "0"}, {"place": "1"}]
    assert {**rows[0]["request"], "contents": alone["contents"]} == alone


def test_what_is_more_than_a_batch_takes_is_refused_before_it_is_sent() -> None:
    wire = Wire()
    long = Request((Message("user", "x" * 11_000_000),))
    with pytest.raises(ModelError, match="22 MB") as caught:
        developer(wire).submit_batch("plain", (long, long), LABEL)
    assert caught.value.hint
    assert not wire.requests


def found(*operations: Any, later: Any = None) -> str | None:
    """What is found among these, when the job itself is then as it is `later`."""

    def answers(request: Any) -> Any:
        return later if request.url.path.endswith("b1") else {"operations": operations}

    return developer(Wire(answers)).find_batch("plain", LABEL)


def test_a_batch_is_found_by_its_label_and_model() -> None:
    assert found(operation("RUNNING")) == "batches/b1"
    assert found(operation("RUNNING", displayName="another")) is None
    assert found(operation("RUNNING", model="models/another")) is None
    for state in ("FAILED", "CANCELLED", "EXPIRED"):  # nothing will come of it
        assert found(operation(state)) is None
    assert found() is None


def test_a_batch_whose_answers_are_gone_is_not_found() -> None:
    """A list need not hold the answers, so the job itself is asked."""
    done = operation("SUCCEEDED")
    assert found(done, later=operation("SUCCEEDED", [answer("x")])) == "batches/b1"
    assert found(done, later=done) is None


def test_a_batch_is_looked_for_on_every_page() -> None:
    def pages(request: Any) -> Any:
        if request.url.params.get("pageToken") == "2":
            return {"operations": [operation("RUNNING")]}
        return {"operations": [operation("RUNNING", displayName="x")], "nextPageToken": "2"}

    assert developer(Wire(pages)).find_batch("plain", LABEL) == "batches/b1"


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "UNSPECIFIED"])
def test_a_batch_that_goes_on_has_no_answers_yet(state: str) -> None:
    found = polled(operation(state))
    assert (found.state, found.answers, found.total) == ("running", None, 3)


@given(st.permutations(range(3)))
def test_answers_go_to_their_requests_whatever_their_order(order: list[int]) -> None:
    found = polled(operation("SUCCEEDED", [answer(f"to {place}", str(place)) for place in order]))
    assert found.state == "succeeded"
    assert {place: one.text for place, one in found.answers.items()} == {
        0: "to 0", 1: "to 1", 2: "to 2",
    }  # fmt: skip
    assert {one.usage.tier for one in found.answers.values()} == {"batch"}


def test_answers_without_a_place_are_in_the_order_of_the_requests() -> None:
    found = polled(operation("SUCCEEDED", [answer("x"), answer("y"), answer("z")]))
    assert [found.answers[place].text for place in range(3)] == ["x", "y", "z"]


def test_a_request_that_failed_costs_nothing_and_says_why() -> None:
    error = {"error": {"code": 3, "message": "bad"}, "metadata": {"place": "1"}}
    found = polled(operation("SUCCEEDED", [answer("x", "0"), error]))
    assert (found.done, found.total, set(found.answers)) == (2, 3, {0, 1})
    failed = found.answers[1]
    assert (failed.error, failed.finish, failed.usage.output_tokens) == ("bad", "error", 0)


@pytest.mark.parametrize("place", ["3", "-1", "x", ""])
def test_an_answer_to_nothing_asked_is_not_given_to_anybody(place: str) -> None:
    with pytest.raises(ModelError, match="not in it"):
        polled(operation("SUCCEEDED", [answer("x", place)]))


@pytest.mark.parametrize("state", ["FAILED", "EXPIRED", "CANCELLED"])
def test_a_batch_that_came_to_nothing_says_so(state: str) -> None:
    found = polled(operation(state))
    assert (found.state, found.answers) == ("failed", None)
    assert state.lower() in found.error


def test_what_a_batch_answered_before_it_expired_is_kept() -> None:
    found = polled(operation("EXPIRED", [answer("x", "2")]))
    assert (found.state, found.answers[2].text) == ("failed", "x")


def test_a_batch_can_be_cancelled() -> None:
    wire = Wire(lambda _: {})
    developer(wire).cancel_batch("batches/b1")
    assert wire.path.endswith("/batches/b1:cancel")
