"""The live ladder: fed by events, still on a terminal, sparse in a log, gone cleanly on Ctrl-C."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from stepladder.report import LiveLadder

EVENTS = (
    "step", "skipped", "building", "training", "candidate", "rows", "eliminated", "trial",
    "confirming", "confirmed", "note",
)  # fmt: skip
ROWS: dict[str, Any] = {
    "step": "prompt", "name": "constrained", "done": 120, "planned": 600, "score": 0.62,
    "low": 0.57, "high": 0.66, "p50_seconds": 0.21, "p95_seconds": 0.6,
    "dollars_per_1000": None, "seconds_left": 135.0,
}  # fmt: skip
TRIAL = {**ROWS, "n": 600, "gain": {"difference": 0.05, "low": 0.01, "high": 0.09}}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def log_of(feed: Callable[[LiveLadder, Clock], None]) -> str:
    sink, clock = io.StringIO(), Clock()
    console = Console(file=sink, force_terminal=False, width=80)
    with LiveLadder(console, clock=clock) as ladder:
        feed(ladder, clock)
    return sink.getvalue()


def screen_of(*events: tuple[str, Mapping[str, Any]], width: int = 80, height: int = 24) -> str:
    """What stands on the screen after these events, drawn at once."""
    sink = io.StringIO()
    console = Console(
        file=sink, force_terminal=True, color_system=None, width=width, height=height,
        legacy_windows=False, _environ={"TERM": "xterm"},
    )  # fmt: skip
    ladder = LiveLadder(console, clock=Clock())
    with ladder, console.capture() as captured:
        for event, fields in events:
            ladder.tell(event, fields)
        console.print(ladder._view())
    return captured.get()


def test_a_log_gets_a_line_per_thing_that_happened() -> None:
    def feed(ladder: LiveLadder, clock: Clock) -> None:
        ladder.tell("step", {"step": "prompt", "index": 2, "total": 4, "estimate_seconds": 90,
                             "estimate_calls": 1800, "estimate_dollars": None})  # fmt: skip
        ladder.tell("skipped", {"step": "retrieval", "reason": "no knowledge"})
        clock.now = 61.0
        ladder.tell("eliminated", {**ROWS, "reason": "cannot catch free"})
        ladder.tell("trial", TRIAL)
        ladder.tell("confirming", {**ROWS, "alpha": 0.025, "opening": 1, "n": 800})
        ladder.tell("confirmed", {**ROWS, "passed": True})
        ladder.tell("note", {"text": "done"})

    assert log_of(feed).splitlines() == [
        "[0:00] step 2 of 4, prompt: about 1 min 30 s, 1,800 calls, dollars unknown",
        "[0:00] retrieval: skipped, no knowledge",
        "[1:01] prompt / constrained: stopped at 120/600, cannot catch free",
        "[1:01] prompt / constrained: 62.0% [57.0\u201366.0] (n = 600), +5.0 points, "
        "0.21 / 0.6 s, dollars unknown",
        "[1:01] prompt / constrained: opening 1 of the sealed test: 800 examples at 2.50% of error",
        "[1:01] prompt / constrained: confirmed, sealed test: 62.0%, at least 57.0%",
        "[1:01] done",
    ]


def test_progress_in_a_log_is_sparse() -> None:
    def feed(ladder: LiveLadder, clock: Clock) -> None:
        ladder.tell("candidate", {"step": "prompt", "name": "constrained", "planned": 600})
        for done in range(600):
            clock.now = done / 10
            ladder.tell("rows", {**ROWS, "done": done})

    lines = log_of(feed).splitlines()
    assert len(lines) == 1
    assert "300/600, 62.0% [57.0\u201366.0], 2:15 left" in lines[0]


def test_a_log_has_no_control_characters_even_from_the_data() -> None:
    log = log_of(lambda ladder, clock: ladder.tell("note", {"text": "\x1b[31mred\r[bold]x"}))
    assert "\x1b" not in log
    assert "[bold]x" in log


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_ladder_fits_the_screen(width: int) -> None:
    names = [f"{name} with a name that is much too long for a line" for name in "abc"]
    events = [("rows", {**ROWS, "name": name}) for name in names]
    screen = screen_of(("note", {"text": "long " * 60}), *events, width=width)
    assert max(len(line.rstrip()) for line in screen.splitlines()) <= width


def test_at_80_columns_every_figure_is_whole() -> None:
    screen = screen_of(("rows", ROWS))
    for figure in ("120/600", "2:15", "62.0% [57.0\u201366.0]", "0.21 / 0.6 s", "unknown"):
        assert figure in screen


def test_a_finished_step_shrinks_to_its_best_candidate() -> None:
    screen = screen_of(
        ("step", {"step": "prompt", "index": 1, "total": 2}),
        ("trial", {**TRIAL, "name": "weak", "score": 0.2}),
        ("trial", {**TRIAL, "name": "strong", "score": 0.9}),
        ("step", {"step": "few_shot", "index": 2, "total": 2}),
    )
    assert "strong" in screen
    assert "weak" not in screen
    assert "step 2 of 2" in screen


def test_more_candidates_than_lines_keep_the_newest_on_the_screen() -> None:
    events = [("rows", {**ROWS, "name": f"candidate {i}"}) for i in range(50)]
    screen = screen_of(("step", {"step": "prompt"}), *events, height=20)
    assert len(screen.splitlines()) <= 20
    assert "candidate 49" in screen


def test_training_shows_losses_whichever_step_the_trainer_counts() -> None:
    fields = {"steps": 100, "epoch": 1.5, "train_loss": 0.51, "held_out_loss": 0.62,
              "tokens_per_second": 812.4, "seconds_left": 60}  # fmt: skip
    start = ("step", {"step": "fine_tune", "index": 4, "total": 4})
    counted = screen_of(start, ("training", {"step": 40, **fields}))
    named = screen_of(start, ("training", {"step": "fine_tune", **fields}))
    assert "training step 40 of 100, epoch 1.5, loss 0.510, held-out 0.620" in counted
    assert "training, epoch 1.5, loss 0.510, held-out 0.620" in named


def test_a_log_says_how_long_a_training_will_take() -> None:
    def trains(ladder: LiveLadder, clock: Clock) -> None:
        ladder.tell("step", {"step": "fine_tune"})
        for second, left in ((31.0, 125.0), (62.0, None)):
            clock.now = second
            ladder.tell("training", {"step": 4, "steps": 9, "epoch": 1.0, "seconds_left": left})

    lines = log_of(trains).splitlines()
    assert lines[-2].endswith(", 2:05 left")
    assert "left" not in lines[-1]


def test_rows_of_the_sealed_test_do_not_replace_the_score_on_dev() -> None:
    screen = screen_of(
        ("trial", TRIAL),
        ("confirming", {**ROWS, "alpha": 0.025, "opening": 1, "n": 800}),
        ("rows", {**ROWS, "done": 7, "planned": 800, "score": 0.111}),
    )
    assert "62.0%" in screen
    assert "11.1%" not in screen
    assert "sealed test: 7/800" in screen


def test_ctrl_c_gives_the_cursor_back_and_passes_on() -> None:
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=True, width=80, _environ={"TERM": "xterm"})
    with pytest.raises(KeyboardInterrupt), LiveLadder(console) as ladder:  # noqa: PT012
        ladder.tell("rows", ROWS)
        raise KeyboardInterrupt
    assert sink.getvalue().rstrip().endswith("\x1b[?25h")


def test_events_of_another_version_are_ignored() -> None:
    assert log_of(lambda ladder, clock: ladder.tell("telepathy", {"step": "prompt"})) == ""


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(EVENTS),
            st.dictionaries(
                st.sampled_from([*ROWS, "reason", "n", "alpha", "passed", "text", "note"]),
                st.none() | st.floats(allow_nan=True) | st.integers(-1, 10**9),
            ),
        ),
        max_size=8,
    )
)
def test_no_event_however_odd_stops_a_climb(events: list[tuple[str, dict[str, Any]]]) -> None:
    named = [(event, {**fields, "step": "prompt", "name": "x"}) for event, fields in events]
    screen_of(*named)
    log_of(lambda ladder, clock: [ladder.tell(*each) for each in named] and None)


def test_what_a_step_tries_and_leaves_out_is_seen() -> None:
    screen = screen_of(
        ("step", {"step": "prompt", "index": 2, "total": 4}),
        ("tried", {"step": "prompt", "score": 0.61, "n": 64}),
        ("left out", {"step": "baseline", "name": "nearest", "why": "too many examples"}),
    )
    assert "tried one: 61.0% (n = 64)" in screen
    assert "baseline / nearest: left out, too many examples" in screen


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"waiting": "another process is training"}, "waiting: another process is training"),
        ({"diverged": "loss is nan"}, "diverged: loss is nan"),
        ({"step": 80, "saving": True}, "saving the weights"),
        ({"step": 20, "resumed": True}, "going on from a checkpoint"),
    ],
)
def test_a_trainer_says_more_than_its_progress(fields: dict[str, Any], said: str) -> None:
    start = ("step", {"step": "fine_tune", "index": 4, "total": 4})
    assert said in screen_of(start, ("training", fields))
