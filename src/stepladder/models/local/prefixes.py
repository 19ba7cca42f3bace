"""The engine's prefix cache, kept track of: what is in it, who waits for it, who may find what.

The engine keeps computed blocks of tokens and finds them again by their ids. It does not tell what
it has; it knows of no adapters; and it also finds blocks that are filled in part, and then lets two
prompts that go on differently write into the same one. So the first id of each block that is not
known to be computed gets an offset that nothing else has, and those that are known get the one they
were computed with: the engine finds whole blocks that are really there, and nothing else. The graph
takes an id with any offset for the same token (`ir.stride`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, repeat

import numpy as np
import numpy.typing as npt

__all__ = ["Prefixes"]

_BLOCK = 32  # tokens; what the engine keeps and finds again on a CPU
_WORTH_WAITING = 64  # tokens; a shorter beginning is computed again sooner than waited for
_LARGEST_ID = (1 << 31) - 1  # the CPU device counts in 32 bits

_Array = npt.NDArray[np.int64]
_Ids = Sequence[int] | _Array


@dataclass(slots=True)
class _Admitted:
    ids: _Array
    group: Hashable
    marks: tuple[int, ...]  # of its first blocks; those after them have none
    computed: bool = False


class Prefixes:
    """Prompts under way, and the blocks of tokens that have been computed.

    A prompt finds a shared beginning only if it was computed when the prompt was admitted. So while
    one prompt with a long beginning is being computed, others with the same beginning wait, and
    prompts with another beginning may go first. What is waited for is always running, so that
    nobody waits for longer than one prompt takes. Prompts of different groups share nothing.

    Of an engine that keeps `capacity_tokens`, the half that was used last is counted on: in which
    order it drops the rest is its own affair. A mark is used again only after so many others that
    the engine has long dropped what had it.
    """

    def __init__(self, capacity_tokens: int, stride: int) -> None:
        self._admitted: dict[int, _Admitted] = {}
        self._blocks: OrderedDict[int, int] = OrderedDict()  # a block and all before it: its mark
        self._most_blocks = capacity_tokens // _BLOCK // 2
        self._stride = stride
        self._marks = cycle(range(1, _LARGEST_ID // stride))

    def cached_tokens(self, ids: _Ids, group: Hashable = None) -> int:
        """How many tokens at the beginning of a prompt need not be computed again.

        Its last token always is.
        """
        known = sum(1 for _ in self._known(np.asarray(ids, dtype=np.int64), group))
        return min(known * _BLOCK, max(len(ids) - 1, 0))

    def must_wait(self, ids: _Ids, group: Hashable = None) -> bool:
        """Whether a beginning of a prompt that would be worth finding is being computed now."""
        pending = [one.ids for one in self._admitted.values() if self._is_pending(one, group)]
        if not pending:
            return False
        prompt = np.asarray(ids, dtype=np.int64)
        shared = max(_shared(prompt, other) for other in pending)
        return (
            shared >= _WORTH_WAITING
            and shared - self.cached_tokens(prompt, group) >= _WORTH_WAITING
        )

    def admit(self, key: int, ids: _Ids, group: Hashable = None) -> tuple[_Array, int]:
        """The ids to give to the engine now, and how many of them it has computed already.

        The prompt is called `key` until it is gone.
        """
        prompt = np.asarray(ids, dtype=np.int64)
        marks = list(self._known(prompt, group))
        if len(marks) * _BLOCK < len(prompt):
            marks.append(next(self._marks))
        self._admitted[key] = _Admitted(prompt, group, tuple(marks))
        given = prompt.copy()
        given[: len(marks) * _BLOCK : _BLOCK] += np.array(marks, dtype=np.int64) * self._stride
        return given, self.cached_tokens(prompt, group)

    def computed(self, key: int) -> None:
        """The prompt called `key` has been computed; nothing if that was said before."""
        one = self._admitted[key]
        if not one.computed:
            one.computed = True
            self._keep(one, one.ids)

    def gone(self, key: int, made: Sequence[int] = ()) -> None:
        """The sequence called `key` is over, with all that it `made`, if that was computed."""
        one = self._admitted.pop(key)
        if one.computed and made:  # of the last token only the id is known
            more = np.array(made[:-1], dtype=np.int64)
            self._keep(one, np.concatenate([one.ids, more]))

    def forget(self) -> None:
        """The cache has been full: count on nothing that is in it now."""
        self._blocks.clear()

    def _is_pending(self, one: _Admitted, group: Hashable) -> bool:
        return not one.computed and one.group == group

    def _known(self, ids: _Array, group: Hashable) -> Iterator[int]:
        """The marks of the blocks at the beginning of `ids` that are computed."""
        before = hash(group)
        for block in _whole_blocks(ids):
            number = hash((before, block))
            mark = self._blocks.get(number)
            if mark is None:
                return
            yield mark
            before = hash((number, mark))

    def _keep(self, one: _Admitted, ids: _Array) -> None:
        """Remember the whole blocks of `ids`, which `one` was admitted with or made."""
        before = hash(one.group)
        for block, mark in zip(_whole_blocks(ids), chain(one.marks, repeat(0)), strict=False):
            number = hash((before, block))
            if self._blocks.setdefault(number, mark) != mark:
                break  # another sequence was first: what follows here cannot be found
            self._blocks.move_to_end(number)
            before = hash((number, mark))
        while len(self._blocks) > self._most_blocks:
            self._blocks.popitem(last=False)


def _whole_blocks(ids: _Array) -> Iterator[bytes]:
    for start in range(0, len(ids) - _BLOCK + 1, _BLOCK):
        yield ids[start : start + _BLOCK].tobytes()


def _shared(first: _Array, second: _Array) -> int:
    size = min(len(first), len(second))
    differ = first[:size] != second[:size]
    return int(differ.argmax()) if differ.any() else size
