"""Names to things: built-in names are import strings, others come from entry points.

Nothing is imported until it is asked for, so a missing extra is only missed where it is used.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from .errors import MissingExtra, StepladderError

__all__ = ["BUILT_IN", "known", "look_up"]

BUILT_IN: dict[str, dict[str, str]] = {
    "step": {
        "baseline": "stepladder.steps.baseline:Baseline",
        "heads": "stepladder.steps.heads:Heads",
        "prompt": "stepladder.steps.prompt:Prompt",
        "few_shot": "stepladder.steps.few_shot:FewShot",
        "retrieval": "stepladder.steps.retrieval:Retrieval",
        "functions": "stepladder.steps.functions:Functions",
        "dearer_model": "stepladder.steps.dearer_model:DearerModel",
        "encoder": "stepladder.steps.encoder:Encoder",
        "fine_tune": "stepladder.steps.fine_tune:FineTune",
        "scratch": "stepladder.steps.scratch:Scratch",
        "distill": "stepladder.steps.distill:Distill",
    },
    "solver": {
        "prompt": "stepladder.solvers.prompt:PromptSolver",
        "majority": "stepladder.solvers.majority:MajoritySolver",
        "nearest": "stepladder.solvers.nearest:NearestSolver",
        "linear": "stepladder.solvers.linear:LinearSolver",
        "dictionary": "stepladder.solvers.dictionary:DictionarySolver",
        "calling": "stepladder.solvers.calling:CallingSolver",
        "tagger": "stepladder.solvers.tagger:TaggerSolver",
        "embedding_linear": "stepladder.solvers.embedding_linear:EmbeddingLinearSolver",
        "embedding_nearest": "stepladder.solvers.embedding_nearest:EmbeddingNearestSolver",
    },
    "metric": {
        "accuracy": "stepladder.metrics.accuracy:Accuracy",
        "macro_f1": "stepladder.metrics.macro_f1:MacroF1",
        "micro_f1": "stepladder.metrics.micro_f1:MicroF1",
        "exact_match": "stepladder.metrics.exact_match:ExactMatch",
        "token_f1": "stepladder.metrics.token_f1:TokenF1",
        "rouge": "stepladder.metrics.rouge:Rouge",
        "chrf": "stepladder.metrics.chrf:ChrF",
        "json_validity": "stepladder.metrics.json_validity:JsonValidity",
        "groundedness": "stepladder.metrics.groundedness:Groundedness",
        "abstention": "stepladder.metrics.abstention:Abstention",
        "call_match": "stepladder.metrics.call_match:CallMatch",
        "argument_f1": "stepladder.metrics.argument_f1:ArgumentF1",
        "executed_result": "stepladder.metrics.executed_result:ExecutedResult",
        "task_success": "stepladder.metrics.task_success:TaskSuccess",
    },
    "provider": {
        "local": "stepladder.models.local:open_provider",
        "gemini": "stepladder.models.gemini:open_gemini",
        "vertex": "stepladder.models.gemini:open_vertex",
        "openai": "stepladder.models.openai:open_provider",
        "azure": "stepladder.models.openai:open_provider",
        "fireworks": "stepladder.models.openai:open_provider",
        "llamacpp": "stepladder.models.openai:open_provider",
        "ollama": "stepladder.models.openai:open_provider",
        "openrouter": "stepladder.models.openai:open_provider",
        "together": "stepladder.models.openai:open_provider",
        "vllm": "stepladder.models.openai:open_provider",
    },
    "trainer": {
        "local": "stepladder.trainers.local:LocalTrainer",
        "ray": "stepladder.trainers.ray_train:RayTrainer",
        "vertex": "stepladder.trainers.vertex:open_trainer",
        "openai": "stepladder.trainers.openai_jobs:open_trainer",
        "fireworks": "stepladder.trainers.fireworks_jobs:open_trainer",
        "together": "stepladder.trainers.together_jobs:open_trainer",
    },
}


def look_up(seam: str, name: str) -> Any:
    """The class or function registered as `name`; raises StepladderError with the known names."""
    target = BUILT_IN[seam].get(name)
    if target is None:
        for point in entry_points(group=f"stepladder.{seam}", name=name):
            return point.load()
        if name in _own_endpoints(seam):
            return look_up(seam, "openai")
        raise StepladderError(
            f"no {seam} is called {name!r}", hint=f"known: {', '.join(known(seam))}"
        )
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def known(seam: str) -> list[str]:
    """All names that `look_up` would find."""
    names = {*BUILT_IN[seam], *(p.name for p in entry_points(group=f"stepladder.{seam}"))}
    return sorted(names | _own_endpoints(seam))


def _own_endpoints(seam: str) -> set[str]:
    """What is in the user's own `endpoints.toml`: providers, and trainers where they tune."""
    if seam not in ("provider", "trainer"):
        return set()
    from .models.openai.endpoints import load_endpoints

    endpoints = load_endpoints().items()
    return {name for name, one in endpoints if seam == "provider" or one.tuning != "none"}


def need(module: str, *, extra: str, what: str) -> Any:
    """Import an optional package, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        package = module if top == "google" else top  # many packages share that name
        raise MissingExtra(
            f"{what} needs the package {package!r}, which is not installed",
            hint=f"pip install 'stepladder[{extra}]'",
        ) from error
