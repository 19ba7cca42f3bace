"""Everything between a call that a model asks for and the function: checks, allow-list, limits.

What a model says, and what a result says, changes nothing here: which functions there are and which
of them may act is fixed before the first word. Nothing runs that was not checked.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..core import Call, Json
from ..errors import TaskError
from ..strict_json import check_strictly
from .description import CallFailed, Described, Source, validator_of

__all__ = ["Asked", "Limits", "Ran", "Running", "run_calls", "told_result"]

_MOST_PROBLEMS = 3  # of one call's arguments, told at once
_LONGEST_PROBLEM = 300  # characters


@dataclass(frozen=True)
class Limits:
    """What answering one input may take.

    `steps` are model calls, `seconds` those of model and functions together, without waiting for
    other inputs of a batch, `dollars` those of the model (None: no limit). A longer result than
    `result_characters` is cut. At most `calls_at_once` functions run side by side.
    """

    steps: int = 8
    seconds: float = 60.0
    dollars: float | None = None
    result_characters: int = 4000
    calls_at_once: int = 8


@dataclass(frozen=True)
class Running:
    """The functions that may run, and how.

    Functions with side effects run only where `allowed` names them. With `dry` none runs: calls are
    checked and recorded.

    Raises:
        TaskError: two sources have a function of one name, or `allowed` names one there is not.
    """

    sources: tuple[Source, ...] = ()
    allowed: frozenset[str] = frozenset()
    dry: bool = False
    limits: Limits = Limits()
    _known: Mapping[str, tuple[Described, Source]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known: dict[str, tuple[Described, Source]] = {}
        for source in self.sources:
            for one in source.described:
                if one.name in known:
                    raise TaskError(
                        f"{one.source!r} and {known[one.name][0].source!r} both have a function "
                        f"{one.name!r}",
                        hint="rename one of them",
                    )
                known[one.name] = (one, source)
        if missing := sorted(self.allowed - known.keys()):
            raise TaskError(
                f"the function {missing[0]!r} is allowed, and there is none of that name",
                hint=f"there are: {', '.join(sorted(known)) or 'none'}",
            )
        object.__setattr__(self, "_known", known)

    def find(self, name: str) -> tuple[Described, Source] | None:
        """The function of this name and where it lives; None where there is none."""
        return self._known.get(name)

    @property
    def described(self) -> tuple[Described, ...]:
        return tuple(one for one, _ in self._known.values())


@dataclass(frozen=True)
class Asked:
    """A call that a model asks for: among which functions, and in how many seconds at most."""

    call: Call
    candidates: Collection[str]
    seconds: float


@dataclass(frozen=True)
class Ran:
    """What became of a call.

    "done" has a `result`; "failed" ran and did not work; "refused" and "recorded" did not run. An
    `error` is for the model to read.
    """

    call: Call
    state: Literal["done", "failed", "refused", "recorded"]
    result: Json = None
    error: str | None = None
    side_effects: bool = True
    seconds: float = 0.0


def run_calls(asked: Sequence[Asked], running: Running) -> list[Ran]:
    """Each call checked and, where that is allowed, run; in their order, side by side.

    A call that takes longer than its time is told as failed and let go: whether it still takes
    effect is not known.
    """
    outcomes: list[Ran | None] = [_refused(one, running) for one in asked]
    going = [place for place, outcome in enumerate(outcomes) if outcome is None]
    if running.dry:
        for place in going:
            outcomes[place] = _of(asked[place].call, "recorded", running)
        going = []
    most = running.limits.calls_at_once
    for start in range(0, len(going), most):
        places = going[start : start + most]
        for place, ran in zip(places, _beside([asked[at] for at in places], running), strict=True):
            outcomes[place] = ran
    return [outcome for outcome in outcomes if outcome is not None]


def told_result(ran: Ran, characters: int) -> str:
    """What the model is told of a call, as JSON; a long result is cut, and says so."""
    if ran.state == "recorded":
        return _json({"recorded": True, "note": "a dry run: the function was not called"})
    if ran.error is not None:
        return _json({"error": _cut(ran.error, characters)})
    text = _json(ran.result)
    if len(text) <= characters:
        return _json({"result": ran.result})
    return _json({"result": _cut(text, characters), "cut": True})


# --- checks -------------------------------------------------------------------------------------


def _refused(asked: Asked, running: Running) -> Ran | None:
    """Why the call may not run; None where it may."""
    name = asked.call.name
    found = running.find(name)
    if found is None or name not in asked.candidates:
        there = ", ".join(sorted(one for one in asked.candidates if running.find(one)))
        return _of(asked.call, "refused", running, f"there is no function {name!r}; known: {there}")
    if problems := list(_problems(found[0], asked.call)):
        told = "; ".join(problems[:_MOST_PROBLEMS])
        return _of(asked.call, "refused", running, f"the arguments do not fit: {told}")
    if found[0].side_effects and name not in running.allowed and not running.dry:
        return _of(asked.call, "refused", running, f"the function {name!r} is not allowed to run")
    if asked.seconds <= 0:
        return _of(asked.call, "refused", running, "there is no time left")
    return None


def _problems(described: Described, call: Call) -> Iterator[str]:
    from referencing.exceptions import Unresolvable

    validator = validator_of(described.function.parameters)
    try:
        for problem in validator.iter_errors(dict(call.arguments)):
            place = "/".join(map(str, problem.absolute_path))
            yield _cut(
                f"{place}: {problem.message}" if place else problem.message, _LONGEST_PROBLEM
            )
    except Unresolvable as error:
        yield f"the schema of {described.name!r} is damaged: {error}"
    except RecursionError:
        yield "nested too deeply"


# --- running ------------------------------------------------------------------------------------


def _beside(asked: Sequence[Asked], running: Running) -> list[Ran]:
    """All of these at once, each in a thread that dies with the program."""
    results: list[list[Ran | BaseException]] = [[] for _ in asked]
    threads = []
    began = time.monotonic()
    for one, result in zip(asked, results, strict=True):
        thread = threading.Thread(target=_run, args=(one, running, result), daemon=True)
        thread.start()
        threads.append(thread)
    found = []
    for one, thread, result in zip(asked, threads, results, strict=True):
        thread.join(max(0.0, began + one.seconds - time.monotonic()))
        if not result:
            said = f"not done within {one.seconds:.3g} seconds; it may still take effect"
            found.append(replace(_of(one.call, "failed", running, said), seconds=one.seconds))
        elif isinstance(result[0], BaseException):
            raise result[0]
        else:
            found.append(result[0])
    return found


def _run(asked: Asked, running: Running, result: list[Ran | BaseException]) -> None:
    found = running.find(asked.call.name)
    assert found is not None  # what is not there was refused
    began = time.monotonic()
    try:
        try:
            value = found[1].call(asked.call.name, asked.call.arguments, asked.seconds)
            ran = _returned(asked.call, value, running)
        except CallFailed as error:
            said = str(error).encode(errors="replace").decode()  # it is written down as UTF-8
            ran = _of(asked.call, "failed", running, said)
        result.append(replace(ran, seconds=time.monotonic() - began))
    except BaseException as error:  # a mistake of ours: raised where the calls were asked for
        result.append(error)


def _returned(call: Call, value: Json, running: Running) -> Ran:
    """What a function gave back, if it can be told and kept: services say what they like."""
    try:
        check_strictly(value)
    except ValueError as error:
        said = f"it ran, and its result cannot be used: {error}"
        return _of(call, "failed", running, said)
    return replace(_of(call, "done", running), result=value)


def _of(
    call: Call,
    state: Literal["done", "failed", "refused", "recorded"],
    running: Running,
    error: str | None = None,
) -> Ran:
    found = running.find(call.name)
    return Ran(call, state, error=error, side_effects=found is None or found[0].side_effects)


def _cut(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    return f"{text[:characters]} [cut: {characters} of {len(text)} characters]"


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)
