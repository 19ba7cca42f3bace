"""Hints of personal data in text: e-mail addresses, phone numbers, payment cards.

Conservative patterns that seldom cry wolf; names and addresses need a model and are not looked
for. Nothing is removed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["luhn", "personal_data"]

EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b")
# international (+ and country), or North American with separators: never a bare run of digits
PHONE = re.compile(
    r"(?<![\w+.-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,11}"
    r"|\(\d{3}\) ?\d{3}[-. ]\d{4}|\d{3}[-.]\d{3}[-.]\d{4})(?![\w-])"
)
CARD = re.compile(r"(?<![\d.-])[3-6]\d{3}(?:[ -]?\d){9,15}(?![\d-])")


def personal_data(text: str) -> Iterator[str]:
    """The kinds of personal data that `text` seems to hold, each once."""
    if "@" in text and EMAIL.search(text):
        yield "an e-mail address"
    if PHONE.search(text):
        yield "a phone number"
    if any(_is_card(match[0]) for match in CARD.finditer(text)):
        yield "a payment card number"


def luhn(digits: str) -> bool:
    """Whether the check digit of a card number fits (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(d - 9 * (d > 9) for d in doubled)) % 10 == 0


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)
