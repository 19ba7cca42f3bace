"""Which demonstrations, and how many are worth their tokens."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from step_tasks import EXTRACT, SORT, asked, drug_of, messages, reports, right_when, truth

from stepladder.core import Candidate, Economics, Evaluation, Example, Request, Trial, Usage
from stepladder.errors import MissingExtra, NotApplicable, StepladderError
from stepladder.solvers.prompt import PromptSolver, calibrate
from stepladder.steps.demos import not_too_long, pick_balanced, pick_diverse, pick_random
from stepladder.steps.few_shot import FewShot
from stepladder.testing import FakeModel, check_solver, check_step, fake_workshop

TRAIN = messages(80)
WORDS_ONLY = FewShot(methods=("random", "balanced", "diverse", "bm25"))


def shown(request: Request) -> list[str]:
    return [str(m.content) for m in request.messages if m.role == "assistant"]


def imitates(request: Request) -> str:
    """Knows a label only when it is shown."""
    label = truth(asked(request))
    return label if label in shown(request) else "hm"


def trial(solver: object) -> Trial:
    candidate = Candidate("prompt", "best", solver)  # type: ignore[arg-type]
    return Trial(candidate, Evaluation("dev", "accuracy", (), 0.5, 0.4, 0.6, 0.05, "", 0))


@pytest.fixture(autouse=True)
def _no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real encoder has its own, slow test; here vectors count letters."""

    def embed(texts: list[str]) -> object:
        counts = np.array([[text.count(c) for c in "abcdefghijklmnopqrst!"] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)

    monkeypatch.setattr("stepladder.embeddings.embed", embed)


def test_the_step_keeps_its_contract(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(imitates), tmp_path)
    check_step(FewShot(), SORT, TRAIN, workshop)
    for candidate in FewShot(keep=5).propose(SORT, TRAIN, None, workshop):
        check_solver(candidate.solver, ["money back", "!"], workshop)
    workshop = fake_workshop(FakeModel(lambda request: drug_of(asked(request))), tmp_path)
    check_step(FewShot(), EXTRACT, reports(60), workshop)


def test_picking_per_input_wins_where_only_the_like_helps(tmp_path: Path) -> None:
    found = FewShot(k=(1,)).propose(SORT, TRAIN, None, fake_workshop(FakeModel(imitates), tmp_path))
    best = max(found, key=lambda candidate: "+" in candidate.changed)
    names = [candidate.name for candidate in found]
    assert {"bm25-1"} <= set(names)
    assert len(names) == 3
    assert "picked per input" in best.changed or "the same for all" in best.changed


def test_more_demonstrations_are_kept_only_when_they_help(tmp_path: Path) -> None:
    indifferent = FakeModel(right_when(lambda request: 0.5, "hm"))
    step = FewShot(methods=("balanced",))
    (one,) = step.propose(SORT, TRAIN, None, fake_workshop(indifferent, tmp_path))
    assert one.name == "balanced-2"
    hungry = FakeModel(right_when(lambda request: len(shown(request)) / 8, "hm"))
    (one,) = step.propose(SORT, TRAIN, None, fake_workshop(hungry, tmp_path))
    assert one.name == "balanced-8"
    assert "on 24 held-out train examples" in one.changed
    assert "tokens and +0.00 s of computing per request" in one.changed


def test_a_price_and_a_value_decide_when_both_are_known(tmp_path: Path) -> None:
    hungry = FakeModel(right_when(lambda request: len(shown(request)) / 8, "hm"))
    valued = replace(SORT, economics=Economics(dollars_per_success=1.0))
    step = FewShot(methods=("balanced",))

    def chosen(dollars_per_token: float) -> Candidate:
        def price(calls: Iterable[Usage]) -> float:
            return dollars_per_token * sum(call.input_tokens or 0 for call in calls)

        workshop = replace(fake_workshop(hungry, tmp_path), price=price)
        (one,) = step.propose(valued, TRAIN, None, workshop)
        assert one.build_dollars == pytest.approx(price(call_of(r) for r in hungry.seen))
        hungry.seen.clear()
        return one

    cheap, dear = chosen(1e-6), chosen(1.0)
    assert (cheap.name, dear.name) == ("balanced-8", "balanced-2")
    assert "per 1,000 requests, at $1 a success" in cheap.changed
    assert "did not earn its tokens" in dear.changed


def call_of(request: Request) -> Usage:
    return Usage("fake:model", input_tokens=FakeModel().count_tokens(request.messages))


def test_demonstrations_never_come_from_the_slice_they_are_measured_on(tmp_path: Path) -> None:
    model = FakeModel(imitates)
    list(WORDS_ONLY.propose(SORT, TRAIN, None, fake_workshop(model, tmp_path)))
    measured = {asked(request) for request in model.seen}
    assert len(measured) == WORDS_ONLY.slice
    for request in model.seen:
        turns = [str(m.content) for m in request.messages if m.role == "user"]
        assert not measured & set(turns[:-1])


def test_at_the_end_a_pool_is_all_of_train(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(imitates), tmp_path)
    (one,) = FewShot(methods=("bm25",)).propose(SORT, TRAIN, None, workshop)
    assert isinstance(one.solver, PromptSolver)
    assert one.solver.selector is not None
    pool = workshop.artifacts / one.solver.selector["pool"] / "pool.jsonl"
    assert len(pool.read_text().splitlines()) == len(TRAIN)


def test_the_best_prompt_is_built_upon(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(imitates, score=lambda r: (-1.0, -2.0, -3.0)), tmp_path)
    solver = PromptSolver(
        "fake:model",
        "My own words.",
        task_kind="classification",
        labels=SORT.labels,
        output_format="label",
        placement="user",
    )
    base = trial(calibrate(solver, workshop))
    step = FewShot(methods=("random", "bm25"), k=(2,), keep=2)
    found = {one.name: one.solver for one in step.propose(SORT, TRAIN, base, workshop)}
    fixed, picked = found["random-2"], found["bm25-2"]
    assert isinstance(fixed, PromptSolver)
    assert isinstance(picked, PromptSolver)
    assert (fixed.instructions, fixed.placement) == ("My own words.", "user")
    assert fixed.scoring == "calibrated", "measured anew for the longer prompt"
    assert picked.scoring == "labels", "no prior fits all prompts"
    check_solver(fixed, ["x"], workshop)


def test_what_is_not_installed_is_left_out_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(texts: list[str]) -> object:
        raise MissingExtra("the text encoder needs the package 'torch'")

    monkeypatch.setattr("stepladder.embeddings.embed", missing)
    workshop = fake_workshop(FakeModel(imitates), tmp_path)
    step = FewShot(methods=("bm25", "embedding"))
    (one,) = step.propose(SORT, TRAIN, None, workshop)
    assert one.name.startswith("bm25")
    assert one.cautions == ("embedding was left out: the text encoder needs the package 'torch'",)
    with pytest.raises(NotApplicable, match="embedding was left out"):
        FewShot(methods=("embedding",)).propose(SORT, TRAIN, None, workshop)


def test_prompts_stay_within_the_context(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(imitates), tmp_path)
    room = 26 + 60  # words of a prompt with few demos, and the answer's tokens
    step = FewShot(methods=("random", "bm25"), max_input_tokens=room)
    for one in step.propose(SORT, TRAIN, None, workshop):
        assert any("max_input_tokens = 86 allows" in caution for caution in one.cautions)
        assert one.name.endswith(("-2", "-4"))


def test_misuse_is_told(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    with pytest.raises(StepladderError, match="no method 'magic'"):
        FewShot(methods=("magic",))
    with pytest.raises(StepladderError, match="k="):
        FewShot(k=())
    assert FewShot(k=4).k == (4,)  # type: ignore[arg-type]
    assert FewShot(k=[8, 2]).k == (2, 8)  # type: ignore[arg-type]
    with pytest.raises(NotApplicable, match="too few"):
        FewShot().propose(SORT, TRAIN[:3], None, workshop)
    with pytest.raises(NotApplicable, match="names no model"):
        FewShot().estimate(replace(SORT, models=()), TRAIN, workshop)


def test_picks_grow_with_k_and_repeat_with_the_seed() -> None:
    for pick in (pick_random, pick_balanced, pick_diverse):
        four, eight = pick(TRAIN, 4, 1), pick(TRAIN, 8, 1)
        assert eight[:4] == four
        assert pick(TRAIN, 8, 1) == eight
        assert len({example.id for example in eight}) == 8
    assert pick_random(TRAIN, 8, 1) != pick_random(TRAIN, 8, 2)
    assert len({example.expected for example in pick_balanced(TRAIN, 3, 1)}) == 3


def test_diverse_picks_cover_what_is_rare() -> None:
    common = [Example(str(i), f"the card is lost again {i}", "a") for i in range(20)]
    rare = Example("rare", "exchange rates abroad", "b")
    assert rare in pick_diverse([*common, rare], 2, 0)
    also = Example("also", "please close my account", "c")
    ids = {example.id for example in pick_diverse([*common, rare, also], 3, 0)}
    assert {"rare", "also"} < ids
    with pytest.raises(NotApplicable, match="words"):
        pick_diverse([Example("1", "", "a")], 1, 0)


def test_the_longest_examples_are_not_shown() -> None:
    long = Example("long", "word " * 500, "a")
    assert long not in not_too_long([*TRAIN, long])
    assert len(not_too_long(TRAIN)) >= 0.7 * len(TRAIN)
