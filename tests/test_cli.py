"""The command line as people and scripts use it: what is printed where, and the exit codes."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from cli_here import Result, Stepladder
from cli_process import answers_in
from task_folders import make_climbing_model, make_task_folder

pytest.importorskip("transformers")
pytest.importorskip("torch")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    make_climbing_model(folder / "model")
    return folder


@pytest.fixture
def stepladder(stepladder: Stepladder, place: Path, monkeypatch: pytest.MonkeyPatch) -> Stepladder:
    monkeypatch.setenv("STEPLADDER_CACHE", str(place / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    return stepladder


@pytest.fixture
def hard(place: Path, tmp_path: Path) -> Path:
    """A task that nothing solves: its labels were drawn by lot."""
    return make_task_folder(tmp_path / "hard", f"local:{place / 'model'}")


@pytest.fixture
def easy(place: Path, tmp_path: Path) -> Path:
    """A task that the baseline solves."""
    return make_task_folder(tmp_path / "easy", f"local:{place / 'model'}", easy=True)


def edit(task: Path, old: str, new: str) -> None:
    text = (task / "task.toml").read_text(encoding="utf-8")
    assert old in text
    (task / "task.toml").write_text(text.replace(old, new), encoding="utf-8")


# --- the flow ------------------------------------------------------------------------------------


def test_a_target_that_is_met_exits_0_and_says_by_what(stepladder: Stepladder, easy: Path) -> None:
    done = stepladder("climb", easy, "--steps", "baseline,prompt")
    assert done.code == 0
    assert "Target met" in done.out
    assert "report.html" in done.out
    assert "step 1 of 2" in done.err  # progress goes where it is not in the way
    assert "step 2 of 2" not in done.err


def test_a_target_that_is_not_met_exits_1_with_every_step_measured(
    stepladder: Stepladder, hard: Path
) -> None:
    pytest.importorskip("openvino_genai")
    done = stepladder("climb", hard, "--steps", "baseline,prompt", "--json")
    assert done.code == 1
    assert done.record["verdict"] == "not_met"
    assert {trial["step"] for trial in done.record["trials"]} == {"baseline", "prompt"}
    assert done.record["chosen"] is None
    assert len(answers_in(hard / "runs")) == 30  # one call per dev example


def test_from_a_file_of_examples_to_a_comparison(
    stepladder: Stepladder, place: Path, easy: Path, tmp_path: Path
) -> None:
    rows = (json.loads(line) for line in (easy / "examples.jsonl").read_text().splitlines())
    data = tmp_path / "colours.csv"
    with data.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((row["input"], row["expected"]) for row in rows)

    made = stepladder("init", "paints", "--data", data, "--folder", tmp_path)
    assert made.code == 0, made.err
    task = tmp_path / "paints"
    told(stepladder("check", task), "task.toml:", "[target] score is not set")
    edit(task, "[target]", f'model = "local:{place / "model"}"\n\n[target]\nscore = 0.7')

    checked = stepladder("check", task)
    assert checked.code == 0, checked.out + checked.err
    climbed = stepladder("climb", task, "--steps", "baseline")
    assert climbed.code in (0, 1), climbed.err

    shown = stepladder("report", task)
    assert shown.code == 0
    assert "report.html" in shown.out
    (run,) = (task / "runs").glob("climb-*")
    assert stepladder("report", run, "--json").record == stepladder("report", task, "--json").record
    again = stepladder("climb", task, "--steps", "baseline", "--whole-ladder")
    assert again.code == climbed.code
    first, second = (task / "runs").glob("climb-*")
    compared = stepladder("compare", first, second)
    assert compared.code == 0
    assert compared.out.strip()


def test_check_refuses_with_the_place_and_exits_2(stepladder: Stepladder, hard: Path) -> None:
    path = hard / "examples.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[6] = json.dumps({"id": "r006", "input": "new words here", "expected": "purple"})
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for command in ("check", "climb"):
        done = stepladder(command, hard)
        assert done.code == 2
        assert "examples.jsonl:7" in done.out + done.err
        assert "purple" in done.out + done.err
    assert not (hard / "runs").exists()


def test_a_malformed_row_is_named_by_line(stepladder: Stepladder, hard: Path) -> None:
    path = hard / "examples.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + '{"id": "r999", "inp\n', encoding="utf-8")
    done = stepladder("check", hard)
    assert done.code == 2
    assert "examples.jsonl:151" in done.out + done.err


def test_a_dry_run_does_nothing(stepladder: Stepladder, hard: Path) -> None:
    edit(hard, '[steps.prompt]\nsearch = "none"\n', "")
    done = stepladder("climb", hard, "--steps", "baseline,prompt", "--dry-run")
    assert done.code == 0
    assert "baseline" in done.out
    assert "prompt" in done.out
    assert answers_in(hard / "runs") == {}
    assert not list((hard / "runs").glob("*/decision.json"))
    assert not (hard / "openings.jsonl").exists()


@pytest.mark.parametrize(
    "limit", [("--budget-minutes", "0"), ("--budget-dollars", "0")], ids=["minutes", "dollars"]
)
def test_without_any_budget_the_climb_is_blocked(
    stepladder: Stepladder, hard: Path, limit: tuple[str, str]
) -> None:
    edit(hard, '[steps.prompt]\nsearch = "none"\n', "")
    done = stepladder("climb", hard, "--steps", "baseline,prompt", "--json", *limit)
    assert done.code == 1
    assert done.record["verdict"] == "blocked"
    assert limit[0].removeprefix("--budget-")[:6] in done.record["reason"] or "$" in done.out
    assert answers_in(hard / "runs") == {}
    assert [one["step"] for one in done.record["skipped"]][-1] == "prompt"


# --- for machines --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "TASK"),
        ("climb", "TASK", "--steps", "baseline"),
        ("climb", "TASK", "--steps", "baseline", "--dry-run"),
        ("report", "TASK"),
        ("compare", "TASK", "TASK"),
        ("models",),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_json_is_all_that_is_printed(
    stepladder: Stepladder, easy: Path, arguments: tuple[str, ...]
) -> None:
    if arguments[0] in ("report", "compare"):
        stepladder("climb", easy, "--steps", "baseline")
    done = stepladder(*(easy if one == "TASK" else one for one in arguments), "--json")
    assert done.code == 0
    json.loads(done.out, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))


def test_init_and_convert_speak_json_too(
    stepladder: Stepladder, easy: Path, tmp_path: Path
) -> None:
    made = stepladder(
        "init", "x", "--data", easy / "examples.jsonl", "--folder", tmp_path, "--json"
    )
    assert made.code == 0, made.err
    assert isinstance(made.record, dict)
    target = tmp_path / "chat.jsonl"
    done = stepladder(
        "data", "convert", easy / "examples.jsonl", target, "--to", "openai", "--json"
    )
    assert done.code == 0, done.err
    assert done.record["examples"] == 150
    turns = json.loads(target.read_text(encoding="utf-8").splitlines()[0])["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"]


def test_convert_names_its_own_options_as_the_cure(
    stepladder: Stepladder, easy: Path, tmp_path: Path
) -> None:
    source, target = easy / "examples.jsonl", tmp_path / "there.csv"
    done = stepladder("data", "convert", source, target, "--input", "nowhere")
    assert done.code == 2
    assert "name the right column with --input" in done.err
    assert "[data]" not in done.err


def test_convert_does_not_overwrite(stepladder: Stepladder, easy: Path, tmp_path: Path) -> None:
    target = tmp_path / "there.csv"
    target.write_text("mine", encoding="utf-8")
    done = stepladder("data", "convert", easy / "examples.jsonl", target)
    assert done.code == 2
    assert "exists already" in done.err
    assert target.read_text(encoding="utf-8") == "mine"


# --- misuse --------------------------------------------------------------------------------------


def told(done: Result, *words: str) -> None:
    """One message and its cure on standard error, nothing else, exit code 2."""
    assert done.code == 2
    assert done.out == ""
    for word in words:
        assert word in done.err


def test_a_folder_that_is_not_there(stepladder: Stepladder, tmp_path: Path) -> None:
    for command in ("check", "climb", "report"):
        told(stepladder(command, tmp_path / "nowhere"), "nowhere")


def test_a_task_that_was_never_climbed(stepladder: Stepladder, hard: Path) -> None:
    told(stepladder("report", hard), "no finished climb", f"stepladder climb {hard}")


def test_a_step_that_nobody_knows(stepladder: Stepladder, hard: Path) -> None:
    told(
        stepladder("climb", hard, "--steps", "baseline,magic"),
        "no step is called 'magic'",
        "known: baseline, dearer_model, distill, ",
    )
    assert answers_in(hard / "runs") == {}


def test_an_option_that_a_step_does_not_have(stepladder: Stepladder, hard: Path) -> None:
    edit(hard, 'search = "none"', "serach = 3")
    told(stepladder("climb", hard, "--steps", "prompt"), "[steps.prompt]", "'serach'", "search")


def test_an_option_with_a_value_that_it_cannot_take(stepladder: Stepladder, hard: Path) -> None:
    edit(hard, 'search = "none"', 'search = "everything"')
    told(stepladder("climb", hard, "--steps", "prompt"), "'everything'", "built-in")
    edit(hard, 'search = "everything"', 'sample = "many"')
    told(
        stepladder("climb", hard, "--steps", "prompt"), "[steps.prompt] sample = 'many'", "integer"
    )


def test_an_option_of_the_command_that_is_not_there(stepladder: Stepladder, hard: Path) -> None:
    told(stepladder("climb", hard, "--fast"), "--fast")
    told(stepladder("climb", hard, "--budget-minutes", "-1"), "--budget-minutes")


def test_a_provider_that_nobody_knows(stepladder: Stepladder, hard: Path) -> None:
    edit(hard, 'model = "local:', 'model = "oracle:')
    for done in (stepladder("climb", hard, "--steps", "prompt"), stepladder("check", hard)):
        assert done.code == 2
        assert "no provider is called 'oracle'" in done.err
        assert "local" in done.err


def test_a_model_that_is_not_there(stepladder: Stepladder, hard: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "gone", ignore_errors=True)
    text = (hard / "task.toml").read_text(encoding="utf-8")
    text = re.sub(r'model = ".*"', 'model = "local:./gone"', text)
    (hard / "task.toml").write_text(text, encoding="utf-8")
    done = stepladder("climb", hard, "--steps", "prompt")
    assert done.code == 2
    assert "'./gone'" in done.err
    assert "known: smollm2-135m-instruct" in done.err


def test_prices_that_cannot_be_read(stepladder: Stepladder, hard: Path, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text("[models\n", encoding="utf-8")
    done = stepladder("climb", hard, "--prices", tmp_path / "prices.toml")
    assert done.code == 2
    assert "prices.toml" in done.err


def test_a_runs_folder_that_cannot_be_written(
    stepladder: Stepladder, easy: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    done = stepladder("climb", easy, "--steps", "baseline", "--runs", tmp_path / "file")
    assert done.code == 2
    assert "cannot use" in done.err
    assert "--runs" in done.err


def test_a_missing_extra_skips_the_step_with_the_command_that_installs_it(
    stepladder: Stepladder, hard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    done = stepladder("climb", hard, "--steps", "baseline,fine_tune", "--json")
    assert done.code == 1
    reasons = {one["step"]: one["reason"] for one in done.record["skipped"]}
    assert "pip install 'stepladder[train]'" in reasons["fine_tune"]


def test_the_version_and_the_help(stepladder: Stepladder) -> None:
    from stepladder import __version__

    assert stepladder("--version").out == f"stepladder {__version__}\n"
    shown = stepladder("--help").out
    order = ["init", "check", "climb", "report", "compare", "models", "data"]
    assert [word for word in re.findall(r"^  (\w+)", shown, re.MULTILINE) if word in order] == order
    for command in order[:-1]:
        assert "Example: stepladder" in stepladder(command, "--help").out
