"""Which trial is meant when the report says best, chosen or compared with."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from made_up_climb import fake_decision

from stepladder.core import Decision
from stepladder.report.picks import baseline_of, best_trial, confirmation_of, owner_of


def test_the_best_is_the_chosen_even_where_another_scored_more() -> None:
    best = best_trial(fake_decision())
    assert best is not None
    assert best.candidate.name == "lora r=16"


def test_a_trial_that_was_stopped_is_not_the_best_on_its_few_examples() -> None:
    trials = fake_decision().trials
    lucky = replace(trials[4], evaluation=replace(trials[4].evaluation, score=0.99))
    best = best_trial(Decision("not_met", "", None, (*trials[:4], lucky)))
    assert best is not None
    assert best.candidate.name == "linear"
    only = best_trial(Decision("not_met", "", None, (lucky,)))
    assert only is lucky


@pytest.mark.parametrize(
    "name",
    ["few_shot/nearest k=8", "few_shot: nearest k=8", "few_shot / nearest k=8", "nearest k=8"],
)
def test_what_a_gain_is_against_is_found_by_its_name(name: str) -> None:
    decision = fake_decision()
    trial = decision.trials[-1]
    assert trial.gain is not None
    named = replace(trial, gain=replace(trial.gain, against=name))
    before = baseline_of(named, replace(decision, trials=(*decision.trials[:-1], named)))
    assert before is not None
    assert before.candidate.name == "nearest k=8"


def test_without_a_gain_it_is_the_best_of_the_step_before() -> None:
    decision = fake_decision()
    trial = replace(decision.trials[-1], gain=None)
    before = baseline_of(trial, decision)
    assert before is not None
    assert before.candidate.name == "nearest k=20"
    assert baseline_of(decision.trials[0], decision) is None


def test_proof_and_costs_belong_to_their_trial() -> None:
    decision = fake_decision()
    proof, own = confirmation_of(decision, decision.chosen), owner_of(decision, decision.chosen)
    assert proof is not None
    assert own is not None
    assert (proof.name, own.name) == ("lora r=16", "lora r=16")
    assert confirmation_of(decision, None) is None
    assert owner_of(decision, decision.trials[4]) is None


def test_the_report_is_light_to_import() -> None:
    heavy = "{'torch', 'transformers', 'scipy', 'sklearn', 'jsonschema', 'jinja2'}"
    script = f"import sys, stepladder.report; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr
