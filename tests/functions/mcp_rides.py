"""An MCP server of the tests, run as a program of its own: over stdio, or HTTP with a port."""

from __future__ import annotations

import os
import sys

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

server = MCPServer("rides")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def find_rides(city: str, seats: int = 1) -> list[str]:
    """Rides that leave from a city."""
    return [f"{city} {seats}"]


@server.tool()
def book_ride(ride: int) -> str:
    """Book a seat."""
    if ride != 1:
        raise ToolError(f"no ride {ride}")
    return "booked"


@server.tool()
def environment() -> dict[str, str]:
    """What the program is given."""
    return dict(os.environ)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
