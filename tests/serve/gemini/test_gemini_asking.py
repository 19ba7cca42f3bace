"""A request becomes an `Ask`: every field is used, or refused by its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google_calls import body, configured, said
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Call, Function, Json, Message
from stepladder.models.live import Sampling
from stepladder.serve import Ask, Refusal
from stepladder.serve.gemini.asking import DEFAULTS, Kept, to_ask, to_kept
from stepladder.serve.gemini.contents import to_messages
from stepladder.serve.gemini.request_forms import GENERATE


def ask(request: Json, kept: Kept | None = None) -> Ask:
    return to_ask("m", GENERATE(request, ""), kept)


def refused(request: Json, kept: Kept | None = None) -> Refusal:
    with pytest.raises(Refusal) as raised:
        ask(request, kept)
    assert raised.value.status == 400
    return raised.value


def test_a_plain_request_is_as_google_documents_it() -> None:
    assert ask(body("hi")) == Ask("m", (Message("user", "hi"),), sampling=DEFAULTS)


def test_every_number_of_the_configuration_gets_where_it_counts() -> None:
    found = ask(configured(
        temperature=0.2, topP=0.9, topK=40.0, candidateCount=2, maxOutputTokens=64,
        stopSequences=["END"], presencePenalty=0.1, frequencyPenalty=0.2, seed=7,
        responseLogprobs=True, logprobs=2, thinkingConfig={"thinking_budget": 0},
    ))  # fmt: skip
    assert found.sampling == Sampling(0.2, 0.9, 40, 0.1, 0.2, 7)
    assert (found.n, found.max_output_tokens, found.stop) == (2, 64, ("END",))
    assert (found.top_logprobs, found.thinking_tokens) == (2, 0)


@pytest.mark.parametrize(
    ("config", "what", "wanted"),
    [
        ({"responseLogprobs": True}, "top_logprobs", 0),
        ({"thinkingConfig": {"thinkingBudget": -1}}, "thinking_tokens", None),
        ({"thinkingConfig": {"thinkingLevel": "MINIMAL"}}, "thinking_tokens", 0),
        ({"thinkingConfig": {"includeThoughts": True}}, "thinking_tokens", None),
        ({"responseMimeType": "application/json"}, "any_json", True),
        ({"responseMimeType": "text/plain"}, "schema", None),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "array"}},
            "schema",
            {"type": "array"},
        ),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "STRING"}},
            "schema",
            {"type": "string"},
        ),
        (
            {
                "responseMimeType": "text/x.enum",
                "responseSchema": {"type": "STRING", "enum": ["a", "b"]},
            },
            "choices",
            ("a", "b"),
        ),
        ({"responseFormat": {"text": {"mimeType": "APPLICATION_JSON"}}}, "any_json", True),
        (
            {
                "responseFormat": [
                    {"text": {"mime_type": "APPLICATION_JSON", "schema": {"type": "object"}}}
                ]
            },
            "schema",
            {"type": "object"},
        ),
        ({"responseFormat": {"text": {"mimeType": "TEXT_PLAIN"}}}, "schema", None),
        ({"responseModalities": ["TEXT"]}, "schema", None),
        ({"seed": -1}, "sampling", Sampling(1.0, 0.95, 64, seed=2**32 - 1)),
        ({"topP": 0}, "sampling", Sampling(0.0, 1.0, 64)),
    ],
)
def test_a_field_means(config: Json, what: str, wanted: Any) -> None:
    assert getattr(ask(configured(**config)), what) == wanted


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"temperature": 2.1}, "temperature"), ({"topP": -0.1}, "topP"), ({"topK": 0}, "topK"),
        ({"topK": 1.5}, "topK"), ({"candidateCount": 9}, "candidateCount"),
        ({"candidateCount": 0}, "candidateCount"), ({"maxOutputTokens": 0}, "maxOutputTokens"),
        ({"stopSequences": [""]}, "stopSequences"), ({"stopSequences": ["a"] * 6}, "stopSequences"),
        ({"presencePenalty": 3}, "presencePenalty"), ({"logprobs": 2}, "logprobs"),
        ({"responseLogprobs": True, "logprobs": 21}, "logprobs"),
        ({"thinkingConfig": {"thinkingBudget": -2}}, "thinkingBudget"),
        ({"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}, "thinkingLevel"),
        ({"responseMimeType": "text/html"}, "text/html"),
        ({"responseSchema": {"type": "STRING"}}, "responseMimeType"),
        ({"responseMimeType": "text/x.enum"}, "enum"),
        ({"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING"}}, "enum"),
        ({"responseMimeType": "application/json", "responseJsonSchema": {"type": "x"}}, "Schema"),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": {},
             "responseSchema": {}}, "responseSchema",
        ),
        ({"responseFormat": {"text": {"schema": {}}}}, "APPLICATION_JSON"),
        ({"responseFormat": {"text": {}}, "responseMimeType": "text/plain"}, "responseMimeType"),
        ({"responseFormat": [{"text": {}}, {"text": {}}]}, "twice"),
        ({"responseModalities": ["AUDIO"]}, "AUDIO"), ({"speechConfig": {}}, "text only"),
        ({"routingConfig": {}}, "path"), ({"temprature": 1}, "'temperature'"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_or_not_offered_is_refused_by_name(config: Json, word: str) -> None:
    refusal = refused(configured(**config))
    assert word in f"{refusal.message} {refusal.hint}"
    assert (refusal.param or "").startswith("generationConfig")


def declared(*names: str) -> Json:
    return [{"functionDeclarations": [{"name": name} for name in names]}]


def calling(mode: str, *allowed: str) -> Json:
    config: dict[str, Json] = {"mode": mode}
    if allowed:
        config["allowed_function_names"] = list(allowed)
    return {"functionCallingConfig": config}


@pytest.mark.parametrize(
    ("config", "mode", "allowed", "functions"),
    [
        (None, "auto", (), ("f", "g")),
        (calling("AUTO"), "auto", (), ("f", "g")),
        (calling("NONE"), "none", (), ("f", "g")),
        (calling("ANY"), "required", (), ("f", "g")),
        (calling("ANY", "g"), "required", ("g",), ("f", "g")),
        (calling("VALIDATED"), "auto", (), ("f", "g")),
        (calling("VALIDATED", "g"), "auto", (), ("g",)),
    ],
)
def test_modes_of_calling(
    config: Json, mode: str, allowed: tuple[str, ...], functions: tuple[str, ...]
) -> None:
    more = {} if config is None else {"toolConfig": config}
    found = ask(body(tools=declared("f", "g"), **more))
    assert (found.function_choice, found.allowed_functions) == (mode, allowed)
    assert tuple(one.name for one in found.functions) == functions


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"toolConfig": calling("ANY")}, "needs a declared function"),
        ({"tools": declared("f"), "toolConfig": calling("ANY", "h")}, "not declared"),
        ({"tools": declared("f"), "toolConfig": calling("AUTO", "f")}, "of use only"),
        ({"tools": declared("f", "f")}, "two functions"),
        ({"tools": declared("a b")}, "cannot be called"),
        ({"tools": declared("")}, "cannot be called"),
        ({"tools": [{"functionDeclarations": [{"description": "x"}]}]}, "name"),
        ({"tools": [{"googleSearch": {}}]}, "no search"),
        ({"tools": [{"codeExecution": {}}]}, "no code"),
        (
            {"tools": [{"functionDeclarations": [
                {"name": "f", "parameters": {}, "parametersJsonSchema": {}}]}]}, "one of them",
        ),
        (
            {"tools": [{"functionDeclarations": [
                {"name": "f", "parameters": {"type": "STRING"}}]}]}, "an object",
        ),
        ({"continuationToken": "dG9r"}, "continuationToken"),
        ({"modelArmorConfig": {}}, "modelArmorConfig"),
    ],
)  # fmt: skip
def test_functions_that_cannot_be_are_refused(more: dict[str, Json], word: str) -> None:
    refusal = refused(body(**more))
    assert word in f"{refusal.message} {refusal.hint}"


def test_both_dialects_of_parameters_mean_the_same() -> None:
    own = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    dialect = {
        "type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"],
    }  # fmt: skip
    tools = [
        {"functionDeclarations": [{"name": "f", "description": "d", "parameters": dialect}]},
        {"functionDeclarations": [{"name": "g", "parameters_json_schema": own}]},
    ]
    first, second = ask(body(tools=tools)).functions
    assert second == Function("g", "", own)
    assert first == Function("f", "d", {**own, "additionalProperties": False})


def test_what_changes_nothing_is_taken() -> None:
    more: dict[str, Json] = {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "labels": {"team_name": "a"}, "serviceTier": "flex", "store": True,
        "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW", "audioTimestamp": True},
    }  # fmt: skip
    assert ask(body("hi", **more)) == ask(body("hi"))


@pytest.mark.parametrize("contents", [None, [], {}])
def test_without_contents_there_is_nothing_to_answer(contents: Json) -> None:
    assert "contents" in refused({"contents": contents}).message


KEPT = to_kept("m", GENERATE({
    "contents": [said("long text")], "systemInstruction": said("Be terse."),
    "tools": declared("f"), "toolConfig": calling("ANY"),
}, ""))  # fmt: skip


def test_a_kept_prefix_comes_first() -> None:
    found = ask(body("hi", cachedContent="cachedContents/1"), KEPT)
    assert [one.role for one in found.messages] == ["system", "user", "user"]
    assert found.kept_messages == 2
    assert (found.function_choice, found.functions) == ("required", (Function("f"),))


@pytest.mark.parametrize("field", ["systemInstruction", "tools", "toolConfig"])
def test_what_a_prefix_fixes_cannot_be_said_again(field: str) -> None:
    again = {"systemInstruction": said("x"), "tools": declared("g"), "toolConfig": calling("AUTO")}
    assert refused(body("hi", **{field: again[field]}), KEPT).param == field


# --- contents ---------------------------------------------------------------------------------


def messages(*contents: Json, system: Json = None) -> tuple[Message, ...]:
    request = {"contents": list(contents), "systemInstruction": system}
    read = GENERATE(request, "")
    return to_messages(read["contents"], read.get("systemInstruction"))


def test_turns_become_messages() -> None:
    assert messages(
        said("a"), said("b", "model"), {"parts": [{"text": "c"}, {"text": "d"}]}, system=said("s")
    ) == (
        Message("system", "s"), Message("user", "a"), Message("assistant", "b"),
        Message("user", "cd"),
    )  # fmt: skip


def test_a_single_object_is_a_list_of_one() -> None:
    read = GENERATE({"contents": {"parts": {"text": "hi"}}}, "")
    assert to_messages(read["contents"]) == (Message("user", "hi"),)


def call(name: str, id: str = "", **arguments: Json) -> Json:
    found: dict[str, Json] = {"name": name, "args": arguments}
    return {"functionCall": {**found, "id": id} if id else found}


def result(name: str, response: Json, id: str = "") -> Json:
    found: dict[str, Json] = {"name": name, "response": response}
    return {"functionResponse": {**found, "id": id} if id else found}


def test_a_call_and_its_result_find_each_other() -> None:
    asked = {
        "role": "model",
        "parts": [
            {"text": "I look.", "thought": True},
            {**call("f", "c1", city="Paris"), "thoughtSignature": "c2ln"},
            call("f", "c2"),
        ],
    }
    told = {"role": "user", "parts": [
        result("f", {"result": "sunny"}, "c2"), result("f", {"sky": "clear"})]}  # fmt: skip
    first, second = Call("f", {"city": "Paris"}, "c1", "c2ln"), Call("f", {}, "c2")
    assert messages(said("w?"), asked, told)[1:] == (
        Message("assistant", "", (first, second)),
        Message("function", "sunny", result_of=second),
        Message("function", '{"sky": "clear"}', result_of=first),
    )


def test_results_without_ids_go_to_the_calls_of_their_name_in_order() -> None:
    asked = {"role": "model", "parts": [call("f", n=1), call("g", n=2), call("f", n=3)]}
    told = {"parts": [result("f", {"result": "a"}), result("f", {"result": "b"})]}
    found = messages(asked, told)[1:]
    assert [(one.content, one.result_of) for one in found] == [
        ("a", Call("f", {"n": 1})), ("b", Call("f", {"n": 3})),
    ]  # fmt: skip


def test_results_and_words_keep_their_order() -> None:
    told = {"parts": [{"text": "before"}, result("f", {}), {"text": "after"}]}
    found = messages(told)
    assert [(one.role, one.content) for one in found] == [
        ("user", "before"), ("function", "{}"), ("user", "after"),
    ]  # fmt: skip
    assert found[1].result_of == Call("f")


def test_a_signature_without_a_part_is_empty_text() -> None:
    assert messages({"role": "model", "parts": [{"thoughtSignature": "c2ln"}]}) == (
        Message("assistant", ""),
    )


def test_text_files_are_text() -> None:
    blob = {"inlineData": {"mime_type": "text/csv; charset=utf-8", "data": "YSxi"}}
    assert messages({"parts": [blob, {"text": "sum?"}]}) == (Message("user", "a,b\nsum?"),)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"role": "wizard", "parts": [{"text": "x"}]}, "wizard"),
        ({"parts": []}, "no parts"), ({}, "no parts"), ({"parts": [{}]}, "holds nothing"),
        ({"parts": [{"text": "a", "functionCall": {"name": "f"}}]}, "may hold one"),
        ({"parts": [call("f")]}, "'model'"),
        ({"role": "model", "parts": [result("f", {})]}, "'user'"),
        ({"parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}, "text only"),
        ({"parts": [{"inlineData": {"mimeType": "text/plain", "data": "/w=="}}]}, "UTF-8"),
        ({"parts": [{"fileData": {"fileUri": "gs://b/x"}}]}, "file"),
        ({"parts": [{"executableCode": {"code": "x"}}]}, "no code"),
        ({"parts": [{"functionResponse": {"name": "f", "parts": [{}]}}]}, "text only"),
    ],
)  # fmt: skip
def test_what_has_no_place_is_refused(content: Json, word: str) -> None:
    with pytest.raises(Refusal) as raised:
        messages(content)
    assert word in f"{raised.value.message} {raised.value.hint}"
    assert (raised.value.param or "").startswith("contents[0]")


def test_a_system_instruction_is_text() -> None:
    with pytest.raises(Refusal, match="holds text"):
        messages(said("x"), system={"parts": [call("f")]})


PARTS = st.lists(
    st.builds(lambda text: {"text": text}, st.text(max_size=5))
    | st.builds(lambda value: result("f", {"result": value}), st.text(max_size=5)),
    min_size=1,
    max_size=5,
)


@given(st.lists(PARTS, min_size=1, max_size=4))
def test_nothing_that_was_said_is_lost(turns: list[list[Json]]) -> None:
    found = messages(*({"role": "user", "parts": parts} for parts in turns))
    told = "".join(str(one.content) for one in found)
    assert told == "".join(words(parts) for parts in turns)


def words(parts: list[Json]) -> str:
    def each() -> Iterator[str]:
        for part in parts:
            yield part["text"] if "text" in part else part["functionResponse"]["response"]["result"]

    return "".join(each())
