"""What a request for a batch may hold at either service, and the lines of its input.

What a line asks is looked at when it runs, since a faulty one spoils no other; what is no line with
a request spoils the whole input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...core import Json
from .. import Refusal
from ..bodies import read_json
from ..openai.batch_lines import lines_of
from .forms import anything, each, long, mapped, message, struct, text

__all__ = ["MOST_LINES", "BadLines", "at_developer", "at_vertex", "requests_of"]

MOST_LINES = 100_000
MOST_TOLD = 50
ITEM = message({"request": struct, "metadata": struct}, required=("request",))
TOLD = ("name", "state", "createTime", "startTime", "endTime", "updateTime", "error")
BATCH = message({
    "batch": message({
        "model": text, "displayName": text, "priority": long,
        "inputConfig": message({
            "fileName": text, "requests": message({"requests": each(ITEM)}),
        }),
        **dict.fromkeys((*TOLD, "batchStats", "output"), anything),
    }),
}, required=("batch",))  # fmt: skip
NOT_THERE = {
    "bigquerySource": "BigQuery is not read: put the requests into gs:// as JSONL",
    "bigqueryDestination": "BigQuery is not written: give a gcsDestination",
    "vertexMultimodalDatasetSource": "put the requests into gs:// as JSONL",
    "vertexMultimodalDatasetDestination": "give a gcsDestination",
}
OTHER_PLACES = dict.fromkeys(NOT_THERE, anything)
UNUSED = (
    "completionStats", "outputInfo", "partialFailures", "resourcesConsumed", "satisfiesPzi",
    "satisfiesPzs", "modelVersionId", "serviceAccount", "encryptionSpec",
    "disableContainerLogging",
)  # fmt: skip
REFUSED = (
    "unmanagedContainerModel", "endpoint", "dedicatedResources", "manualBatchTuningParameters",
    "generateExplanation", "explanationSpec", "modelMonitoringConfig", "instanceConfig",
    "modelParameters", "modelMonitoringStatsAnomalies", "modelMonitoringStatus",
)  # fmt: skip
JOB = message({
    "model": text, "displayName": text, "labels": mapped(text),
    "inputConfig": message({
        "instancesFormat": text, "gcsSource": message({"uris": each(text)}), **OTHER_PLACES,
    }),
    "outputConfig": message({
        "predictionsFormat": text, "gcsDestination": message({"outputUriPrefix": text}),
        **OTHER_PLACES,
    }),
    **dict.fromkeys((*TOLD, *UNUSED, *REFUSED), anything),
}, required=("model", "inputConfig", "outputConfig"))  # fmt: skip
OBJECT = re.compile(r"gs://[^/*]+/[^*]+", re.DOTALL)
PREFIX = re.compile(r"gs://[^/]+(/.*)?", re.DOTALL)


class BadLines(Exception):
    """An input that makes no batch: `rows` are its lines at fault."""

    def __init__(self, message: str, rows: list[dict[str, Json]] | None = None) -> None:
        super().__init__(message)
        self.rows = rows or []

    def record(self) -> dict[str, Json]:
        """What the batch keeps of it."""
        return {"reason": "invalid", "message": str(self), "rows": self.rows}


def at_developer(body: Json) -> dict[str, Any]:
    """The batch of a `:batchGenerateContent`; raises Refusal naming the field at fault."""
    asked: dict[str, Any] = BATCH(body, "")["batch"]
    place = "batch.inputConfig"
    source = asked.get("inputConfig", {})
    if len(source) != 1:
        raise Refusal(
            "invalid", f"{place!r} has to hold 'requests' or 'fileName', one of them", param=place
        )
    if "requests" in source and not source["requests"].get("requests"):
        raise Refusal("invalid", "there are no requests", param=f"{place}.requests")
    if asked.get("priority"):
        raise Refusal(
            "unsupported",
            "batches have no priority here: they run in the order they came",
            param="batch.priority",
        )
    return asked


def at_vertex(body: Json) -> dict[str, Any]:
    """A `BatchPredictionJob` to make; raises Refusal naming the field at fault."""
    asked: dict[str, Any] = JOB(body, "")
    for name in REFUSED:
        if name in asked:
            raise Refusal("unsupported", f"{name!r} is not supported", param=name)
    for name in (*TOLD, *UNUSED):
        asked.pop(name, None)
    source, target = asked["inputConfig"], asked["outputConfig"]
    for place, config, form in (
        ("inputConfig", source, "instancesFormat"),
        ("outputConfig", target, "predictionsFormat"),
    ):
        for name, cure in NOT_THERE.items():
            if name in config:
                param = f"{place}.{name}"
                raise Refusal("unsupported", f"{param!r} is not supported", hint=cure, param=param)
        if config.get(form, "jsonl") != "jsonl":
            param = f"{place}.{form}"
            raise Refusal("unsupported", f"{param!r} has to be 'jsonl'", param=param)
    _check_places(source, target)
    return asked


def requests_of(pieces: Iterable[bytes], most_bytes: int) -> Iterator[dict[str, Json]]:
    """The lines of an input; raises BadLines at the end where some are none, or there are none."""
    faults: list[dict[str, Json]] = []
    count = 0
    for number, line in lines_of(pieces):
        count += 1
        if count > MOST_LINES:
            raise BadLines(f"a batch has at most {MOST_LINES:,} requests")
        found = _line(line, most_bytes)
        if isinstance(found, str):
            faults.append({"line": number, "message": found})
            if len(faults) == MOST_TOLD:
                break
        elif not faults:
            yield found
    if faults:
        raise BadLines(f"line {faults[0]['line']}: {faults[0]['message']}", faults)
    if not count:
        raise BadLines("the input has no requests")


def _line(line: bytes, most_bytes: int) -> dict[str, Json] | str:
    """The line's object, or what is wrong with it."""
    if len(line) > most_bytes:
        return f"the line has more than {most_bytes} bytes"
    try:
        found = read_json(line)
    except Refusal as refusal:
        return refusal.message.replace("the body", "the line")
    if not isinstance(found, dict):
        return "the line is no object"
    if not isinstance(found.get("request"), dict):
        return "the line has no 'request', which has to be an object"
    return found


def _check_places(source: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    uris = source.get("gcsSource", {}).get("uris")
    if not uris:
        raise Refusal(
            "invalid", "there is no input: give gs:// URIs", param="inputConfig.gcsSource.uris"
        )
    for uri in uris:
        if not OBJECT.fullmatch(uri):
            raise Refusal(
                "invalid",
                f"{uri[:200]!r} is no object of Cloud Storage",
                hint="name each as gs://BUCKET/NAME; wildcards are not read",
                param="inputConfig.gcsSource.uris",
            )
    prefix = target.get("gcsDestination", {}).get("outputUriPrefix", "")
    if not PREFIX.fullmatch(prefix):
        raise Refusal(
            "invalid",
            f"{prefix[:200]!r} is no place in Cloud Storage",
            hint="give gs://BUCKET/FOLDER",
            param="outputConfig.gcsDestination.outputUriPrefix",
        )
