"""Tokens per second of the live engine at 1, 4 and 16 sequences, against the engine by itself.

Both answer the same prompts greedily with the same number of tokens, in turns, in the same run; the
prompts are new in every round, so that neither finds anything in its cache. Then the same through
LoRA adapters of rank 16 with random weights: one, four and eight that wait for each other, and what
each of them takes in memory. Last, how long others hear nothing while a prompt of 8,100 tokens is
computed, in pieces and whole.
"""

from __future__ import annotations

import queue
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from environment import finish, parser, where

from stepladder.models.live import Made, Prompt
from stepladder.models.local import LocalModel, LocalProvider, built_folder
from stepladder.models.local.adapters import linear_sizes
from stepladder.models.local.live_messages import Settings
from stepladder.models.local.live_openvino import OpenVINOLive, open_live
from stepladder.models.local.pipeline import open_pipeline

MODEL = "local:smollm2-135m-instruct"
PROMPT_TOKENS, TOKENS, MOST_RUNNING = 64, 64, 32
RANK, ADAPTERS, SETTLED = 16, 8, 3
LONG_TOKENS, NEWCOMER_SECONDS = 8_100, 0.5
WHOLE = 1 << 20  # tokens of a piece: no prompt is as long

Ids = tuple[int, ...]


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    place = where()
    chance = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        model = LocalProvider(Path(folder)).model(MODEL)
        live = open_live(model.folder, model.tokenizer, most_running=MOST_RUNNING)
        built = built_folder(model.folder, model.fingerprint)
        pipeline = open_pipeline(built, exact=False, most_running=MOST_RUNNING)
        _by_live(live, _prompts(chance, 1))  # warm up
        _by_generate(pipeline, _prompts(chance, 1), model)
        rows = [_compare(live, pipeline, model, n, chosen.rounds) for n in (1, 4, 16)]
        del pipeline
        adapters = _with_adapters(live, model, Path(folder))
        live.close()
        fairness = {
            "in pieces": _beside_a_long_prompt(live.settings),
            "whole": _beside_a_long_prompt(replace(live.settings, piece_tokens=WHOLE)),
        }
    result = {
        **place,
        "model": MODEL,
        "prompt_tokens": PROMPT_TOKENS,
        "answer_tokens": TOKENS,
        "rounds": chosen.rounds,
        "tokens_per_second": rows,
        "adapters": adapters,
        "beside_a_long_prompt": {"tokens": LONG_TOKENS, **fairness},
    }
    finish("live_engine", result, write=chosen.write)


def _compare(
    live: OpenVINOLive, pipeline: Any, model: LocalModel, count: int, rounds: int
) -> dict[str, float]:
    chance = np.random.default_rng(count)
    ours, theirs, equal = [], [], []
    for _ in range(rounds):
        prompts = _prompts(chance, count)
        seconds, by_live = _by_live(live, prompts)
        ours.append(count * TOKENS / seconds)
        seconds, by_generate = _by_generate(pipeline, prompts, model)
        theirs.append(count * TOKENS / seconds)
        equal += [a == b for a, b in zip(by_live, by_generate, strict=True)]
    return {
        "sequences": count,
        "live engine": statistics.median(ours),
        "generate": statistics.median(theirs),
        "live_over_generate": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        "same_answers": float(np.mean(equal)),
    }


def _prompts(chance: np.random.Generator, count: int) -> list[Ids]:
    """Random tokens: what they mean takes no time to compute, and no two begin alike."""
    return [tuple(map(int, chance.integers(100, 40_000, PROMPT_TOKENS))) for _ in range(count)]


def _by_live(
    live: OpenVINOLive, prompts: Sequence[Ids], adapters: Sequence[Path] = ()
) -> tuple[float, list[Ids]]:
    """Seconds, and what was said to each; adapters are taken in turn."""
    heard: queue.SimpleQueue[tuple[int, Made]] = queue.SimpleQueue()
    said: list[Ids] = [()] * len(prompts)
    started = time.perf_counter()
    for index, ids in enumerate(prompts):
        adapter = adapters[index % len(adapters)] if adapters else None
        prompt = Prompt(ids, TOKENS, grammar=_ENDLESS, adapter=adapter)
        live.start(prompt, lambda made, index=index: heard.put((index, made)))  # type: ignore[misc]
    left = len(prompts)
    while left:
        index, made = heard.get()
        if made.error is not None:
            raise RuntimeError(made.error)
        said[index] += tuple(token.id for token in made.tokens)
        left -= made.finish is not None
    return time.perf_counter() - started, said


def _by_generate(
    pipeline: Any, prompts: Sequence[Ids], model: LocalModel
) -> tuple[float, list[Ids]]:
    import openvino
    import openvino_genai as genai

    config = genai.GenerationConfig()
    config.max_new_tokens = TOKENS
    config.eos_token_id = model.tokenizer.eos_id
    config.apply_chat_template = False
    config.do_sample = False
    config.structured_output_config = genai.StructuredOutputConfig(grammar=_ENDLESS)
    tensors = [openvino.Tensor(np.array([ids], dtype=np.int64)) for ids in prompts]
    started = time.perf_counter()
    results = pipeline.generate(tensors, [config] * len(tensors))
    seconds = time.perf_counter() - started
    return seconds, [tuple(result.m_generation_ids[0]) for result in results]


_ENDLESS = "root ::= [a-z ] root"  # so that every answer has all its tokens


def _with_adapters(live: OpenVINOLive, model: LocalModel, folder: Path) -> dict[str, Any]:
    chance = np.random.default_rng(7)
    made = [_random_adapter(folder / str(n), model, n) for n in range(ADAPTERS)]
    size = (made[0] / "adapter_model.safetensors").stat().st_size
    base_alone = _resident_bytes(live)
    for adapter in made[:SETTLED]:  # the first one opens a pipeline, the next ones fill its buffers
        _by_live(live, _prompts(chance, 1), [adapter])
    before = _resident_bytes(live)
    for adapter in made[SETTLED:]:
        _by_live(live, _prompts(chance, 1), [adapter])
    after = _resident_bytes(live)
    rates = {}
    for count in (0, 1, 4, ADAPTERS):  # without: weights with an adapter merged in have this size
        seconds, _ = _by_live(live, _prompts(chance, 16), made[:count])
        rates[f"{count} adapters"] = 16 * TOKENS / seconds
    return {
        "adapter_bytes": size,
        "tokens_per_second_of_16_sequences": rates,
        "resident_bytes_of_base_alone": base_alone,
        f"resident_bytes_with_{SETTLED}_adapters": before,
        "resident_bytes_per_further_adapter": (after - before) / (ADAPTERS - SETTLED),
    }


def _beside_a_long_prompt(settings: Settings) -> dict[str, float]:
    """Seconds until the long prompt's first token, and the longest that others heard nothing.

    One answer is under way before the prompt comes; every half second another one is asked for.
    """
    chance = np.random.default_rng(3)
    live = OpenVINOLive(settings)
    heard: queue.SimpleQueue[tuple[int, float, bool]] = queue.SimpleQueue()
    latest: dict[int, float] = {}  # when those who are not over heard something, or asked
    gaps: list[float] = []

    def ask(name: int, ids: Ids, tokens: int) -> None:
        latest[name] = time.perf_counter()
        prompt = Prompt(ids, tokens, grammar=_ENDLESS)
        live.start(prompt, lambda made: heard.put((name, time.perf_counter(), bool(made.finish))))

    speaker, long = 0, 1
    ask(speaker, _prompts(chance, 1)[0], 4_000)
    latest[speaker] = heard.get()[1]
    ask(long, tuple(map(int, chance.integers(100, 40_000, LONG_TOKENS))), 1)
    began = asked = latest.pop(long)
    while True:
        name, when, over = heard.get()  # the speaker is heard after every step
        if name == long:
            break
        gaps.append(when - latest.pop(name))
        if not over:
            latest[name] = when
        if when - asked > NEWCOMER_SECONDS:
            asked = when
            ask(len(gaps) + long, _prompts(chance, 1)[0], TOKENS)
    gaps += [when - told for told in latest.values()]
    live.close()
    return {"first_token_seconds": when - began, "longest_gap_of_others": max(gaps)}


def _random_adapter(folder: Path, model: LocalModel, seed: int) -> Path:
    import json

    chance = np.random.default_rng(seed)
    config = json.loads((model.folder / "config.json").read_text(encoding="utf-8"))
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for name, (narrow, wide) in linear_sizes(config).items():
            place = f"base_model.model.model.layers.{layer}.{name}"
            for part, shape in (("A", (RANK, narrow)), ("B", (wide, RANK))):
                values = chance.standard_normal(shape, dtype=np.float32) * np.float32(0.01)
                tensors[f"{place}.lora_{part}.weight"] = values
    folder.mkdir()
    safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def _resident_bytes(live: OpenVINOLive) -> int:
    """Memory of the engine's process."""
    status = Path(f"/proc/{live.process}/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) << 10


if __name__ == "__main__":
    main()
