"""What runs in a worker, without a cluster: batches in, replies out, and what was kept before."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from climbing import number_task
from plugin_solvers import Fussy, install

from stepladder.answers import Answers, CachedModel
from stepladder.catalogue import Catalogue
from stepladder.core import Example, Workshop
from stepladder.cost import Prices
from stepladder.errors import StepladderError
from stepladder.executors import HERE, Executor, Here, open_executor
from stepladder.executors.ray_data import RayCluster, _recall
from stepladder.executors.shipping import Shipment
from stepladder.executors.worker import Answerer, Ask, Recall, Reply, Shop
from stepladder.registry import BUILT_IN
from stepladder.solvers import solver_record
from stepladder.solvers.linear import fit_linear
from stepladder.solvers.prompt import PromptSolver
from stepladder.store import open_run
from stepladder.testing import FakeModel


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "plugins")
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))


def shop_of(solver: Any, folder: Path, **more: Any) -> Shop:
    prices = Prices(date(2026, 11, 22))
    record = solver_record(solver)
    return Shop(record, number_task(folder), folder, Catalogue(), prices, Shipment(), **more)


def asked(shop: Shop, inputs: Sequence[str], **known: Any) -> Reply:
    ask = Ask(range(100, 100 + len(inputs)), inputs, **known)
    reply = pickle.loads(Answerer(shop)(pickle.dumps(ask)))
    assert isinstance(reply, Reply)
    return reply


def test_a_batch_is_answered_by_the_places_of_its_inputs(tmp_path: Path) -> None:
    reply = asked(shop_of(Fussy("heard"), tmp_path), ["a", "b"])
    assert [(at, output.value) for at, output in reply.outputs] == [
        (100, "heard a"),
        (101, "heard b"),
    ]


def test_an_input_that_breaks_the_solver_costs_no_other_its_answer(tmp_path: Path) -> None:
    reply = asked(shop_of(Fussy(), tmp_path), ["a", "break", "c", "skip"])
    found = dict(reply.outputs)
    assert [found[at].value for at in (100, 102)] == ["said a", "said c"]
    assert found[101].error == repr(ZeroDivisionError("broken by this row"))
    assert found[103].error == "the solver gave no answer"


def test_what_the_solver_says_ends_it_with_the_rows_it_was_at(tmp_path: Path) -> None:
    reply = asked(shop_of(Fussy(), tmp_path), ["a", "stop"])
    assert type(reply.end).__name__ == "ModelError"
    assert f"nothing works here (rows 101 to 102, worker {os.getpid()}" in str(reply.end)
    assert isinstance(reply.end, StepladderError)
    assert reply.end.hint == "mend it"


def test_a_solver_that_a_worker_does_not_know_is_an_error_not_a_crash(tmp_path: Path) -> None:
    shop = shop_of(Fussy(), tmp_path)
    reply = asked(Shop(**{**vars(shop), "solver": {"kind": "unknown"}}), ["a"])
    assert "no solver is called 'unknown'" in str(reply.end)


class Provider:
    """One fake model for every name; how often it was asked is in the model."""

    fake = FakeModel(lambda request: "even", name="local:fake")

    def __init__(self, settings: object) -> None:
        self.fake.fingerprint = "f1"  # type: ignore[attr-defined]

    def model(self, name: str) -> FakeModel:
        return self.fake


@pytest.fixture
def fake_provider(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    monkeypatch.setitem(BUILT_IN["provider"], "local", f"{__name__}:Provider")
    Provider.fake.seen.clear()
    return Provider.fake


ASKING = PromptSolver("local:fake", "Even or odd?")


def test_model_calls_come_back_to_be_kept_and_known_ones_are_not_made(
    tmp_path: Path, fake_provider: FakeModel
) -> None:
    shop = shop_of(ASKING, tmp_path, fingerprints={"local:fake": "f1"})
    first = asked(shop, ["1", "2"])
    assert first.end is None
    assert [output.text for _, output in first.outputs] == ["even", "even"]
    assert len(first.calls) == len(fake_provider.seen) == 2
    again = asked(shop, ["1", "2", "3"], known=first.calls)
    assert len(again.outputs) == 3
    assert len(again.calls) == 1
    assert len(fake_provider.seen) == 3


def test_a_model_that_is_another_one_on_the_worker_is_refused(
    tmp_path: Path, fake_provider: FakeModel
) -> None:
    reply = asked(shop_of(ASKING, tmp_path, fingerprints={"local:fake": "f2"}), ["1"])
    assert "is not the one that the climb has: its fingerprint is f1, not f2" in str(reply.end)
    assert not fake_provider.seen


def test_what_a_worker_kept_is_found_here_and_needs_no_worker_again(
    tmp_path: Path, fake_provider: FakeModel
) -> None:
    answers = Answers(tmp_path / "answers.sqlite")
    fake_provider.fingerprint = "f1"  # type: ignore[attr-defined]
    workshop = Workshop(
        lambda name: CachedModel(fake_provider, answers), tmp_path, lambda event, told: None
    )
    nothing = _recall(ASKING, ["1", "2"], workshop, answers)
    assert isinstance(nothing, Recall)
    assert nothing.known == {}
    reply = asked(shop_of(ASKING, tmp_path), ["1", "2"])
    (key, response), *others = reply.calls.items()
    answers.put(key, response)
    half = _recall(ASKING, ["1", "2"], workshop, answers)
    assert isinstance(half, Recall)
    assert half.known == {key: response}
    for key, response in others:
        answers.put(key, response)
    whole = _recall(ASKING, ["1", "2"], workshop, answers)
    assert isinstance(whole, list)
    assert dict(whole) == {at - 100: output for at, output in reply.outputs}
    assert len(fake_provider.seen) == 2  # by the worker alone
    answers.close()


def test_small_sets_hosted_models_and_calls_are_answered_here(tmp_path: Path) -> None:
    """No cluster is started: with Ray shut off, it would fail."""
    fake = FakeModel(lambda request: "even", name="openai:fake")
    workshop = Workshop(lambda name: fake, tmp_path / "artifacts", lambda event, told: None)
    answers = Answers(tmp_path / "answers.sqlite")
    cluster = RayCluster(number_task(tmp_path), answers, address="127.0.0.1:1")
    hosted = PromptSolver("openai:fake", "Even or odd?")
    assert len(dict(cluster.answer(hosted, ["1"] * 500, workshop))) == 500
    train = [Example(str(n), f"it is {n % 2}", str(n % 2)) for n in range(20)]
    few = fit_linear(train, workshop)
    assert len(dict(cluster.answer(few, ["it is 1"] * 500, workshop))) == 500
    cluster.close()
    answers.close()


@pytest.mark.parametrize("name", ["cloud", "ray://1.2.3.4:10001", ""])
def test_an_executor_that_there_is_none_of_names_those_there_are(tmp_path: Path, name: str) -> None:
    task = number_task(tmp_path)
    with open_run(tmp_path / "runs", "x") as run:
        with pytest.raises(StepladderError, match="nothing that answers is called") as told:
            open_executor(name, task, run)
        assert "ray:HOST:PORT" in told.value.hint
        assert open_executor("here", task, run) is HERE
        found = open_executor("ray:10.0.0.1:6379", task, run)
    assert isinstance(found, RayCluster)
    assert found.address == "10.0.0.1:6379"
    assert all(isinstance(one, Executor) for one in (found, Here()))
