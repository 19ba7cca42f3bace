"""Before a bundle becomes current, a real server serves it and is compared with the trial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundling import Parrots

from stepladder.bundles import deploy
from stepladder.bundles.checking import ServedAsMeasured, check_of
from stepladder.bundles.current import current_of
from stepladder.bundles.endpoint import ask_endpoint, serving
from stepladder.bundles.served import NotServed
from stepladder.models import ProviderSettings
from stepladder.registry import BUILT_IN
from stepladder.testing import FakeModel

pytestmark = pytest.mark.network


class Liars(Parrots):
    """Parrots that a server makes say something else than they said when they were measured."""

    def model(self, name: str) -> FakeModel:
        honest = super().model(name)
        return FakeModel(lambda request: _other(honest.reply(request)), name=name)


def open_liars(settings: ProviderSettings) -> Liars:
    return Liars(settings)


def _other(said: str) -> str:
    return {"red": "blue", "blue": "red"}[said]


def prompted(run: Path) -> str:
    record = json.loads((run / "solvers.json").read_text(encoding="utf-8"))
    return next(
        f"{one['step']}/{one['solver']}" for one in record["solvers"] if one["step"] == "prompt"
    )


def test_a_bundle_that_is_served_as_measured_becomes_current(run: Path) -> None:
    told: list[tuple[int, int]] = []
    check = ServedAsMeasured(tell=lambda done, of: told.append((done, of)))
    done = deploy(run, check=check)
    assert done.moved
    assert done.served is not None
    assert (done.served["passed"], done.served["differing"]) == (True, 0)
    assert done.served["measured_score"] == done.served["served_score"]
    assert told[-1] == (done.served["n"], done.served["n"])
    assert check_of(done.folder) == done.served


def test_a_check_that_passed_is_not_repeated(run: Path) -> None:
    first = deploy(run, check=ServedAsMeasured())
    told: list[int] = []
    again = deploy(run, check=ServedAsMeasured(tell=lambda done, of: told.append(done)))
    assert (again.served, told) == (first.served, [])


def test_a_server_that_answers_otherwise_blocks_and_names_the_examples(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(run)
    before = current_of(run.parent.parent / "bundles")
    monkeypatch.setitem(BUILT_IN["provider"], "parrot", "test_checking:open_liars")
    with pytest.raises(NotServed, match="is not served as it was measured") as blocked:
        deploy(run, solver=prompted(run), unconfirmed=True, check=ServedAsMeasured())
    assert current_of(run.parent.parent / "bundles") == before
    check = blocked.value.check
    assert check.differing == check.n
    assert {one.served for one in check.differences} <= {"red", "blue"}
    assert "has the examples that differ" in blocked.value.hint
    monkeypatch.setitem(BUILT_IN["provider"], "parrot", "bundling:open_parrots")
    assert deploy(run, solver=prompted(run), unconfirmed=True, check=ServedAsMeasured()).moved


def test_an_endpoint_that_refuses_is_a_failed_reply(run: Path) -> None:
    with serving(deploy(run).folder) as (url, model):
        ((_, known),) = ask_endpoint(url, model)(["a red thing"])
        ((_, unknown),) = ask_endpoint(url, "nobody")(["a red thing"])
    assert known.error is None
    assert known.text in ("red", "blue")
    assert (unknown.error or "").startswith("404")


def test_a_server_that_is_gone_is_a_failed_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepladder.bundles.endpoint.time.sleep", lambda seconds: None)
    ((_, reply),) = ask_endpoint("http://127.0.0.1:9", "nobody")(["x"])
    assert "refused" in (reply.error or "").lower()
