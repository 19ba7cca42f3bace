"""report.html: one file that opens from disk, needs no network and trusts no data.

Data reaches the page as escaped text or as JSON with its angle brackets escaped; a content
security policy names the hash of each of our own scripts, so nothing else can run, and forbids
every connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..core import Decision, Json, Task
from ..errors import StoreError
from . import charts, cost_charts, page, page_facts
from .failures import failing_examples
from .picks import best_trial, owner_of
from .record import decision_record, plain
from .verdict import verdict_sentence

__all__ = ["decision_html", "render_page", "render_report", "write_page", "write_report"]

HERE = Path(__file__).parent
SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-interpreter.js", "report.js")


def write_report(path: str | Path, decision: Decision, task: Task, run: Mapping[str, Any]) -> Path:
    """Write the report and give its path; it is replaced whole, never left half written.

    Args:
        path: the file, or a folder that gets a `report.html`.
        decision: what was decided.
        task: what was asked.
        run: when, where and on what; a missing key shows as "not recorded". `run["rows"](step,
            name, set)` yields the lines of a rows file, for the failing examples.

    Raises:
        StoreError: the file cannot be written.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "report.html"
    return write_page(file, render_report(decision, task, run))


def write_page(file: Path, text: str) -> Path:
    """Write a page and give its path; raises StoreError, and never leaves it half written."""
    partial = ""
    try:
        descriptor, partial = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as sink:
            sink.write(text)
        Path(partial).chmod(0o644)
        Path(partial).replace(file)
    except OSError as error:
        if partial:
            Path(partial).unlink(missing_ok=True)
        raise StoreError(
            f"the report {str(file)!r} cannot be written: {error.strerror}",
            hint="free some space, or name another place for it",
        ) from error
    return file


def render_report(decision: Decision, task: Task, run: Mapping[str, Any]) -> str:
    """The whole page as text."""
    failures = failing_examples(decision, run.get("rows"))
    views = {
        "verdict": page.verdict_view(decision, task, run),
        "ladder": page.ladder_view(decision, decision_record(decision, task, run)),
        "gains": page.gains_view(decision),
        "frontier": page_facts.frontier_view(decision),
        "steps": page.steps_view(decision),
        "failures": page.failures_view(decision, failures, task),
        "learning": page_facts.learning_view(decision),
        "costs": page_facts.costs_view(decision, task),
        "data": page_facts.data_view(task, run),
        "method": page_facts.method_view(decision, task, run),
    }
    title = f"{task.name}: {decision.verdict.replace('_', ' ')}"
    return render_page("report.html.j2", title, _charts(decision, task), views)


def render_page(
    template: str, title: str, drawn: Mapping[str, Json], views: Mapping[str, Any]
) -> str:
    """A page as text: a template that fills the shell, its charts by name and its views."""
    scripts = [_script(name) for name in SCRIPTS]
    return str(
        _templates().get_template(template).render(
            title=title,
            policy=_policy(scripts),
            style=_static("report.css"),
            scripts=scripts,
            chart_data=escaped_json(dict(drawn)),
            charts=drawn,
            **views,
        )
    )  # fmt: skip


def decision_html(decision: Decision, task: Task) -> str:
    """A small fragment for notebooks: the verdict in a sentence and the ladder as a table."""
    return str(
        _templates().get_template("fragment.html.j2").render(
            sentence=verdict_sentence(decision_record(decision, task, {})),
            verdict=page.verdict_view(decision, task, {}),
            ladder=page.ladder_view(decision),
        )
    )  # fmt: skip


def escaped_json(value: Json) -> str:
    """JSON that is safe inside a script element: no angle bracket, ampersand or line separator."""
    text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _charts(decision: Decision, task: Task) -> dict[str, Json]:
    own = owner_of(decision, best_trial(decision))
    every = {
        "forest": charts.forest(decision, task),
        "gains": charts.gains(decision),
        "frontier": charts.frontier(decision, task),
        "learning": charts.learning(decision.trials),
        "cost_curve": cost_charts.cost_curve(decision, task),
        "sensitivity": cost_charts.sensitivity(own) if own else None,
    }
    return {name: spec for name, spec in every.items() if spec is not None}


def _policy(scripts: list[str]) -> str:
    allowed = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _script(name: str) -> str:
    """A script as it stands in the page; a map that nobody can fetch is not mentioned."""
    lines = _static(name).splitlines()
    text = "\n".join(line for line in lines if not line.startswith("//# sourceMappingURL"))
    assert "</script" not in text.lower(), f"{name} would end its own script element"
    return text


@cache
def _static(name: str) -> str:
    return (HERE / "static" / name).read_text(encoding="utf-8")


@cache
def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
