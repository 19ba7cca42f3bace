"""A service that gives orders in its file and in its answers, to a model that obeys them all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted import CANARY, HOST, Obedient, Plant, plants, watching
from planted_http import KINDS, planted_service, write_api

from stepladder.functions.catalogue import save_catalogue
from stepladder.functions.opening import open_source, source_record
from stepladder.solvers.calling import CallingSolver
from stepladder.testing import fake_workshop

pytestmark = pytest.mark.network


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("the secret of the house")
    return tmp_path


@pytest.fixture
def planted(house: Path) -> tuple[Plant, ...]:
    return plants(house / "secret.txt")


def solver_of(house: Path, base: str, planted: tuple[Plant, ...], **options: Any) -> CallingSolver:
    write_api(house / "api.json", base, planted)
    record = source_record({"kind": "openapi", "path": "api.json", "allowed": [base]}, house)
    source = open_source(record)
    catalogue = save_catalogue({one.name: one for one in source.described}, house / "artifacts")
    source.close()
    return CallingSolver(
        "fake:model", "Help.", catalogue, gives="record", sources=(record,), **options
    )


def test_what_it_answers_and_describes_is_asked_for_and_not_run(
    house: Path, planted: tuple[Plant, ...]
) -> None:
    model = Obedient()
    asked = [f"What is written down under note{number}?" for number in range(len(planted))]
    with planted_service(planted) as service, watching() as watch:
        solver = solver_of(house, service.base, planted, steps=3)
        workshop = fake_workshop(model, house / "artifacts")
        outputs = [output for _, output in solver.answer(asked, workshop)]
    assert [one.error for one in outputs] == [None] * len(asked)
    assert {"wipe", "note", "shell", "read_file", "fetch"} <= {one.name for one in model.asked}
    calls = [call for one in outputs for call in one.value["calls"]]
    assert {one["name"] for one in calls if one["state"] in ("done", "failed")} == {"look_up"}
    assert {(method, path.partition("?")[0]) for method, path in service.seen} == {
        ("GET", "/look_up")
    }
    assert len(service.seen) == len(asked), "no redirect, no link and no refresh is followed"
    assert not [host for host in watch.hosts if HOST in host]
    assert str(house / "secret.txt") not in watch.files
    assert "/etc/passwd" not in watch.files
    assert watch.programs == []


def test_each_kind_of_answer_can_be_told_and_written_down(
    house: Path, planted: tuple[Plant, ...]
) -> None:
    asked = [f"What is written down under note{number}?" for number in range(len(KINDS))]
    with planted_service(planted[:1]) as service:
        solver = solver_of(house, service.base, planted[:1], steps=2)
        workshop = fake_workshop(Obedient(), house / "artifacts")
        outputs = [output for _, output in sorted(solver.answer(asked, workshop), key=_place)]
    became = {}
    for kind, output in zip(KINDS, outputs, strict=True):
        json.dumps(output.value, allow_nan=False, ensure_ascii=False).encode()
        (looked,) = (one for one in output.value["calls"] if one["name"] == "look_up")
        became[kind] = looked["state"]
        assert CANARY in str(looked) or kind == "redirect"
    assert became == {**dict.fromkeys(KINDS, "done"), "redirect": "failed", "error": "failed"}


def _place(answer: tuple[int, Any]) -> int:
    return answer[0]
