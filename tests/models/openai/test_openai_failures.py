"""What failures mean, raised by the real SDK from what the wire did."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_wire import KEY, Wire, api_over

from stepladder.core import Message, Request
from stepladder.models.hosted.api import Failure
from stepladder.models.openai.failures import wait_told

ASKED = Request((Message("user", "Is it?"),))
NOW = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)


def failure(reply: Any, name: str = "openai") -> Failure:
    """What `explain` says of the exception that this reply makes the SDK raise."""
    api = api_over(Wire(reply), name)
    try:
        api.send("gpt-4o-mini", ASKED, None)
    except Exception as error:
        explained: Failure = api.explain(error)
        return explained
    raise AssertionError("nothing was raised")


def refused(status: int, headers: dict[str, str] | None = None, **error: Any) -> Any:
    body = {"error": {"message": "no", "type": "t", "param": None, "code": None, **error}}
    return lambda request: httpx2.Response(status, json=body, headers=headers)


def raising(kind: type[Exception], words: str = "it broke") -> Any:
    def reply(request: httpx2.Request) -> httpx2.Response:
        raise kind(words, request=request)  # type: ignore[call-arg]

    return reply


def test_too_many_requests_is_tried_again_after_what_the_service_says() -> None:
    told = failure(refused(429, {"retry-after": "7"}, message="Rate limit reached"))
    assert (told.retry, told.throttled, told.wait_seconds) == (True, True, 7.0)
    assert (told.fatal, told.maybe_billed) == (False, False)
    assert "Rate limit reached" in told.message


@pytest.mark.parametrize(
    "reply",
    [
        refused(429, code="insufficient_quota"),
        refused(429, type="insufficient_quota"),
        refused(402, message="This request requires more credits"),
        refused(403, code="billing_not_active"),
    ],
)
def test_no_money_left_ends_the_run(reply: Any) -> None:
    told = failure(reply)
    assert told.fatal
    assert (told.retry, told.throttled) == (False, False)
    assert "credit" in told.hint


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_does_not_hold_ends_the_run_and_is_not_repeated(status: int) -> None:
    told = failure(refused(status, message=f"Incorrect API key provided: {KEY}."))
    assert told.fatal
    assert not told.retry
    assert "OPENAI_API_KEY" in told.hint
    assert KEY not in told.message


def test_an_input_that_moderation_flagged_fails_alone() -> None:
    told = failure(refused(403, metadata={"reasons": ["violence"]}), "openrouter")
    assert (told.fatal, told.retry) == (False, False)


@pytest.mark.parametrize(
    "reply",
    [refused(404), refused(404, code="model_not_found"), refused(400, code="model_not_found")],
)
def test_a_model_that_is_not_there_ends_the_run(reply: Any) -> None:
    told = failure(reply)
    assert told.fatal
    assert "model's name" in told.hint


@pytest.mark.parametrize(
    "reply",
    [
        refused(400, code="context_length_exceeded"),
        refused(400, message="This model's maximum context length is 8192 tokens."),
        refused(413, message="request is longer than the context window"),
    ],
)
def test_a_request_that_is_too_long_fails_alone(reply: Any) -> None:
    told = failure(reply)
    assert (told.fatal, told.retry, told.maybe_billed) == (False, False, False)
    assert "shorten" in told.hint


def test_azures_content_filter_fails_alone() -> None:
    inner = {"code": "ResponsibleAIPolicyViolation"}
    told = failure(refused(400, code="content_filter", innererror=inner), "azure")
    assert (told.fatal, told.retry) == (False, False)


def test_a_parameter_that_the_model_does_not_take_ends_the_run() -> None:
    assert failure(refused(400, code="unsupported_parameter", param="temperature")).fatal
    assert not failure(refused(400, message="Invalid image.")).fatal


@pytest.mark.parametrize(
    ("status", "billed", "throttled"),
    [(500, False, False), (502, True, False), (503, False, True), (504, True, False),
     (529, False, True), (408, True, False), (409, False, False)],
)  # fmt: skip
def test_trouble_at_the_service_is_tried_again(status: int, billed: bool, throttled: bool) -> None:
    told = failure(lambda request: httpx2.Response(status, text="<html>oops</html>"))
    assert told.retry
    assert (told.maybe_billed, told.throttled, told.fatal) == (billed, throttled, False)


def test_a_timeout_may_be_billed_once_the_request_was_sent() -> None:
    late = failure(raising(httpx2.ReadTimeout))
    assert (late.retry, late.maybe_billed) == (True, True)
    early = failure(raising(httpx2.ConnectTimeout))
    assert (early.retry, early.maybe_billed) == (True, False)


def test_a_refused_connection_is_tried_again_and_is_not_billed() -> None:
    told = failure(raising(httpx2.ConnectError, "Connection refused"), "ollama")
    assert (told.retry, told.maybe_billed, told.fatal) == (True, False, False)
    assert "OLLAMA_BASE_URL" in told.hint
    assert "http://127.0.0.1:11434/v1" in told.message


def test_a_certificate_that_does_not_hold_ends_the_run() -> None:
    told = failure(raising(httpx2.ConnectError, "[SSL: CERTIFICATE_VERIFY_FAILED] expired"))
    assert told.fatal
    assert not told.retry


@pytest.mark.parametrize("kind", [httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.WriteError])
def test_a_connection_that_broke_may_be_billed(kind: Any) -> None:
    told = failure(raising(kind))
    assert (told.retry, told.maybe_billed, told.fatal) == (True, True, False)


@pytest.mark.parametrize(
    "content", [b'{"choices": [{"mess', b"", b'{"choices": []}', b'"text"', b"\xff\xfe{"]
)
def test_an_answer_that_is_cut_is_asked_for_again_and_may_be_billed(content: bytes) -> None:
    def reply(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=content, headers={"content-type": "application/json"})

    told = failure(reply)
    assert (told.retry, told.maybe_billed, told.fatal) == (True, True, False)


def test_what_will_not_get_better_ends_the_run() -> None:
    assert failure(refused(501)).fatal
    assert failure(raising(httpx2.UnsupportedProtocol)).fatal
    assert api_over(Wire()).explain(openai.OpenAIError("made of nothing")).fatal


def test_a_bug_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        api_over(Wire()).explain(ZeroDivisionError())


def test_a_long_page_of_an_error_is_cut() -> None:
    told = failure(lambda request: httpx2.Response(500, text="x" * 100_000))
    assert len(told.message) < 600


# --- how long to wait ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "said", "seconds"),
    [
        ({"retry-after": "3"}, "", 3.0),
        ({"retry-after": "1.5"}, "", 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, "", 0.25),
        ({"retry-after": "Sun, 22 Nov 2026 01:00:30 GMT"}, "", 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 00:00:00 GMT"}, "", 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2.5s"}, "", 62.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, "", 0.12),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "120ms"}, "", None),
        ({"x-ratelimit-reset": "12"}, "", 12.0),
        ({"x-ratelimit-reset": str(NOW.timestamp() + 5)}, "", 5.0),
        ({"x-ratelimit-reset": str((NOW.timestamp() + 5) * 1000)}, "", 5.0),
        ({}, "Rate limit reached. Please try again in 1m30.5s. Visit ...", 90.5),
        ({}, "Please try again in 380ms.", 0.38),
        ({}, "Please retry after 20 seconds.", 20.0),
        ({}, "", None),
        ({"retry-after": "Sun, 22 Nov 2026 01:00:30 -0000"}, "", 30.0),
        ({"retry-after": "soon"}, "", None),
        ({"x-ratelimit-reset": "1.2.3s"}, "", None),
        ({"x-ratelimit-reset": "9" * 400 + "h"}, "", None),
        ({"retry-after": "-1"}, "", None),
        ({"retry-after": "inf"}, "", None),
        ({"retry-after": "nan"}, "", None),
    ],
)
def test_the_wait_that_was_told(headers: Any, said: str, seconds: float | None) -> None:
    told = wait_told(headers, said, NOW)
    assert told == (None if seconds is None else pytest.approx(seconds))


@given(
    st.dictionaries(
        st.sampled_from(
            ["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-reset-requests"]
        ),
        st.text(max_size=12) | st.floats().map(str) | st.integers().map(str),
    ),
    st.text(max_size=30) | st.from_regex(r"try again in [0-9.hms]{1,8}"),
)
def test_whatever_a_header_says_the_wait_is_a_time_or_unknown(headers: Any, said: str) -> None:
    told = wait_told({"x-ratelimit-remaining-requests": "0", **headers}, said, NOW)
    assert told is None or 0 <= told < float("inf")


@given(st.integers(100, 599), st.binary(max_size=60), st.booleans())
def test_every_answer_is_an_answer_or_explained(status: int, content: bytes, typed: bool) -> None:
    def reply(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "application/json"} if typed else {}
        return httpx2.Response(status, content=content, headers=headers)

    told = failure(reply)
    assert told.message
    assert not (told.retry and told.fatal)
    assert json.dumps(told.message)


@pytest.mark.parametrize("before", range(385, 395))
def test_a_key_that_lies_across_the_cut_of_a_long_message_is_hidden_whole(before: int) -> None:
    told = failure(refused(400, message=f"{'x' * before} {KEY} {'y' * 200}"))
    assert KEY[:6] not in told.message
