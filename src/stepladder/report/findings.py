"""What `init` guessed and what `check` found, as lines for people."""

from __future__ import annotations

from collections.abc import Mapping

from ..core import Json
from ..data.checks import CheckReport
from ..data.findings import Finding
from ..data.init import Guess, InitReport

__all__ = ["check_text", "init_text"]


def check_text(report: CheckReport) -> str:
    """Problems, warnings, then what is known of the data; each finding with its place and cure."""
    lines = []
    for title, findings in (("problems", report.problems), ("warnings", report.warnings)):
        if findings:
            lines.append(f"{title}:")
            lines += [line for finding in findings for line in _lines(finding)]
    lines += [
        f"{name}: {_fact(value)}" for name, value in report.facts.items() if value is not None
    ]
    end = "not usable as it is" if report.problems else "ready to climb"
    return "\n".join([*lines, end])


def init_text(report: InitReport) -> str:
    """What was guessed, and what is left to do."""
    many = "1 example" if report.examples == 1 else f"{report.examples} examples"
    lines = [f"{report.folder}: {', '.join(report.files)} ({many})"]
    if report.warnings:
        lines += ["beware:", *(f"  {warning}" for warning in report.warnings)]
    lines.append("guessed:")
    lines += [f"  {_guess(guess)}" for guess in report.guesses]
    lines += ["next:", *(f"  {step}" for step in report.next)]
    return "\n".join(lines)


def _guess(guess: Guess) -> str:
    value = "left to you" if guess.value is None else repr(guess.value)
    return f"{guess.key:16} {value}: {guess.reason}"


def _lines(finding: Finding) -> list[str]:
    place = f"{finding.place}: " if finding.place else ""
    times = f" (and {finding.count - 1} more like it)" if finding.count > 1 else ""
    cure = [f"      {finding.cure}"] if finding.cure else []
    return [f"  {place}{finding.message}{times}", *cure]


def _fact(value: Json) -> str:
    if isinstance(value, Mapping):
        few = list(value.items())[:5]
        more = f", … ({len(value)} in all)" if len(value) > len(few) else ""
        return ", ".join(f"{name} {_fact(inner)}" for name, inner in few) + more
    return f"{value:.4g}" if isinstance(value, float) else str(value)
