"""Whose turn it is, so that no beginning which prompts share is computed twice.

Only decides who waits; the engines ask before they admit a prompt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Prefixes"]

_WORTH_WAITING = 64  # tokens; a shorter beginning is computed again sooner than waited for
_LEADERS = 1024  # a forgotten one costs no more than a wait that was not needed


class Prefixes:
    """Prompts under way, and beginnings that have been computed.

    A prompt finds a shared beginning in the engine's cache only if it was there when the prompt was
    admitted. So while one prompt with a long beginning is being computed, others with the same
    beginning wait, and prompts with another beginning may go first. What is waited for is always
    running, so that nobody waits for longer than one prompt takes.
    """

    def __init__(self) -> None:
        self._pending: dict[int, npt.NDArray[np.int64]] = {}  # admitted, not yet computed
        self._leaders: deque[npt.NDArray[np.int64]] = deque(maxlen=_LEADERS)

    def must_wait(self, prompt: Sequence[int] | npt.NDArray[np.int64]) -> bool:
        """Whether a beginning of `prompt` that would be worth finding is being computed now."""
        if not self._pending:
            return False
        ids = np.asarray(prompt, dtype=np.int64)
        shared = max(_shared(ids, other) for other in self._pending.values())
        return shared >= _WORTH_WAITING and not self._is_known(ids, shared)

    def admitted(self, key: int, prompt: Sequence[int] | npt.NDArray[np.int64]) -> None:
        """`prompt` is being computed from now on, and is called `key` until it has been."""
        self._pending[key] = np.asarray(prompt, dtype=np.int64)

    def computed(self, key: int) -> None:
        """The prompt called `key` is in the cache; nothing if it was said before."""
        ids = self._pending.pop(key, None)
        if ids is not None and not self._is_known(ids, len(ids)):
            self._leaders.append(ids)  # it has a beginning that no other had before

    def gone(self, key: int) -> None:
        """The prompt called `key` will not be computed to its end."""
        self._pending.pop(key, None)

    def _is_known(self, ids: npt.NDArray[np.int64], shared: int) -> bool:
        return any(_shared(ids, leader) > shared - _WORTH_WAITING for leader in self._leaders)


def _shared(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> int:
    size = min(len(first), len(second))
    differ = first[:size] != second[:size]
    return int(differ.argmax()) if differ.any() else size
