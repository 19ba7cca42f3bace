"""A bundle answers as its trial did, with nothing but its own folder and the models it names."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundling import Parrots, climb_to, rows_of
from task_folders import COLOURS, make_climbing_model, make_task_folder

from stepladder.bundles import Bundle, deploy, load_bundle
from stepladder.core import Usage
from stepladder.embeddings import DIMENSIONS, ENCODER
from stepladder.errors import ModelError, StepladderError
from stepladder.solvers.artifact import save_artifact
from stepladder.solvers.tfidf import array_bytes
from stepladder.trainers import base_fingerprint


def moved(folder: Path, to: Path) -> Bundle:
    """The bundle on what might be another machine: its task and its run are gone."""
    bundle = to / folder.name
    shutil.copytree(folder, bundle)
    shutil.rmtree(folder.parents[1])
    return load_bundle(bundle)


def same_as_trial(bundle: Bundle, rows: list[dict[str, object]]) -> None:
    with bundle.open() as workshop:
        said = dict(bundle.solver.answer([row["input"] for row in rows], workshop))  # type: ignore[misc]
    for index, row in enumerate(rows):
        assert said[index].value == row["value"]
        assert said[index].text == row["text"]
        assert said[index].confidence == row["confidence"]
        assert said[index].error is None


@pytest.mark.parametrize("step", ["baseline", "prompt", "few_shot"])
def test_it_answers_as_the_trials_did(step: str, run: Path, tmp_path: Path) -> None:
    trials = json.loads((run / "decision.json").read_text())["trials"]
    named = [f"{one['step']}/{one['solver']}" for one in trials if one["step"] == step]
    assert named
    for number, name in enumerate(named):
        rows = rows_of(run, name)
        assert len(rows) == 30
        assert step == "baseline" or len({str(row["value"]) for row in rows}) == 2
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(run.parents[1], copy)
        done = deploy(copy / "runs" / run.name, solver=name, unconfirmed=True)
        same_as_trial(moved(done.folder, tmp_path / f"there-{number}"), rows)


def test_a_pool_that_is_picked_from_is_inside(run: Path) -> None:
    trials = json.loads((run / "decision.json").read_text())["trials"]
    (name,) = (f"few_shot/{t['solver']}" for t in trials if "bm25" in t["solver"])
    bundle = load_bundle(deploy(run, solver=name, unconfirmed=True).folder)
    assert any(file.path.endswith("/pool.jsonl") for file in bundle.files)
    assert not any("example" in file.path for file in bundle.files)


def test_an_index_of_another_encoder_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = json.loads((run / "decision.json").read_text())["trials"]
    (name,) = (f"few_shot/{t['solver']}" for t in trials if "bm25" in t["solver"])
    record = json.loads((run / "solvers.json").read_text())
    (one,) = (one for one in record["solvers"] if f"{one['step']}/{one['solver']}" == name)
    files = {
        path.name: path.read_bytes()
        for path in (run.parent / "artifacts" / one["record"]["selector"]["pool"]).iterdir()
    }
    vectors = np.zeros((len(files["pool.jsonl"].split(b"\n")), DIMENSIONS), np.float32)
    pool = save_artifact(
        run.parent / "artifacts", {**files, "embeddings.npy": array_bytes(vectors)}
    )
    one["record"]["selector"] |= {"pool": pool, "method": "embedding"}
    (run / "solvers.json").write_text(json.dumps(record))
    bundle = load_bundle(deploy(run, solver=name, unconfirmed=True).folder)
    assert bundle.models[-1].sha256 == ENCODER.sha256
    assert bundle.models[-1].licence == "Apache-2.0"
    with bundle.open():
        pass
    monkeypatch.setattr("stepladder.embeddings.ENCODER", replace(ENCODER, sha256="0" * 64))
    with pytest.raises(ModelError, match="made with the encoder"), bundle.open():
        pass


def test_using_it_leaves_no_trace_in_it(run: Path) -> None:
    folder = deploy(run).folder
    bundle = load_bundle(folder)
    with bundle.open() as workshop:
        list(bundle.solver.answer(["paint it red"], workshop))
        (workshop.artifacts / "kept.sqlite").write_text("as an index of embeddings does")
        scratch = workshop.artifacts
    assert not scratch.exists()
    assert load_bundle(folder) == bundle


def test_a_hosted_model_is_opened_as_the_task_said_but_for_batch_jobs(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    facts["task"]["providers"] = {"parrot": {"batch": True, "concurrency": 3}, "gemini": {}}
    (run / "run.json").write_text(json.dumps(facts))
    trials = json.loads((run / "decision.json").read_text())["trials"]
    name = next(f"prompt/{t['solver']}" for t in trials if t["step"] == "prompt")
    bundle = load_bundle(deploy(run, solver=name, unconfirmed=True).folder)
    (model,) = bundle.models
    assert (model.name, model.sha256, model.inside) == ("parrot:grey", None, None)
    with bundle.open() as workshop:
        assert not Parrots.opened, "not before it is asked"
        assert workshop.model("parrot:grey") is workshop.model("parrot:grey")
        (settings,) = Parrots.opened
        assert settings.options == {"concurrency": 3}
        assert settings.folder is None
        assert Path.cwd() not in (settings.artifacts, settings.jobs)
        with pytest.raises(StepladderError, match="does not name the model 'parrot:pink'"):
            workshop.model("parrot:pink")
    assert not Parrots.opened
    assert list(bundle.task.providers) == ["parrot"]


def test_a_call_is_priced_by_the_machine_of_the_task(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    facts["task"]["hardware"] = {"name": None, "dollars_per_hour": 3.6}
    (run / "run.json").write_text(json.dumps(facts))
    with load_bundle(deploy(run).folder).open() as workshop:
        assert workshop.price([Usage("solver:linear", compute_seconds=2.0)]) == pytest.approx(0.002)
        assert workshop.price([]) is None


# --- local models -------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny local model, with a cache folder of its own."""
    pytest.importorskip("openvino_genai")
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    return make_climbing_model(tmp_path / "model")


def test_a_base_model_stays_where_it_is_and_is_known_by_its_hash(
    local: Path, tmp_path: Path
) -> None:
    task = make_task_folder(tmp_path / "task", f"local:{local}", easy=True, rows=60)
    run = climb_to(task, "prompt")
    rows = rows_of(run, "prompt/" + trial_of(run, "prompt"))
    done = deploy(run, unconfirmed=True)
    assert done.unlicensed == (f"local:{local}",)
    bundle = moved(done.folder, tmp_path / "there")
    (model,) = bundle.models
    assert model.sha256 == base_fingerprint(local)
    assert model.base == f"local:{local}"
    assert not any(file.path.endswith(".safetensors") for file in bundle.files)
    same_as_trial(bundle, rows)

    other = make_climbing_model(tmp_path / "other")
    settings = json.loads((other / "tokenizer_config.json").read_text())
    settings["model_max_length"] = 2048
    (local / "tokenizer_config.json").write_text(json.dumps(settings))
    with bundle.open() as workshop, pytest.raises(ModelError, match="not the one that was measur"):
        list(bundle.solver.answer(["blue"], workshop))


def test_a_base_model_that_is_another_by_now_is_not_deployed(local: Path, tmp_path: Path) -> None:
    task = make_task_folder(tmp_path / "task", f"local:{local}", easy=True, rows=60)
    run = climb_to(task, "prompt")
    (local / "config.json").write_text((local / "config.json").read_text() + "\n")
    with pytest.raises(StepladderError, match="is not the one that was measured"):
        deploy(run, unconfirmed=True)


TUNED = """
[steps.fine_tune]
method = "{method}"
epochs = 1
threads = 1
device = "cpu"
"""


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_model_that_was_tuned_here_goes_along(method: str, local: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    more = TUNED.format(method=method)
    task = make_task_folder(tmp_path / "task", f"local:{local}", easy=True, rows=60, more=more)
    run = climb_to(task, "fine_tune")
    rows = rows_of(run, "fine_tune/" + trial_of(run, "fine_tune"))
    original = base_fingerprint(local)
    merged = deploy(run, unconfirmed=True, merged=True)
    assert [one.adapter for one in load_bundle(merged.folder).models] == [None]
    plain = deploy(run, unconfirmed=True)
    assert (plain.made, plain.before) == (True, merged.bundle)
    assert not deploy(run, unconfirmed=True, merged=True).made, "it is there already"
    bundle = moved(plain.folder, tmp_path / "there")
    (model,) = bundle.models
    assert model.base == f"local:{local}"
    assert model.sha256 == original
    assert (bundle.folder / str(model.inside) / "model.safetensors").is_file()
    assert (model.adapter is not None) == (method == "lora")
    shutil.rmtree(local)  # it needs its base no more
    same_as_trial(bundle, rows)


def test_a_tuned_model_that_was_changed_is_not_deployed(local: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    more = TUNED.format(method="full")
    task = make_task_folder(tmp_path / "task", f"local:{local}", easy=True, rows=60, more=more)
    run = climb_to(task, "fine_tune")
    (weights,) = (task / "runs" / "artifacts").glob("*/model/model.safetensors")
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(StepladderError, match="is not the one that was measured"):
        deploy(run, unconfirmed=True)
    shutil.rmtree(weights.parents[1])
    with pytest.raises(StepladderError, match=r"tuned model .* is not in") as refused:
        deploy(run, unconfirmed=True)
    assert "run the climb again" in refused.value.hint


def trial_of(run: Path, step: str) -> str:
    trials = json.loads((run / "decision.json").read_text())["trials"]
    return next(str(one["solver"]) for one in trials if one["step"] == step)


@pytest.mark.slow
def test_the_embedded_model_tuned_answers_from_its_bundle_as_it_was_measured(
    tmp_path: Path,
) -> None:
    more = '[steps.fine_tune]\nmethod = "lora"\nepochs = 1\n'
    model = "local:smollm2-135m-instruct"
    task = make_task_folder(tmp_path / "task", model, easy=True, rows=100, more=more)
    run = climb_to(task, "fine_tune")
    rows = rows_of(run, "fine_tune/" + trial_of(run, "fine_tune"))
    bundle = moved(deploy(run, unconfirmed=True).folder, tmp_path / "there")
    assert bundle.models[0].licence == "Apache-2.0"
    assert bundle.models[0].adapter
    assert {str(row["value"]) for row in rows} <= {*COLOURS}
    same_as_trial(bundle, rows)
