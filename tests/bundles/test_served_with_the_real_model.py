"""Served equals measured, with nothing made up: the embedded model, real rows, a real server.

One short climb gives a prompt bundle (the base model, a chat template, free text) and a tuned one
(an adapter beside the base model, where the climb measured merged weights).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from stepladder.bundles import deploy
from stepladder.bundles.checking import ServedAsMeasured
from stepladder.bundles.served import NotServed
from stepladder.data.split import load_split
from stepladder.serve.served.bundle import _Opening
from stepladder.session import Options, run_climb
from stepladder.task import load_task

pytestmark = [pytest.mark.slow, pytest.mark.network]

INTENTS = Path(__file__).parents[2] / "examples" / "customer-intents"
ROWS = {"train": 64, "dev": 40, "test": 30}
TASK = """name = "intents"
kind = "classification"
instructions = "Sort the customer's message to the bank by what the customer wants."
model = "local:smollm2-135m-instruct"
metric = "accuracy"
max_output_tokens = 24

[target]
score = 0.95

[economics]
requests_per_month = 1000

[data]
train = "train.jsonl"
dev = "dev.jsonl"
test = "test.jsonl"
input = "input"
expected = "output"
id = "id"

[steps.prompt]
search = "none"

[steps.fine_tune]
epochs = 1
held_out = 0
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A climb over the messages of ten intents: the plain prompt, and one pass of LoRA."""
    pytest.importorskip("openvino_genai")
    pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("real") / "intents"
    folder.mkdir()
    rows = {name: _rows(name) for name in ROWS}
    labels = [label for label, _ in Counter(row["output"] for row in rows["dev"]).most_common(10)]
    for name, most in ROWS.items():
        kept = [json.dumps(row) for row in rows[name] if row["output"] in labels][:most]
        (folder / f"{name}.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    task_text = TASK.replace("[target]", f"labels = {json.dumps(labels)}\n\n[target]", 1)
    (folder / "task.toml").write_text(task_text, encoding="utf-8")
    task = load_task(folder)
    options = Options(steps=("prompt", "fine_tune"), whole_ladder=True)
    _, run = run_climb(task, load_split(task), options, lambda event, fields: None)
    return run


def _rows(name: str) -> list[dict[str, str]]:
    text = (INTENTS / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def solver_of(run: Path, step: str) -> str:
    record = json.loads((run / "solvers.json").read_text(encoding="utf-8"))
    (found,) = [one for one in record["solvers"] if one["step"] == step]
    return f"{found['step']}/{found['solver']}"


def test_a_prompt_over_the_real_model_is_served_as_measured(run: Path) -> None:
    done = deploy(run, solver=solver_of(run, "prompt"), unconfirmed=True, check=ServedAsMeasured())
    assert done.moved
    assert done.served is not None
    assert (done.served["n"], done.served["failed"]) == (ROWS["dev"], 0)
    # rounding in another batch may turn an answer of so small a model over, not two
    assert done.served["differing"] <= 1, done.served["differences"]


def test_a_tuned_model_is_served_as_measured_and_not_without_its_adapter(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = solver_of(run, "fine_tune")
    with monkeypatch.context() as patch:
        opened = _Opening._tuned
        patch.setattr(_Opening, "_tuned", lambda *of: replace(opened(*of), adapter=None))  # type: ignore[type-var]
        with pytest.raises(NotServed) as blocked:
            deploy(run, solver=tuned, unconfirmed=True, check=ServedAsMeasured())
    assert blocked.value.check.differing > ROWS["dev"] // 2
    done = deploy(run, solver=tuned, unconfirmed=True, check=ServedAsMeasured())
    assert done.served is not None
    assert (done.served["n"], done.served["failed"]) == (ROWS["dev"], 0)
    assert done.served["measured_score"] > 0.3  # it did learn: what is compared are answers
    assert done.served["differing"] <= 1, done.served["differences"]
    merged = deploy(run, solver=tuned, unconfirmed=True, merged=True, check=ServedAsMeasured())
    assert merged.made
    assert merged.served is not None
    assert merged.served["differing"] == 0, "the weights that were measured"
