"""Where a benchmark ran: machine, date, commit. Written into every result."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stepladder.run_card import commit, machine

RESULTS = Path(__file__).parent / "results"


def parser(description: str) -> argparse.ArgumentParser:
    """Options that all benchmarks share."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--write", action="store_true", help="write benchmarks/results/NAME.json")
    return found


def where() -> dict[str, Any]:
    """The machine, the moment, the commit (with "+" when there are changes), and its load."""
    here = Path(__file__).parent
    status = ["git", "-C", str(here), "status", "--porcelain", "--", "../src"]
    changed = subprocess.run(status, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": f"{commit() or 'unknown'}{'+' if changed else ''}",
        "load_before": [round(value, 2) for value in os.getloadavg()],
    }


def finish(name: str, result: dict[str, Any], *, write: bool) -> None:
    """Print the result, and keep it when asked."""
    text = json.dumps(result, indent=1)
    print(text)
    if write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
