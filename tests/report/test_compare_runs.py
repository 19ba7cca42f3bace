"""Two runs side by side: what changed, in pairs where it can be, with a warning where it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_climb import fake_decision, fake_run, fake_task

from stepladder.core import Decision, Gain, Row, Target
from stepladder.report import compare_runs, decision_record
from stepladder.report import compare_text as text_of
from stepladder.report.compare import Comparison, _scale


def record(decision: Decision | None = None, **task: Any) -> dict[str, Any]:
    return decision_record(decision or fake_decision(), fake_task(**task), fake_run(limits=None))


def better() -> Decision:
    decision = fake_decision()
    chosen = decision.trials[-2]
    seen = replace(chosen.evaluation, score=0.95, low=0.93, high=0.96, dollars_per_1000=0.0162)
    improved = replace(chosen, evaluation=seen)
    return replace(decision, chosen=improved, trials=(*decision.trials[:-2], improved))


def compare_text(a: dict[str, Any], b: dict[str, Any], gain: Gain | None = None) -> str:
    return text_of(Comparison(a, b, gain))


def run_folder(folder: Path, right: float, *, ids: str = "x") -> Path:
    """A run folder with its record and the rows of its chosen solver."""
    (folder / "rows").mkdir(parents=True)
    (folder / "decision.json").write_text(json.dumps(record()), encoding="utf-8")
    with (folder / "rows" / "fine_tune.lora-r-16.0badf00d.dev.jsonl").open("w") as file:
        for index in range(200):
            counts = [["all", float(index < right * 200), 1.0]]
            row = {"id": f"{ids}{index}", "counts": counts, "failure": None, "error": None}
            file.write(json.dumps(row) + "\n")
    return folder


def test_runs_that_kept_their_rows_are_compared_in_pairs(tmp_path: Path) -> None:
    found = compare_runs(run_folder(tmp_path / "a", 0.7), run_folder(tmp_path / "b", 0.9))
    assert found.gain is not None
    assert found.gain.difference == pytest.approx(0.2)
    assert "McNemar" in found.gain.method
    assert "on the same 200 examples: b is +20.0 points" in flat(text_of(found))


def test_runs_over_other_examples_or_without_rows_are_not_in_pairs(tmp_path: Path) -> None:
    first = run_folder(tmp_path / "a", 0.7)
    other = run_folder(tmp_path / "b", 0.9, ids="y")
    assert compare_runs(first, other).gain is None
    for file in (other / "rows").iterdir():
        file.unlink()
    assert compare_runs(first, other / "decision.json").gain is None


@pytest.mark.parametrize(
    ("counts", "scale"),
    [
        ([("all", 1.0, 1.0)], "binary"),
        ([("all", 0.4, 1.0)], "bounded"),
        ([("all", 2.0, 3.0)], "ratio"),
        ([("a", 1.0, 1.0), ("b", 0.0, 1.0)], "ratio"),
    ],
)
def test_the_scale_of_a_metric_shows_in_its_counts(counts: Any, scale: str) -> None:
    assert _scale([Row("1", tuple(counts)), Row("2", ())]) == scale


def flat(text: str) -> str:
    return " ".join(text.split())


def test_facts_stand_side_by_side_with_their_change() -> None:
    text = flat(compare_text(record(), record(better())))
    assert "accuracy on dev 86.1% 95.0% +8.9 points" in text
    assert "dollars per 1,000 $0.0081 $0.016 2 times" in text
    assert "verdict Target met Target met" in text
    assert "fine_tune: 86.6% \u2192 95.0%" in text


def test_a_paired_gain_is_shown_with_its_interval() -> None:
    gain = Gain("a", 0.089, 0.05, 0.12, 600, 0.05, "exact McNemar", 0.0004)
    text = flat(compare_text(record(), record(better()), gain))
    assert "In pairs, on the same 600 examples: b is +8.9 points against a" in text
    assert "+5.0 to +12.0, p < 0.001; exact McNemar" in text


def test_without_pairs_it_says_so_and_reads_the_intervals() -> None:
    assert "two intervals do not overlap" in flat(compare_text(record(), record(better())))
    assert "overlap, so this alone tells nothing" in flat(compare_text(record(), record()))


def test_what_does_not_compare_is_warned_of() -> None:
    other = record(name="other", target=Target(0.9))
    text = flat(compare_text(record(), other))
    assert "Beware: these are different tasks" in text
    assert "Beware: the targets differ" in text


def test_a_run_that_measured_nothing_still_compares() -> None:
    nothing = record(Decision("blocked", "no model", None, ()))
    text = flat(compare_text(record(), nothing))
    assert "Nothing was measured in one of the runs" in text
    assert "Blocked" in text


def test_no_line_is_wider_than_asked() -> None:
    text = text_of(Comparison(record(), record(better())), width=70)
    assert max(map(len, text.splitlines())) <= 70
