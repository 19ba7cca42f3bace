"""How probable a bundle's answer was to its model: what is heard while the solver asks it.

Of a prompt that is said once to a model on a live engine there are the tokens; of labels that are
scored instead of said, each label counts as one. Other solvers have no such probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...bundles.bundle import Bundle
from ...core import Model
from ...solvers.prompt import PromptSolver, label_logprobs, render_target
from .. import Refusal, Spoken

__all__ = ["LABEL", "Heard", "listen"]

LABEL = -1  # the id of a label that was scored as a whole, which is no token of the vocabulary


@dataclass
class Heard:
    """What `solver`'s model says to one caller, with the `top` most probable beside each token.

    `tokens` are those it made, `scores` the log-probabilities of what it was given to choose from.
    """

    solver: PromptSolver
    top: int
    tokens: list[Spoken] = field(default_factory=list)
    scores: tuple[float, ...] = ()

    def told(self) -> tuple[Spoken, ...]:
        """The answer's tokens as the caller is told them."""
        solver = self.solver
        if solver.scoring == "none":
            return tuple(self.tokens)
        texts = [render_target(solver, label) for label in solver.labels]
        scored = zip(texts, label_logprobs(solver, self.scores), strict=True)
        labels = [Spoken(LABEL, text, text.encode(), logprob) for text, logprob in scored]
        labels.sort(key=lambda label: -label.logprob)  # stable: of equals the first, as it answers
        best = labels[0]
        return (Spoken(LABEL, best.text, best.data, best.logprob, tuple(labels[: self.top])),)


def listen(bundle: Bundle, model: Model | None, top: int) -> Heard:
    """To hear a bundle's answer by; raises Refusal where that has no log-probabilities.

    `model` is the solver's, or None where it is not on an engine of this server.
    """
    solver, why = bundle.solver, ""
    if not isinstance(solver, PromptSolver):
        why = f"its solver, {solver.kind!r}, is not a prompt that a model answers once"
    elif solver.knowledge is not None:
        why = "its answer is read out of what its model says with citations"
    elif model is None:
        why = f"its model {solver.model!r} tells none by token"
    else:
        return Heard(solver, top)
    raise Refusal(
        "unsupported",
        f"{bundle.task.name!r} has no log-probabilities: {why}",
        hint="ask without them, or ask a base model",
        param="logprobs",
    )
