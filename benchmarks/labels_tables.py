"""The part of RESULTS.md on labels. Called by `tables.py`; computes no figures."""

from __future__ import annotations

from collections.abc import Iterator

from page import Result

__all__ = ["labels"]


def labels(found: Result) -> Iterator[str]:
    """Lines of Markdown, without the heading."""
    yield from _curves(found["curves"])
    for name, choice in found["choices"].items():
        yield from _choice(name, choice, found["orders"])


def _curves(curves: Result) -> Iterator[str]:
    yield (
        "What a curve through the scores at up to a quarter and a half of train said of all of it "
        f"(`stepladder labels`, TF-IDF and logistic regression, {curves['guesses']} guesses over "
        "four data sets): "
        f"what was measured lies in the 90 % interval of the score in "
        f"{curves['score_inside_90']:.0%} and in that of the gain in "
        f"{curves['gain_inside_90']:.0%}; the middle is off by "
        f"{100 * curves['mean_absolute_error']:.1f} points on average and "
        f"{100 * curves['worst_error']:.1f} at worst, intervals are "
        f"{100 * curves['mean_width']:.0f} points wide. How intervals widen beyond what was "
        "measured was settled on these same data.\n"
    )
    yield "| data | from | to | said | 90 % interval | measured |"
    yield "|---|---|---|---|---|---|"
    for one in curves["each"]:
        yield (
            f"| {one['data']}, order {one['order'] + 1} | {one['from']:,} | {one['to']:,} | "
            f"{one['said']:.3f} | {one['low']:.3f} to {one['high']:.3f} | {one['measured']:.3f} |"
        )


def _choice(name: str, choice: Result, orders: int) -> Iterator[str]:
    against = choice["against_random"]
    better = [way for way, gain in against.items() if gain["low"] > 0]
    said = f"better than random: {', '.join(better)}" if better else "none is shown to beat random"
    yield f"\n{name}, labels bought in rounds, accuracy on test, mean of {orders} orders; {said}.\n"
    yield f"| way | {' | '.join(f'{count:,}' for count in choice['labels'])} | against random |"
    yield f"|---|{'---|' * len(choice['labels'])}---|"
    for way, scores in choice["score"].items():
        gain = against.get(way)
        told = "" if gain is None else (
            f"{100 * gain['difference']:+.1f} points ({100 * gain['low']:+.1f} to "
            f"{100 * gain['high']:+.1f}), p = {gain['p_value']:.3f}"
        )  # fmt: skip
        yield f"| {way} | {' | '.join(f'{score:.3f}' for score in scores)} | {told} |"
