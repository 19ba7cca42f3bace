"""Train, dev and test: seeded, stratified, and never with one group on two sides.

`split_examples` and `subsample` are pure. `load_split` reads the task's files and uses them;
whether the sets are fit to decide on is the business of `checks.py`.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core import Example, Input, Split, Task
from ..errors import TaskError
from .chat import as_text, simplify
from .findings import Findings, OnProblem, as_error
from .formats import read_examples
from .near import near_pairs

__all__ = ["input_text", "load_split", "read_split", "split_examples", "subsample"]

SETS = ("train", "dev", "test")
Stratum = Callable[[Example], str]


def load_split(task: Task) -> Split:
    """The task's three sets, from its own files or split here; raises TaskError with all problems.

    `[data] limit` keeps that many examples of each set.
    """
    problems = Findings()
    split = read_split(task, problems)
    if problems.total:
        raise as_error(problems.kept, problems.total)
    for name in SETS:
        if not getattr(split, name):
            raise TaskError(
                f"the {name} set has no examples",
                hint="add examples: three (or three groups) at the very least",
            )
    return split


def read_split(task: Task, on_problem: OnProblem) -> Split:
    """The task's sets out of the rows that can be read; the others go to `on_problem`."""
    data = task.data
    stratum = label if task.kind == "classification" else one_stratum
    if data.examples is not None:
        examples = _read(task, data.examples, on_problem)
        joined = [(i, j) for i, j, _ in near_pairs([input_text(e.input) for e in examples])]
        split = split_examples(examples, data.fractions, task.seed, stratum, joined)
    else:
        if data.train is None or data.dev is None or data.test is None:
            raise TaskError("[data] needs 'examples', or all of 'train', 'dev' and 'test'")
        files = (data.train, data.dev, data.test)
        split = Split(*(_shuffled(_read(task, file, on_problem), task.seed) for file in files))
    if data.limit is None:
        return split
    return Split(
        *(subsample(getattr(split, name), data.limit, task.seed, stratum) for name in SETS)
    )


def one_stratum(example: Example) -> str:
    """All examples alike."""
    return ""


def label(example: Example) -> str:
    """The expected answer as the stratum: for classification."""
    return as_text(example.expected)


def split_examples(
    examples: Sequence[Example],
    fractions: tuple[float, float, float],
    seed: int,
    stratum: Stratum = one_stratum,
    joined: Iterable[tuple[int, int]] = (),
) -> Split:
    """Train, dev and test, the same whatever the order the examples come in.

    Examples of one group, with the same input, or `joined` by their indices (because they are
    nearly the same) stay together, however long the chain. Every stratum is spread over the sets
    by `fractions` as evenly as that allows. No set is empty when three groups or more are there
    and no fraction is 0.
    """
    units = [_Unit(members, seed, stratum) for members in _together(examples, joined)]
    units.sort(key=lambda unit: (-len(unit.examples), unit.key))
    wanted = _Wanted(Counter(map(stratum, examples)), len(examples), fractions)
    sides: tuple[list[_Unit], ...] = ([], [], [])
    for unit in units:
        side = wanted.neediest(unit)
        wanted.put(unit, side)
        sides[side].append(unit)
    _fill_empty(sides, fractions)
    return Split(*(_shuffled([e for u in units for e in u.examples], seed) for units in sides))


def subsample(
    examples: Sequence[Example], limit: int, seed: int, stratum: Stratum = one_stratum
) -> tuple[Example, ...]:
    """At most `limit` of the examples, each stratum in proportion, chosen by `seed`."""
    if len(examples) <= limit:
        return tuple(examples)
    strata: dict[str, list[Example]] = defaultdict(list)
    for example in _shuffled(examples, seed):
        strata[stratum(example)].append(example)
    shares = _proportional({name: len(of) for name, of in strata.items()}, limit)
    return _shuffled([e for name, of in strata.items() for e in of[: shares[name]]], seed)


def input_text(answered: Input) -> str:
    """All the words of an input, for comparing inputs."""
    if isinstance(answered, str):
        return answered
    if isinstance(answered, tuple):
        pieces = (
            [message.content] if isinstance(message.content, str)
            else [part.text or part.uri for part in message.content]
            for message in answered
        )  # fmt: skip
        return "\n".join(piece for turn in pieces for piece in turn)
    return "\n".join(as_text(value) for value in answered.values())


def normal(text: str) -> str:
    """Text without its case and spacing: what makes two inputs the same."""
    return " ".join(text.casefold().split())


class _Unit:
    """Examples that must not be parted."""

    def __init__(self, examples: list[Example], seed: int, stratum: Stratum) -> None:
        self.examples = examples
        self.strata = Counter(map(stratum, examples))
        self.key = min(_rank(example, seed) for example in examples)


@dataclass
class _Wanted:
    """How many examples of each stratum each set still wants."""

    strata: Counter[str]
    total: int
    fractions: tuple[float, float, float]

    def __post_init__(self) -> None:
        self.by_stratum = {
            name: [count * fraction for fraction in self.fractions]
            for name, count in self.strata.items()
        }
        self.overall = [self.total * fraction for fraction in self.fractions]

    def neediest(self, unit: _Unit) -> int:
        def need(side: int) -> tuple[float, float, int]:
            of_its_strata = sum(
                count * self.by_stratum[name][side] for name, count in unit.strata.items()
            )
            return round(of_its_strata, 9), round(self.overall[side], 9), -side

        return max((side for side in range(3) if self.fractions[side] > 0), key=need)

    def put(self, unit: _Unit, side: int) -> None:
        for name, count in unit.strata.items():
            self.by_stratum[name][side] -= count
        self.overall[side] -= len(unit.examples)


def _together(
    examples: Sequence[Example], joined: Iterable[tuple[int, int]]
) -> list[list[Example]]:
    """Examples in the sets that must not be parted (union-find over inputs and groups)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            parent[name] = name = parent.setdefault(above, above)
        return name

    names = [_same_input(example) for example in examples]
    for example, name in zip(examples, names, strict=True):
        if example.group is not None:
            parent[root(name)] = root(f"group {example.group}")
    for left, right in joined:
        parent[root(names[left])] = root(names[right])
    units: dict[str, list[Example]] = defaultdict(list)
    for example, name in zip(examples, names, strict=True):
        units[root(name)].append(example)
    return list(units.values())


def _same_input(example: Example) -> str:
    text = normal(input_text(example.input)).encode()
    return "input " + hashlib.blake2b(text, digest_size=16).hexdigest()


def _fill_empty(sides: Sequence[list[_Unit]], fractions: Sequence[float]) -> None:
    """Give each set that should have something the smallest unit of the set with most."""
    for side in range(3):
        if fractions[side] > 0 and not sides[side]:
            fullest = max(range(3), key=lambda other: len(sides[other]))
            if len(sides[fullest]) > 1:
                sides[side].append(sides[fullest].pop())


def _proportional(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    """Largest remainders: whole numbers in proportion to `sizes` that add up to `limit`."""
    total = sum(sizes.values())
    exact = {name: size * limit / total for name, size in sizes.items()}
    shares = {name: int(share) for name, share in exact.items()}
    spare = limit - sum(shares.values())
    for name in sorted(exact, key=lambda n: (shares[n] - exact[n], -sizes[n], n))[:spare]:
        shares[name] += 1
    return shares


def _shuffled(examples: Sequence[Example], seed: int) -> tuple[Example, ...]:
    return tuple(sorted(examples, key=lambda example: _rank(example, seed)))


def _rank(example: Example, seed: int) -> tuple[bytes, str, str]:
    """An order by seed and id; what it says decides where ids are not unique."""
    key = hashlib.blake2b(f"{seed} {example.id}".encode(), digest_size=8).digest()
    return key, input_text(example.input), as_text(example.expected)


def _read(task: Task, file: str, on_problem: OnProblem) -> list[Example]:
    path = task.folder / file
    _verify(path, task.data.sha256.get(file))
    read = read_examples(path, task.data, kind=task.kind, on_problem=on_problem)
    return [_without_instructions(example, task.instructions) for example in read]


def _without_instructions(example: Example, instructions: str) -> Example:
    """The example less a system turn that says what the task's instructions say already."""
    if not isinstance(example.input, tuple):
        return example
    first, rest = example.input[0], example.input[1:]
    said = isinstance(first.content, str) and first.content.strip() == instructions
    if first.role != "system" or not said or not rest:
        return example
    return replace(example, input=simplify(rest))


def _verify(path: Path, expected: str | None) -> None:
    if expected is None:
        return
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TaskError(f"{path.name!r} cannot be read: {error}") from error
    if found != expected.lower():
        raise TaskError(
            f"{path.name!r} is not the file that [data.sha256] names: its SHA-256 is {found}",
            hint="restore the file, or write its new SHA-256 in task.toml",
        )
