"""Which search, which passages and who cites: chosen on train, proposed with reasons."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepladder.core import (
    Candidate,
    DataSource,
    Diagnosis,
    Evaluation,
    Example,
    MetricSpec,
    Request,
    Target,
    Task,
    Trial,
    Usage,
)
from stepladder.errors import NotApplicable, StepladderError, TaskError
from stepladder.knowledge.scoring import gold_of
from stepladder.session import LADDER, make_steps
from stepladder.solvers import artifacts_of, models_of, solver_from_record, solver_record
from stepladder.solvers.prompt import PromptSolver
from stepladder.steps.prompt_variants import plain_prompt
from stepladder.steps.retrieval import Retrieval
from stepladder.testing import FakeModel, check_solver, check_step, fake_workshop

CITIES = (
    "Arles", "Basel", "Cadiz", "Delft", "Evora", "Fermo", "Ghent", "Hania", "Imola", "Jena",
    "Kotor", "Lucca", "Malmo", "Narva", "Olbia", "Porto", "Quimper", "Riga", "Split", "Turku",
    "Udine", "Varna", "Worms", "Ypres", "Zadar",
)  # fmt: skip
WORDS = Retrieval(retrievers=("words",), rerank=False, slice=8, sizes=(40, 80), overlaps=(0.0,))


def asked(request: Request) -> str:
    """The last turn."""
    return str(request.messages[-1].content)


def code_of(city: str) -> str:
    return f"code{CITIES.index(city) * 7 + 3}"


def make_task(folder: Path, **changes: Any) -> Task:
    rows = [
        {
            "id": city,
            "title": f"Office of {city}",
            "text": f"This page is about the office in {city}. Its door code is {code_of(city)}. "
            "Visitors are welcome in the morning. Coffee is on the second floor.",
        }
        for city in CITIES
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    (folder / "corpus.jsonl").write_text(lines, encoding="utf-8")
    task = Task(
        "doors", "qa", "Answer the question.", Target(0.9), MetricSpec("exact_match"), DataSource(),
        models=("fake:model",), max_output_tokens=16, folder=folder,
    )  # fmt: skip
    return replace(task, **changes)


def questions(gold: bool = True, n: int = 25) -> tuple[Example, ...]:
    return tuple(
        Example(
            f"q{at}", f"What is the door code of the office in {city}?", code_of(city),
            metadata={"gold_docs": [city]} if gold else {},
        )
        for at, city in enumerate(CITIES[:n])
    )  # fmt: skip


def reads(request: Request) -> str:
    """Knows nothing but what a passage about the city says, and cites it when it is asked to."""
    text = asked(request)
    city = re.findall(r"the office in (\w+)\?", text)[-1]
    city = city if city[0].isupper() else city[::-1]
    for number, block in re.findall(r"\[(\d+)\][^\n]*\n<passage>\n(.*?)\n</passage>", text, re.S):
        if found := re.search(rf"office in {city}\. Its door code is (\w+)", block):
            cites = "as in [1]" in "".join(str(one.content) for one in request.messages)
            return found.group(1) + (f" [{number}]" if cites else "")
    return "not in the documents"


def trial(solver: Any, **kinds: int) -> Trial:
    seen = Evaluation("dev", "exact_match", (), 0.5, 0.4, 0.6, 0.05, "", 0)
    failures = {kind.replace("_", " "): count for kind, count in kinds.items()}
    candidate = Candidate("few_shot", "best", solver)
    return Trial(candidate, seen, Diagnosis(failures, n=20))


def test_the_step_keeps_its_contract(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    workshop = fake_workshop(FakeModel(reads), tmp_path / "artifacts")
    check_step(WORDS, task, questions(), workshop)
    for candidate in WORDS.propose(task, questions(), None, workshop):
        check_solver(candidate.solver, ["What of the office in Riga?", "?"], workshop)


def test_answers_come_from_the_documents_and_cite_them(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    workshop = fake_workshop(FakeModel(reads), tmp_path / "artifacts")
    candidates = list(WORDS.propose(task, questions(), None, workshop))
    best = candidates[0].solver
    ((_, output),) = best.answer([questions()[3].input], workshop)
    assert output.value == code_of("Delft")
    (cited,) = output.citations
    assert (cited.passage, cited.source, cited.title) == (
        "Delft#0", "corpus.jsonl", "Office of Delft",
    )  # fmt: skip
    assert cited in output.context
    assert "the model cites by itself" in candidates[0].changed
    assert "right passage in" in candidates[0].changed


def test_without_gold_documents_the_answer_is_looked_for(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    workshop = fake_workshop(FakeModel(reads), tmp_path / "artifacts")
    best, *_ = WORDS.propose(task, questions(gold=False), None, workshop)
    assert "answer in" in best.changed
    assert any("answer@5" in one.scores for one in best.tried)


def test_a_model_that_does_not_cite_is_cited_for(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    silent = FakeModel(lambda request: reads(request).partition(" [")[0])
    workshop = fake_workshop(silent, tmp_path / "artifacts")
    best, *_ = WORDS.propose(task, questions(), None, workshop)
    assert isinstance(best.solver, PromptSolver)
    assert best.solver.knowledge is not None
    assert best.solver.knowledge.cite == "found"
    ((_, output),) = best.solver.answer([questions()[0].input], workshop)
    assert [one.passage for one in output.citations] == ["Arles#0"]
    assert "in 0% of its answers" in best.changed


def test_what_the_documents_do_not_say_is_answered_so(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    workshop = fake_workshop(FakeModel(reads), tmp_path / "artifacts")
    best, *_ = WORDS.propose(task, questions(), None, workshop)
    ((_, output),) = best.solver.answer(["What is the door code of the office in Oslo?"], workshop)
    assert (output.value, output.citations) == ("not in the documents", ())
    assert output.context


def test_an_index_is_made_once(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    first = FakeModel(reads)
    candidates = list(
        WORDS.propose(task, questions(), None, fake_workshop(first, tmp_path / "artifacts"))
    )
    times = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "artifacts").rglob("*")
        if path.is_file()
    }
    again = list(
        WORDS.propose(
            task, questions(), None, fake_workshop(FakeModel(reads), tmp_path / "artifacts")
        )
    )
    assert [one.solver for one in again] == [one.solver for one in candidates]
    assert times == {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "artifacts").rglob("*")
        if path.is_file()
    }


def test_a_reranker_is_judged_on_groups_that_it_did_not_learn_from(
    tmp_path: Path, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepladder.steps import retrieval_search

    train = tuple(replace(one, group=f"g{at % 5}") for at, one in enumerate(questions()))
    taught: list[set[str | None]] = []
    learn = retrieval_search.learn_ranker

    def watched(index: Any, some: Any, *rest: Any) -> Any:
        taught.append({one.group for one in some})
        return learn(index, some, *rest)

    monkeypatch.setattr(retrieval_search, "learn_ranker", watched)
    task = make_task(tmp_path)
    workshop = fake_workshop(FakeModel(reads), tmp_path / "artifacts")
    step = replace(WORDS, retrievers=("words", "hybrid"), rerank=True, sizes=(80,))
    found = list(step.propose(task, train, None, workshop))
    assert any("reranked" in one.name for one in found[0].tried)
    everything = {one.group for one in train}
    assert taught
    assert all(groups < everything for groups in taught)


def test_a_reranker_is_learned_once(
    tmp_path: Path, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that differ in a last digit would be another solver, which looks at the test anew."""
    from stepladder.knowledge import rerank

    task = make_task(tmp_path)
    workshop = fake_workshop(FakeModel(reads), tmp_path / "artifacts")
    step = replace(WORDS, retrievers=("hybrid",), rerank=True, sizes=(80,), keep=9)
    first = [one.solver for one in step.propose(task, questions(), None, workshop)]
    learn = rerank.fit_ranker

    def otherwise(*given: Any) -> Any:
        found = learn(*given)
        return replace(found, weights=tuple(one + 1e-6 for one in found.weights))

    monkeypatch.setattr(rerank, "fit_ranker", otherwise)
    assert [one.solver for one in step.propose(task, questions(), None, workshop)] == first
    fewer = [one.solver for one in step.propose(task, questions(n=20), None, workshop)]
    assert fewer != first


def test_the_final_reranker_learns_from_all_of_train(tmp_path: Path, encoder: Any) -> None:
    task = make_task(tmp_path)
    workshop = fake_workshop(FakeModel(reads), tmp_path / "artifacts")
    step = replace(WORDS, retrievers=("hybrid",), rerank=True, sizes=(80,), keep=9)
    found = list(step.propose(task, questions(), None, workshop))
    ranked = [
        one.solver.knowledge.rerank
        for one in found
        if isinstance(one.solver, PromptSolver) and one.solver.knowledge
    ]
    learned = [one["queries"] for one in ranked if one]
    assert learned
    assert set(learned) == {len(questions())}


def test_the_solver_is_data_and_names_its_index_and_models(tmp_path: Path) -> None:
    task = make_task(tmp_path, prompt_model="fake:big")
    workshop = fake_workshop(FakeModel(reads), tmp_path / "artifacts")
    best, *_ = WORDS.propose(task, questions(), None, workshop)
    record = json.loads(json.dumps(solver_record(best.solver)))
    assert solver_from_record(record) == best.solver
    assert isinstance(best.solver, PromptSolver)
    assert best.solver.knowledge is not None
    assert artifacts_of(best.solver) == (best.solver.knowledge.index,)
    assert models_of(plain_prompt(task)) == ("fake:model",)


def test_queries_are_rewritten_where_that_helps_and_paid_for(tmp_path: Path) -> None:
    """The questions spell cities backwards; only the capable model makes a search of that."""
    hard = tuple(
        replace(one, input=f"What is the door code of the office in {city[::-1]}?")
        for one, city in zip(questions(), CITIES, strict=True)
    )

    def answers(request: Request) -> str:
        if "search query" not in str(request.messages[0].content):
            return reads(request)
        (city,) = re.findall(r"office in (\w+)", asked(request))
        return f"office in {city[::-1]}"

    workshop = fake_workshop(FakeModel(answers), tmp_path / "artifacts")
    task = make_task(tmp_path)
    assert all(not rewrites(one) for one in WORDS.propose(task, hard, None, workshop))
    capable = replace(task, prompt_model="fake:big")
    candidates = WORDS.propose(capable, hard, None, workshop)
    found = next(one.solver for one in candidates if rewrites(one))
    assert models_of(found) == ("fake:model", "fake:big")
    ((_, output),) = found.answer([hard[2].input], workshop)
    assert output.value == code_of(CITIES[2])
    assert len(output.usage) == 2


def rewrites(one: Candidate) -> bool:
    assert isinstance(one.solver, PromptSolver)
    assert one.solver.knowledge is not None
    return one.solver.knowledge.rewrite is not None


def test_failures_of_form_are_told_apart_from_those_that_documents_mend(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    workshop = fake_workshop(FakeModel(reads), tmp_path / "artifacts")
    base = plain_prompt(task)
    form, *_ = WORDS.propose(task, questions(), trial(base, did_not_parse=4), workshop)
    assert "all 4 failures before were of form" in form.changed
    mixed, *_ = WORDS.propose(task, questions(), trial(base, wrong_answer=3, empty=1), workshop)
    assert "3 of 4 failures before were of content" in mixed.changed


def test_a_task_without_documents_is_not_concerned(tmp_path: Path) -> None:
    task = replace(make_task(tmp_path), folder=tmp_path / "other")
    assert "retrieval" not in [step.name for step in make_steps(task, LADDER)]
    workshop = fake_workshop(FakeModel(reads), tmp_path)
    with pytest.raises(NotApplicable, match="no documents"):
        list(WORDS.propose(task, questions(), None, workshop))
    with_documents = make_task(tmp_path)
    assert "retrieval" in [step.name for step in make_steps(with_documents, LADDER)]


def test_train_that_no_search_can_be_judged_by_is_said(tmp_path: Path) -> None:
    task = make_task(tmp_path, kind="extraction", metric=MetricSpec("micro_f1"))
    train = tuple(replace(one, expected={"a": [1]}, metadata={}) for one in questions())
    with pytest.raises(NotApplicable, match="which documents are right"):
        list(WORDS.propose(task, train, None, fake_workshop(FakeModel(reads), tmp_path / "a")))


def test_the_time_is_kept(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    workshop = fake_workshop(FakeModel(reads), tmp_path / "artifacts")
    best, *_ = replace(WORDS, seconds=0.0).propose(task, questions(), None, workshop)
    assert "the time was up" in " ".join(best.cautions)
    assert isinstance(best.solver, PromptSolver)


@pytest.mark.parametrize(
    "options",
    [{"k": ()}, {"k": (0,)}, {"sizes": ()}, {"overlaps": (1.0,)}, {"retrievers": ("magic",)}],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(StepladderError):
        Retrieval(**options)


@pytest.mark.parametrize("at", ["postgresql://me:secret@host/db", "mysql://host/db"])
def test_a_database_with_a_password_or_of_another_kind_is_refused(tmp_path: Path, at: str) -> None:
    with pytest.raises(TaskError) as caught:
        Retrieval(at=at).check(make_task(tmp_path))
    assert "secret" not in str(caught.value)


def test_usage_is_kept_whole(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    workshop = fake_workshop(FakeModel(reads, seconds=0.5), tmp_path / "artifacts")
    best, *_ = WORDS.propose(task, questions(), None, workshop)
    ((_, output),) = best.solver.answer([questions()[0].input], workshop)
    (usage,) = output.usage
    assert isinstance(usage, Usage)
    assert usage.seconds is not None
    assert usage.seconds > 0.5, "searching takes time too"
    assert gold_of(questions()[0]) == {"Arles"}


def test_the_slice_is_of_many_groups(tmp_path: Path) -> None:
    """A group of eight would fill a slice of eight by itself."""
    task = make_task(tmp_path)
    big = tuple(replace(one, group=f"g{at // 5}") for at, one in enumerate(questions()))
    pool, held = replace(WORDS, slice=4)._divided(task, big)
    assert len({one.group for one in held}) == 2
    assert not {one.group for one in held} & {one.group for one in pool}
