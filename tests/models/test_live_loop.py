"""The live loop on tiny models in float32: who runs beside whom changes nothing that is said."""

from __future__ import annotations

import dataclasses
import json
import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from odd_schemas import schemas
from tiny_adapters import Tuned, make_adapter
from tiny_families import greedy, reference

from stepladder.core import Function
from stepladder.models.live import Made, Prompt, Sampling, Token
from stepladder.models.local import built_folder, fingerprint
from stepladder.models.local.bounds import whole_ranges
from stepladder.models.local.functions import calls_schema, parse_calls
from stepladder.models.local.live_loop import LiveLoop
from stepladder.models.local.live_messages import Settings
from stepladder.models.local.schemas import read_schema
from stepladder.models.local.tokenizer import load_tokenizer

pytest.importorskip("openvino_genai")
pytest.importorskip("peft")

IDS = tuple(range(10, 60))
LONG = tuple(3 + n % 250 for n in range(300))
OTHER_LONG = tuple(3 + n % 240 for n in range(7, 400))
CONTEXT = 512


@pytest.fixture(scope="module")
def tuned(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tuned, Tuned]:
    folder = tmp_path_factory.mktemp("tuned")
    return (
        make_adapter(llama, folder / "a", 1),
        make_adapter(llama, folder / "b", 2, r=8, lora_alpha=4, use_rslora=True),
    )


@pytest.fixture(scope="module")
def loop(llama: Path, model_cache: Path) -> Iterator[LiveLoop]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPLADDER_CACHE", str(model_cache))
        yield LiveLoop(settings(llama), turn_seconds=0.01)


def settings(folder: Path, **changes: Any) -> Settings:
    built = built_folder(folder, fingerprint(folder, exact=True))
    small = {"exact": True, "most_running": 8, "piece_tokens": 64}
    return Settings(folder, built, 2, CONTEXT, **{**small, **changes})


def prompt(ids: tuple[int, ...] = IDS, tokens: int = 12, **options: Any) -> Prompt:
    return Prompt(ids, tokens, **options)


class Run:
    """Drives a loop, and keeps what it says of each sequence."""

    def __init__(self, loop: LiveLoop) -> None:
        self.loop = loop
        self.news: dict[int, list[Made]] = {}
        self.most_running = 0

    def start(self, *prompts: Prompt) -> list[int]:
        tickets = []
        for one in prompts:
            ticket = next(TICKETS)
            tickets.append(ticket)
            self.news[ticket] = []
            self.hear([self.loop.start(ticket, one, self.loop._clock())])
        return tickets

    def turn(self) -> None:
        _, failed = self.loop.admit()
        self.hear(failed)
        self.hear(self.loop.step())
        self.most_running = max(self.most_running, self.loop.running)

    def all(self, *prompts: Prompt) -> list[Made]:
        """What all of them come to, side by side, each as one piece of news."""
        tickets = self.start(*prompts)
        while not self.loop.idle:
            self.turn()
        return [self.whole(ticket) for ticket in tickets]

    def hear(self, ended: list[Any]) -> None:
        for ticket, made in filter(None, ended):
            so_far = self.news[ticket]
            assert not so_far or so_far[-1].finish is None, "nothing comes after the end"
            so_far.append(made)

    def is_over(self, ticket: int) -> bool:
        return bool(self.news[ticket]) and self.news[ticket][-1].finish is not None

    def whole(self, ticket: int) -> Made:
        news = self.news[ticket]
        assert news[-1].finish is not None
        tokens = tuple(token for made in news for token in made.tokens)
        return dataclasses.replace(news[-1], tokens=tokens)


TICKETS = iter(range(1, 1 << 30))


def ids(made: Made) -> tuple[int, ...]:
    return tuple(token.id for token in made.tokens)


# --- what is said --------------------------------------------------------------------------------


def test_it_says_what_transformers_says(loop: LiveLoop, llama: Path) -> None:
    prompts = [prompt(IDS[:n]) for n in (1, 7, 33, 50)] + [prompt(LONG[:n]) for n in (64, 300)]
    made = Run(loop).all(*prompts)
    expected = [greedy(llama, one.ids, 12) for one in prompts]
    assert [ids(one) for one in made] == expected
    assert len(set(expected)) == len(prompts)
    assert [one.finish == "stop" for one in made] == [len(said) < 12 for said in expected]


def test_tokens_come_one_by_one(loop: LiveLoop) -> None:
    run = Run(loop)
    (ticket,) = run.start(prompt(tokens=5))
    run.turn()
    assert [len(made.tokens) for made in run.news[ticket]] == [1]
    while not loop.idle:
        run.turn()
    assert [len(made.tokens) for made in run.news[ticket]] == [1] * 5
    assert [made.finish for made in run.news[ticket]] == [None] * 4 + ["length"]


def test_an_end_is_not_among_the_tokens(loop: LiveLoop, llama: Path) -> None:
    free = Prompt(LONG[:40], 60)
    said = greedy(llama, free.ids, 60)
    if len(said) == 60:  # this one never ends by itself: let a form end it
        free = dataclasses.replace(free, choices=("yes",))
    (made,) = Run(loop).all(dataclasses.replace(free, top_logprobs=0))
    assert made.finish == "stop"
    assert 2 not in ids(made)
    assert made.end_logprob is not None
    assert made.end_logprob <= 0


def test_no_more_than_the_context_holds(loop: LiveLoop) -> None:
    full, over = prompt(LONG + LONG[: CONTEXT - 303], 100), prompt(LONG + LONG[:212], 1)
    made, refused = Run(loop).all(full, over)
    assert (made.finish, len(made.tokens)) == ("length", 3)
    assert (refused.finish, refused.refused) == ("error", True)
    assert "reads 512" in (refused.error or "")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ids": ()}, "no tokens"),
        ({"ids": (5, 259)}, "no tokens of this model"),
        ({"ids": (-1,)}, "no tokens of this model"),
        ({"max_output_tokens": 0}, "at least 1"),
        ({"sampling": Sampling(temperature=float("nan"))}, "numbers"),
        ({"sampling": Sampling(temperature=1.0, top_p=1.5)}, "top_p"),
        ({"sampling": Sampling(presence_penalty=9.0)}, "presence_penalty"),
        ({"top_logprobs": 21}, "between 0 and 20"),
        ({"schema": {"type": "nonsense"}}, "Unsupported type"),
        ({"grammar": "root ::= ("}, "EBNF"),
        ({"choices": ("a",), "schema": {}}, "only one"),
        ({"choices": tuple(map(str, range(30_000)))}, "more than 200000"),
    ],
)
def test_what_cannot_be_run_is_refused_and_stops_nobody(
    loop: LiveLoop, llama: Path, changes: dict[str, Any], says: str
) -> None:
    bad = dataclasses.replace(prompt(), **changes)
    before, refused, after = Run(loop).all(prompt(), bad, prompt(LONG))
    assert (refused.finish, refused.tokens, refused.refused) == ("error", (), True)
    assert says in (refused.error or "")
    assert ids(before) == greedy(llama, IDS, 12)
    assert ids(after) == greedy(llama, LONG, 12)


# --- long prompts --------------------------------------------------------------------------------


def test_a_long_prompt_lets_others_begin_before_it_is_computed(loop: LiveLoop, llama: Path) -> None:
    run = Run(loop)
    (long,) = run.start(prompt(OTHER_LONG))
    run.turn()
    (short,) = run.start(prompt(IDS[:40]))
    run.turn()
    assert run.news[long] == []
    assert len(run.news[short]) == 1
    while not loop.idle:
        run.turn()
    assert ids(run.whole(long)) == greedy(llama, OTHER_LONG, 12)
    assert ids(run.whole(short)) == greedy(llama, IDS[:40], 12)


def test_one_long_prompt_is_computed_at_a_time(loop: LiveLoop, llama: Path) -> None:
    first, second = (tuple(n + k for n in OTHER_LONG) for k in (1, 2))
    run = Run(loop)
    tickets = run.start(prompt(first), prompt(second), prompt(IDS[:45], 30))
    begun: list[int] = []
    while not loop.idle:
        begun += loop.admit()[0]
        run.turn()
        if len(begun) == 2:  # the second has let the short one pass, and waits for the first
            assert begun == [tickets[0], tickets[2]]
            assert run.news[tickets[1]] == []
            if not run.news[tickets[0]]:
                assert tickets[1] not in loop._running
    assert [ids(run.whole(ticket)) for ticket in tickets[:2]] == [
        greedy(llama, one, 12) for one in (first, second)
    ]


def test_a_long_prompt_is_given_up_between_two_pieces(loop: LiveLoop, llama: Path) -> None:
    given_up = tuple(n + 3 for n in OTHER_LONG)
    run = Run(loop)
    (ticket,) = run.start(prompt(given_up))
    run.turn()
    run.hear([loop.cancel(ticket)])
    assert run.whole(ticket).finish == "cancelled"
    made, again = run.all(prompt(LONG), prompt((*given_up, 7)))
    assert ids(made) == greedy(llama, LONG, 12)
    assert ids(again) == greedy(llama, (*given_up, 7), 12)
    assert not loop.running


def test_pieces_that_are_dropped_from_the_cache_do_not_go_on_for_ever(
    loop: LiveLoop, llama: Path
) -> None:
    dropped = tuple(n + 4 for n in OTHER_LONG)
    run = Run(loop)
    (ticket,) = run.start(prompt(dropped))
    for _ in range(20):
        loop._base._prefixes.forget()
        run.turn()
    while not loop.idle:
        run.turn()
    assert ids(run.whole(ticket)) == greedy(llama, dropped, 12)


def test_neither_base_nor_adapter_keeps_the_other_from_a_place(
    loop: LiveLoop, tuned: tuple[Tuned, Tuned]
) -> None:
    """All places are taken, and more wait behind an adapter's sequence than there are places."""
    run = Run(loop)
    run.start(*[prompt(IDS[:n], 4) for n in range(9, 17)])
    (between,) = run.start(prompt(adapter=tuned[0].adapter))
    after = run.start(*[prompt(IDS[:n], 4) for n in range(17, 33)])
    begun: list[int] = []
    while not loop.idle:
        started, failed = loop.admit()
        begun += started
        run.hear(failed)
        run.hear(loop.step())
    assert begun.index(between) < min(begun.index(one) for one in after)
    assert len(begun) == 25


# --- drawing -------------------------------------------------------------------------------------


def drawn(seed: int | None, **options: Any) -> Prompt:
    return prompt(tokens=20, sampling=Sampling(temperature=1.5, seed=seed, **options))


def test_a_seed_says_the_same_alone_and_among_others(loop: LiveLoop) -> None:
    alone = [ids(Run(loop).all(drawn(seed))[0]) for seed in (1, 2, -7, 2**63)]
    assert len(set(alone)) == 4
    among = Run(loop).all(*[drawn(seed) for seed in (9, 1, 2, -7, 2**63, 1)], prompt(LONG))
    assert [ids(made) for made in among[1:6]] == [*alone, alone[0]]


def test_without_a_seed_it_says_something_else_each_time(loop: LiveLoop) -> None:
    assert len({ids(made) for made in Run(loop).all(*[drawn(None)] * 6)}) > 1


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 0.0}, {"top_p": 1e-9}])
def test_only_the_most_probable_token_may_be_drawn(loop: LiveLoop, options: Any) -> None:
    greedy_one, *others = Run(loop).all(prompt(tokens=20), *[drawn(n, **options) for n in range(4)])
    assert {ids(made) for made in others} == {ids(greedy_one)}


def test_top_k_and_top_p_keep_to_the_most_probable(loop: LiveLoop) -> None:
    options: list[dict[str, Any]] = [{"top_k": 3}, {"top_p": 0.3}]
    for kept in options:
        asked = [dataclasses.replace(drawn(n, **kept), top_logprobs=20) for n in range(6)]
        for made in Run(loop).all(*asked):
            for token in made.tokens:
                assert _rank(token) < 3 if "top_k" in kept else _above(token) < 0.3 + 1e-4


def _rank(token: Token) -> int:
    return [id for id, _ in token.top].index(token.id)


def _above(token: Token) -> float:
    """The probability at temperature 1.5 of what is more probable, were the top 20 all there is."""
    import math

    weights = [math.exp(logprob / 1.5) for _, logprob in token.top]
    return sum(weights[: _rank(token)]) / (sum(weights) + 239 * weights[-1])


@pytest.mark.parametrize(("presence", "frequency"), [(1.5, 0.0), (0.0, 0.7), (-1.0, 0.3)])
@pytest.mark.parametrize("top_logprobs", [None, 0])  # the engine computes them apart
def test_penalties_are_taken_from_the_logits(
    loop: LiveLoop, llama: Path, presence: float, frequency: float, top_logprobs: int | None
) -> None:
    sampling = Sampling(presence_penalty=presence, frequency_penalty=frequency)
    (made,) = Run(loop).all(prompt(tokens=30, sampling=sampling, top_logprobs=top_logprobs))
    assert ids(made) == _penalised(llama, IDS, 30, presence, frequency)
    assert ids(made) != greedy(llama, IDS, 30)


def _penalised(
    folder: Path, start: tuple[int, ...], tokens: int, presence: float, frequency: float
) -> tuple[int, ...]:
    """Greedy by transformers, with what OpenAI's documentation says of penalties."""
    import torch

    made: list[int] = []
    while len(made) < tokens:
        with torch.no_grad():
            logits = reference(folder)(torch.tensor([[*start, *made]])).logits[0, -1].double()
        for token in set(made):
            logits[token] -= presence + frequency * made.count(token)
        made.append(int(logits.argmax()))
        if made[-1] == 2:
            return tuple(made[:-1])
    return tuple(made)


# --- forms ---------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["red", "naïve 🙂"]}, "sure": {"type": "boolean"}},
    "required": ["label", "sure"],
    "additionalProperties": False,
}


def test_answers_keep_to_their_form_beside_free_ones(loop: LiveLoop, llama: Path) -> None:
    decode = load_tokenizer(llama).decode
    by_schema, by_choices, by_grammar, free = Run(loop).all(
        prompt(tokens=80, schema=SCHEMA),
        prompt(tokens=80, choices=("maybe not", "naïve 🙂")),
        prompt(tokens=80, grammar='root ::= "<" ("a" | "b")+ ">"', sampling=Sampling(1.0, seed=1)),
        prompt(),
    )
    jsonschema.validate(json.loads(decode(ids(by_schema))), SCHEMA)
    assert decode(ids(by_choices)) in ("maybe not", "naïve 🙂")
    text = decode(ids(by_grammar))
    assert text[:1] == "<"
    assert set(text.strip("<>")) <= set("ab")
    assert ids(free) == greedy(llama, IDS, 12)


@pytest.mark.slow
def test_whole_numbers_keep_to_every_range(loop: LiveLoop, llama: Path) -> None:
    decode = load_tokenizer(llama).decode
    chance = random.Random(3)
    for _ in range(120):
        low = chance.choice([-1, 1]) * chance.randrange(10 ** chance.randint(0, 12))
        schema: dict[str, Any] = {
            "type": chance.choice(["integer", ["integer", "null"]]),
            "minimum": low,
            "maximum": low + chance.randrange(10 ** chance.randint(1, 13)),
        }
        for missing in chance.sample(("minimum", "maximum"), chance.choice((0, 0, 1))):
            del schema[missing]
        ranges = whole_ranges(schema)
        for name, end in (("minimum", ranges[0][0]), ("maximum", ranges[-1][1])):
            if end is not None and name in schema:
                schema[name] = end  # widened, where it would be too many
        checked = read_schema(schema)
        drawing = [Sampling(temperature=1.0, seed=seed) for seed in range(12)]
        asked = [prompt(tokens=40, schema=checked.engine, sampling=one) for one in drawing]
        for made in Run(loop).all(*asked):
            assert made.error is None
            if made.finish == "stop":
                checked.check(json.loads(decode(ids(made))))


BOUNDS_AND_ONE_OF = ("imum", "Minimum", "Maximum", "oneOf")  # the finished answer's to be checked


@pytest.mark.slow
@settings_of_hypothesis(max_examples=100, suppress_health_check=list(HealthCheck))
@given(schema=schemas())
def test_any_schema_is_kept_to_or_refused(loop: LiveLoop, llama: Path, schema: Any) -> None:
    try:
        checked = read_schema(schema)
    except ValueError:
        return
    for value in said_in(loop, llama, checked.engine):
        # what is no character in UTF-8, as half a pair is, counts as one there and as three here
        broken = "\ufffd" in json.dumps(value, ensure_ascii=False)
        if broken or any(name in json.dumps(schema) for name in BOUNDS_AND_ONE_OF):
            with suppress(ValueError):
                checked.check(value)
        else:
            jsonschema.Draft202012Validator(schema).validate(value)


@pytest.mark.slow
@settings_of_hypothesis(max_examples=50, suppress_health_check=list(HealthCheck))
@given(schema=schemas(kinds=("object",)))
def test_calls_of_any_function_can_be_judged(loop: LiveLoop, llama: Path, schema: Any) -> None:
    functions = [Function("f", parameters={**schema, "type": "object"})]
    try:
        form = calls_schema(functions)
    except ValueError:
        return
    for value in said_in(loop, llama, form):
        with suppress(ValueError):
            parse_calls(json.dumps(value), functions, str)


def said_in(loop: LiveLoop, llama: Path, schema: Any) -> list[Any]:
    """What a model says in a form, as far as it comes to an end.

    Strings of a bound length may have raw tabs and the like in them, which are no JSON: the server
    refuses such an answer.
    """
    decode = load_tokenizer(llama).decode
    drawing = [Sampling(temperature=1.0, seed=seed) for seed in range(6)]
    made = Run(loop).all(*(prompt(tokens=60, schema=schema, sampling=one) for one in drawing))
    assert all(one.error is None or one.refused for one in made), made[0].error
    said = [decode(ids(one)) for one in made if one.finish == "stop"]
    return [json.loads(one, strict=False) for one in said]


@pytest.mark.parametrize("grammar", ['root ::= ""', 'root ::= root "a"', 'root ::= "a" b\nb ::= b'])
def test_a_form_without_a_way_on_stops_nobody(loop: LiveLoop, llama: Path, grammar: str) -> None:
    stuck, free = Run(loop).all(prompt(tokens=6, grammar=grammar), prompt())
    assert stuck.finish in ("stop", "length", "error")
    assert ids(free) == greedy(llama, IDS, 12)


def test_nobody_waits_while_a_form_is_tried_out(
    loop: LiveLoop, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    judged = loop._grammars._try

    def slow(form: Any) -> str | None:
        assert released.wait(60)
        return judged(form)

    monkeypatch.setattr(loop._grammars, "_try", slow)
    run = Run(loop)
    formed, given_up = run.start(
        prompt(tokens=80, choices=("slow to compile", "naïve")),
        prompt(tokens=80, choices=("another", "form")),
    )
    assert loop.patience is None or loop.patience > 0
    (free,) = run.start(prompt())
    while not run.is_over(free):
        run.turn()
    assert ids(run.whole(free)) == greedy(llama, IDS, 12)
    run.hear([loop.cancel(given_up)])
    assert run.whole(given_up).finish == "cancelled"
    assert not loop.idle
    released.set()
    while not loop.idle:
        run.turn()
    said = load_tokenizer(llama).decode(ids(run.whole(formed)))
    assert said in ("slow to compile", "naïve")
    assert loop.patience is None


# --- probabilities -------------------------------------------------------------------------------


def log_probabilities(folder: Path, start: tuple[int, ...], made: tuple[int, ...]) -> Any:
    import torch

    with torch.no_grad():
        logits = reference(folder)(torch.tensor([[*start, *made]])).logits[0].double()
    return torch.log_softmax(logits, -1)[len(start) - 1 :]


def test_the_most_probable_tokens_are_the_models(
    loop: LiveLoop, llama: Path, tuned: tuple[Tuned, Tuned]
) -> None:
    """Of the base and of an adapter, of a short prompt and one of several pieces."""
    cases = [(start, None, llama) for start in (IDS, LONG[:257])]
    cases += [(start, tuned[0].adapter, tuned[0].merged) for start in (IDS, LONG[:257])]
    asked = [prompt(start, 9, top_logprobs=5, adapter=adapter) for start, adapter, _ in cases]
    for (start, _, folder), made in zip(cases, Run(loop).all(*asked), strict=True):
        logs = log_probabilities(folder, start, ids(made))
        for token, row in zip(made.tokens, logs, strict=False):
            values, best = row.topk(5)
            assert [id for id, _ in token.top] == best.tolist()
            assert [logprob for _, logprob in token.top] == pytest.approx(values.tolist(), abs=1e-3)
            assert token.logprob == pytest.approx(float(row[token.id]), abs=1e-3)


def test_the_chosen_tokens_probabilities_are_the_models(loop: LiveLoop, llama: Path) -> None:
    plain, chosen = Run(loop).all(prompt(), prompt(top_logprobs=0))
    logs = log_probabilities(llama, IDS, ids(chosen))
    assert [token.logprob for token in chosen.tokens] == pytest.approx(
        [float(row[token.id]) for token, row in zip(chosen.tokens, logs, strict=False)], abs=1e-3
    )
    assert {token.logprob for token in plain.tokens} == {None}


# --- adapters ------------------------------------------------------------------------------------


def test_base_and_adapters_at_once_say_what_each_says_merged(
    loop: LiveLoop, llama: Path, tuned: tuple[Tuned, Tuned]
) -> None:
    """Twice, so that the second time everything could be found in a cache that is not its own."""
    starts = [IDS, LONG, (*LONG[:200], 7), IDS[:20]]
    models = [(None, llama), *[(one.adapter, one.merged) for one in tuned]]
    cases = [(start, adapter, folder) for start in starts for adapter, folder in models] * 2
    made = Run(loop).all(*[prompt(start, adapter=adapter) for start, adapter, _ in cases])
    expected = [greedy(folder, start, 12) for start, _, folder in cases]
    assert [ids(one) for one in made] == expected
    assert len(set(expected)) == len(cases) // 2


def test_a_conversation_goes_on_from_its_own_cache(
    loop: LiveLoop, llama: Path, tuned: tuple[Tuned, Tuned]
) -> None:
    """Of 8 x 300 tokens only the last ones are computed: a step computes 512 at most."""
    for adapter, folder in [(None, llama), *[(one.adapter, one.merged) for one in tuned]]:
        firsts = [(9 + n, *LONG[:199]) for n in range(8)]
        said = [
            ids(one) for one in Run(loop).all(*[prompt(i, 100, adapter=adapter) for i in firsts])
        ]
        starts = [(*first, *more, 9, 9) for first, more in zip(firsts, said, strict=True)]
        run = Run(loop)
        tickets = run.start(*[prompt(start, 1, adapter=adapter) for start in starts])
        run.turn()
        assert loop.idle
        for start, ticket in zip(starts, tickets, strict=True):
            made = run.whole(ticket)
            assert ids(made) == greedy(folder, start, 1)
            assert (made.cached_tokens or 0) >= len(start) - 3 - 32


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_adapter_may_be_stored_in_half_the_bits(
    loop: LiveLoop, llama: Path, tmp_path: Path, dtype: str
) -> None:
    one = make_adapter(llama, tmp_path, 3, dtype, r=3, lora_alpha=9)
    made = Run(loop).all(prompt(adapter=one.adapter), prompt(adapter=one.adapter, top_logprobs=2))
    assert [ids(each) for each in made] == [greedy(one.merged, IDS, 12)] * 2


def test_an_adapter_may_leave_layers_as_they_are(
    loop: LiveLoop, llama: Path, tmp_path: Path
) -> None:
    one = make_adapter(llama, tmp_path, 4, target_modules=["q_proj", "down_proj"])
    made = Run(loop).all(prompt(adapter=one.adapter), prompt(adapter=one.adapter, top_logprobs=2))
    assert [ids(each) for each in made] == [greedy(one.merged, IDS, 12)] * 2


def test_another_adapter_in_the_same_folder_is_another_adapter(
    loop: LiveLoop, llama: Path, tmp_path: Path
) -> None:
    first = make_adapter(llama, tmp_path, 5)
    (before,) = Run(loop).all(prompt(LONG, adapter=first.adapter))
    second = make_adapter(llama, tmp_path, 6)
    (after,) = Run(loop).all(prompt(LONG, adapter=second.adapter))
    assert ids(after) == greedy(second.merged, LONG, 12) != ids(before)


def test_an_adapter_that_cannot_be_used_ends_its_own_sequence(
    loop: LiveLoop, llama: Path, tmp_path: Path
) -> None:
    nowhere, free = Run(loop).all(prompt(adapter=tmp_path / "nowhere"), prompt())
    assert nowhere.finish == "error"
    assert "nowhere" in (nowhere.error or "")
    assert str(tmp_path) not in (nowhere.error or "")
    assert ids(free) == greedy(llama, IDS, 12)


# --- places --------------------------------------------------------------------------------------


def test_no_more_run_than_may(loop: LiveLoop, llama: Path, tuned: tuple[Tuned, Tuned]) -> None:
    run = Run(loop)
    adapters = [None, tuned[0].adapter, None]
    made = run.all(*[prompt(IDS[: 10 + n], 6, adapter=adapters[n % 3]) for n in range(30)])
    assert run.most_running == 8
    folders = [llama, tuned[0].merged, llama]
    assert [ids(one) for one in made] == [
        greedy(folders[n % 3], IDS[: 10 + n], 6) for n in range(30)
    ]


def test_what_is_cancelled_ends_at_once_and_leaves_its_place(loop: LiveLoop) -> None:
    run = Run(loop)
    tickets = run.start(*[prompt(IDS[: 20 + n], 200) for n in range(9)])
    run.turn()
    running, waiting = tickets[0], tickets[8]
    run.hear([loop.cancel(running), loop.cancel(waiting)])
    assert run.whole(running).finish == "cancelled"
    assert run.whole(waiting).finish == "cancelled"
    assert run.whole(waiting).compute_seconds == 0
    assert loop.cancel(running) is None
    for ticket in tickets[1:8]:
        run.hear([loop.cancel(ticket)])
    run.turn()
    assert loop.idle
    assert not loop._base._pipeline.has_non_finished_requests()


def test_a_look_up_of_probabilities_can_be_cancelled(loop: LiveLoop, llama: Path) -> None:
    run = Run(loop)
    first, second = run.start(*[prompt(LONG, 1, top_logprobs=3)] * 2)
    while not loop._looked_up:
        run.turn()
    run.hear([loop.cancel(first)])
    while not loop.idle:
        run.turn()
    assert run.whole(first).finish == "cancelled"
    assert ids(run.whole(second)) == greedy(llama, LONG, 1)


def test_a_shared_beginning_is_computed_once(loop: LiveLoop) -> None:
    """The engine's own count of steps bounds what was computed: 512 tokens in each at most."""
    shared = tuple(3 + 7 * n % 250 for n in range(400))
    asked = [prompt((*shared, 5 + n), 1) for n in range(24)]
    run = Run(loop)
    tickets = run.start(*asked)
    steps = 0
    while not loop.idle:
        run.turn()
        steps += 1
    cached = [run.whole(ticket).cached_tokens or 0 for ticket in tickets]
    assert cached == [0] + [384] * 23
    assert steps <= 6  # each of 24 x 400 tokens by itself would take 19


def test_prompts_that_begin_alike_keep_apart(loop: LiveLoop, llama: Path) -> None:
    """Some begin with all of another that has run or runs; they come and go at every step."""
    lengths = (3, 16, 20, 27, 31, 32, 33, 45, 50)
    expected = {n: greedy(llama, IDS[:n], 10) for n in lengths}
    chance = random.Random(1)
    run, asked = Run(loop), {}
    for _ in range(150):
        for _ in range(chance.randrange(4)):
            length, tokens = chance.choice(lengths), chance.randrange(1, 11)
            (ticket,) = run.start(prompt(IDS[:length], tokens))
            asked[ticket] = expected[length][:tokens]
        going = [ticket for ticket in asked if not run.is_over(ticket)]
        if going and chance.random() < 0.3:
            run.hear([loop.cancel(chance.choice(going))])
        run.turn()
    while not loop.idle:
        run.turn()
    for ticket, said in asked.items():
        made = run.whole(ticket)
        assert ids(made) == said[: len(ids(made))]
        assert made.finish == "cancelled" or len(ids(made)) == len(said)


def test_times_add_up(loop: LiveLoop) -> None:
    before = loop._clock()
    made = Run(loop).all(*[prompt(IDS[: 20 + n]) for n in range(12)])
    wall = loop._clock() - before
    assert sum(one.compute_seconds or 0 for one in made) <= wall
    for one in made:
        assert 0 <= one.waited_seconds <= one.seconds <= wall
        assert 0 < (one.compute_seconds or 0) <= one.seconds
