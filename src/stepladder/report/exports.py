"""What `export` wrote, as lines."""

from __future__ import annotations

from ..exports import Exported
from .words import percent

__all__ = ["exported_text"]


def exported_text(done: Exported) -> str:
    """Where it is, whether it answers as measured, and what its user has to know."""
    check = done.check
    lines = [
        f"{done.step}/{done.solver} as {done.to}: {done.folder} ({done.bytes / 1e6:.1f} MB)",
        f"answers as measured: {check.n - check.differing} of {check.n} alike, "
        f"{percent(check.served_score)} against {percent(check.measured_score)}, "
        f"asked by {done.asked_by}",
    ]
    if not done.confirmed:
        lines.append("it was NOT confirmed on the sealed test; its card says so")
    if done.licence is None:
        lines.append("the licence of its base is not known: look it up")
    lines += [f"note: {note}" for note in done.notes]
    return "\n".join([*lines, f"card: {done.folder / 'README.md'}"])
