"""Other libraries' progress bars and warnings about one another, kept from the user's terminal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger
from typing import Any

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar of another library, no warning about how two libraries call each other."""
    from transformers.utils import logging as chatter

    logging: Any = chatter  # its functions are untyped

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    # which kernels it could not load is nothing that a user of LoRA has to know
    four_bits = getLogger("bitsandbytes")
    level = four_bits.level
    four_bits.setLevel(ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
            yield
    finally:
        four_bits.setLevel(level)
        if shown:
            logging.enable_progress_bar()
