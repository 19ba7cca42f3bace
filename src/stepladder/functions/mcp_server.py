"""The tools of an MCP server as functions, through the official SDK: over stdio or HTTP.

The server is a program of its own. One that is started here gets the environment variables that are
named for it, and the few that any program needs; one at an address is asked at that address only.
What it asks of us in turn (a model's answer, a person's, our folders) is refused.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import Function, Json
from ..errors import TaskError
from ..registry import need
from .description import CallFailed, Described, as_schema
from .hiding import without_secrets
from .overhearing import Overheard, overhear

__all__ = ["McpServer", "open_mcp_command", "open_mcp_url"]

START_SECONDS = 30.0
_MOST_PAGES = 100
_GRACE = 1.1  # the SDK's own limit tells more than ours, so it goes first
_SHORTEST_SECRET = 8  # characters; a shorter variable is a switch, and stands in many a text


@dataclass
class McpServer:
    """The tools of one server, which is asked on a thread of its own."""

    name: str
    described: tuple[Described, ...]
    _portal: Any = field(repr=False)
    _client: Any = field(repr=False)
    _open: ExitStack = field(repr=False)
    _secrets: frozenset[str] = field(default=frozenset(), repr=False)

    def call(self, name: str, arguments: Mapping[str, Json], seconds: float) -> Json:
        """The tool's structured result, or its text; CallFailed for what it calls an error.

        What it was given in the environment or in headers does not come back with it.
        """
        try:
            return without_secrets(self._call(name, arguments, seconds), self._secrets)
        except CallFailed as error:
            raise CallFailed(without_secrets(str(error), self._secrets)) from error

    def _call(self, name: str, arguments: Mapping[str, Json], seconds: float) -> Json:
        import anyio
        from mcp import MCPError

        async def ask() -> Any:
            with anyio.fail_after(seconds * _GRACE):
                return await self._client.call_tool(
                    name, dict(arguments), read_timeout_seconds=seconds
                )

        try:
            result = self._portal.call(ask)
        except TimeoutError as error:
            raise CallFailed(f"no answer within {seconds:g} seconds") from error
        except (MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            raise CallFailed(f"the server {self.name!r}: {error}") from error
        except (RuntimeError, ValueError) as error:  # it was closed, or its answer is malformed
            raise CallFailed(f"the server {self.name!r} gave no answer: {error}") from error
        text = "\n".join(_said(block) for block in result.content)
        if result.is_error:
            raise CallFailed(text or "the tool failed and does not say why")
        return text if result.structured_content is None else _unwrapped(result.structured_content)

    def close(self) -> None:
        """End the connection, and the program if it was started here."""
        self._open.close()


def open_mcp_command(
    command: str,
    arguments: Sequence[str] = (),
    *,
    folder: Path | None = None,
    environment: Sequence[str] = (),
    trust_hints: bool = False,
) -> McpServer:
    """Start a server that speaks over stdio, and list its tools.

    `environment` names the variables that it is given. With `trust_hints` a tool that says it only
    reads has no side effects; without, every tool has them.

    Raises:
        TaskError: it does not start or does not speak MCP, or a variable is not set.
        MissingExtra: the SDK is not installed.
    """
    mcp = need("mcp", extra="functions", what="an MCP server")
    given = {name: _variable(name, command) for name in environment}
    from mcp.client.stdio import stdio_client

    server = mcp.StdioServerParameters(command=command, args=list(arguments), env=given, cwd=folder)
    secrets = frozenset(one for one in given.values() if len(one) >= _SHORTEST_SECRET)
    heard = overhear()
    transport = stdio_client(server, errlog=heard.file)
    return _opened(transport, Path(command).name, trust_hints, secrets, heard)


def open_mcp_url(
    url: str, *, headers: Mapping[str, str] | None = None, trust_hints: bool = False
) -> McpServer:
    """Reach a server over streamable HTTP, and list its tools.

    `headers` names, for each header, the environment variable that holds its value.

    Raises:
        TaskError: nothing there speaks MCP, or a variable is not set.
        MissingExtra: the SDK is not installed.
    """
    need("mcp", extra="functions", what="an MCP server")
    httpx = need("httpx2", extra="functions", what="an MCP server")
    from mcp.client.streamable_http import streamable_http_client

    given = {name: _variable(variable, url) for name, variable in (headers or {}).items()}

    @asynccontextmanager
    async def transport() -> AsyncIterator[Any]:
        options = {"headers": given, "trust_env": False, "timeout": httpx.Timeout(START_SECONDS)}
        async with (
            httpx.AsyncClient(**options) as client,
            streamable_http_client(url, http_client=client) as streams,
        ):
            yield streams

    bare = {value.rpartition(" ")[2] for value in given.values()}  # without a word like Bearer
    return _opened(transport(), url, trust_hints, frozenset(bare))


def _opened(
    transport: Any,
    name: str,
    trust_hints: bool,
    secrets: frozenset[str],
    heard: Overheard | None = None,
) -> McpServer:
    from anyio.from_thread import start_blocking_portal
    from mcp import Client

    with ExitStack() as stack:
        if heard is not None:
            stack.callback(heard.end)
        portal = stack.enter_context(start_blocking_portal())
        with _told(name, heard):
            client = stack.enter_context(
                portal.wrap_async_context_manager(
                    Client(transport, read_timeout_seconds=START_SECONDS)
                )
            )
            tools = portal.call(_tools, client)
        described = tuple(_described(tool, name, trust_hints) for tool in tools)
        return McpServer(name, described, portal, client, stack.pop_all(), secrets)
    raise AssertionError  # an ExitStack of these hides no exception


@contextmanager
def _told(name: str, heard: Overheard | None) -> Iterator[None]:
    """What goes wrong while a server is opened, as ours, with the last that a program said."""
    try:
        yield
    except Exception as error:  # the transport's own exceptions, in groups, are of many kinds
        reason: BaseException = error
        while isinstance(reason, BaseExceptionGroup):
            reason = reason.exceptions[0]
        said = heard.last_line() if heard is not None else ""
        raise TaskError(
            f"the MCP server {name!r} cannot be used: {reason}"
            + (f"; the last that it said is {said!r}" if said else ""),
            hint="start it by itself to see whether it runs and speaks MCP",
        ) from error


async def _tools(client: Any) -> list[Any]:
    tools: list[Any] = []
    cursor = None
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return tools
    raise ValueError(f"its list of tools has more than {_MOST_PAGES} pages")


def _described(tool: Any, server: str, trust_hints: bool) -> Described:
    reads = trust_hints and tool.annotations is not None and tool.annotations.read_only_hint is True
    schema = as_schema(tool.input_schema, f"MCP server {server!r}: tool {tool.name!r}")
    function = Function(tool.name, tool.description or "", schema)
    return Described(function, side_effects=not reads, source=f"mcp:{server}")


def _unwrapped(structured: Json) -> Json:
    """Servers put a result that is no object into one with the only key `result`."""
    if isinstance(structured, dict) and structured.keys() == {"result"}:
        return structured["result"]
    return structured


def _said(block: Any) -> str:
    return str(block.text) if block.type == "text" else f"[{block.type}, not shown]"


def _variable(name: str, server: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise TaskError(
            f"the MCP server {server!r} needs the environment variable {name!r}, which is not set",
            hint=f"set {name}",
        )
    return value
