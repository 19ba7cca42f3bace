"""The command line with models that run elsewhere: estimates, money, extras, interrupts, bugs."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cli_here import Stepladder
from task_folders import make_task_folder

from stepladder.cli_parts import interruptible

PLUGIN = '''
from stepladder.core import Request, Usage
from stepladder.errors import MissingExtra, ModelError, TaskError
from stepladder.testing import FakeModel


class Away(FakeModel):
    hosted, scores_choices = True, False

    def _usage(self, input_tokens, output_tokens):
        tier = "batch" if self.name == "away:later" else "standard"
        thought = 100_000 if self.name == "away:thinker" else 0
        kept = 5 if self.name == "away:keeper" else 0
        return Usage(self.name, input_tokens, output_tokens + thought, kept, 0.1, audio_tokens=0,
                     thinking_tokens=thought, tier=tier, cache_write_tokens=kept)


def colour(request: Request) -> str:
    return str(request.messages[-1].content).split()[-1]


class Provider:
    """`away:NAME` names the last word; other names fail in their own ways."""

    def __init__(self, settings):
        if settings.options.keys() - {"concurrency"}:
            raise TaskError("task.toml: [providers.away] has no option 'speed'", hint="known: ...")
        self.tell = settings.tell

    def model(self, name):
        if name == "away:bug":
            raise ValueError("no such thing: https://service.example/v1?key=abcdefgh12345")
        if name == "away:locked":
            raise ModelError("no key for 'away' is in the environment", hint="set AWAY_KEY")
        if name == "away:extra":
            raise MissingExtra("models of away need 'away'", hint="pip install 'stepladder[away]'")
        if name == "away:cut":
            self.tell("note", {"text": "3 calls broke off", "unsure": 3})
        return Away(colour, name=name)

    def close(self):
        pass
'''
MODELS = """
[[model]]
model = "away:small"
read_on = 2026-11-01
source = "made up"
retires = 2000-01-01
replacement = "away:large"
"""
PRICES = """
[[tokens]]
model = "away:small"
input = 1.0
output = 4.0
read_on = 2026-11-01
source = "made up"

[[tokens]]
model = "away:thinker"
like = "away:small"

[[tokens]]
model = "away:keeper"
like = "away:small"
cached = 0.1
"""


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A provider that is installed as far as Python can tell."""
    about = tmp_path / "site" / "away-1.0.dist-info"
    about.mkdir(parents=True)
    (tmp_path / "site" / "away.py").write_text(PLUGIN, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: away\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[stepladder.provider]\naway = away:Provider\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    sys.modules.pop("away", None)


@pytest.fixture
def run(
    away: None, stepladder: Stepladder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Stepladder:
    monkeypatch.setenv("COLUMNS", "200")

    (tmp_path / "models.toml").write_text(MODELS, encoding="utf-8")
    (tmp_path / "prices.toml").write_text(PRICES, encoding="utf-8")
    return stepladder


def folder(tmp_path: Path, model: str = "away:small", **more: Any) -> Path:
    return make_task_folder(tmp_path / "task", model, easy=True, **more)


def test_check_counts_tokens_by_estimate_and_says_what_retires(
    run: Stepladder, tmp_path: Path
) -> None:
    code, out, err = run("check", folder(tmp_path), "--models", tmp_path / "models.toml")
    assert (code, err) == (0, "")
    assert "tokens_are: estimated, without a call to the service" in out
    assert "'away:small' retired on 2000-01-01" in out
    assert "names away:large for afterwards" in out


def test_a_plan_shows_the_dollars_of_hosted_calls(run: Stepladder, tmp_path: Path) -> None:
    task = folder(tmp_path, more="[steps.prompt]\nsample = 8\n")
    arguments = ("climb", task, "--steps", "prompt", "--dry-run", "--json")
    code, out, _ = run(*arguments, "--prices", tmp_path / "prices.toml")
    step, measuring = json.loads(out)
    assert measuring["step"] == "measuring, at most"
    assert measuring["plan"]["dollars"] > 0
    assert measuring["plan"]["calls"] > 0
    assert code == 0
    assert 0 < step["plan"]["dollars"] < 0.1
    assert step["plan"]["seconds"] is None
    _, out, _ = run(*arguments)
    assert json.loads(out)[0]["plan"]["dollars"] is None


def test_a_climb_says_why_dollars_are_unknown_and_what_retires(
    run: Stepladder, tmp_path: Path
) -> None:
    task = folder(tmp_path)
    code, out, err = run(
        "climb", task, "--steps", "prompt", "--json", "--models", tmp_path / "models.toml"
    )
    record = json.loads(out)
    assert code == 0
    assert record["trials"][0]["dollars_per_1000"] is None
    unknown = "dollars are unknown: no token price is known for 'away:small'"
    assert record["cautions"].count(unknown) == 1
    assert sum("retired on 2000-01-01" in caution for caution in record["cautions"]) == 1
    assert err.count(unknown) == 1
    assert run("report", task)[1].count("dollars are unknown") == 1


def test_prices_of_batch_jobs_are_said_to_be_such(run: Stepladder, tmp_path: Path) -> None:
    _, out, _ = run("climb", folder(tmp_path, "away:later"), "--steps", "prompt", "--json")
    record = json.loads(out)
    assert record["trials"][0]["batch_share"] == 1
    assert any("dollars are those of batch jobs" in caution for caution in record["cautions"])


def test_prices_with_a_kept_prefix_are_said_to_be_such(run: Stepladder, tmp_path: Path) -> None:
    task = folder(tmp_path, "away:keeper")
    arguments = ("climb", task, "--steps", "prompt", "--prices", tmp_path / "prices.toml", "--json")
    record = json.loads(run(*arguments)[1])
    assert record["trials"][0]["cache_saved_dollars_per_1000"] != 0
    assert any("where a kept prefix served them" in caution for caution in record["cautions"])


def test_calls_that_may_have_been_billed_are_in_the_report(run: Stepladder, tmp_path: Path) -> None:
    task = folder(tmp_path, "away:cut")
    record = json.loads(run("climb", task, "--steps", "prompt", "--json")[1])
    assert any("broke off after they were sent: 3." in caution for caution in record["cautions"])


def test_known_dollars_hold_a_budget(run: Stepladder, tmp_path: Path) -> None:
    task = folder(tmp_path)
    arguments = ("climb", task, "--steps", "prompt", "--json", "--prices", tmp_path / "prices.toml")
    code, out, _ = run(*arguments, "--budget-dollars", "0.0001")
    record = json.loads(out)
    assert (code, record["verdict"]) == (1, "blocked")
    assert "are spent" in record["reason"]
    code, out, _ = run(*arguments, "--budget-dollars", "1")
    assert code == 0
    assert 0 < json.loads(out)["trials"][0]["dollars_per_1000"] < 1


def test_a_search_that_thinks_beyond_its_estimate_ends_at_the_budget(
    run: Stepladder, tmp_path: Path
) -> None:
    task = folder(tmp_path, "away:thinker", more="[steps.prompt]\nsample = 8\n")
    arguments = ("climb", task, "--steps", "prompt", "--prices", tmp_path / "prices.toml")
    code, out, _ = run(*arguments, "--budget-dollars", "1", "--json")
    record = json.loads(out)
    assert (code, record["verdict"], record["trials"]) == (1, "blocked", [])
    assert "the climb stopped: $1.20 of $1.00 are spent" in record["reason"]  # for three calls


def test_a_missing_package_of_a_provider_is_one_line_before_anything_is_done(
    run: Stepladder, tmp_path: Path
) -> None:
    task = folder(tmp_path, "away:extra")
    code, out, err = run("climb", task)
    assert (code, out) == (2, "")
    assert err == "error: models of away need 'away'\n  pip install 'stepladder[away]'\n"
    code, out, err = run("check", task)
    assert code == 0
    assert "lengths are in characters, since models of away need 'away'" in err
    assert "pip install" in err


def test_without_a_key_check_and_plan_work_and_a_climb_ends_before_anything_is_done(
    run: Stepladder, tmp_path: Path
) -> None:
    task = folder(tmp_path, "away:locked", more="[steps.prompt]\nsample = 8\n")
    code, out, err = run("check", task)
    assert code == 0
    assert "tokens_are: estimated" in out
    assert "could not ask 'away:locked' yet: no key for 'away'" in err
    assert "set AWAY_KEY" in err
    code, out, _ = run("climb", task, "--steps", "baseline,prompt", "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)[1]["plan"]["calls"] > 0
    code, out, err = run("climb", task, "--steps", "baseline,prompt")
    assert (code, out) == (2, "")
    assert err == "error: no key for 'away' is in the environment\n  set AWAY_KEY\n"


def test_options_that_a_provider_does_not_know_are_refused_by_check(
    run: Stepladder, tmp_path: Path
) -> None:
    task = folder(tmp_path, more="[providers.away]\nspeed = 9\n")
    code, _, err = run("check", task)
    assert code == 2
    assert "[providers.away] has no option 'speed'" in err


def test_a_bug_exits_with_3_and_its_traceback_without_keys(run: Stepladder, tmp_path: Path) -> None:
    code, out, err = run("check", folder(tmp_path, "away:bug"))
    assert (code, out) == (3, "")
    assert "ValueError: no such thing" in err
    assert "abcdefgh12345" not in err
    assert "this is a bug" in err


# --- Ctrl-C --------------------------------------------------------------------------------------


def interrupt() -> None:
    """What Ctrl-C does, without the signal: some native libraries do not survive it once used."""
    handler = signal.getsignal(signal.SIGINT)
    assert callable(handler)
    handler(signal.SIGINT, None)


def test_after_ctrl_c_answers_under_way_are_taken_and_nothing_else_is_begun() -> None:
    seen: list[str] = []

    def note(event: str, fields: Mapping[str, Any]) -> None:
        seen.append(event)

    with interruptible(note) as tell:
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        tell("stopping", {"text": "3 calls under way"})  # a pool took the interrupt
        tell("rows", {})
        with pytest.raises(KeyboardInterrupt):
            tell("candidate", {})
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert seen == ["stopping", "rows"]


def test_an_interrupt_that_a_library_swallowed_ends_at_the_next_event() -> None:
    with interruptible(lambda event, fields: None) as tell:
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        tell("note", {})
        with pytest.raises(KeyboardInterrupt):
            tell("rows", {})
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
