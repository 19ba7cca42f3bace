"""What a terminal shows: the verdict, the table, the plan, at any width."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_climb import fake_decision, fake_task

from stepladder.core import Decision, Economics, Estimate, Skipped
from stepladder.measuring import MEASURING
from stepladder.report import (
    decision_record,
    load_decision_record,
    plan_text,
    record_text,
    summary_table,
    verdict_text,
)


def test_the_verdict_is_a_sentence_with_the_numbers_that_matter() -> None:
    text = " ".join(verdict_text(fake_decision(), fake_task()).split())
    assert text.startswith(
        "Target met: fine_tune / lora r=16 is the cheapest way shown to reach 80.0% accuracy: at "
        "least 83.1% with 98.75% confidence (85.7% on 800 sealed test examples). It costs $0.0081 "
        "per 1,000 requests and answers 95% of requests within 0.12 s."
    )


def test_what_costs_nobody_knows_what_is_not_called_the_cheapest() -> None:
    record = json.loads(json.dumps(decision_record(fake_decision(), fake_task(), {})))
    for trial in record["trials"]:
        trial["dollars_per_1000"] = None
    text = " ".join(record_text(record).split())
    assert text.startswith(
        "Target met: fine_tune / lora r=16 is the first way shown to reach 80.0%"
    )
    assert "Its cost per request is unknown." in text


@pytest.mark.parametrize("width", [72, 80, 100, 160])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    text = verdict_text(fake_decision(), fake_task(), width=width)
    assert max(map(len, text.splitlines())) <= width
    for figure in ("83.3\u201388.9%", "+5.2 to +12.2", "0.62 s", "1,960", "$0.0081", "6 min 24 s"):
        assert figure in text


def test_gains_skipped_steps_cautions_and_openings_are_all_said() -> None:
    text = " ".join(verdict_text(fake_decision(), fake_task()).split())
    for said in ("+8.7 p = 0.005", "+5.2 to +12.2", "retrieval: the task names no knowledge",
                 "over-fit after epoch 2", "stopped at 240 of 600", "unknown",
                 "1. few_shot / nearest k=20: 77.1%, at least 74.1%"):  # fmt: skip
        assert said in text


def test_slices_are_said_with_their_floors_the_worst_first() -> None:
    text = " ".join(verdict_text(fake_decision(), fake_task()).split())
    _, _, slices = text.partition("By slice, fine_tune / lora r=16")
    spanish, english = slices.index("language=es: "), slices.index("language=en: ")
    assert spanish < english
    assert "has to be at least 70.0%" in slices[spanish:english]
    record = json.loads(json.dumps(decision_record(fake_decision(), fake_task(), {})))
    for trial in record["trials"]:
        one = next(iter(trial["slices"].values()), None)
        trial["slices"] = {f"place={n}": one for n in range(20)} if one else {}
    assert "5 more, which are better, in the report" in " ".join(record_text(record).split())


def test_control_characters_of_the_data_do_not_reach_the_terminal() -> None:
    decision = fake_decision(cautions=("\x1b[2J\x07evil\u202etxt",))
    text = verdict_text(decision, fake_task())
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2J" in text


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("not_met", "Target not met: nothing tried was shown to reach 80.0% accuracy."),
        ("undecided", "About 1,200 fresh test examples would settle it."),
        ("blocked", "Blocked: whether 80.0% accuracy can be reached was not found out."),
    ],
)
def test_each_verdict_has_its_words(verdict: str, said: str) -> None:
    decision = fake_decision(verdict=verdict, chosen=None, examples_needed=1_200)
    assert said in " ".join(verdict_text(decision, fake_task()).split())


def test_a_test_that_nobody_opened_need_only_grow() -> None:
    unopened = fake_decision(
        verdict="undecided", chosen=None, confirmations=(), examples_needed=1_200
    )
    said = " ".join(verdict_text(unopened, fake_task()).split())
    assert "About 1,200 more test examples would settle it." in said


def test_without_a_confirmation_the_closest_is_named_with_its_interval() -> None:
    decision = fake_decision(verdict="not_met", chosen=None, confirmations=())
    text = " ".join(verdict_text(decision, fake_task()).split())
    assert "The best, fine_tune / lora r=64, scored 86.6% (83.9" in text


def test_no_volume_means_no_monthly_cost() -> None:
    task = fake_task(economics=Economics())
    assert "a month" not in verdict_text(replace(fake_decision(), ownership=()), task)


def test_nothing_measured_is_still_a_verdict() -> None:
    text = verdict_text(Decision("blocked", "no model can be had", None, ()), fake_task())
    assert "no model can be had" in text


def test_the_table_has_a_line_per_trial() -> None:
    decision = fake_decision()
    assert summary_table(decision_record(decision, fake_task(), {})).row_count == len(
        decision.trials
    )


def test_the_plan_adds_up_and_says_what_it_does_not_know() -> None:
    plan = [
        ("baseline", Estimate(2.0, 0.0, 0)),
        ("prompt", Estimate(120.0, None, 2_400, "6 wordings")),
        ("retrieval", Skipped("retrieval", "no knowledge folder")),
    ]
    text = plan_text(fake_task(), plan, width=100)
    assert re.search(r"prompt\s+2,400\s+2 min\s+unknown\s+6 wordings", text)
    assert re.search(r"in all\s+2,400\s+2 min 2 s\s+\$0 \+ unknown", text)
    assert "skipped: no knowledge folder" in text
    assert "building alone" in text
    measured = (MEASURING, Estimate(None, 0.5, 600, "2 candidates"))
    text = plan_text(fake_task(), [*plan, measured], width=100)
    assert re.search(r"measuring, at most\s+600\s+unknown\s+\$0.50?\s+2 candidates", text)
    assert re.search(r"in all\s+3,000 .*building and measuring", text)


def test_a_decision_reads_the_same_when_it_is_read_back(tmp_path: Path) -> None:
    decision, task = fake_decision(), fake_task()
    file = tmp_path / "decision.json"
    file.write_text(json.dumps(decision_record(decision, task, {})), encoding="utf-8")
    assert record_text(load_decision_record(file)) == verdict_text(decision, task)


def test_a_slice_of_the_data_is_said() -> None:
    record = decision_record(fake_decision(), fake_task(), {"limits": "600 of 2,400 dev examples"})
    assert "600 of 2,400 dev examples" in record_text(record)


def test_without_a_width_the_terminal_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, most in (("72", 72), ("9999", 140), ("10", 60)):
        monkeypatch.setenv("COLUMNS", columns)
        longest = max(map(len, verdict_text(fake_decision(), fake_task()).splitlines()))
        assert most - 20 < longest <= most


def test_metrics_beside_the_tasks_own_are_said_of_their_trials() -> None:
    decision = fake_decision()
    beside = sum(trial.candidate.step == "few_shot" for trial in decision.trials)
    text = verdict_text(decision, fake_task(), width=120)
    assert text.count("groundedness 92.1% (90.0\u201394.0%)") == beside > 0
