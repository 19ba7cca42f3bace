"""Qdrant's REST protocol over its client's local mode, for what a server is strict about.

It is not Qdrant. What it checks is what our store sends: bodies by the official client's models,
the key, the size that a server takes, and filters on fields that have an index.
"""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["MOST_BYTES", "RestServer", "rest_server"]

MOST_BYTES = 32 * 2**20
KEY = "key-of-the-tests"


@dataclass
class RestServer:
    """Where it is, and every request that it took, as (method, path, bytes)."""

    url: str
    client: Any
    seen: list[tuple[str, str, int]] = field(default_factory=list)
    indexed: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Refused(Exception):
    """Told to the client with its status."""


@contextmanager
def rest_server() -> Iterator[RestServer]:
    import qdrant_client

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        one = RestServer(
            f"http://127.0.0.1:{http.server_port}", qdrant_client.QdrantClient(":memory:")
        )
        http.one = one  # type: ignore[attr-defined]
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield one
        finally:
            http.shutdown()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        one: RestServer = self.server.one  # type: ignore[attr-defined]
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(size)
        url = urlsplit(self.path)
        one.seen.append((self.command, url.path, size))
        status, told = 200, None
        try:
            if self.headers.get("api-key") != KEY:
                raise Refused(403, "Forbidden")
            if size > MOST_BYTES:
                raise Refused(413, "Payload too large")
            with one.lock, warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # local mode keeps no payload index
                told = _answer(one, self.command, url.path, parse_qs(url.query), body)
        except Refused as refused:
            status, told = refused.args
        result = {"result": told} if status == 200 else {"status": {"error": told}}
        whole = {"time": 0.0, "status": "ok", **result}
        text = json.dumps(whole, default=lambda model: model.model_dump(mode="json")).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, *arguments: Any) -> None: ...


def _answer(one: RestServer, method: str, path: str, query: dict[str, Any], body: bytes) -> Any:
    from qdrant_client import models
    from qdrant_client.http.models import models as wire

    _, collection, *rest = path.strip("/").split("/")
    client = one.client
    match method, "/".join(rest):
        case "GET", "exists":
            return {"exists": client.collection_exists(collection)}
        case "PUT", "":
            asked = wire.CreateCollection.model_validate_json(body)
            return client.create_collection(collection, vectors_config=asked.vectors)
        case "PUT", "index":
            index = wire.CreateFieldIndex.model_validate_json(body)
            one.indexed.add(index.field_name)
            assert query["wait"] == ["true"]
            return client.create_payload_index(collection, index.field_name, index.field_schema)
        case "PUT", "points":
            assert query["wait"] == ["true"]
            points = wire.PointsList.model_validate_json(body).points
            return client.upsert(collection, points)
        case "POST", "points/delete":
            assert query["wait"] == ["true"]
            selector = models.FilterSelector.model_validate_json(body)
            _check_indexed(one, selector.filter)
            return client.delete(collection, selector)
        case "POST", "points/scroll":
            scroll = wire.ScrollRequest.model_validate_json(body)
            _check_indexed(one, scroll.filter)
            points, offset = client.scroll(
                collection,
                scroll_filter=scroll.filter,
                limit=min(scroll.limit, 3),  # pages, as of a large collection
                offset=scroll.offset,
                with_payload=scroll.with_payload,
            )
            return {"points": points, "next_page_offset": offset}
        case "POST", "points/query/batch":
            searches = wire.QueryRequestBatch.model_validate_json(body).searches
            return client.query_batch_points(collection, searches)
        case "POST", "points/count":
            return client.count(collection)
    raise Refused(404, f"no {method} {path}")


def _check_indexed(one: RestServer, chosen: Any) -> None:
    """A server in strict mode refuses what would read every point."""
    named = {condition.key for condition in chosen.must}
    if missing := named - one.indexed:
        raise Refused(400, f"Index required but not found for {missing}")
