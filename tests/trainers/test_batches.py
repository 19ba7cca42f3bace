from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Message
from stepladder.errors import ModelError
from stepladder.trainers.batches import (
    Encoded,
    cut,
    encode,
    epoch_batches,
    fitting,
    padding_share,
    training_plan,
)

lengths = st.lists(st.integers(1, 300), min_size=1, max_size=200)


@given(lengths, st.integers(1, 1000), st.integers(0, 5), st.integers(0, 5))
def test_every_row_is_in_one_batch_that_fits(
    lengths: list[int], tokens: int, seed: int, epoch: int
) -> None:
    batches = epoch_batches(lengths, tokens, seed, epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[index] for index in batch)
        assert padded <= tokens or len(batch) == 1


@given(lengths, st.integers(1, 1000), st.integers(0, 5))
def test_the_same_seed_gives_the_same_plan(lengths: list[int], tokens: int, seed: int) -> None:
    assert training_plan(lengths, tokens, seed, 2.0) == training_plan(lengths, tokens, seed, 2.0)


def test_epochs_are_shuffled_anew() -> None:
    first, second = (epoch_batches([5] * 60, 50, seed=0, epoch=epoch) for epoch in (0, 1))
    assert first != second


def test_rows_of_similar_length_share_a_batch() -> None:
    ragged = [10, 200] * 100
    batches = epoch_batches(ragged, 400, seed=0, epoch=0)
    padded = sum(len(batch) * max(ragged[index] for index in batch) for batch in batches)
    assert padded < 1.1 * sum(ragged)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), max_size=5))
def test_padding_is_what_the_shorter_rows_of_a_part_lack(parts: list[list[int]]) -> None:
    rows = [[Encoded((1,) * length, ()) for length in part] for part in parts]
    padded = sum(max(part) - length for part in parts for length in part)
    whole = sum(len(part) * max(part) for part in parts)
    assert padding_share(rows) == pytest.approx(padded / whole if whole else 0.0)


@given(lengths, st.floats(0.1, 4.0))
def test_a_plan_ends_at_the_asked_epochs(lengths: list[int], epochs: float) -> None:
    plan = training_plan(lengths, 500, 0, epochs)
    done = [epoch for epoch, _ in plan]
    assert done == sorted(done)
    steps_per_epoch = len(epoch_batches(lengths, 500, 0, int(done[-1] - 1e-9)))
    assert abs(done[-1] - epochs) <= 1.0 / steps_per_epoch


def test_an_answer_ends_with_the_end_token_and_the_prompt_is_as_served(tiny: Path) -> None:
    from stepladder.models.local.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tiny)
    messages = (Message("user", "ann: red"),)
    rows, left_out = encode([(messages, "red")], tokenizer, 100)
    assert left_out == 0
    assert rows[0].answer[-1] == tokenizer.eos_id != tokenizer.pad_id
    assert tokenizer.decode(rows[0].answer) == "red"
    assert list(rows[0].prompt) == tokenizer.chat_ids(messages)


def test_long_examples_are_left_out_whole_and_counted(tiny: Path) -> None:
    from stepladder.models.local.tokenizer import load_tokenizer

    said = [((Message("user", "a"),), "b"), ((Message("user", "a" * 200),), "b")]
    rows, left_out = encode(said, load_tokenizer(tiny), 60)
    assert (len(rows), left_out) == (1, 1)
    with pytest.raises(ModelError, match="none of the 1 training examples fits"):
        encode(said[1:], load_tokenizer(tiny), 60)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(1, 12), st.integers(8, 200)
)
def test_batches_by_rows_have_so_many_and_fit_in_parts(
    lengths: list[int], rows: int, tokens: int
) -> None:
    batches = epoch_batches(lengths, tokens, 0, 0, rows)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // rows)
    assert max(map(len, batches)) <= rows
    for batch in batches:
        parts = fitting(batch, lengths, tokens)
        assert sorted(index for part in parts for index in part) == sorted(batch)
        widest = [len(part) * max(lengths[index] for index in part) for part in parts]
        assert all(
            cost <= tokens or len(part) == 1 for cost, part in zip(widest, parts, strict=True)
        )


@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 30))
def test_what_is_cut_keeps_the_prompt_and_the_beginning_of_the_answer(
    prompt: int, answer: int, most: int
) -> None:
    row = Encoded(tuple(range(prompt)), tuple(range(100, 100 + answer)))
    short = cut(row, most)
    assert short.prompt == row.prompt
    assert short.answer == row.answer[: max(0, min(answer, most - prompt))]
