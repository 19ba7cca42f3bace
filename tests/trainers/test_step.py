"""The fine-tune step with real training: a tiny random model, and (slow) the embedded one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepladder.core import DataSource, Example, MetricSpec, Request, Target, Task, Workshop
from stepladder.solvers.prompt import PromptSolver
from stepladder.steps.fine_tune import FineTune
from stepladder.testing import FakeModel

from .tiny import COLOURS, NAMES, make_model

pytest.importorskip("torch")
pytest.importorskip("peft")

DRUGS = ("aspirin", "codeine", "methotrexate", "heparin", "insulin", "lithium", "warfarin")
EFFECTS = ("a rash", "severe headache", "hair loss", "fever", "a seizure")


def colours(n: int) -> list[Example]:
    return [
        Example(str(i), f"{NAMES[i % len(NAMES)]} {i}", COLOURS[i % len(COLOURS)]) for i in range(n)
    ]


def case_reports(n: int) -> list[Example]:
    return [
        Example(
            str(i),
            f"Patient {i} developed {EFFECTS[i % 5]} {i % 9 + 1} days after {DRUGS[i % 7]}.",
            {"drug": DRUGS[i % 7], "effect": EFFECTS[i % 5]},
        )
        for i in range(n)
    ]


def task(kind: str, model: str) -> Task:
    return Task(
        "t",
        kind,  # type: ignore[arg-type]
        "Extract drug and effect.",
        Target(0.9),
        MetricSpec("exact_match"),
        DataSource(),
        labels=COLOURS if kind == "classification" else (),
        models=(model,),
    )


def test_a_tiny_model_is_tuned_once(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "tiny")
    seen: list[str] = []
    shop = Workshop(
        lambda name: FakeModel(name=name), tmp_path / "artifacts", lambda e, _: seen.append(e)
    )
    step = FineTune(method="lora", epochs=1, threads=1, device="cpu")
    asked = task("classification", f"local:{folder}")
    (candidate,) = step.propose(asked, colours(30), None, shop)
    assert set(seen) == {"training"}
    seen.clear()
    (again,) = step.propose(asked, colours(30), None, shop)
    assert again == candidate
    assert not seen
    assert isinstance(candidate.solver, PromptSolver)
    identity = candidate.solver.model.removeprefix("local:tuned/")
    assert (tmp_path / "artifacts" / identity / "model" / "model.safetensors").exists()
    assert candidate.build_tokens > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_engine_answers_as_the_trainers_own_model(tmp_path: Path, method: str) -> None:
    """The embedded model, tuned a little: OpenVINO in float32 against transformers in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    from stepladder.models.local import LocalProvider

    artifacts = tmp_path / "artifacts"
    provider = LocalProvider(artifacts, exact=True)
    shop = Workshop(provider.model, artifacts, lambda *_: None)
    step = FineTune(method=method, epochs=2)  # type: ignore[arg-type]
    asked = task("extraction", "local:smollm2-135m-instruct")
    (candidate,) = step.propose(asked, case_reports(64), None, shop)
    solver = candidate.solver
    assert isinstance(solver, PromptSolver)
    unseen = [example.input for example in case_reports(80)[64:]]
    served = dict(solver.answer(unseen, shop))

    model = provider.model(solver.model)
    torch_model = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32)
    for place, request in enumerate(_requests(solver, unseen, shop)):
        ids = torch.tensor([model.tokenizer.chat_ids(request.messages)])
        said = torch_model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request.max_output_tokens,
            do_sample=False,
            pad_token_id=model.tokenizer.pad_id,
        )
        assert served[place].text == model.tokenizer.decode(said[0, ids.shape[1] :].tolist())
    right = sum(
        output.value == example.expected
        for output, example in zip(
            (served[i] for i in range(16)), case_reports(80)[64:], strict=True
        )
    )
    assert right >= 12, [json.dumps(output.value) for output in served.values()]
    provider.close()


def _requests(solver: PromptSolver, inputs: list[object], shop: Workshop) -> list[Request]:
    from stepladder.solvers.prompt import requests_for

    return requests_for(solver, inputs, shop)  # type: ignore[arg-type]
