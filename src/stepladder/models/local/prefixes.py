"""What the engine's prefix cache holds, and who waits so that no beginning is computed twice.

The engine does not tell; this keeps the same books beside it. The engines ask before they admit a
prompt, and say what has been computed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Prefixes"]

_BLOCK = 32  # tokens; what the engine keeps and finds again on a CPU
_WORTH_WAITING = 64  # tokens; a shorter beginning is computed again sooner than waited for

_Ids = Sequence[int] | npt.NDArray[np.int64]


class Prefixes:
    """Prompts under way, and the blocks of tokens that have been computed.

    A prompt finds a shared beginning in the engine's cache only if it was there when the prompt was
    admitted. So while one prompt with a long beginning is being computed, others with the same
    beginning wait, and prompts with another beginning may go first. What is waited for is always
    running, so that nobody waits for longer than one prompt takes.

    Of an engine that keeps `capacity_tokens`, the half that was used last is counted on: in which
    order it drops the rest is its own affair.
    """

    def __init__(self, capacity_tokens: int) -> None:
        self._pending: dict[int, npt.NDArray[np.int64]] = {}  # admitted, not yet computed
        self._blocks: OrderedDict[int, None] = OrderedDict()  # each stands for all before it too
        self._most_blocks = capacity_tokens // _BLOCK // 2

    def cached_tokens(self, ids: _Ids) -> int:
        """How many tokens at the beginning of a prompt need not be computed again, at least.

        Its last token always is.
        """
        count = 0
        for block in _chain(ids):
            if block not in self._blocks:
                break
            count += _BLOCK
        return min(count, max(len(ids) - 1, 0))

    def must_wait(self, ids: _Ids) -> bool:
        """Whether a beginning of a prompt that would be worth finding is being computed now."""
        if not self._pending:
            return False
        prompt = np.asarray(ids, dtype=np.int64)
        shared = max(_shared(prompt, other) for other in self._pending.values())
        return shared >= _WORTH_WAITING and shared - self.cached_tokens(prompt) >= _WORTH_WAITING

    def admitted(self, key: int, ids: _Ids) -> None:
        """A prompt is being computed from now on, and is called `key` until it has been."""
        self._pending[key] = np.asarray(ids, dtype=np.int64)

    def computed(self, key: int) -> None:
        """The prompt called `key` is in the cache; nothing if it was said before."""
        ids = self._pending.pop(key, None)
        if ids is not None:
            self.keep(ids)

    def gone(self, key: int) -> None:
        """The prompt called `key` will not be computed to its end."""
        self._pending.pop(key, None)

    def keep(self, ids: _Ids) -> None:
        """These tokens are in the cache: a prompt, or a prompt and its answer."""
        for block in _chain(ids):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._most_blocks:
            self._blocks.popitem(last=False)

    def forget(self) -> None:
        """The cache has been full: count on nothing in it."""
        self._blocks.clear()


def _chain(ids: _Ids) -> Iterator[int]:
    """A number for each whole block, which depends on all tokens up to its end."""
    array = np.asarray(ids, dtype=np.int64)
    number = 0
    for start in range(0, len(array) - _BLOCK + 1, _BLOCK):
        number = hash((number, array[start : start + _BLOCK].tobytes()))
        yield number


def _shared(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> int:
    size = min(len(first), len(second))
    differ = first[:size] != second[:size]
    return int(differ.argmax()) if differ.any() else size
