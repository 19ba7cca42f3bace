"""What calls to a model will take, before they are made: tokens counted, speed assumed.

The assumed speed is for local models only, and it is a small one: a 135M-parameter model on two
CPU cores. Of a hosted model the dollars are known beforehand, by price and expected tokens; its
seconds only after it has answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core import Estimate, Example, Message, Model, Task, Tier, Usage, Workshop
from ..processor import has_bfloat16
from ..solvers.prompt import PromptSolver, render, render_target

__all__ = [
    "TOKENS_PER_WORD",
    "answer_tokens",
    "dollars_per_request",
    "estimate_calls",
    "on_this_processor",
    "yet_to_be_tuned",
]

PREFILL_TOKENS_PER_SECOND = 1200.0  # SmolLM2-135M, OpenVINO continuous batching, 2 cores
DECODE_TOKENS_PER_SECOND = 130.0  # the same, summed over a batch
# Those are of cores that multiply bfloat16 numbers. Others took about twice as long for answers,
# for an encoder's tuning and for LoRA.
SHARE_WITHOUT_BFLOAT16 = 0.5
TOKENS_PER_WORD = 1.4  # of a passage, per word or mark
_COUNTED = 16  # examples whose tokens are counted; enough for a mean


def on_this_processor(tokens_per_second: float) -> float:
    """A speed measured on cores that multiply bfloat16 numbers, as it will be here."""
    slower = has_bfloat16() is False
    return tokens_per_second * (SHARE_WITHOUT_BFLOAT16 if slower else 1.0)


def estimate_calls(
    task: Task,
    solver: PromptSolver,
    examples: Sequence[Example],
    calls: int,
    workshop: Workshop,
    *,
    unshared_tokens: float = 0.0,
) -> Estimate:
    """Seconds and dollars of asking `solver`'s model `calls` times; None where unknown.

    Tokens are counted on a few examples. What all prompts share is counted once per call only for
    hosted models; a local engine computes it once. `unshared_tokens` come on
    top in each call. Answers are taken to be up to twice as long as the expected ones.
    """
    if not examples or not calls:
        return Estimate(0.0, 0.0, 0, "no model calls")
    one = _expected(solver, examples, workshop, unshared_tokens)
    note = f"{calls} calls of about {one.shared + one.own:.0f} tokens in, {one.out:.0f} out"
    if not solver.model.startswith("local:"):
        return _hosted(task, solver, one, calls, workshop, note)
    read = on_this_processor(PREFILL_TOKENS_PER_SECOND)
    written = on_this_processor(DECODE_TOKENS_PER_SECOND)
    seconds = (one.shared + calls * one.own) / read + calls * one.out / written
    per_hour = task.hardware.dollars_per_hour
    dollars = None if per_hour is None else seconds * per_hour / 3600
    return Estimate(
        seconds,
        dollars,
        calls,
        f"{note}; assumes {read:.0f} tokens/s in and {written:.0f} out, "
        "as measured with a 135M model on 2 cores",
    )


def dollars_per_request(
    task: Task, solver: PromptSolver, examples: Sequence[Example], workshop: Workshop
) -> float | None:
    """What one call of a hosted model will probably cost; None where its price is unknown.

    Input counts as never cached, so this is an upper bound as far as the input goes.
    """
    return _price(task, solver, _expected(solver, examples, workshop), workshop)


def yet_to_be_tuned(base: str) -> str:
    """What a tuned model is called before there is one: its price is known, its name is not."""
    return f"{base}@"


def answer_tokens(model: Model, text: str) -> int:
    """How many tokens the text is as an answer, without what a chat template puts around it."""
    around = model.count_tokens([Message("assistant", "")])
    return max(1, model.count_tokens([Message("assistant", text)]) - around)


@dataclass(frozen=True)
class _Call:
    """Tokens of one call: in, shared by all calls and its own; and out."""

    shared: float
    own: float
    out: float


def _expected(
    solver: PromptSolver,
    examples: Sequence[Example],
    workshop: Workshop,
    unshared_tokens: float = 0.0,
) -> _Call:
    model = _model(solver, workshop)
    if solver.knowledge is not None:  # passages differ from call to call
        unshared_tokens += solver.knowledge.k * solver.knowledge.size * TOKENS_PER_WORD
    counted = examples[:_COUNTED]
    shared = model.count_tokens(render(solver, ""))
    whole = [model.count_tokens(render(solver, example.input)) for example in counted]
    own = max(0.0, sum(whole) / len(whole) - shared) + unshared_tokens
    said = [answer_tokens(model, render_target(solver, one.expected)) for one in counted]
    return _Call(shared, own, min(float(solver.max_output_tokens), 2 * sum(said) / len(said)))


def _model(solver: PromptSolver, workshop: Workshop) -> Model:
    """The solver's model, or the base of one that is yet to be tuned: it counts tokens alike."""
    return workshop.model(solver.model.removesuffix("@"))


def _hosted(
    task: Task,
    solver: PromptSolver,
    one: _Call,
    calls: int,
    workshop: Workshop,
    note: str,
) -> Estimate:
    each = getattr(_model(solver, workshop), "seconds_per_call", None)
    if each is None:
        note += "; seconds are known once it has answered"
    else:
        note += f"; {each:.2g} s a call at the rate seen so far"
    if solver.thinking_tokens is None:
        note += "; without thinking, which has no limit until thinking_tokens is set"
    price = _price(task, solver, one, workshop)
    return Estimate(
        None if each is None else calls * each,
        None if price is None else calls * price,
        calls,
        note,
    )


def _price(task: Task, solver: PromptSolver, one: _Call, workshop: Workshop) -> float | None:
    options = task.providers.get(solver.model.partition(":")[0], {})
    tier: Tier = "batch" if options.get("batch") is True else "standard"
    thinking = solver.thinking_tokens or 0
    expected = Usage(
        solver.model,
        input_tokens=round(one.shared + one.own),
        output_tokens=round(one.out) + thinking,
        cached_tokens=0,
        thinking_tokens=thinking,
        audio_tokens=0,
        tier=tier,
    )
    return workshop.price([expected])
