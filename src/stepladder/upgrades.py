"""When a dearer model is worth its price: the models of a climb in pairs, on the same examples.

Pure, and for people: it informs, the decision does not rest on it. Tuned models are compared with
untuned ones in the same way, so that a newer model without tuning can beat an older one with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .compare import paired_gain, reading
from .core import Task, Trial, Upgrade
from .dated import is_tuned
from .solvers import model_of
from .units import Scale

__all__ = ["upgrades"]


def upgrades(
    trials: Sequence[Trial], scale: Scale, task: Task, alpha: float = 0.05
) -> tuple[Upgrade, ...]:
    """Each model's best trial against the best cheaper one, untuned and tuned ones apart.

    Models are in the order of what their best trial costs per request; where that is unknown of
    one, in the order in which the ladder tried them. A trial that racing stopped stands for its
    model only where there is no other, and is compared on the examples that it answered.
    """
    ordered = _by_cost(_best_by_model(trials))
    return tuple(
        _upgrade(dearer, cheaper, scale, task, alpha)
        for place, dearer in enumerate(ordered)
        for cheaper in _rivals(ordered[:place])
    )


def _best_by_model(trials: Sequence[Trial]) -> list[Trial]:
    best: dict[str, Trial] = {}
    for trial in trials:
        model = _model_of(trial)
        if model and (model not in best or _standing(trial) > _standing(best[model])):
            best[model] = trial
    return list(best.values())


def _standing(trial: Trial) -> tuple[bool, int, float]:
    """Measured whole comes first, then on more examples, then the score."""
    return trial.stopped_early is None, trial.evaluation.n, trial.evaluation.score


def _by_cost(best: list[Trial]) -> list[Trial]:
    costs = [trial.evaluation.dollars_per_1000 for trial in best]
    if None in costs:
        return best
    return sorted(best, key=lambda trial: trial.evaluation.dollars_per_1000 or 0.0)


def _rivals(cheaper: Sequence[Trial]) -> Iterator[Trial]:
    """The best untuned and the best tuned of the cheaper ones."""
    for tuned in (False, True):
        found = [trial for trial in cheaper if _is_tuned(_model_of(trial)) is tuned]
        if found:
            yield max(found, key=lambda trial: trial.evaluation.score)


def _upgrade(dearer: Trial, cheaper: Trial, scale: Scale, task: Task, alpha: float) -> Upgrade:
    one, other = dearer.candidate, cheaper.candidate
    gain = paired_gain(
        dearer.evaluation.rows,
        cheaper.evaluation.rows,
        scale,
        alpha,
        against=f"{other.step}: {other.name}",
        seed=task.seed,
    )
    spent = dearer.evaluation.dollars_per_1000, cheaper.evaluation.dollars_per_1000
    more = None if spent[0] is None or spent[1] is None else spent[0] - spent[1]
    worth = None
    shown = reading(gain.low, gain.high, gain.p_value, gain.alpha) == "better"
    if more is not None and more > 0 and shown:
        worth = more / 1000 / gain.difference
    value = task.economics.dollars_per_success
    return Upgrade(
        step=one.step,
        name=one.name,
        model=_model_of(dearer),
        against_step=other.step,
        against_name=other.name,
        against_model=_model_of(cheaper),
        gain=gain,
        dollars_per_1000=more,
        dollars_per_success=worth,
        pays=None if worth is None or value is None else value > worth,
    )


def _model_of(trial: Trial) -> str:
    return model_of(trial.candidate.solver) or ""


def _is_tuned(model: str) -> bool:
    return is_tuned(model) or model.startswith("local:tuned/")
