"""Texts through an encoder: tokens in, vectors out, in batches of like length, without torch.

An encoder is a folder with `encoder.safetensors`, `tokenizer.json` and `encoder.json`, as training
leaves it in an artifact; None is the small open one as it comes. It computes in bfloat16 where the
processor does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..embeddings import DIMENSIONS, ENCODER, HEADS, TOKENIZER
from ..errors import StepladderError
from ..models.local.ir import float_values
from ..models.local.precision import openvino_precision
from ..models.local.weights import fetch_package
from ..registry import need
from .graph import Given, Graph
from .windows import cut_windows

__all__ = [
    "BATCH",
    "ENCODER_FILE",
    "MOST_TOKENS",
    "OVERLAP",
    "Files",
    "encoder_files",
    "encoder_record",
    "open_tokenizer",
    "read_weights",
    "run",
    "vectors",
    "vectors_name",
]

ENCODER_FILE = "encoder.json"
MOST_TOKENS = 256  # the open encoder was trained on no more
OVERLAP = 32
BATCH = 8  # texts that a solver reads together: more gain little on a CPU, and each waits for all
TOKENS_PER_BATCH = 4096
_WHAT = "the text encoder"


@dataclass(frozen=True)
class Files:
    """Where an encoder lies, and its heads of attention."""

    weights: Path
    tokenizer: Path
    heads: int


def encoder_record() -> dict[str, str]:
    """What an artifact says of the open encoder, whose weights are not in it."""
    return {"base": ENCODER.name, "sha256": ENCODER.sha256}


def encoder_files(folder: Path | None) -> Files:
    """The files of the encoder in `folder`; fetched and verified where they are not in it.

    Raises:
        MissingExtra: what reads them is not installed; nothing was fetched then.
        ModelError: the weights cannot be fetched or fail verification.
        StepladderError: the folder names an encoder that is not here.
    """
    if folder is None:
        for package in ("tokenizers", "safetensors"):
            need(package, extra="local", what=_WHAT)
        return Files(fetch_package(ENCODER), fetch_package(TOKENIZER), HEADS)
    facts = json.loads((folder / ENCODER_FILE).read_text(encoding="utf-8"))
    if "heads" in facts:
        return Files(folder / "encoder.safetensors", folder / "tokenizer.json", facts["heads"])
    if facts.get("sha256") != encoder_record()["sha256"]:
        raise StepladderError(
            f"{folder.name[:12]!r} was made with the encoder {facts.get('base')!r} of "
            f"{str(facts.get('sha256'))[:12]}, and this version has {ENCODER.sha256[:12]}",
            hint="run the climb again with this version",
        )
    return encoder_files(None)


def vectors(texts: Sequence[str], folder: Path | None = None) -> Any:
    """One unit vector per text: float32, shape (len(texts), size); a dot product is a cosine.

    A text of more than 256 tokens is read in windows, and its vector is their mean by length.

    Raises:
        MissingExtra: openvino, safetensors or tokenizers is not installed.
        ModelError: the weights cannot be fetched or fail verification.
    """
    encoded = open_tokenizer(folder).encode_batch(list(texts))
    owners, windows = [], []
    for at, one in enumerate(encoded):
        for _, ids in cut_windows(one.ids, MOST_TOKENS, OVERLAP):
            owners.append(at)
            windows.append(ids)
    summed: Any = None
    for rows, array in run(windows, "vectors", folder):
        if summed is None:
            summed = np.zeros((len(texts), array.shape[1]), dtype=np.float32)
        lengths = np.array([[len(windows[row])] for row in rows], dtype=np.float32)
        np.add.at(summed, [owners[row] for row in rows], array * lengths)
    if summed is None:
        return np.zeros((0, DIMENSIONS), dtype=np.float32)
    return summed / np.linalg.norm(summed, axis=1, keepdims=True)


def vectors_name() -> str:
    """What vectors of the open encoder are kept under: its weights, and how they are used here."""
    return f"{ENCODER.sha256} windows of {MOST_TOKENS}"


def run(
    ids: Sequence[Sequence[int]], output: Given, folder: Path | None = None
) -> Iterator[tuple[list[int], Any]]:
    """(places in `ids`, the output of each as float32), those of like length together.

    Outputs per token have the length of the longest in their batch.
    """
    if not ids:
        return
    compiled = _compiled(encoder_files(folder), output)
    order = sorted(range(len(ids)), key=lambda at: -len(ids[at]))
    while order:
        longest = len(ids[order[0]])
        rows = order[: max(1, TOKENS_PER_BATCH // longest)]
        order = order[len(rows) :]
        given = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.float32)
        for row, at in enumerate(rows):
            given[row, : len(ids[at])] = ids[at]
            mask[row, : len(ids[at])] = 1
        # a request of its own: the compiled graph is shared between threads
        request = compiled.create_infer_request()
        request.infer({"ids": given, "mask": mask})
        yield rows, np.array(request.get_output_tensor(0).data, dtype=np.float32)


def open_tokenizer(folder: Path | None = None) -> Any:
    """The encoder's tokenizer, which cuts nothing off."""
    return _tokenizer(encoder_files(folder).tokenizer)


def read_weights(path: Path) -> dict[str, Any]:
    """The encoder's weights by name, in float32; what it does not compute with is left out."""
    safetensors = need("safetensors", extra="local", what=_WHAT)
    return {
        name: np.asarray(float_values(name, tensor), dtype=np.float32)
        for name, tensor in safetensors.deserialize(path.read_bytes())
        if tensor["dtype"] != "I64" and name.startswith(("embeddings.", "encoder."))
    }


@lru_cache(maxsize=8)
def _tokenizer(path: Path) -> Any:
    tokenizers = need("tokenizers", extra="local", what=_WHAT)
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@lru_cache(maxsize=8)
def _compiled(files: Files, output: Given) -> Any:
    """The graph with this output, ready to run; read once per process."""
    openvino = need("openvino", extra="local", what=_WHAT)
    options = {
        "INFERENCE_PRECISION_HINT": openvino_precision(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    graph = Graph(read_weights(files.weights), files.heads)
    return openvino.Core().compile_model(graph.build(output), "CPU", options)
