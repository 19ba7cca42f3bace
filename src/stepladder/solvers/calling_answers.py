"""What a solver that calls functions gives back: predicted calls, or all that happened.

What is asked is for `calling.py`; the loop for `functions/loop.py`.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Literal

from ..core import Call, Json, Output, Response
from ..functions.loop import Start, Talk
from ..functions.running import Ran
from ..functions.written import read_list

if TYPE_CHECKING:
    from .calling import CallingSolver

__all__ = ["outcome", "prediction", "served_calls", "written_prediction"]


def prediction(response: Response, start: Start) -> Output:
    """The calls that the model made in its own form; none where it only spoke."""
    if response.error is not None:
        return Output(None, response.text, (response.usage,), error=response.error)
    calls = _own_calls(response, start)
    said = [response.text] if response.text else []
    text = "\n".join([*said, _json(calls)] if calls else said)
    return Output(calls, text, (response.usage,))


def written_prediction(response: Response, start: Start) -> Output:
    """The list of calls that the model wrote; a text that is none has no value."""
    listed = read_list(response) if response.error is None else None
    calls = None if listed is None else _own_calls(listed, start)
    return Output(calls, response.text, (response.usage,), error=response.error)


def _own_calls(response: Response, start: Start) -> list[Json]:
    return [
        {"name": start.names.get(call.name, call.name), "arguments": dict(call.arguments)}
        for call in response.calls
    ]


def outcome(talk: Talk, gives: Literal["calls", "record", "answer"]) -> Output:
    """What happened as the value; only the text says how long it took, since no two runs agree."""
    record: dict[str, Json] = {
        "answer": talk.answer,
        "calls": [_told(one) for one in talk.ran],
        "steps": len(talk.turns),
        "ended": talk.ended,
    }
    if gives == "record":
        value: Json = None if talk.error is not None else record
    else:
        value = talk.answer
    text = _json({**record, "seconds": round(talk.seconds, 3)})
    return Output(value, text, talk.usage, error=talk.error)


def served_calls(solver: CallingSolver, output: Output) -> tuple[tuple[Call, ...], str] | None:
    """An answer's calls for whoever asked, and what is said where there are none.

    None where the answer is not calls to be made but a value, as of any solver.
    """
    if solver.gives != "calls" or output.value is None:
        return None
    calls = tuple(
        Call(one["name"], one["arguments"], f"call_{secrets.token_hex(12)}") for one in output.value
    )
    return calls, "" if calls or solver.form == "json" else output.text


def _told(ran: Ran) -> dict[str, Json]:
    told: dict[str, Json] = {"name": ran.call.name, "arguments": dict(ran.call.arguments)}
    told |= {"state": ran.state, "side_effects": ran.side_effects}
    if ran.state == "done":
        told["result"] = ran.result
    if ran.error is not None:
        told["error"] = ran.error
    return told


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)
