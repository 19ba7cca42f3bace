"""What `init` guessed and what `check` found, as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..core import Json
from ..data.checks import CheckReport
from ..data.findings import Finding
from ..data.init import Guess, InitReport

__all__ = ["check_text", "init_text"]

PLACES = 3  # of findings that say the same


def check_text(report: CheckReport) -> str:
    """Problems, warnings, then what is known of the data; each finding with its place and cure."""
    lines = []
    for title, findings in (("problems", report.problems), ("warnings", report.warnings)):
        if findings:
            lines.append(f"{title}:")
            lines += [line for alike in _alike(findings) for line in _lines(alike)]
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


def _alike(findings: Sequence[Finding]) -> Iterable[list[Finding]]:
    """Findings that say the same, together, in the order of the first of each."""
    said: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        said.setdefault((finding.message, finding.cure), []).append(finding)
    return said.values()


def _lines(alike: Sequence[Finding]) -> list[str]:
    """What they say, once, with the first places, and what to do."""
    first = alike[0]
    places = [finding.place for finding in alike if finding.place]
    place = f"{', '.join(places[:PLACES])}: " if places else ""
    more = sum(finding.count for finding in alike) - max(1, min(len(places), PLACES))
    times = f" (and {more} more like it)" if more else ""
    cure = [f"      {first.cure}"] if first.cure else []
    return [f"  {place}{first.message}{times}", *cure]


def _fact(value: Json) -> str:
    if isinstance(value, Mapping):
        few = list(value.items())[:5]
        more = f", … ({len(value)} in all)" if len(value) > len(few) else ""
        return ", ".join(f"{name} {_fact(inner)}" for name, inner in few) + more
    return f"{value:.4g}" if isinstance(value, float) else str(value)
