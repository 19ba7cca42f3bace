"""The loop: the model is asked, what it calls is run, and it is asked again with the results.

Many inputs go side by side: all that wait for the model are one batch. What may run is decided in
`running.py`; which prompt is asked with, in `solvers/calling.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..core import Call, Function, Message, Model, Request, Response, Usage
from .running import Asked, Ran, Running, run_calls, told_result
from .written import list_schema, read_list

__all__ = ["Asking", "Ended", "Start", "Talk", "Turn", "converse"]

Ended = Literal["answer", "steps", "seconds", "dollars", "error"]


@dataclass(frozen=True)
class Start:
    """What a conversation begins with. `names` leads from shown names to the functions' own."""

    messages: tuple[Message, ...]
    functions: tuple[Function, ...]
    names: Mapping[str, str]


@dataclass(frozen=True)
class Asking:
    """How the model is asked. `price` gives the dollars of calls, or None when unknown.

    `written` is for models without a form of their own for calls: each turn is a JSON list of them
    (`written.py`), and an empty one ends the conversation.
    """

    model: Model
    max_output_tokens: int = 256
    thinking_tokens: int | None = None
    price: Callable[[Iterable[Usage]], float | None] = lambda calls: None
    written: bool = False


@dataclass(frozen=True)
class Turn:
    """One answer of the model, and what became of its calls, whose names are the functions' own."""

    text: str
    ran: tuple[Ran, ...] = ()


@dataclass(frozen=True)
class Talk:
    """A whole conversation: why it ended, and what it took.

    `seconds` are of model and functions; of a model that answers many at once, this one's share.

    `error` is there where it failed, not where a limit ended it.
    """

    turns: tuple[Turn, ...]
    usage: tuple[Usage, ...]
    ended: Ended
    seconds: float
    error: str | None = None

    @property
    def answer(self) -> str | None:
        """What was said at the end; None where it was never reached."""
        return self.turns[-1].text if self.ended == "answer" else None

    @property
    def ran(self) -> tuple[Ran, ...]:
        """All calls, in their order."""
        return tuple(one for turn in self.turns for one in turn.ran)


@dataclass
class _Going:
    """A conversation that has not ended."""

    start: Start
    messages: tuple[Message, ...]
    turns: list[Turn] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)
    seconds: float = 0.0

    def end(self, ended: Ended, error: str | None = None) -> Talk:
        return Talk(tuple(self.turns), tuple(self.usage), ended, self.seconds, error)


def converse(
    starts: Sequence[Start], asking: Asking, running: Running
) -> Iterator[tuple[int, Talk]]:
    """Each conversation as it ends, with the index of its start."""
    going = {index: _Going(start, start.messages) for index, start in enumerate(starts)}
    while going:
        batch = list(going)
        requests = [_request(going[index], asking) for index in batch]
        calling: list[tuple[int, Response]] = []
        answered = set()
        for place, answer in asking.model.generate(requests):
            index, response = batch[place], _read(answer, asking)
            answered.add(index)
            ended = _hear(going[index], response, asking, running)
            if ended is not None:
                del going[index]
                yield index, ended
            else:
                calling.append((index, response))
        for index in going.keys() - answered:
            yield index, going.pop(index).end("error", "the model gave no answer")
        asked = [(going[index], response) for index, response in calling]
        _run_all(asked, running, written=asking.written)
        for index, _ in calling:
            limit = _limit(going[index], running)
            if limit is not None:
                yield index, going.pop(index).end(limit)


def _request(going: _Going, asking: Asking) -> Request:
    request = Request(
        going.messages,
        max_output_tokens=asking.max_output_tokens,
        thinking_tokens=asking.thinking_tokens,
    )
    if asking.written:
        return replace(request, schema=list_schema(going.start.functions))
    return replace(request, functions=going.start.functions)


def _read(response: Response, asking: Asking) -> Response:
    """The answer with its calls; of a written list that is empty nothing is left to say."""
    if not asking.written or response.error is not None:
        return response
    listed = read_list(response)
    if listed is None:
        return response
    return listed if listed.calls else replace(listed, text="")


def _hear(going: _Going, response: Response, asking: Asking, running: Running) -> Talk | None:
    """Take an answer in; the conversation where it ends with it, None where calls are to be run."""
    going.usage.append(response.usage)
    going.seconds += _taken(response.usage)
    if response.error is not None:
        going.turns.append(Turn(response.text))
        return going.end("error", response.error)
    if not response.calls:
        going.turns.append(Turn(response.text))
        return going.end("answer")
    if running.limits.dollars is None:
        return None
    spent = asking.price(going.usage)
    if spent is None:
        name = asking.model.name
        return going.end("error", f"the price of {name!r} is unknown, and dollars are limited")
    if spent >= running.limits.dollars:
        going.turns.append(Turn(response.text))
        return going.end("dollars")
    return None


def _taken(usage: Usage) -> float:
    """What an answer took of its model: to wait for others of its batch is not its doing."""
    own = usage.compute_seconds
    return (usage.seconds if own is None else own) or 0.0


def _run_all(asking: Sequence[tuple[_Going, Response]], running: Running, *, written: bool) -> None:
    """Run what was called in all conversations, side by side, and tell the results to each."""
    asked = [
        Asked(
            _own(call, going.start),
            frozenset(going.start.names.values()),
            running.limits.seconds - going.seconds,
        )
        for going, response in asking
        for call in response.calls
    ]
    outcomes = iter(run_calls(asked, running))
    for going, response in asking:
        ran = tuple(next(outcomes) for _ in response.calls)
        going.turns.append(Turn(response.text, ran))
        going.seconds += max((one.seconds for one in ran), default=0.0)
        results = [
            Message("function", told_result(one, running.limits.result_characters), result_of=call)
            for one, call in zip(ran, response.calls, strict=True)
        ]
        own_form = () if written else response.calls
        said = Message("assistant", response.text, calls=own_form)
        going.messages = (*going.messages, said, *results)


def _own(call: Call, start: Start) -> Call:
    return replace(call, name=start.names.get(call.name, call.name))


def _limit(going: _Going, running: Running) -> Ended | None:
    if len(going.turns) >= running.limits.steps:
        return "steps"
    return "seconds" if going.seconds >= running.limits.seconds else None
