"""Training on a tiny random model: it learns, stops, resumes, and says what went wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepladder.core import Message
from stepladder.errors import ModelError, StoreError
from stepladder.trainers import Trainer, TrainingJob, base_fingerprint, job_hash
from stepladder.trainers.local import LocalTrainer, finished_model

from .tiny import COLOURS, conversations, make_job, make_model

pytest.importorskip("torch")
pytest.importorskip("peft")


def quiet(event: str, fields: Mapping[str, Any]) -> None:
    assert event == "training"


def losses(model: Any) -> list[float]:
    return [point.train_loss for point in model.learning]


def assert_same_weights(one: Path, other: Path) -> None:
    """Equal up to the last bits, which differ with where memory happens to lie."""
    from safetensors.numpy import load_file

    mine, yours = (load_file(folder / "model" / "model.safetensors") for folder in (one, other))
    assert mine.keys() == yours.keys()
    for name, values in mine.items():
        assert abs(values.astype(float) - yours[name].astype(float)).max() < 1e-4, name


def answer(folder: Path, text: str, tokens: int = 8) -> str:
    """What the saved model says, by transformers in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    from stepladder.models.local.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([tokenizer.chat_ids((Message("user", text),))])
    said = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False
    )
    return tokenizer.decode(said[0, ids.shape[1] :].tolist())


def test_local_trainer_fits_the_seam() -> None:
    assert isinstance(LocalTrainer(), Trainer)


def test_full_tuning_teaches_the_answers_and_to_stop(tiny: Path, tmp_path: Path) -> None:
    job = make_job(tiny, epochs=12.0, learning_rate=5e-3, tokens_per_batch=128)
    trained = LocalTrainer().train(job, tmp_path, quiet)
    held_out = [p.held_out_loss for p in trained.learning if p.held_out_loss is not None]
    assert held_out[0] > 4  # a random model over 259 tokens
    assert min(held_out) < 0.2
    assert answer(trained.folder / "model", "cleo 102: blue") == "blue"
    assert trained.facts["held_out_loss_merged"] == pytest.approx(min(held_out), abs=0.02)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_lora_learns_and_keeps_adapter_and_merged_model(tiny: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    job = make_job(tiny, method="lora", rank=8, alpha=16, learning_rate=1e-2, epochs=3.0)
    trained = LocalTrainer().train(job, tmp_path, quiet)
    assert trained.name == f"local:tuned/{job_hash(job)}"
    assert trained.folder == tmp_path / job_hash(job)
    assert losses(trained)[-1] < losses(trained)[0]
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    apart = PeftModel.from_pretrained(base, trained.folder / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(trained.folder / "model", dtype=torch.float32)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.allclose(apart(ids).logits, merged(ids).logits, atol=2e-2)
    assert not torch.allclose(merged(ids).logits, base.eval()(ids).logits + 1.0, atol=1e-3)
    assert (trained.folder / "model" / "tokenizer.json").read_bytes() == (
        tiny / "tokenizer.json"
    ).read_bytes()
    assert not (trained.folder / "checkpoints").exists()


def test_only_the_answer_is_learned(tiny: Path) -> None:
    """The loss is the model's own cross-entropy with the prompt's labels masked."""
    import torch
    from transformers import AutoModelForCausalLM

    from stepladder.models.local.tokenizer import load_tokenizer
    from stepladder.trainers.batches import encode
    from stepladder.trainers.learner import answer_loss, make_learner

    tokenizer = load_tokenizer(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    rows, _ = encode(conversations(5), tokenizer, 100)
    learner = make_learner(
        model, weight_decay=0.0, pad_id=tokenizer.pad_id, device=torch.device("cpu")
    )
    learner = replace(learner, autocast=lambda: torch.autocast("cpu", enabled=False))
    expected = 0.0
    with torch.no_grad():
        got, count = answer_loss(learner, rows)
        for row in rows:
            ids = torch.tensor([row.prompt + row.answer])
            labels = torch.tensor([(-100,) * len(row.prompt) + row.answer])
            expected += float(model(ids, labels=labels).loss) * len(row.answer)
    assert count == sum(len(row.answer) for row in rows)
    assert float(got) == pytest.approx(expected, rel=1e-4)


def test_the_same_job_is_done_once_and_gives_the_same_model(tiny: Path, tmp_path: Path) -> None:
    first = LocalTrainer().train(make_job(tiny), tmp_path / "a", quiet)
    seen: list[Mapping[str, Any]] = []
    again = LocalTrainer().train(make_job(tiny), tmp_path / "a", lambda _, f: seen.append(f))
    assert again == first
    assert not seen
    elsewhere = LocalTrainer().train(make_job(tiny), tmp_path / "b", quiet)
    assert losses(elsewhere) == pytest.approx(losses(first), rel=1e-6)
    assert_same_weights(elsewhere.folder, first.folder)


def test_another_job_has_another_name(tiny: Path, tmp_path: Path) -> None:
    job = make_job(tiny)
    other = make_model(tmp_path / "other", seed=1)
    names = {
        job_hash(job),
        job_hash(replace(job, train=job.train[1:])),
        job_hash(replace(job, folder=other)),
        job_hash(make_job(tiny, learning_rate=1e-4)),
    }
    assert len(names) == 4
    assert job_hash(replace(job, threads=7, base="local:same-weights")) == job_hash(job)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.trainers.tiny import make_job
from stepladder.trainers.local import LocalTrainer

def tell(event, fields):
    if fields.get("step") == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

job = make_job(Path(sys.argv[1]), method=sys.argv[4], dropout=0.1, checkpoint_seconds=0.0)
LocalTrainer().train(job, Path(sys.argv[2]), tell)
"""


@pytest.mark.parametrize("method", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_uninterrupted(tiny: Path, tmp_path: Path, method: str) -> None:
    job = make_job(tiny, method=method, dropout=0.1, checkpoint_seconds=0.0)
    whole = LocalTrainer().train(job, tmp_path / "whole", quiet)
    steps = whole.facts["steps"]
    at = steps // 2
    command = [sys.executable, "-c", KILLED, str(tiny), str(tmp_path / "cut"), str(at), method]
    root = Path(__file__).parents[2]
    killed = subprocess.run(command, cwd=root, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert finished_model(tmp_path / "cut", job_hash(job)) is None
    seen: list[Mapping[str, Any]] = []
    resumed = LocalTrainer().train(job, tmp_path / "cut", lambda _, fields: seen.append(fields))
    # The kill came after step `at` and before its checkpoint, so that one step is repeated.
    assert seen[0] == {"resumed": True, "step": at - 1}
    assert seen[1]["step"] == at
    assert losses(resumed) == pytest.approx(losses(whole), rel=1e-6)
    assert_same_weights(resumed.folder, whole.folder)


def test_over_fitting_is_seen_said_and_undone(tiny: Path, tmp_path: Path) -> None:
    """Held-out answers contradict those of train: what is memorised must make them worse."""
    letters = "abcdefghijklmnop"
    colours = [COLOURS[ord(letter) * 7 % 3] for letter in letters]
    asked = [(Message("user", letter),) for letter in letters]
    train = tuple(zip(asked, colours, strict=True))
    held_out = tuple(zip(asked, [*colours[1:], colours[0]], strict=True))
    job = make_job(tiny, epochs=40.0, patience=8, learning_rate=5e-3, tokens_per_batch=128)
    trained = LocalTrainer().train(replace(job, train=train, held_out=held_out), tmp_path, quiet)
    assert trained.facts["ended"] == "held-out loss stopped falling"
    assert any("over-fitted" in caution for caution in trained.cautions)
    evaluated = [p.held_out_loss for p in trained.learning if p.held_out_loss is not None]
    assert evaluated[-1] > 1.1 * min(evaluated)
    assert trained.facts["held_out_loss_merged"] == pytest.approx(min(evaluated), rel=0.05)


def test_judged_by_accuracy_certainty_about_wrong_answers_costs_nothing(
    tiny: Path, tmp_path: Path
) -> None:
    """Six of 16 held-out answers contradict train: the loss rises as the others get certain."""
    letters = "abcdefghijklmnop"
    colours = [COLOURS[ord(letter) * 7 % 3] for letter in letters]
    asked = [(Message("user", letter),) for letter in letters]
    other = [COLOURS[(COLOURS.index(colour) + 1) % 3] for colour in colours[:6]]
    job = make_job(tiny, epochs=40.0, patience=99, learning_rate=5e-3, tokens_per_batch=128)
    job = replace(
        job,
        train=tuple(zip(asked, colours, strict=True)),
        held_out=tuple(zip(asked, [*other, *colours[6:]], strict=True)),
    )
    by_loss = LocalTrainer().train(job, tmp_path, quiet)
    job = replace(job, options=replace(job.options, judged_by="accuracy"))
    trained = LocalTrainer().train(job, tmp_path, quiet)
    looked = [point for point in trained.learning[1:] if point.held_out_loss is not None]
    best = max(looked, key=lambda p: (p.held_out_accuracy or 0.0, -(p.held_out_loss or 0.0)))
    assert trained.facts["best_step"] == best.step
    assert trained.facts["best_step"] != by_loss.facts["best_step"]
    assert trained.facts["held_out_accuracy"] > by_loss.facts["held_out_accuracy"]
    assert trained.facts["held_out_loss"] > by_loss.facts["held_out_loss"]
    assert trained.facts["held_out_loss_merged"] == pytest.approx(best.held_out_loss, rel=0.05)


def test_divergence_stops_with_a_cure(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="diverged") as caught:
        LocalTrainer().train(make_job(tiny, learning_rate=50.0, epochs=9.0), tmp_path, quiet)
    assert "learning_rate" in caught.value.hint


def test_time_limit_ends_the_training_and_says_so(tiny: Path, tmp_path: Path) -> None:
    trained = LocalTrainer().train(make_job(tiny, max_seconds=1e-6), tmp_path, quiet)
    assert trained.facts["steps"] == trained.facts["best_step"] == 1
    assert trained.facts["held_out_loss"] == trained.learning[-1].held_out_loss is not None
    (caution,) = trained.cautions
    assert "time limit" in caution


def test_progress_counts_up_to_the_planned_steps(tiny: Path, tmp_path: Path) -> None:
    seen: list[Mapping[str, Any]] = []
    LocalTrainer().train(make_job(tiny), tmp_path, lambda _, fields: seen.append(fields))
    steps = [fields for fields in seen if "train_loss" in fields]
    assert [fields["step"] for fields in steps] == list(range(1, steps[0]["steps"] + 1))
    assert steps[-1]["seconds_left"] == 0
    assert steps[-1]["held_out_loss"] is not None


def test_a_second_process_waits_and_takes_the_finished_model(tiny: Path, tmp_path: Path) -> None:
    job = make_job(tiny)
    other: list[Mapping[str, Any]] = []
    threads: list[threading.Thread] = []
    waiting = threading.Event()

    def told(_: str, fields: Mapping[str, Any]) -> None:
        other.append(fields)
        waiting.set()

    def first(event: str, fields: Mapping[str, Any]) -> None:
        if not threads:
            run = threading.Thread(target=LocalTrainer().train, args=(job, tmp_path, told))
            threads.append(run)
            run.start()
            assert waiting.wait(60)

    LocalTrainer().train(job, tmp_path, first)
    threads[0].join(60)
    assert list(other[0]) == ["waiting"]
    assert len(other) == 1  # it trained nothing


def test_no_room_for_a_checkpoint_is_one_message_with_a_cure(tiny: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # no file may grow beyond
    try:
        with pytest.raises(StoreError, match="cannot save the training") as caught:
            LocalTrainer().train(make_job(tiny), tmp_path, quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "free some space" in caught.value.hint
    assert LocalTrainer().train(make_job(tiny), tmp_path, quiet).learning  # and then it goes on


def test_a_folder_that_cannot_be_written_is_a_store_error(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot save"):
        LocalTrainer().train(make_job(tiny), tmp_path / "file" / "run", quiet)


def test_a_folder_without_weights_is_told(tmp_path: Path) -> None:
    job = TrainingJob("local:none", tmp_path, conversations(4), ())
    with pytest.raises(ModelError, match="no weights to train"):
        LocalTrainer().train(job, tmp_path / "run", quiet)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "cuda:7"}, "no device 'cuda:7'"),
        ({"train": ()}, "nothing to train on"),
    ],
)
def test_a_job_that_cannot_run_says_why(
    tiny: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        LocalTrainer().train(replace(make_job(tiny), **change), tmp_path, quiet)


def test_lora_on_layers_that_are_not_there_says_so(tiny: Path, tmp_path: Path) -> None:
    job = make_job(tiny, method="lora", target_modules=("nowhere",))
    with pytest.raises(ModelError, match="LoRA cannot be put on this model"):
        LocalTrainer().train(job, tmp_path, quiet)


def test_without_held_out_examples_a_caution_is_given(tiny: Path, tmp_path: Path) -> None:
    job = replace(make_job(tiny, epochs=1.0), held_out=())
    trained = LocalTrainer().train(job, tmp_path, quiet)
    assert any("over-fitting could not be seen" in caution for caution in trained.cautions)
    assert trained.facts["held_out_loss"] is None


def test_training_json_holds_what_repeating_takes(tiny: Path, tmp_path: Path) -> None:
    trained = LocalTrainer().train(make_job(tiny), tmp_path, quiet)
    facts = json.loads((trained.folder / "training.json").read_text())
    assert facts["base_sha256"] == base_fingerprint(tiny)
    assert facts["options"]["seed"] == 0
    assert facts["tokens"] == trained.tokens
    assert {"device", "threads", "products_in", "torch"} <= set(facts["environment"])
    assert (trained.folder / "done").exists()


def lora_job(folder: Path, **options: object) -> TrainingJob:
    settings: dict[str, object] = {"method": "lora", "rank": 4, "alpha": 8, "learning_rate": 1e-2}
    return make_job(folder, **{**settings, **options})


def test_jobs_that_ask_for_nothing_new_keep_their_names(tiny: Path) -> None:
    """A finished model is found by the name it was made under, by whatever version."""
    job = make_job(tiny)
    said = TrainingJob(
        job.base, job.folder, job.train, job.held_out, job.options, start=None, most_kept=0
    )
    assert job_hash(said) == job_hash(job)
    changed = [
        replace(job, most_kept=3),
        replace(job, merge=False),
        replace(job, options=replace(job.options, rows_per_batch=4)),
        replace(job, options=replace(job.options, to_the_end=True)),
        replace(job, options=replace(job.options, cut_long=True)),
    ]
    assert len({job_hash(job), *map(job_hash, changed)}) == 6


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_is_kept_for_every_epoch_and_the_last_is_the_model(
    tiny: Path, tmp_path: Path
) -> None:
    job = replace(lora_job(tiny, epochs=3.0, rows_per_batch=8), most_kept=10, merge=False)
    trained = LocalTrainer().train(job, tmp_path, quiet)
    assert [(one["step"], one["epoch"]) for one in trained.facts["kept"]] == [
        (5, 1.0),
        (10, 2.0),
        (15, 3.0),
    ]
    adapters = [trained.folder / one["folder"] for one in trained.facts["kept"]]
    files = [(folder / "adapter_model.safetensors").read_bytes() for folder in adapters]
    assert len({*files}) == 3
    assert files[-1] == (trained.folder / "adapter" / "adapter_model.safetensors").read_bytes()
    assert not (trained.folder / "model").exists()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_training_goes_on_from_an_adapter(tiny: Path, tmp_path: Path) -> None:
    first = LocalTrainer().train(lora_job(tiny, epochs=4.0), tmp_path, quiet)
    ended = [point.held_out_loss for point in first.learning if point.held_out_loss is not None]
    job = replace(lora_job(tiny, epochs=1.0), start=first.folder / "adapter")
    second = LocalTrainer().train(job, tmp_path, quiet)
    assert second.folder != first.folder
    began = second.learning[0].held_out_loss
    assert began == pytest.approx(min(ended), rel=1e-3)
    other = replace(job, options=replace(job.options, rank=8, alpha=16))
    with pytest.raises(ModelError, match="has rank 4"):
        LocalTrainer().train(other, tmp_path, quiet)
    with pytest.raises(ModelError, match="no adapter to go on from"):
        LocalTrainer().train(replace(job, start=tmp_path / "nowhere"), tmp_path, quiet)


def test_a_batch_of_many_rows_learns_the_same_in_parts(tiny: Path, tmp_path: Path) -> None:
    """Memory bounds what is computed at once, not what a step learns from."""
    whole = make_job(tiny, rows_per_batch=8, tokens_per_batch=4096, epochs=1.0)
    parts = replace(whole, options=replace(whole.options, tokens_per_batch=64))
    one = LocalTrainer().train(whole, tmp_path, quiet)
    other = LocalTrainer().train(parts, tmp_path, quiet)
    assert one.facts["steps"] == other.facts["steps"] == 5
    assert losses(other) == pytest.approx(losses(one), rel=2e-2)


def test_to_the_end_keeps_the_last_weights_whatever_the_held_out_loss(
    tiny: Path, tmp_path: Path
) -> None:
    wrong = tuple((messages, "zzzz") for messages, _ in conversations(4))
    job = replace(make_job(tiny, epochs=8.0, patience=1, learning_rate=5e-3), held_out=wrong)
    early = LocalTrainer().train(job, tmp_path, quiet)
    job = replace(job, options=replace(job.options, to_the_end=True))
    late = LocalTrainer().train(job, tmp_path, quiet)
    assert early.facts["ended"] == "held-out loss stopped falling"
    assert late.facts["ended"] == "all epochs done"
    last = [point.held_out_loss for point in late.learning if point.held_out_loss is not None][-1]
    assert late.facts["held_out_loss_merged"] == pytest.approx(last, rel=0.05)


def test_a_step_tells_how_many_tokens_are_right(tiny: Path, tmp_path: Path) -> None:
    seen: list[Mapping[str, Any]] = []
    job = make_job(tiny, epochs=12.0, learning_rate=5e-3, tokens_per_batch=128)
    LocalTrainer().train(job, tmp_path, lambda _, fields: seen.append(fields))
    steps = [fields for fields in seen if "train_loss" in fields]
    assert steps[0]["train_accuracy"] < 0.3
    assert steps[-1]["train_accuracy"] > 0.9
    assert steps[-1]["held_out_accuracy"] > 0.9
    assert sum(fields["held_out_accuracy"] is not None for fields in steps) == 12


def test_what_tell_raises_ends_the_training_and_it_goes_on_later(
    tiny: Path, tmp_path: Path
) -> None:
    class Enough(Exception):
        pass

    def tell(event: str, fields: Mapping[str, Any]) -> None:
        if fields.get("step") == 4:
            raise Enough

    job = make_job(tiny, checkpoint_seconds=0.0)
    with pytest.raises(Enough):
        LocalTrainer().train(job, tmp_path, tell)
    seen: list[Mapping[str, Any]] = []
    LocalTrainer().train(job, tmp_path, lambda _, fields: seen.append(fields))
    assert seen[0] == {"resumed": True, "step": 3}
