"""Several candidates of a bundle, and how probable its answer was: told truly, or refused."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from served_bundles import NAME, PLAIN, Says, Scorer, base, bundle, opened
from served_models import ask, ends_of, events_of, text_of, tokens_of, totals_of

from stepladder.core import Output, Request, Response, Usage
from stepladder.fake_live import FakeEngine
from stepladder.serve import Refusal
from stepladder.serve.served.bases import Bases
from stepladder.serve.served.bundle import BundleServed, open_bundle
from stepladder.solvers.citing import Knowledge
from stepladder.solvers.prompt import PromptSolver, calibrate, label_logprobs
from stepladder.testing import FakeModel, check_served_model, fake_workshop

LABELS = PromptSolver(
    NAME, "Which?", "classification", ("red", "blue"), output_format="label", scoring="labels"
)


def scoring(
    solver: PromptSolver, folder: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> BundleServed:
    scorer = Scorer()
    scorer.go.set()
    return open_bundle(bundle(solver, folder), Bases(lambda name, _: base(engine, scorer)), threads)


def test_candidates_are_one_answer_made_once(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    """It is the one that was measured: drawing others would serve what nobody measured."""
    served = opened(PLAIN, tmp_path, engine, threads)
    events = events_of(served, ask("what a day", n=3, given=frozenset({"n", "temperature"})))
    assert [text_of(events, index) for index in range(3)] == ["what a day"] * 3
    assert ends_of(events) == dict.fromkeys(range(3), "stop")
    assert len(engine.seen) == 1
    totals = totals_of(events)
    assert totals.usage.output_tokens == len("what a day") + 1, "what was made, once"
    assert totals.ignored == ("temperature",)
    check_served_model(served, ask("a few words", n=2))
    served.retire()


def test_a_solver_without_a_model_has_candidates_too(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    served = opened(Says(Output("blue")), tmp_path, engine, threads)
    events = events_of(served, ask(n=2))
    assert [text_of(events, index) for index in range(2)] == ["blue", "blue"]
    served.retire()


def test_the_tokens_that_the_model_said_are_told_with_their_probability(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    served = opened(PLAIN, tmp_path, engine, threads)
    plain = events_of(served, ask(" é "))
    events = events_of(served, ask(" é ", top_logprobs=2, n=2))
    assert text_of(events) == text_of(plain) == "é", "asking for them changes nothing"
    for index in range(2):
        tokens = tokens_of(events, index)
        # what the solver read the answer out of, blanks and all
        assert b"".join(token.data for token in tokens) == " é ".encode()
        assert all(token.logprob < 0 and len(token.top) == 2 for token in tokens)
    chosen = events_of(served, ask("x", top_logprobs=0))
    assert [(token.text, token.top) for token in tokens_of(chosen)] == [("x", ())]
    assert not tokens_of(plain)
    served.retire()


def test_asking_for_probabilities_changes_nothing_but_that(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    served = opened(PLAIN, tmp_path, engine, threads)
    for top in (None, 3):
        events_of(served, ask("x", top_logprobs=top))
    without, with_them = engine.seen
    assert replace(with_them, top_logprobs=None) == without
    served.retire()


def test_labels_that_are_scored_count_as_one_token_each(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    served = scoring(LABELS, tmp_path, engine, threads)
    events = events_of(served, ask("paint", top_logprobs=5))
    (token,) = tokens_of(events)
    assert (text_of(events), token.text, token.id) == ("blue", "blue", -1)
    assert [one.text for one in token.top] == ["blue", "red"]
    assert sum(math.exp(one.logprob) for one in token.top) == pytest.approx(1)
    assert token.logprob == token.top[0].logprob == pytest.approx(-math.log1p(math.exp(-16)))
    (bare,) = tokens_of(events_of(served, ask("paint", top_logprobs=0)))
    assert (bare.text, bare.top) == ("blue", ())
    served.retire()


def test_probabilities_of_labels_are_those_it_answers_by(tmp_path: Path) -> None:
    def score(request: Request) -> tuple[float, ...]:
        return (-1.0, -3.0) if request.messages[-1].content != "paint" else (-1.0, -2.0)

    workshop = fake_workshop(FakeModel(score=score), tmp_path)
    solver = calibrate(LABELS, workshop)
    ((_, output),) = solver.answer(["paint"], workshop)
    first, second = label_logprobs(solver, (-1.0, -2.0))
    assert output.value == "blue", "what is likely for no reason was divided out"
    assert output.confidence == pytest.approx(math.exp(second))
    assert math.exp(first) + math.exp(second) == pytest.approx(1)


class Elsewhere:
    """A hosted model: it tells one number for all that it said."""

    name = NAME
    fingerprint = "f" * 16

    def generate(self, requests: Any) -> Any:
        for index, _ in enumerate(requests):
            yield index, Response("blue", Usage(NAME, 1, 1), logprob=-0.5)

    def count_tokens(self, messages: Any) -> int:
        return 1


KNOWING = replace(PLAIN, knowledge=Knowledge("0" * 64))


@pytest.mark.parametrize(
    ("solver", "why"),
    [(Says(Output("blue")), "'says', is not a prompt"), (KNOWING, "with citations")],
)
def test_what_has_no_probabilities_is_refused_before_it_is_asked(
    solver: Any, why: str, tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    served = opened(solver, tmp_path, engine, threads)
    with pytest.raises(Refusal, match=f"'colours' has no log-probabilities: .*{why}") as caught:
        events_of(served, ask(top_logprobs=0))
    assert (caught.value.status, caught.value.param) == (400, "logprobs")
    assert not engine.seen
    served.retire()


def test_a_model_elsewhere_has_none_by_token(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor, monkeypatch: Any
) -> None:
    served = opened(PLAIN, tmp_path, engine, threads)
    elsewhere = replace(served._workshop, model=lambda name: Elsewhere())
    monkeypatch.setattr(served, "_workshop", elsewhere)
    assert text_of(events_of(served, ask(n=2)), 1) == "blue"
    with pytest.raises(Refusal, match="'local:fake' tells none by token"):
        events_of(served, ask(top_logprobs=1))
    served.retire()
