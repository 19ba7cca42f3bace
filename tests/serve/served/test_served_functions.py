"""Functions for models without a form of their own for them: shown, called, answered, checked."""

from __future__ import annotations

import json

import pytest
from served_models import ask, calls_of, ends_of, events_of, served, text_of, totals_of

from stepladder.core import Call, Function, Message
from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.models.local.functions import OPENING, calls_schema, parse_calls, plain_messages
from stepladder.serve import Ask, Refusal

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Function("weather", "the weather of a city", CITY)
TIME = Function("time", "what time it is")


def saying(text: str, asked: Ask):  # type: ignore[no-untyped-def]
    engine = FakeEngine.saying(text)
    try:
        return events_of(served(engine), asked), engine
    finally:
        engine.close()


def test_a_required_call_is_made_under_the_schema_of_its_function() -> None:
    said = json.dumps([{"name": "weather", "arguments": {"city": "Bern"}}])
    events, engine = saying(said, ask(functions=(WEATHER, TIME), function_choice="required"))
    (call,) = calls_of(events)
    assert (call.name, call.arguments, ends_of(events)) == (
        "weather",
        {"city": "Bern"},
        {0: "calls"},
    )
    assert call.id.startswith("call_")
    assert text_of(events) == ""
    assert engine.seen[-1].schema is not None
    shown = FakeTokenizer().decode(engine.seen[-1].ids)
    assert '"the weather of a city"' in shown
    assert "what time it is" in shown


def test_parallel_calls_have_ids_of_their_own_and_one_is_one() -> None:
    said = json.dumps([{"name": "time", "arguments": {}}] * 2)
    events, _ = saying(said, ask(functions=(TIME,), function_choice="required"))
    assert len({call.id for call in calls_of(events)}) == 2
    asked = ask(functions=(TIME,), function_choice="required", parallel_calls=False)
    events, _ = saying(said, asked)
    assert len(calls_of(events)) == 1, "the engine makes no more than the schema allows"


def test_only_allowed_functions_are_called_though_all_are_shown() -> None:
    asked = ask(functions=(WEATHER, TIME), function_choice="required", allowed_functions=("time",))
    said = json.dumps([{"name": "weather", "arguments": {"city": "Bern"}}])
    events, _ = saying(said, asked)
    assert [call.name for call in calls_of(events)] == ["time"]
    with pytest.raises(Refusal, match="'nobody'"):
        saying(
            said, ask(functions=(TIME,), function_choice="required", allowed_functions=("nobody",))
        )


def test_text_turns_into_a_call_where_the_model_opens_one() -> None:
    call = json.dumps([{"name": "weather", "arguments": {"city": "Bern"}}])
    engine = FakeEngine(
        lambda prompt: (f"Let me see. {OPENING} or so" if prompt.schema is None else call).encode()
    )
    try:
        events = events_of(served(engine), ask(functions=(WEATHER,)))
    finally:
        engine.close()
    assert text_of(events) == "Let me see. "
    assert [(one.name, one.arguments) for one in calls_of(events)] == [
        ("weather", {"city": "Bern"})
    ]
    assert ends_of(events) == {0: "calls"}
    first, second = engine.seen
    assert second.ids[: len(first.ids)] == first.ids, "it goes on where the opening ended"
    assert FakeTokenizer().decode(second.ids).endswith(OPENING)
    usage = totals_of(events).usage
    assert usage.input_tokens == len(first.ids)
    assert usage.output_tokens == len(f"Let me see. {OPENING}") + len(call) + 1
    assert second.max_output_tokens == first.max_output_tokens - len(f"Let me see. {OPENING}")


def test_text_stays_text_and_none_shows_no_function() -> None:
    events, engine = saying("It is fine.", ask(functions=(WEATHER,)))
    assert (text_of(events), ends_of(events)) == ("It is fine.", {0: "stop"})
    events, engine = saying("It is fine.", ask(functions=(WEATHER,), function_choice="none"))
    assert "weather" not in FakeTokenizer().decode(engine.seen[-1].ids)


def test_half_a_call_is_told_as_text_that_was_cut_off() -> None:
    asked = ask(functions=(TIME,), function_choice="required", max_output_tokens=9)
    events, _ = saying(json.dumps([{"name": "time", "arguments": {}}]), asked)
    assert (text_of(events), calls_of(events), ends_of(events)) == ('[{"name":', [], {0: "length"})


def test_arguments_that_do_not_fit_are_not_given() -> None:
    even = Function("even", parameters={"properties": {"n": {"type": "integer", "multipleOf": 2}}})
    said = json.dumps([{"name": "even", "arguments": {"n": 3}}])
    with pytest.raises(Refusal, match=r"arguments of 'even'.*not a multiple of 2"):
        saying(said, ask(functions=(even,), function_choice="required"))


def test_parameters_that_are_no_schema_are_refused() -> None:
    wrong = Function("wrong", parameters={"type": "nonsense"})
    with pytest.raises(Refusal, match="parameters of 'wrong'") as caught:
        saying("", ask(functions=(wrong,)))
    assert (caught.value.reason, caught.value.param) == ("invalid", "tools")


def test_references_lead_where_they_led() -> None:
    node = {
        "type": "object",
        "properties": {
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "kind": {"$ref": "#/$defs/k"},
        },
        "required": ["kind"],
        "$defs": {"k": {"enum": ["a"]}},
    }
    schema = calls_schema([TIME, Function("tree", parameters=node)])
    import jsonschema

    fits = [{"name": "tree", "arguments": {"kind": "a", "next": {"kind": "a", "next": None}}}]
    jsonschema.validate(fits, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{"name": "tree", "arguments": {"kind": "b"}}], schema)


def test_a_history_of_calls_and_results_is_plain_turns() -> None:
    one, other = Call("weather", {"city": "Bern"}, "1"), Call("time", {}, "2")
    turns = plain_messages(
        [
            Message("user", "how is it?"),
            Message("assistant", "I look.", (one, other)),
            Message("function", '{"celsius": 3}', result_of=one),
            Message("function", "noon", result_of=other),
        ],
        [WEATHER],
    )
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user"]
    calls = (
        '[{"name": "weather", "arguments": {"city": "Bern"}}, {"name": "time", "arguments": {}}]'
    )
    assert turns[2] == Message("assistant", f"I look.{OPENING}{calls}</tool_call>")
    assert str(turns[3].content).split("\n") == [
        '<tool_response>{"name": "weather", "result": {"celsius": 3}}</tool_response>',
        '<tool_response>{"name": "time", "result": "noon"}</tool_response>',
    ]
    own = plain_messages([Message("system", "Be short."), Message("user", "hi")], [TIME])
    assert str(own[0].content).startswith("Be short.\n\nThese functions")
    assert plain_messages([Message("user", "hi")]) == (Message("user", "hi"),)


def test_calls_are_read_with_ids_by_place() -> None:
    said = '[{"name": "time", "arguments": {}}, {"name": "time", "arguments": {}}]'
    assert [call.id for call in parse_calls(said, [TIME], str)] == ["0", "1"]
    with pytest.raises(ValueError, match="Expecting"):
        parse_calls('[{"name":', [TIME], str)
