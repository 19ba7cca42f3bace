"""The path that runs anywhere: transformers, left-padded batches, any model, CPU or GPU.

Slower than the OpenVINO engine on a CPU and without constrained decoding. The GPU branch has not
been run on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...core import Request
from ...errors import ModelError
from ...registry import need
from .graph import NEVER_SAID
from .ir import PREFIX
from .openvino_engine import Generated
from .precision import has_bfloat16

__all__ = ["TransformersEngine"]


class TransformersEngine:
    """One loaded model; `exact` computes in float32, else in bfloat16 where that is faster."""

    def __init__(
        self, folder: Path, *, eos_id: int, pad_id: int, exact: bool = False, batch: int = 16
    ) -> None:
        torch = need("torch", extra="train", what="the transformers engine")
        transformers = need("transformers", extra="local", what="a local model")
        self._torch = torch
        self._eos_id = eos_id
        self._pad_id = pad_id
        self._batch = batch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        fast = not exact and has_bfloat16(self._device)
        self._model = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=torch.bfloat16 if fast else torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
        ).to(self._device)
        if (folder / PREFIX).exists():  # keys and values of its own before every input
            peft = need("peft", extra="train", what="a model tuned by method 'prefix'")
            self._model = peft.PeftModel.from_pretrained(self._model, str(folder / PREFIX))
        first, count = getattr(self._model.config, NEVER_SAID, (0, 0))
        self._never_said = [*range(first, first + count)] or None
        self._model.eval()

    def run(
        self, prompts: Sequence[Sequence[int]], requests: Sequence[Request]
    ) -> Iterator[tuple[int, Generated]]:
        """Each answer, with the index of its prompt; requests of similar length go together."""
        for request in requests:
            _refuse_what_it_cannot(request)
        for chosen in self._batches(prompts, requests):
            made = self._generate([prompts[i] for i in chosen], [requests[i] for i in chosen])
            yield from zip(chosen, made, strict=True)

    def _batches(
        self, prompts: Sequence[Sequence[int]], requests: Sequence[Request]
    ) -> Iterator[list[int]]:
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        greedy = [index for index in order if requests[index].temperature == 0]
        for start in range(0, len(greedy), self._batch):
            yield greedy[start : start + self._batch]
        # a sampled answer has a temperature and a seed of its own: neighbours would change both
        yield from ([index] for index in order if requests[index].temperature > 0)

    def _generate(
        self, prompts: Sequence[Sequence[int]], requests: Sequence[Request]
    ) -> list[Generated]:
        torch = self._torch
        started = time.perf_counter()
        longest = max(map(len, prompts))
        ids = [[self._pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        torch.manual_seed(requests[0].seed)
        temperature = requests[0].temperature
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            sampling = {"do_sample": True, "temperature": temperature}
        with torch.inference_mode():
            result = self._model.generate(
                input_ids=torch.tensor(ids, device=self._device),
                attention_mask=torch.tensor(mask, device=self._device),
                max_new_tokens=max(request.max_output_tokens for request in requests),
                eos_token_id=self._eos_id,
                pad_token_id=self._pad_id,
                return_dict_in_generate=True,
                suppress_tokens=self._never_said,
                output_logits=any(request.logprob for request in requests),
                **sampling,
            )
        seconds = time.perf_counter() - started
        new = result.sequences[:, longest:].tolist()
        steps = result.logits or ()
        return [
            self._finish(
                row, [step[place] for step in steps], requests[place], seconds, seconds / len(new)
            )
            for place, row in enumerate(new)
        ]

    def _finish(
        self, ids: list[int], logits: list[Any], request: Request, seconds: float, share: float
    ) -> Generated:
        ids = ids[: request.max_output_tokens]
        stopped = self._eos_id in ids
        used = ids[: ids.index(self._eos_id) + 1] if stopped else ids
        logprob = self._logprob(used, logits) if request.logprob else None
        kept = tuple(used[:-1] if stopped else used)
        return Generated(kept, logprob, "stop" if stopped else "length", seconds, share)

    def _logprob(self, ids: list[int], logits: list[Any]) -> float:
        pairs = zip(ids, logits, strict=False)  # the batch may have gone on after this answer
        return float(sum(self._torch.log_softmax(x.float(), -1)[i].item() for i, x in pairs))


def _refuse_what_it_cannot(request: Request) -> None:
    if request.schema is not None or request.choices:
        raise ModelError(
            "this model runs through transformers here, which cannot constrain its answers",
            hint="set constrained = false under [steps.prompt], or use a Llama-family model on CPU",
        )
    if request.stop:
        raise ModelError(
            "this model runs through transformers here, which does not take stop strings",
            hint="leave `stop` out",
        )
