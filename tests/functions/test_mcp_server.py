"""Tools of a real MCP server: a program of its own, over stdio and over HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepladder.errors import TaskError
from stepladder.functions.description import CallFailed
from stepladder.functions.mcp_server import McpServer, open_mcp_command, open_mcp_url

PROGRAM = str(Path(__file__).with_name("mcp_rides.py"))


@pytest.fixture(scope="module")
def rides() -> Iterator[McpServer]:
    told = {
        "RIDES_SECRET": "given",
        "RIDES_TOKEN": "token of the tests",
        "RIDES_OTHER": "not given",
    }
    os.environ |= told
    server = open_mcp_command(sys.executable, [PROGRAM], environment=[*told][:2])
    yield server
    server.close()
    server.close()
    for name in told:
        del os.environ[name]


def test_its_tools_are_functions_all_with_side_effects_unless_it_is_trusted(rides) -> None:
    assert [one.name for one in rides.described] == ["find_rides", "book_ride", "environment"]
    assert all(one.side_effects for one in rides.described)
    find = rides.described[0].function
    assert find.description == "Rides that leave from a city."
    assert find.parameters["required"] == ["city"]
    assert find.parameters["properties"]["seats"]["default"] == 1


def test_a_call_gives_what_the_tool_returns(rides) -> None:
    assert rides.call("find_rides", {"city": "Oslo", "seats": 2}, 20) == ["Oslo 2"]
    assert rides.call("book_ride", {"ride": 1}, 20) == "booked"
    with pytest.raises(CallFailed, match="no ride 7"):
        rides.call("book_ride", {"ride": 7}, 20)
    with pytest.raises(CallFailed):
        rides.call("fly", {}, 20)


def test_it_is_given_the_variables_that_are_named_and_no_other(rides) -> None:
    given = rides.call("environment", {}, 20)
    assert given["RIDES_SECRET"] == "given"
    assert "RIDES_OTHER" not in given


def test_a_secret_that_it_says_back_is_hidden(rides) -> None:
    assert rides.call("environment", {}, 20)["RIDES_TOKEN"] == "[secret]"
    assert rides.call("find_rides", {"city": "a token of the tests"}, 20) == ["a [secret] 1"]


def test_a_closed_server_answers_nothing() -> None:
    server = open_mcp_command(sys.executable, [PROGRAM], trust_hints=True)
    assert [one.side_effects for one in server.described] == [False, True, True]
    server.close()
    with pytest.raises(CallFailed):
        server.call("find_rides", {"city": "Oslo"}, 5)


def test_what_does_not_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TaskError, match="'no-such-program' cannot be used"):
        open_mcp_command("no-such-program")
    with pytest.raises(TaskError, match="cannot be used"):
        open_mcp_command(sys.executable, ["-c", "pass"])
    with pytest.raises(TaskError, match="the last that it said is 'no licence'"):
        open_mcp_command(sys.executable, ["-c", "import sys; sys.exit('\\x1b\\nno licence')"])
    monkeypatch.delenv("RIDES_SECRET", raising=False)
    with pytest.raises(TaskError, match="'RIDES_SECRET', which is not set"):
        open_mcp_command(sys.executable, [PROGRAM], environment=["RIDES_SECRET"])


@pytest.mark.network
def test_over_http() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = subprocess.Popen(
        [sys.executable, PROGRAM, str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert program.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
        server = open_mcp_url(f"http://127.0.0.1:{port}/mcp", trust_hints=True)
        assert [one.side_effects for one in server.described] == [False, True, True]
        assert server.call("find_rides", {"city": "Oslo"}, 20) == ["Oslo 1"]
        server.close()
        with pytest.raises(TaskError, match="cannot be used"):
            open_mcp_url(f"http://127.0.0.1:{port}/other")
    finally:
        program.terminate()
        program.wait(20)
