"""`stepladder distill` as people run it, and what may be learned from of what a teacher says."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_here import Stepladder
from steps.step_tasks import EXTRACT, SORT, WORDS, asked, messages, reports, truth
from tickets import TICKET_LABELS, make_tickets, ticket_rows, write_rows

from stepladder.bundles.chosen import choose
from stepladder.bundles.contents import contents
from stepladder.core import Candidate, Evaluation, Example, Request, Split, Trial
from stepladder.data.pool import open_pool
from stepladder.errors import NotApplicable, StepladderError
from stepladder.solvers.prompt import PromptSolver
from stepladder.steps.distill import Distill
from stepladder.steps.distill_labels import Rules, label_inputs, labelled_lines
from stepladder.steps.prompt_variants import plain_prompt
from stepladder.testing import FakeModel, fake_workshop


@pytest.fixture
def task(tmp_path: Path) -> Path:
    linear = '[steps.baseline]\nsolvers = ["linear"]\n'
    folder = make_tickets(tmp_path / "tickets", (30, 60, 60), score=0.7, more=linear)
    inbox = [*ticket_rows(200, 4), *ticket_rows(5, 2), *ticket_rows(7, 1), *ticket_rows(3, 4)]
    write_rows(folder / "inbox.jsonl", [{"id": f"u{n}", "input": row["input"], "label": "nonsense"}
                                        for n, row in enumerate(inbox)])  # fmt: skip
    return folder


def test_a_solver_of_an_earlier_run_teaches_one_that_can_be_deployed(
    task: Path, stepladder: Stepladder
) -> None:
    rows = [json.loads(line) for line in (task / "dev.jsonl").read_text("utf-8").splitlines()]
    write_rows(task / "dev.jsonl", [{**row, "language": "en" if n % 3 else "nl"}
                                    for n, row in enumerate(rows)])  # fmt: skip
    stepladder("climb", task, "--steps", "baseline")
    arguments = ("distill", task, "--unlabelled", task / "inbox.jsonl", "--student", "baseline")
    done = stepladder(*arguments, "--teacher", "baseline/linear", "--json")
    assert done.code == 0, done.err
    record = done.record
    assert record["teacher"]["solver"] == "linear"
    [student] = record["students"]
    assert (student["step"], student["solver"]) == ("distill", "baseline-linear")
    assert student["n"] == 60
    assert student["gain"] is not None
    told = record["labelling"]
    assert told["left_out"]["in dev or test"] == 5  # the tickets of dev, not learned from
    assert told["left_out"]["in train, with its label"] == 7
    assert told["left_out"]["twice in the file"] == 3
    assert told["kept"] + told["left_out"]["among the least sure"] == 200
    kept = [json.loads(line) for line in Path(told["rows"]).read_text("utf-8").splitlines()]
    assert len(kept) == 200
    assert {row["left_out"] for row in kept} == {None, "among the least sure"}
    assert all(row["expected"] in TICKET_LABELS for row in kept)
    folder = Path(told["rows"]).parents[2]
    [page] = folder.glob("climb-*/distill.html")
    assert "Before and after" in page.read_text("utf-8")
    # the same again is the same, and what was learned can be put into a bundle
    again = stepladder(*arguments, "--teacher", "baseline/linear")
    assert again.code == 0
    assert "input tokens" in again.out
    assert "difference, in pairs" in again.out
    assert again.out.count("n = 20") == 2  # the teacher and the student, by language
    chosen = choose(page.parent, solver="distill/baseline-linear", unconfirmed=True)
    assert any(name.startswith("artifacts/") for name in contents(chosen))


def test_a_file_of_nothing_new_teaches_nothing(task: Path, stepladder: Stepladder) -> None:
    stepladder("climb", task, "--steps", "baseline")
    write_rows(task / "old.jsonl", ticket_rows(20, 2))
    done = stepladder("distill", task, "--unlabelled", task / "old.jsonl", "--student", "baseline")
    assert done.code == 2
    assert "'old.jsonl' has 0 inputs to learn from, without 20 in dev or test" in done.err
    assert len(list(task.glob("runs/climb-*"))) == 1  # nothing was measured, and no test opened


@pytest.mark.parametrize(("text", "said"), [
    ("", "'few.jsonl' has no rows"),
    ('{"id": "a", "input": "a thing that nobody said"}\n', "has 1 inputs to learn from; 16 are"),
])  # fmt: skip
def test_a_file_with_too_little_in_it_is_refused_before_anything_is_measured(
    task: Path, stepladder: Stepladder, text: str, said: str
) -> None:
    stepladder("climb", task, "--steps", "baseline")
    (task / "few.jsonl").write_text(text, encoding="utf-8")
    done = stepladder("distill", task, "--unlabelled", task / "few.jsonl", "--student", "baseline")
    assert done.code == 2
    assert said in done.err
    assert len(list(task.glob("runs/climb-*"))) == 1


def test_where_nothing_was_learned_the_climb_stays_the_latest_decision(
    task: Path, stepladder: Stepladder
) -> None:
    stepladder("climb", task, "--steps", "baseline")
    arguments = ("distill", task, "--unlabelled", task / "inbox.jsonl", "--student", "baseline")
    done = stepladder(*arguments, "--least-confidence", 2)  # nobody is so sure
    assert done.code == 2
    assert "too few to learn from" in done.err
    [climb] = task.glob("runs/climb-*/decision.json")
    [trial] = json.loads(climb.read_text("utf-8"))["trials"]
    assert trial["step"] == "baseline"
    assert stepladder(*arguments).code == 0


def test_an_unknown_teacher_is_named_with_those_there_are(
    task: Path, stepladder: Stepladder
) -> None:
    stepladder("climb", task, "--steps", "baseline")
    done = stepladder("distill", task, "--unlabelled", task / "inbox.jsonl",
                      "--teacher", "prompt/long")  # fmt: skip
    assert done.code == 2
    assert "'baseline/linear'" in done.err


# --- which answers are learned from ---------------------------------------------------------------


def test_answers_that_fail_or_cannot_be_read_are_left_out_with_their_reason(
    tmp_path: Path,
) -> None:
    def reply(request: Request) -> str:
        number = int(asked(request).rsplit(" ", 1)[1])
        if number == 3:
            raise OSError("the service is away")
        return "who knows" if number == 5 else truth(asked(request))

    pool = messages(20)
    found = label_inputs(
        plain_prompt(SORT), pool, Rules(), SORT, fake_workshop(FakeModel(reply), tmp_path)
    )
    assert found.reasons == {"the teacher failed": 1, "the answer could not be read": 1}
    assert [one.expected for one in found.examples] == [
        one.expected for place, one in enumerate(pool) if place not in (3, 5)
    ]
    lines = [json.loads(line) for line in labelled_lines(found).splitlines()]
    assert Counter(line["left_out"] for line in lines)[None] == 18


def test_answers_outside_the_schema_are_left_out(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        return '{"drug": "aspirin"}' if "case 2" in asked(request) else '{"drug": ["aspirin"]}'

    found = label_inputs(
        plain_prompt(EXTRACT), reports(6), Rules(), EXTRACT,
        fake_workshop(FakeModel(reply), tmp_path),
    )  # fmt: skip
    assert found.reasons == {"not of the schema": 1}


def test_a_teacher_that_does_not_stand_by_its_answer_is_not_believed(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        sure = int(asked(request).rsplit(" ", 1)[1]) % 2 == 0
        right = truth(asked(request))
        if request.temperature == 0 or sure:
            return right
        return "balance" if right != "balance" else "refund"

    model = FakeModel(reply)
    found = label_inputs(
        plain_prompt(SORT), messages(20), Rules(samples=2), SORT, fake_workshop(model, tmp_path)
    )
    assert found.reasons == {"the answers disagree": 10}
    assert {request.seed for request in model.seen if request.temperature > 0} == {1, 2}
    assert all(row.agreement in (0.0, 1.0) for row in found.rows)


def test_a_second_solver_has_to_agree(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        text = asked(request)
        second = "Second." in str(request.messages[0].content)
        return "refund" if second else truth(text)

    teacher = plain_prompt(SORT)
    other = replace(teacher, instructions="Second.")
    pool = messages(20)
    found = label_inputs(
        teacher, pool, Rules(), SORT, fake_workshop(FakeModel(reply), tmp_path), (other,)
    )
    assert {one.expected for one in found.examples} == {"refund"}


def test_a_solver_without_chance_cannot_be_sampled(tmp_path: Path) -> None:
    scored = replace(plain_prompt(SORT), scoring="labels")
    model = FakeModel(score=lambda request: (0.0, -1.0, -2.0))
    with pytest.raises(NotApplicable, match="the same however often"):
        label_inputs(scored, messages(4), Rules(samples=1), SORT, fake_workshop(model, tmp_path))


@pytest.mark.parametrize(("rules", "kept"), [
    (Rules(), 9),  # the least sure tenth
    (Rules(drop=0.0), 10),
    (Rules(drop=0.0, least_confidence=0.5), 5),
])  # fmt: skip
def test_the_least_sure_answers_are_left_out(tmp_path: Path, rules: Rules, kept: int) -> None:
    def score(request: Request) -> tuple[float, ...]:
        number = int(asked(request).rsplit(" ", 1)[1])
        return (0.5 * number - 2.3, -0.6931, -0.6931)

    scored = PromptSolver("fake:model", "Which?", "classification", tuple(WORDS),
                          output_format="label", scoring="labels")  # fmt: skip
    found = label_inputs(
        scored, messages(10), rules, SORT, fake_workshop(FakeModel(score=score), tmp_path)
    )
    assert len(found.examples) == kept or rules.least_confidence is not None
    left = [row.confidence or 0 for row in found.rows if row.why]
    stay = [row.confidence or 0 for row in found.rows if not row.why]
    assert max(left, default=0.0) <= min(stay)


def test_equally_sure_answers_all_stay(tmp_path: Path) -> None:
    scored = replace(plain_prompt(SORT), scoring="labels")
    model = FakeModel(score=lambda request: (0.0, -1.0, -2.0))
    found = label_inputs(scored, messages(10), Rules(), SORT, fake_workshop(model, tmp_path))
    assert len(found.examples) == 10


# --- which inputs may be asked about --------------------------------------------------------------


def test_inputs_of_dev_and_test_are_left_out_whatever_their_spacing_or_group() -> None:
    def one(id: str, text: str, group: str | None = None) -> Example:
        return Example(id, text, None, group)

    long = "the card was swallowed by the machine at the station this morning"
    split = Split(
        (one("a", "How do I pay?"),),
        (one("b", "Where is my parcel?", "g1"),),
        (one("c", long),),
    )
    pool = open_pool(
        [
            one("1", "where  is my PARCEL?"),
            one("2", "Quite another thing", "g1"),
            one("3", f"{long}!"),
            one("4", "how do I pay?"),
            one("5", "A new question"),
            one("6", "a new  question"),
        ],
        split,
    )
    assert [each.id for each in pool.inputs] == ["5"]
    assert pool.left_out == {
        "in dev or test": 1,
        "of a group in dev or test": 1,
        "nearly in dev or test": 1,
        "in train, with its label": 1,
        "twice in the file": 1,
    }


# --- the step -------------------------------------------------------------------------------------


def trial(solver: PromptSolver) -> Trial:
    seen = Evaluation("dev", "accuracy", (), 0.9, 0.8, 1.0, 0.05, "", 10)
    return Trial(Candidate("prompt", "long", solver), seen)


def test_without_a_file_or_a_teacher_the_step_says_so(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    with pytest.raises(NotApplicable, match="no unlabelled inputs"):
        list(Distill().propose(SORT, messages(8), trial(plain_prompt(SORT)), workshop))
    with pytest.raises(NotApplicable, match="no solver to learn from"):
        list(Distill("x.jsonl").propose(SORT, messages(8), None, workshop))


def test_a_budget_in_dollars_is_kept_and_not_refused_for_a_teacher_without_a_price(
    task: Path, stepladder: Stepladder
) -> None:
    stepladder("climb", task, "--steps", "baseline")
    done = stepladder("distill", task, "--unlabelled", task / "inbox.jsonl",
                      "--student", "baseline", "--budget-dollars", 1, "--json")  # fmt: skip
    assert done.code == 0
    assert done.record["students"]


@pytest.mark.parametrize("options", [
    {"student": "prompt"}, {"agreement": 1.5}, {"drop": 1.0}, {"samples": -1}, {"limit": 0},
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(StepladderError, match="step 'distill'"):
        Distill(**options)


def test_the_step_in_a_climb_learns_from_the_best_so_far(
    task: Path, stepladder: Stepladder
) -> None:
    with (task / "task.toml").open("a") as file:
        file.write('\n[steps.distill]\nunlabelled = "inbox.jsonl"\nstudent = "baseline"\n')
    done = stepladder("climb", task, "--steps", "baseline,distill", "--whole-ladder", "--json")
    assert [(one["step"], one["solver"]) for one in done.record["trials"]] == [
        ("baseline", "linear"), ("distill", "baseline-linear"),
    ]  # fmt: skip
