"""Puts docs/demo-output.txt, the terminal output of a real `make demo`, into README.md.

python docs/include_demo_output.py
"""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
OUTPUT = Path(__file__).parent / "demo-output.txt"
SPOT = re.compile(r"(<!-- demo-output -->\n).*?(<!-- /demo-output -->)", re.DOTALL)


def with_output(page: str, output: str) -> str:
    """The page with the output as a text block in its marked spot."""
    block = f"```text\n{output.rstrip()}\n```\n"
    found, times = SPOT.subn(lambda spot: spot[1] + block + spot[2], page)
    if times != 1:
        raise ValueError("README.md has no spot between <!-- demo-output --> and its end")
    return found


if __name__ == "__main__":
    page = with_output(README.read_text("utf-8"), OUTPUT.read_text("utf-8"))
    README.write_text(page, encoding="utf-8")
