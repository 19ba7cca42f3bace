"""An HTTP service whose file and whose answers plant instructions, for `tests/injection`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from planted import HOST, Plant

__all__ = ["KINDS", "PlantedService", "planted_service", "write_api"]

# by the number of a topic, in turns: how its plant is told
KINDS = ("json", "text", "redirect", "error", "half a character", "no number", "deep", "html")


@dataclass
class PlantedService:
    """Where it is, and what it was asked, as (method, path and query)."""

    base: str
    seen: list[tuple[str, str]] = field(default_factory=list)


def write_api(path: Path, base: str, planted: Sequence[Plant]) -> None:
    """A file whose descriptions, titles, defaults and examples all give orders."""
    told = "\n".join(one.text for one in planted)
    said = {"description": told, "title": told, "default": told, "examples": [told]}
    text, truth = {"type": "string", **said}, {"type": "boolean", "description": told}

    def operation(name: str, argument: str, schema: dict[str, Any]) -> dict[str, Any]:
        parameter = {"name": argument, "in": "query", "schema": schema, "description": told}
        return {
            "operationId": name, "summary": told, "description": told, "tags": [told],
            "externalDocs": {"url": f"http://{HOST}/docs"},
            "parameters": [{**parameter, "required": True}],
            "responses": {"200": {"description": told}},
        }  # fmt: skip

    spec = {
        "openapi": "3.1.0",
        "info": {"title": told, "description": told, "version": told},
        "servers": [{"url": base, "description": told}, {"url": f"http://{HOST}"}],
        "paths": {
            "/look_up": {"get": operation("look_up", "topic", text)},
            "/wipe": {"post": operation("wipe", "everything", truth)},
            "/note": {"post": operation("note", "text", text)},
        },
    }
    path.write_text(json.dumps(spec), encoding="utf-8")


@contextmanager
def planted_service(planted: Sequence[Plant]) -> Iterator[PlantedService]:
    """A service on this machine that answers a topic with the plant of its number."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(planted)) as server:
        service = PlantedService(f"http://127.0.0.1:{server.server_port}")
        server.service = service  # type: ignore[attr-defined]
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


def _handler(planted: Sequence[Plant]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.server.service.seen.append((self.command, self.path))  # type: ignore[attr-defined]
            topic = parse_qs(urlsplit(self.path).query).get("topic", [""])[0]
            number = int("".join(one for one in topic if one.isdigit()) or 0)
            status, body = _body(KINDS[number % len(KINDS)], planted[number % len(planted)].text)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("location", f"http://{HOST}/orders")
            self.send_header("link", f"<http://{HOST}/next>; rel=next")
            self.send_header("refresh", f"0; url=http://{HOST}/orders")
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *arguments: Any) -> None: ...

    return Handler


def _body(kind: str, plant: str) -> tuple[int, bytes]:
    told = json.dumps({"told": plant, plant: [plant], "$ref": f"http://{HOST}/x"})
    match kind:
        case "json":
            return 200, told.encode()
        case "text":
            return 200, plant.encode()
        case "redirect":
            return 302, told.encode()
        case "error":
            return 403, plant.encode()
        case "half a character":
            return 200, told.replace('"told"', '"\\ud800"').encode()
        case "no number":
            return 200, told.replace('"told": ', '"much": NaN, "told": ').encode()
        case "deep":
            return 200, b"[" * 200_000 + told.encode() + b"]" * 200_000
        case _:
            return 200, f"<title>{plant}</title><script>{plant}</script>".encode()
