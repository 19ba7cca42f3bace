"""The model card: README.md of an export, from what the run recorded. No example of the data in it.

It says what a stranger has to know before using the files: what they were made from and under which
licence, how good they were shown to be and on what, how they are asked, and what was not shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..bundles.chosen import Chosen
from ..bundles.served import ServedCheck
from ..core import Json
from ..report.words import count, percent
from ..solvers import solver_record
from ..solvers.prompt import PromptSolver, instruction_block, render_input

__all__ = ["card"]

_PLACE = "{input}"
_USE = {
    "merged": "Load the folder with transformers, vLLM or any engine that reads its layout.",
    "adapter": "Put it on its base with PEFT: `PeftModel.from_pretrained(base, FOLDER)`.",
    "gguf": "`llama-server -m model.gguf --jinja`, or `ollama create NAME -f Modelfile`.",
    "openvino": "Read `encoder.xml` with OpenVINO; `head.json` says what its scores mean.",
    "onnx": "Open `encoder.onnx` with ONNX Runtime; `head.json` says what its scores mean.",
}


def card(
    chosen: Chosen,
    to: str,
    origin: Mapping[str, Json],
    training: Mapping[str, Json],
    check: tuple[ServedCheck, str, tuple[str, ...]],
) -> str:
    """The card as Markdown, with the head that model hubs read.

    Args:
        chosen: what is exported, and the evidence for it.
        to: the format.
        origin: of the weights: `base`, `sha256`, `licence`, `fetch`.
        training: training.json; empty where nothing was trained here.
        check: the comparison with the trial, what answered in it, and what a user has to know.
    """
    parts = [
        _head(origin, to),
        f"# {chosen.task['name']}: {chosen.title}",
        "\n".join(_about(chosen, origin)),
        "## Use\n\n" + "\n\n".join(_use(chosen, to, check[2])),
        "## How good it is\n\n" + "\n".join(_measured(chosen)),
        "## Is it what was measured?\n\n" + _again(check[0], check[1]),
        "## Training\n\n" + "\n".join(_training(training)),
        "## Data\n\n" + "\n".join(_data(chosen)),
        "## Limits\n\n" + "\n".join(_limits(chosen, check[2])),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(origin: Mapping[str, Json], to: str) -> str:
    lines = [f"base_model: {json.dumps(str(origin['base']).removeprefix('local:'))}"]
    if origin["licence"]:
        lines.append(f"license: {str(origin['licence']).lower()}")
    if to in ("merged", "adapter", "gguf"):
        lines.append("pipeline_tag: text-generation")
    else:
        lines.append("pipeline_tag: text-classification")
    if to == "adapter":
        lines.append("library_name: peft")
    return "\n".join(["---", *lines, "---"])


def _about(chosen: Chosen, origin: Mapping[str, Json]) -> Iterator[str]:
    task = chosen.task
    yield f"Made for one task of kind {task['kind']}, and measured on that task alone:"
    yield ""
    yield f"> {str(task['instructions']).strip()}".replace("\n", "\n> ")
    yield ""
    yield f"- base: {origin['base']}, SHA-256 {origin['sha256'] or 'unknown'}"
    yield f"- licence of the base: {origin['licence'] or 'not known: look it up before use'}"
    if origin["fetch"]:
        yield f"- where the base is from: {origin['fetch']}"
    yield f"- written by stepladder {chosen.decision['run'].get('version') or ''}".rstrip()


def _use(chosen: Chosen, to: str, notes: tuple[str, ...]) -> Iterator[str]:
    yield _USE[to]
    solver = chosen.solver
    if isinstance(solver, PromptSolver):
        yield "It is asked so, greedily; anything else was not measured:"
        yield _fenced(_shown(solver))
        record = solver_record(solver)
        held = ["constrained", "scoring", "max_output_tokens"]
        yield "Options: " + ", ".join(f"{name} = {record[name]!r}" for name in held) + "."
        if solver.constrained:
            yield "The answer is held to the task's labels or schema, by a grammar of the engine."
        if solver.knowledge is not None or solver.selector is not None or solver.demos:
            yield (
                "The measured solver also shows examples or passages, which are not in this "
                "folder: without them its score is not known."
            )


def _shown(solver: PromptSolver) -> str:
    block = instruction_block(solver)
    asked = f"user: {render_input(_PLACE)}"
    return f"system: {block}\n\n{asked}" if block else asked


def _fenced(text: str) -> str:
    fence = "~~~~"
    return f"{fence}\n{text}\n{fence}"


def _measured(chosen: Chosen) -> Iterator[str]:
    trial, confirmed = chosen.trial, chosen.confirmed
    metric = trial["metric"]
    if confirmed is None:
        yield "**Not confirmed on the sealed test.** What follows flatters: it was chosen by it."
    else:
        yield (
            f"- {metric} on the sealed test: {percent(confirmed['score'])}, at least "
            f"{percent(confirmed['low'])} with error probability "
            f"{confirmed['alpha']:g} (n = {count(confirmed['n'])}, {confirmed['method']})"
        )
    yield (
        f"- {metric} on {trial['set']}: {percent(trial['score'])} "
        f"({percent(trial['low'])} to {percent(trial['high'])}, n = {count(trial['n'])})"
    )
    for name, (score, low, high, n) in sorted(_slices(trial).items()):
        yield f"- on {name}: {percent(score)} ({percent(low)} to {percent(high)}, n = {count(n)})"


def _slices(trial: Mapping[str, Any]) -> dict[str, tuple[float, float, float, int]]:
    found = trial.get("slices") or {}
    return {
        name: (one["score"], one["low"], one["high"], one["n"])
        if isinstance(one, Mapping)
        else tuple(one)
        for name, one in found.items()
    }


def _again(check: ServedCheck, by: str) -> str:
    alike = check.n - check.differing
    return (
        f"Asked again after the export, by {by}: {alike} of {check.n} answers on dev alike, "
        f"{percent(check.served_score)} against {percent(check.measured_score)} "
        f"(difference {check.gain.difference:+.3f}, {check.gain.low:+.3f} to "
        f"{check.gain.high:+.3f} in pairs)."
    )


def _training(training: Mapping[str, Json]) -> Iterator[str]:
    if not training:
        yield "No language model was trained; what was fitted is in the run's report."
        return
    yield (
        f"- {count(training['train_examples'])} examples, {count(training['held_out_examples'])} "
        f"more held out to decide when to stop; {training['epochs']:.2f} epochs, "
        f"{training['seconds']:.0f} s ({training['ended']})"
    )
    options = training["options"]
    yield "- options: " + ", ".join(f"{name} = {value}" for name, value in sorted(options.items()))
    where = training["environment"]
    yield "- on: " + ", ".join(f"{name} {value}" for name, value in where.items())


def _data(chosen: Chosen) -> Iterator[str]:
    yield "The data is not in this folder. Its sets are known by these hashes:"
    yield ""
    for name, digest in chosen.data.items():
        yield f"- {name}: {digest}"
    languages = sorted(
        name.partition("=")[2] for name in _slices(chosen.trial) if name.startswith("language=")
    )
    yield f"- languages: {', '.join(languages) or 'not recorded in the data'}"


def _limits(chosen: Chosen, notes: tuple[str, ...]) -> Iterator[str]:
    yield "- for inputs like those of the task's data; elsewhere its quality is not known"
    yield "- what the base cannot do or gets wrong by habit, it may still get wrong"
    yield from (f"- {note}" for note in notes)
    yield from (f"- {caution}" for caution in chosen.decision["cautions"])
