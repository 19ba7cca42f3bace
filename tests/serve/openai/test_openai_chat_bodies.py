"""The body of a chat as an `Ask`: what is asked, and every fault told by its field."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Call, Message, Part
from stepladder.models.live import Sampling
from stepladder.serve import Ask, Refusal
from stepladder.serve.openai.asking import Chat, read_chat
from stepladder.serve.openai.fields import Fields

HI = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
OTHER = {"type": "function", "function": {"name": "g"}}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


class NoMedia:
    """Tells which part it was asked for."""

    async def read(self, part: Fields) -> str:
        return f"<{part.path}>"


def read(**body: Any) -> Chat:
    whole = {"model": "m", "messages": HI, **body}
    return asyncio.run(read_chat(Fields.of(whole), NoMedia()))


def ask(**body: Any) -> Ask:
    return read(**body).ask


def refused(**body: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(**body)
    assert caught.value.status == 400
    assert caught.value.param is not None
    return caught.value


def test_a_plain_chat_has_openai_s_defaults() -> None:
    chat = read()
    assert chat.ask == Ask(
        "m",
        (Message("user", "hi"),),
        sampling=Sampling(temperature=1.0, top_p=1.0),
        given=frozenset({"model", "messages"}),
    )
    assert (chat.stream, chat.usage, chat.legacy_functions) == (False, False, False)


def test_null_is_a_field_that_is_not_there() -> None:
    names = (
        "temperature", "top_p", "n", "stop", "max_tokens", "logit_bias", "logprobs", "top_logprobs",
        "response_format", "tools", "tool_choice", "functions", "seed", "stream", "stream_options",
        "metadata", "user", "store", "reasoning_effort", "modalities", "verbosity", "prediction",
    )  # fmt: skip
    assert read(**dict.fromkeys(names)) == read()


def test_how_tokens_are_drawn() -> None:
    asked = ask(
        temperature=0.5, top_p=0.9, top_k=3, presence_penalty=-1, frequency_penalty=2, seed=7
    )
    assert asked.sampling == Sampling(0.5, 0.9, 3, -1.0, 2.0, 7)
    assert ask(seed=-1).sampling.seed == 2**63 - 1
    assert ask(seed=5.0).sampling.seed == 5
    assert ask(top_p=0).sampling == Sampling(temperature=0.0, top_p=1.0)


def test_how_much_and_where_it_ends() -> None:
    assert ask(max_tokens=5).max_output_tokens == 5
    assert ask(max_completion_tokens=6).max_output_tokens == 6
    assert ask(stop="END").stop == ("END",)
    assert ask(stop=["a", "b"]).stop == ("a", "b")
    assert ask(n=3).n == 3


def test_log_probabilities() -> None:
    assert ask().top_logprobs is None
    assert ask(logprobs=True).top_logprobs == 0
    assert ask(logprobs=True, top_logprobs=4).top_logprobs == 4


def test_the_form_of_the_answer() -> None:
    assert ask(response_format={"type": "text"}).schema is None
    assert ask(response_format={"type": "json_object"}).any_json
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    assert ask(response_format=form).schema == SCHEMA
    assert ask(structured_outputs={"choice": ["a", "b"]}).choices == ("a", "b")


@pytest.mark.parametrize(
    ("effort", "tokens"), [("none", 0), ("low", 2048), ("medium", 8192), ("high", 24576)]
)
def test_how_much_thinking(effort: str, tokens: int) -> None:
    assert ask(reasoning_effort=effort).thinking_tokens == tokens


def test_a_stream_and_its_usage() -> None:
    assert read(stream=True).stream
    assert not read(stream=True).usage
    assert read(stream=True, stream_options={"include_usage": True}).usage


def test_functions_and_which_of_them() -> None:
    asked = ask(tools=[TOOL, OTHER])
    assert [one.name for one in asked.functions] == ["f", "g"]
    assert asked.functions[0].parameters == SCHEMA
    assert (asked.function_choice, asked.parallel_calls) == ("auto", True)
    assert not ask(tools=[TOOL], parallel_tool_calls=False).parallel_calls
    assert ask(tools=[TOOL], tool_choice="none").function_choice == "none"
    assert ask(tools=[TOOL], tool_choice="required").function_choice == "required"
    named = ask(tools=[TOOL, OTHER], tool_choice={"type": "function", "function": {"name": "g"}})
    assert (named.function_choice, named.allowed_functions) == ("required", ("g",))


def test_allowed_tools() -> None:
    def choice(mode: str) -> dict[str, Any]:
        named = [{"type": "function", "function": {"name": "g"}}]
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}

    may = ask(tools=[TOOL, OTHER], tool_choice=choice("auto"))
    assert ([one.name for one in may.functions], may.function_choice) == (["g"], "auto")
    must = ask(tools=[TOOL, OTHER], tool_choice=choice("required"))
    assert (len(must.functions), must.allowed_functions) == (2, ("g",))


def test_the_older_functions() -> None:
    function = TOOL["function"]
    chat = read(functions=[function])
    assert chat.legacy_functions
    assert not chat.ask.parallel_calls
    assert read(functions=[function], function_call="none").ask.function_choice == "none"
    named = read(functions=[function], function_call={"name": "f"}).ask
    assert (named.function_choice, named.allowed_functions) == ("required", ("f",))


def test_turns_of_every_role() -> None:
    turns = [
        {"role": "developer", "content": "d"},
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        CALLED,
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
        {"role": "assistant", "content": "so", "refusal": None},
        {"role": "user", "content": "", "name": "Ann"},
    ]
    call = Call("f", {}, id="c1")
    assert ask(messages=turns).messages == (
        Message("system", "d"),
        Message("system", "s"),
        Message("user", (Part("text", "a"), Part("text", "b"))),
        Message("assistant", "", (call,)),
        Message("function", "r", result_of=call),
        Message("assistant", "so"),
        Message("user", ""),
    )


def test_the_older_form_of_a_call_and_its_result() -> None:
    turns = [
        *HI,
        {"role": "assistant", "function_call": {"name": "f", "arguments": '{"a": 1}'}},
        {"role": "function", "name": "f", "content": "r"},
    ]
    _, called, result = ask(messages=turns).messages
    assert called.calls[0].arguments == {"a": 1}
    assert result.result_of == called.calls[0]


def test_what_is_pointed_at_is_had_from_media() -> None:
    part = {"type": "file", "file": {"file_id": "file-1"}}
    (message,) = ask(messages=[{"role": "user", "content": [part]}]).messages
    assert message.content == "<messages[0].content[0]>"


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ARGUMENTS = "messages[0].tool_calls[0].function.arguments"


def called(*calls: Any) -> list[Any]:
    return [{"role": "assistant", "tool_calls": list(calls)}]


def function(**more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **more}}


def allowed(**more: Any) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": more}


def parts(*content: Any) -> list[Any]:
    return [{"role": "user", "content": list(content)}]


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": 5}, "model"),
    ({"model": ""}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
    ({"messages": [*HI, {"role": "user"}]}, "messages[1].content"),
    ({"messages": [*HI, {"role": "user", "content": 5}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "x", "nme": "y"}]}, "messages[0].nme"),
    ({"messages": parts({"type": "video"})}, "messages[0].content[0].type"),
    ({"messages": parts({"text": "x"})}, "messages[0].content[0].type"),
    ({"messages": parts({"type": "text"})}, "messages[0].content[0].text"),
    ({"messages": parts({"type": "image_url"})}, "messages[0].content[0].image_url"),
    ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
    ({"messages": [CALLED]}, "messages"),
    ({"messages": [CALLED, *HI]}, "messages[1].role"),
    (
        {"messages": [{"role": "tool", "tool_call_id": "c1", "content": "x"}]},
        "messages[0].tool_call_id",
    ),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].name"),
    (
        {"messages": [{"role": "assistant", "audio": {"id": "a"}}]},
        "messages[0].audio",
    ),
    ({"temperature": 3}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 1.5}, "n"),
    ({"seed": 10**30}, "seed"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"stop": ["a", 1]}, "stop[1]"),
    ({"stop": ""}, "stop[0]"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
    ({"logit_bias": {"5": 10}}, "logit_bias"),
    ({"logprobs": "yes"}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"stream": "true"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
        "response_format.json_schema.schema",
    ),
    (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "objekt"}},
            }
        },
        "response_format.json_schema.schema",
    ),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tools": [TOOL, TOOL]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": "always"}, "tool_choice"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "h"}}},
        "tool_choice.function.name",
    ),
    ({"tools": [TOOL], "functions": [TOOL["function"]]}, "tools"),
    ({"function_call": "auto"}, "functions"),
    ({"functions": [TOOL["function"]], "function_call": 5}, "function_call"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
    ({"structured_outputs": {"regex": "a"}}, "structured_outputs.regex"),
    ({"structured_outputs": {}}, "structured_outputs.choice"),
    ({"structured_outputs": {"choice": ["a", 1]}}, "structured_outputs.choice[1]"),
    (
        {"structured_outputs": {"choice": ["a"]}, "response_format": {"type": "text"}},
        "structured_outputs",
    ),
    ({"messages": called(CALL | {"function": {"name": "f", "arguments": "[]"}})}, ARGUMENTS),
    ({"messages": called(CALL | {"function": {"name": "f", "arguments": "{"}})}, ARGUMENTS),
    ({"messages": called(CALL, CALL)}, "messages[0].tool_calls"),
    ({"messages": called({**CALL, "type": "custom"})}, "messages[0].tool_calls[0].type"),
    ({"messages": called({"function": {"name": "f"}})}, "messages[0].tool_calls[0].id"),
    ({"tools": [function(parameters={"type": "array"})]}, "tools[0].function.parameters.type"),
    ({"tools": [function(parameters={"type": 5})]}, "tools[0].function.parameters"),
    ({"tools": [function(strict="yes")]}, "tools[0].function.strict"),
    ({"tools": [TOOL], "tool_choice": {}}, "tool_choice.type"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
    ({"tools": [TOOL], "tool_choice": allowed()}, "tool_choice.allowed_tools.mode"),
    ({"tools": [TOOL], "tool_choice": allowed(mode="auto")}, "tool_choice.allowed_tools.tools"),
    ({"reasoning_effort": "enormous"}, "reasoning_effort"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"verbosity": "loud"}, "verbosity"),
    ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
    ({"service_tier": "gold"}, "service_tier"),
    ({"temprature": 1}, "temprature"),
]


@pytest.mark.parametrize(("body", "param"), FAULTS, ids=lambda value: json.dumps(value)[:60])
def test_every_fault_is_told_by_its_field(body: dict[str, Any], param: str) -> None:
    assert refused(**body).param == param


def test_a_misspelt_field_is_told_with_the_one_that_is_meant() -> None:
    assert "'temperature'" in refused(temprature=1).hint


def test_what_changes_no_answer_is_accepted() -> None:
    read(
        user="u",
        metadata={"a": "b"},
        store=True,
        service_tier="flex",
        safety_identifier="s",
        prompt_cache_key="k",
        prompt_cache_retention="24h",
        prediction={"type": "content", "content": "x"},
        modalities=["text"],
        verbosity="low",
        logit_bias={},
    )


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = sorted({name for body, _ in FAULTS for name in body})


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_whatever_stands_in_a_field_is_read_or_refused(body: dict[str, Any]) -> None:
    with suppress(Refusal):
        read(**body)
