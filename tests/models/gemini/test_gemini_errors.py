"""What the SDK raises, told apart: what to do again, when, and what may have been paid for."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import google.auth.exceptions
import pytest
from gemini_calls import HTTP, KEY, Wire, developer
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Message, Request
from stepladder.errors import ModelError
from stepladder.models.gemini.errors import explain
from stepladder.models.hosted.api import Failure

WIRE = Wire()
API = developer(WIRE)
RPC = "type.googleapis.com/google.rpc."


def failed(answer: Callable[[Any], Any]) -> Exception:
    """What the SDK raises when the service, or the way to it, behaves so."""
    WIRE.answer = answer
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what is looked at
        API.send("plain", Request((Message("user", "x"),)), None)
    return caught.value


def failure(answer: Callable[[Any], Any]) -> Failure:
    return API.explain(failed(answer))


def status(
    code: int, status: str = "", message: str = "no", headers: Any = None, details: Any = ()
) -> Callable[[Any], Any]:
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return lambda _: HTTP.Response(code, json={"error": error}, headers=headers)


def raising(name: str, text: str = "broken") -> Callable[[Any], Any]:
    def answer(request: Any) -> Any:
        raise getattr(HTTP, name)(text)

    return answer


# --- come back later ------------------------------------------------------------------------------


def test_a_service_that_says_when_is_asked_again_then() -> None:
    info = {"@type": f"{RPC}RetryInfo", "retryDelay": "3.5s"}
    found = failure(status(429, "RESOURCE_EXHAUSTED", details=[info]))
    assert (found.retry, found.throttled, found.wait_seconds) == (True, True, 3.5)
    assert not found.fatal
    assert not found.maybe_billed


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("Sun, 22 Nov 2026 10:00:30 GMT", 30.0), ("soon", None)],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: str, seconds: float | None) -> None:
    error = failed(status(429, headers={"Retry-After": header}))
    now = datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert explain(error, now=lambda: now).wait_seconds == seconds


def test_a_moment_that_is_past_is_now() -> None:
    error = failed(status(503, headers={"Retry-After": "Sun, 22 Nov 2026 10:00:30 GMT"}))
    assert explain(error, now=lambda: datetime(2027, 1, 1, tzinfo=UTC)).wait_seconds == 0.0


def test_a_quota_of_a_minute_passes_and_that_of_a_day_does_not() -> None:
    def quota(name: str) -> Failure:
        detail = {"@type": f"{RPC}QuotaFailure", "violations": [{"quotaId": name}]}
        return failure(status(429, "RESOURCE_EXHAUSTED", details=[detail]))

    minute = quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")
    day = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")
    assert minute.retry
    assert "PerMinute" in minute.message
    assert (day.retry, day.fatal) == (False, True)
    assert "tomorrow" in day.hint


@pytest.mark.parametrize(
    ("code", "throttled", "unsure"),
    [(500, False, False), (503, True, False), (502, False, True), (504, False, True), (408, 0, 0)],
)
def test_a_service_in_trouble_is_asked_again(code: int, throttled: bool, unsure: bool) -> None:
    found = failure(status(code))
    assert (found.retry, found.fatal) == (True, False)
    assert (found.throttled, found.maybe_billed) == (throttled, unsure)


def test_a_gateway_that_answers_with_a_page_is_a_service_in_trouble() -> None:
    found = failure(lambda _: HTTP.Response(502, text="<html>Bad Gateway</html>"))
    assert found.retry
    assert "Bad Gateway" in found.message


# --- the way there --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "unsure"),
    [
        ("ConnectError", False), ("ConnectTimeout", False), ("PoolTimeout", False),
        ("WriteError", False), ("ReadTimeout", True), ("ReadError", True),
        ("RemoteProtocolError", True),
    ],
)  # fmt: skip
def test_what_broke_after_it_was_sent_may_be_billed(name: str, unsure: bool) -> None:
    found = failure(raising(name))
    assert (found.retry, found.maybe_billed, found.fatal) == (True, unsure, False)


def test_a_server_that_is_not_trusted_ends_the_run() -> None:
    found = failure(raising("ConnectError", "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"))
    assert (found.retry, found.fatal) == (False, True)


@pytest.mark.parametrize(
    "content",
    [b'{"candidates": [{"content": {"par', b"<html>", b'{"candidates": 3}'],
    ids=["truncated", "a page", "another form"],
)
def test_an_answer_that_cannot_be_read_may_be_billed(content: bytes) -> None:
    found = failure(lambda _: HTTP.Response(200, content=content))
    assert (found.retry, found.maybe_billed) == (True, True)


def test_an_answer_damaged_on_its_way_may_be_billed() -> None:
    headers = {"Content-Encoding": "gzip"}
    found = failure(lambda _: HTTP.Response(200, content=b"not zipped", headers=headers))
    assert (found.retry, found.maybe_billed) == (True, True)


def test_a_success_of_another_kind_is_not_asked_for_twice() -> None:
    """The SDK takes 200 only; what came with 201 may be an answer that was paid for."""
    found = failure(lambda _: HTTP.Response(201, json={"candidates": []}))
    assert (found.retry, found.maybe_billed) == (False, True)


def test_the_key_does_not_follow_a_redirect() -> None:
    before = len(WIRE.requests)
    found = failure(
        lambda _: HTTP.Response(307, headers={"Location": "https://elsewhere.example/"})
    )
    assert found.fatal
    assert len(WIRE.requests) == before + 1


# --- not like this --------------------------------------------------------------------------------


def info(reason: str) -> list[dict[str, str]]:
    return [{"@type": f"{RPC}ErrorInfo", "reason": reason, "domain": "googleapis.com"}]


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (status(400, "INVALID_ARGUMENT", "API key expired.", details=info("API_KEY_INVALID")),
         "GEMINI_API_KEY"),
        (status(401, "UNAUTHENTICATED"), "GEMINI_API_KEY"),
        (status(403, "PERMISSION_DENIED"), "GEMINI_API_KEY"),
        (status(403, "PERMISSION_DENIED", details=info("SERVICE_DISABLED")), "enable the API"),
        (status(403, "PERMISSION_DENIED", details=info("BILLING_DISABLED")), "enable billing"),
        (status(400, "FAILED_PRECONDITION", "location is not supported"), "region"),
        (status(404, "NOT_FOUND", "models/x is not found"), "stepladder models"),
    ],
)  # fmt: skip
def test_what_every_call_would_meet_ends_the_run(answer: Any, hint: str) -> None:
    found = failure(answer)
    assert (found.fatal, found.retry) == (True, False)
    assert hint in found.hint


@pytest.mark.parametrize(
    "answer",
    [
        status(400, "INVALID_ARGUMENT", "the input token count exceeds the maximum"),
        status(403, "PERMISSION_DENIED", "You do not have permission to access the File abc"),
        status(404, "NOT_FOUND", "CachedContent not found"),
        status(400, "FAILED_PRECONDITION", "The File abc is not in an ACTIVE state"),
        status(413),
    ],
)
def test_what_one_request_did_wrong_ends_only_that(answer: Any) -> None:
    found = failure(answer)
    assert (found.fatal, found.retry, found.maybe_billed) == (False, False, False)


@pytest.mark.parametrize(
    "body", ["[]", '"no"', "3", '{"error": "no"}', '{"error": {"details": "no"}}', '[{"error": 1}]']
)
def test_an_error_of_another_form_is_still_an_error(body: str) -> None:
    found = failure(lambda _: HTTP.Response(400, content=body.encode()))
    assert found.message
    assert not found.retry


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["error", "details", "violations", "quotaId", "retryDelay", "reason"]),
        inner, max_size=4,
    ), max_leaves=8,
), st.sampled_from([400, 403, 404, 429, 500, 503]))  # fmt: skip
def test_no_body_of_an_error_is_too_strange(body: Any, code: int) -> None:
    if not isinstance(body, dict):  # of other forms the SDK itself may make something else
        body = {"error": {"details": body}}
    if not isinstance(body.get("error", {}), dict | str):
        return
    found = failure(lambda _: HTTP.Response(code, content=json.dumps(body).encode()))
    assert isinstance(found, Failure)


# --- credentials ----------------------------------------------------------------------------------


def test_credentials_that_expired_end_the_run_and_say_how_to_sign_in() -> None:
    error = google.auth.exceptions.RefreshError("invalid_grant: Token has been expired")
    found = explain(error, "vertex")
    assert (found.fatal, found.retry) == (True, False)
    assert "gcloud auth application-default login" in found.hint


def test_credentials_that_cannot_be_had_just_now_are_asked_for_again() -> None:
    unreachable = google.auth.exceptions.TransportError("no route")
    passing = google.auth.exceptions.RefreshError("busy", retryable=True)
    assert explain(unreachable, "vertex").retry
    assert explain(passing, "vertex").retry


# --- what else ------------------------------------------------------------------------------------


def test_no_message_holds_the_key() -> None:
    found = failure(status(403, "PERMISSION_DENIED", f"the key {KEY} may not do this"))
    assert KEY not in found.message + found.hint
    assert KEY not in failure(raising("ReadError", f"at ?key={KEY}")).message


@given(st.integers(300, 420))
def test_no_part_of_a_key_is_left_where_a_message_is_cut(before: int) -> None:
    found = failure(status(403, "PERMISSION_DENIED", "x" * before + f" {KEY} is not allowed"))
    assert KEY[:8] not in found.message


def test_a_message_is_one_line_of_readable_length() -> None:
    found = failure(status(400, message="a\n" * 5000))
    assert "\n" not in found.message
    assert len(found.message) < 500


def test_a_call_that_the_sdk_refuses_is_not_made_again() -> None:
    found = explain(ValueError("invalid model parameter."))
    assert (found.retry, found.fatal, found.maybe_billed) == (False, False, False)


def test_an_address_that_cannot_be_called_ends_the_run() -> None:
    found = failure(raising("UnsupportedProtocol"))
    assert found.fatal
    assert "GOOGLE_GEMINI_BASE_URL" in found.hint


def test_our_own_errors_keep_their_hint_and_bugs_stay_bugs() -> None:
    assert explain(ModelError("no", hint="so")) == Failure("no", hint="so")
    with pytest.raises(ZeroDivisionError):
        explain(ZeroDivisionError())
