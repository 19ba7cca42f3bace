"""Near-duplicates against counting every pair, and personal data against known cases."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.data.near import NEAR, jaccard, near_pairs, shingles
from stepladder.data.personal import luhn, personal_data

WORDS = "the card payment failed yesterday in town because my phone was lost and nobody told us why"


def sentence(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(WORDS.split()) + str(draw.randint(0, 99)) for _ in range(words))


def brute(texts: list[str]) -> set[tuple[int, int]]:
    sets = [set(shingles(text).tolist()) for text in texts]
    return {
        (i, j)
        for (i, a), (j, b) in itertools.combinations(enumerate(sets), 2)
        if len(a & b) >= NEAR * len(a | b)
    }


def test_all_near_pairs_and_no_others_are_found() -> None:
    draw = random.Random(1)
    texts = []
    for _ in range(150):
        text = sentence(draw, draw.randint(4, 60))
        half = " ".join(
            text.split()[: 3 * len(text.split()) // 4]
        )  # alike, yet not nearly the same
        texts += [text, text.replace(" ", "  ", 1).upper(), text + " " + sentence(draw, 1), half]
    expected = brute(texts)
    assert len(expected) > 250
    found = {(i, j) for i, j, _ in near_pairs(texts)}
    assert found <= expected
    # each pair is missed with probability 0.0007 by design, more in very short texts
    assert len(found) >= 0.99 * len(expected)


@given(st.lists(st.text(max_size=30), max_size=6))
@settings(deadline=None, max_examples=60)
def test_what_is_found_is_true_and_in_order(texts: list[str]) -> None:
    pairs = list(near_pairs(texts))
    assert {(i, j) for i, j, _ in pairs} <= brute(texts)
    assert len({(i, j) for i, j, _ in pairs}) == len(pairs)
    assert all(i < j for i, j, _ in pairs)
    same = {(i, j) for i, j in itertools.combinations(range(len(texts)), 2) if texts[i] == texts[j]}
    assert same <= {(i, j) for i, j, _ in pairs}


def test_a_bucket_of_thousands_is_cheap_and_still_chained() -> None:
    pairs = list(near_pairs(["the very same text of some length"] * 2000))
    assert len(pairs) < 2000 * 17
    assert {j for _, j, _ in pairs} == set(range(1, 2000))


def test_similarity_is_symmetric_and_one_for_the_same() -> None:
    a, b = shingles("Where is my card?"), shingles("where is MY card")
    assert jaccard(a, b) == 1.0
    assert jaccard(shingles("abcdefgh"), shingles("12345678")) == 0.0
    assert list(near_pairs([])) == list(near_pairs(["one"])) == []


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to jo.doe+x@mail.example.org please", ["an e-mail address"]),
        ("a@b, @home, 3@4.5", []),
        ("call +44 20 7946 0958 now", ["a phone number"]),
        ("call (555) 010-9999", ["a phone number"]),
        ("555-010-9999.", ["a phone number"]),
        ("invoice 18386/103/T0314 of 03-05-2018, RM 19.90", []),
        ("order 5550109999", []),
        ("pay with 4111 1111 1111 1111 today", ["a payment card number"]),
        ("pay with 4111-1111-1111-1112 today", []),
        ("0000 0000 0000 0000", []),
        ("mail a@b.example or +49 30 1234567", ["an e-mail address", "a phone number"]),
    ],
)
def test_personal_data_is_hinted_at_conservatively(text: str, kinds: list[str]) -> None:
    assert list(personal_data(text)) == kinds


@given(st.text("0123456789", min_size=12, max_size=18), st.integers(1, 9))
@settings(deadline=None)
def test_a_check_digit_catches_every_single_slip(digits: str, slip: int) -> None:
    fitting = next(f"{digits}{d}" for d in range(10) if luhn(f"{digits}{d}"))
    for place in range(len(fitting)):
        wrong = str((int(fitting[place]) + slip) % 10)
        assert not luhn(fitting[:place] + wrong + fitting[place + 1 :])
