"""Answers from passages: they are searched for each input, put before the model, and cited.

A search is part of the answer: its seconds count, and so does the call that rewrites a query.
How passages look in a prompt is in `citing.py`; which search is best is for `steps/retrieval.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import Citation, Input, Json, Message, Output, Request, Response, Usage, Workshop
from .citing import Knowledge, Rewrite, citations_in, with_passages
from .prompt import PromptSolver, outcome, render, render_input, request_of

if TYPE_CHECKING:
    from ..knowledge.remote import Store
    from ..knowledge.retriever import Hit, Retriever

__all__ = [
    "Asked", "answer_from", "asked", "citations_of", "cited", "open_collection", "query_of",
    "retriever_of",
]  # fmt: skip

_MARGIN = 256  # tokens that a chat template may add, where bytes are counted instead of tokens


@dataclass(frozen=True, slots=True)
class Asked:
    """What one input became: a request with the passages in it, best first, or an error.

    `usage` is that of rewriting, `seconds` this input's share of the search.
    """

    request: Request | None
    context: tuple[Citation, ...] = ()
    usage: tuple[Usage, ...] = ()
    seconds: float = 0.0
    error: str | None = None


def answer_from(
    solver: PromptSolver, inputs: Sequence[Input], workshop: Workshop
) -> Iterator[tuple[int, Output]]:
    """Each answer with what it cites and what was put before the model, as its call finishes."""
    asks = asked(solver, inputs, workshop)
    going = []
    for index, ask in enumerate(asks):
        if ask.request is None:
            yield index, Output(None, usage=ask.usage, error=ask.error)
        else:
            going.append((index, ask, ask.request))
    if not going:
        return
    requests = [request for _, _, request in going]
    for place, response in workshop.model(solver.model).generate(requests):
        index, ask, _ = going[place]
        yield index, _output(solver, response, ask)


def asked(solver: PromptSolver, inputs: Sequence[Input], workshop: Workshop) -> list[Asked]:
    """The requests, with passages searched for all inputs at once; see `Asked`.

    Raises:
        StepladderError: the index is not there, or the database cannot be reached.
    """
    knowledge = solver.knowledge
    assert knowledge is not None
    rewritten = (
        [(query_of(knowledge, input), (), None) for input in inputs]
        if knowledge.rewrite is None
        else _rewritten(knowledge, knowledge.rewrite, inputs, workshop)
    )
    places = [at for at, (_, _, error) in enumerate(rewritten) if error is None]
    began = time.perf_counter()
    retriever = retriever_of(knowledge, workshop.artifacts)
    found = retriever.search([rewritten[at][0] for at in places], knowledge.k) if places else []
    seconds = (time.perf_counter() - began) / max(1, len(places))
    hits = dict(zip(places, found, strict=True))
    picked = _picked(solver, inputs, workshop)
    made, cut = [], 0
    for at, (_, usage, error) in enumerate(rewritten):
        if error is not None:
            made.append(Asked(None, (), usage, 0.0, error))
            continue
        context = tuple(cited(hit) for hit in hits[at])
        request, fitting = _fitting(solver, inputs[at], picked[at], context, workshop)
        cut += len(fitting) < len(context)
        made.append(Asked(request, fitting, usage, seconds))
    if cut:
        workshop.tell(
            "note",
            {
                "text": f"{cut} of {len(inputs)} prompts have fewer than "
                f"{knowledge.k} passages, since more do not fit"
            },
        )
    return made


def cited(hit: Hit) -> Citation:
    """A passage that was found, as it is shown and cited."""
    one = hit.passage
    return Citation(one.id, one.source, one.text, one.title)


def query_of(knowledge: Knowledge, input: Input) -> str:
    """What is searched for: the input's field, its last user turn, or all of it as text."""
    if isinstance(input, Mapping) and knowledge.query is not None:
        value = input.get(knowledge.query, "")
        return value if isinstance(value, str) else render_input({knowledge.query: value})
    if isinstance(input, Mapping):
        return "\n".join(one if isinstance(one, str) else str(one) for one in input.values())
    if isinstance(input, tuple):
        said = [one for one in input if one.role == "user"]
        return "" if not said else _text(said[-1])
    return input


def retriever_of(knowledge: Knowledge, artifacts: Path) -> Retriever:
    """The retriever over the solver's index, or over the collection that it names.

    Raises:
        StepladderError: the index is not there, or the database cannot be reached.
    """
    if knowledge.at:
        return _remote(knowledge.at, knowledge.collection)
    from ..knowledge.searching import open_retriever

    named = {"index": knowledge.index, "retriever": knowledge.retriever}
    return open_retriever({**named, "rerank": knowledge.rerank}, artifacts)


@lru_cache(maxsize=8)
def _remote(at: str, collection: str) -> Retriever:
    """One connection per process: it is shared by all that search there."""
    from ..knowledge.remote import Remote

    return Remote(open_collection(at, collection))


def open_collection(at: str, collection: str) -> Store:
    """The collection of the database at this URL; its secrets come from the environment.

    PostgreSQL's client reads its own (PGPASSWORD, ~/.pgpass); Qdrant's key is QDRANT_API_KEY.

    Raises as `knowledge.remote.open_store`.
    """
    from ..knowledge.remote import open_store

    return open_store(at, collection, key=os.environ.get("QDRANT_API_KEY"))


def _rewritten(
    knowledge: Knowledge, rewrite: Rewrite, inputs: Sequence[Input], workshop: Workshop
) -> list[tuple[str, tuple[Usage, ...], str | None]]:
    """Per input, the query, what writing it took, and why there is none.

    A model that says nothing leaves the input's own words to search for.
    """
    own = [query_of(knowledge, input) for input in inputs]
    requests = [
        Request(
            (Message("system", rewrite.instructions), Message("user", text)),
            max_output_tokens=rewrite.max_output_tokens,
        )
        for text in own
    ]
    made: list[tuple[str, tuple[Usage, ...], str | None]] = [
        ("", (), "the query was not rewritten") for _ in inputs
    ]
    for at, response in workshop.model(rewrite.model).generate(requests):
        query = " ".join(response.text.split()) or own[at]
        error = None if response.error is None else f"rewriting the query failed: {response.error}"
        made[at] = (query, (response.usage,), error)
    return made


def _picked(
    solver: PromptSolver, inputs: Sequence[Input], workshop: Workshop
) -> Sequence[Sequence[tuple[Input, Json]]]:
    if solver.selector is None:
        return [()] * len(inputs)
    from .selection import select

    return select(solver.selector, inputs, workshop)


def _fitting(
    solver: PromptSolver,
    input: Input,
    picked: Sequence[tuple[Input, Json]],
    context: tuple[Citation, ...],
    workshop: Workshop,
) -> tuple[Request, tuple[Citation, ...]]:
    """The request with as many passages as fit, the worst left out first."""
    knowledge = solver.knowledge
    assert knowledge is not None
    model = workshop.model(solver.model)
    most = min(knowledge.most_tokens, getattr(model, "context_tokens", None) or 2**31)
    most -= solver.max_output_tokens
    while True:
        messages = render(solver, with_passages(knowledge, input, context), picked)
        size = sum(len(_text(one).encode()) for one in messages) + _MARGIN
        # a token is at least a byte: most prompts need no counting
        if not context or size <= most or model.count_tokens(messages) <= most:
            return request_of(solver, messages), context
        context = context[:-1]


def _output(solver: PromptSolver, response: Response, ask: Asked) -> Output:
    assert solver.knowledge is not None
    output = outcome(solver, response)
    usage = replace(
        response.usage,
        seconds=_plus(response.usage.seconds, ask.seconds),
        compute_seconds=_plus(response.usage.compute_seconds, ask.seconds),
    )
    output = replace(output, usage=(*ask.usage, usage), context=ask.context)
    if output.error is not None or output.value is None:
        return output
    if not isinstance(output.value, str):
        return replace(output, citations=citations_of(solver.knowledge, output.value, ask.context))
    value, citations = citations_in(solver.knowledge, output.value, ask.context)
    return replace(output, value=value or None, citations=citations)


def citations_of(
    knowledge: Knowledge, value: Json, context: Sequence[Citation]
) -> tuple[Citation, ...]:
    """For an answer that is no text: the passages that the texts in it stand in."""
    if knowledge.cite == "no":
        return ()
    found = replace(knowledge, cite="found")
    each = [citations_in(found, text, context)[1] for text in _leaves(value)]
    return tuple({one.passage: one for citations in each for one in citations}.values())


def _leaves(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content)


def _plus(known: float | None, more: float) -> float | None:
    return None if known is None else known + more
