"""What `deploy` and `rollback` did, and the bundles there are, as lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..bundles import Deployed, Move
from .words import percent

if TYPE_CHECKING:
    from ..bundles.checking import ServedAsMeasured

__all__ = ["bundles_text", "checking", "deployed_text", "moved_text"]

SHORT = 12  # characters of a hash that people read


def deployed_text(done: Deployed) -> str:
    """Which bundle is current now, and whether anything was done for it."""
    title = f"{done.step}/{done.solver}"
    if not done.moved:
        lines = [f"{title} is current already: nothing was changed"]
    else:
        before = f", in place of {done.before[:SHORT]}" if done.before else ""
        lines = [f"{title} is current now{before}"]
        if not done.made:
            lines.append("it was bundled before, and that bundle was taken")
    if not done.confirmed:
        lines.append("it was NOT confirmed on the sealed test; its bundle says so")
    if done.served is not None:
        lines.append(_served(done.served))
    lines += [f"the licence of {base!r} is not known: look it up" for base in done.unlicensed]
    return "\n".join([*lines, f"bundle: {done.folder}"])


@contextmanager
def checking(*, quiet: bool) -> Iterator[ServedAsMeasured]:
    """The check of a deploy, with a bar of its progress unless `quiet` or nobody looks."""
    from rich.console import Console
    from rich.progress import Progress

    from ..bundles.checking import ServedAsMeasured

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("served as measured?", total=None)
        yield ServedAsMeasured(tell=lambda done, of: bar.update(task, completed=done, total=of))


def _served(check: Mapping[str, Any]) -> str:
    alike = check["n"] - check["differing"]
    return (
        f"served as measured: {alike} of {check['n']} answers alike, "
        f"{percent(check['served_score'])} against {percent(check['measured_score'])}"
    )


def moved_text(move: Move) -> str:
    """From what to what."""
    before = move.before[:SHORT] if move.before else "nothing"
    return f"{move.after[:SHORT]} is current now, in place of {before}"


def bundles_text(found: Sequence[Mapping[str, Any]]) -> str:
    """One line per bundle, the newest first; `*` marks the current."""
    if not found:
        return "no bundles"
    return "\n".join(map(_line, found))


def _line(one: Mapping[str, Any]) -> str:
    mark = "*" if one["current"] else " "
    head = f"{mark} {one['bundle'][:SHORT]}  {one['made']}"
    if "problem" in one:
        return f"{head}  {one['problem']}"
    least = f", at least {one['low']:.3f}" if one["confirmed"] else "; not confirmed"
    scored = f"{one['score']:.3f} on {one['n']} of {one['set']}{least}"
    return f"{head}  {one['step']}/{one['solver']}  {scored}"
