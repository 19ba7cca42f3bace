"""What the steps on the text encoder share: whether it is here and can read train, and a tuned one.

Which heads stand on it, and what it is tuned to, is for `heads.py` and `encoder.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core import Candidate, Example
from ..encoders.running import encoder_files
from ..errors import ModelError, NotApplicable
from ..solvers.prompt import render_input
from ..trainers.encoder_jobs import FittedEncoder
from .baseline import has_media
from .speed import on_this_processor

__all__ = ["characters_of", "check_readable", "need_encoder", "seconds_to_tune", "tuned"]

CHARACTERS_PER_TOKEN = 4.0
TOKENS_PER_SECOND = 1500.0  # learnt on one core with bfloat16 products


def check_readable(train: Sequence[Example]) -> None:
    """Raise NotApplicable where an input is not text alone."""
    if has_media(train):
        raise NotApplicable("a text encoder reads no images, sound or other files")


def need_encoder() -> None:
    """Raise NotApplicable where the encoder's weights cannot be had: other steps do without."""
    try:
        encoder_files(None)
    except ModelError as error:
        raise NotApplicable(error.message, hint=error.hint) from error


def characters_of(train: Sequence[Example]) -> int:
    """The length of all inputs."""
    return sum(len(render_input(example.input)) for example in train)


def seconds_to_tune(characters: int, passes: float) -> float:
    """Assumed from runs on 2 cores."""
    return passes * characters / CHARACTERS_PER_TOKEN / on_this_processor(TOKENS_PER_SECOND)


def tuned(step: str, name: str, fitted: FittedEncoder, changed: str) -> Candidate:
    """A tuned encoder as a candidate; its cautions say which one they are about."""
    return Candidate(
        step,
        name,
        fitted.solver,
        f"{changed}; on a held-out slice: {fitted.words}",
        fitted.seconds,
        build_tokens=fitted.tokens,
        learning=fitted.learning,
        cautions=tuple(f"{step} / {name}: {said}" for said in fitted.cautions),
    )
