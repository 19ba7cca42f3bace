"""OpenAI's batch jobs: the same bodies in a file, the answers in another within a day, half price.

A job carries its label as metadata and is found by it in the list of jobs, so that none is
submitted twice after a crash. Nothing here waits: `hosted/batches.py` polls.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...core import Json, Request, Response, Usage
from ...errors import ModelError
from ..hosted.api import BatchState
from ..hosted.keys import redact
from .answer import NotACompletion, read_answer
from .api import OpenAIApi

__all__ = ["BatchingApi"]

PATH = "/v1/chat/completions"
LABEL = "stepladder"  # the name of our metadata entry
MOST_REQUESTS = 50_000  # both from the SDK's docstrings, openai 3.54.0
MOST_BYTES = 200_000_000
LISTED_SECONDS = 31 * 86_400  # files of an older job are gone: it is not looked for
GONE = ("failed", "cancelled")  # without answers, such a job does not stand in for a new one
ENDED = ("completed", "expired", "cancelled")


class BatchingApi(OpenAIApi):
    """An endpoint that has batch jobs too."""

    def find_batch(self, model: str, label: str) -> str | None:
        """The id of the job that carries `label`; one that failed as a whole does not count."""
        for job in self._client.batches.list(limit=100):
            if job.created_at < time.time() - LISTED_SECONDS:
                return None
            labelled = (job.metadata or {}).get(LABEL) == label
            if labelled and not (job.status in GONE and job.output_file_id is None):
                return str(job.id)
        return None

    def submit_batch(self, model: str, requests: Sequence[Request], label: str) -> str:
        """Upload the requests, create the job and give its id.

        Raises:
            ModelError: More requests or bytes than one job may have.
        """
        content = b"".join(self._lines(model, requests))
        if len(requests) > MOST_REQUESTS or len(content) > MOST_BYTES:
            raise ModelError(
                f"{len(requests)} requests of {len(content) // 10**6} MB are more than a batch of "
                f"{self._endpoint.name!r} may have",
                hint=f"at most {MOST_REQUESTS} requests and {MOST_BYTES // 10**6} MB: "
                "limit the examples, or set batch = false",
            )
        file = self._client.files.create(file=(f"{label}.jsonl", content), purpose="batch")
        job = self._client.batches.create(
            input_file_id=file.id,
            endpoint=PATH,
            completion_window="24h",
            metadata={LABEL: label},
        )
        return str(job.id)

    def poll_batch(self, model: str, job: str, requests: Sequence[Request]) -> BatchState:
        """Where the job is; once it ended, an answer for each request, failed ones with `error`.

        What a job did before it expired or was cancelled is paid for, and counts as answered.
        """
        found = self._client.batches.retrieve(job)
        counts = found.request_counts
        done = counts.completed + counts.failed if counts else 0
        if found.status in ENDED and (found.status == "completed" or found.output_file_id):
            answers = self._answers(model, found, requests)
            return BatchState("succeeded", len(answers), len(requests), answers)
        if found.status in ("failed", *ENDED):
            return BatchState("failed", done, len(requests), error=_why(found))
        return BatchState("running", done, len(requests))

    def cancel_batch(self, job: str) -> None:
        """Ask the service to end the job; what it has answered by then is billed."""
        self._client.batches.cancel(job)

    def _lines(self, model: str, requests: Sequence[Request]) -> Iterator[bytes]:
        for number, request in enumerate(requests):
            line = {
                "custom_id": str(number),
                "method": "POST",
                "url": PATH,
                "body": self.body(model, request),
            }
            yield json.dumps(line, ensure_ascii=False).encode() + b"\n"

    def _answers(self, model: str, job: Any, requests: Sequence[Request]) -> Mapping[int, Response]:
        name = f"{self._endpoint.name}:{model}"
        unanswered = f"the batch ended ({job.status}) without an answer to this request"
        answers = {number: _failed(name, unanswered) for number in range(len(requests))}
        for file in (job.error_file_id, job.output_file_id):
            if file is None:
                continue
            content = self._client.files.content(file).content
            for number, line in _numbered(content, len(requests)):
                answers[number] = self._answer(name, line, requests[number])
        return answers

    def _answer(self, name: str, line: Mapping[str, Any], request: Request) -> Response:
        replied = line.get("response") or {}
        body = replied.get("body")
        if line.get("error") or replied.get("status_code") != 200:
            return _failed(name, _said(line.get("error"), body))
        try:
            return read_answer(body, name, request, self._endpoint, tier="batch")
        except NotACompletion as error:
            unknown = Usage(name, tier="batch")  # an answer came, so something is billed
            return Response("", unknown, finish="error", error=redact(str(error)))


def _numbered(content: bytes, most: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The lines of a result file with the place of their request.

    Raises:
        NotACompletion: The file is not whole; it can be fetched again.
    """
    for text in content.split(b"\n"):  # not `splitlines`: an answer may hold other line ends
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            number = int(line["custom_id"])
        except (ValueError, KeyError, TypeError) as error:
            raise NotACompletion(f"a result file has a damaged line: {text[:80]!r}") from error
        if 0 <= number < most:
            yield number, line


def _failed(name: str, message: str) -> Response:
    """A request of a batch that has no answer: nothing is billed for it."""
    usage = Usage(name, 0, 0, 0, thinking_tokens=0, audio_tokens=0, tier="batch")
    return Response("", usage, finish="error", error=redact(message))


def _said(*bodies: Json) -> str:
    """The service's own words in one of these error bodies."""
    for body in bodies:
        if isinstance(body, Mapping):
            inner = body.get("error", body)
            words = inner.get("message") if isinstance(inner, Mapping) else inner
            if words:
                return str(words)
    return "the service gave no reason"


def _why(job: Any) -> str:
    told = [one.message for one in (job.errors.data or [])] if job.errors else []
    return redact("; ".join(told[:3]) or f"the batch ended: {job.status}")
