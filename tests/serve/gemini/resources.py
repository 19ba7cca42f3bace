"""What the tests of the resources share: captured requests, and checks against the documents."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2 as httpx
from contract.captured import captured
from contract.specs import Exchange, Json, UnknownCall
from contract.vendors import spec_of

GOOGLE = {"x-goog-api-key": "fake", "x-goog-api-client": "google-genai-sdk/3.4.0"}
PLACE = "projects/p/locations/us-central1"
VERTEX = f"/v1beta1/{PLACE}"
CAPTURED = Path(__file__).parent / "captured"


def recorded(file: str) -> list[tuple[str, Exchange]]:
    """Requests that are kept beside these tests."""
    kept = json.loads((CAPTURED / f"{file}.json").read_text("utf-8"))["requests"]
    return [(one["case"], Exchange(one["method"], one["path"], one["body"])) for one in kept]


def of_the_contract(file: str) -> list[tuple[str, Exchange]]:
    """Requests that are kept beside the tests of the contract."""
    return [(one.id.partition("/")[2], one.exchange) for one in captured(file)]


async def send(client: httpx.AsyncClient, exchange: Exchange) -> httpx.Response:
    body = {} if exchange.body is None else {"json": exchange.body}
    return await client.request(exchange.method, exchange.path, headers=GOOGLE, **body)


def faults(method: str, path: str, answer: Json) -> list[str]:
    """In what an answer departs from Google's document."""
    spec = spec_of(path)
    path = path.replace("/:evaluateInstances", ":evaluateInstances")
    try:
        return spec.faults_of_response(Exchange(method, path, None, 200, answer))
    except UnknownCall as error:
        return [str(error)]


async def call(
    client: httpx.AsyncClient, method: str, path: str, body: Json = None, status: int = 200
) -> Json:
    """The answer's body, once it has this status and is what the document says."""
    response = await send(client, Exchange(method, path, body))
    assert response.status_code == status, response.text
    answer = response.json()
    if status == 200:
        assert faults(method, path, answer) == []
    else:
        assert answer["error"]["code"] == status
    return answer
