"""Our requests against captured traffic of the SDK, and its captured answers read by us.

The captures were made by hand-written calls of the SDK; where one asks for what a `Request` can
ask for, ours has to say the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gemini_calls import HTTP, Wire, developer, facts, ok, vertex

from stepladder.catalogue import Catalogue
from stepladder.core import Call, Function, Message, Part, Request
from stepladder.models.hosted.api import PrefixCache

FOLDER = Path(__file__).parents[2] / "contract" / "wire"
SERVICES = {"generate_content_dev": "gemini", "generate_content_vertex": "vertex"}
X = (Message("user", "x"),)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PARIS = Call("get_weather", {"city": "Paris"}, "call-1", "c2ln")

ASKED = {
    "text": Request((Message("user", "Say hello"),)),
    "system_instruction_and_sampling": Request(
        (
            Message("system", "Be terse."), Message("user", "hi"), Message("assistant", "hello"),
            Message("user", "again"),
        ),
        max_output_tokens=64, temperature=0.2, stop=("END",), seed=7,
    ),
    "response_json_schema": Request(
        X, schema={"type": "object", "properties": {"a": {"type": "integer"}}}
    ),
    "response_enum": Request(X, choices=("a", "b")),
    "thinking_budget_and_logprobs": Request(X, logprob=True, thinking_tokens=0),
    "function_declarations_json_schema": Request(
        (Message("user", "w?"),), functions=(Function("get_weather", "Weather", SCHEMA),)
    ),
    "cached_content": Request((*X, *X)),
}  # fmt: skip
# what a hand-written call said and a request has no word for, or the other way round
OURS = {"temperature", "maxOutputTokens", "seed"}
THEIRS = {
    "topP", "topK", "candidateCount", "presencePenalty", "frequencyPenalty", "logprobs",
    "include_thoughts", "safetySettings",
}  # fmt: skip


def captured(name: str) -> dict[str, Any]:
    cases = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return {case["case"]: case["exchanges"] for case in cases}


def service(name: str, wire: Wire, **known: Any) -> Any:
    model = f"{SERVICES[name]}:gemini-2.5-flash"
    catalogue = Catalogue(models=(facts(model, logprobs=True, **known),))
    return (developer if SERVICES[name] == "gemini" else vertex)(wire, catalogue)


def without(value: Any, dropped: set[str]) -> Any:
    if not isinstance(value, dict):
        return value
    left = {key: without(inner, dropped) for key, inner in value.items() if key not in dropped}
    return {key: inner for key, inner in left.items() if inner != {}}


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("case", ASKED)
def test_a_request_says_what_the_sdk_was_seen_to_say(case: str, name: str) -> None:
    [exchange] = captured(name)[case]
    wire = Wire()
    theirs = without(exchange["request"]["body"], THEIRS)
    kept = theirs.get("cachedContent")
    api = service(name, wire, thinking="budget" if case.startswith("thinking") else "none")
    api.send("gemini-2.5-flash", ASKED[case], PrefixCache(kept, 1, 5000) if kept else None)
    said = theirs.get("generationConfig", {}).keys()
    ours = without(wire.body, OURS - said)
    assert ours == theirs


@pytest.mark.parametrize("name", SERVICES)
def test_a_call_and_its_result_go_back_as_the_sdk_itself_sends_them(name: str) -> None:
    _, second = captured(name)["automatic_function_calling_python_fn"]
    wire = Wire()
    turns = (
        Message("user", "w in Paris?"), Message("assistant", calls=(PARIS,)),
        Message("function", "sunny in Paris", result_of=PARIS),
    )  # fmt: skip
    service(name, wire).send("gemini-2.5-flash", Request(turns), None)
    theirs = second["request"]["body"]["contents"]
    assert wire.body["contents"][:2] == theirs[:2]
    [part] = wire.body["contents"][2]["parts"]
    # unlike the SDK's own loop we say which call it is the result of
    assert part["functionResponse"].pop("id") == "call-1"
    assert [part] == theirs[2]["parts"]


@pytest.mark.parametrize("name", SERVICES)
def test_media_go_in_the_form_the_sdk_was_seen_to_use(name: str) -> None:
    [exchange] = captured(name)["multimodal_inline_and_uri"]
    theirs = exchange["request"]["body"]["contents"][0]["parts"]
    wire = Wire()
    parts = (
        Part("image", uri="data:image/png;base64,iVBORw==", media_type="image/png"),
        Part("video", uri="gs://b/v.mp4", media_type="video/mp4"),
        Part("text", "describe"),
    )
    service(name, wire).send("gemini-2.5-flash", Request((Message("user", parts),)), None)
    ours = wire.body["contents"][0]["parts"]
    assert ours == [theirs[0], without(theirs[2], {"videoMetadata"}), theirs[3]]


def answers() -> list[Any]:
    found = []
    for name in SERVICES:
        for case, exchanges in captured(name).items():
            for number, exchange in enumerate(exchanges):
                if isinstance(exchange["response"]["body"], dict):
                    found.append(pytest.param(name, exchange, id=f"{name}-{case}-{number}"))
    return found


@pytest.mark.filterwarnings("ignore:.*BRAND_NEW_REASON:UserWarning")
@pytest.mark.parametrize(("name", "exchange"), answers())
def test_every_captured_answer_is_read_or_explained(name: str, exchange: Any) -> None:
    told = exchange["response"]
    rest = iter([HTTP.Response(told["status"], json=told["body"])])
    wire = Wire(lambda _: next(rest, None) or ok())  # `ok` ends an answer that is to go on
    api = service(name, wire)
    if told["status"] != 200:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what is explained
            api.send("gemini-2.5-flash", Request(X), None)
        assert api.explain(caught.value).message
        return
    response = api.send("gemini-2.5-flash", Request(X), None)
    candidates = told["body"].get("candidates") or [{}]
    said = [part.get("text", "") for part in candidates[0].get("content", {}).get("parts", [])]
    assert response.error or response.calls or response.text.startswith("".join(said))
    assert bool(response.error) == (response.finish == "error")
