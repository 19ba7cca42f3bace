"""What is computed in where nobody asked for exactness: this machine's numbers, or those of others.

On a CPU with units for bfloat16 both are run; on one without, float32 is what there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tiny_families import ask

from stepladder.core import Request, Response
from stepladder.models.local import LocalModel, LocalProvider, pipeline, transformers_engine
from stepladder.models.local.pipeline import cache_tokens, properties
from stepladder.models.local.precision import has_bfloat16, openvino_precision
from stepladder.models.local.transformers_engine import TransformersEngine
from stepladder.run_card import machine
from stepladder.testing import check_model

pytest.importorskip("openvino_genai")
torch = pytest.importorskip("torch")

TEXTS = ("ann 1: red", "b", "What is the capital of France?", "one\ntwo\n\n  three", "é 🙂 ß")
ASKED = [ask(text, logprob=True) for text in TEXTS]


@pytest.fixture
def quick(llama: Path, tmp_path: Path) -> Iterator[LocalModel]:
    """As users have it: in whatever is fastest here."""
    with closing(LocalProvider(tmp_path)) as provider:
        yield provider.model(f"local:{llama}")


def answers(model: LocalModel, requests: list[Request]) -> list[Response]:
    made = dict(model.generate(requests))
    return [made[index] for index in range(len(requests))]


def test_it_answers_in_what_is_fastest_here(quick: LocalModel) -> None:
    check_model(quick)
    assert [one.error for one in answers(quick, ASKED)] == [None] * len(ASKED)
    assert properties(exact=False)["KV_CACHE_PRECISION"] == openvino_precision()


def test_without_units_for_bfloat16_it_computes_in_float32(
    quick: LocalModel, model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "openvino_precision", lambda: "f32")
    for ours, exact in zip(answers(quick, ASKED), answers(model, ASKED), strict=True):
        assert (ours.text, ours.finish) == (exact.text, exact.finish)
        assert ours.logprob == pytest.approx(exact.logprob, abs=1e-4)


def test_a_run_says_which_numbers_its_machine_has() -> None:
    """As the processor says it; torch and OpenVINO ask it by ways of their own."""
    told = machine()["bfloat16"]
    if told is None:
        pytest.skip("this system does not say what its processor can do")
    assert told == has_bfloat16(torch.device("cpu")) == (openvino_precision() == "bf16")


@pytest.mark.parametrize(("precision", "tokens"), [("bf16", 2), ("f32", 1)])
def test_the_cache_holds_twice_as_much_in_half_the_bytes(
    precision: str, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "openvino_precision", lambda: precision)
    config = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}
    assert cache_tokens(config, exact=False) == tokens * cache_tokens(config, exact=True)


@pytest.mark.parametrize("able", [True, False])
def test_transformers_hold_the_weights_in_what_the_machine_multiplies_fast(
    able: bool, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers_engine, "has_bfloat16", lambda device: able)
    engine = TransformersEngine(llama, eos_id=0, pad_id=0)
    assert engine._model.dtype == (torch.bfloat16 if able else torch.float32)
