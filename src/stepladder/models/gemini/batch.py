"""Many requests as one job at half the price, answered within a day: the Developer API's batches.

The requests travel in the job itself. Each carries its place as metadata, by which its answer is
known again whatever the order of the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.genai import types

from ...core import Request, Response, Usage
from ...errors import ModelError
from ..hosted.api import BatchState
from ..hosted.keys import redact
from .client import Client
from .names import Named
from .request import Asked, Traits
from .response import to_response

__all__ = ["MOST_BYTES", "cancel_job", "find_job", "poll_job", "submit_job"]

MOST_BYTES = 20 * 10**6  # of the requests in one job
_PLACE = "place"  # the metadata key
_DEAD = ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED")
_DONE = ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED")


def find_job(client: Client, named: Named, label: str) -> str | None:
    """The newest job under this label that was not given up; None when there is none."""
    for job in client.batches.list(config=types.ListBatchJobsConfig(page_size=20)):
        same_model = (job.model or "").rpartition("/")[2] == named.path.rpartition("/")[2]
        if job.display_name == label and same_model and _state(job) not in _DEAD:
            return job.name
    return None


def submit_job(client: Client, named: Named, asked: Sequence[Asked], label: str) -> str:
    """Submit the requests as one job; its name. Raises ModelError when they are too many."""
    requests = [
        types.InlinedRequest(
            contents=list(one.contents), config=one.config, metadata={_PLACE: str(place)}
        )
        for place, one in enumerate(asked)
    ]
    size = sum(len(request.model_dump_json(exclude_none=True)) for request in requests)
    if size > MOST_BYTES:
        raise ModelError(
            f"{len(requests)} requests are {size / 10**6:.0f} MB, and a batch of the Gemini API "
            f"takes {MOST_BYTES // 10**6} MB",
            hint="evaluate on fewer examples, or set batch = false",
        )
    job = client.batches.create(
        model=named.path,
        src=types.BatchJobSource(inlined_requests=requests),
        config=types.CreateBatchJobConfig(display_name=label),
    )
    if not job.name:
        raise ModelError("the service took a batch but did not say under which name")
    return job.name


def poll_job(client: Client, traits: Traits, job: str, requests: Sequence[Request]) -> BatchState:
    """Where the job is; a job that ended has an answer for each request it got to."""
    found = client.batches.get(name=job)
    state = _state(found)
    if state not in _DONE + _DEAD:
        return BatchState("running", total=len(requests))
    given = (found.dest.inlined_responses if found.dest else None) or []
    answers = dict(_answer(one, place, traits, requests) for place, one in enumerate(given))
    done = len(answers)
    if state in _DONE:
        return BatchState("succeeded", done, len(requests), answers)
    ended = f"the batch has {state.removeprefix('JOB_STATE_').lower()}"
    why = found.error.message if found.error else None  # the SDK passes on that of Vertex alone
    told = redact(f"{ended}: {why}") if why else f"{ended}, and the SDK says no more"
    return BatchState("failed", done, len(requests), answers or None, told)


def cancel_job(client: Client, job: str) -> None:
    """Stop a job; what it answered until then is billed."""
    client.batches.cancel(name=job)


def _answer(
    one: types.InlinedResponse, order: int, traits: Traits, requests: Sequence[Request]
) -> tuple[int, Response]:
    place = _place(one.metadata, order, len(requests))
    if one.response is not None:
        return place, to_response(one.response, requests[place], traits.model, tier="batch")
    told = one.error.message if one.error and one.error.message else "no answer and no reason"
    nothing = Usage(traits.model, 0, 0, 0, thinking_tokens=0, audio_tokens=0, tier="batch")
    return place, Response("", nothing, finish="error", error=redact(told))


def _place(metadata: Mapping[str, str] | None, order: int, count: int) -> int:
    """Which request this answers: what its metadata says, else its order, as documented."""
    told = (metadata or {}).get(_PLACE, str(order))
    if not told.isdecimal() or int(told) >= count:
        raise ModelError(
            f"the batch answers a request {told!r} that was not in it",
            hint="the job is not the one that was submitted: remove its record and submit again",
        )
    return int(told)


def _state(job: types.BatchJob) -> str:
    return job.state.value if job.state else ""
