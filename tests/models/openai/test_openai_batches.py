"""Batch jobs through the real SDK, against a small service in memory."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from openai_wire import Wire, api_over, completion

from stepladder.core import Message, Request
from stepladder.errors import ModelError
from stepladder.models.openai import batches
from stepladder.models.openai.answer import NotACompletion
from stepladder.models.openai.batches import BatchingApi

MODEL = "gpt-4o-mini"
REQUESTS = [
    Request((Message("user", text),), choices=("yes", "no")) for text in ("a", "b", "c\u2028d")
]


@dataclass
class Jobs:
    """Files and batch jobs as OpenAI keeps them."""

    files: dict[str, bytes] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    page: int = 2

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path, method = request.url.path.removeprefix("/v1"), request.method
        if path == "/files":
            assert b'name="purpose"\r\n\r\nbatch' in request.content
            content = request.content.split(b"application/octet-stream\r\n\r\n")[1]
            self.files[f"file-{len(self.files)}"] = content.rpartition(b"\r\n--")[0]
            return _json({"id": f"file-{len(self.files) - 1}", "object": "file"})
        if found := re.fullmatch(r"/files/(.+)/content", path):
            return httpx2.Response(200, content=self.files[found[1]])
        if path == "/batches" and method == "POST":
            self.jobs.insert(0, job(f"batch_{len(self.jobs)}", **json.loads(request.content)))
            return _json(self.jobs[0])
        if path == "/batches":
            return self._listed(request.url.params.get("after"))
        found = re.fullmatch(r"/batches/([^/]+)(/cancel)?", path)
        assert found, path
        one = next(one for one in self.jobs if one["id"] == found[1])
        if found[2]:
            one["status"] = "cancelling"
        return _json(one)

    def _listed(self, after: str | None) -> httpx2.Response:
        ids = [one["id"] for one in self.jobs]
        start = ids.index(after) + 1 if after else 0
        shown = self.jobs[start : start + self.page]
        more = start + self.page < len(ids)
        return _json({"object": "list", "data": shown, "has_more": more})

    def end(self, status: str, *lines: Any, errors: tuple[Any, ...] = ()) -> None:
        """End the newest job with these result lines."""
        one = self.jobs[0]
        one["status"] = status
        for name, content in (("output_file_id", lines), ("error_file_id", errors)):
            if content:
                one[name] = f"file-{len(self.files)}"
                text = "".join(json.dumps(c, ensure_ascii=False) + "\n" for c in content)
                self.files[one[name]] = text.encode()


def _json(body: Any) -> httpx2.Response:
    return httpx2.Response(200, json=body)


def job(id: str, status: str = "validating", **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "input_file_id": "file-0",
        "created_at": int(time.time()),
        "status": status,
        "output_file_id": None,
        "error_file_id": None,
        "request_counts": {"total": 3, "completed": 1, "failed": 0},
        **more,
    }


def line(number: int | str, body: Any, status: int = 200, error: Any = None) -> dict[str, Any]:
    response = None if body is None else {"status_code": status, "body": body}
    return {"id": f"r{number}", "custom_id": str(number), "response": response, "error": error}


def said(choice: str) -> dict[str, Any]:
    return completion(json.dumps({"label": choice}))


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def api(jobs: Jobs) -> BatchingApi:
    made: BatchingApi = api_over(Wire(jobs))
    return made


def submitted(api: BatchingApi, label: str = "stepladder-abc") -> str:
    return api.submit_batch(MODEL, REQUESTS, label)


def test_a_job_carries_its_label_and_the_same_bodies_as_single_calls(
    api: BatchingApi, jobs: Jobs
) -> None:
    job_id = submitted(api)
    made = jobs.jobs[0]
    assert (made["id"], made["metadata"]) == (job_id, {"stepladder": "stepladder-abc"})
    assert (made["endpoint"], made["completion_window"]) == ("/v1/chat/completions", "24h")
    lines = [json.loads(text) for text in jobs.files["file-0"].split(b"\n") if text]
    assert [one["custom_id"] for one in lines] == ["0", "1", "2"]
    assert {(one["method"], one["url"]) for one in lines} == {("POST", "/v1/chat/completions")}
    assert [one["body"] for one in lines] == [api.body(MODEL, one) for one in REQUESTS]


def test_a_job_is_found_again_on_any_page(api: BatchingApi, jobs: Jobs) -> None:
    assert api.find_batch(MODEL, "stepladder-abc") is None
    job_id = submitted(api)
    for number in range(4):
        submitted(api, f"other-{number}")
    assert api.find_batch(MODEL, "stepladder-abc") == job_id
    assert api.find_batch(MODEL, "stepladder-ab") is None


@pytest.mark.parametrize(
    ("status", "found"),
    [("validating", True), ("in_progress", True), ("completed", True), ("expired", True),
     ("cancelling", True), ("failed", False), ("cancelled", False)],
)  # fmt: skip
def test_a_job_that_failed_as_a_whole_does_not_count(
    api: BatchingApi, jobs: Jobs, status: str, found: bool
) -> None:
    job_id = submitted(api)
    jobs.jobs[0]["status"] = status
    assert api.find_batch(MODEL, "stepladder-abc") == (job_id if found else None)


def test_a_cancelled_job_with_answers_counts_since_they_are_paid_for(
    api: BatchingApi, jobs: Jobs
) -> None:
    job_id = submitted(api)
    jobs.end("cancelled", line(1, said("yes")))
    assert api.find_batch(MODEL, "stepladder-abc") == job_id


def test_a_job_whose_files_are_gone_is_not_looked_for(api: BatchingApi, jobs: Jobs) -> None:
    submitted(api)
    jobs.jobs[0]["created_at"] -= 40 * 86_400
    assert api.find_batch(MODEL, "stepladder-abc") is None


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling"])
def test_a_job_under_way(api: BatchingApi, jobs: Jobs, status: str) -> None:
    job_id = submitted(api)
    jobs.jobs[0]["status"] = status
    state = api.poll_batch(MODEL, job_id, REQUESTS)
    assert (state.state, state.done, state.total, state.answers) == ("running", 1, 3, None)


def test_answers_find_their_requests_in_any_order(api: BatchingApi, jobs: Jobs) -> None:
    job_id = submitted(api)
    jobs.end("completed", line(2, said("no")), line(0, said("yes")), line(1, said("no")))
    state = api.poll_batch(MODEL, job_id, REQUESTS)
    assert state.state == "succeeded"
    assert state.answers is not None
    assert [state.answers[n].text for n in range(3)] == ["yes", "no", "no"]
    usage = state.answers[0].usage
    assert (usage.model, usage.tier, usage.input_tokens) == ("openai:gpt-4o-mini", "batch", 12)


def test_failed_lines_and_missing_ones_are_errors_and_cost_nothing(
    api: BatchingApi, jobs: Jobs
) -> None:
    job_id = submitted(api)
    refused = {"error": {"message": "content policy"}}
    jobs.end("expired", line(0, said("yes")), errors=(line(1, refused, 400),))
    state = api.poll_batch(MODEL, job_id, REQUESTS)
    assert state.answers is not None
    assert state.answers[0].error is None
    assert state.answers[1].error == "content policy"
    assert "without an answer" in str(state.answers[2].error)
    for number in (1, 2):
        assert state.answers[number].usage.input_tokens == 0


def test_a_line_may_carry_its_error_itself(api: BatchingApi, jobs: Jobs) -> None:
    job_id = submitted(api)
    late = {"code": "batch_expired", "message": "This request could not be executed in time."}
    jobs.end("expired", line(0, said("yes")), errors=(line(1, None, error=late),))
    state = api.poll_batch(MODEL, job_id, REQUESTS)
    assert state.answers is not None
    assert state.answers[1].error == late["message"]


def test_an_answer_holds_any_character(api: BatchingApi, jobs: Jobs) -> None:
    job_id = submitted(api)
    jobs.end("completed", line(0, completion("a\u2028b\x85c")))
    state = api.poll_batch(MODEL, job_id, REQUESTS)
    assert state.answers is not None
    assert state.answers[0].text == "a\u2028b\x85c"


def test_an_answer_that_is_none_has_unknown_usage(api: BatchingApi, jobs: Jobs) -> None:
    job_id = submitted(api)
    jobs.end("completed", line(0, {"choices": []}), line(7, said("yes")))
    state = api.poll_batch(MODEL, job_id, REQUESTS)
    assert state.answers is not None
    assert sorted(state.answers) == [0, 1, 2]
    assert state.answers[0].error is not None
    assert state.answers[0].usage.input_tokens is None


@pytest.mark.parametrize("cut", [b'{"custom_id": "1", "resp', b'{"custom_id": "one"}', b"[]"])
def test_a_result_file_that_is_not_whole_can_be_fetched_again(
    api: BatchingApi, jobs: Jobs, cut: bytes
) -> None:
    job_id = submitted(api)
    jobs.end("completed", line(0, said("yes")))
    jobs.files[jobs.jobs[0]["output_file_id"]] += cut
    with pytest.raises(NotACompletion, match="damaged line") as caught:
        api.poll_batch(MODEL, job_id, REQUESTS)
    assert api.explain(caught.value).retry


def test_a_job_that_failed_says_why(api: BatchingApi, jobs: Jobs) -> None:
    job_id = submitted(api)
    jobs.end("failed")
    told = [{"message": "Line 2 is not JSON."}, {"message": "Line 3 has no custom_id."}]
    jobs.jobs[0]["errors"] = {"object": "list", "data": told}
    state = api.poll_batch(MODEL, job_id, REQUESTS)
    assert state.state == "failed"
    assert state.error == "Line 2 is not JSON.; Line 3 has no custom_id."


def test_a_job_cancelled_before_any_answer_failed(api: BatchingApi, jobs: Jobs) -> None:
    job_id = submitted(api)
    jobs.end("cancelled")
    state = api.poll_batch(MODEL, job_id, REQUESTS)
    assert (state.state, state.error) == ("failed", "the batch ended: cancelled")


def test_a_completed_job_may_have_failed_lines_alone(api: BatchingApi, jobs: Jobs) -> None:
    job_id = submitted(api)
    jobs.end(
        "completed", errors=tuple(line(n, {"error": {"message": "no"}}, 400) for n in range(3))
    )
    state = api.poll_batch(MODEL, job_id, REQUESTS)
    assert state.answers is not None
    assert [answer.error for answer in state.answers.values()] == ["no"] * 3


def test_a_line_that_failed_without_a_word_is_an_error_too(api: BatchingApi, jobs: Jobs) -> None:
    job_id = submitted(api)
    jobs.end("completed", line(0, said("yes")), errors=(line(1, None), line(2, "oops", 500)))
    state = api.poll_batch(MODEL, job_id, REQUESTS)
    assert state.answers is not None
    assert [state.answers[n].error for n in (1, 2)] == ["the service gave no reason"] * 2


def test_a_job_is_cancelled_by_its_id(api: BatchingApi, jobs: Jobs) -> None:
    job_id = submitted(api)
    api.cancel_batch(job_id)
    assert jobs.jobs[0]["status"] == "cancelling"


def test_a_job_that_is_too_large_is_refused_before_it_is_uploaded(
    api: BatchingApi, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_REQUESTS", 2)
    with pytest.raises(ModelError, match="more than a batch"):
        submitted(api)
    assert not jobs.files
    assert not jobs.jobs


def test_only_openai_has_batch_jobs_that_can_be_found_again() -> None:
    assert isinstance(api_over(Wire()), BatchingApi)
    assert not isinstance(api_over(Wire(), "together"), BatchingApi)
