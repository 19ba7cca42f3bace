"""What learns in a local model, by method: a table of how each grows and how it is served.

    lora, dora, rslora   small matrices beside the linear layers (`adapters.py`), merged in the end
    qlora                the same over a base in four bits (`quantised.py`), merged into the base
    prompt               vectors before the input (`virtual.py`), served as new words of the model
    prefix               keys and values before the input (`virtual.py`), served by transformers
    freeze, full         the model's own weights, of its last layers or of all (`weights.py`)

The loop that trains them and the files around them are for `local.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import Method, TrainingJob
from ..batches import Learnable
from . import adapters, quantised, virtual, weights

__all__ = ["METHODS", "Way"]


def _float32(job: TrainingJob, device: Any) -> dict[str, Any]:
    import torch

    return {"dtype": torch.float32}


@dataclass(frozen=True)
class Way:
    """How one method trains: `grow` marks what learns, `save` writes the folder that is served.

    `load` gives what transformers is to load the base with; `served` the model whose loss is that
    of the saved one; `adapter` says whether what was learned is a PEFT adapter, which can be kept
    apart.
    """

    grow: Callable[[Any, TrainingJob, Sequence[Learnable]], Any]
    save: Callable[[Any, TrainingJob, Path, str], None]
    adapter: bool = True
    served: Callable[[Any, TrainingJob], Any] = lambda model, job: model
    load: Callable[[TrainingJob, Any], dict[str, Any]] = _float32


_LORA = Way(adapters.grow, weights.save, served=adapters.merged)

METHODS: Mapping[Method, Way] = {
    "lora": _LORA,
    "dora": _LORA,
    "rslora": _LORA,
    "qlora": Way(quantised.grow, weights.save, served=adapters.merged, load=quantised.four_bits),
    "prompt": Way(virtual.grow_prompt, virtual.save_prompt),
    "prefix": Way(virtual.grow_prefix, virtual.save_prefix),
    "freeze": Way(weights.last_layers, weights.save, adapter=False),
    "full": Way(weights.all_of_them, weights.save, adapter=False),
}
