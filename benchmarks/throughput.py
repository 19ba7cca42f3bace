"""Requests per second on 300 examples that share a 1,200-token prompt, three ways, in one run.

    evaluate       the whole of our path: rendering, caching, engine, parsing, scoring, writing rows
    engine         the same engine driven by hand: token ids in, one request first so that the
                   shared prefix is in the cache, then all others at once
    transformers   plain `generate` in bfloat16, left-padded batches of 16, no reuse of the prefix

All answer the same prompts greedily with the same limit, each with a cold cache. transformers gets
fewer examples, since its rate does not depend on their number.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from environment import finish, parser, where

from stepladder.core import Example, Task, Usage, Workshop
from stepladder.data.split import load_split
from stepladder.evaluate import Bench, evaluate
from stepladder.metrics import load_metric
from stepladder.models.local import LocalModel, LocalProvider, built_folder
from stepladder.solvers.prompt import PromptSolver, render
from stepladder.steps.prompt_variants import plain_prompt
from stepladder.store import CachedModel, RowFile, open_run
from stepladder.task import load_task

TASK = Path(__file__).parents[1] / "examples" / "customer-intents"
SHARED_TOKENS, EXAMPLES, ANSWER_TOKENS, BATCH = 1200, 300, 16, 16


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--transformers-examples", type=int, default=64)
    chosen = options.parse_args()
    place = where()
    task = load_task(TASK)
    split = load_split(task)
    with tempfile.TemporaryDirectory() as folder:
        model = LocalProvider(Path(folder)).model(task.models[0])
        solver = _long_prompt(task, split.train, model)
        examples = split.dev[:EXAMPLES]
        prompts = [model.tokenizer.chat_ids(render(solver, e.input)) for e in examples]
        _by_transformers(model, prompts[:2])  # warm up: both engines' libraries are loaded
        ours, answers = _by_evaluate(task, solver, examples, Path(folder))
        hand, by_hand = _by_hand(model, prompts)
        plain = _by_transformers(model, prompts[: chosen.transformers_examples])
    shared = len(model.tokenizer.chat_ids(render(solver, "")))
    result = {
        **place,
        "examples": len(examples),
        "shared_tokens_about": shared,
        "input_tokens_mean": float(np.mean([len(prompt) for prompt in prompts])),
        "answer_tokens_at_most": ANSWER_TOKENS,
        "requests_per_second": {
            "evaluate": len(examples) / ours,
            "engine by hand": len(examples) / hand,
            "transformers bf16": chosen.transformers_examples / plain,
        },
        "transformers_examples": chosen.transformers_examples,
        "evaluate_over_engine": hand / ours,
        "evaluate_over_transformers": (len(examples) / ours)
        / (chosen.transformers_examples / plain),
        "same_answers_as_engine": float(
            np.mean([a == b for a, b in zip(answers, by_hand, strict=True)])
        ),
        "limits": {"evaluate_over_engine": 0.9, "evaluate_over_transformers": 8.0},
    }
    finish("throughput", result, write=chosen.write)


def _long_prompt(task: Task, train: Sequence[Example], model: LocalModel) -> PromptSolver:
    """The plain prompt with as many demonstrations as make it about 1,200 tokens."""
    solver = replace(plain_prompt(task), max_output_tokens=ANSWER_TOKENS)
    for count in range(1, 100):
        demos = tuple((example.input, example.expected) for example in train[:count])
        solver = replace(solver, demos=demos)
        if model.count_tokens(render(solver, "")) >= SHARED_TOKENS:
            break
    return solver


def _by_evaluate(
    task: Task, solver: PromptSolver, examples: Sequence[Example], folder: Path
) -> tuple[float, list[str]]:
    provider = LocalProvider(folder)
    with open_run(folder / "runs", "throughput") as run:
        model = CachedModel(provider.model(task.models[0]), run.answers)
        provider.engine(provider.model(task.models[0]))  # loading is not what is measured
        workshop = Workshop(lambda name: model, run.artifacts, lambda event, fields: None)

        def price(usage: Iterable[Usage]) -> float | None:
            return None

        bench = Bench(task, load_metric(task), workshop, price)
        texts: dict[str, str] = {}
        with closing(RowFile(run.folder / "rows.jsonl")) as rows:

            def sink(record: Any) -> None:
                texts[record["id"]] = record["text"]
                rows.write(record)

            started = time.perf_counter()
            evaluate(solver, examples, bench, "dev", sink)
            seconds = time.perf_counter() - started
    provider.close()
    return seconds, [texts[example.id] for example in examples]


def _by_hand(model: LocalModel, prompts: Sequence[Sequence[int]]) -> tuple[float, list[str]]:
    import openvino
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 2
    scheduler.max_num_seqs = 32
    scheduler.max_num_batched_tokens = 512
    scheduler.enable_prefix_caching = True
    properties = {
        "INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0)),
        "INFERENCE_PRECISION_HINT": "bf16",
        "KV_CACHE_PRECISION": "bf16",
    }
    built = built_folder(model.folder, model.fingerprint)
    pipeline = genai.ContinuousBatchingPipeline(str(built), scheduler, "CPU", properties)
    config = genai.GenerationConfig()
    config.max_new_tokens = ANSWER_TOKENS
    config.eos_token_id = model.tokenizer.eos_id
    config.apply_chat_template = False
    config.do_sample = False
    tensors = [openvino.Tensor(np.array([prompt], dtype=np.int64)) for prompt in prompts]
    started = time.perf_counter()
    results = pipeline.generate(tensors[:1], [config])
    results += pipeline.generate(tensors[1:], [config] * (len(tensors) - 1))
    seconds = time.perf_counter() - started
    return seconds, [model.tokenizer.decode(result.m_generation_ids[0]) for result in results]


def _by_transformers(model: LocalModel, prompts: Sequence[Sequence[int]]) -> float:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    plain = AutoModelForCausalLM.from_pretrained(str(model.folder), dtype=torch.bfloat16)
    started = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(prompts), BATCH):
            batch = prompts[start : start + BATCH]
            longest = max(map(len, batch))
            pad = model.tokenizer.pad_id
            ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in batch])
            mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in batch])
            plain.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=ANSWER_TOKENS,
                do_sample=False,
                pad_token_id=pad,
                eos_token_id=model.tokenizer.eos_id,
            )
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
