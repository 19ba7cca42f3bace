"""A language model to files: merged weights, a PEFT adapter, or GGUF; and how to ask what was made.

Each of them is asked through what will run it as far as that is at hand: merged weights by the
engine here, an adapter as PEFT puts it on its base, GGUF by llama.cpp. Which solver is exported and
whether it may be kept is decided in `exporting.py`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..bundles.chosen import Chosen
from ..core import Input, Json, Output, Solver, Workshop
from ..errors import StepladderError
from ..models.local import LocalProvider, fingerprint
from ..models.local.graph import NEVER_SAID
from ..models.local.ir import PREFIX, supports
from ..models.local.weights import base_folder
from ..registry import need
from ..solvers import model_of
from ..solvers.prompt import PromptSolver
from .gguf_file import Quantisation, write_gguf
from .llama_cpp import LlamaCppModel, have_llama_cpp
from .modelfile import write_modelfile
from .remeasuring import Answer

__all__ = ["Made", "Source", "write_adapter", "write_gguf_folder", "write_merged"]

_KEPT = (".json", ".jinja", ".txt", ".model", ".safetensors")  # none of them runs code
_LORA = ("lora", "dora", "rslora", "qlora")


@dataclass(frozen=True)
class Source:
    """The model to export: its folder in Hugging Face layout, and what is known of its origin.

    `inside` is the folder of its training, None for a base model; `model` is the record of a
    bundle's model: name, base, sha256, licence, fetch.
    """

    chosen: Chosen
    folder: Path
    inside: Path | None
    model: dict[str, Json]

    @property
    def training(self) -> dict[str, Json]:
        """What is known of the training; empty for a base model."""
        if self.inside is None:
            return {}
        found: dict[str, Json] = json.loads((self.inside / "training.json").read_text("utf-8"))
        return found


@dataclass(frozen=True)
class Made:
    """What was written, how it is asked, by what, and what its user has to know."""

    answer: Answer
    asked_by: str
    notes: tuple[str, ...] = ()


def write_merged(source: Source, folder: Path, quantisation: Quantisation) -> Made:
    """The whole model as safetensors with its tokenizer, byte for byte as it was measured."""
    _copy(source.folder, folder)
    notes = []
    if (folder / PREFIX).exists():
        notes.append(f"the folder {PREFIX}/ is a PEFT adapter that has to be put on the model")
    if NEVER_SAID in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        notes.append("the tokens named <|learned-...|> are for prompts; forbid them in answers")
    return Made(
        _through_engine(source.chosen, folder), "the engine it was measured with", (*notes,)
    )


def write_adapter(source: Source, folder: Path, quantisation: Quantisation) -> Made:
    """What was learned, as PEFT reads it.

    Raises StepladderError where there is no adapter, or its base is not to be had elsewhere.
    """
    adapter = None if source.inside is None else source.inside / "adapter"
    if adapter is None or not (adapter / "adapter_config.json").is_file():
        raise StepladderError(
            f"{source.model['name']!r} has no adapter: its own weights were tuned, or none were",
            hint="--to merged writes the whole model",
        )
    facts = source.training
    if str(facts["base"]).startswith("local:tuned/"):
        raise StepladderError(
            "the adapter belongs to a model that was tuned here before it (in stages)",
            hint="--to merged writes the whole model",
        )
    for path in adapter.iterdir():
        if path.suffix in _KEPT:
            shutil.copyfile(path, folder / path.name)
    base = base_folder(str(facts["base"]).removeprefix("local:"))
    note = (
        f"it fits one base: the weights of {facts['base']} with SHA-256 {facts['base_sha256']}; "
        "`stepladder export ... --to merged` writes the whole model"
    )
    if facts["options"]["method"] in _LORA:
        return Made(_merged_by_peft(source.chosen, base, folder), "PEFT, merged", (note,))
    answer = _put_on_by_peft(source.chosen, base, folder)
    return Made(answer, "PEFT over transformers, with free answers", (note,))


def write_gguf_folder(source: Source, folder: Path, quantisation: Quantisation) -> Made:
    """`model.gguf` and a `Modelfile` for Ollama.

    Raises StepladderError where llama.cpp does not run such a model as it is.
    """
    facts = {"name": source.chosen.title}
    if source.model["licence"]:
        facts["license"] = str(source.model["licence"])
    file = folder / "model.gguf"
    write_gguf(source.folder, file, quantisation, facts)
    notes = list(write_modelfile(source.folder, folder / "Modelfile", source.chosen.solver))
    notes.append(
        "llama.cpp reads the names of special tokens in a message as those tokens; what users send "
        "should be cleared of them"
    )
    if not have_llama_cpp():
        notes.append(
            "llama.cpp itself was not asked (pip install 'stepladder[llama-cpp]'): the weights "
            "were read back from the file, its tokenizer was not tried"
        )
        return Made(_read_back(source, file), "the engine here, from the file's weights", (*notes,))
    return Made(_through_llama_cpp(source, file), "llama.cpp", (*notes,))


def _copy(source: Path, folder: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file() and path.suffix in _KEPT:
            target = folder / path.relative_to(source)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)


# --- asking -------------------------------------------------------------------------------------


def _asked(chosen: Chosen, solver: Solver, model: Callable[[str], Any]) -> Answer:
    """The solver with `model` in place of the one that was exported."""
    exported = model_of(solver)

    def answer(inputs: Sequence[Input]) -> Iterator[tuple[int, Output]]:
        with closing(LocalProvider(chosen.artifacts)) as provider:

            def by_name(name: str) -> Any:
                return model(name) if name == exported else provider.model(name)

            yield from solver.answer(inputs, Workshop(by_name, chosen.artifacts, _quiet))

    return answer


def _quiet(event: str, fields: Any) -> None:
    """Nobody is watching."""


def _through_engine(chosen: Chosen, folder: Path, solver: Solver | None = None) -> Answer:
    def answer(inputs: Sequence[Input]) -> Iterator[tuple[int, Output]]:
        with _engine_of(folder), closing(LocalProvider(chosen.artifacts)) as provider:
            asked = _asked(
                chosen, solver or chosen.solver, lambda name: provider.model(f"local:{folder}")
            )
            yield from asked(inputs)

    return answer


class _engine_of:
    """Away with the engine that is built for a folder, unless it was in the cache before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._new: Path | None = None

    def __enter__(self) -> None:
        if supports(self._folder):
            from ..models.local.graph import GRAPH
            from ..models.local.weights import cache_folder

            identity = fingerprint(self._folder, exact=False)
            built = cache_folder() / "engines" / f"{identity}-{GRAPH}"
            self._new = None if built.is_dir() else built

    def __exit__(self, *error: object) -> None:
        if self._new is not None:
            shutil.rmtree(self._new, ignore_errors=True)


def _merged_by_peft(chosen: Chosen, base: Path, adapter: Path) -> Answer:
    def answer(inputs: Sequence[Input]) -> Iterator[tuple[int, Output]]:
        with tempfile.TemporaryDirectory(prefix="stepladder-") as scratch:
            merged = Path(scratch)
            _merge(base, adapter, merged)
            yield from _through_engine(chosen, merged)(inputs)

    return answer


def _merge(base: Path, adapter: Path, folder: Path) -> None:
    """The base with the adapter merged into it, by PEFT, as the training merged it."""
    torch = need("torch", extra="train", what="checking an adapter")
    peft = need("peft", extra="train", what="checking an adapter")
    transformers = need("transformers", extra="train", what="checking an adapter")
    from ..trainers.export import copy_base, write_weights
    from ..trainers.quiet import quiet

    with quiet():
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(base), dtype=torch.float32, trust_remote_code=False, local_files_only=True
        )
        merged = peft.PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    write_weights(merged, merged.state_dict(), folder, "export")
    copy_base(base, folder, {})


def _put_on_by_peft(chosen: Chosen, base: Path, adapter: Path) -> Answer:
    """The base with the adapter beside it, in a folder that the transformers engine understands."""
    solver: Any = chosen.solver
    if isinstance(solver, PromptSolver):
        solver = replace(solver, constrained=False, scoring="none")

    def answer(inputs: Sequence[Input]) -> Iterator[tuple[int, Output]]:
        with tempfile.TemporaryDirectory(prefix="stepladder-") as scratch:
            folder = Path(scratch)
            _copy(base, folder)
            shutil.copytree(adapter, folder / PREFIX)
            yield from _through_engine(chosen, folder, solver)(inputs)

    return answer


def _through_llama_cpp(source: Source, file: Path) -> Answer:
    solver: Any = source.chosen.solver
    if isinstance(solver, PromptSolver) and solver.scoring != "none":
        # llama.cpp scores no given answers: the same labels, generated under a grammar
        solver = replace(solver, scoring="none", constrained=True)
    context = min(LocalProvider(source.chosen.artifacts).model(source.model["name"]).context_tokens,
                  8192)  # fmt: skip

    def answer(inputs: Sequence[Input]) -> Iterator[tuple[int, Output]]:
        model = LlamaCppModel(source.model["name"], file, context)
        yield from _asked(source.chosen, solver, lambda name: model)(inputs)

    return answer


def _read_back(source: Source, file: Path) -> Answer:
    def answer(inputs: Sequence[Input]) -> Iterator[tuple[int, Output]]:
        from ..models.local.gguf_folder import unpack_weights

        with tempfile.TemporaryDirectory(prefix="stepladder-") as scratch:
            folder = Path(scratch)
            _copy(source.folder, folder)
            for path in folder.glob("*.safetensors"):
                path.unlink()
            unpack_weights(file, folder)
            yield from _through_engine(source.chosen, folder)(inputs)

    return answer
