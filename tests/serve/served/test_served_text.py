"""Tokens to text: whatever comes in whatever pieces, the pieces are the whole decoding, cut."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.fake_live import FakeTokenizer
from stepladder.models.live import Token
from stepladder.models.local.tokenizer import LocalTokenizer
from stepladder.serve.served.text import Said, Speech

ALPHABET = "ab c€🎉é\n"
TEXTS = st.text(ALPHABET, max_size=20)
STOPS = st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=3)


def byte_level() -> LocalTokenizer:
    """A byte-level BPE with a special token and an added word that is no special one."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<end>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat, the 🎉 café €"] * 4, trainer)
    tokenizer.add_tokens([AddedToken("a word", special=False)])
    return local(tokenizer)


def sentence_piece() -> LocalTokenizer:
    """A vocabulary as SentencePiece writes it: spaces as ▁, and bytes for what it lacks."""
    from tokenizers import Tokenizer, decoders, models

    words = ["<unk>", "<end>", "▁", "▁the", "▁cat", "a", "b", "c", "é", "▁▁"]
    words += [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<end>"])
    return local(tokenizer)


def local(tokenizer: Any) -> LocalTokenizer:
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    return LocalTokenizer(fast, fast.eos_token_id, fast.eos_token_id, 1000, ("<end>",))


@cache
def made(kind: str) -> Any:
    """Once for all tests: hypothesis asks a thousand times."""
    return {"byte": FakeTokenizer, "bpe": byte_level, "piece": sentence_piece}[kind]()


def size(tokenizer: Any) -> int:
    return 260 if isinstance(tokenizer, FakeTokenizer) else len(tokenizer.tokenizer)


def said(
    tokenizer: Any, ids: Sequence[int], stops: Sequence[str] = (), *, step: int = 1
) -> tuple[list[Said], Speech]:
    speech = Speech(tokenizer, stops, tokens=True)
    pieces = []
    for start in range(0, len(ids), step):
        pieces.append(speech.push([Token(id, -1.0) for id in ids[start : start + step]]))
    return [*pieces, speech.close()], speech


def cut(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """The text before the stop string that is complete first, read character by character."""
    for end in range(len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop):
                return text[: end - len(stop)], stop
    return text, None


@pytest.mark.parametrize("kind", ["byte", "bpe", "piece"])
@given(data=st.data())
def test_the_pieces_are_the_whole_decoding(kind: str, data: st.DataObject) -> None:
    tokenizer = made(kind)
    ids = data.draw(st.lists(st.integers(0, size(tokenizer) - 1), max_size=60))
    pieces, _ = said(tokenizer, ids, step=data.draw(st.integers(1, 5)))
    assert "".join(piece.text for piece in pieces) == tokenizer.decode(ids)
    assert [token.id for piece in pieces for token in piece.tokens] == ids


@pytest.mark.parametrize("kind", ["byte", "bpe", "piece"])
@given(text=TEXTS, stops=STOPS, step=st.integers(1, 5))
def test_the_text_is_cut_before_the_stop_that_is_complete_first(
    kind: str, text: str, stops: list[str], step: int
) -> None:
    tokenizer = made(kind)
    ids = tokenizer.encode(text)
    expected, stop = cut(tokenizer.decode(ids), stops)
    pieces, speech = said(tokenizer, ids, stops, step=step)
    assert "".join(piece.text for piece in pieces) == expected == speech.text
    assert speech.stopped == stop


@given(text=TEXTS)
def test_no_piece_ends_within_a_character(text: str) -> None:
    pieces, _ = said(FakeTokenizer(), list(text.encode()))
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(piece.text for piece in pieces)


def test_an_open_character_at_the_end_is_told_as_decoding_tells_it() -> None:
    ids = list("a🎉".encode()[:-1])
    pieces, _ = said(FakeTokenizer(), ids)
    assert [piece.text for piece in pieces] == ["a", "", "", "", "\N{REPLACEMENT CHARACTER}"]


def test_what_may_become_a_stop_is_held_back_no_longer_than_it_may() -> None:
    pieces, _ = said(FakeTokenizer(), list(b"xababc"), ["abc"])
    assert [piece.text for piece in pieces] == ["x", "", "", "ab", "", "", ""]


def test_tokens_come_with_the_text_that_they_begin_in() -> None:
    pieces, _ = said(FakeTokenizer(), list("é!END?".encode()), ["END"])
    shown = [(piece.text, [token.data for token in piece.tokens]) for piece in pieces]
    assert shown[:3] == [("", []), ("é", [b"\xc3", b"\xa9"]), ("!", [b"!"])]
    assert shown[3:] == [("", [])] * 5, "of what is cut off, no token is told"


def test_a_token_is_told_with_its_bytes_and_those_it_was_chosen_from() -> None:
    speech = Speech(FakeTokenizer(), tokens=True)
    (token,) = speech.push([Token(97, -0.5, ((97, -0.5), (0xE2, -2.0)))]).tokens
    assert (token.text, token.data, token.logprob) == ("a", b"a", -0.5)
    assert [(one.text, one.data) for one in token.top] == [
        ("a", b"a"),
        ("\N{REPLACEMENT CHARACTER}", b"\xe2"),
    ]


@pytest.mark.parametrize("kind", ["bpe", "piece"])
@given(data=st.data())
def test_the_bytes_of_tokens_are_the_text(kind: str, data: st.DataObject) -> None:
    tokenizer = made(kind)
    ids = data.draw(st.lists(st.integers(2, size(tokenizer) - 1), max_size=20))
    together = b"".join(tokenizer.token_bytes(id) for id in ids)
    decoded = tokenizer.decode(ids)
    if kind == "piece":  # its decoder takes one space off the beginning
        together = together.removeprefix(b" ")
        if "\N{REPLACEMENT CHARACTER}" in decoded:  # and is wrong of whole runs of bytes
            return
    assert together.decode(errors="replace") == decoded


def test_a_completion_begins_as_the_model_begins_and_never_with_nothing() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_level()
    assert tokenizer.completion_ids("") == [tokenizer.eos_id]
    assert tokenizer.completion_ids("ab") == tokenizer.encode("ab")
    tokenizer.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<end> $A", special_tokens=[("<end>", tokenizer.eos_id)]
    )
    assert tokenizer.completion_ids("ab") == [tokenizer.eos_id, *tokenizer.encode("ab")]
