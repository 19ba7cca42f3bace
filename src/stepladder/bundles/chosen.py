"""Which solver of a run is to be deployed, and whether it was confirmed.

Reads what a finished climb wrote; decides nothing that the climb did not decide.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import Decision, Json, Solver, Workshop
from ..errors import StepladderError, StoreError
from ..report.record import load_decision_record
from ..solvers import content_hash, models_of, solver_from_record, solver_record

__all__ = ["SOLVERS", "Chosen", "choose", "measured_solvers"]

SOLVERS = "solvers.json"  # in the run folder, beside decision.json
SCHEMA = "stepladder.solvers/1"
AGAIN = "run the climb again: it writes it anew, and finished work is not repeated"


def measured_solvers(decision: Decision, workshop: Workshop) -> dict[str, Json]:
    """The record of each solver that a climb measured, with the fingerprints of what it asked."""
    return {
        "schema": SCHEMA,
        "solvers": [
            {
                "step": trial.candidate.step,
                "solver": trial.candidate.name,
                "record": solver_record(trial.candidate.solver),
                "fingerprints": {
                    name: getattr(workshop.model(name), "fingerprint", None)
                    for name in models_of(trial.candidate.solver)
                },
            }
            for trial in decision.trials
        ],
    }


@dataclass(frozen=True)
class Chosen:
    """One measured solver of a run, and the evidence for it. `confirmed` is None without one.

    `fingerprints` are those of the local models it asked while it was measured.
    """

    run: Path
    solver: Solver
    fingerprints: Mapping[str, str | None]
    task: Mapping[str, Json]
    decision: Mapping[str, Json]
    trial: Mapping[str, Json]
    confirmed: Mapping[str, Json] | None
    data: Mapping[str, Json]

    @property
    def artifacts(self) -> Path:
        return self.run.parent / "artifacts"

    @property
    def title(self) -> str:
        return f"{self.trial['step']}/{self.trial['solver']}"

    @property
    def decision_id(self) -> str:
        """The same for a climb that was replayed: when it ran and how long it took is left out."""
        measured = ("set", "metric", "score", "low", "high", "n")
        what = {
            "task": self.task,
            "solver": [self.title, content_hash(self.solver)],
            "verdict": self.decision["verdict"],
            "confirmed": self.confirmed,
            "trial": {name: self.trial[name] for name in measured},
            "data": self.data,
        }
        text = json.dumps(what, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


def choose(run: Path, *, solver: str | None = None, unconfirmed: bool = False) -> Chosen:
    """The solver that the run's decision chose, or the one called so, `step/name`.

    With `unconfirmed` and nothing chosen, the one with the best score on dev.

    Raises:
        StoreError: the run is not finished, or its files cannot be read.
        StepladderError: there is no such solver, or it was not confirmed and that was not allowed.
    """
    decision = load_decision_record(run)
    trial = _trial(decision, solver, unconfirmed)
    confirmed = _confirmation(decision, trial)
    if confirmed is None and not unconfirmed:
        raise StepladderError(
            f"{_title(trial)!r} was not confirmed on the sealed test: {_why(decision, trial)}",
            hint="--unconfirmed deploys it all the same, and its bundle says so",
        )
    facts = _json(run / "run.json")
    measured = _measured(run, trial)
    return Chosen(
        run=run,
        solver=solver_from_record(measured["record"]),
        fingerprints=measured["fingerprints"],
        task=facts["task"],
        decision=decision,
        trial=trial,
        confirmed=confirmed,
        data=facts["data"],
    )


def _trial(decision: Mapping[str, Any], wanted: str | None, unconfirmed: bool) -> Mapping[str, Any]:
    trials: Sequence[Mapping[str, Any]] = decision["trials"]
    chosen = decision["chosen"]
    if wanted is None and chosen is not None:
        wanted = f"{chosen['step']}/{chosen['solver']}"
    if wanted is None:
        if not unconfirmed or not trials:
            raise StepladderError(
                f"nothing was confirmed ({decision['verdict']}): {decision['reason']}",
                hint=_cure(decision, trials),
            )
        complete = [trial for trial in trials if trial["stopped_early"] is None] or trials
        return max(complete, key=lambda trial: trial["score"])
    for trial in trials:
        if _title(trial) == wanted:
            return trial
    raise StepladderError(
        f"this run measured no solver called {wanted!r}",
        hint=f"it measured: {', '.join(repr(_title(trial)) for trial in trials) or 'none'}",
    )


def _title(trial: Mapping[str, Any]) -> str:
    return f"{trial['step']}/{trial['solver']}"


def _confirmation(
    decision: Mapping[str, Any], trial: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    passed = [
        one
        for one in decision["confirmations"]
        if one["passed"] and (one["step"], one["solver"]) == (trial["step"], trial["solver"])
    ]
    return passed[-1] if passed else None


def _why(decision: Mapping[str, Any], trial: Mapping[str, Any]) -> str:
    refused = [
        one
        for one in decision["confirmations"]
        if (one["step"], one["solver"]) == (trial["step"], trial["solver"])
    ]
    if not refused:
        return "the sealed test was never opened for it"
    last = refused[-1]
    return (
        f"it scored {last['score']:.3f} on {last['n']} examples, at least {last['low']:.3f}, "
        f"where {decision['target']['score']:g} was asked for"
    )


def _cure(decision: Mapping[str, Any], trials: Sequence[object]) -> str:
    needed = decision["examples_needed"]
    more = f"about {needed} test examples would settle it; " if needed else ""
    anyway = "--unconfirmed deploys the best of what was measured all the same" if trials else ""
    return more + (anyway or "climb again once something can be measured")


def _measured(run: Path, trial: Mapping[str, Any]) -> Mapping[str, Any]:
    record = _json(run / SOLVERS)
    if record.get("schema") != SCHEMA:
        raise StoreError(
            f"{str(run / SOLVERS)!r} is of schema {record.get('schema')!r}; this version reads "
            f"{SCHEMA!r}",
            hint=AGAIN,
        )
    for each in record["solvers"]:
        if (each["step"], each["solver"]) == (trial["step"], trial["solver"]):
            return dict(each)
    raise StoreError(f"{str(run / SOLVERS)!r} does not have {_title(trial)!r}", hint=AGAIN)


def _json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{str(path)!r} cannot be read: {error}", hint=AGAIN) from error
    if not isinstance(record, dict):
        raise StoreError(f"{str(path)!r} is not a JSON object", hint=AGAIN)
    return record
