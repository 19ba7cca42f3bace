"""Forms of answers, tried out before they reach the engine.

The engine compiles a schema or grammar in the middle of a step, where one that is wrong would take
every other sequence down with it, and one that takes seconds would keep all of them waiting. A
model of a few kilobytes with the same tokenizer compiles it first, in a thread beside the steps;
both share what was compiled, so that nothing is compiled twice.
"""

from __future__ import annotations

import json
import logging
import queue
import re
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..live import Prompt
from .pipeline import constraint, open_pipeline

__all__ = ["Grammars", "Judged", "form_of"]

_log = logging.getLogger(__name__)

_REMEMBERED = 512
_WHERE = re.compile(r"^.*\.(?:cc|cpp|h):\d+: ", re.DOTALL)  # of a message: a place in C++ sources


@dataclass(frozen=True, slots=True)
class Judged:
    """A form that was tried out: why no answer can be made in it; None when one can."""

    fault: str | None


def form_of(prompt: Prompt) -> str | None:
    """What bounds the answer, as one text; None where nothing does."""
    if prompt.schema is None and not prompt.choices and prompt.grammar is None:
        return None
    return json.dumps([prompt.schema, prompt.choices, prompt.grammar])


class Grammars:
    """Tells what is wrong with a form of answer, and remembers it."""

    def __init__(self, tokenizer: Any, vocabulary: int, eos_id: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._eos_id = eos_id
        self._known: OrderedDict[str, Judged] = OrderedDict()
        self._trial: tuple[str, queue.SimpleQueue[Judged]] | None = None
        self._pipeline: Any = None

    def judge(self, form: str) -> Judged | None:
        """What is known of a form; None: ask again, it is being tried or another one is.

        One form is tried at a time, so that those who gave up waiting are not worked for.
        """
        self._hear()
        if form in self._known:
            self._known.move_to_end(form)
            return self._known[form]
        if self._trial is None:
            told: queue.SimpleQueue[Judged] = queue.SimpleQueue()
            self._trial = (form, told)
            # a daemon: the process can end while it compiles
            threading.Thread(
                target=lambda: told.put(self._tried(form)), name="forms", daemon=True
            ).start()
        return None

    def _hear(self) -> None:
        """Remember what the trial has found by now."""
        if self._trial is None or self._trial[1].empty():
            return
        self._known[self._trial[0]] = self._trial[1].get()
        self._trial = None
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _tried(self, form: str) -> Judged:
        schema, choices, grammar = json.loads(form)
        try:
            return Judged(self._try(constraint(schema, tuple(choices), grammar)))
        except Exception as error:  # whatever it is, somebody waits to be told
            _log.exception("a form of answer could not be tried")
            return Judged(f"it could not be tried: {error}")

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

    from .graph import LINEAR, build

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
