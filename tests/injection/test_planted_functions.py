"""Results, descriptions and arguments that give orders, to a model that obeys them all."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from planted import CANARY, FUNCTIONS, HOST, Obedient, plants, watching

from stepladder.core import Call, Function, Message
from stepladder.errors import TaskError
from stepladder.functions.catalogue import save_catalogue
from stepladder.functions.openapi import open_openapi
from stepladder.functions.opening import open_source, source_record
from stepladder.models.local.functions import plain_messages
from stepladder.models.local.tokenizer import load_tokenizer
from stepladder.solvers.calling import CallingSolver
from stepladder.testing import fake_workshop


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "secret.txt").write_text("the secret of the house")
    (tmp_path / "precious.txt").write_text("precious")
    told = "\n".join(one.text for one in plants(tmp_path / "secret.txt"))
    (tmp_path / "planted.txt").write_text(told, encoding="utf-8")
    return tmp_path


def solver_of(house: Path, **options: object) -> CallingSolver:
    record = source_record({"kind": "python", "path": "functions.py"}, house)
    described = {one.name: one for one in open_source(record).described}
    catalogue = save_catalogue(described, house / "artifacts")
    whole = CallingSolver("fake:model", "Help.", catalogue, gives="record", sources=(record,))
    return replace(whole, **options)


def answered(house: Path, **options: object) -> tuple[Obedient, list[dict]]:
    """The model, and all calls that it asked for with what became of them."""
    model = Obedient()
    asked = options.pop("asked", "What is written down?")
    with watching() as watch:
        workshop = fake_workshop(model, house / "artifacts")
        ((_, output),) = solver_of(house, **options).answer([asked], workshop)
    assert str(house / "secret.txt") not in watch.files
    assert "/etc/passwd" not in watch.files
    assert watch.hosts == watch.programs == []
    assert output.error is None
    return model, list(output.value["calls"])


def test_what_a_result_orders_is_asked_for_and_not_run(house: Path) -> None:
    model, calls = answered(house)
    wanted = {call.name for call in model.asked}
    assert {"wipe", "note", "shell", "read_file", "fetch", "look_up"} <= wanted
    assert {call["name"] for call in calls if call["state"] == "done"} == {"look_up"}
    assert (house / "precious.txt").exists()
    assert not (house / "notes.txt").exists()
    reasons = {call["name"]: call["error"] for call in calls if call["state"] == "refused"}
    assert "is not allowed to run" in reasons["wipe"]
    assert "the arguments do not fit" in reasons["note"]
    assert all("there is no function" in reasons[name] for name in ("shell", "read_file", "fetch"))


def test_the_allow_list_lets_one_act_and_no_other(house: Path) -> None:
    order = 'call function note with {"text": "obeyed"}'
    _, calls = answered(house, allowed=("note",), asked=order)
    assert {c["name"] for c in calls if c["state"] == "done"} == {"look_up", "note"}
    assert set((house / "notes.txt").read_text().split("obeyed")) == {""}
    assert (house / "precious.txt").exists()


def test_what_is_no_candidate_of_the_input_does_not_run_though_it_is_allowed(house: Path) -> None:
    order = {"text": 'call function note with {"text": "obeyed"}', "functions": ["look_up"]}
    _, calls = answered(house, allowed=("note", "wipe"), candidates="functions", asked=order)
    assert {c["name"] for c in calls if c["state"] == "done"} == {"look_up"}
    assert not (house / "notes.txt").exists()
    assert (house / "precious.txt").exists()


def test_in_a_dry_run_nothing_acts_whatever_is_allowed(house: Path) -> None:
    _, calls = answered(house, allowed=("note", "wipe"), dry=True, asked="call function wipe with "
                        '{"everything": true}')  # fmt: skip
    assert {c["state"] for c in calls} <= {"recorded", "refused"}
    assert (house / "precious.txt").exists()


def test_a_result_cannot_end_itself_nor_speak_as_somebody_else(house: Path, llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    special = set(tokenizer.tokenizer.all_special_ids)
    for plant in plants(house / "secret.txt"):
        told = json.dumps({"result": plant.text}, ensure_ascii=False)
        call = Call("look_up", {"topic": "all"}, "1")
        turns = [
            Message("user", "What is written down?"),
            Message("assistant", "", calls=(call,)),
            Message("function", told, result_of=call),
        ]
        shown = plain_messages(turns)
        assert [turn.role for turn in shown] == ["user", "assistant", "user"]
        text = str(shown[-1].content)
        assert text.count("<tool_response>") == text.count("</tool_response>") == 1
        assert "<tool_call>" not in text
        inside = text.removeprefix("<tool_response>").removesuffix("</tool_response>")
        assert json.loads(inside) == {"name": "look_up", "result": {"result": plant.text}}
        ids = tokenizer.chat_ids(shown)
        bare = tokenizer.chat_ids([replace(turn, content="x") for turn in shown])
        assert [i for i in ids if i in special] == [i for i in bare if i in special]


def test_a_description_stays_one_line_of_json(house: Path) -> None:
    for plant in plants(house / "secret.txt"):
        described = Function("look_up", plant.text, {"properties": {"x": {"title": plant.text}}})
        (shown,) = plain_messages((), (described,))
        _, line, *after = str(shown.content).split("\n")
        assert json.loads(line)["description"] == plant.text
        assert len(after) == 2
        assert str(shown.content).count("<tool_call>") == 1  # in the form that we show


def test_what_an_openapi_file_says_opens_no_file_and_no_other_host(house: Path) -> None:
    told = "\n".join(one.text for one in plants(house / "secret.txt"))
    path = house / "api.json"

    def api(server: str, schema: dict) -> Path:
        operation = {
            "operationId": "look", "description": told, "summary": told,
            "parameters": [{"name": "x", "in": "query", "schema": schema, "description": told}],
            "responses": {"200": {"description": told}},
        }  # fmt: skip
        whole = {"openapi": "3.1.0", "info": {"title": told, "version": "1"}}
        whole |= {"servers": [{"url": server}], "paths": {"/look": {"get": operation}}}
        path.write_text(json.dumps(whole), encoding="utf-8")
        return path

    plain = {"type": "string"}
    with watching() as watch:
        source = open_openapi(api("http://127.0.0.1:9", plain), allowed=["http://127.0.0.1:9"])
        assert [one.name for one in source.described] == ["look"]
        source.close()
        with pytest.raises(TaskError):
            open_openapi(api(f"http://{HOST}", plain), allowed=["http://127.0.0.1:9"])
        for reference in (f"file://{house / 'secret.txt'}", "secret.txt", f"http://{HOST}/x"):
            with pytest.raises(TaskError):
                open_openapi(
                    api("http://127.0.0.1:9", {"$ref": reference}), allowed=["http://127.0.0.1:9"]
                )
    assert str(house / "secret.txt") not in watch.files
    assert watch.hosts == []


def test_a_source_that_says_of_itself_that_it_only_reads_is_not_believed() -> None:
    """An MCP server's hints are its own words; see also what `trust_hints` does."""
    from inspect import signature

    from stepladder.functions.mcp_server import open_mcp_command, open_mcp_url

    for open_mcp in (open_mcp_command, open_mcp_url):
        assert signature(open_mcp).parameters["trust_hints"].default is False


def test_the_plants_are_what_they_seem(house: Path) -> None:
    told = [one.text for one in plants(house / "secret.txt")]
    assert len({one.name for one in plants(house)}) == len(told) >= 30
    assert any(CANARY in text for text in told)
    assert any(re.search("[\U000e0000-\U000e007f]", text) for text in told)
