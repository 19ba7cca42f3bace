"""What callers say of answers: a verdict or a correction, linked to a request.

Callers speak of their own requests only; an admin of any. What is accepted is in the database
before the answer goes out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from ..core import Json
from ..database import new_id
from ..database.records import Feedback
from . import Caller, Refusal
from .bodies import read_json
from .keys import caller_of

if TYPE_CHECKING:
    from .server import Server

__all__ = ["make_feedback_router"]

VERDICTS = ("right", "wrong")
FIELDS = frozenset({"request_id", "verdict", "correction", "comment"})
LONGEST_COMMENT = 10_000  # characters


def make_feedback_router() -> APIRouter:
    """The route, at /v1/feedback."""
    router = APIRouter()

    @router.post("/v1/feedback", status_code=201)
    async def add(request: Request, caller: Annotated[Caller, Depends(caller_of)]) -> JSONResponse:
        server: Server = request.app.state.server
        feedback = _feedback(await _body(request), caller)
        served = await run_sync(server.database.served, feedback.request)
        if served is None or (caller.role != "admin" and served.key != caller.id):
            raise Refusal(
                "not_found",
                f"no request {feedback.request!r} is known",
                hint="take the id from the response's header x-request-id",
                param="request_id",
            )
        await run_sync(server.database.add_feedback, feedback)
        told = {"id": feedback.id, "request_id": feedback.request, "at": feedback.at.isoformat()}
        return JSONResponse(told, 201)

    return router


async def _body(request: Request) -> dict[str, Any]:
    body = read_json(await request.body())
    if not isinstance(body, dict):
        raise Refusal("invalid", "the body has to be a JSON object")
    if unknown := sorted(body.keys() - FIELDS):
        raise Refusal(
            "invalid", f"unknown field {unknown[0]!r}", hint=f"known: {', '.join(sorted(FIELDS))}",
            param=unknown[0],
        )  # fmt: skip
    return body


def _feedback(body: dict[str, Json], caller: Caller) -> Feedback:
    request, comment = body.get("request_id"), body.get("comment", "")
    verdict = body.get("verdict")
    if not isinstance(request, str) or not request:
        raise _wrong("request_id", "has to be the id of a request, as text")
    if verdict is not None and verdict not in VERDICTS:
        raise _wrong("verdict", f"has to be one of {', '.join(VERDICTS)}")
    if not isinstance(comment, str) or len(comment) > LONGEST_COMMENT:
        raise _wrong("comment", f"has to be text of at most {LONGEST_COMMENT} characters")
    if verdict is None and not comment and body.get("correction") is None:
        raise Refusal("invalid", "give a verdict, a correction or a comment", param="verdict")
    return Feedback(
        id=new_id(),
        request=request,
        key=caller.id,
        at=datetime.now(UTC),
        verdict=verdict,
        correction=body.get("correction"),
        comment=comment,
    )


def _wrong(field: str, what: str) -> Refusal:
    return Refusal("invalid", f"{field!r} {what}", param=field)
