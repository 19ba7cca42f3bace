"""Rows packed into one sequence teach what padded rows teach, and are packed where that pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import Message
from stepladder.errors import ModelError
from stepladder.trainers import Conversation, TrainingJob, job_hash
from stepladder.trainers.batches import Encoded
from stepladder.trainers.local import LocalTrainer

from .tiny import make_job

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

CPU = torch.device("cpu")
ROWS = (
    Encoded((5, 9, 31, 7, 60, 12, 3), (44, 2)),
    Encoded((8,), (21,)),
    Encoded(tuple(range(40, 70)), (71, 72, 73, 74, 75, 2)),
    Encoded((90, 91), (5, 6, 7, 8, 2)),
)


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    from stepladder.trainers import learner, opening

    for module in (learner, opening):
        monkeypatch.setattr(module, "has_bfloat16", lambda device: False)


def learner_of(model: Any, **more: Any) -> Any:
    """A learner whose weights are some way off where they began."""
    from stepladder.trainers.learner import make_learner

    learner = make_learner(model, weight_decay=0.0, pad_id=0, device=CPU, **more)
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for one in learner.parameters.values():
            one.add_(0.02 * torch.randn(one.shape, generator=chance))
    return learner


def learned(learner: Any, rows: Any = ROWS) -> tuple[float, int, int, list[Any]]:
    """Loss, weight, right answers, and gradients."""
    learner.model.train()
    loss, weight, right = learner.scores(learner, rows)
    (loss / weight).backward()
    grown = [one.grad.clone() for one in learner.parameters.values()]
    learner.optimizer.zero_grad(set_to_none=True)
    return float(loss.detach()), weight, right, grown


def assert_packed_is_padded(learner: Any, rows: Any = ROWS) -> None:
    from stepladder.trainers.packing import choose_packing, packed

    loss, weight, right, grown = learned(learner, rows)
    assert choose_packing(learner, True, 0.0).used
    packing = packed(learner)
    assert packing.lay(ROWS).ids.shape == (1, sum(map(len, ROWS)))
    other, *same, other_grown = learned(packing, rows)
    assert other == pytest.approx(loss, rel=1e-5)
    assert same == [weight, right]
    assert sum(float(one.norm()) for one in grown) > 0.01
    for one, theirs in zip(grown, other_grown, strict=True):
        assert torch.allclose(one, theirs, atol=1e-5, rtol=1e-3)


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize(
    ("method", "checkpointing"),
    [
        *((method, False) for method in ("lora", "dora", "prompt", "prefix", "freeze", "full")),
        *((method, True) for method in ("lora", "prompt", "full")),
    ],
)
def test_packed_rows_teach_what_padded_ones_teach(
    tiny: Path, method: str, checkpointing: bool
) -> None:
    from stepladder.trainers.opening import open_model

    given: dict[str, object] = {"virtual_tokens": 4, "layers": 1, "checkpointing": checkpointing}
    job = make_job(tiny, method=method, rank=4, **given)
    assert_packed_is_padded(learner_of(open_model(job, CPU, ROWS)))


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("method", ["lora", "prompt", "freeze", "full"])
def test_activations_computed_twice_give_the_same_gradients(tiny: Path, method: str) -> None:
    from stepladder.trainers.opening import open_model

    found = []
    for twice in (False, True):
        job = make_job(tiny, method=method, rank=4, virtual_tokens=4, layers=2, checkpointing=twice)
        torch.manual_seed(0)
        learner = learner_of(open_model(job, CPU, ROWS))
        runs: list[int] = []
        layers = [one for name, one in learner.model.named_modules() if name.endswith("layers.1")]
        layers[0].mlp.register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        found.append((learned(learner), len(runs)))
    (once, runs_once), (again, runs_again) = found
    assert (runs_once, runs_again) == (1, 2)
    assert once[:3] == again[:3]
    for one, theirs in zip(once[3], again[3], strict=True):
        assert torch.allclose(one, theirs, atol=1e-6)


def test_a_prefix_cannot_be_computed_twice(tiny: Path) -> None:
    from stepladder.trainers.opening import open_model

    job = make_job(tiny, method="prefix", virtual_tokens=4, checkpointing=True)
    with pytest.raises(ModelError, match="computed twice by method 'prefix'"):
        open_model(job, CPU, ROWS)


@pytest.mark.parametrize("method", ["lora", "full", "prompt"])
@pytest.mark.parametrize("able", [True, False])
def test_products_are_in_bfloat16_where_the_machine_has_it(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, able: bool
) -> None:
    from stepladder.trainers import learner as learners
    from stepladder.trainers import opening, telling

    for module in (learners, opening, telling):
        monkeypatch.setattr(module, "has_bfloat16", lambda device: able)
    job = make_job(tiny, method=method, rank=4, virtual_tokens=4, epochs=0.3)
    model = opening.open_model(job, CPU, ROWS)
    found = learner_of(model)
    kinds: set[Any] = set()
    _, *rest = (one for name, one in model.named_modules() if name.endswith("o_proj"))
    rest[0].register_forward_hook(lambda module, given, result: kinds.add(result.dtype))
    grown = learned(found)[3]
    assert kinds == {torch.bfloat16 if able else torch.float32}
    assert {one.dtype for one in (*grown, *found.parameters.values())} == {torch.float32}
    trained = LocalTrainer().train(job, tmp_path, lambda *_: None)
    assert trained.facts["environment"]["products_in"] == ("bfloat16" if able else "float32")


def made(kind: str, **sizes: object) -> Any:
    """A random model of another family."""
    import transformers

    usual: dict[str, object] = {
        "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
    }  # fmt: skip
    config = transformers.AutoConfig.for_model(kind, **{**usual, **sizes})
    torch.manual_seed(0)
    family: Any = transformers.AutoModelForCausalLM  # whose methods have no types
    return family.from_config(config, attn_implementation="eager")


FAMILIES: Mapping[str, Mapping[str, object]] = {
    "mistral": {"sliding_window": 6},  # shorter than two of the rows
    "qwen2": {},
    "qwen3": {},
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 2, "resid_pdrop": 0, "embd_pdrop": 0,
             "attn_pdrop": 0},
}  # fmt: skip


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("kind", FAMILIES)
def test_other_families_are_packed_as_well(kind: str) -> None:
    assert_packed_is_padded(learner_of(made(kind, **FAMILIES[kind])))


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("method", ["lora", "prefix"])
def test_long_rows_are_attended_by_torch(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    from stepladder.trainers import row_attention
    from stepladder.trainers.opening import open_model

    monkeypatch.setattr(row_attention, "SHORT", 4)  # so that only one of the rows is not long
    job = make_job(tiny, method=method, rank=4, virtual_tokens=4)
    assert_packed_is_padded(learner_of(open_model(job, CPU, ROWS)))
    assert_packed_is_padded(learner_of(made("mistral", sliding_window=6)))


@pytest.mark.parametrize("method", ["lora", "qlora", "dora", "prompt", "prefix", "full"])
def test_in_bfloat16_they_are_as_near_as_rounding_allows(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    from stepladder.trainers import learner as learners
    from stepladder.trainers import opening
    from stepladder.trainers.packing import choose_packing, packed

    for module in (learners, opening):
        monkeypatch.setattr(module, "has_bfloat16", lambda device: True)
    job = make_job(tiny, method=method, rank=4, virtual_tokens=4)
    learner = learner_of(opening.open_model(job, CPU, ROWS))
    loss, _, _, grown = learned(learner)
    assert choose_packing(learner, True, 0.0).used
    other, _, _, other_grown = learned(packed(learner))
    assert other == pytest.approx(loss, rel=5e-3)
    mine, theirs = (torch.cat([one.flatten() for one in each]) for each in (grown, other_grown))
    assert float(torch.dot(mine, theirs) / mine.norm() / theirs.norm()) > 0.99


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize(
    ("kind", "why"),
    [("gemma2", "softcap, which is not known"), ("bloom", "own way of attention")],
)
def test_a_model_that_cannot_be_packed_is_left_as_it_is(kind: str, why: str) -> None:
    from stepladder.trainers.packing import choose_packing

    learner = learner_of(made(kind))
    before = learned(learner)[0]
    packing = choose_packing(learner, True, 0.3)
    assert not packing.used
    assert why in packing.why
    assert learned(learner)[0] == before


@pytest.mark.usefixtures("in_float32")
def test_a_model_that_confuses_its_rows_is_not_packed(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepladder.trainers import learner as module
    from stepladder.trainers.opening import open_model
    from stepladder.trainers.packing import choose_packing

    learner = learner_of(open_model(make_job(tiny), CPU, ROWS))
    monkeypatch.setattr(module, "_packed", lambda borders, after=0: {})
    packing = choose_packing(learner, True, 0.3)
    assert (packing.used, packing.why) == (False, "this model would not see its rows apart")


@pytest.mark.usefixtures("in_float32")
def test_pairs_of_answers_are_packed(tiny: Path) -> None:
    from stepladder.trainers.opening import open_model
    from stepladder.trainers.preferences import EncodedPair, preference_scores

    model = open_model(make_job(tiny, method="lora", rank=4), CPU, ROWS)
    pairs = [
        EncodedPair(ROWS[0], replace(ROWS[0], answer=(9, 9, 9, 2)), (-3.0, -4.0)),
        EncodedPair(ROWS[3], ROWS[2], (-5.0, -2.0)),
    ]
    assert_packed_is_padded(learner_of(model, scores=preference_scores(0.1)), pairs)


tokens = st.lists(st.integers(1, 90), min_size=1, max_size=9).map(tuple)
many = st.lists(st.builds(Encoded, tokens, tokens), min_size=1, max_size=6)


@given(many)
@settings(max_examples=50)
def test_however_rows_lie_they_ask_for_their_answers(rows: list[Encoded]) -> None:
    from stepladder.trainers.laying import behind, beside

    answers = [token for row in rows for token in row.answer]
    for laid in (behind(rows, CPU), beside(rows, 0, CPU)):
        assert laid.answers.tolist() == answers
        assert laid.ids.flatten()[laid.asking + 1].tolist() == answers
    assert behind(rows, CPU).ids.shape == (1, sum(map(len, rows)))


@pytest.mark.usefixtures("in_float32")
def test_packing_is_chosen_where_it_pays(tiny: Path) -> None:
    from stepladder.trainers.opening import open_model
    from stepladder.trainers.packing import PAYS_FROM, choose_packing

    learner = learner_of(open_model(make_job(tiny), CPU, ROWS))
    much, little = 2 * PAYS_FROM, PAYS_FROM / 2
    assert choose_packing(learner, None, much).used
    assert not choose_packing(learner, None, little).used
    assert not choose_packing(learner, False, much).used
    assert choose_packing(learner, True, little).used
    elsewhere = replace(learner, device=torch.device("cuda"))
    assert not choose_packing(elsewhere, None, much).used  # not measured there


def ragged(tiny: Path, **options: object) -> TrainingJob:
    """A job whose rows differ in length as much as rows can."""
    rows: list[Conversation] = [
        ((Message("user", "word " * (number * 7 % 11)),), "ab"[number % 2]) for number in range(30)
    ]
    return replace(make_job(tiny, **options), train=tuple(rows[6:]), held_out=tuple(rows[:6]))


def curve(trained: Any) -> list[float]:
    return [value for p in trained.learning for value in (p.train_loss, p.held_out_loss or 0.0)]


@pytest.mark.usefixtures("in_float32")
def test_a_packed_training_is_the_same_job_and_learns_the_same(tiny: Path, tmp_path: Path) -> None:
    job = ragged(tiny, method="lora", rank=4)
    assert job_hash(replace(job, packing=True)) == job_hash(job)
    packed, padded = (
        LocalTrainer().train(replace(job, packing=way), tmp_path / str(way), lambda *_: None)
        for way in (True, False)
    )
    assert packed.facts["packing"]["used"]
    assert not padded.facts["packing"]["used"]
    assert packed.facts["packing"]["padding"] == padded.facts["packing"]["padding"] > 0
    assert len(curve(packed)) > 5
    assert curve(packed) == pytest.approx(curve(padded), abs=1e-4)
    saved = (one.facts["held_out_loss_merged"] for one in (packed, padded))
    assert next(saved) == pytest.approx(next(saved), abs=1e-3)


@pytest.mark.usefixtures("in_float32")
def test_a_packed_training_goes_on_where_it_was(tiny: Path, tmp_path: Path) -> None:
    job = replace(ragged(tiny, checkpoint_seconds=0.0), packing=True)
    whole = LocalTrainer().train(job, tmp_path / "whole", lambda *_: None)

    def stop(event: str, fields: Mapping[str, Any]) -> None:
        if fields.get("step") == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalTrainer().train(job, tmp_path / "cut", stop)
    told: list[Mapping[str, Any]] = []
    # what is begun packed may be ended padded: a checkpoint does not know
    again = LocalTrainer().train(
        replace(job, packing=False), tmp_path / "cut", lambda _, fields: told.append(fields)
    )
    assert told[0]["resumed"]
    assert curve(again) == pytest.approx(curve(whole), abs=1e-4)


@pytest.mark.gpu
def test_on_a_gpu_rows_go_through_one_kernel(tiny: Path) -> None:
    """Written for GPUs, and not run on one yet."""
    from stepladder.trainers.learner import make_learner
    from stepladder.trainers.opening import open_model
    from stepladder.trainers.packing import choose_packing, packed

    device = torch.device("cuda")
    model = open_model(make_job(tiny, method="lora", rank=4), device, ROWS)
    learner = make_learner(model, weight_decay=0.0, pad_id=0, device=device)
    padded = learned(learner)
    assert choose_packing(learner, True, 0.0).used
    behind = learned(packed(learner))
    assert behind[0] == pytest.approx(padded[0], rel=1e-2)
    mine, theirs = (torch.cat([one.flatten() for one in grown[3]]) for grown in (behind, padded))
    assert float(torch.dot(mine, theirs) / mine.norm() / theirs.norm()) > 0.99
