"""What a training is estimated to hold: more of everything takes more, and methods differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.errors import ModelError
from stepladder.trainers import TrainingOptions
from stepladder.trainers.memory import Shape, machine_bytes, shape_of, training_bytes

SMALL = Shape(135_000_000, ((576, 576), (1536, 576)) * 60, 30, 576, 1536, 9, 49152)


@given(
    st.sampled_from(["lora", "qlora", "full", "prompt", "freeze"]),
    st.integers(1, 4096),
    st.integers(1, 2048),
)
def test_more_tokens_take_more_and_computing_twice_less(
    method: str, tokens: int, longest: int
) -> None:
    options = TrainingOptions(
        method=method,  # type: ignore[arg-type]
        tokens_per_batch=tokens,
        layers=5,
        virtual_tokens=16,
    )
    now = training_bytes(SMALL, options, longest)
    assert training_bytes(SMALL, replace(options, tokens_per_batch=2 * tokens), longest) >= now
    assert training_bytes(SMALL, options, 2 * longest) >= now
    assert training_bytes(SMALL, replace(options, checkpointing=True), longest) <= now


def test_four_bits_take_least_and_all_weights_most() -> None:
    took = [
        training_bytes(SMALL, TrainingOptions(method=method, layers=8), 128)
        for method in ("qlora", "lora", "full")
    ]
    assert took == sorted(took)
    assert 2e9 < took[1] < 6e9


def test_the_shape_is_read_from_the_files_heads(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    shape = shape_of(tiny)
    assert (shape.layers, shape.hidden, shape.wide, shape.heads) == (2, 64, 128, 4)
    assert len(shape.linear) == 14
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"model.safetensors is damaged"):
        shape_of(tmp_path)


def test_a_machine_has_memory() -> None:
    assert machine_bytes("cpu") > 1e8
