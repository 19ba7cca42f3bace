"""Lines of a tuning file: what is learned of them, and what is said of those that cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuning_jobs import gemini_pair_row, gemini_row, lines, openai_pair_row, openai_row

from stepladder.core import Message
from stepladder.serve.tuning.rows import LONGEST_LINE, read_rows
from stepladder.trainers import Pair

WEATHER = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
}


def turns(*said: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in said]


def problem(row: object, form: Any = "openai") -> str:
    """What is said of a lone row that cannot be used."""
    content = row if isinstance(row, bytes) else lines([row])
    read = read_rows([content], form)
    assert not read.rows
    assert read.bad == 1
    return read.problems[0].message


def test_a_row_gives_what_comes_before_the_answer_and_the_answer() -> None:
    read = read_rows([lines([openai_row(1)])], "openai")
    assert read.rows[0].learned == (((Message("user", "ann 1: green"),), "green"),)
    assert read.rows[0].turns == 2


def test_every_turn_of_the_assistant_is_learned_after_all_before_it() -> None:
    said = turns(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"))
    row = {"messages": [*said, {"role": "assistant", "content": "d"}]}
    (first, second) = read_rows([lines([row])], "openai").rows[0].learned
    assert first == ((Message("system", "s"), Message("user", "a")), "b")
    assert [message.content for message in second[0]] == ["s", "a", "b", "c"]
    assert second[1] == "d"


def test_a_weight_of_zero_is_read_and_not_learned() -> None:
    said = turns(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    said[1]["weight"], said[3]["weight"] = 0, 1
    (only,) = read_rows([lines([{"messages": said}])], "openai").rows[0].learned
    assert [message.content for message in only[0]] == ["a", "b", "c"]
    said[3]["weight"] = 0
    assert "all have 'weight' 0" in problem({"messages": said})


@pytest.mark.parametrize("weight", [2, 0.5, "1", True])
def test_a_weight_is_zero_or_one(weight: object) -> None:
    said = turns(("user", "a"), ("assistant", "b"))
    said[1]["weight"] = weight
    assert "has to be 0 or 1" in problem({"messages": said})
    del said[1]["weight"]
    said[0]["weight"] = 1
    assert "turns of the assistant only" in problem({"messages": said})


def test_calls_are_learned_as_the_served_model_says_them() -> None:
    from stepladder.core import Call, Function
    from stepladder.models.local.functions import OPENING, plain_messages

    row = {
        "messages": [*turns(("user", "Paris?")), {"role": "assistant", "tool_calls": [CALL]}],
        "tools": [{"type": "function", "function": WEATHER}],
    }
    ((asked, said),) = read_rows([lines([row])], "openai").rows[0].learned
    function = Function("weather", "", WEATHER["parameters"])  # type: ignore[arg-type]
    assert asked == plain_messages((Message("user", "Paris?"),), (function,))
    spoken = Message("assistant", "", (Call("weather", {"city": "Paris"}, "c1"),))
    assert said == plain_messages((spoken,))[0].content
    assert said.startswith(OPENING)


def test_results_of_functions_are_read_in_both_forms() -> None:
    openai = {
        "messages": [
            *turns(("user", "Paris?")),
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": '{"temp": 20}'},
            *turns(("assistant", "20 degrees")),
        ],
        "tools": [{"type": "function", "function": WEATHER}],
    }
    gemini = {
        "tools": [{"functionDeclarations": [{"name": "weather"}]}],
        "contents": [
            {"role": "user", "parts": [{"text": "Paris?"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {}}}]},
            {"parts": [{"functionResponse": {"name": "weather", "response": {"temp": 20}}}]},
            {"role": "model", "parts": [{"text": "20 degrees"}]},
        ],
    }
    results = []
    for row, form in ((openai, "openai"), (gemini, "vertex")):
        first, second = read_rows([lines([row])], form).rows[0].learned  # type: ignore[arg-type]
        assert '"weather"' in first[1]
        assert second[1] == "20 degrees"
        results.append(second[0][-1])
    assert results[0] == results[1]
    assert '{"temp": 20}' in str(results[0].content)


@pytest.mark.parametrize("spelling", ["systemInstruction", "system_instruction"])
@pytest.mark.parametrize("form", ["s", {"role": "system", "parts": [{"text": "s"}]}])
def test_geminis_system_instruction_in_every_spelling(spelling: str, form: object) -> None:
    row = {spelling: form, **gemini_row(0), "generationConfig": {"mediaResolution": "X"}}
    ((asked, said),) = read_rows([lines([row])], "vertex").rows[0].learned
    assert asked == (Message("system", "s"), Message("user", "ann 0: red"))
    assert said == "red"


BAD_OPENAI = [
    (b"[1]\n", "is a list, not a JSON object"),
    (b"null\n", "is null"),
    (b'{"messages": \n', "is not JSON"),
    (b"[" * 50_000 + b"\n", "nested deeper"),
    (b'{"messages": "\\ud800"}\n', "half a character"),
    (b"\xff\xfe\n", "is not UTF-8"),
    ({"prompt": "a", "completion": "b"}, "'messages' is missing"),
    ({"messages": []}, "list of turns"),
    ({"messages": "x"}, "list of turns"),
    ({"messages": turns(("user", "a"))}, "last turn has to be the assistant's"),
    ({"messages": turns(("assistant", "a"))}, "no turn of the user before"),
    ({"messages": turns(("system", "a"), ("assistant", "b"))}, "no turn of the user before"),
    ({"messages": turns(("user", "a"), ("assistant", ""))}, "answer without text"),
    ({"messages": turns(("user", "a"), ("robot", "b"))}, "role"),
    ({"messages": ["a", "b"]}, "messages[0]"),
    ({"messages": turns(("user", "a"), ("assistant", "b")), "extra": 1}, "'extra' is not known"),
    ({**openai_row(0), "tools": [{"type": "search"}]}, "tools[0]"),
    (
        {"input": {}, "preferred_output": [], "non_preferred_output": []},
        "cannot be used for supervised tuning",
    ),
    (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}],
                },
                *turns(("assistant", "b")),
            ]
        },
        "only text is learned",
    ),
]


@pytest.mark.parametrize(("row", "words"), BAD_OPENAI, ids=[words for _, words in BAD_OPENAI])
def test_what_is_wrong_with_a_row_of_openais(row: object, words: str) -> None:
    assert words in problem(row)


BAD_GEMINI = [
    ({"contents": []}, "list of turns"),
    ({"contents": [{"role": "user", "parts": [{"text": "a"}]}]}, "last turn has to be"),
    ({"contents": "a"}, "contents"),
    ({**gemini_row(0), "completions": []}, "cannot be used for supervised tuning"),
    ({**gemini_row(0), "references": {"answer": "42"}}, "cannot be used for supervised tuning"),
    ({**gemini_row(0), "nonsense": 1}, "'nonsense' is not known"),
    (
        {
            "contents": [
                {"role": "user", "parts": [{"fileData": {"mimeType": "a/b", "fileUri": "gs://x"}}]},
                {"role": "model", "parts": [{"text": "a"}]},
            ]
        },
        "file",
    ),
]


@pytest.mark.parametrize(("row", "words"), BAD_GEMINI, ids=[words for _, words in BAD_GEMINI])
def test_what_is_wrong_with_a_row_of_geminis(row: object, words: str) -> None:
    assert words in problem(row, "vertex")


def test_bad_rows_are_told_by_line_and_the_others_are_read() -> None:
    good, bad = lines([openai_row(0)]), b"{}\n"
    read = read_rows([good + b"\n" + bad + good + bad * 60], "openai")
    assert [row.line for row in read.rows] == [1, 4]
    assert read.bad == 61
    assert [problem.line for problem in read.problems[:2]] == [3, 5]
    assert len(read.problems) == 50


def test_a_line_that_is_too_long_is_refused_without_being_kept() -> None:
    piece = b"x" * (LONGEST_LINE // 4)
    read = read_rows([b'{"', *[piece] * 6, b'"}\n', lines([openai_row(0)])], "openai")
    assert [(one.line, "longer than" in one.message) for one in read.problems] == [(1, True)]
    assert [row.line for row in read.rows] == [2]


@given(
    st.lists(st.integers(0, 99), min_size=1, max_size=12),
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
)
def test_pieces_and_line_ends_make_no_difference(
    numbers: list[int], sizes: list[int], end: bytes, last: bool
) -> None:
    content = end.join(json.dumps(openai_row(number)).encode() for number in numbers)
    content = b"\xef\xbb\xbf" + content + (end if last else b"")
    pieces, at = [], 0
    while at < len(content):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(content[at : at + size])
        at += size
    read = read_rows(pieces, "openai")
    assert not read.problems
    assert [row.learned[0][1] for row in read.rows] == [
        openai_row(number)["messages"][1]["content"] for number in numbers
    ]


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "parts", "text", "weight", "tool_calls", "name"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(anything, anything, st.sampled_from(["openai", "vertex"]))
def test_no_row_brings_the_reading_down(first: object, second: object, form: Any) -> None:
    key = "messages" if form == "openai" else "contents"
    rows = [first, {key: second}, {key: [first, second]}, {key: [second], "tools": first}]
    read = read_rows([lines(rows)], form)
    assert read.bad + len(read.rows) == len(rows)


# --- preferences --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "row"), [("openai", openai_pair_row), ("vertex", gemini_pair_row)]
)
def test_of_preferences_both_answers_are_learned_behind_the_same_turns(form: Any, row: Any) -> None:
    (read,) = read_rows([lines([row(1)])], form, "preference").rows
    assert read.learned == (Pair((Message("user", "ann 1: green"),), "green", "no green"),)
    assert read.turns == 2


def test_only_the_last_answer_of_a_conversation_is_preferred() -> None:
    row = openai_pair_row(1)
    row["input"]["messages"] = [
        *turns(("user", "a"), ("assistant", "b")),
        *row["input"]["messages"],
    ]
    ((pair,),) = [one.learned for one in read_rows([lines([row])], "openai", "preference").rows]
    assert [message.content for message in pair.messages] == ["a", "b", "ann 1: green"]


def test_calls_can_be_preferred() -> None:
    row = openai_pair_row(1)
    row["input"]["tools"] = [{"type": "function", "function": WEATHER}]
    row["preferred_output"] = [{"role": "assistant", "tool_calls": [CALL]}]
    ((pair,),) = [one.learned for one in read_rows([lines([row])], "openai", "preference").rows]
    assert "Paris" in pair.chosen
    assert pair.rejected == "no green"


WRONG_PAIRS: tuple[tuple[Any, dict[str, Any], str], ...] = (
    ("openai", {"preferred_output": []}, "one turn of the assistant"),
    ("openai", {"preferred_output": turns(("user", "a"))}, "has to be the assistant's"),
    ("openai", {"non_preferred_output": None}, "'non_preferred_output'"),
    ("openai", {"input": "a"}, "'input'"),
    ("openai", {"messages": []}, "'messages' is not one of preferences"),
    ("openai", {"non_preferred_output": turns(("assistant", "green"))}, "the same"),
    ("vertex", {"completions": []}, "list of two"),
    ("vertex", {"completions": [{"score": 1}, {"score": 0}]}, "completion' is missing"),
    ("vertex", {"completions": [{"score": "1"}, {}]}, "has to be a number"),
    ("vertex", {"completions": [{"score": 1, "completion": {}}] * 2}, "same 'score'"),
    ("vertex", {"contents": "a"}, "'contents'"),
    ("vertex", {"preferred_output": []}, "preferences"),
)  # fmt: skip


@pytest.mark.parametrize(("form", "change", "word"), WRONG_PAIRS)
def test_a_row_that_prefers_nothing_is_told(form: Any, change: dict[str, Any], word: str) -> None:
    row = {"openai": openai_pair_row, "vertex": gemini_pair_row}[form](1)
    read = read_rows([lines([{**row, **change}])], form, "preference")
    assert not read.rows
    assert word in read.problems[0].message


def test_rows_of_the_other_method_are_told() -> None:
    read = read_rows([lines([openai_row(1)])], "openai", "preference")
    assert "'messages' is not one of preferences" in read.problems[0].message
    assert "cannot be used for supervised tuning" in problem(openai_pair_row(1))
