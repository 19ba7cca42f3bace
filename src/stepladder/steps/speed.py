"""What calls to a model will take, before they are made: tokens counted, speed assumed.

The assumption is for local models only, and it is a small one: a 135M-parameter model on two CPU
cores. For a hosted model the seconds depend on its rate limit, so they are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core import Estimate, Example, Message, Model, Task, Workshop
from ..solvers.prompt import PromptSolver, render, render_target

__all__ = [
    "DECODE_TOKENS_PER_SECOND",
    "PREFILL_TOKENS_PER_SECOND",
    "answer_tokens",
    "estimate_calls",
]

PREFILL_TOKENS_PER_SECOND = 1200.0  # SmolLM2-135M, OpenVINO continuous batching, 2 cores
DECODE_TOKENS_PER_SECOND = 130.0  # the same, summed over a batch
_COUNTED = 16  # examples whose tokens are counted; enough for a mean


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
    model = workshop.model(solver.model)
    counted = examples[:_COUNTED]
    shared = model.count_tokens(render(solver, ""))
    whole = [model.count_tokens(render(solver, example.input)) for example in counted]
    own = max(0.0, sum(whole) / len(whole) - shared) + unshared_tokens
    said = [answer_tokens(model, render_target(solver, one.expected)) for one in counted]
    out = min(float(solver.max_output_tokens), 2 * sum(said) / len(said))
    note = f"{calls} calls of about {shared + own:.0f} tokens in, {out:.0f} out"
    if not solver.model.startswith("local:"):
        return Estimate(None, None, calls, f"{note}; seconds depend on the service's rate limit")
    seconds = (shared + calls * own) / PREFILL_TOKENS_PER_SECOND
    seconds += calls * out / DECODE_TOKENS_PER_SECOND
    per_hour = task.hardware.dollars_per_hour
    dollars = None if per_hour is None else seconds * per_hour / 3600
    return Estimate(
        seconds,
        dollars,
        calls,
        f"{note}; assumes {PREFILL_TOKENS_PER_SECOND:.0f} tokens/s in and "
        f"{DECODE_TOKENS_PER_SECOND:.0f} out, as measured with a 135M model on 2 cores",
    )


def answer_tokens(model: Model, text: str) -> int:
    """How many tokens the text is as an answer, without what a chat template puts around it."""
    around = model.count_tokens([Message("assistant", "")])
    return max(1, model.count_tokens([Message("assistant", text)]) - around)
