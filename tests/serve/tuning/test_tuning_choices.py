"""What is chosen about a training, and what is told of its data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Message
from stepladder.serve.tuning.counting import count_rows, distribution
from stepladder.serve.tuning.failing import JobFailed
from stepladder.serve.tuning.options import RANKS, choose, steps_of, training_options
from stepladder.serve.tuning.rows import Row
from stepladder.trainers import Pair, TrainingOptions
from stepladder.trainers.batches import training_plan


class Words:
    """A tokenizer of words; a turn has a token of its own."""

    def batch_chat_ids(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        return [
            [0] * sum(1 + len(str(message.content).split()) for message in messages)
            for messages in conversations
        ]

    def encode(self, text: str) -> list[int]:
        return [0] * len(text.split())


def row(line: int, asked: int, said: int) -> Row:
    words = ((Message("user", "w " * asked),), "w " * said)
    return Row(line, 2, (words,))


def test_a_row_is_counted_as_input_and_output() -> None:
    counted = count_rows([row(1, 4, 2), row(2, 9, 3)], Words(), 100, cut_long=True)
    statistics = counted.statistics
    assert counted.tokens == (5 + 3) + (10 + 4)
    assert statistics["billable_tokens"] == counted.tokens
    assert (statistics["input_tokens"]["sum"], statistics["output_tokens"]["sum"]) == (15, 7)
    assert statistics["messages_per_example"]["mean"] == 2
    assert (statistics["examples"], statistics["truncated"], statistics["dropped"]) == (2, 0, 0)


def test_a_long_row_is_cut_for_openai_and_left_out_for_vertex() -> None:
    rows = [row(1, 3, 2), row(7, 5, 20), row(9, 30, 1)]
    cut = count_rows(rows, Words(), 16, cut_long=True)
    assert len(cut.conversations) == 2
    assert (cut.statistics["truncated_rows"], cut.statistics["dropped_rows"]) == ([2], [3])
    assert cut.statistics["billable_tokens"] == 7 + 16
    left_out = count_rows(rows, Words(), 16, cut_long=False)
    assert len(left_out.conversations) == 1
    assert left_out.statistics["truncated"] == 0
    assert left_out.statistics["dropped_rows"] == [2, 3]
    assert "line 7" in left_out.statistics["dropped_reasons"][0]
    assert left_out.statistics["examples"] == 3


def test_of_a_long_conversation_the_turns_that_fit_are_learned() -> None:
    first = ((Message("user", "w"),), "w")
    second = ((Message("user", "w"), Message("assistant", "w"), Message("user", "w " * 30)), "w")
    counted = count_rows([Row(1, 4, (first, second))], Words(), 16, cut_long=True)
    assert counted.conversations == (first,)
    assert counted.statistics["truncated_rows"] == [1]


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=200))
def test_a_distribution_adds_up(values: list[int]) -> None:
    told = distribution(values)
    assert told["sum"] == sum(values)
    assert (told["min"], told["max"]) == (min(values), max(values))
    assert told["min"] <= told["p5"] <= told["median"] <= told["p95"] <= told["max"]
    assert sum(bucket["count"] for bucket in told["buckets"]) == len(values)
    for bucket in told["buckets"]:
        inside = [v for v in values if bucket["left"] <= v < bucket["right"] - 1e-9]
        assert abs(len(inside) - bucket["count"]) <= sum(
            math.isclose(v, bucket["right"]) or math.isclose(v, bucket["left"]) for v in values
        )


def test_of_nothing_there_is_no_distribution() -> None:
    assert distribution([]) == {}


@given(st.integers(1, 100_000))
def test_what_is_left_open_is_chosen_by_the_size_of_the_data(examples: int) -> None:
    choices = choose({}, examples)
    assert 2 <= choices.epochs <= 10
    assert choices.epochs == 10 or choices.epochs == 2 or choices.epochs * examples >= 750
    assert 1 <= choices.batch_size <= 64
    assert choices.learning_rate_multiplier == 1
    assert choices.open == (
        "epochs", "batch_size", "learning_rate_multiplier", "adapter_rank", "seed",
    )  # fmt: skip
    again = choose(choices.named(), examples)
    assert again.named() == choices.named()  # what was settled stays so
    assert again.open == ()


@given(
    st.integers(1, 500),
    st.integers(1, 12),
    st.integers(1, 40),
    st.sampled_from(RANKS),
    st.floats(0.01, 10),
)
def test_what_is_asked_for_is_what_the_trainer_gets(
    examples: int, epochs: int, batch: int, rank: int, rate: float
) -> None:
    asked = {
        "epochs": epochs, "batch_size": batch, "adapter_rank": rank,
        "learning_rate_multiplier": rate, "seed": 7,
    }  # fmt: skip
    choices = choose(asked, examples)
    options = training_options(choices, 512, cut_long=True)
    usual = TrainingOptions()
    assert (options.rank, options.alpha) == (rank, rank * usual.alpha // usual.rank)
    assert options.learning_rate == pytest.approx(usual.learning_rate * rate)
    assert (options.epochs, options.seed, options.max_length) == (epochs, 7, 512)
    assert options.to_the_end
    plan = training_plan(
        [5] * examples, options.tokens_per_batch, 0, options.epochs, options.rows_per_batch
    )
    assert len(plan) == steps_of(choices, examples)
    assert max(len(rows) for _, rows in plan) == min(batch, examples)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"adapter_rank": 3}, "adapter_rank"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 2.5}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"batch_size": -1}, "batch_size"),
        ({"learning_rate_multiplier": 0}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": "auto"}, "learning_rate_multiplier"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_what_cannot_be_is_named(asked: dict[str, Any], named: str) -> None:
    with pytest.raises(JobFailed) as caught:
        choose(asked, 10)
    assert caught.value.param == named


def test_going_on_from_an_adapter_keeps_its_rank() -> None:
    assert choose({}, 10, rank=4).adapter_rank == 4
    assert choose({"adapter_rank": 4}, 10, rank=4).adapter_rank == 4
    with pytest.raises(JobFailed, match="go on from"):
        choose({"adapter_rank": 8}, 10, rank=4)


def test_a_pair_of_answers_is_read_with_each_of_them() -> None:
    pair = Pair((Message("user", "w " * 4),), "w " * 2, "w " * 5)
    counted = count_rows([Row(1, 2, (pair,))], Words(), 100, cut_long=False)
    assert counted.conversations == (pair,)
    assert counted.tokens == (5 + 3) + (5 + 6)
    assert counted.statistics["output_tokens"]["sum"] == 3 + 6
    assert count_rows([Row(1, 2, (pair,))], Words(), 10, cut_long=False).conversations == ()
    assert count_rows([Row(1, 2, (pair,))], Words(), 10, cut_long=True).tokens == (5 + 3) + 10


def test_preferences_are_learned_slowly_and_with_a_beta() -> None:
    chosen = choose({}, 40, method="preference")
    assert (chosen.epochs, chosen.beta) == (3, 0.1)
    assert "beta" in chosen.open
    options = training_options(chosen, 100, cut_long=True)
    assert (options.objective, options.beta) == ("preference", 0.1)
    assert options.learning_rate == TrainingOptions().learning_rate / 10
    own = choose({"beta": 0.5, "epochs": 7}, 40, method="preference")
    assert (own.epochs, own.named()["beta"]) == (7, 0.5)
    assert "beta" not in choose({"beta": 0.5}, 40).named()
    with pytest.raises(JobFailed, match="'beta'"):
        choose({"beta": 3}, 40, method="preference")
