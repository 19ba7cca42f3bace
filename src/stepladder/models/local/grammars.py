"""Forms of answers, tried out before they reach the engine.

The engine compiles a schema or grammar in the middle of a step, where one that is wrong would take
every other sequence down with it. A model of a few kilobytes with the same tokenizer compiles it
first; both share what was compiled, so that nothing is compiled twice.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...messages import Json
from .pipeline import constraint, open_pipeline

__all__ = ["Grammars"]

_REMEMBERED = 512
_WHERE = re.compile(r"^.*\.(?:cc|cpp|h):\d+: ", re.DOTALL)  # of a message: a place in C++ sources


class Grammars:
    """Tells what is wrong with a form of answer, and remembers it."""

    def __init__(self, tokenizer: Any, vocabulary: int, eos_id: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._eos_id = eos_id
        self._known: OrderedDict[str, str | None] = OrderedDict()
        self._pipeline: Any = None

    def fault(
        self, schema: Mapping[str, Json] | None, choices: tuple[str, ...], grammar: str | None
    ) -> str | None:
        """Why an answer cannot be made in this form; None when it can."""
        if schema is None and not choices and grammar is None:
            return None
        key = json.dumps([schema, choices, grammar])
        if key not in self._known:
            self._known[key] = self._try(constraint(schema, choices, grammar))
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _try(self, form: Any) -> str | None:
        import openvino
        import openvino_genai as genai

        config = genai.GenerationConfig()
        config.max_new_tokens = 1
        config.eos_token_id = self._eos_id
        config.apply_chat_template = False
        config.structured_output_config = form
        ids = openvino.Tensor(np.array([[self._eos_id]], dtype=np.int64))
        try:
            self._opened().generate([ids], [config])
        except RuntimeError as error:
            return _WHERE.sub("", str(error)).strip()
        return None

    def _opened(self) -> Any:
        if self._pipeline is None:
            with tempfile.TemporaryDirectory(prefix="stepladder-") as folder:
                _write_small_model(Path(folder), self._vocabulary)
                self._pipeline = open_pipeline(
                    Path(folder), exact=True, most_running=1, tokenizer=self._tokenizer
                )
        return self._pipeline


def _write_small_model(folder: Path, vocabulary: int) -> None:
    import openvino

    from .ir import LINEAR, build

    size = 32
    config = {
        "hidden_size": size, "num_attention_heads": 1, "num_hidden_layers": 1,
        "rms_norm_eps": 1e-5, "vocab_size": vocabulary,
    }  # fmt: skip
    layer = "model.layers.0."
    shapes: dict[str, tuple[int, ...]] = {layer + n + ".weight": (size, size) for n in LINEAR}
    norms = (layer + "input_layernorm", layer + "post_attention_layernorm", "model.norm")
    shapes |= {f"{name}.weight": (size,) for name in norms}
    shapes["model.embed_tokens.weight"] = (vocabulary, size)
    weights = {name: np.zeros(shape, np.float16) for name, shape in shapes.items()}
    openvino.save_model(build(config, weights), folder / "openvino_model.xml", False)
