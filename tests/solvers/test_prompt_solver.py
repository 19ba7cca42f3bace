"""Rendering, scoring and reading answers: the same text in serving, demonstrations and training."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Message, Part, Request
from stepladder.errors import StepladderError
from stepladder.solvers.prompt import (
    PromptSolver,
    calibrate,
    parse,
    render,
    render_input,
    render_target,
)
from stepladder.solvers.selection import save_pool, select
from stepladder.testing import FakeModel, check_solver, fake_workshop

LABELS = ("refund", "card lost", "balance")
SORT = PromptSolver(
    model="fake:model",
    instructions="Sort the message.",
    task_kind="classification",
    labels=LABELS,
    output_format="label",
)
EXTRACT = PromptSolver(
    model="fake:model",
    instructions="Extract the drug.",
    task_kind="extraction",
    output_format="json",
    schema={"type": "object", "properties": {"drug": {"type": "string"}}},
    show_schema=True,
)
DEMOS = (("give it back", "refund"), ("where is my card", "card lost"))


def text_of(messages: tuple[Message, ...]) -> str:
    return "\n".join(f"{m.role}: {m.content}" for m in messages)


def shared_start(first: str, second: str) -> int:
    pairs = zip(first, second, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


@pytest.mark.parametrize("placement", ["system", "user"])
@pytest.mark.parametrize("layout", ["messages", "text"])
def test_everything_shared_comes_first_and_the_input_last(placement: str, layout: str) -> None:
    solver = replace(SORT, placement=placement, demo_layout=layout, demos=DEMOS)
    first, second = text_of(render(solver, "AAA")), text_of(render(solver, "ZZZ"))
    start = shared_start(first, second)
    assert first[start:].startswith("AAA")
    for shown in ("Sort the message.", *LABELS, "give it back", "where is my card"):
        assert shown in first[:start]


def test_system_or_user_turn_holds_the_instruction() -> None:
    assert [m.role for m in render(SORT, "x")] == ["system", "user"]
    assert [m.role for m in render(replace(SORT, placement="user"), "x")] == ["user"]
    many = render(replace(SORT, placement="user", demos=DEMOS), "x")
    assert [m.role for m in many] == ["user", "assistant", "user", "assistant", "user"]


def test_demonstrations_say_exactly_what_training_would() -> None:
    solver = replace(EXTRACT, demos=(("took aspirin", {"z": ["é"], "drug": "aspirin"}),))
    assert render(solver, "x")[2].content == render_target(solver, solver.demos[0][1])
    assert (
        render_target(solver, {"z": ["é"], "drug": "aspirin"}) == '{"z": ["é"], "drug": "aspirin"}'
    )


def test_descriptions_schema_labels_and_reminder_are_shown_when_asked() -> None:
    described = replace(SORT, label_descriptions={"refund": "wants money back"})
    assert "money back" not in text_of(render(described, "x"))
    assert "refund: wants money back" in text_of(
        render(replace(described, show_descriptions=True), "x")
    )
    assert "refund" not in text_of(render(replace(SORT, show_labels=False), "x"))
    assert '"drug"' in text_of(render(EXTRACT, "x"))
    assert '"drug"' not in text_of(render(replace(EXTRACT, show_schema=False), "x"))
    assert render(replace(SORT, reminder="Only a label."), "x")[-1].content == "x\n\nOnly a label."


def test_inputs_may_be_fields_or_messages() -> None:
    assert render_input({"subject": "hello", "amount": 3}) == "subject: hello\namount: 3"
    chat = (Message("system", "Be kind."), Message("user", "hi"), Message("assistant", "ho"))
    rendered = render(SORT, (*chat, Message("user", "why?")))
    assert [m.role for m in rendered] == ["system", "user", "assistant", "user"]
    assert rendered[1].content == "Be kind.\n\nhi"
    assert render_input(chat[1:]) == "user: hi\nassistant: ho"


def test_media_stay_parts_and_cannot_become_text() -> None:
    photo = (Message("user", (Part("image", uri="a.png"),)),)
    rendered = render(replace(SORT, placement="user", reminder="Now."), photo)
    kinds = [part.kind for part in rendered[0].content if isinstance(part, Part)]
    assert kinds == ["text", "image", "text"]
    with pytest.raises(StepladderError, match="media"):
        render_input(photo)


@given(st.sampled_from(LABELS), st.sampled_from(["label", "json"]))
def test_what_the_model_should_say_parses_to_the_label(label: str, output_format: str) -> None:
    solver = replace(SORT, output_format=output_format)
    assert parse(solver, render_target(solver, label)).value == label


@given(st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=5), max_size=3)))
def test_what_the_model_should_say_parses_to_the_object(value: dict[str, list[str]]) -> None:
    said = render_target(EXTRACT, value)
    assert parse(EXTRACT, said).value == value
    assert list(parse(EXTRACT, said).value) == list(value)


def test_json_without_a_label_is_no_label() -> None:
    solver = replace(SORT, output_format="json")
    assert parse(solver, '{"answer": "refund"}').failure == "unknown_label"
    assert parse(solver, "refund").failure == "not_json"


def test_of_several_accepted_texts_the_first_is_said() -> None:
    solver = replace(SORT, task_kind="qa", labels=(), output_format="text")
    assert render_target(solver, ["Paris", "the city of Paris"]) == "Paris"
    assert render_target(solver, 3) == "3"


def test_constraints_reach_the_engine(tmp_path: Path) -> None:
    def asked(solver: PromptSolver) -> Request:
        model = FakeModel(lambda request: "refund")
        list(solver.answer(["x"], fake_workshop(model, tmp_path)))
        return model.seen[0]

    assert asked(SORT).choices == ()
    assert asked(replace(SORT, constrained=True)).choices == LABELS
    assert asked(replace(EXTRACT, constrained=True)).schema == EXTRACT.schema
    as_json = asked(replace(SORT, output_format="json", constrained=True)).schema
    assert as_json is not None
    assert as_json["properties"]["label"]["enum"] == list(LABELS)


def test_one_batch_and_failures_are_outputs(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        if "boom" in str(request.messages[-1].content):
            raise RuntimeError("service is down")
        return "refund" if "back" in str(request.messages[-1].content) else "who knows"

    model = FakeModel(reply)
    inputs = ["give it back", "boom", "hello"]
    answers = dict(SORT.answer(inputs, fake_workshop(model, tmp_path)))
    assert [answers[i].value for i in range(3)] == ["refund", None, None]
    assert "service is down" in str(answers[1].error)
    assert answers[2].error is None
    assert answers[2].text == "who knows"
    assert len(model.seen) == 3


def test_the_likeliest_label_wins_and_confidence_is_its_share(tmp_path: Path) -> None:
    model = FakeModel(score=lambda request: (math.log(0.02), math.log(0.06), math.log(0.02)))
    solver = replace(SORT, scoring="labels")
    ((_, output),) = solver.answer(["x"], fake_workshop(model, tmp_path))
    assert output.value == "card lost"
    assert output.confidence == pytest.approx(0.6)


def test_calibration_divides_by_what_a_label_gets_for_no_reason(tmp_path: Path) -> None:
    def score(request: Request) -> tuple[float, ...]:
        free = request.messages[-1].content in ("N/A", "[MASK]", "")
        shares = (0.8, 0.1, 0.1) if free else (0.6, 0.3, 0.1)
        return tuple(math.log(share) for share in shares)

    workshop = fake_workshop(FakeModel(score=score), tmp_path)
    scored = replace(SORT, scoring="labels")
    assert next(scored.answer(["x"], workshop))[1].value == "refund"
    calibrated = calibrate(scored, workshop)
    output = next(calibrated.answer(["x"], workshop))[1]
    assert output.value == "card lost"
    assert output.confidence == pytest.approx(3 / (0.75 + 3 + 1))
    check_solver(calibrated, ["x", "y"], workshop)


def test_priors_of_another_prompt_are_refused(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(score=lambda request: (-1.0, -2.0, -3.0)), tmp_path)
    solver = calibrate(SORT, workshop)
    for changed in (replace(solver, demos=DEMOS), replace(solver, model="fake:other")):
        with pytest.raises(StepladderError, match="another prompt"):
            list(changed.answer(["x"], workshop))
    with pytest.raises(StepladderError, match="per input"):
        calibrate(replace(SORT, selector={"method": "bm25", "k": 1, "pool": "p"}), workshop)


def test_a_model_that_cannot_score_is_told(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    with pytest.raises(StepladderError, match="could not score"):
        calibrate(SORT, workshop)
    output = next(replace(SORT, scoring="labels").answer(["x"], workshop))[1]
    assert "no `score` function" in str(output.error)
    short = fake_workshop(FakeModel(score=lambda request: (-1.0,)), tmp_path)
    output = next(replace(SORT, scoring="labels").answer(["x"], short))[1]
    assert output.error == "1 scores for 3 labels"


def test_the_most_alike_demonstrations_stand_last_before_the_input(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(lambda request: "refund"), tmp_path)
    demos = (
        ("my card never came", "card lost"),
        ("how much money is left", "balance"),
        ({"text": "send the money back"}, "refund"),
    )
    pool = save_pool(demos, "bm25", workshop)
    selector = {"method": "bm25", "k": 2, "pool": pool}
    picked = select(selector, ["money back please", "!!", ""], workshop)
    assert picked[0] == (demos[1], demos[2])
    assert [len(one) for one in picked] == [2, 2, 2]
    assert select(selector, [], workshop) == []
    solver = replace(SORT, demos=DEMOS[:1], selector=selector)
    check_solver(solver, ["money back please", "!!"], workshop)
    contents = [m.content for m in workshop.model("x").seen[0].messages]  # type: ignore[attr-defined]
    assert contents[1] == "give it back"
    assert contents[-3:] == ["text: send the money back", "refund", "money back please"]


def test_embeddings_pick_by_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    directions = {"cat": (1.0, 0.0), "kitten": (0.8, 0.6), "stock": (0.0, 1.0)}
    embed = lambda texts: np.array([directions[text] for text in texts], dtype=np.float32)  # noqa: E731
    monkeypatch.setattr("stepladder.embeddings.embed", embed)
    workshop = fake_workshop(FakeModel(), tmp_path)
    pool = save_pool((("stock", "b"), ("kitten", "a")), "embedding", workshop)
    assert select({"method": "embedding", "k": 1, "pool": pool}, ["cat"], workshop) == [
        (("kitten", "a"),)
    ]
