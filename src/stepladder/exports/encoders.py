"""A text encoder with its head as one graph, for OpenVINO or ONNX Runtime; and how it is asked.

    encoder.xml and .bin, or encoder.onnx    ids and mask in; `vector` and `scores` out
    head.safetensors                         the head again, for texts of several windows
    head.json                                labels, temperature, thresholds, and how to read scores
    tokenizer.json                           texts to ids

Scores are divided by the head's temperature already: softmax, or the logistic function where the
head has thresholds, makes probabilities of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Input, Output, Solver
from ..encoders.graph import Graph
from ..encoders.running import MOST_TOKENS, OVERLAP, encoder_files, read_weights
from ..encoders.windows import cut_windows
from ..errors import StepladderError
from ..registry import need
from ..solvers.embedding_head import Head, load_head
from ..solvers.embedding_linear import EmbeddingLinearSolver
from ..solvers.prompt import render_input
from ..solvers.tfidf import load_array
from .language_models import Made
from .onnx_graph import OnnxGraph

__all__ = ["exportable", "write_onnx", "write_openvino"]

Run = Callable[[Any, Any], tuple[Any, Any]]  # ids, mask to vector, scores


def exportable(solver: Solver, artifact: Path) -> None:
    """Raise StepladderError where the solver is no encoder with a head on its vector."""
    if not isinstance(solver, EmbeddingLinearSolver):
        raise StepladderError(
            f"a solver of kind {solver.kind!r} is no graph of an encoder with a head",
            hint="export encoder/labels or heads/linear of a run that measured one: "
            "--solver STEP/NAME. `stepladder deploy` serves every kind",
        )
    if (artifact / "words.npy").is_file():
        raise StepladderError(
            "this head reads words (TF-IDF) beside the encoder's vector, which is no graph",
            hint="export the head on vectors alone: --solver heads/linear",
        )


def write_openvino(artifact: Path, folder: Path) -> Made:
    """encoder.xml and encoder.bin, in float32, with what is needed to ask them."""
    openvino = need("openvino", extra="local", what="an OpenVINO graph")
    files = encoder_files(artifact)
    graph = Graph(read_weights(files.weights), files.heads)
    ids = graph.parameter("ids", openvino.Type.i64)
    mask = graph.parameter("mask", np.float32)
    results = []
    for name, node in _outputs(graph, ids, mask, artifact).items():
        node.output(0).get_tensor().set_names({name})
        results.append(graph.ov.result(node))
    model = openvino.Model(results, [ids, mask], "encoder")
    openvino.save_model(model, folder / "encoder.xml", False)
    _write_head(artifact, folder)

    def open_graph() -> Run:
        compiled = openvino.Core().compile_model(
            folder / "encoder.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )

        def run(ids: Any, mask: Any) -> tuple[Any, Any]:
            made = compiled({"ids": ids, "mask": mask})
            return made["vector"], made["scores"]

        return run

    return Made(_answer(folder, open_graph), f"OpenVINO {openvino.__version__}")


def write_onnx(artifact: Path, folder: Path) -> Made:
    """encoder.onnx, in float32, with what is needed to ask it."""
    onnx = need("onnx", extra="onnx", what="an ONNX file")
    runtime = need("onnxruntime", extra="onnx", what="checking an ONNX file")
    files = encoder_files(artifact)
    graph = OnnxGraph(read_weights(files.weights), files.heads)
    onnx.save(graph.model(_outputs(graph, "ids", "mask", artifact)), folder / "encoder.onnx")
    _write_head(artifact, folder)

    def open_graph() -> Run:
        quiet = runtime.SessionOptions()
        quiet.log_severity_level = 3  # errors; of an optimiser's notes nobody here can make use
        session = runtime.InferenceSession(
            str(folder / "encoder.onnx"), quiet, providers=["CPUExecutionProvider"]
        )

        def run(ids: Any, mask: Any) -> tuple[Any, Any]:
            vector, scores = session.run(["vector", "scores"], {"ids": ids, "mask": mask})
            return vector, scores

        return run

    return Made(_answer(folder, open_graph), f"ONNX Runtime {runtime.__version__}")


def _outputs(graph: Graph, ids: Any, mask: Any, artifact: Path) -> dict[str, Any]:
    ov, (weights, intercepts) = graph.ov, _head(artifact)
    vector = graph.compute(ids, mask, "vectors")
    product = ov.matmul(vector, ov.constant(weights), False, True)
    return {"vector": vector, "scores": ov.add(product, ov.constant(intercepts))}


def _head(artifact: Path) -> tuple[Any, Any]:
    """Weights (labels, size) and intercepts (labels), of scores that are divided already."""
    temperature = load_head(artifact).temperature
    return tuple(  # type: ignore[return-value]
        np.ascontiguousarray(load_array(artifact, name) / temperature, dtype=np.float32)
        for name in ("weights", "intercepts")
    )


def _write_head(artifact: Path, folder: Path) -> None:
    from safetensors.numpy import save_file

    weights, intercepts = _head(artifact)
    save_file({"weights": weights, "intercepts": intercepts}, folder / "head.safetensors")
    shutil.copyfile(encoder_files(artifact).tokenizer, folder / "tokenizer.json")
    head = load_head(artifact)
    record = {
        "labels": head.labels,
        "several": head.thresholds is not None,
        "thresholds": head.thresholds,
        "window_tokens": MOST_TOKENS,
        "window_overlap": OVERLAP,
    }
    (folder / "head.json").write_text(
        json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


# --- asking what was written, from its folder alone ---------------------------------------------


def _answer(folder: Path, open_graph: Callable[[], Run]) -> Callable[..., Any]:
    def answer(inputs: Sequence[Input]) -> Iterator[tuple[int, Output]]:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        facts = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        thresholds = facts["thresholds"]
        head = Head(tuple(facts["labels"]), 1.0, None if thresholds is None else (*thresholds,))
        linear = load_file(folder / "head.safetensors")
        run = open_graph()
        for index, one in enumerate(tokenizer.encode_batch([render_input(i) for i in inputs])):
            scores = _scores(run, linear, one.ids)
            yield index, head.outputs(head.probabilities(scores))[0]

    return answer


def _scores(run: Run, linear: Any, ids: Sequence[int]) -> Any:
    windows = [window for _, window in cut_windows(ids, MOST_TOKENS, OVERLAP)]
    found = [
        run(np.array([window], dtype=np.int64), np.ones((1, len(window)), dtype=np.float32))
        for window in windows
    ]
    if len(windows) == 1:
        return found[0][1]
    lengths = [len(window) for window in windows]
    vector = np.average([vector[0] for vector, _ in found], axis=0, weights=lengths)
    return (vector / np.linalg.norm(vector) @ linear["weights"].T + linear["intercepts"])[None]
