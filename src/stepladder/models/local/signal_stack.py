"""Where this thread handles signals: put back once an engine is gone.

OpenVINO's CPU plugin gives the calling thread an alternate signal stack, large enough for AMX
registers, and frees it with the engine without telling the kernel. Python's handlers run on such a
stack, so the next Ctrl-C would write into freed memory and kill the process.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["restore_signal_stack", "signal_stack"]


class _Stack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack() -> _Stack | None:
    """The alternate signal stack of this thread; None where that is not known how to ask."""
    if sys.platform != "linux":
        return None
    stack = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack


def restore_signal_stack(stack: _Stack | None) -> None:
    """Handle this thread's signals where `signal_stack` said that they were handled."""
    if stack is not None:
        ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None)
