"""What `check` found, for people: the same said once, with its first places."""

from __future__ import annotations

from stepladder.data.checks import CheckReport
from stepladder.data.findings import Finding
from stepladder.report.findings import check_text


def test_what_says_the_same_is_said_once_with_its_first_places() -> None:
    phone = [
        Finding("personal", "seems to hold a phone number", f"train.jsonl:{line}", "replace it")
        for line in (3, 1, 4, 15, 9)
    ]
    one = Finding("personal", "seems to hold a card number", "dev.jsonl:2", "replace it")
    long = Finding("long", "is long", "test.jsonl:7", count=3)
    small = Finding("test", "the test set is small")
    text = check_text(CheckReport((), (phone[0], one, *phone[1:], long, small), {}))
    assert text.splitlines() == [
        "warnings:",
        "  train.jsonl:3, train.jsonl:1, train.jsonl:4: seems to hold a phone number "
        "(and 2 more like it)",
        "      replace it",
        "  dev.jsonl:2: seems to hold a card number",
        "      replace it",
        "  test.jsonl:7: is long (and 2 more like it)",
        "  the test set is small",
        "ready to climb",
    ]
