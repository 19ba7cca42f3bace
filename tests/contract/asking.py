"""Requests with everything that a request can hold, alone and in any mixture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import strategies as st

from stepladder.core import Call, Function, Json, Message, Part, Request

PIXEL = "R0lGODlhAQABAAAAACwAAAAAAQABAAA="  # the smallest GIF
SYSTEM = Message("system", "Sort the message.")
USER = Message("user", "my card_lost is {gone}\n„“ 🂡")
WEATHER = Function(
    "get_weather",
    "what it is like outside",
    {
        "type": "object",
        "properties": {"city_name": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city_name"],
        "additionalProperties": False,
    },
)
CALL = Call("get_weather", {"city_name": "Paris", "days": 2}, id="call-1")
SCHEMA: Mapping[str, Json] = {
    "type": "object",
    "properties": {
        "drug_name": {"type": "string"},
        "doses": {"type": "array", "items": {"type": "number"}},
        "severity": {"anyOf": [{"type": "string", "enum": ["mild", "severe"]}, {"type": "null"}]},
    },
    "required": ["drug_name", "doses", "severity"],
    "additionalProperties": False,
}
IMAGE = Part("image", uri=f"data:image/gif;base64,{PIXEL}")

PLAIN = Request((SYSTEM, USER), max_output_tokens=16)
FEATURES: Mapping[str, Request] = {
    "plain": PLAIN,
    "no system": replace(PLAIN, messages=(USER,)),
    "several turns": replace(PLAIN, messages=(SYSTEM, USER, Message("assistant", "card"), USER)),
    "sampling": replace(PLAIN, temperature=0.7, seed=7, stop=("\n\n", "END")),
    "schema": replace(PLAIN, schema=SCHEMA),
    "choices": replace(PLAIN, choices=("card_lost", "top up", "other")),
    "log-probability": replace(PLAIN, logprob=True),
    "functions": replace(PLAIN, functions=(WEATHER, Function("now"))),
    "a call and its result": replace(
        PLAIN,
        functions=(WEATHER,),
        messages=(
            USER,
            Message("assistant", calls=(CALL, replace(CALL, id="call-2"))),
            Message("function", '{"sky": "clear"}', result_of=CALL),
            Message("function", "none known", result_of=replace(CALL, id="call-2")),
        ),
    ),
    "no thinking": replace(PLAIN, thinking_tokens=0),
    "some thinking": replace(PLAIN, thinking_tokens=2000),
    "image": replace(PLAIN, messages=(Message("user", (Part("text", "what is it?"), IMAGE)),)),
}

_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
_turns = st.lists(_texts, min_size=0, max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any mixture of what goes together: schema, choices and functions exclude one another."""
    turns = [Message("user", draw(_texts))]
    for text in draw(_turns):
        turns += [Message("assistant", text), Message("user", draw(_texts))]
    if draw(st.booleans()):
        turns.insert(0, Message("system", draw(_texts)))
    form = draw(st.sampled_from(("none", "schema", "choices", "functions")))
    return Request(
        tuple(turns),
        max_output_tokens=draw(st.integers(1, 4096)),
        temperature=0.0,
        seed=draw(st.integers(0, 2**31 - 1)),
        stop=tuple(draw(st.lists(_texts, max_size=4))),
        schema=SCHEMA if form == "schema" else None,
        choices=("a", "b c", "ä\n") if form == "choices" else (),
        functions=(WEATHER,) if form == "functions" else (),
        thinking_tokens=draw(st.none() | st.integers(0, 30_000)),
    )
