"""Batches of Vertex: requests are lines of a file in a bucket, and so are the answers.

A line has the form of a request over HTTP, which the SDK does not make for us, so it is made here
from the SDK's own objects. Vertex answers in no order and passes on nothing but the request, so
each request carries its place as a label. That the label comes back was never seen from Google: a
line without it is refused, not guessed at.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from google.genai import types

from ...core import Json, Request, Response
from ...errors import ModelError
from ...storage import Bucket
from ..hosted.api import BatchState
from .batch import ended, failed_row, find_job, name_of, place_of
from .client import Client
from .names import Named
from .request import Asked, Traits
from .response import to_response

__all__ = ["VertexJobs", "to_line"]

_FOLDER = "stepladder/batches"
_PLACE = "stepladder-place"  # the label
_TOP = ("systemInstruction", "tools", "toolConfig", "cachedContent")  # the rest configures


@dataclass(frozen=True)
class VertexJobs:
    """Batches of Vertex, through a bucket that is opened when it is needed."""

    client: Client
    bucket: Callable[[], Bucket]

    def find(self, named: Named, label: str) -> str | None:
        """The job that was submitted under this label and not given up."""
        listing = types.ListBatchJobsConfig(page_size=20, filter=f'display_name="{label}"')
        return find_job(self.client, named, label, listing)

    def submit(self, named: Named, asked: Sequence[Asked], label: str) -> str:
        """Put the requests into the bucket and submit them; the job's name."""
        content = "".join(f"{to_line(one, place)}\n" for place, one in enumerate(asked))
        folder = f"{_FOLDER}/{label}/{hashlib.blake2b(content.encode(), digest_size=8).hexdigest()}"
        with (
            closing(self.bucket()) as bucket,
            tempfile.TemporaryDirectory(prefix="stepladder-") as here,
        ):
            file = Path(here) / "requests.jsonl"
            file.write_text(content, encoding="utf-8")
            source = bucket.put(file, f"{folder}/requests.jsonl")
        job = self.client.batches.create(
            model=named.path,
            src=types.BatchJobSource(gcs_uri=[source], format="jsonl"),
            config=types.CreateBatchJobConfig(
                display_name=label,
                dest=types.BatchJobDestination(
                    gcs_uri=f"gs://{bucket.name}/{folder}/answers", format="jsonl"
                ),
            ),
        )
        return name_of(job)

    def poll(self, traits: Traits, job: str, requests: Sequence[Request]) -> BatchState:
        """Where the job is; one that ended has an answer for each request it got to."""
        found = self.client.batches.get(name=job)
        if (state := ended(found)) is None:
            stats = found.completion_stats
            done = (stats.successful_count or 0) + (stats.failed_count or 0) if stats else 0
            return BatchState("running", done, len(requests))
        directory = found.output_info.gcs_output_directory if found.output_info else None
        answers = dict(self._answers(directory, traits, requests)) if directory else {}
        return replace(state, done=len(answers), total=len(requests), answers=answers or None)

    def cancel(self, job: str) -> None:
        """Stop a job; what it answered until then is billed."""
        self.client.batches.cancel(name=job)

    def _answers(
        self, directory: str, traits: Traits, requests: Sequence[Request]
    ) -> Iterator[tuple[int, Response]]:
        with closing(self.bucket()) as bucket:
            root = f"gs://{bucket.name}/"
            if not directory.startswith(f"{root}{_FOLDER}/"):
                raise ModelError(f"the batch wrote its answers to {directory!r}, not where told")
            for name, content in bucket.read(f"{directory.removeprefix(root).rstrip('/')}/"):
                if name.endswith(".jsonl"):
                    for line in filter(str.strip, content.decode().split("\n")):
                        yield _answer(json.loads(line), traits, requests)


def to_line(asked: Asked, place: int) -> str:
    """One request as a line of the file."""
    config = asked.config.model_dump(mode="json", by_alias=True, exclude_none=True)
    for name in ("automaticFunctionCalling", "shouldReturnHttpResponse"):
        config.pop(name, None)  # what only the SDK reads
    request: dict[str, Json] = {
        "contents": [
            content.model_dump(mode="json", by_alias=True, exclude_none=True)
            for content in asked.contents
        ],
        **{key: config.pop(key) for key in _TOP if key in config},
        "generationConfig": config,
        "labels": {_PLACE: str(place)},
    }
    return json.dumps({"request": request}, ensure_ascii=False)


def _answer(
    line: Mapping[str, Json], traits: Traits, requests: Sequence[Request]
) -> tuple[int, Response]:
    told = (line.get("request") or {}).get("labels") or {}
    place = place_of(str(told.get(_PLACE, "")), len(requests))
    if status := line.get("status"):
        return place, failed_row(traits, str(status))
    if not line.get("response"):
        return place, failed_row(traits, "no answer and no reason")
    return place, to_response(line["response"], requests[place], traits.model, tier="batch")
