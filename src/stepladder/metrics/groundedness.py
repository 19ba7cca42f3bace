"""How much of an answer stands in the passages that it cites, word for word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Counts, Example, Json, Output
from ..errors import StepladderError
from ..knowledge.passages import sentences
from ..solvers.citing import ABSENT
from .abstention import is_absent
from .text import as_text, check_choice, failed, whole, words

__all__ = ["Groundedness", "support"]

_MARK = re.compile(r"\[\d+(?:\s*[,;\u2013-]\s*\d+)*\]")  # [1], [1, 3], [2-4]: refers, says nothing
Match = Literal["runs", "words"]


@dataclass(frozen=True)
class Groundedness:
    """The share of an answer's words that the cited passages say, in [0, 1]; right or wrong aside.

    With `match` "runs" a word counts where it stands in a passage within `run` words in that order
    (in a shorter sentence: all of its words): the coverage by extractive fragments of Grusky et al.
    (2018, "Newsroom"), without fragments so short that any text on the subject has them. "words"
    asks for the words alone: the knowledge precision of Adlakha et al. (2024, "Evaluating
    Correctness and Faithfulness of Instruction-Following Models for Question Answering"), for
    models that say things in their own words. Either way a sentence with a number that no passage
    has is not grounded at all.

    `against` "shown" takes all passages that the model was given for those that it cites. The
    answer `absent` claims nothing and is grounded. An answer without passages is not, nor is a
    failed one.
    """

    against: Literal["cited", "shown"] = "cited"
    match: Match = "runs"
    run: int = 3
    absent: str = ABSENT
    name = "groundedness"
    scale: ClassVar[Literal["bounded"]] = "bounded"

    def __post_init__(self) -> None:
        check_choice("against", self.against, ("cited", "shown"))
        check_choice("match", self.match, ("runs", "words"))
        if self.run < 1:
            raise StepladderError(f"metric option run = {self.run!r} is no length", hint="run = 3")

    def score(self, example: Example, output: Output) -> Counts:
        if failed(output):
            return whole(0.0)
        if is_absent(output.value, self.absent):
            return whole(1.0)
        passages = output.citations if self.against == "cited" else output.context
        texts = [text for one in passages for text in (one.title, one.text)]
        return whole(support(output.value, texts, match=self.match, run=self.run))


def support(answer: Json, texts: Sequence[str], *, match: Match = "runs", run: int = 3) -> float:
    """The share of the answer's words that the texts support; 0 where it has none.

    Words are those of `metrics.text.words`: case, punctuation and English articles do not count.
    """
    said = [found for sentence in _sentences(answer) if (found := words(sentence))]
    read = [words(text) for text in texts]
    known = Counter(word for text in read for word in text)
    supported = 0
    for sentence in said:
        if any(word not in known for word in sentence if _is_number(word)):
            continue
        supported += (
            (Counter(sentence) & known).total()
            if match == "words"
            else _in_runs(sentence, read, min(run, len(sentence)))
        )
    total = sum(map(len, said))
    return supported / total if total else 0.0


def _in_runs(sentence: Sequence[str], texts: Sequence[Sequence[str]], length: int) -> int:
    """How many words of a sentence stand in a text among `length` neighbours in their order."""
    there = {run for text in texts for run in _runs(text, length)}
    covered = {
        place
        for start, run in enumerate(_runs(sentence, length))
        if run in there
        for place in range(start, start + length)
    }
    return len(covered)


def _runs(text: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    return (tuple(text[start : start + length]) for start in range(len(text) - length + 1))


def _sentences(answer: Json) -> Iterator[str]:
    """What an answer claims: the sentences of a text, or the values of a record."""
    if isinstance(answer, str):
        yield from sentences(_MARK.sub(" ", answer))
    elif isinstance(answer, Mapping):
        for value in answer.values():
            yield from _sentences(value)
    elif isinstance(answer, list | tuple):
        for value in answer:
            yield from _sentences(value)
    elif answer is not None:
        yield as_text(answer)


def _is_number(word: str) -> bool:
    return any(character.isdigit() for character in word)
