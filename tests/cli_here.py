"""The command line in this process, through the door that the console script uses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

__all__ = ["Result", "Stepladder", "run_here"]


class Result(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def record(self) -> Any:
        return json.loads(self.out)


Stepladder = Callable[..., Result]


def run_here(
    arguments: tuple[object, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Result:
    """Take the fixture `stepladder` for it. Only a bug, which exits with 3, has a traceback."""
    from stepladder.cli import main

    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["stepladder", *map(str, arguments)])
    code: object = 0
    try:
        main()
    except SystemExit as done:
        code = done.code
    out, err = capsys.readouterr()
    assert code == 3 or "Traceback" not in err, err
    return Result(int(str(code or 0)), out, err)
