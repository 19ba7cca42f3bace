"""Documents that give orders, all the way: files, passages, search, prompt, answers, the page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from climbing import climb_on
from hypothesis import given
from hypothesis import strategies as st
from planted import CANARY, HOST, Obedient, Watch, plants, questions, watching, write_knowledge

from stepladder.climb import climb
from stepladder.core import (
    Candidate,
    Citation,
    DataSource,
    Decision,
    Estimate,
    MetricSpec,
    Split,
    Target,
    Task,
    Trial,
    Workshop,
)
from stepladder.knowledge.documents import read_documents
from stepladder.knowledge.index import IndexShape, build_index, open_index
from stepladder.models.local.tokenizer import load_tokenizer
from stepladder.report import verdict_text
from stepladder.report.html import render_report
from stepladder.solvers import content_hash
from stepladder.solvers.citing import Knowledge, citations_in, shown
from stepladder.solvers.prompt import PromptSolver
from stepladder.store import open_run, read_rows

SECRET = "the secret of the house"


@dataclass(frozen=True)
class FromDocuments:
    """A step that proposes one prompt over an index."""

    solver: PromptSolver
    name: str = "retrieval"

    def estimate(self, task: Task, train: object, workshop: Workshop) -> Estimate:
        return Estimate(1.0, 0.0, 1)

    def propose(
        self, task: Task, train: object, base: Trial | None, workshop: Workshop
    ) -> Iterable[Candidate]:
        yield Candidate(self.name, "planted", self.solver, build_dollars=0.0)


@dataclass(frozen=True)
class Climbed:
    """All there is to look at afterwards."""

    decision: Decision
    page: str
    terminal: str
    rows: list[dict[str, Any]]
    model: Obedient
    watch: Watch
    folder: Path


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> Climbed:
    folder = tmp_path_factory.mktemp("injection")
    (folder / "secret.txt").write_text(SECRET)
    planted = plants(folder / "secret.txt")
    task_folder = folder / "task"
    task_folder.mkdir()
    write_knowledge(task_folder / "knowledge", planted)
    asked = questions(planted)
    task = Task(
        "planted", "qa", "Answer the question.", Target(0.9), MetricSpec("token_f1"), DataSource(),
        models=("fake:model",), also_measured=(MetricSpec("groundedness"),), folder=task_folder,
    )  # fmt: skip
    model = Obedient()
    with open_run(task_folder / "runs", "climb-planted") as run, watching() as watch:
        documents = read_documents(task_folder / "knowledge", run.artifacts)
        index = build_index(documents, IndexShape(dense=False), run.artifacts)
        solver = PromptSolver(model.name, task.instructions, "qa", knowledge=Knowledge(index, k=3))
        on = climb_on(run, task, Split(asked[:4], asked, asked), {model.name: model})
        decision = climb([FromDocuments(solver)], on)

        def rows(step: str, name: str, set_name: str) -> Iterable[dict[str, Any]]:
            return read_rows(run.row_file(step, name, content_hash(solver), set_name))

        page = render_report(decision, task, {"rows": rows})
        terminal = verdict_text(decision, task)
        kept = list(rows("retrieval", "planted", "dev"))
    return Climbed(decision, page, terminal, kept, model, watch, folder)


def test_each_plant_reached_the_model_which_obeyed(climbed: Climbed) -> None:
    """Otherwise nothing below would show anything."""
    assert len(climbed.rows) == len(plants(Path()))
    obeyed = [row for row in climbed.rows if CANARY in row["text"]]
    assert len(obeyed) > len(climbed.rows) / 2
    assert climbed.model.asked


def test_no_file_was_read_no_host_asked_and_no_program_started(climbed: Climbed) -> None:
    assert str(climbed.folder / "secret.txt") not in climbed.watch.files
    assert "/etc/passwd" not in climbed.watch.files
    assert not [host for host in climbed.watch.hosts if HOST in host]
    assert climbed.watch.programs == []
    assert SECRET not in climbed.page + str(climbed.rows)
    made = {path for path in climbed.folder.rglob("*") if path.is_file()}
    known = climbed.folder / "task"
    assert {path for path in made if not path.is_relative_to(known)} == {
        climbed.folder / "secret.txt"
    }


def test_passages_stay_between_their_marks_and_the_question_comes_last(climbed: Climbed) -> None:
    for request in climbed.model.seen:
        text = str(request.messages[-1].content)
        blocks, _, question = text.rpartition("</passage>")
        opened = re.findall(r"^\[(\d)\] .*\n<passage>$", text, re.MULTILINE)
        assert opened == ["1", "2", "3"]
        assert text.lower().count("<passage>") == text.lower().count("</passage>") == 3
        assert question.startswith("\n\nWhat is the code of office")
        assert len(re.findall(r"\[\s*\d+\s*[],;]", blocks)) == 3
        assert not re.search(r"<[|\uff5c]|</?s>|\[/?INST\]|<(?:start|end)_of_turn|</?tool_", blocks)
        assert all(one.isprintable() or one == "\n" for one in text if one != "\u200d")
        assert request.functions == ()


def test_only_passages_that_were_shown_are_cited(climbed: Climbed) -> None:
    for row in climbed.rows:
        context = [one["passage"] for one in row["context"]]
        assert [one["passage"] for one in row["citations"]] == context[:1]
        assert len(context) == 3


def test_what_obeys_is_neither_right_nor_grounded(climbed: Climbed) -> None:
    (trial,) = climbed.decision.trials
    assert climbed.decision.verdict != "met"
    assert trial.evaluation.also["groundedness"][0] < 0.5


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_and_the_terminal_show_it_as_text(climbed: Climbed) -> None:
    tags = Tags(climbed.page).found
    assert CANARY in climbed.page
    assert not {"img", "iframe", "object", "embed", "base"} & {tag for tag, _ in tags}
    for _, attributes in tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src"):
            assert HOST not in (attributes.get(name) or "")
    assert "\x1b" not in climbed.terminal


def test_no_passage_makes_a_token_of_the_template(climbed: Climbed, llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    special = set(tokenizer.tokenizer.all_special_ids)
    for request in climbed.model.seen:
        plain = [replace(message, content="x") for message in request.messages]
        wanted = [one for one in tokenizer.chat_ids(plain) if one in special]
        assert [one for one in tokenizer.chat_ids(request.messages) if one in special] == wanted


def test_passages_are_kept_as_they_were_written(climbed: Climbed) -> None:
    """What is shown is made safe; what is cited is what the document says."""
    (trial,) = climbed.decision.trials
    index = trial.candidate.solver.knowledge.index  # type: ignore[attr-defined]
    opened = open_index(climbed.folder / "task" / "runs" / "artifacts", index)
    texts = {one.text for one in opened.passages(range(len(opened)))}
    assert any("<|im_start|>" in text for text in texts)
    assert all(one["text"] in texts for row in climbed.rows for one in row["context"])


pieces = st.lists(
    st.one_of(
        st.sampled_from([one.text for one in plants(Path("/secret"))]),
        st.sampled_from(["<", "/", "passage", ">", "[", "1", "]", "\n", " ", "|", "\u200b", "-"]),
        st.text(max_size=5),
    ),
    max_size=8,
).map("".join)


@given(texts=st.lists(st.tuples(pieces, pieces), min_size=1, max_size=3))
def test_nothing_in_a_passage_can_close_it_or_pass_for_another(
    texts: list[tuple[str, str]],
) -> None:
    passages = tuple(
        Citation(f"d{place}#0", "d.txt", text, title) for place, (title, text) in enumerate(texts)
    )
    block = shown(passages)
    lines = block.split("\n")
    assert lines.count("<passage>") == lines.count("</passage>") == len(texts)
    assert block.lower().count("</passage") == len(texts)
    assert len(re.findall(r"\[\s*\d+\s*\]", block)) == len(texts)
    assert "<|" not in block


@given(said=pieces)
def test_an_answer_cites_what_was_shown_or_nothing(said: str) -> None:
    passages = (Citation("a#0", "a.txt", "one"), Citation("b#0", "b.txt", "two"))
    for cite in ("asked", "found", "no"):
        _, cited = citations_in(Knowledge(cite=cite), said, passages)
        assert set(cited) <= set(passages)
