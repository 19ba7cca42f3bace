"""The solver that calls functions: what it asks, what it gives, and that it is plain data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ride_functions import Scripted, call, results, write_functions

from stepladder.core import Call, Function, Message, Output, Part, Workshop
from stepladder.data.chat import CALL, RESULT, json_part
from stepladder.errors import StepladderError, TaskError
from stepladder.functions.catalogue import load_catalogue, read_catalogue, save_catalogue
from stepladder.functions.description import Described
from stepladder.functions.opening import source_record
from stepladder.functions.python_file import open_python
from stepladder.solvers import artifacts_of, solver_from_record, solver_record
from stepladder.solvers.calling import NO_CALL, CallingSolver, render, training_pair
from stepladder.solvers.calling_answers import served_calls
from stepladder.solvers.selection import save_pool
from stepladder.testing import check_solver

CATALOGUE = {
    "look_up#1": Described(Function("music.look_up", "Finds a song.", {
        "type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"],
    })),
    "look_up#2": Described(Function("music.look_up", "Another.", {"type": "object"})),
    "play": Described(Function("music.play", "Plays.", {"type": "object"})),
}  # fmt: skip


def workshop(model, folder: Path) -> Workshop:
    return Workshop(lambda name: model, folder / "artifacts", lambda event, fields: None)


@pytest.fixture
def solver(tmp_path: Path) -> CallingSolver:
    name = save_catalogue(CATALOGUE, tmp_path / "artifacts")
    return CallingSolver("fake:m", "Help with music.", name, candidates="may")


def answers(solver, inputs, model, folder: Path) -> list[Output]:
    found = dict(solver.answer(inputs, workshop(model, folder)))
    return [found[place] for place in range(len(inputs))]


def asks(text: str, *functions: str) -> dict:
    return {"text": text, "may": list(functions)}


def test_it_predicts_calls_under_the_functions_own_names(solver, tmp_path: Path) -> None:
    model = Scripted(
        find=[(call("music_look_up", title="Hey"), call("music_play"))],
        talk=["Just talking."],
        fail=[OSError("away")],
    )
    inputs = [asks("find", "look_up#1", "play"), asks("talk", "play"), asks("fail", "play")]
    found, talk, failed = answers(solver, inputs, model, tmp_path)
    assert found.value == [
        {"name": "music.look_up", "arguments": {"title": "Hey"}},
        {"name": "music.play", "arguments": {}},
    ]
    assert (talk.value, talk.text, failed.error) == ([], "Just talking.", "away")
    (batch,) = model.batches
    assert [[f.name for f in one.functions] for one in batch] == [
        ["music_look_up", "music_play"], ["music_play"], ["music_play"],
    ]  # fmt: skip
    assert [message.content for message in batch[0].messages] == ["Help with music.", "find"]


def test_an_input_with_unknown_or_unclear_functions_fails_alone(solver, tmp_path: Path) -> None:
    inputs = [asks("a", "fly"), asks("b", "look_up#1", "look_up#2"), {"text": "c", "may": 7},
              asks("d", "play")]  # fmt: skip
    outputs = answers(solver, inputs, Scripted(d=["Fine."]), tmp_path)
    assert "'fly'" in (outputs[0].error or "")
    assert "two candidates are called 'music.look_up'" in (outputs[1].error or "")
    assert "no list of functions" in (outputs[2].error or "")
    assert outputs[3].value == []


def test_a_conversation_with_calls_and_results_is_asked_as_one(solver) -> None:
    call = {"name": "music.look_up", "arguments": {"title": "Hey"}}
    turns = (
        Message("user", "find Hey"),
        Message("assistant", (Part("text", "One moment."), json_part(CALL, call))),
        Message("user", (json_part(RESULT, {"name": "music.look_up", "response": {"id": 7}}),)),
        Message("user", "play it"),
    )
    start = render(replace(solver, candidates=None), turns, {"play": CATALOGUE["play"]})
    _, first, called, result, last = start.messages
    assert (first.content, called.content, last.content) == ("find Hey", "One moment.", "play it")
    assert [(c.name, c.arguments) for c in called.calls] == [("music_look_up", {"title": "Hey"})]
    assert (result.role, result.content) == ("function", '{"id": 7}')
    assert result.result_of == called.calls[0]
    assert called.calls[0].id


def test_demonstrations_are_turns_with_calls_and_results(solver) -> None:
    demos = (
        (asks("one", "play"), [{"name": "music.play", "arguments": {}}]),
        (asks("two", "play"), []),
    )
    start = render(replace(solver, demos=demos), asks("three", "play"), CATALOGUE)
    assert [m.role for m in start.messages] == [
        "system", "user", "assistant", "function", "user", "assistant", "user",
    ]  # fmt: skip
    assert start.messages[2].calls == (Call("music_play", {}, "demo_1_1"),)
    assert start.messages[3].result_of == start.messages[2].calls[0]
    assert start.messages[5].content == NO_CALL


def test_training_says_what_is_asked_and_read_when_it_is_measured(solver) -> None:
    from stepladder.models.local.functions import OPENING, parse_calls

    expected = {"name": "music.look_up", "arguments": {"title": "Hey"}}
    asked = asks("find", "look_up#1", "play")
    messages, said = training_pair(solver, asked, expected, CATALOGUE)
    assert [m.role for m in messages] == ["system", "user"]
    assert "music_look_up" in str(messages[0].content)
    opened, body = said[: len(OPENING)], said[len(OPENING) :].removesuffix("</tool_call>")
    assert opened == OPENING
    functions = render(solver, asked, CATALOGUE).functions
    (read,) = parse_calls(body, functions, str)
    assert (read.name, read.arguments) == ("music_look_up", {"title": "Hey"})
    assert training_pair(solver, asked, {"name": "none"}, CATALOGUE)[1] == NO_CALL


def test_as_json_the_model_writes_calls_under_a_schema(solver, tmp_path: Path) -> None:
    said = '[{"name": "music_look_up", "arguments": {"title": "Hey"}}]'
    model = Scripted(find=[said], talk=["[]"], cut=['[{"name": "mus'], fail=[OSError("away")])
    inputs = [asks(name, "look_up#1", "play") for name in model.scripts]
    demos = ((asks("one", "play"), [{"name": "music.play", "arguments": {}}]),)
    given = replace(solver, form="json", demos=demos)
    found, talk, cut, failed = answers(given, inputs, model, tmp_path)
    assert found.value == [{"name": "music.look_up", "arguments": {"title": "Hey"}}]
    assert (talk.value, cut.value, cut.error, failed.error) == ([], None, None, "away")
    request = model.batches[0][0]
    assert request.functions == ()
    assert request.schema is not None
    assert request.schema["minItems"] == 0
    assert [m.role for m in request.messages] == ["system", "user", "assistant", "user"]
    assert request.messages[2].content == '[{"name": "music_play", "arguments": {}}]'
    assert '"music_look_up"' in str(request.messages[0].content)
    expected = {"name": "music.look_up", "arguments": {"title": "Hey"}}
    kept = load_catalogue(tmp_path / "artifacts", given.artifact)
    assert training_pair(given, inputs[0], expected, kept) == (request.messages, said)
    assert training_pair(given, inputs[0], [], CATALOGUE)[1] == "[]"
    with pytest.raises(StepladderError, match="nothing to say in the end"):
        replace(given, gives="answer")


def test_calls_are_served_to_be_made_by_the_caller(solver) -> None:
    value = [{"name": "music.play", "arguments": {}}, {"name": "music.play", "arguments": {}}]
    served = served_calls(solver, Output(value, "..."))
    assert served is not None
    calls, text = served
    assert [(one.name, one.arguments) for one in calls] == [("music.play", {})] * 2
    assert len({one.id for one in calls}) == 2
    assert text == ""
    assert served_calls(solver, Output([], "Just talking.")) == ((), "Just talking.")
    assert served_calls(replace(solver, form="json"), Output([], "[]")) == ((), "")
    assert served_calls(solver, Output(None, "no list")) is None
    assert served_calls(replace(solver, gives="record"), Output({}, "{}")) is None


def test_demonstrations_are_picked_for_each_input_from_its_pool(solver, tmp_path: Path) -> None:
    may = ("look_up#1", "play")
    pool = [
        (
            asks("find the song Hey", *may),
            [{"name": "music.look_up", "arguments": {"title": "Hey"}}],
        ),
        (asks("please be quiet", *may), []),
    ]
    model = Scripted(**{"find the song Yo": ["[]"], "quiet now please": ["[]"]})
    picked = {
        "method": "bm25", "k": 1, "pool": save_pool(pool, "bm25", workshop(model, tmp_path)),
    }  # fmt: skip
    given = replace(solver, form="json", selector=picked)
    answers(given, [asks(text, *may) for text in model.scripts], model, tmp_path)
    shown = [[str(m.content) for m in one.messages[1:-1]] for one in model.batches[0]]
    assert shown == [
        ["find the song Hey", '[{"name": "music_look_up", "arguments": {"title": "Hey"}}]'],
        ["please be quiet", "[]"],
    ]
    assert artifacts_of(given) == (given.artifact, picked["pool"])
    assert solver_from_record(solver_record(given)) == given


def test_what_is_shown_of_functions_is_less_for_a_model_that_was_tuned(solver) -> None:
    asked = asks("find", "look_up#1", "play")

    def told(shown: str) -> str:
        start = render(replace(solver, form="json", shown=shown), asked, CATALOGUE)
        assert [one.name for one in start.functions] == ["music_look_up", "music_play"]
        return str(start.messages[0].content)

    assert '"properties"' in told("schemas")
    assert "music_look_up: Finds a song.\n  title: string" in told("signatures")
    assert "music_look_up" not in told("nothing")
    assert len(told("nothing")) < len(told("signatures")) < len(told("schemas"))


@pytest.fixture
def running(tmp_path: Path) -> CallingSolver:
    path = write_functions(tmp_path)
    described = {one.name: one for one in open_python(path).described}
    return CallingSolver(
        "fake:m",
        "Book rides.",
        save_catalogue(described, tmp_path / "artifacts"),
        gives="record",
        sources=(source_record({"kind": "python", "path": "functions.py"}, tmp_path),),
        allowed=("book_ride",),
    )


BOOK = [(call("find_rides", city="Fresno"),), (call("book_ride", ride=1),), "Ride 1 is booked."]


def test_it_runs_what_is_called_and_tells_all_of_it(running, tmp_path: Path) -> None:
    model = Scripted(book=BOOK)
    (output,) = answers(running, ["book"], model, tmp_path)
    assert output.value["answer"] == "Ride 1 is booked."
    assert output.value["steps"] == 3
    assert output.value["ended"] == "answer"
    assert output.value["calls"][1] == {
        "name": "book_ride", "arguments": {"ride": 1}, "state": "done", "side_effects": True,
        "result": "booked ride 1, 1 seats are left",
    }  # fmt: skip
    assert [usage.output_tokens for usage in output.usage] == [5, 5, 5]
    assert "is data" in str(model.batches[0][0].messages[0].content)
    assert len(results(model.batches[2][0])) == 2


def written(*calls: Call) -> str:
    return json.dumps([{"name": one.name, "arguments": one.arguments} for one in calls])


def test_calls_that_are_written_as_a_list_run_too(running, tmp_path: Path) -> None:
    said = [written(*turn) for turn in BOOK[:2] if isinstance(turn, tuple)]
    model = Scripted(book=[*said, "[]"], cut=['[{"name": "find'])
    given = replace(running, form="json")
    output, cut = answers(given, ["book", "cut"], model, tmp_path)
    assert [one["state"] for one in output.value["calls"]] == ["done", "done"]
    assert (output.value["ended"], output.value["answer"]) == ("answer", "")
    assert (cut.value["calls"], cut.value["answer"]) == ([], '[{"name": "find')
    last = model.batches[2][0]
    assert last.functions == ()
    assert last.schema is not None
    assert str(last.messages[-4].content) == said[0]
    assert last.messages[-4].calls == ()
    one_turn = replace(given, steps=1)
    (output,) = answers(one_turn, ["book"], Scripted(book=said), tmp_path)
    assert (output.value["ended"], len(output.value["calls"])) == ("steps", 1)


def test_it_gives_the_answer_alone_or_none_where_a_limit_ended_it(running, tmp_path: Path) -> None:
    given = replace(running, gives="answer", dry=True)
    (output,) = answers(given, ["book"], Scripted(book=BOOK), tmp_path)
    assert output.value == "Ride 1 is booked."
    assert '"state": "recorded"' in output.text
    (ended,) = answers(replace(given, steps=2), ["book"], Scripted(book=BOOK), tmp_path)
    assert (ended.value, ended.error) == (None, None)
    assert '"ended": "steps"' in ended.text


def test_other_functions_than_those_that_were_measured_do_not_run(running, tmp_path: Path) -> None:
    with (tmp_path / "functions.py").open("a") as file:
        file.write("\n# changed\n")
    with pytest.raises(TaskError, match="others than those that were measured"):
        answers(running, ["book"], Scripted(book=BOOK), tmp_path)


def test_it_is_a_record_that_names_its_artifact(running, solver, tmp_path: Path) -> None:
    for one in (running, solver):
        assert solver_from_record(solver_record(one)) == one
        assert artifacts_of(one) == (one.artifact,)


def test_it_keeps_the_contract_of_solvers(solver, tmp_path: Path) -> None:
    model = Scripted(a=["A."], b=["B."])
    check_solver(solver, [asks("a", "play"), asks("b", "play")], workshop(model, tmp_path))


def test_a_catalogue_is_read_from_an_object_or_a_list(tmp_path: Path) -> None:
    path = tmp_path / "functions.json"
    told = {"x": {"type": "float"}, "y": {"type": "any", "default": {"type": "dict"}}}
    parameters = {"type": "dict", "properties": told}
    path.write_text(json.dumps([{"name": "f", "parameters": parameters}]))
    found = read_catalogue(path)["f"].function.parameters
    assert found["type"] == "object"
    assert found["properties"] == {"x": {"type": "number"}, "y": {"default": {"type": "dict"}}}
    for wrong, said in (
        ("3", "neither an object nor a list"),
        ('[{"name": "f"}, {"name": "f"}]', "two functions are called 'f'"),
        ('{"f": {"parameters": {"type": "string"}}}', "type 'string', not 'object'"),
        ('{"f": {"parameters": {"properties": {"x": {"type": "no"}}}}}', "properties/x"),
        ('{"f": {"parameters": []}, "g": {"parameters": [1]}}', "'g'"),
        ("[7]", "function 1: a function without a name"),
        ("{", "cannot be read"),
    ):
        path.write_text(wrong)
        with pytest.raises(TaskError, match=r".") as told:
            read_catalogue(path)
        assert said in told.value.message
