"""Without the packages of the extras: what to install is said, and the nouns work all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stepladder.database import open_database
from stepladder.errors import MissingExtra


@pytest.mark.parametrize(
    ("package", "url", "extra"),
    [
        ("sqlalchemy", None, "serve"),
        ("alembic", "sqlite:///x.sqlite", "serve"),
        ("psycopg", "postgresql://here/x", "postgres"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    package: str, url: str | None, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(MissingExtra) as told:
        open_database(url)
    assert told.value.hint == f"pip install 'stepladder[{extra}]'"
    assert repr(package) in told.value.message


def test_the_records_need_none_of_them() -> None:
    program = (
        "import stepladder.database.records, stepladder.database, sys\n"
        "print([m for m in ('sqlalchemy', 'alembic', 'psycopg') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
