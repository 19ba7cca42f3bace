"""Many requests as one job at half the price, answered within a day or so.

The Developer API takes the requests in the job itself; each carries its place as metadata, by
which its answer is known again whatever the order of the answers. Vertex takes them from a bucket:
see `batch_files.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from google.genai import types

from ...core import Request, Response, Usage
from ...errors import ModelError
from ..hosted.api import BatchState
from ..hosted.keys import redact
from .client import Client
from .names import Named
from .request import Asked, Traits
from .response import to_response

__all__ = [
    "DeveloperJobs", "Jobs", "ended", "failed_row", "find_job", "name_of", "place_of",
]  # fmt: skip

MOST_BYTES = 20 * 10**6  # of the requests in one job
_PLACE = "place"  # the metadata key
_DEAD = ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED")
_DONE = ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED")


class Jobs(Protocol):
    """How one of the two services takes batches."""

    def find(self, named: Named, label: str) -> str | None: ...

    def submit(self, named: Named, asked: Sequence[Asked], label: str) -> str: ...

    def poll(self, traits: Traits, job: str, requests: Sequence[Request]) -> BatchState: ...

    def cancel(self, job: str) -> None: ...


@dataclass(frozen=True)
class DeveloperJobs:
    """Batches of the Developer API."""

    client: Client

    def find(self, named: Named, label: str) -> str | None:
        """The job that was submitted under this label and not given up."""
        return find_job(self.client, named, label, types.ListBatchJobsConfig(page_size=20))

    def submit(self, named: Named, asked: Sequence[Asked], label: str) -> str:
        """Submit the requests as one job; its name. Raises ModelError when they are too much."""
        requests = [
            types.InlinedRequest(
                contents=list(one.contents), config=one.config, metadata={_PLACE: str(place)}
            )
            for place, one in enumerate(asked)
        ]
        size = sum(len(request.model_dump_json(exclude_none=True)) for request in requests)
        if size > MOST_BYTES:
            raise ModelError(
                f"{len(requests)} requests are {size / 10**6:.0f} MB, and a batch of the Gemini "
                f"API takes {MOST_BYTES // 10**6} MB",
                hint="evaluate on fewer examples, or set batch = false",
            )
        job = self.client.batches.create(
            model=named.path,
            src=types.BatchJobSource(inlined_requests=requests),
            config=types.CreateBatchJobConfig(display_name=label),
        )
        return name_of(job)

    def poll(self, traits: Traits, job: str, requests: Sequence[Request]) -> BatchState:
        """Where the job is; one that ended has an answer for each request it got to."""
        found = self.client.batches.get(name=job)
        if (state := ended(found)) is None:
            return BatchState("running", total=len(requests))
        given = (found.dest.inlined_responses if found.dest else None) or []
        answers = dict(_answer(one, place, traits, requests) for place, one in enumerate(given))
        return replace(state, done=len(answers), total=len(requests), answers=answers or None)

    def cancel(self, job: str) -> None:
        """Stop a job; what it answered until then is billed."""
        self.client.batches.cancel(name=job)


def find_job(
    client: Client, named: Named, label: str, listing: types.ListBatchJobsConfig
) -> str | None:
    """The newest job under this label for this model that answers may still come of."""
    for job in client.batches.list(config=listing):
        same_model = (job.model or "").rpartition("/")[2] == named.path.rpartition("/")[2]
        if job.display_name == label and same_model and _is_of_use(client, job):
            return job.name
    return None


def _is_of_use(client: Client, job: types.BatchJob) -> bool:
    """Whether it goes on, or its answers are still there; a list may leave those out."""
    if _state(job) not in _DONE:
        return _state(job) not in _DEAD
    found = client.batches.get(name=str(job.name))
    inline = found.dest.inlined_responses if found.dest else None
    return bool(inline or (found.output_info and found.output_info.gcs_output_directory))


def name_of(job: types.BatchJob) -> str:
    """The name of a job that was just submitted."""
    if not job.name:
        raise ModelError("the service took a batch but did not say under which name")
    return job.name


def ended(job: types.BatchJob) -> BatchState | None:
    """How the job ended, without its answers; None while it goes on."""
    state = _state(job)
    if state in _DONE:
        return BatchState("succeeded")
    if state not in _DEAD:
        return None
    told = f"the batch has {state.removeprefix('JOB_STATE_').lower()}"
    why = job.error.message if job.error else None  # the SDK passes on that of Vertex alone
    return BatchState("failed", error=redact(f"{told}: {why}" if why else f"{told}, without a why"))


def place_of(told: str, count: int) -> int:
    """Which of so many requests is meant; raises ModelError for one that was not asked."""
    if not (told.isascii() and told.isdecimal()) or int(told) >= count:
        raise ModelError(
            f"the batch answers a request {told!r} that was not in it",
            hint="the job is not the one that was submitted: remove its record and submit again",
        )
    return int(told)


def failed_row(traits: Traits, why: str) -> Response:
    """A request of a batch that was not answered; such are not billed."""
    nothing = Usage(traits.model, 0, 0, 0, thinking_tokens=0, audio_tokens=0, tier="batch")
    return Response("", nothing, finish="error", error=redact(why))


def _answer(
    one: types.InlinedResponse, order: int, traits: Traits, requests: Sequence[Request]
) -> tuple[int, Response]:
    """Its place, by its metadata or else by its order, as documented; and the answer."""
    place = place_of((one.metadata or {}).get(_PLACE, str(order)), len(requests))
    if one.response is not None:
        answer = one.response.model_dump(mode="json", by_alias=True, exclude_none=True)
        return place, to_response(answer, requests[place], traits.model, tier="batch")
    why = one.error.message if one.error and one.error.message else "no answer and no reason"
    return place, failed_row(traits, why)


def _state(job: types.BatchJob) -> str:
    return job.state.value if job.state else ""
