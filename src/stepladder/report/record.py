"""decision.json: the public record of a climb, versioned, for machines.

The schema beside this file is the contract: names stay, fields may be added within a version, and
what is unknown is null. Nothing here decides or prints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from ..core import Confirmation, Decision, Gain, Json, Ownership, Task, Trial, Tried, Upgrade
from ..errors import StoreError
from ..solvers import model_of
from .words import finite

__all__ = ["SCHEMA", "decision_record", "decision_schema", "load_decision_record", "plain"]

SCHEMA = "stepladder.decision/1"

_RUN_FIELDS = ("started", "finished", "version", "commit", "seed", "machine", "limits")


def decision_record(decision: Decision, task: Task, run: Mapping[str, Any]) -> dict[str, Json]:
    """The decision as JSON values, as `decision.schema.json` describes them; NaN becomes null.

    Args:
        decision: what was decided.
        task: what was asked.
        run: when, where and with which version; missing keys become null.
    """
    chosen = decision.chosen.candidate if decision.chosen else None
    record = {
        "schema": SCHEMA,
        "task": task.name,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "target": {"metric": task.metric.name, **asdict(task.target)},
        "chosen": {"step": chosen.step, "solver": chosen.name} if chosen else None,
        "confirmed": _confirmed(decision),
        "confirmations": [_confirmation(each) for each in decision.confirmations],
        "trials": [_trial(trial) for trial in decision.trials],
        "skipped": [{"step": each.step, "reason": each.reason} for each in decision.skipped],
        "cautions": list(decision.cautions),
        "ownership": [_ownership(each) for each in decision.ownership],
        "upgrades": [_upgrade(each) for each in decision.upgrades],
        "requests_per_month": task.economics.requests_per_month,
        "examples_needed": decision.examples_needed,
        "run": {name: _recorded(name, run.get(name)) for name in _RUN_FIELDS}
        | {"spent_dollars": run.get("budget", {}).get("spent_dollars")},
    }
    cleaned: dict[str, Json] = plain(record)
    return cleaned


def load_decision_record(path: str | Path) -> dict[str, Json]:
    """The record in a decision.json, or in the run folder that holds one.

    Raises:
        StoreError: the file is missing, is not JSON, is of another version, or breaks the schema.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "decision.json"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(
            f"{str(file)!r} does not exist", hint="name a run folder whose climb has finished"
        ) from error
    except OSError as error:
        raise StoreError(f"{str(file)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StoreError(
            f"{str(file)!r} is not UTF-8 text", hint="climb again to write it anew"
        ) from error
    except json.JSONDecodeError as error:
        raise StoreError(
            f"{file}:{error.lineno}: column {error.colno}: not JSON: {error.msg}",
            hint="climb again to write it anew; finished work is not repeated",
        ) from error
    _check(record, file)
    return dict(record)


@cache
def decision_schema() -> Mapping[str, Json]:
    """The JSON Schema of decision.json."""
    file = Path(__file__).with_name("decision.schema.json")
    schema: Mapping[str, Json] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def plain(value: Any) -> Json:
    """Any value as JSON: not-a-number becomes None, dataclasses dicts, the unknown its text."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return finite(float(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
        return [plain(each) for each in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    listed = getattr(value, "tolist", None)  # NumPy scalars and arrays
    return plain(listed()) if callable(listed) else str(value)


def _recorded(name: str, value: Any) -> Any:
    if value is None or name in ("machine", "seed"):
        return value
    if isinstance(value, int | float):  # a moment as seconds since 1970
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    return str(plain(value))


def _check(record: Any, file: Path) -> None:
    found = record.get("schema") if isinstance(record, dict) else None
    if not isinstance(found, str) or not found.startswith("stepladder.decision/"):
        raise StoreError(
            f"{str(file)!r} is not a decision record: its schema is {found!r}, not {SCHEMA!r}",
            hint="name the decision.json that `stepladder climb` wrote into its run folder",
        )
    if found != SCHEMA:
        raise StoreError(
            f"{str(file)!r} is of schema {found!r}; this version reads {SCHEMA!r}",
            hint="use the version of stepladder that wrote it, or climb again",
        )
    from jsonschema import Draft202012Validator  # slow to import, and only needed here

    faults = Draft202012Validator(decision_schema()).iter_errors(record)
    first = min(faults, key=lambda fault: list(map(str, fault.absolute_path)), default=None)
    if first is not None:
        where = "".join(f"[{part!r}]" for part in first.absolute_path) or "the top level"
        raise StoreError(
            f"{str(file)!r} breaks {SCHEMA!r} at {where}: {first.message[:200]}",
            hint="climb again to write it anew; finished work is not repeated",
        )


def _confirmed(decision: Decision) -> dict[str, Any] | None:
    if decision.chosen is None:
        return None
    who = decision.chosen.candidate
    passed = [
        each
        for each in decision.confirmations
        if each.passed and (each.step, each.name) == (who.step, who.name)
    ]
    return _confirmation(passed[-1]) if passed else None


def _confirmation(confirmation: Confirmation) -> dict[str, Any]:
    return {
        "step": confirmation.step,
        "solver": confirmation.name,
        "score": confirmation.score,
        "low": confirmation.low,
        "n": confirmation.n,
        "alpha": confirmation.alpha_spent,
        "opening": confirmation.opening,
        "passed": confirmation.passed,
        "method": confirmation.method,
        "failed": list(confirmation.failed),
    }


def _trial(trial: Trial) -> dict[str, Any]:
    measured, candidate = trial.evaluation, trial.candidate
    return {
        "step": candidate.step,
        "solver": candidate.name,
        "model": model_of(candidate.solver),
        "set": measured.set,
        "metric": measured.metric,
        "score": measured.score,
        "low": measured.low,
        "high": measured.high,
        "alpha": measured.alpha,
        "method": measured.method,
        "n": measured.n,
        "planned": measured.planned,
        "p50_seconds": measured.p50_seconds,
        "p95_seconds": measured.p95_seconds,
        "input_tokens": measured.input_tokens,
        "output_tokens": measured.output_tokens,
        "cached_tokens": measured.cached_tokens,
        "thinking_tokens": measured.thinking_tokens,
        "dollars_per_1000": measured.dollars_per_1000,
        "cache_saved_dollars_per_1000": measured.cache_saved_dollars_per_1000,
        "batch_share": measured.batch_share,
        "model_calls": measured.model_calls,
        "calibration_error": measured.calibration_error,
        "also": {
            name: dict(zip(("score", "low", "high", "n"), found, strict=True))
            for name, found in measured.also.items()
        },
        "slices": {
            name: dict(zip(("score", "low", "high", "n"), found, strict=True))
            for name, found in measured.slices.items()
        },
        "build_dollars": candidate.build_dollars,
        "build_seconds": candidate.build_seconds,
        "gain": _gain(trial.gain),
        "stopped_early": trial.stopped_early,
        "failures": dict(trial.diagnosis.kinds),
        "tried": [_tried(one) for one in candidate.tried],
    }


def _tried(one: Tried) -> dict[str, Any]:
    scores = {
        measure: dict(zip(("score", "low", "high", "n"), found, strict=True))
        for measure, found in one.scores.items()
    }
    return {"name": one.name, "note": one.note, "scores": scores}


def _gain(gain: Gain | None) -> dict[str, Any] | None:
    return asdict(gain) if gain else None


def _upgrade(upgrade: Upgrade) -> dict[str, Any]:
    return {
        "step": upgrade.step,
        "solver": upgrade.name,
        "model": upgrade.model,
        "against": {
            "step": upgrade.against_step,
            "solver": upgrade.against_name,
            "model": upgrade.against_model,
        },
        "gain": _gain(upgrade.gain),
        "dollars_per_1000": upgrade.dollars_per_1000,
        "dollars_per_success": upgrade.dollars_per_success,
        "pays": upgrade.pays,
    }


def _ownership(ownership: Ownership) -> dict[str, Any]:
    record = asdict(ownership)
    record["solver"] = record.pop("name")
    return record
