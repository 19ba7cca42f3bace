"""Whole climbs of hosted models by the command line, against a service of their own.

What the service answers is learnt from the prompt or the training rows, so scores mean nothing
beyond that; what is shown is that the path from a prompt to a tuning job to a decision holds, and
that nothing is asked and paid for twice on it.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_process import Command, answers_in, wait_for
from hosted_service import Service
from hosted_tasks import BUCKET, make_hosted_task

pytest.importorskip("google.genai")
pytest.importorskip("google.cloud.storage")
pytest.importorskip("openai")

CONCURRENCY = 8
SHORT = """[steps.prompt]
sample = 8
keep = 2

[steps.few_shot]
k = [2]
methods = ["bm25"]
slice = 12
keep = 1
"""
CALLS = f"concurrency = {CONCURRENCY}"
ASKED = ":generateContent"
STEPS = "prompt,few_shot,fine_tune"
TROUBLE: dict[str, Any] = {
    "kinds": ["429", "500", "503", "drop", "cut", "truncated"],
    "seed": 5,
    "wait_seconds": 0.05,
}

Start = Callable[..., Command]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """One where a prompt is not enough, examples in it nearly are, and a tuned model is."""
    return make_hosted_task(tmp_path / "task", labels=20, score=0.85, calls=CALLS, more=SHORT)


@pytest.fixture
def start(service: Service, tmp_path: Path) -> Iterator[Start]:
    service.make_bucket(BUCKET)
    yield from _starting(service, tmp_path)


def _starting(service: Service, folder: Path) -> Iterator[Start]:
    environment = {
        **service.environment(folder / "service-account.json"),
        "STEPLADDER_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    commands: list[Command] = []

    def start(task: Path, *more: str, steps: str = STEPS) -> Command:
        arguments = ("climb", str(task), "--steps", steps, "--json", *more)
        place = folder / f"command-{len(commands)}"
        commands.append(Command(place, *arguments, environment=environment))
        return commands[-1]

    yield start
    for command in commands:
        command.process.kill()
        command.process.join()


def decided(command: Command) -> dict[str, Any]:
    assert command.wait() in (0, 1), command.errors
    record: dict[str, Any] = json.loads(command.output)
    return record


def outcome(record: dict[str, Any]) -> tuple[Any, ...]:
    confirmed = record["confirmed"] or {}
    return record["verdict"], confirmed.get("score"), confirmed.get("n")


def created(service: Service) -> int:
    seen = service.requests("/tuningJobs", bodies=False)
    return sum(call.method == "POST" and call.answered for call in seen)


def answered_twice(service: Service) -> int:
    return sum(count - 1 for count in service.answered(ASKED).values())


@pytest.mark.parametrize("share", [0.05, pytest.param(0.2, marks=pytest.mark.slow)])
def test_from_a_prompt_to_a_tuning_job_to_a_decision(
    share: float, service: Service, task: Path, start: Start
) -> None:
    service.settings(concurrency=5, latency=0.01)  # fewer than are made at once
    service.faults({**TROUBLE, "share": share})
    record = decided(start(task))

    assert record["verdict"] == "met"
    chosen = record["chosen"]
    assert (chosen["step"], chosen["solver"]) == (
        "fine_tune",
        "tuned vertex:gemini-3.1-flash-lite",
    )
    steps = {trial["step"] for trial in record["trials"]}
    assert steps == {"prompt", "few_shot", "fine_tune"}
    assert created(service) == 1
    assert service.answered(ASKED)
    assert answered_twice(service) == 0
    calls = service.requests(ASKED)
    assert {call.fault for call in calls} == {"", "limit", *TROUBLE["kinds"]}
    assert all("google-genai-sdk" in call.headers["x-goog-api-client"] for call in calls)
    tuned = [call for call in calls if "/endpoints/" in call.path]
    thinking = [call.body["generationConfig"]["thinkingConfig"] for call in tuned]
    assert {json.dumps(one).lower() for one in thinking} == {'{"thinking_level": "minimal"}'}
    for rows in (task / "runs").glob("climb-*/rows/*.jsonl"):
        for line in rows.read_text(encoding="utf-8").splitlines():
            assert json.loads(line).get("error") is None


MOMENTS: dict[str, Callable[[Service, Path], bool]] = {
    "while searching": lambda service, task: len(answers_in(task / "runs")) >= 10,
    "the job is made": lambda service, task: created(service) == 1,
    "while tuning": lambda service, task: bool(service.requests("/tuningJobs/", bodies=False)),
    "tuned": lambda service, task: any("/endpoints/" in c.path for c in asked_so_far(service)),
}


def asked_so_far(service: Service) -> Any:
    return service.requests(ASKED, bodies=False)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("while searching", marks=pytest.mark.slow),
        # its answer may be lost: the next climb looks for the job for as long as one may hide
        pytest.param("the job is made", marks=pytest.mark.slow),
        "while tuning",
        pytest.param("tuned", marks=pytest.mark.slow),
    ],
)
def test_after_kill_9_nothing_that_was_kept_is_asked_again(
    moment: str, service: Service, task: Path, start: Start
) -> None:
    service.settings(latency=0.01)
    first = start(task)
    wait_for(lambda: MOMENTS[moment](service, task), first)
    first.process.kill()
    assert first.wait() == -signal.SIGKILL
    wait_until_idle(service)
    kept = len(answers_in(task / "runs"))
    under_way = sum(service.answered(ASKED).values()) - kept
    assert 0 <= under_way <= CONCURRENCY

    record = decided(start(task))

    assert record["verdict"] == "met"
    assert answered_twice(service) <= under_way
    assert created(service) == 1


def wait_until_idle(service: Service) -> None:
    """The service sends what it has made, though nobody is there any more."""
    while any(call.until is None for call in service.requests(bodies=False)):
        pass


def test_ctrl_c_loses_no_answer_that_is_paid_for(
    service: Service, task: Path, start: Start
) -> None:
    service.settings(latency=0.05)
    first = start(task, steps="prompt")
    wait_for(lambda: len(answers_in(task / "runs")) >= 5, first)
    os.kill(first.process.pid or 0, signal.SIGINT)
    assert first.wait() == 130
    assert "Run the same command again to go on" in first.errors
    assert "Traceback" not in first.errors
    assert len(answers_in(task / "runs")) == sum(service.answered(ASKED).values())

    decided(start(task, steps="prompt"))
    assert answered_twice(service) == 0


def test_ctrl_c_leaves_the_tuning_job_running_and_says_so(
    service: Service, task: Path, start: Start
) -> None:
    service.settings(polls=10_000)
    first = start(task, steps="fine_tune")
    wait_for(lambda: created(service) == 1 and "Ctrl-C leaves it" in first.errors, first)
    os.kill(first.process.pid or 0, signal.SIGINT)
    assert first.wait() == 130
    assert "the same command resumes it" in first.errors
    assert not service.requests(":cancel")

    service.settings(polls=0)
    record = decided(start(task, steps="fine_tune"))
    assert record["verdict"] == "met"
    assert created(service) == 1


def test_a_job_that_fails_is_told_and_not_paid_for_again(
    service: Service, task: Path, start: Start
) -> None:
    service.settings(fail_jobs="Internal error while training.")
    for _ in range(2):
        command = start(task, steps="prompt,fine_tune")
        record = decided(command)
        assert record["verdict"] == "not_met"
        assert "Internal error while training." in command.errors
    assert created(service) == 1


def test_a_job_whose_making_was_cut_off_is_found_and_not_made_again(
    service: Service, task: Path, start: Start
) -> None:
    service.faults({"kinds": ["cut"], "path": "^POST .*/tuningJobs$", "times": 1})
    record = decided(start(task, steps="fine_tune"))
    assert record["verdict"] == "met"
    asked = service.requests("/tuningJobs", bodies=False)
    (made,) = [call for call in asked if call.method == "POST"]
    assert (made.made, made.answered) == (True, False)


def test_a_job_goes_on_while_the_service_is_started_anew(
    lasting_service: Service, task: Path, tmp_path: Path
) -> None:
    service = lasting_service
    service.make_bucket(BUCKET)
    service.settings(polls=10_000)
    for start in _starting(service, tmp_path):
        command = start(task, steps="fine_tune")
        wait_for(lambda: bool(service.requests("/tuningJobs/", bodies=False)), command)
        service.restart()  # it has forgotten all but its jobs, the number of polls too
        record = decided(command)
        assert record["verdict"] == "met"
        assert created(service) == 0
        assert service.requests("/endpoints/")


def test_expired_credentials_end_the_climb_and_good_ones_go_on(
    service: Service, task: Path, start: Start
) -> None:
    service.faults({"kinds": ["expired"], "after": 30})
    first = start(task, steps="prompt")
    assert first.wait() == 2
    assert "Traceback" not in first.errors
    assert "expired" in first.errors
    turned_away = [call for call in asked_so_far(service) if call.fault == "expired"]
    assert 1 <= len(turned_away) <= 3 * CONCURRENCY  # those under way, here and there, and no more

    service.faults()
    decided(start(task, steps="prompt"))
    assert answered_twice(service) == 0


def test_a_model_is_tuned_through_openais_protocol_too(
    service: Service, tmp_path: Path, start: Start
) -> None:
    models = ("openai:gpt-4o-mini-2024-07-18",)
    task = make_hosted_task(tmp_path / "chat", labels=20, models=models, calls=CALLS, more=SHORT)
    record = decided(start(task, steps="prompt,fine_tune"))
    assert record["verdict"] == "met"
    assert record["chosen"]["step"] == "fine_tune"
    jobs = service.requests("/fine_tuning/jobs", bodies=False)
    assert sum(call.method == "POST" for call in jobs) == 1
    assert set(service.answered("/chat/completions").values()) == {1}
