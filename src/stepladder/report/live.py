"""The live ladder: what a climb is doing right now, fed by its events (`core.Tell`).

On a terminal it redraws a small table in place; elsewhere (a log, CI) it prints sparse lines. It
only watches: it never touches the climb, and an event it does not know is ignored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..core import Json
from .words import (
    UNKNOWN,
    count,
    dollars,
    duration,
    finite,
    interval,
    latency,
    one_line,
    percent,
    points,
    who_of,
)

__all__ = ["LiveLadder"]

Fields = Mapping[str, Json]
WHOLE = 800  # characters of a sentence in a log: its end is often the cure
SPARSE_SECONDS = 30.0  # between two progress lines of the same candidate in a log


@dataclass
class _Line:
    """What is known of one candidate, or of a step before it has any."""

    step: str
    name: str
    status: str = "waiting"  # waiting, building, training, running, done, stopped, skipped, sealed
    facts: dict[str, Json] = field(default_factory=dict)
    text: str = ""
    told: float = 0.0


class LiveLadder:
    """A context manager that shows a climb; `ladder.tell` is the `Tell` to give to it.

    Args:
        console: where to draw; by default standard error, so that `--json` output stays clean.
        clock: seconds, monotonic; for tests.
    """

    def __init__(
        self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._lock = RLock()  # events may come from worker threads while the screen refreshes
        self._lines: dict[tuple[str, str], _Line] = {}
        self._step, self._place = "", "starting"
        self._notes: list[str] = []
        self._live: Live | None = None
        self._started = clock()

    def __enter__(self) -> LiveLadder:
        self._started = self._clock()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._view,
                console=self.console,
                refresh_per_second=4,
                vertical_overflow="crop",
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()  # also after Ctrl-C: the cursor comes back, the last state stays
            self._live = None

    def tell(self, event: str, fields: Fields) -> None:
        """Take one event of the climb; the table of events ends this module."""
        update = _EVENTS.get(event)
        if update is None:
            return
        with self._lock:
            said = update(self, fields)
            if said and self._live is None:
                self.console.print(Text(said), soft_wrap=True)

    # --- what each event changes; the text is what a log gets, empty where it stays silent -------

    def _on_step(self, fields: Fields) -> str:
        self._step = str(fields.get("step", ""))
        line = self._line(fields, status="building")
        line.text = _estimate(fields)
        self._place = f"step {fields.get('index', '?')} of {fields.get('total', '?')}"
        return f"[{self._elapsed()}] {self._place}, {self._step}: {line.text}"

    def _on_skipped(self, fields: Fields) -> str:
        line = self._line(fields, status="skipped")
        line.text = one_line(str(fields.get("reason", "")), WHOLE)
        return f"[{self._elapsed()}] {line.step}: skipped, {line.text}"

    def _on_building(self, fields: Fields) -> str:
        line = self._line(fields, status="building")
        line.text = one_line(str(fields.get("note") or ""), WHOLE) or line.text
        return self._sparsely(line, f"building: {line.text}")

    def _on_training(self, fields: Fields) -> str:
        if not isinstance(fields.get("step"), str):  # a trainer counts its own steps under "step"
            fields = {**fields, "at": fields.get("step"), "step": self._step}
        line = self._line(fields, status="training")
        line.facts |= fields
        line.text = _training(fields)
        return self._sparsely(line, line.text + _left(fields))

    def _on_tried(self, fields: Fields) -> str:
        line = self._line(fields, status="building")
        line.text = f"tried one: {percent(fields.get('score'))} (n = {count(fields.get('n'))})"
        return self._sparsely(line, line.text)

    def _on_left_out(self, fields: Fields) -> str:
        who = who_of(str(fields.get("step", "")), str(fields.get("name", "")))
        return self._on_note({"text": f"{who}: left out, {fields.get('why', '')}"})

    def _on_candidate(self, fields: Fields) -> str:
        line = self._line(fields, status="running")
        line.facts |= {"done": 0, **fields}
        line.told = self._clock()
        return ""

    def _on_rows(self, fields: Fields) -> str:
        line = self._line(fields)
        if line.status == "sealed":  # what is seen of the test does not replace what dev said
            said = f"{count(fields.get('done'))}/{count(fields.get('planned'))}"
            line.text = f"sealed test: {said}{_left(fields)}"
            return self._sparsely(line, line.text)
        line.status = "running"
        line.facts |= fields
        return self._sparsely(line, f"{_progress(line)}, {_score(line.facts)}{_left(fields)}")

    def _on_eliminated(self, fields: Fields) -> str:
        line = self._line(fields, status="stopped")
        line.facts |= fields
        line.text = one_line(str(fields.get("reason", "")), WHOLE)
        return f"[{self._elapsed()}] {_who(line)}: stopped at {_progress(line)}, {line.text}"

    def _on_trial(self, fields: Fields) -> str:
        line = self._line(fields)
        line.facts |= {"done": fields.get("n"), **fields, "seconds_left": None}
        if line.status != "stopped":
            line.status = "done"
        return f"[{self._elapsed()}] {_who(line)}: {_result(line.facts)}"

    def _on_confirming(self, fields: Fields) -> str:
        line = self._line(fields, status="sealed")
        line.text = (
            f"opening {fields.get('opening', '?')} of the sealed test: {count(fields.get('n'))} "
            f"examples at {percent(fields.get('alpha'), 2)} of error"
        )
        return f"[{self._elapsed()}] {_who(line)}: {line.text}"

    def _on_confirmed(self, fields: Fields) -> str:
        line = self._line(fields, status="confirmed" if fields.get("passed") else "rejected")
        line.text = (
            f"sealed test: {percent(fields.get('score'))}, at least {percent(fields.get('low'))}"
        )
        return f"[{self._elapsed()}] {_who(line)}: {line.status}, {line.text}"

    def _on_note(self, fields: Fields) -> str:
        note = one_line(str(fields.get("text", "")), WHOLE)
        self._notes = [*self._notes[-2:], note]
        return f"[{self._elapsed()}] {note}"

    # --- drawing --------------------------------------------------------------------------------

    def _view(self) -> RenderableType:
        with self._lock:
            table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, expand=True)
            table.add_column("ladder", ratio=1, no_wrap=True, overflow="ellipsis")
            for heading, width in _COLUMNS.items():
                table.add_column(heading, justify="right", no_wrap=True, min_width=width)
            for line in self._shown():
                table.add_row(*_row(line))
            skipped = [f"- {line.step}: skipped, {line.text}" for line in self._skipped()]
            busy = [line.text for line in self._busy() if line.text]
            under = [Text(text, "dim", no_wrap=True, overflow="ellipsis")
                     for text in (*skipped, *busy[-2:], *self._notes)]  # fmt: skip
            clock = Text(
                f"{self._place}, {self._elapsed()} so far; Ctrl-C stops, the same command goes on",
                "dim",
                no_wrap=True,
                overflow="ellipsis",
            )
            return Group(table, *under, clock)

    def _shown(self) -> list[_Line]:
        """The best of each finished step, all of the running one; as many as the screen holds."""
        shown: list[_Line] = []
        for step in dict.fromkeys(line.step for line in self._lines.values()):
            mine = [line for line in self._lines.values() if line.step == step]
            if mine[0].status == "skipped":
                continue
            named = [line for line in mine if line.name] or mine
            shown += named if step == self._step else [max(named, key=_rank)]
        room = max(4, self.console.size.height - 8)
        return shown[-room:]

    def _skipped(self) -> list[_Line]:
        return [line for line in self._lines.values() if line.status == "skipped"]

    def _busy(self) -> list[_Line]:
        busy = ("building", "training", "sealed", "confirmed", "rejected")
        return [line for line in self._lines.values() if line.status in busy]

    def _line(self, fields: Fields, status: str | None = None) -> _Line:
        key = str(fields.get("step", "")), str(fields.get("name", ""))
        line = self._lines.setdefault(key, _Line(*key, told=self._clock()))
        line.status = status or line.status
        if key[1]:
            self._lines.pop((key[0], ""), None)  # the step's own line gives way to its candidates
        return line

    def _sparsely(self, line: _Line, text: str) -> str:
        now = self._clock()
        if now - line.told < SPARSE_SECONDS:
            return ""
        line.told = now
        return f"[{self._elapsed()}] {_who(line)}: {text}"

    def _elapsed(self) -> str:
        return _clock(self._clock() - self._started)


_COLUMNS = {"done": 7, "left": 5, "score": 17, "p50 / p95": 13, "$/1,000": 7}  # least widths
_MARKS = {
    "waiting": (" ", ""), "building": ("…", "cyan"), "training": ("…", "cyan"),
    "running": (">", "cyan"), "done": ("✓", ""), "stopped": ("✗", "dim"),
    "sealed": ("◆", "cyan"), "confirmed": ("★", "bold green"), "rejected": ("◇", "yellow"),
}  # fmt: skip


def _row(line: _Line) -> tuple[Text, ...]:
    mark, style = _MARKS[line.status]
    facts = line.facts
    name = Text(f"{mark} {_who(line)}", style=style)
    score = Text("")
    if finite(facts.get("score")) is not None:
        score = Text(_score(facts), style=style)
    money = dollars(facts.get("dollars_per_1000")) if facts.get("score") is not None else ""
    times = facts.get("p50_seconds"), facts.get("p95_seconds")
    speed = latency(*times) if any(each is not None for each in times) else ""
    busy = line.status in ("running", "training")
    left = _clock(facts.get("seconds_left")) if busy else ""
    return name, Text(_progress(line)), Text(left), score, Text(speed), Text(money)


def _who(line: _Line) -> str:
    return who_of(line.step, line.name)


def _rank(line: _Line) -> tuple[bool, bool, float]:
    sealed = line.status in ("confirmed", "sealed", "rejected")
    return sealed, line.status == "done", finite(line.facts.get("score")) or 0.0


def _progress(line: _Line) -> str:
    done, planned = line.facts.get("done"), line.facts.get("planned")
    if done is None:
        return line.status if line.status in ("building", "training") else ""
    return f"{count(done)}/{count(planned)}" if planned else count(done)


def _left(fields: Fields) -> str:
    """How long it will still take, where that is known."""
    seconds = finite(fields.get("seconds_left"))
    return "" if seconds is None else f", {_clock(seconds)} left"


def _clock(seconds: float | None) -> str:
    """A stretch of time as on a clock, 2:15 or 1:02:15, because it must not change its width."""
    if seconds is None or finite(seconds) is None:
        return "?"
    hours, rest = divmod(int(max(0.0, seconds)), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _score(facts: Fields) -> str:
    low, high = finite(facts.get("low")), finite(facts.get("high"))
    if low is None or high is None:
        return percent(facts.get("score"))
    return f"{percent(facts.get('score'))} [{interval(low, high)[:-1]}]"


def _result(facts: Fields) -> str:
    gain = facts.get("gain")
    difference = gain.get("difference") if isinstance(gain, Mapping) else gain
    gained = f", {points(difference)} points" if difference is not None else ""
    times = latency(facts.get("p50_seconds"), facts.get("p95_seconds"))
    money = dollars(facts.get("dollars_per_1000"))
    cost = f"{money} per 1,000" if money != UNKNOWN else "dollars unknown"
    return f"{_score(facts)} (n = {count(facts.get('n'))}){gained}, {times}, {cost}"


def _estimate(fields: Fields) -> str:
    calls, money = fields.get("estimate_calls"), fields.get("estimate_dollars")
    seconds = fields.get("estimate_seconds")
    parts = ["time unknown" if seconds is None else f"about {duration(seconds)}"]
    if calls is not None:
        parts.append(f"{count(calls)} call{'s' if calls != 1 else ''}")
    parts.append(dollars(money) if money is not None else "dollars unknown")
    return ", ".join(parts)


def _training(fields: Fields) -> str:
    for key, said in _TRAINING.items():
        if fields.get(key):
            return said.format(one_line(str(fields[key])))
    what = f"{fields['stage']}: training" if fields.get("stage") else "training"
    parts = [what]
    if fields.get("at") is not None:
        parts = [f"{what} step {count(fields['at'])} of {count(fields.get('steps'))}"]
    if fields.get("epoch") is not None:
        parts.append(f"epoch {fields['epoch']:.1f}")
    for key, name in (("train_loss", "loss"), ("held_out_loss", "held-out")):
        if finite(fields.get(key)) is not None:
            parts.append(f"{name} {fields[key]:.3f}")
    if finite(fields.get("tokens_per_second")) is not None:
        parts.append(f"{count(fields['tokens_per_second'])} tokens/s")
    return ", ".join(parts)


_TRAINING = {  # what a trainer says besides its progress
    "waiting": "waiting: {}",
    "diverged": "diverged: {}",
    "reference": "asking the untuned model about {} pairs",
    "saving": "saving the weights",
    "resumed": "going on from a checkpoint",
}
_EVENTS: Mapping[str, Callable[[LiveLadder, Fields], str]] = {
    "step": LiveLadder._on_step,
    "skipped": LiveLadder._on_skipped,
    "building": LiveLadder._on_building,
    "training": LiveLadder._on_training,
    "tried": LiveLadder._on_tried,
    "left out": LiveLadder._on_left_out,
    "candidate": LiveLadder._on_candidate,
    "rows": LiveLadder._on_rows,
    "eliminated": LiveLadder._on_eliminated,
    "trial": LiveLadder._on_trial,
    "confirming": LiveLadder._on_confirming,
    "confirmed": LiveLadder._on_confirmed,
    "note": LiveLadder._on_note,
    "stopping": LiveLadder._on_note,
}
