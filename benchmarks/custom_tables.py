"""The parts of RESULTS.md on custom models; `tables.py` puts them in their place."""

from __future__ import annotations

from collections.abc import Iterator

from page import Result, ran

__all__ = ["custom_kinds", "distilled", "from_scratch"]


def custom_kinds(found: Result) -> Iterator[str]:
    """Every kind on one data set, and what others reached on it."""
    few = f", {found['per_label']} examples a label" if found["per_label"] else ""
    yield f"## Custom kinds: {found['data']}{few}\n\n{_ran(found['kinds'])}\n"
    yield (
        f"Fitted on {found['examples']['train']:,} examples, {found['metric']} on test. Kinds that "
        f"ask the embedded model are scored on {found['asked']} of the "
        f"{found['examples']['test']:,} test examples; on those all are scored a second time. "
        f"{_limits(found['kinds'])}\n"
    )
    yield (
        "| step | kind | score on test | n | on those asked | calibration error | trained, s | "
        "ms a request | MB |"
    )
    yield "|---|---|---|--:|---|--:|--:|--:|--:|"
    for one in found["kinds"]:
        error = one["calibration_error"]
        yield (
            f"| {one['step']} | {one['kind']} | {_scored(one)} | {one['n']} | "
            f"{_scored(one['on_asked'])} | {'-' if error is None else f'{error:.1%}'} | "
            f"{one['train_seconds']:,.0f} | {one['ms_per_request']:,.1f} | "
            f"{one['megabytes']:,.1f} |"
        )
    yield from _by_slice(found["kinds"])
    yield from _also(found["kinds"])
    told = "; ".join(f"{who} {_figures(figure)}" for who, figure in found["published"].items())
    yield f"\nPublished, on the full official sets: {told}."


def from_scratch(found: Result) -> Iterator[str]:
    """A model from scratch beside the other kinds."""
    yield f"## From scratch: {found['data']} (synthetic)\n\n{ran(found)}\n"
    yield (
        f"{found['examples']['train']:,} train and {found['examples']['test']:,} test examples, "
        f"{found['metric']}; each training ends after {found['minutes']:g} minutes.\n"
    )
    yield "| step | kind | score | trained, s | ms a request | MB |"
    yield "|---|---|---|--:|--:|--:|"
    for one in found["kinds"]:
        yield (
            f"| {one['step']} | {one['kind']} | {_scored(one)} | {one['train_seconds']:,.0f} | "
            f"{one['ms_per_request']:,.1f} | {one['megabytes']:,.1f} |"
        )


def distilled(found: Result) -> Iterator[str]:
    """Teachers and their students: quality, tokens, latency and dollars."""
    shown = found["examples"]
    yield f"## Prompt distillation: {found['data']}\n\n{ran(found)}\n"
    yield (
        f"Students learn what a teacher says of {shown['unlabelled']} inputs, or gold labels; "
        f"{found['metric']} on {shown['test']} test examples. Trainings end after "
        f"{found['minutes']:g} minutes (a teacher's after twice that). Latency is of one request "
        f"alone; dollars are of the machine `{found['priced_as']}`.\n"
    )
    yield (
        "| solver | learned from | score | against its teacher | tokens in / out | ms alone | "
        "dollars per 1,000 | trained, s |"
    )
    yield "|---|--:|---|---|--:|--:|--:|--:|"
    for one in found["table"]:
        if "score" not in one:
            yield f"| {one['solver']} | - | {one['why']} | - | - | - | - | - |"
            continue
        gain = one.get("gain")
        against = "-" if gain is None else (
            f"{gain['difference']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
        )  # fmt: skip
        yield (
            f"| {one['solver']} | {one.get('learned_from', '-')} | {_scored(one)} | {against} | "
            f"{_plain(one['input_tokens'])} / {_plain(one['output_tokens'])} | "
            f"{one['ms_alone']:,.0f} | {_plain(one['dollars_per_1000'], 4)} | "
            f"{one['train_seconds']:,.0f} |"
        )


def _ran(kinds: list[Result]) -> str:
    """Machine, date and commit; by steps, where they were not measured in one go."""
    steps: dict[str, list[str]] = {}
    for one in kinds:
        named = steps.setdefault(ran(one["measured"]), [])
        if f"`{one['step']}`" not in named:
            named.append(f"`{one['step']}`")
    if len(steps) == 1:
        return next(iter(steps))
    return "\n".join(f"- {', '.join(named)}: {where}" for where, named in steps.items())


def _limits(kinds: list[Result]) -> str:
    """After how many minutes trainings were ended, and those of which steps had more."""
    least = min(one["minutes"] for one in kinds)
    longer = {one["step"]: one["minutes"] for one in kinds if one["minutes"] > least}
    but = "".join(f", those of `{step}` after {minutes:g}" for step, minutes in longer.items())
    return f"Trainings end after {least:g} minutes{but}."


def _by_slice(kinds: list[Result]) -> Iterator[str]:
    """A row for each kind, a column for each slice; nothing where there are none."""
    names = sorted({name for one in kinds for name in one["slices"]})
    if not names:
        return
    yield f"\n| kind | {' | '.join(names)} |"
    yield f"|---|{'--:|' * len(names)}"
    for one in kinds:
        scores = [one["slices"].get(name) for name in names]
        cells = " | ".join("-" if score is None else f"{score[0]:.3f}" for score in scores)
        yield f"| {one['step']} / {one['kind']} | {cells} |"


def _also(kinds: list[Result]) -> Iterator[str]:
    for name in sorted({name for one in kinds for name in one["also"]}):
        told = ", ".join(
            f"{one['step']} / {one['kind']} {score:.3f} ({low:.3f} to {high:.3f})"
            for one in kinds
            if name in one["also"]
            for score, low, high, _ in (one["also"][name],)
        )
        yield f"\n{name.capitalize()}: {told}."


def _scored(one: Result) -> str:
    return f"{one['score']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def _figures(figure: float | list[float]) -> str:
    return " / ".join(f"{one:.3f}" for one in (figure if isinstance(figure, list) else [figure]))


def _plain(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
