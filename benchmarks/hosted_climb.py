"""The whole customer-intents example on hosted models, from a prompt to a tuning job to a decision.

THE SCORES SAY NOTHING ABOUT GEMINI. Nothing here talks to Google: the answers come from a stand-in
learner in the service of tests/hosted_service (word overlap with label names, nearest examples in
the prompt, logistic regression for a tuned model). What is shown is the path: the command line, the
official SDKs, concurrency, an upload to gs://, one tuning job, a decision under a guarantee, and
what all of it would have cost by the price table for the tokens that this service counts.

The service takes 200 ms for an answer. With --faulty a share of the calls goes wrong in six ways.
The baselines are left out: the stand-in's tuned model is of the same kind as one of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from environment import finish, parser, where
from hosted_service import Service, start

from stepladder.answers import Answers
from stepladder.cost import load_prices, price_all
from stepladder.task import load_task

EXAMPLE = Path(__file__).parents[1] / "examples" / "customer-intents"
MODELS = ("gemini:gemini-3.1-flash-lite", "gemini:gemini-3.8-flash", "vertex:gemini-3.1-flash-lite")
BUCKET = "training-rows"
LATENCY = 0.2
EPOCHS = 4  # named, so that the cost of tuning is known before it starts
FAULTS = ("429", "500", "503", "drop", "cut", "truncated")
STEPS = "prompt,few_shot,fine_tune"
CLI = (sys.executable, "-c", "from stepladder.cli import main; main()")
WARNING = (
    "The answers come from the stand-in learner of a local test service, so the scores say nothing "
    "about Gemini. What is shown is the path."
)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--faulty", type=float, default=0.0, help="share of calls that go wrong")
    options.add_argument("--whole-ladder", action="store_true", help="measure every step")
    chosen = options.parse_args()
    place = where()
    print(WARNING, file=sys.stderr)
    service = start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = climb(service, Path(folder), chosen.faulty, whole=chosen.whole_ladder)
    finally:
        service.stop()
    finish("hosted_climb", {**place, "note": WARNING, **result}, write=chosen.write)


def climb(service: Service, folder: Path, faulty: float, *, whole: bool) -> dict[str, Any]:
    """One climb by the command line, and what the service saw of it."""
    service.settings(latency=LATENCY)
    service.make_bucket(BUCKET)
    if faulty:
        service.faults({"kinds": FAULTS, "share": faulty, "wait_seconds": 1.0})
    task = make_task(folder / "customer-intents")
    command = [*CLI, "climb", str(task), "--steps", STEPS, "--json", "--budget-dollars", "10"]
    environment = {**os.environ, **service.environment(folder / "service-account.json")}
    began = time.monotonic()
    done = subprocess.run(
        command + ["--whole-ladder"] * whole,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    wall = time.monotonic() - began
    if done.returncode not in (0, 1):
        raise SystemExit(f"the climb ended with {done.returncode}")
    record = json.loads(done.stdout)
    return {
        "task": record["task"],
        "examples": {name: _lines(task / f"{name}.jsonl") for name in ("train", "dev", "test")},
        "service_seconds_per_answer": LATENCY,
        "faulty_share": faulty,
        "verdict": record["verdict"],
        "reason": record["reason"],
        "chosen": record["chosen"],
        "confirmed": record["confirmed"],
        "trials": [_trial(trial) for trial in record["trials"]],
        "dollars_by_the_price_table": dollars(task, record["trials"]),
        "wall_seconds": round(wall, 1),
        "service": seen(service),
    }


def make_task(folder: Path) -> Path:
    """The example as it is, with hosted models in place of its own."""
    rows = ("train.jsonl", "dev.jsonl", "test.jsonl", "labels.json")
    folder.mkdir()
    for name in rows:
        shutil.copy(EXAMPLE / name, folder)
    text = (EXAMPLE / "task.toml").read_text(encoding="utf-8")
    text, changed = re.subn(r"^model = .*$", f"models = {json.dumps(MODELS)}", text, flags=re.M)
    if changed != 1:
        raise SystemExit(f"{EXAMPLE / 'task.toml'} does not name one model")
    text += f'\n[providers.vertex]\nbucket = "{BUCKET}"\nlocation = "us-central1"\n'
    text += f"\n[steps.fine_tune]\nepochs = {EPOCHS}\n"
    (folder / "task.toml").write_text(text, encoding="utf-8")
    return folder


def dollars(task: Path, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """What the calls and the tuning would have cost, by the price table of today."""
    path = task / "runs" / "answers.sqlite"
    with closing(sqlite3.connect(path)) as database:
        keys = [key for (key,) in database.execute("SELECT key FROM answers")]
    with closing(Answers(path)) as answers:
        usage = [found.usage for key in keys if (found := answers.get(key))]
    calls = price_all(usage, load_prices(today=date.today()), load_task(task).hardware)
    tuned = [trial["build_dollars"] for trial in trials if trial["step"] == "fine_tune"]
    return {
        "calls": calls.dollars,
        "why_unknown": calls.unknown,
        "tuning": sum(tuned) if None not in tuned else None,
        "input_tokens": sum(one.input_tokens or 0 for one in usage),
        "output_tokens": sum(one.output_tokens or 0 for one in usage),
    }


def seen(service: Service) -> dict[str, Any]:
    """What the service counted, whatever the climb says of it."""
    calls = service.requests(bodies=False)
    asked = [call for call in calls if call.path.endswith(":generateContent")]
    answered = service.answered(":generateContent")
    jobs = [call for call in calls if call.path.endswith("/tuningJobs") and call.method == "POST"]
    return {
        "calls": len(asked),
        "by_model": dict(Counter(_model(call.path) for call in asked)),
        "went_wrong": dict(Counter(call.fault for call in asked if call.fault)),
        "answered": sum(answered.values()),
        "answered_twice": sum(count - 1 for count in answered.values()),
        "most_at_once": max(call.under_way for call in asked),
        "tuning_jobs_created": sum(call.answered for call in jobs),
    }


def _model(path: str) -> str:
    last = path.rpartition("/")[2].partition(":")[0]
    return "tuned endpoint" if "/endpoints/" in path else last


def _trial(trial: dict[str, Any]) -> dict[str, Any]:
    names = (
        "step", "solver", "model", "score", "low", "high", "n", "p50_seconds", "p95_seconds",
        "input_tokens", "output_tokens", "cached_tokens", "dollars_per_1000", "build_dollars",
        "build_seconds", "stopped_early",
    )  # fmt: skip
    found = {name: trial[name] for name in names}
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in found.items()}


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
