"""Everything that acts on the world, put together for one task: models, run folder, prices, steps.

`run_climb` is what the CLI and Python users call. The loop itself is in `climb.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from .budget import Budget
from .catalogue import load_catalogue, retirement_cautions
from .climb import Climb, climb, plan
from .core import Decision, Estimate, Json, Skipped, Split, Step, Task, Tell, Usage, Workshop
from .cost import Prices, load_prices, price_all
from .data.findings import Finding
from .errors import TaskError
from .evaluate import Bench
from .executors import open_executor
from .models.metered import Metered
from .models.opening import Models, open_model
from .registry import look_up
from .run_card import run_card
from .solvers import model_of
from .store import hash_of, open_run

__all__ = [
    "LADDER",
    "Options",
    "make_steps",
    "open_climb",
    "open_model",
    "retiring",
    "run_climb",
    "run_plan",
    "unheard_of",
]

# in the order of what they cost to build
LADDER = (
    "baseline", "heads", "prompt", "few_shot", "retrieval", "functions", "dearer_model",
    "encoder", "fine_tune", "scratch", "distill",
)  # fmt: skip
ASKING_NO_MODEL = ("baseline", "heads", "encoder")

PRICED_AS_BATCH = (
    "dollars are those of batch jobs where those answered: traffic that cannot wait costs more to "
    "answer, and to own"
)
UNSURE = (
    "calls that broke off after they were sent: {}. The service may have billed them, which is in "
    "no figure here"
)
PRICED_WITH_CACHE = (
    "dollars are those of calls close together where a kept prefix served them: traffic with "
    "pauses pays for keeping it meanwhile, or for writing it again, and costs more to answer, and "
    "to own"
)


@dataclass(frozen=True)
class Options:
    """How to climb: which steps, how far, with what budget, and where to keep it."""

    steps: tuple[str, ...] = LADDER
    whole_ladder: bool = False
    budget_dollars: float | None = None
    budget_minutes: float | None = None
    runs: Path | None = None  # None: `runs` in the task folder
    prices: Path | None = None
    models: Path | None = None  # the user's facts on models, over those shipped
    on: str = "here"  # who answers, see `executors`: it changes no answer and makes no other run


def run_climb(
    task: Task,
    split: Split,
    options: Options,
    tell: Tell,
    warnings: Sequence[Finding] = (),
    steps: Sequence[Step] | None = None,
) -> tuple[Decision, Path]:
    """Climb, write decision.json and report.html, and give the decision and the run's folder.

    `warnings` are what `check` said of the data; the report shows them. `steps` are those made by
    `make_steps` unless they are given.
    """
    from .bundles.chosen import SOLVERS, measured_solvers
    from .report.html import write_report
    from .report.record import decision_record

    started = datetime.now(UTC)
    if steps is None:
        steps = make_steps(task, options.steps)  # a misspelt option leaves no folder behind
    with open_climb(task, split, options, tell) as on:
        on.run.write_json("run.json", _run_record(task, split, options))
        _open_hosted(task, steps, on.bench.workshop)
        for caution in retiring(task, options):
            on.tell("note", text=caution)
        decision = _with_cautions(climb(steps, on), on, options)
        card = run_card(on, decision, started, warnings)
        on.run.write_json(SOLVERS, measured_solvers(decision, on.bench.workshop))
        on.run.write_json("decision.json", decision_record(decision, task, card))
        write_report(on.run.folder / "report.html", decision, task, card)
        return decision, on.run.folder


def run_plan(
    task: Task, split: Split, options: Options, tell: Tell
) -> list[tuple[str, Estimate | Skipped]]:
    """What each step would take; nothing is asked, trained or opened."""
    steps = make_steps(task, options.steps)
    with open_climb(task, split, options, tell, asking=False) as on:
        _open_hosted(task, steps, on.bench.workshop)
        return plan(steps, on)


def make_steps(task: Task, names: Sequence[str]) -> list[Step]:
    """The steps by name, each with the task's options for it, in the order of the ladder.

    A step that can `check` the task does: what is wrong with it is not found after others are paid.
    Of the whole ladder, a step that `concerns` other tasks only is left out; named, it is skipped
    with its reason.
    """
    order = {name: place for place, name in enumerate(LADDER)}
    steps = []
    if tuple(names) == LADDER:
        names = [name for name in names if _concerns(name, task)]
    for name in sorted(dict.fromkeys(names), key=lambda name: order.get(name, len(order))):
        kind = look_up("step", name)
        chosen = dict(task.steps.get(name, {}))
        known = {field.name for field in fields(kind) if field.init}
        if unknown := sorted(chosen.keys() - known):
            raise TaskError(
                f"task.toml: [steps.{name}] has no option {unknown[0]!r}",
                hint=f"known: {', '.join(sorted(known))}",
            )
        types = get_type_hints(kind)
        step = kind(**{k: _option(name, k, v, types[k]) for k, v in chosen.items()})
        if (check := getattr(step, "check", None)) is not None:
            check(task)
        steps.append(step)
    return steps


def _concerns(name: str, task: Task) -> bool:
    asked = getattr(look_up("step", name), "concerns", None)
    return asked is None or bool(asked(task))


def _option(step: str, key: str, value: Json, kind: Any) -> Any:
    """The value as the step takes it: a list of the file is a tuple here."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise TaskError(
            f"task.toml: [steps.{step}] {key} = {value!r} cannot be used",
            hint=error.errors()[0]["msg"].lower(),
        ) from error


@contextmanager
def open_climb(
    task: Task, split: Split, options: Options, tell: Tell, *, asking: bool = True
) -> Iterator[Climb]:
    """The workshop, the bench and the run folder of a climb; closed whatever happens.

    Not `asking`, a hosted model need not be at hand: without a key it still counts tokens.
    """
    from .metrics import load_also, load_metric

    metric, also = load_metric(task), load_also(task)
    prices = load_prices(options.prices, today=date.today())
    budget = Budget(options.budget_dollars, options.budget_minutes)

    def watched(event: str, told: Mapping[str, Json]) -> None:
        tell(event, told)
        price.unsure += told.get("unsure", 0)
        if event == "training" and budget.started:
            budget.check("training")  # its checkpoint is kept

    root = options.runs or task.folder / "runs"
    ledger = task.folder / "openings.jsonl"  # with the task, wherever its runs are kept
    with (
        open_run(root, _run_name(task, split, options), ledger) as run,
        closing(open_executor(options.on, task, run)) as executor,
    ):
        catalogue = load_catalogue(options.models, today=date.today())
        models = Models(run, task, catalogue, prices, watched, asking=asking)
        price = _Pricing(task, prices, watched)
        models.meter = lambda model: Metered(model, price, budget.pay)
        workshop = Workshop(models.model, run.artifacts, watched, price, models.settings)
        bench = Bench(task, metric, workshop, price, task.target.alpha, also, executor)
        try:
            yield Climb(bench, split, run, prices, budget, options.whole_ladder, catalogue)
        finally:
            models.close()


def retiring(task: Task, options: Options, also: Iterable[str | None] = ()) -> tuple[str, ...]:
    """A sentence for each of the task's models, and of `also`, that retires within its horizon."""
    named = [*task.models, task.prompt_model, *also]
    catalogue = load_catalogue(options.models, today=date.today())
    hosted = [model for model in named if model and not model.startswith("local:")]
    return retirement_cautions(hosted, catalogue, task.economics.months, date.today())


def unheard_of(task: Task, options: Options) -> Iterator[Finding]:
    """The task's models that the table does not have, of providers whose models it has."""
    catalogue = load_catalogue(options.models, today=date.today())
    listed = {facts.model.partition(":")[0] for facts in catalogue.models}
    for name in dict.fromkeys((*task.models, task.prompt_model)):
        provider = (name or "").partition(":")[0]
        if name and provider in listed and provider != "local" and catalogue.facts(name) is None:
            cure = f"check the name (stepladder models --provider {provider}), or describe it in a "
            yield Finding(
                "unheard of",
                f"nothing is known of the model {name!r}: what it costs, how it thinks, whether it "
                "is there",
                cure=cure + "file of your own with --models and --prices",
            )


def _open_hosted(task: Task, steps: Sequence[Step], workshop: Workshop) -> None:
    """Raise now what would raise later, after work was done: an extra or an option is wrong."""
    if any(step.name not in ASKING_NO_MODEL for step in steps):
        for name in task.models:
            if not name.startswith("local:"):
                workshop.model(name)


@dataclass
class _Pricing:
    """Dollars of calls. Why some are unknown is told once, and kept for the report.

    `unsure` counts the calls that broke off when they may have been billed: no answer prices them.
    """

    task: Task
    prices: Prices
    tell: Tell
    unknown: list[str] = field(default_factory=list)
    unsure: int = 0

    def __call__(self, usage: Iterable[Usage]) -> float | None:
        found = price_all(usage, self.prices, self.task.hardware)
        if found.unknown is not None and found.unknown not in self.unknown:
            self.unknown.append(found.unknown)
            self.tell("note", {"text": f"dollars are unknown: {found.unknown}"})
        return found.dollars


def _with_cautions(decision: Decision, on: Climb, options: Options) -> Decision:
    """With what retires, why dollars are unknown, and when they are not those of live traffic."""
    asked = [model_of(trial.candidate.solver) for trial in decision.trials]
    seen = [trial.evaluation for trial in decision.trials]
    price = on.bench.price
    unknown, unsure = (
        (price.unknown, price.unsure) if isinstance(price, _Pricing) else (list[str](), 0)
    )
    more = (
        *retiring(on.bench.task, options, asked),
        *(f"dollars are unknown: {reason}" for reason in unknown),
        *([UNSURE.format(unsure)] if unsure else []),
        *([PRICED_AS_BATCH] if any(one.batch_share for one in seen) else []),
        *([PRICED_WITH_CACHE] if any(one.cache_saved_dollars_per_1000 for one in seen) else []),
    )
    return replace(decision, cautions=tuple(dict.fromkeys((*decision.cautions, *more))))


def _run_name(task: Task, split: Split, options: Options) -> str:
    """The same for the same task, data and options: so the same command goes on where it was."""
    record = json.dumps(_run_record(task, split, options), sort_keys=True, default=str)
    return f"climb-{hashlib.blake2b(record.encode(), digest_size=4).hexdigest()}"


def _run_record(task: Task, split: Split, options: Options) -> dict[str, Json]:
    described = asdict(task)
    described.pop("folder")
    return {
        "task": json.loads(json.dumps(described, default=str)),
        "data": {
            name: hash_of(examples)
            for name, examples in (
                ("train", split.train),
                ("dev", split.dev),
                ("test", split.test),
            )
        },
        "steps": list(options.steps),
        "whole_ladder": options.whole_ladder,
    }
