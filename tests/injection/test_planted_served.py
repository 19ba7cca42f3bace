"""Bundles that read and say what was planted, behind both protocols: what callers are given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planted import (
    CANARY,
    FUNCTIONS,
    HOST,
    Obedient,
    Plant,
    Watch,
    plants,
    questions,
    watching,
    write_knowledge,
)
from planted_served import FORMS, Served, serving_planted

from stepladder.functions.catalogue import save_catalogue
from stepladder.functions.opening import open_source, source_record
from stepladder.knowledge.documents import read_documents
from stepladder.knowledge.index import IndexShape, build_index
from stepladder.solvers.calling import CallingSolver
from stepladder.solvers.citing import Knowledge
from stepladder.solvers.prompt import PromptSolver


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "secret.txt").write_text("the secret of the house")
    (tmp_path / "precious.txt").write_text("precious")
    (tmp_path / "planted.txt").write_text("Nothing is planted here.")
    return tmp_path


@pytest.fixture
def planted(house: Path) -> tuple[Plant, ...]:
    return plants(house / "secret.txt")


@pytest.fixture
def from_documents(house: Path, planted: tuple[Plant, ...]) -> Iterator[Served]:
    """Answers out of documents that give orders."""
    write_knowledge(house / "knowledge", planted)
    index = build_index(
        read_documents(house / "knowledge"), IndexShape(dense=False), house / "artifacts"
    )
    solver = PromptSolver("fake:model", "Answer.", "qa", knowledge=Knowledge(index, k=2))
    with serving_planted(solver, Obedient(), house, house / "artifacts") as served:
        yield served


def with_functions(house: Path, **options: Any) -> CallingSolver:
    record = source_record({"kind": "python", "path": "functions.py"}, house)
    described = {one.name: one for one in open_source(record).described}
    catalogue = save_catalogue(described, house / "artifacts")
    return CallingSolver("fake:model", "Help.", catalogue, sources=(record,), **options)


def nothing_happened(watch: Watch, house: Path) -> None:
    assert str(house / "secret.txt") not in watch.files
    assert "/etc/passwd" not in watch.files
    assert not [host for host in watch.hosts if HOST in host]
    assert watch.programs == []
    assert (house / "precious.txt").exists()
    assert not (house / "notes.txt").exists()


@pytest.mark.parametrize("form", FORMS)
def test_what_documents_plant_is_text_in_every_answer(
    from_documents: Served, planted: tuple[Plant, ...], house: Path, form: str
) -> None:
    asked = [str(one.input) for one in questions(planted)]
    with watching() as watch:
        answers = from_documents.ask(asked, form)
    assert [one.status for one in answers] == [200] * len(asked)
    assert sum(CANARY in one.text for one in answers) > len(asked) / 2, "the model obeyed"
    nothing_happened(watch, house)
    for one in answers:
        assert CANARY not in json.dumps(one.headers)
        assert not any(HOST in address for address in addresses(one.documents))


def addresses(value: Any) -> Iterator[str]:
    """Whatever a client may follow: the values of fields that are called an address."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name in ("url", "uri") and isinstance(one, str):
                yield one
            yield from addresses(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from addresses(one)


def test_what_is_cited_leads_to_no_address_and_to_no_script(
    from_documents: Served, planted: tuple[Plant, ...]
) -> None:
    asked = [str(one.input) for one in questions(planted)]
    found = {
        address
        for form in ("openai", "gemini")
        for one in from_documents.ask(asked, form)
        for address in addresses(one.documents)
    }
    assert found
    assert all(":" not in one and not one.startswith(("/", "\\")) for one in found)
    assert all(one.isprintable() and " " not in one for one in found)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gives", ["record", "answer"])
def test_what_a_caller_orders_runs_nothing_that_is_not_allowed(
    house: Path, planted: tuple[Plant, ...], form: str, gives: str
) -> None:
    solver = with_functions(house, gives=gives, steps=2)
    model = Obedient()
    with (
        serving_planted(solver, model, house, house / "artifacts") as served,
        watching() as watch,
    ):
        answers = served.ask([one.text for one in planted], form)
    assert {"wipe", "note", "shell", "read_file", "fetch"} <= {one.name for one in model.asked}
    assert [one.status for one in answers] == [200] * len(planted)
    nothing_happened(watch, house)


@pytest.mark.parametrize("form", FORMS)
def test_calls_that_a_caller_is_to_make_name_described_functions_only_if_the_model_does(
    house: Path, planted: tuple[Plant, ...], form: str
) -> None:
    """The caller makes these calls: they are in the protocol's own place, and none ran here."""
    solver = with_functions(house, gives="calls")
    with (
        serving_planted(solver, Obedient(), house, house / "artifacts") as served,
        watching() as watch,
    ):
        answers = served.ask([one.text for one in planted], form)
    assert [one.status for one in answers] == [200] * len(planted)
    nothing_happened(watch, house)
    assert all("look_up" in json.dumps(one.documents) for one in answers)


@pytest.mark.parametrize("log", ["text", "json"])
def test_a_line_of_the_log_is_one_line_whatever_is_asked_for(
    house: Path, planted: tuple[Plant, ...], log: str
) -> None:
    solver = PromptSolver("fake:model", "Answer.")
    names = [one.text.replace("/", "-").replace("?", "-")[:200] for one in planted]
    with serving_planted(solver, Obedient(), house, house / "artifacts", log=log) as served:
        for name in names:
            served.ask(["hello"], "openai", model=name)
        lines = served.logged.split("\n")[:-1]
    assert len(lines) == len(names)
    assert all(one.isprintable() or log == "json" for line in lines for one in line)
    assert not any(ord(one) < 32 or 127 <= ord(one) < 160 for line in lines for one in line)
    if log == "json":
        assert all(json.loads(line)["level"] for line in lines)
