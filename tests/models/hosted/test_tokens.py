"""Counting tokens without the tokenizer: roughly right at once, nearer after real answers."""

from __future__ import annotations

from pathlib import Path

from stepladder.core import Call, Function, Message, Part, Request, Usage
from stepladder.models.hosted.tokens import ENOUGH_ANSWERS, TokenEstimate, open_estimate


def request(text: str, **more: object) -> Request:
    return Request((Message("user", text),), **more)  # type: ignore[arg-type]


def learned(path: Path, bytes_per_token: int, answers: int = ENOUGH_ANSWERS) -> TokenEstimate:
    estimate = open_estimate("gemini:a/b", path)
    for _ in range(answers):
        estimate.learn(request("x" * 100 * bytes_per_token), Usage("m", 100 + 4))
    return estimate


def test_english_is_about_four_letters_a_token_and_other_scripts_more_by_their_bytes() -> None:
    estimate = TokenEstimate()
    english = estimate.count([Message("user", "How do I top up by card?")])
    greek = estimate.count([Message("user", "Πώς φορτίζω με κάρτα;")])
    assert 8 <= english <= 14
    assert greek > english
    assert estimate.count([]) == 1


def test_pictures_and_calls_count() -> None:
    picture = Message("user", (Part("image", uri="a.png"), Part("text", "what?")))
    call = Message("assistant", "", (Call("look_up", {"city": "Paris"}),))
    assert TokenEstimate().count([picture]) > 250
    assert TokenEstimate().count([call]) > 5


def test_the_ratio_follows_what_answers_reported_and_is_fixed_from_then_on(tmp_path: Path) -> None:
    estimate = learned(tmp_path, 2)
    assert estimate.bytes_per_token == 2.0
    for _ in range(100):
        estimate.learn(request("x" * 800), Usage("m", 104))
    assert estimate.bytes_per_token == 2.0


def test_a_resumed_climb_counts_as_before(tmp_path: Path) -> None:
    learned(tmp_path, 2)
    assert learned(tmp_path, 8).bytes_per_token == 2.0
    assert open_estimate("gemini:a/c", tmp_path).bytes_per_token == 4.0


def test_a_few_answers_or_a_damaged_file_change_nothing(tmp_path: Path) -> None:
    assert learned(tmp_path, 2, answers=ENOUGH_ANSWERS - 1).bytes_per_token == 4.0
    learned(tmp_path, 2)
    for kept in tmp_path.iterdir():
        kept.write_text('{"bytes_per_token": 1e9}', encoding="utf-8")
    assert open_estimate("gemini:a/b", tmp_path).bytes_per_token == 4.0


def test_what_is_more_than_text_teaches_nothing() -> None:
    estimate = TokenEstimate()
    picture = Request((Message("user", (Part("image", uri="a.png"),)),))
    for one in (picture, request("x", functions=(Function("f"),)), request("x", schema={"a": 1})):
        for _ in range(100):
            estimate.learn(one, Usage("m", 5000))
    assert estimate.bytes_per_token == 4.0


def test_outside_of_a_climb_nothing_is_written(tmp_path: Path, monkeypatch: object) -> None:
    monkeypatch.chdir(tmp_path)  # type: ignore[attr-defined]
    learned(Path(), 2)
    assert list(tmp_path.iterdir()) == []
