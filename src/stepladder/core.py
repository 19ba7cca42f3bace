"""The nouns and seams of stepladder. Read this first, then `climb.py`.

A solver is a small frozen record; a step proposes solvers; a trial is a solver that was measured;
a decision is a pure function of trials. What is asked (a task, its examples and target) is in
`problem.py`, what goes to a model and comes back in `messages.py`; all are imported from here.
Nothing here reads a file, a clock or a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from .messages import Call, Function, Json, Message, Model, Part, Request, Response, Tier, Usage
from .problem import (
    DataSource,
    Economics,
    Example,
    Hardware,
    Input,
    Kind,
    MetricSpec,
    Split,
    Target,
    Task,
)

__all__ = [
    "Call", "Candidate", "Citation", "Confirmation", "Counts", "DataSource", "Decision",
    "Diagnosis", "Economics", "Estimate", "Evaluation", "Example", "Function", "Gain", "Hardware",
    "Input", "Json", "Kind", "LearningPoint", "Message", "Metric", "MetricSpec", "Model",
    "Output", "Ownership", "Part", "Request", "Response", "Row", "Skipped", "Solver", "Split",
    "Step", "Target", "Task", "Tell", "Tier", "Trial", "Tried", "Upgrade", "Usage", "Verdict",
    "Workshop",
]  # fmt: skip

Verdict = Literal["met", "not_met", "undecided", "blocked"]


# --- solvers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage of a document: its id, the file it came from, what it says, its title."""

    passage: str
    source: str
    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """A solver's answer to one input. `value` is the parsed answer, `text` what was said.

    Of a solver that answers from documents, `citations` are what the answer refers to, in the order
    in which it does, and `context` is all that was put before the model, best first.
    """

    value: Json
    text: str = ""
    usage: tuple[Usage, ...] = ()
    confidence: float | None = None
    error: str | None = None
    citations: tuple[Citation, ...] = ()
    context: tuple[Citation, ...] = ()


Tell = Callable[[str, Mapping[str, Json]], None]  # (event, fields): progress, seen by the terminal


@dataclass(frozen=True)
class Workshop:
    """What steps build with and solvers answer with. Passed, never looked up.

    `model` gives a model by name with its answers cached by content; `artifacts` is the folder of
    weights and indexes, one sub-folder per content hash; `tell` reports progress; `price` gives the
    dollars of calls, or None when they are unknown; `settings` gives what a provider is opened with
    (`models.ProviderSettings`: facts, prices, options), or None outside a climb.
    """

    model: Callable[[str], Model]
    artifacts: Path
    tell: Tell
    price: Callable[[Iterable[Usage]], float | None] = lambda calls: None
    settings: Callable[[str], Any] = lambda provider: None


@runtime_checkable
class Solver(Protocol):
    """Something that answers. Implementations are frozen dataclasses of JSON-able fields."""

    @property
    def kind(self) -> str:
        """The registered name, so that a saved record can be loaded."""
        ...

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        """Each answer as it finishes, with the index of its input."""
        ...


# --- measuring ----------------------------------------------------------------------------------

# (stratum, numerator, denominator). A metric's value over a set is the mean over strata of
# sum(numerator) / sum(denominator): accuracy and means have one stratum and denominator 1, micro-F1
# has 2tp over 2tp+fp+fn, macro-F1 has a stratum per label.
Counts = tuple[tuple[str, float, float], ...]


@runtime_checkable
class Metric(Protocol):
    """Scores one answer.

    `scale` tells which interval is honest: "binary" (right or wrong), "bounded" (a mean of values
    in [0, 1]) or "ratio" (a ratio of sums, or a mean of such ratios).
    """

    @property
    def name(self) -> str: ...

    @property
    def scale(self) -> Literal["binary", "bounded", "ratio"]: ...

    def score(self, example: Example, output: Output) -> Counts:
        """The counts that this answer adds to the set's score."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One example's result. The answer itself is on disk, in the run folder's rows file."""

    id: str
    counts: Counts
    group: str | None = None
    failure: str | None = None  # None: right; else the kind of failure, see `diagnose.py`
    error: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    seconds: float | None = None
    compute_seconds: float | None = None
    dollars: float | None = None
    thinking_tokens: int | None = None  # of the output tokens
    audio_tokens: int | None = None  # of the input tokens
    cache_saved_dollars: float | None = None  # below zero where it cost more than it saved
    kept_tokens: tuple[int, ...] | None = None  # per prefix kept for a price; None: none was kept
    tier: Tier = "standard"
    also: Mapping[str, Counts] = field(default_factory=dict)  # by metric, of `also_measured`
    model_calls: int = 0  # that the answer took
    confidence: float | None = None  # of the solver, that the whole answer is right


@dataclass(frozen=True)
class Evaluation:
    """One solver over one set: the score with its interval, and what answering took.

    `low` and `high` bound the score from both sides at `1 - alpha`; `method` names the bound.
    `planned` is how many examples the set has; fewer rows mean that racing stopped it early.
    """

    set: Literal["train", "dev", "test"]
    metric: str
    rows: tuple[Row, ...]
    score: float
    low: float
    high: float
    alpha: float
    method: str
    planned: int
    p50_seconds: float | None = None
    p95_seconds: float | None = None
    input_tokens: float | None = None  # per request, mean
    output_tokens: float | None = None
    cached_tokens: float | None = None
    dollars_per_1000: float | None = None
    wall_seconds: float | None = None
    thinking_tokens: float | None = None
    cache_saved_dollars_per_1000: float | None = None
    batch_share: float = 0.0  # of the rows, those that a batch job answered, at its price
    slices: Mapping[str, tuple[float, float, float, int]] = field(default_factory=dict)
    # "language=ilocano" -> (score, low, high, n)
    also: Mapping[str, tuple[float, float, float, int]] = field(default_factory=dict)
    # "groundedness" -> the same, of each of `Task.also_measured`
    model_calls: float | None = None  # per request, mean; more than one where functions are called
    calibration_error: float | None = None  # how far confidence is from the share that is right

    @property
    def n(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Diagnosis:
    """How a trial failed: share of rows by kind, and the labels most often confused."""

    kinds: Mapping[str, int] = field(default_factory=dict)
    confusions: tuple[tuple[str, str, int], ...] = ()  # (expected, answered, times)
    n: int = 0


# --- climbing -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """What a step will take, before it starts. None is unknown."""

    seconds: float | None
    dollars: float | None
    calls: int
    note: str = ""
    cure: str = ""  # what to do so that what is unknown becomes known


@dataclass(frozen=True)
class LearningPoint:
    """A moment of a training run: loss per answer token on train and on a held-out slice of it.

    `held_out_accuracy` is the share, 0 to 1, of the held-out tokens that are the likeliest ones.
    """

    step: int
    epoch: float
    train_loss: float
    held_out_loss: float | None = None
    seconds: float = 0.0
    held_out_accuracy: float | None = None


@dataclass(frozen=True)
class Tried:
    """Something that a step compared on train: (score, low, high, n) by measure."""

    name: str
    scores: Mapping[str, tuple[float, float, float, int]]
    note: str = ""


@dataclass(frozen=True)
class Candidate:
    """A solver that a step proposes, and what building it took."""

    step: str
    name: str
    solver: Solver
    changed: str = ""  # in words: what differs from the step before
    build_seconds: float = 0.0
    build_dollars: float | None = None
    build_calls: int = 0
    build_tokens: int = 0
    learning: tuple[LearningPoint, ...] = ()
    cautions: tuple[str, ...] = ()
    tried: tuple[Tried, ...] = ()  # what it was chosen from, where that is worth a table


@dataclass(frozen=True)
class Gain:
    """A paired difference on the same examples: positive is better than `against`."""

    against: str
    difference: float
    low: float
    high: float
    n: int
    alpha: float
    method: str
    p_value: float | None = None


@dataclass(frozen=True)
class Trial:
    """A candidate that was measured on dev."""

    candidate: Candidate
    evaluation: Evaluation
    diagnosis: Diagnosis = Diagnosis()
    gain: Gain | None = None  # against the trial that its step started from
    stopped_early: str | None = None  # why racing ended it


@dataclass(frozen=True)
class Confirmation:
    """One opening of the sealed test: level `alpha_spent`, one-sided lower bound `low`."""

    step: str
    name: str
    score: float
    low: float
    n: int
    alpha_spent: float
    opening: int  # 1 for the first opening of this test set, ever
    passed: bool
    method: str
    failed: tuple[str, ...] = ()  # which parts of the target were not shown to hold


@dataclass(frozen=True)
class Skipped:
    """A step that was not tried, and why."""

    step: str
    reason: str


@dataclass(frozen=True)
class Ownership:
    """What owning one candidate costs per month over the horizon; None is unknown.

    Totals are (low, median, high) of the 90 % range over volume, prices, quality and life.
    """

    step: str
    name: str
    build_dollars: float | None
    run_dollars_per_month: float | None
    keep_dollars_per_month: float | None
    total_dollars_per_month: tuple[float, float, float] | None
    dollars_per_extra_success: float | None = None
    roi: float | None = None
    break_even_requests_per_month: float | None = None
    probability_best: float | None = None
    error_dollars_per_month: float | None = None  # part of the total where an error has a price
    curve: tuple[tuple[float, float], ...] = ()  # (requests per month, dollars per month)
    sensitivity: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Upgrade:
    """The best trial on a dearer model against the best on a cheaper one; None is unknown.

    `dollars_per_1000` is what it costs more, and `dollars_per_success` what a right answer has to
    be worth for that to pay: None unless the gain is shown, by interval and test, and costs more.
    """

    step: str
    name: str
    model: str
    against_step: str
    against_name: str
    against_model: str
    gain: Gain
    dollars_per_1000: float | None = None
    dollars_per_success: float | None = None
    pays: bool | None = None  # at the task's own worth of a right answer


@dataclass(frozen=True)
class Decision:
    """What was decided and why. `chosen` is the confirmed trial, or None."""

    verdict: Verdict
    reason: str
    chosen: Trial | None
    trials: tuple[Trial, ...]
    confirmations: tuple[Confirmation, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    cautions: tuple[str, ...] = ()
    ownership: tuple[Ownership, ...] = ()
    examples_needed: int | None = None  # test examples that would settle an undecided case
    upgrades: tuple[Upgrade, ...] = ()


@runtime_checkable
class Step(Protocol):
    """A rung of the ladder: an edit of the solver before it.

    Options go into the constructor. A step is given train and nothing else; of the failures on dev
    it learns the kinds, not the rows. Either method raises `NotApplicable` when it has nothing to
    offer. A step may also have `rungs(task, workshop)`: the steps that it is made of, climbed one
    after the other, so that a dear one is not paid for once a cheaper one is confirmed.
    """

    @property
    def name(self) -> str:
        """The registered name."""
        ...

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """What proposing will take, without doing it."""
        ...

    def propose(
        self,
        task: Task,
        train: Sequence[Example],
        base: Trial | None,
        workshop: Workshop,
    ) -> Iterable[Candidate]:
        """Candidates, the cheapest first. `base` is the best trial of the steps before."""
        ...
