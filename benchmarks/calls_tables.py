"""The part of RESULTS.md on calls of functions; `tables.py` puts it in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from page import Result, ran, table

__all__ = ["calls"]

_SHARES = ("where a call is wanted", "where none is wanted")
_METRICS = ("call_match", "function names", "decision to call", "argument_f1")


def calls(found: Result) -> Iterator[str]:
    yield "## Calls of functions, before and after tuning\n"
    yield "Intervals on sgd_calls are over dialogues.\n"
    for name, one in found["sets"].items():
        training = one["training"]
        yield (
            f"**{name}**: {ran(one)} {one['model']}, {one['test']} test examples, "
            f"{one['test without a call']} of them without a call. {training['tokens']:,} tokens "
            f"of train were learned from in {training['seconds']:,} s ({training['epochs']} epochs "
            "of the rows that are not too long).\n"
        )
        rows = [
            [metric, *(_scored(one[when][metric]) for when in ("before", "after")), gain]
            for metric in (*_METRICS, *_SHARES, *_categories(one["after"]))
            for gain in [_gain(one["gain"].get(metric))]
        ]
        yield from table(["measure", "before", "after", "gain, in pairs"], rows)
        before, after = one["before"], one["after"]
        yield (
            f"\nTokens in and out of a request: {before['input_tokens']:.0f} and "
            f"{before['output_tokens']:.0f} before, {after['input_tokens']:.0f} and "
            f"{after['output_tokens']:.0f} after.\n"
        )


def _categories(told: Result) -> list[str]:
    """The kinds of requests, where a set names them."""
    scored = [name for name, one in told.items() if isinstance(one, Mapping)]
    return [name for name in scored if name not in (*_METRICS, *_SHARES)]


def _scored(one: Result) -> str:
    return f"{one['score']:.3f} ({one['low']:.2f} to {one['high']:.2f}), n = {one['n']}"


def _gain(one: Result | None) -> str:
    if one is None:
        return ""
    p_value = "" if one["p_value"] is None else f", p = {one['p_value']:.4f}"
    return f"{one['difference']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f}){p_value}"
