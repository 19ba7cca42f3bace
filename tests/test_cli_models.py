"""`stepladder models`: the user's tables, filters, and mistakes in one line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stepladder.cli import app
from stepladder.errors import StepladderError

MINE = """
[[model]]
model = "house:small"
context_tokens = 32_000
read_on = 2026-11-20
source = "the platform team"
"""
PRICE = """
[[tokens]]
model = "house:small"
input = 0.2
output = 0.4
read_on = 2026-11-20
source = "the platform team"
"""


def asked(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["models", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_users_own_models_are_listed_with_their_prices(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MINE, encoding="utf-8")
    (tmp_path / "p.toml").write_text(PRICE, encoding="utf-8")
    files = ("--models", tmp_path / "m.toml", "--prices", tmp_path / "p.toml")
    (row,) = json.loads(asked("--provider", "house", "--json", *files))
    assert (row["context_tokens"], row["input_dollars_per_million"]) == (32_000, 0.2)
    assert "house:" in asked(*files)


def test_only_what_can_be_tuned() -> None:
    rows = json.loads(asked("--tunable", "--json"))
    assert rows
    assert all(row["tunable"] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--provider", "house"), "no models of 'house' are known"),
        (("--models", "none.toml"), "'none.toml' cannot be read"),
    ],
)
def test_a_mistake_is_told(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(StepladderError, match=message):
        asked(*arguments)
