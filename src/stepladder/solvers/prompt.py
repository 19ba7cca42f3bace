"""A model, what it is told, and how its answer is read. Serving and training render alike.

`render` puts what all inputs share first and the input last, so that an engine with a prefix
cache computes the shared part once. `render_target` is what the model should say: the same text in
demonstrations, in training data and in `parse`. Which wording is best is for `steps/prompt.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..core import Input, Json, Kind, Message, Output, Part, Request, Response, Workshop
from ..errors import ModelError, StepladderError
from .citing import Knowledge, rules
from .parse import Parsed, parse_json, parse_label, parse_text

__all__ = [
    "CONTENT_FREE", "Demo", "PromptSolver", "calibrate", "instruction_block", "label_logprobs",
    "outcome", "parse", "render", "render_input", "render_target", "request_of", "requests_for",
]  # fmt: skip

Demo = tuple[Input, Json]
CONTENT_FREE = ("N/A", "[MASK]", "")  # the three that Zhao et al. (2021) average over


@dataclass(frozen=True)
class PromptSolver:
    """Asks `model` with a prompt made of these fields.

    `label_descriptions` and `schema` are shown when `show_descriptions` and `show_schema` say so;
    with `constrained` they also limit what the engine may emit. `scoring` "labels" picks the label
    with the highest probability instead of generating; "calibrated" first divides by
    `label_priors`, which `calibrate` measured for exactly this prompt (`priors_for`).
    `selector` picks demonstrations per input: {"method": "bm25" | "embedding", "k": int,
    "pool": artifact}; they follow the fixed `demos`. With `knowledge`, passages are searched for
    each input and put beside it (`grounding.py`).
    """

    model: str
    instructions: str
    task_kind: Kind = "generation"
    labels: tuple[str, ...] = ()
    show_labels: bool = True
    label_descriptions: Mapping[str, str] = field(default_factory=dict)
    show_descriptions: bool = False
    schema: Mapping[str, Json] | None = None
    show_schema: bool = False
    output_format: Literal["label", "json", "text"] = "text"
    constrained: bool = False
    scoring: Literal["none", "labels", "calibrated"] = "none"
    label_priors: tuple[float, ...] = ()  # log probability of each label for content-free inputs
    priors_for: str = ""
    demos: tuple[Demo, ...] = ()
    demo_layout: Literal["messages", "text"] = "messages"
    selector: Mapping[str, Json] | None = None
    placement: Literal["system", "user"] = "system"
    reminder: str = ""  # repeated after the input, for models that forget what came before it
    max_output_tokens: int = 256
    with_confidence: bool = False  # ask how probable each generated answer was
    thinking_tokens: int | None = None  # see `core.Request`
    knowledge: Knowledge | None = None
    kind: str = field(default="prompt", init=False)

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        """Each answer as its model call finishes; a failed call is an output with `error`."""
        if self.knowledge is not None:
            from .grounding import answer_from

            _check_priors(self)
            yield from answer_from(self, inputs, workshop)
            return
        requests = requests_for(self, inputs, workshop)
        for index, response in workshop.model(self.model).generate(requests):
            yield index, outcome(self, response)


def ask_ahead(solvers: Sequence[PromptSolver], inputs: Sequence[Input], workshop: Workshop) -> None:
    """Ask what all these solvers will ask in one batch, so that each finds its answers kept.

    A local engine is several times faster with a full batch than with a few requests at a time. It
    rests on the workshop's models keeping their answers; a call that fails is made again later.
    """
    asked: dict[str, list[Request]] = {}
    for solver in solvers:
        asked.setdefault(solver.model, []).extend(requests_for(solver, inputs, workshop))
    for name, requests in asked.items():
        for _ in workshop.model(name).generate(requests):
            pass


def requests_for(
    solver: PromptSolver, inputs: Sequence[Input], workshop: Workshop
) -> list[Request]:
    """The model calls that answering these inputs takes, one per input, in their order.

    An input for which no passages could be searched has none.
    """
    _check_priors(solver)
    if solver.knowledge is not None:
        from .grounding import asked

        found = [ask.request for ask in asked(solver, inputs, workshop)]
        return [request for request in found if request is not None]
    picked: Sequence[tuple[Demo, ...]] = [()] * len(inputs)
    if solver.selector is not None:
        from .selection import select

        picked = select(solver.selector, inputs, workshop)
    return [
        request_of(solver, render(solver, input, demos))
        for input, demos in zip(inputs, picked, strict=True)
    ]


def render(solver: PromptSolver, input: Input, picked: Sequence[Demo] = ()) -> tuple[Message, ...]:
    """The messages for one input: instruction, fixed demos, `picked` demos, the input."""
    block = instruction_block(solver)
    demos = (*solver.demos, *picked)
    if solver.demo_layout == "text" and demos:
        shown = [f"Input: {render_input(i)}\nAnswer: {render_target(solver, e)}" for i, e in demos]
        asked = f"Input: {render_input(input)}{_reminder(solver)}\nAnswer:"
        turns = [Message("user", "\n\n".join((*shown, asked)))]
    else:
        turns = []
        for demo_input, expected in demos:
            turns += _turns(demo_input, _reminder(solver))
            turns.append(Message("assistant", render_target(solver, expected)))
        turns += _turns(input, _reminder(solver))
    if not block:
        return tuple(turns)
    if solver.placement == "system":
        return (Message("system", block), *turns)
    return (_with_text(turns[0], before=f"{block}\n\n"), *turns[1:])


def instruction_block(solver: PromptSolver) -> str:
    """What is said before any example: instructions, labels or schema, the form to answer in."""
    parts = [solver.instructions.strip()]
    if solver.knowledge is not None:
        parts.append(rules(solver.knowledge))
    if solver.labels and solver.show_labels:
        parts.append("Labels:\n" + "\n".join(_label_line(solver, label) for label in solver.labels))
    if solver.output_format == "json" and solver.show_schema and solver.schema is not None:
        parts.append("JSON schema of the answer:\n" + _json(solver.schema))
    if solver.output_format == "json":
        parts.append("Answer with JSON only.")
    elif solver.output_format == "label":
        parts.append("Answer with one label only.")
    return "\n\n".join(part for part in parts if part)


def render_input(input: Input) -> str:
    """The input as text: itself, one line per named field, or a transcript of messages.

    Raises:
        StepladderError: a message holds something that is not text.
    """
    if isinstance(input, str):
        return input
    if isinstance(input, Mapping):
        return "\n".join(f"{name}: {_field_text(value)}" for name, value in input.items())
    if any(not isinstance(m.content, str) and _has_media(m.content) for m in input):
        raise StepladderError(
            "an input with media cannot be written as text",
            hint="use demo_layout='messages', and no text index over such inputs",
        )
    return "\n".join(f"{message.role}: {_content_text(message)}" for message in input)


def render_target(solver: PromptSolver, expected: Json) -> str:
    """What the model should say for `expected`; JSON keeps the order of keys in the data.

    Of several accepted texts (a list, as the text metrics read it) it is the first.
    """
    if solver.output_format == "json":
        wrapped = solver.task_kind == "classification" and not isinstance(expected, Mapping)
        return _json({"label": expected} if wrapped else expected)
    if isinstance(expected, list | tuple) and expected and isinstance(expected[0], str):
        return expected[0]
    return expected if isinstance(expected, str) else _json(expected)


def parse(solver: PromptSolver, text: str) -> Parsed:
    """The value in what the model said, or the kind of failure; inverse of `render_target`."""
    if solver.output_format == "text":
        return parse_text(text)
    if solver.output_format == "label":
        return parse_label(text, solver.labels)
    parsed = parse_json(text)
    if parsed.failure or solver.task_kind != "classification":
        return parsed
    if isinstance(parsed.value, Mapping) and isinstance(parsed.value.get("label"), str):
        return parse_label(parsed.value["label"], solver.labels)
    return Parsed(None, "unknown_label")


def calibrate(solver: PromptSolver, workshop: Workshop) -> PromptSolver:
    """The solver with label priors measured on content-free inputs.

    Zhao et al. (2021), "Calibrate Before Use": a label that is likely for "N/A" is likely for no
    reason, so its probability is divided by that. The priors hold for this prompt and model only.

    Raises:
        StepladderError: demonstrations are picked per input.
        ModelError: the model could not score the labels.
    """
    if solver.selector is not None:
        raise StepladderError(
            "label priors need one prompt, and this solver picks demonstrations per input",
            hint="use scoring='labels' with a selector",
        )
    asking = replace(solver, scoring="labels")
    requests = [request_of(asking, render(asking, text)) for text in CONTENT_FREE]
    shares = [0.0] * len(solver.labels)
    for _, response in workshop.model(solver.model).generate(requests):
        if response.error or len(response.choice_logprobs) != len(solver.labels):
            raise ModelError(
                f"model {solver.model!r} could not score the labels: {response.error}",
                hint="use scoring='none' with this model",
            )
        for position, logprob in enumerate(_log_softmax(response.choice_logprobs)):
            shares[position] += math.exp(logprob) / len(CONTENT_FREE)
    priors = tuple(math.log(max(share, 1e-12)) for share in shares)
    return replace(
        solver, scoring="calibrated", label_priors=priors, priors_for=_fingerprint(solver)
    )


def request_of(solver: PromptSolver, messages: tuple[Message, ...]) -> Request:
    """The call with these messages, which holds the answer to the solver's form."""
    if solver.scoring != "none":
        choices = tuple(render_target(solver, label) for label in solver.labels)
        return Request(messages, choices=choices, score_choices=True)
    request = Request(
        messages,
        max_output_tokens=solver.max_output_tokens,
        logprob=solver.with_confidence,
        thinking_tokens=solver.thinking_tokens,
    )
    if not solver.constrained:
        return request
    if solver.output_format == "label":
        return replace(request, choices=solver.labels)
    if solver.task_kind == "classification":
        return replace(request, schema=_label_schema(solver.labels))
    return replace(request, schema=solver.schema)


def outcome(solver: PromptSolver, response: Response) -> Output:
    """What the response says, read as this solver's answers are."""
    if response.error is not None:
        return Output(None, response.text, (response.usage,), error=response.error)
    if solver.scoring != "none":
        return _scored(solver, response)
    confidence = None if response.logprob is None else min(1.0, math.exp(response.logprob))
    value = parse(solver, response.text).value
    return Output(value, response.text, (response.usage,), confidence)


def _scored(solver: PromptSolver, response: Response) -> Output:
    if len(response.choice_logprobs) != len(solver.labels):
        error = f"{len(response.choice_logprobs)} scores for {len(solver.labels)} labels"
        return Output(None, response.text, (response.usage,), error=error)
    logprobs = label_logprobs(solver, response.choice_logprobs)
    best = max(range(len(logprobs)), key=lambda position: (logprobs[position], -position))
    label = solver.labels[best]
    text = render_target(solver, label)
    return Output(label, text, (response.usage,), math.exp(logprobs[best]))


def label_logprobs(solver: PromptSolver, scores: Sequence[float]) -> list[float]:
    """Log P(label | it is one of the labels), by which a solver that scores them answers."""
    logprobs = _log_softmax(scores)
    if solver.scoring == "calibrated":
        pairs = zip(logprobs, solver.label_priors, strict=True)
        logprobs = _log_softmax([logprob - prior for logprob, prior in pairs])
    return logprobs


def _check_priors(solver: PromptSolver) -> None:
    """Refuse priors of another prompt: they would tilt every answer without a trace."""
    if solver.scoring == "calibrated" and solver.priors_for != _fingerprint(solver):
        raise StepladderError(
            "the label priors of this solver were measured for another prompt or model",
            hint="measure them again with stepladder.solvers.prompt.calibrate",
        )


def _fingerprint(solver: PromptSolver) -> str:
    asked = repr((solver.model, solver.labels, solver.output_format, render(solver, "N/A")))
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def _label_line(solver: PromptSolver, label: str) -> str:
    described = solver.label_descriptions.get(label) if solver.show_descriptions else None
    return f"- {label}: {described}" if described else f"- {label}"


def _label_schema(labels: tuple[str, ...]) -> Mapping[str, Json]:
    return {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": list(labels)}},
        "required": ["label"],
        "additionalProperties": False,
    }


def _reminder(solver: PromptSolver) -> str:
    return f"\n\n{solver.reminder}" if solver.reminder else ""


def _turns(input: Input, reminder: str) -> list[Message]:
    """The input as chat turns, each demonstration's or request's own.

    Its own system text opens the first turn: templates take one system message, and that is ours.
    """
    if not isinstance(input, tuple):
        return [Message("user", render_input(input) + reminder)]
    turns = [message for message in input if message.role != "system"]
    said = "\n\n".join(_content_text(message) for message in input if message.role == "system")
    if not turns:
        return [Message("user", said + reminder)]
    if said:
        turns[0] = _with_text(turns[0], before=f"{said}\n\n")
    if reminder:
        turns[-1] = _with_text(turns[-1], after=reminder)
    return turns


def _with_text(message: Message, before: str = "", after: str = "") -> Message:
    if isinstance(message.content, str):
        return replace(message, content=before + message.content + after)
    head = (Part("text", before),) if before else ()
    tail = (Part("text", after),) if after else ()
    return replace(message, content=(*head, *message.content, *tail))


def _content_text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content)


def _has_media(content: tuple[Part, ...]) -> bool:
    return any(part.kind != "text" for part in content)


def _field_text(value: Json) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def _log_softmax(logprobs: Sequence[float]) -> list[float]:
    top = max(logprobs)
    total = top + math.log(sum(math.exp(logprob - top) for logprob in logprobs))
    return [logprob - total for logprob in logprobs]
