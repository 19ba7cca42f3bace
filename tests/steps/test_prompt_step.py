"""The search finds what the model follows, and says what it tried."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from step_tasks import (
    EXTRACT,
    LABELS,
    SORT,
    asked,
    drug_of,
    messages,
    prompt_of,
    reports,
    right_when,
)

from stepladder.core import Candidate, Request, Task, Usage
from stepladder.errors import ModelError, NotApplicable, StepladderError
from stepladder.solvers.prompt import PromptSolver
from stepladder.steps.prompt import Prompt
from stepladder.steps.prompt_variants import plain_prompt, variants
from stepladder.testing import FakeModel, check_step, fake_workshop

TRAIN, REPORTS = messages(60), reports(40)


def searched(
    model: FakeModel, tmp_path: Path, task: Task = SORT, step: Prompt | None = None
) -> list[Candidate]:
    train = TRAIN if task.kind == "classification" else REPORTS
    found = (step or Prompt()).propose(task, train, None, fake_workshop(model, tmp_path))
    candidates = list(found)
    assert all(isinstance(candidate.solver, PromptSolver) for candidate in candidates)
    return candidates


def flat_scores(request: Request) -> tuple[float, ...]:
    return tuple(-1.0 for _ in request.choices)


def test_the_step_keeps_its_contract(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        return right_when(lambda r: 0.5 + 0.3 * bool(r.choices), "dunno")(request)

    model = FakeModel(reply, score=flat_scores)
    check_step(Prompt(), SORT, TRAIN, fake_workshop(model, tmp_path))
    model = FakeModel(lambda request: drug_of(asked(request)))
    check_step(Prompt(), EXTRACT, REPORTS, fake_workshop(model, tmp_path))


def test_a_model_that_only_obeys_constraints_gets_a_constrained_prompt(tmp_path: Path) -> None:
    model = FakeModel(right_when(lambda r: 1.0 if r.choices else 0.1, "hm"), score=flat_scores)
    found = searched(model, tmp_path)
    assert {"plain"} < {candidate.name for candidate in found}
    assert len(found) == 4
    best = [candidate for candidate in found if candidate.name != "plain"]
    assert best[0].solver.constrained  # type: ignore[attr-defined]
    assert found[0].name == "labels-hidden-constrained", "the fewest tokens come first"


def test_failures_become_sentences_from_examples_that_do_not_judge_them(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        told = "'refund', not 'card_lost'" in prompt_of(request)
        return right_when(lambda r: 1.0 if told or "back" not in asked(r) else 0, "card_lost")(
            request
        )

    model = FakeModel(reply, score=flat_scores)
    found = searched(model, tmp_path)
    corrected = [c for c in found if c.name.endswith("+corrected")]
    assert corrected, [c.name for c in found]
    wording = corrected[0].solver.instructions  # type: ignore[attr-defined]
    assert wording.startswith("Sort the message.")
    quoted = [example for example in TRAIN if example.input in wording]
    assert quoted
    judged = {asked(request) for request in model.seen if wording in prompt_of(request)}
    assert judged
    assert not judged & {example.input for example in quoted}
    assert "from failures on train" in corrected[0].changed


def test_unreadable_answers_lead_to_a_sentence_on_form(tmp_path: Path) -> None:
    def chatty(request: Request) -> str:
        told = "no explanation" in prompt_of(request)
        return drug_of(asked(request)) if told else "It is a drug."

    found = searched(FakeModel(chatty), tmp_path, EXTRACT)
    assert any(candidate.name.endswith("+corrected") for candidate in found)


def test_without_failures_there_is_nothing_to_correct(tmp_path: Path) -> None:
    found = searched(FakeModel(lambda request: drug_of(asked(request))), tmp_path, EXTRACT)
    assert not any("corrected" in candidate.name for candidate in found)


def test_what_helps_alone_is_tried_together(tmp_path: Path) -> None:
    def good(request: Request) -> float:
        in_user_turn = request.messages[0].role == "user"
        return 0.2 + 0.4 * bool(request.choices) + 0.4 * in_user_turn

    found = searched(FakeModel(right_when(good, "hm"), score=flat_scores), tmp_path)
    both = [c for c in found if "+" in c.name and "corrected" not in c.name]
    assert both, [c.name for c in found]
    assert both[0].solver.constrained  # type: ignore[attr-defined]
    assert both[0].solver.placement == "user"  # type: ignore[attr-defined]


def test_the_plain_prompt_is_free_and_the_others_cost_the_search(tmp_path: Path) -> None:
    model = FakeModel(right_when(lambda r: 0.5, "hm"), score=flat_scores)
    found = searched(model, tmp_path)
    costs = {candidate.name: candidate.build_calls for candidate in found}
    assert costs.pop("plain") == 0
    (cost,) = set(costs.values())
    assert 0 < len(model.seen) <= cost  # what two variants both ask is asked once


def test_label_scoring_is_tried_when_it_is_affordable(tmp_path: Path) -> None:
    def score(request: Request) -> tuple[float, ...]:
        words = asked(request)
        right = [label in ("refund",) and "back" in words for label in request.choices]
        return tuple(-0.1 if hit else -2.0 - at for at, hit in enumerate(right))

    model = FakeModel(lambda request: "hm", score=score)
    assert any(request.score_choices for request in _seen(model, tmp_path, Prompt()))
    model = FakeModel(lambda request: "hm", score=score)
    assert not any(r.score_choices for r in _seen(model, tmp_path, Prompt(max_scoring_calls=100)))
    found = searched(model, tmp_path, step=Prompt(max_scoring_calls=100))
    assert (
        "label scoring was left out: 3 labels would take 210 scored answers"
        in (found[0].cautions[0])
    )


def _seen(model: FakeModel, tmp_path: Path, step: Prompt) -> list[Request]:
    searched(model, tmp_path, step=step)
    return model.seen


def test_what_the_model_cannot_do_is_left_out_aloud(tmp_path: Path) -> None:
    found = searched(FakeModel(right_when(lambda request: 0.5, "hm")), tmp_path)
    assert {"plain"} < {candidate.name for candidate in found}
    assert [caution.partition(":")[0] for caution in found[0].cautions] == [
        "scored was left out",
        "calibrated was left out",
    ]

    def down(request: Request) -> str:
        raise RuntimeError("down")

    with pytest.raises(ModelError, match="down"):
        searched(FakeModel(down), tmp_path)


def test_the_first_model_is_climbed_before_a_dearer_one_is_paid_for(tmp_path: Path) -> None:
    model = FakeModel(right_when(lambda r: 1.0 if r.choices else 0.1, "hm"), score=flat_scores)
    found = searched(model, tmp_path, replace(SORT, models=("fake:small", "fake:big")))
    assert {c.solver.model for c in found} == {"fake:small"}  # type: ignore[attr-defined]


def test_a_model_that_cannot_score_labels_is_never_asked_to(tmp_path: Path) -> None:
    class Writes(FakeModel):
        scores_choices = False

    model = Writes(right_when(lambda r: 0.5, "hm"))
    found = searched(model, tmp_path)
    assert not any(request.score_choices for request in model.seen)
    assert found[0].cautions == (), "it is no failure that needs a word"
    asked_of_it = Prompt().estimate(SORT, TRAIN, fake_workshop(model, tmp_path)).calls
    assert asked_of_it < Prompt().estimate(SORT, TRAIN, fake_workshop(FakeModel(), tmp_path)).calls


def test_without_search_or_examples_the_plain_prompt_is_left(tmp_path: Path) -> None:
    model = FakeModel()
    workshop = fake_workshop(model, tmp_path)
    for step, train in ((Prompt(search="none"), TRAIN), (Prompt(), TRAIN[:1])):
        (only,) = step.propose(SORT, train, None, workshop)
        assert only.solver == plain_prompt(SORT)
        assert step.estimate(SORT, train, workshop).calls == 0
    assert model.seen == []


def test_plain_prompts_follow_the_kind_of_task() -> None:
    assert plain_prompt(SORT).output_format == "label"
    assert plain_prompt(EXTRACT).output_format == "json"
    assert plain_prompt(EXTRACT).show_schema
    free = replace(SORT, kind="generation", labels=())
    assert plain_prompt(free).output_format == "text"
    assert plain_prompt(SORT).max_output_tokens < SORT.max_output_tokens
    assert [v.name for v in variants(free, scoring=True)] == ["terse", "in-user-turn", "reminded"]
    names = [v.name for v in variants(SORT, scoring=True)]
    assert {"described", "json", "scored", "calibrated", "labels-hidden-constrained"} < set(names)


def test_misuse_is_told(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    with pytest.raises(NotApplicable, match="names no model"):
        Prompt().propose(replace(SORT, models=()), TRAIN, None, workshop)
    with pytest.raises(StepladderError, match="no search 'random'"):
        Prompt(search="random")  # type: ignore[arg-type]
    with pytest.raises(StepladderError, match="sample=2"):
        Prompt(sample=2)
    with pytest.raises(StepladderError, match="capable model"):
        Prompt(search="gepa").propose(SORT, TRAIN, None, workshop)


def test_local_models_are_estimated_in_seconds_and_dollars(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    hosted = Prompt().estimate(SORT, TRAIN, workshop)
    assert (hosted.seconds, hosted.dollars) == (None, None)
    assert hosted.calls > 100
    local = replace(SORT, models=("local:small",))
    estimate = Prompt().estimate(local, TRAIN, workshop)
    assert estimate.seconds is not None
    assert estimate.dollars is None
    priced = replace(local, hardware=replace(local.hardware, dollars_per_hour=3600.0))
    assert Prompt().estimate(priced, TRAIN, workshop).dollars == pytest.approx(estimate.seconds)


def test_hosted_calls_are_priced_by_expected_tokens_before_any_is_made(tmp_path: Path) -> None:
    seen: list[Usage] = []

    def price(calls: Iterable[Usage]) -> float:
        seen.extend(calls)
        return sum((one.input_tokens or 0) * 1e-6 + (one.output_tokens or 0) * 4e-6 for one in seen)

    class Timed(FakeModel):
        seconds_per_call = 0.25

    model = Timed()
    workshop = replace(fake_workshop(model, tmp_path), price=price)
    task = replace(SORT, thinking_tokens=100, providers={"fake": {"batch": True}})
    estimate = Prompt().estimate(task, TRAIN, workshop)
    (one,) = seen
    assert (one.model, one.cached_tokens, one.audio_tokens, one.tier) == (
        "fake:model",
        0,
        0,
        "batch",
    )
    assert (one.output_tokens or 0) > (one.thinking_tokens or 0) == 100
    assert estimate.dollars == pytest.approx(estimate.calls * price([]))
    assert estimate.seconds == pytest.approx(estimate.calls * 0.25)
    assert model.seen == []


def gepa_model() -> FakeModel:
    def reply(request: Request) -> str:
        if "new instruction" in prompt_of(request):
            return "Think.\n```\nSort it with care.\n```"
        return right_when(lambda r: 1.0 if "with care" in prompt_of(r) else 0.2, "hm")(request)

    return FakeModel(reply, score=flat_scores)


def test_gepa_rewrites_the_wording_with_the_capable_model(tmp_path: Path) -> None:
    pytest.importorskip("gepa")
    task = replace(SORT, prompt_model="fake:big")
    step = Prompt(search="gepa", gepa_calls=80, max_scoring_calls=0)
    found = searched(gepa_model(), tmp_path, task, step)
    evolved = [c for c in found if c.name.endswith("+gepa")]
    assert [c.solver.instructions for c in evolved] == ["Sort it with care."]  # type: ignore[attr-defined]
    check_step(step, task, TRAIN, fake_workshop(gepa_model(), tmp_path))


def test_a_capable_model_that_fails_stops_gepa(tmp_path: Path) -> None:
    pytest.importorskip("gepa")

    def reply(request: Request) -> str:
        if "new instruction" in prompt_of(request):
            raise RuntimeError("no credit left")
        return "hm" if len(asked(request)) % 2 else LABELS[0]

    task = replace(SORT, prompt_model="fake:big")
    step = Prompt(search="gepa", max_scoring_calls=0)
    with pytest.raises(ModelError, match="no credit left"):
        searched(FakeModel(reply), tmp_path, task, step)
