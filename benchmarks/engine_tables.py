"""The parts of RESULTS.md on the live engine and the cluster. Called by `tables.py`; no figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from page import Result, ran

__all__ = ["live_engine", "ray_rows"]


def live_engine(found: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown, without the heading."""
    yield (
        f"{found['model']}: prompts of {found['prompt_tokens']} tokens, answers of "
        f"{found['answer_tokens']}, greedy, medians of {found['rounds']} rounds in turns.\n"
    )
    yield "| sequences | live engine, tokens/s | engine by itself | ratio | same answers |"
    yield "|---|---|---|---|---|"
    for one in found["tokens_per_second"]:
        yield (
            f"| {one['sequences']} | {one['live engine']:.0f} | {one['generate']:.0f} | "
            f"{one['live_over_generate']:.2f} | {one['same_answers']:.0%} |"
        )
    adapters = found["adapters"]
    yield "\n| 16 sequences through | tokens/s |\n|---|---|"
    for name, rate in adapters["tokens_per_second_of_16_sequences"].items():
        yield f"| {name} | {rate:.0f} |"
    yield (
        "\nWithout an adapter the speed is that of a model with one merged in. Each further "
        f"adapter ({adapters['adapter_bytes'] / 1e6:.1f} MB) takes "
        f"{adapters['resident_bytes_per_further_adapter'] / 1e6:.1f} MB of memory."
    )
    if "beside_a_long_prompt" in found:
        yield from _fairness(found["beside_a_long_prompt"])


def _fairness(found: Mapping[str, Any]) -> Iterator[str]:
    prompt = f"a prompt of {found['tokens']:,} tokens"
    yield f"\n| {prompt} | first token, s | longest gap of others, s |"
    yield "|---|---|---|"
    for way in ("in pieces", "whole"):
        one = found[way]
        yield (
            f"| computed {way} | {one['first_token_seconds']:.1f} | "
            f"{one['longest_gap_of_others']:.2f} |"
        )


def ray_rows(found: Result) -> Iterator[str]:
    """Many rows of a linear solver: this process alone, and Ray Data."""
    yield f"## Many rows on a cluster\n\n{ran(found)}\n"
    same = "the same answers" if found["same_answers"] else "**not** the same answers"
    yield (
        f"{found['rows']:,} inputs to a linear solver, {found['workers']} workers of one core on "
        f"this machine; {same}. Memory is that of the process that climbs, over the run.\n"
    )
    yield "| way | rows/s | missing | doubled | memory, MiB |\n|---|--:|--:|--:|--:|"
    for name, key in (("one process", "one_process"), ("Ray Data", "ray")):
        one = found[key]
        memory = one["memory_mib"]
        yield (
            f"| {name} | {one['rows_per_second']:,} | {one['rows_missing']} | "
            f"{one['rows_doubled']} | {min(memory):.0f} to {max(memory):.0f} |"
        )
    yield ""
