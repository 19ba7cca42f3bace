"""Whether rows are packed into one sequence, so that nothing that is computed is padding.

Packing changes how a batch is computed, never what is in it: losses and gradients are those of the
padded rows, up to rounding (and to the draws of dropout, where there is some). So it makes no other
job. How rows lie is for `laying.py`, and that none sees another for `row_attention.py`; here it is
chosen, and tried on the model before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .batches import Encoded

if TYPE_CHECKING:
    from .learner import Learner

__all__ = ["PAYS_FROM", "Packing", "choose_packing", "packed"]

PAYS_FROM = 0.08  # of padding; even between 2 and 6 % (docs/log.md)
ALIKE = (
    0.02  # of a state's length: products in bfloat16 stay below it, other tokens' sight does not
)
LAYERS = frozenset(("full_attention", "sliding_attention"))
TRIED = (Encoded((1, 2, 3), (4, 5)), Encoded((6,), (7,)), Encoded((3, 1), (2, 2, 6)))


@dataclass(frozen=True)
class Packing:
    """Whether rows are packed, what share of the batches is padding where not, and why."""

    used: bool
    padding: float
    why: str


def choose_packing(learner: Learner, wanted: bool | None, padding: float) -> Packing:
    """Whether to pack; None leaves that to what was measured. `padding` is a share, 0 to 1.

    A model that cannot be packed is not, though it be wanted; then `why` says so.
    """
    if wanted is False:
        return Packing(False, padding, "it was not wanted")
    if wanted is None and learner.device.type != "cpu":
        return Packing(False, padding, "what it gains has only been measured on CPUs")
    if wanted is None and padding < PAYS_FROM:
        return Packing(
            False, padding, f"it gains little where less than {PAYS_FROM:.0%} is padding"
        )
    hindrance = _hindrance(learner)
    if hindrance:
        return Packing(False, padding, hindrance)
    return Packing(True, padding, "it was wanted" if wanted else "that gains time")


def packed(learner: Learner) -> Learner:
    """The learner that packs its rows."""
    from .row_attention import attend_by_rows

    attend_by_rows(_causal(learner))
    return replace(learner, packed=True)


def _hindrance(learner: Learner) -> str:
    """Why this model cannot be packed, found on three short rows; empty where it can."""
    import torch

    from .row_attention import UnknownAttention

    causal = _causal(learner)
    kinds = set(getattr(causal.config, "layer_types", None) or LAYERS)
    if not causal._supports_attention_backend or not kinds <= LAYERS:
        return "this model has its own way of attention"
    usual = causal.config._attn_implementation
    learner.model.eval()
    with torch.no_grad(), learner.autocast():
        beside = learner.reader.read(learner.lay(TRIED)).float()
        try:
            behind = learner.reader.read(packed(learner).lay(TRIED)).float()
        except UnknownAttention as unknown:
            return f"this model's attention has {unknown}, which is not known here"
        finally:
            causal.set_attn_implementation(usual)
    if (behind - beside).norm() > ALIKE * beside.norm():
        return "this model would not see its rows apart"
    return ""


def _causal(learner: Learner) -> Any:
    model = learner.model
    return model.get_base_model() if hasattr(model, "get_base_model") else model
