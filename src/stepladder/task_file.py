"""The form of task.toml: every key with its type, range and default, and an example of each.

This is the door: what passes is of the right form. What needs the folder (files, names of metrics
and steps) is looked at in `task.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

__all__ = ["ALTERNATIVES", "EXAMPLES", "DataTable", "MetricTable", "TaskFile", "keys_at"]


def _named_model(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]*:\S+", name):
        why = "is not the name of one" if ":" in name else "does not say who provides it"
        raise ValueError(
            f"the model {name!r} {why}: write 'provider:name', "
            "for instance 'gemini:gemini-3.1-flash-lite' or 'local:smollm2-135m-instruct'"
        )
    return name


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
ModelName = Annotated[str, AfterValidator(_named_model)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TargetTable(Table):
    score: Share
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    p95_seconds: Positive | None = None
    dollars_per_1000: Positive | None = None
    floors: dict[str, Share] = {}

    @field_validator("floors")
    @classmethod
    def _named_slices(cls, floors: dict[str, float]) -> dict[str, float]:
        for name in floors:
            if not re.fullmatch(r"[^=]+(=.+)?", name):
                raise ValueError(f'{name!r} is not a slice: write "field=value" = least score')
        return floors


class MetricTable(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)
    name: Name


class EconomicsTable(Table):
    requests_per_month: Positive | None = None
    months: Positive = 12.0
    dollars_per_success: NotNegative | None = None
    dollars_per_error: NotNegative | None = None
    dollars_per_label: NotNegative | None = None
    dollars_per_engineer_hour: NotNegative | None = None
    retune_every_months: Positive | None = None


class HardwareTable(Table):
    name: Name | None = None
    dollars_per_hour: NotNegative | None = None


class DataTable(Table):
    examples: Text | None = None
    train: Text | None = None
    dev: Text | None = None
    test: Text | None = None
    format: Literal["csv", "jsonl", "parquet", "openai", "gemini"] | None = None
    input: Text | Annotated[list[Text], Field(min_length=1)] = "input"
    expected: Text = "expected"
    id: Text | None = None
    group: Text | None = None
    fractions: Annotated[list[Fraction], Field(min_length=3, max_length=3)] = [0.6, 0.2, 0.2]
    limit: Annotated[int, Field(gt=0)] | None = None
    sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]] = {}

    @field_validator("fractions")
    @classmethod
    def _add_up(cls, fractions: list[float]) -> list[float]:
        if abs(sum(fractions) - 1) > 1e-9:
            raise ValueError(f"train, dev and test have to add up to 1, not {sum(fractions):g}")
        if min(fractions) == 0:
            raise ValueError("train, dev and test each need a share above 0")
        return fractions

    @model_validator(mode="after")
    def _one_way(self) -> DataTable:
        own = [name for name in ("train", "dev", "test") if getattr(self, name) is not None]
        if self.examples is not None and own:
            raise ValueError(
                f"'examples' and {own[0]!r} exclude each other: split here, or your own"
            )
        if self.examples is None and len(own) < 3:
            raise ValueError("give 'examples' (split here), or all of 'train', 'dev' and 'test'")
        files = {self.examples, self.train, self.dev, self.test}
        if unused := self.sha256.keys() - files:
            raise ValueError(f"sha256 names {min(unused)!r}, which is none of the files")
        return self


class TaskFile(Table):
    name: Name | None = None
    kind: Literal["classification", "extraction", "generation", "qa", "calls"]
    instructions: Annotated[str, Field(min_length=1, pattern=r"\S")]
    target: TargetTable
    metric: MetricTable
    data: DataTable
    labels: list[Text] | dict[str, str] = []
    labels_file: Text | None = None
    label_descriptions: dict[str, str] = {}
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    schema_file: Text | None = None
    model: ModelName | None = None
    models: Annotated[list[ModelName], Field(min_length=1)] | None = None
    prompt_model: ModelName | None = None
    economics: EconomicsTable = EconomicsTable()
    hardware: HardwareTable = HardwareTable()
    steps: dict[str, dict[str, Any]] = {}
    slices: list[Text] = []
    also_measured: list[MetricTable] = []
    max_output_tokens: Annotated[int, Field(gt=0, le=131_072)] = 256
    thinking_tokens: Annotated[int, Field(ge=0, le=131_072)] | None = None
    providers: dict[str, dict[str, Any]] = {}
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @field_validator("metric", mode="before")
    @classmethod
    def _named_metric(cls, metric: Any) -> Any:
        return {"name": metric} if isinstance(metric, str) else metric

    @field_validator("also_measured", mode="before")
    @classmethod
    def _named_metrics(cls, metrics: Any) -> Any:
        each = metrics if isinstance(metrics, list) else [metrics]
        return [cls._named_metric(metric) for metric in each]


# names that pydantic puts into a location for the members of a union
ALTERNATIVES = {
    "list[constrained-str]", "constrained-str", "dict[str,str]", "str", "float", "int", "none",
    "list[str]", "function-before[_named_metric(), MetricTable]", "MetricTable",
}  # fmt: skip

EXAMPLES = {
    "name": 'name = "customer-intents"',
    "kind": 'kind = "classification"  # or extraction, generation, qa, calls',
    "instructions": 'instructions = "Say which of the labels fits the message."',
    "target": "[target] with score = 0.85",
    "target.score": "score = 0.85  # above 0, at most 1",
    "target.alpha": "alpha = 0.05  # above 0, below 0.5",
    "metric": 'metric = "accuracy"',
    "metric.name": '[metric] with name = "micro_f1"',
    "also_measured": 'also_measured = ["groundedness"]',
    "data": '[data] with examples = "examples.jsonl"',
    "data.fractions": "fractions = [0.6, 0.2, 0.2]  # train, dev, test",
    "data.input": 'input = "question"  # or several: ["title", "body"]',
    "data.limit": "limit = 500  # examples of each set",
    "model": 'model = "local:smollm2-135m-instruct"  # provider:name',
    "models": 'models = ["local:smollm2-135m-instruct"]  # provider:name, cheapest first',
    "prompt_model": 'prompt_model = "gemini:some-model"  # provider:name',
    "labels": 'labels = ["yes", "no"]',
    "max_output_tokens": "max_output_tokens = 256",
    "thinking_tokens": "thinking_tokens = 0  # as little thinking as the model can do",
    "providers": "[providers.gemini] with concurrency = 8",
    "seed": "seed = 0",
}


def keys_at(key: Sequence[object]) -> list[str]:
    """The keys that may stand in the table at `key`."""
    tables: dict[tuple[object, ...], type[BaseModel]] = {
        (): TaskFile, ("target",): TargetTable, ("data",): DataTable,
        ("economics",): EconomicsTable, ("hardware",): HardwareTable,
    }  # fmt: skip
    model = tables.get(tuple(key), TaskFile)
    return [info.alias or name for name, info in model.model_fields.items()]
