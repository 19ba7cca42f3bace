"""Climbs at Together and Fireworks by the command line: the tuned model waits for a machine.

The service is ours; what the real ones do was never seen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli_process import Command
from hosted_service import Service
from hosted_tasks import make_hosted_task

from .test_tuning_services import FIREWORKS, RENTED, TOGETHER, Route, made, others


class Climbs:
    """The same climb, again and again; each in a process of its own."""

    def __init__(self, service: Service, task: Path, folder: Path) -> None:
        self._task, self._folder, self._count = task, folder, 0
        self._environment = {
            **service.environment(folder / "service-account.json"),
            **others(service),
            "STEPLADDER_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *more: str) -> dict[str, Any]:
        self._count += 1
        arguments = ("climb", str(self._task), "--steps", "fine_tune", "--json", *more)
        place = self._folder / f"command-{self._count}"
        command = Command(place, *arguments, environment=self._environment)
        assert command.wait() in (0, 1), command.errors
        record: dict[str, Any] = json.loads(command.output)
        return record


@RENTED
def test_the_same_climb_goes_on_once_the_user_has_rented_a_machine(
    route: Route, service: Service, tmp_path: Path
) -> None:
    task = make_hosted_task(
        tmp_path / "task",
        labels=6,
        score=0.6,
        models=(route.base,),
        more="[steps.fine_tune]\nepochs = 10\n",
    )
    climbs = Climbs(service, task, tmp_path)
    service.settings(deployed=False)
    record = climbs.run("--budget-dollars", "1")
    (skipped,) = record["skipped"]
    assert skipped["step"] == "fine_tune"
    assert f"'{route.base}@" in skipped["reason"]
    assert "waits for a deployment" in skipped["reason"]
    how = {TOGETHER.provider: "tg endpoints create", FIREWORKS.provider: "firectl deployment"}
    assert how[route.provider] in skipped["reason"]
    assert not record["trials"]
    assert len(made(service, route)) == 1

    service.settings(deployed=True)
    record = climbs.run()
    (trial,) = record["trials"]
    assert trial["step"] == "fine_tune"
    assert trial["score"] > 0.6
    assert trial["build_dollars"] > 0
    assert trial["dollars_per_1000"] is None  # a machine by the hour has no price for a request
    assert len(made(service, route)) == 1


def test_a_job_above_the_budget_is_not_made(service: Service, tmp_path: Path) -> None:
    task = make_hosted_task(
        tmp_path / "task",
        labels=6,
        models=(TOGETHER.base,),
        more="[steps.fine_tune]\nepochs = 10\n",
    )
    record = Climbs(service, task, tmp_path).run("--budget-dollars", "0.001")
    (skipped,) = record["skipped"]
    assert "0.001" in skipped["reason"] or "budget" in skipped["reason"]
    assert not made(service, TOGETHER)
