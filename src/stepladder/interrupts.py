"""Where Ctrl-C has to wait: between a paid answer's coming and its being kept.

Python raises KeyboardInterrupt wherever the main thread happens to be. In the few lines through
which a paid answer goes to the disk that would lose it, and those of the calls under way with it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["allowed", "came_first", "held", "hold_back", "none_yet"]


class _State:
    """Of the main thread, the only one that is interrupted."""

    held = False
    came = False  # an interrupt, while it was held back
    count = 0  # of interrupts, where a handler tells of them


def none_yet() -> None:
    """For who sets a handler of the signal: it will tell of each, by `hold_back`."""
    _State.count = 0


def came_first() -> bool:
    """Whether the interrupt that was raised is known to be the first one."""
    return _State.count == 1


def hold_back() -> bool:
    """For a handler of the signal: whether it is to raise nothing now. Not for a second one."""
    _State.count += 1
    back = _State.held and not _State.came
    _State.came = _State.came or back
    return back


@contextmanager
def held() -> Iterator[None]:
    """Interrupts wait until the end of this, or until `allowed` within it.

    Where this ends with an exception, that one is raised: whoever handles the signal knows.
    """
    try:
        with _set(held=True):
            yield
    except BaseException:
        _came()  # not to be raised later, out of something else
        raise
    if _came():
        raise KeyboardInterrupt


@contextmanager
def allowed() -> Iterator[None]:
    """Interrupts are raised here, and one that was held back at once."""
    with _set(held=False):
        if _came():
            raise KeyboardInterrupt
        yield


@contextmanager
def _set(*, held: bool) -> Iterator[None]:
    if not _in_main_thread():
        yield
        return
    before, _State.held = _State.held, held
    try:
        yield
    finally:
        _State.held = before


def _came() -> bool:
    """Whether an interrupt was held back that may be raised now; said once."""
    came = _State.came and not _State.held and _in_main_thread()
    if came:
        _State.came = False
    return came


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
