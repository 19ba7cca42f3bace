"""How a thread that works for a caller hears that the caller has left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .. import Refusal

__all__ = ["Leaving"]


class Leaving:
    """Whether a caller has left, and what is to be done about it at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = False
        self._enders: list[Callable[[], None]] = []

    def leave(self) -> None:
        """The caller has left; ends what goes on. Nothing the second time."""
        with self._lock:
            self._left = True
            enders, self._enders = self._enders, []
        for end in enders:
            end()

    def check(self) -> None:
        """Raise Refusal where there is nobody to work for any more."""
        if self._left:
            raise Refusal("timeout", "the caller left before the answer was there")

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """While this is open, `end` is called when the caller leaves, from another thread."""
        with self._lock:
            left = self._left
            if not left:
                self._enders.append(end)
        if left:
            end()
        try:
            yield
        finally:
            with self._lock:
                if end in self._enders:
                    self._enders.remove(end)
