"""What is asked: examples, the task that they are of, and what "well enough" means.

Part of `core.py`'s vocabulary, which re-exports them; `task.py` reads them from a task folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .messages import Json, Message

__all__ = [
    "DataSource", "Economics", "Example", "Hardware", "Input", "Kind", "MetricSpec", "Split",
    "Target", "Task",
]  # fmt: skip

Kind = Literal["classification", "extraction", "generation", "qa", "calls"]
Input = str | Mapping[str, Json] | tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled case. `group` (document, patient, customer) is never split across sets.

    `source` is where the row came from, as `file:line`, so that a complaint can name the place.
    """

    id: str
    input: Input
    expected: Json
    group: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Target:
    """The bar to clear, and the accepted chance `alpha` of saying "met" when it is not."""

    score: float
    alpha: float = 0.05
    p95_seconds: float | None = None
    dollars_per_1000: float | None = None
    # "language=ilocano", a slice, or "groundedness", one of `Task.also_measured` -> least score
    floors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Economics:
    """What the answer is worth and how much of it is wanted. None is unknown, never zero."""

    requests_per_month: float | None = None
    months: float = 12.0
    dollars_per_success: float | None = None
    dollars_per_error: float | None = None
    dollars_per_label: float | None = None
    dollars_per_engineer_hour: float | None = None
    retune_every_months: float | None = None


@dataclass(frozen=True)
class Hardware:
    """The machine that runs local models: a name in `prices.toml`, or a price of your own."""

    name: str | None = None
    dollars_per_hour: float | None = None


@dataclass(frozen=True)
class MetricSpec:
    """Which metric scores the task, and its options (see `stepladder.metrics`)."""

    name: str
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSource:
    """Where the examples are and which columns mean what. Paths are relative to the task folder.

    Either `examples` (split here by `seed` and `fractions`), or the user's own `train`, `dev` and
    `test`.
    """

    examples: str | None = None
    train: str | None = None
    dev: str | None = None
    test: str | None = None
    format: str | None = None  # csv, jsonl, parquet, openai, gemini; None: told by the file
    input: str | tuple[str, ...] = "input"  # one column, or several that become named fields
    expected: str = "expected"
    id: str | None = None
    group: str | None = None
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    limit: int | None = None  # use at most this many examples of each set (said in every output)
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What is to be solved and what "well enough" means."""

    name: str
    kind: Kind
    instructions: str
    target: Target
    metric: MetricSpec
    data: DataSource
    labels: tuple[str, ...] = ()
    label_descriptions: Mapping[str, str] = field(default_factory=dict)
    schema: Mapping[str, Json] | None = None  # JSON schema of the answer
    models: tuple[str, ...] = ("local:smollm2-135m-instruct",)  # cheapest first
    prompt_model: str | None = None  # a capable model that may rewrite prompts (gepa)
    economics: Economics = field(default_factory=Economics)
    hardware: Hardware = field(default_factory=Hardware)
    steps: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)  # options per step
    slices: tuple[str, ...] = ()  # metadata fields to report apart
    also_measured: tuple[MetricSpec, ...] = ()  # reported beside the metric; floors may name them
    max_output_tokens: int = 256
    thinking_tokens: int | None = None  # a model may think for so many; None: the model's default
    providers: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)  # options by provider
    seed: int = 0
    folder: Path = Path()


@dataclass(frozen=True)
class Split:
    """Steps see train, choosing sees dev, test is sealed."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
