"""A Modelfile for Ollama: the chat template in Ollama's own language, and how the model is asked.

Ollama does not read a model's own template as it is written. What is put around a turn is found by
filling that template in; the result holds for one question with one system message, as a solver
asks, and is not made where it cannot be written so. Tested in Go's templates, not in Ollama.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core import Message, Solver
from ..models.local.tokenizer import load_tokenizer
from ..solvers.prompt import PromptSolver, render

__all__ = ["ollama_template", "write_modelfile"]

_SYSTEM, _USER = "\ue010system\ue011", "\ue010user\ue011"


def write_modelfile(model: Path, path: Path, solver: Solver) -> list[str]:
    """Write it, and say what its user has to know."""
    template = ollama_template(model)
    lines = ["FROM ./model.gguf"]
    notes = []
    if template is None:
        notes.append("the Modelfile has no TEMPLATE: this model's cannot be said in Ollama's terms")
    else:
        lines.append(f'TEMPLATE """{template}"""')
    system = _system(solver)
    if system is not None and '"""' not in system:
        lines.append(f'SYSTEM """{system}"""')
    local = load_tokenizer(model)
    lines.append("PARAMETER temperature 0")
    lines.append(f"PARAMETER num_ctx {min(local.context_tokens, 8192)}")
    if isinstance(solver, PromptSolver):
        lines.append(f"PARAMETER num_predict {solver.max_output_tokens}")
    lines.append(f'PARAMETER stop "{local.tokenizer.eos_token}"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return notes


def ollama_template(model: Path) -> str | None:
    """The chat template for one turn after an optional system message; None where it is no such."""
    tokenizer = load_tokenizer(model)
    user = Message("user", _USER)
    alone = _filled(tokenizer, (user,))
    both = _filled(tokenizer, (Message("system", _SYSTEM), user))
    if alone.count(_USER) != 1 or both.count(_USER) != 1 or both.count(_SYSTEM) != 1:
        return None
    before, _, after = alone.partition(_USER)
    first, _, rest = both.partition(_SYSTEM)
    between, _, end = rest.partition(_USER)
    if end != after or any(mark in piece for piece in (alone, both) for mark in ("{{", '"""')):
        return None
    asked = "{{ if .System }}%s{{ .System }}%s{{ else }}%s{{ end }}{{ .Prompt }}%s{{ .Response }}"
    return asked % (first, between, before, after)


def _filled(tokenizer: object, messages: Sequence[Message]) -> str:
    turns = [{"role": one.role, "content": one.content} for one in messages]
    return str(
        tokenizer.tokenizer.apply_chat_template(  # type: ignore[attr-defined]
            turns, tokenize=False, add_generation_prompt=True
        )
    )


def _system(solver: Solver) -> str | None:
    """What every request of the solver begins by; None where it shows examples as well."""
    if not isinstance(solver, PromptSolver) or solver.demos or solver.knowledge is not None:
        return None
    messages = render(solver, _USER)
    if [one.role for one in messages] != ["system", "user"] or messages[1].content != _USER:
        return None
    return str(messages[0].content)
