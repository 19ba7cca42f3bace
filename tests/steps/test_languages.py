"""Languages are told apart in every result, and a floor for each is held to on the sealed test."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from encoding import make_encoder, use_encoder
from step_tasks import LABELS, SORT, WORDS

from stepladder.core import Decision, Example, Split, Target
from stepladder.session import Options, run_climb

VOCABULARY = sorted({word for words in WORDS.values() for word in words.split()})
LEARNT, STRANGE = "language=english", "language=martian"


@pytest.fixture(autouse=True)
def _tiny_encoder(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    folder = make_encoder(tmp_path_factory.mktemp("encoder"), ["please", "number", *VOCABULARY])
    use_encoder(folder, monkeypatch)


def mixed(n: int, name: str) -> tuple[Example, ...]:
    """Three in four are English; the words of the others say nothing of their label."""
    draw = random.Random(name)
    found = []
    for i in range(n):
        label = draw.choice(LABELS)
        strange = i % 4 == 0
        text = f"zork {draw.random()}" if strange else f"{WORDS[label]} number {i} {name}"
        language = "martian" if strange else "english"
        found.append(Example(f"{name}{i}", text, label, metadata={"language": language}))
    return tuple(found)


def climbed(target: Target, folder: Path) -> tuple[Decision, Path]:
    steps = {"heads": {"solvers": ["linear", "joined"]}}
    models = ("local:smollm2-135m-instruct",)  # never opened: nothing asks it
    task = replace(SORT, models=models, target=target, steps=steps, folder=folder)
    folder.mkdir(exist_ok=True)
    split = Split(mixed(120, "train"), mixed(120, "dev"), mixed(400, "test"))
    return run_climb(task, split, Options(steps=("heads",)), lambda event, fields: None)


def test_a_language_is_reported_apart_although_nobody_asked(tmp_path: Path) -> None:
    decision, run = climbed(Target(0.5), tmp_path)
    assert decision.verdict == "met"
    for trial in decision.trials:
        slices = trial.evaluation.slices
        assert set(slices) == {LEARNT, STRANGE}
        assert slices[LEARNT][0] > 0.9 > 0.6 > slices[STRANGE][0]
    record = json.loads((run / "decision.json").read_text("utf-8"))
    assert {LEARNT, STRANGE} == set(record["trials"][0]["slices"])
    assert STRANGE in (run / "report.html").read_text("utf-8")


def test_a_floor_that_one_language_misses_on_the_test_refuses_the_whole(tmp_path: Path) -> None:
    met, _ = climbed(Target(0.5, floors={LEARNT: 0.8}), tmp_path / "met")
    assert met.verdict == "met"
    missed, _ = climbed(Target(0.5, floors={LEARNT: 0.8, STRANGE: 0.6}), tmp_path / "missed")
    assert missed.verdict != "met"
    assert all(STRANGE in " ".join(one.failed) for one in missed.confirmations)
