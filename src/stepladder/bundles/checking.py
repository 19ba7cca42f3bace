"""The check before a bundle becomes current: its endpoint against its trial; kept beside it.

    <task>/bundles/checks/<hash>.json

One that passed is not repeated. What is compared is in `served.py`, the server in `endpoint.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core import Json
from ..metrics import load_metric
from ..solvers import content_hash
from ..store import read_rows, rows_name
from .bundle import Bundle
from .chosen import Chosen
from .endpoint import ask_endpoint, serving
from .manifest import bundle_disk
from .served import MOST, NOISE, NotServed, ServedCheck, check_served

__all__ = ["ServedAsMeasured", "check_of"]

CHECKS = "checks"
SCHEMA = "stepladder.served/1"
MERGED = (
    "\n  a tuned model was measured with merged weights and served by its adapter: --merged serves "
    "what was measured, on an engine of its own"
)
Tell = Callable[[int, int], None]


class ServedAsMeasured:
    """Checks that a bundle is served as it was measured; options as of `check_served`.

    `tell` is told how many examples are answered, and of how many.
    """

    def __init__(
        self,
        *,
        noise: float = NOISE,
        most: int = MOST,
        tell: Tell = lambda done, of: None,
    ) -> None:
        self._noise = noise
        self._most = most
        self._tell = tell

    def __call__(self, bundle: Bundle, chosen: Chosen) -> dict[str, Json]:
        """The record of the check, from an earlier one that passed if there is one.

        Raises:
            NotServed: the endpoint answers differently; the record names the examples.
            MissingExtra: the packages of the server are not installed.
            StepladderError: the bundle cannot be served, or the trial's answers are gone.
        """
        found = check_of(bundle.folder)
        if found is not None and found["passed"]:
            return found
        trial = chosen.trial
        name = rows_name(
            trial["step"], trial["solver"], content_hash(chosen.solver)[:8], trial["set"]
        )
        rows = list(read_rows(chosen.run / "rows" / name))
        task = replace(bundle.task, folder=chosen.run.resolve().parent.parent)
        metric = load_metric(task)
        with serving(bundle.folder) as (url, model):
            check = check_served(
                bundle.id,
                rows,
                metric,
                ask_endpoint(url, model, tell=self._tell),
                noise=self._noise,
                most=self._most,
            )
        path = _path(bundle.folder)
        record = _keep(check, path)
        if not check.passed:
            raise NotServed(
                f"{trial['step']}/{trial['solver']} is not served as it was measured: {check.why}",
                hint=f"{str(path)!r} has the examples that differ; it did not become current"
                + (MERGED if any(model.adapter for model in bundle.models) else ""),
                check=check,
            )
        return record


def check_of(bundle: Path) -> dict[str, Any] | None:
    """The record of the last check of the bundle in this folder; None without a readable one."""
    try:
        record = json.loads(_path(bundle).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return None
    return record if record.get("bundle") == bundle.name else None


def _path(bundle: Path) -> Path:
    return bundle.parent / CHECKS / f"{bundle.name}.json"


def _keep(check: ServedCheck, path: Path) -> dict[str, Json]:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"schema": SCHEMA, "at": at, **asdict(check)}
    text = json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n"
    with bundle_disk(path, "write"):
        path.parent.mkdir(exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, path)
    return dict(json.loads(text))
