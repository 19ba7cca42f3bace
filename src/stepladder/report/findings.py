"""What `init` guessed and what `check` found, as lines for people."""

from __future__ import annotations

from ..data.checks import CheckReport
from ..data.findings import Finding
from ..data.init import InitReport

__all__ = ["check_text", "init_text"]


def check_text(report: CheckReport) -> str:
    """Problems first, then warnings, then what is known of the data; each with its place and cure."""
    lines = []
    for title, findings in (("problems", report.problems), ("warnings", report.warnings)):
        if findings:
            lines.append(f"{title}:")
            lines += [line for finding in findings for line in _lines(finding)]
    lines += [f"{name}: {value}" for name, value in report.facts.items()]
    end = "not usable as it is" if report.problems else "ready to climb"
    return "\n".join([*lines, end])


def init_text(report: InitReport) -> str:
    """What was guessed, and what is left to do."""
    return str(report)


def _lines(finding: Finding) -> list[str]:
    place = f"{finding.place}: " if finding.place else ""
    times = f" (and {finding.count - 1} more like it)" if finding.count > 1 else ""
    cure = [f"      {finding.cure}"] if finding.cure else []
    return [f"  {place}{finding.message}{times}", *cure]
