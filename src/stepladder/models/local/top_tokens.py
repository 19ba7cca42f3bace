"""The most probable tokens at each place of an answer, where the engine tells only the chosen one.

The finished sequence goes through the decoder once more, with the adapter it was made with. The
work comes in pieces, so that other sequences can move on in between; nothing is in memory until
somebody asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...messages import Json
from ..live import Token
from .adapters import AdapterFile, linear_sizes, read_matrices
from .graph import build
from .ir import read_weights
from .pipeline import properties

__all__ = ["TopTokens"]

_PIECE = 256  # tokens computed at once

_Matrices = Mapping[str, npt.NDArray[np.float32]]


class TopTokens:
    """A second copy of the decoder, which takes the adapter as an input."""

    def __init__(self, folder: Path, *, exact: bool) -> None:
        self._folder = folder
        self._exact = exact
        self._request: Any = None
        self._config: Mapping[str, Json] = {}

    def look_up(
        self, prompt: Sequence[int], made: Sequence[int], count: int, adapter: AdapterFile | None
    ) -> Iterator[tuple[Token, ...] | None]:
        """The tokens of `made`, each with its `count` most probable alternatives.

        Yields None after each piece of work and the tokens at the end. Only one iterator may be
        under way at a time.
        """
        self._open()
        matrices = self._matrices(adapter)
        ids = np.array([*prompt, *made][:-1], dtype=np.int64)
        first = len(prompt) - 1  # the token before an answer's first one predicts it
        tokens: list[Token] = []
        self._request.reset_state()
        for start in range(0, len(ids), _PIECE):
            piece = ids[start : start + _PIECE]
            end = start + len(piece)
            wanted = range(max(first, start), end) or range(end - 1, end)  # never none at all
            logits = self._forward(piece, start, np.array(wanted) - start, matrices)
            for place, row in zip(wanted, logits, strict=True):
                if place >= first:
                    tokens.append(_token(row, made[place - first], count))
            yield None
        yield tuple(tokens)

    def _open(self) -> None:
        import openvino

        if self._request is not None:
            return
        text = (self._folder / "config.json").read_text(encoding="utf-8")
        self._config = json.loads(text)
        model = build(self._config, read_weights(self._folder), adaptable=True)
        compiled = openvino.Core().compile_model(model, "CPU", properties(exact=self._exact))
        self._request = compiled.create_infer_request()

    def _matrices(self, adapter: AdapterFile | None) -> _Matrices:
        """A and B of every linear layer; where nothing is added, of rank one and zero."""
        given = {} if adapter is None else read_matrices(adapter)
        for layer in range(self._config["num_hidden_layers"]):
            for name, (narrow, wide) in linear_sizes(self._config).items():
                place = f"model.layers.{layer}.{name}"
                if f"{place}.A" not in given:
                    given[f"{place}.A"] = np.zeros((1, narrow), np.float32)
                    given[f"{place}.B"] = np.zeros((wide, 1), np.float32)
        return given

    def _forward(
        self, ids: npt.NDArray[np.int64], past: int, rows: npt.NDArray[np.int64], given: _Matrices
    ) -> npt.NDArray[np.float32]:
        outputs = self._request.infer(
            {
                "input_ids": ids[None],
                "attention_mask": np.ones((1, past + len(ids)), dtype=np.int64),
                "position_ids": past + np.arange(len(ids), dtype=np.int64)[None],
                "beam_idx": np.zeros(1, dtype=np.int32),
                "rows": rows,
                **given,
            }
        )
        logits: npt.NDArray[np.float32] = outputs["logits"][0]
        return logits


def _token(logits: npt.NDArray[np.float32], chosen: int, count: int) -> Token:
    values = logits.astype(np.float64)
    values -= values.max()
    values -= np.log(np.exp(values).sum())
    best = np.argpartition(-values, count - 1)[:count]
    ranked = best[np.argsort(-values[best], kind="stable")]
    top = tuple((int(id), float(values[id])) for id in ranked)
    return Token(chosen, float(values[chosen]), top)
