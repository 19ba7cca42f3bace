"""Every method of tuning local weights: it learns, and what is served answers as what was trained.

On a tiny random model; the engines that serve are the ones of the product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepladder.core import Message, Request
from stepladder.errors import MissingExtra, ModelError
from stepladder.trainers import Method, TrainedModel, TrainingJob, job_hash
from stepladder.trainers.local import LocalTrainer, finished_model

from .tiny import make_job, make_model

pytest.importorskip("torch")
pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

RATES: Mapping[Method, float] = {
    "lora": 1e-2,
    "dora": 1e-2,
    "rslora": 1e-2,
    "qlora": 1e-2,
    "prompt": 1e-1,
    "prefix": 5e-2,
    "freeze": 5e-3,
    "full": 5e-3,
}
ASKED = (Message("user", "cleo 102: blue"),)


def quiet(event: str, fields: Mapping[str, Any]) -> None:
    assert event == "training"


def job_of(method: Method, folder: Path, **options: object) -> TrainingJob:
    given: dict[str, object] = {"rank": 8, "alpha": 16, "epochs": 4.0, "tokens_per_batch": 128}
    if method in ("prompt", "prefix"):
        given["virtual_tokens"] = 8
    if method == "freeze":
        given["layers"] = 1
    given.update(options)
    return make_job(folder, method=method, learning_rate=RATES[method], **given)


def held_out(model: TrainedModel) -> list[float]:
    return [one.held_out_loss for one in model.learning if one.held_out_loss is not None]


@pytest.mark.parametrize("method", [name for name in RATES if name not in ("lora", "full")])
def test_each_method_learns_and_loses_nothing_when_saved(
    tiny: Path, tmp_path: Path, method: Method
) -> None:
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    trained = LocalTrainer().train(job_of(method, tiny), tmp_path, quiet)
    losses = held_out(trained)
    # a random model has learned nothing that vectors before its input could call up
    share = 0.98 if method in ("prompt", "prefix") else 0.9
    assert min(losses) < share * losses[0]
    # four bits are not what is served, so that there the saved model differs a little
    close = 0.15 if method == "qlora" else 0.02
    assert trained.facts["held_out_loss_merged"] == pytest.approx(min(losses), rel=close)
    assert trained.facts["model_bytes"] > 100_000
    assert ("adapter_bytes" in trained.facts) == (method != "freeze")


@pytest.fixture
def by_prompt(tiny: Path, tmp_path: Path) -> TrainedModel:
    return LocalTrainer().train(job_of("prompt", tiny), tmp_path, quiet)


def trained_logits(base: Path, adapter: Path, ids: list[int]) -> Any:
    """The logits of the last token by PEFT itself."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    grown = PeftModel.from_pretrained(model, adapter).eval()
    with torch.no_grad():
        return grown(torch.tensor([ids])).logits[0, -1]


def test_learned_vectors_are_new_tokens_of_the_served_model(
    tiny: Path, by_prompt: TrainedModel
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from stepladder.models.local.tokenizer import load_tokenizer

    folder = by_prompt.folder / "model"
    plain = load_tokenizer(tiny).chat_ids(ASKED)
    ids = load_tokenizer(folder).chat_ids(ASKED)
    assert ids[8:] == plain
    served = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = served(torch.tensor([ids])).logits[0, -1]
    expected = trained_logits(tiny, by_prompt.folder / "adapter", plain)
    assert torch.allclose(logits[: len(expected)], expected, atol=2e-3)
    assert load_tokenizer(folder).decode([*ids[:8], *load_tokenizer(tiny).encode("red")]) == "red"


def answered(artifacts: Path, name: str) -> tuple[str, int]:
    """What the product's engine says, and the tokens of the prompt."""
    from stepladder.models.local import LocalProvider

    provider = LocalProvider(artifacts, exact=True)
    try:
        request = Request(ASKED, max_output_tokens=6)
        ((_, response),) = provider.model(name).generate([request])
        assert response.error is None
        return response.text, response.usage.input_tokens or 0
    finally:
        provider.close()


def greedy(base: Path, adapter: Path, tokens: int) -> str:
    from stepladder.models.local.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(base)
    ids = tokenizer.chat_ids(ASKED)
    said: list[int] = []
    for _ in range(tokens):
        best = int(trained_logits(base, adapter, [*ids, *said]).argmax())
        if best == tokenizer.eos_id:
            break
        said.append(best)
    return tokenizer.decode(said)


def test_the_engine_serves_a_prompt_tuned_model(tiny: Path, by_prompt: TrainedModel) -> None:
    pytest.importorskip("openvino_genai")
    text, tokens = answered(by_prompt.folder.parent, by_prompt.name)
    assert text == greedy(tiny, by_prompt.folder / "adapter", 6)
    from stepladder.models.local.tokenizer import load_tokenizer

    assert tokens == 8 + len(load_tokenizer(tiny).chat_ids(ASKED))


def test_tokens_that_only_prompts_hold_are_never_said(tmp_path: Path) -> None:
    """A head that is not the embedding gets rows of zeros, and even large ones change nothing."""
    pytest.importorskip("openvino_genai")
    from safetensors.torch import load_file, save_file

    folder = make_model(tmp_path / "untied", tied=False)
    trained = LocalTrainer().train(job_of("prompt", folder), tmp_path / "run", quiet)
    expected = greedy(folder, trained.folder / "adapter", 6)
    assert answered(tmp_path / "run", trained.name)[0] == expected
    path = trained.folder / "model" / "model.safetensors"
    weights = load_file(path)
    rows = weights["lm_head.weight"]
    assert not rows[-8:].any()
    rows[-1] = 1000 * rows[5]
    rows[-2] = -1000 * rows[5]  # one of the two is more probable than any word
    save_file(weights, path, metadata={"format": "pt"})
    assert answered(tmp_path / "run", trained.name)[0] == expected


def test_a_prefix_is_served_by_transformers(tiny: Path, tmp_path: Path) -> None:
    from stepladder.models.local import (
        LocalProvider,
        _is_fast,  # which engine is a matter of its own
    )

    trained = LocalTrainer().train(job_of("prefix", tiny), tmp_path, quiet)
    assert not _is_fast(LocalProvider(tmp_path).model(trained.name))
    text, _ = answered(tmp_path, trained.name)
    assert text == greedy(tiny, trained.folder / "adapter", 6)


def test_only_the_last_layers_change(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    trained = LocalTrainer().train(job_of("freeze", tiny, epochs=1.0), tmp_path, quiet)
    before = load_file(tiny / "model.safetensors")
    after = load_file(trained.folder / "model" / "model.safetensors")
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert all("layers.1." in name or name == "model.norm.weight" for name in changed)
    with pytest.raises(ModelError, match="last 3 of 2 layers"):
        LocalTrainer().train(job_of("freeze", tiny, layers=3), tmp_path, quiet)


def test_four_bits_without_their_package_say_what_to_install(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtra, match="bitsandbytes") as caught:
        LocalTrainer().train(job_of("qlora", tiny), tmp_path, quiet)
    assert "stepladder[qlora]" in caught.value.hint


def test_methods_have_names_of_their_own(tiny: Path) -> None:
    jobs = [replace(job_of(method, tiny)) for method in RATES]
    assert len({job_hash(job) for job in jobs}) == len(jobs)
    assert finished_model(tiny, job_hash(jobs[0])) is None
