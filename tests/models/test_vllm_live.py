"""The live engine over vLLM, against a server of the tests' own and recorded streams.

No vLLM runs here: what was tried with a real one is told in `docs/log.md`.
"""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_vllm import EOS, FakeVLLM
from hypothesis import given
from hypothesis import strategies as st

from stepladder.errors import ModelError
from stepladder.fake_live import FakeTokenizer
from stepladder.models.live import Load, Made, Prompt, Sampling, Token
from stepladder.models.local import LocalProvider
from stepladder.models.local.tokenizer import load_tokenizer
from stepladder.models.vllm_live import VLLMLive, open_vllm
from stepladder.models.vllm_server import VLLMServer, vllm_server
from stepladder.models.vllm_wire import End, Stream, completion_body, fault_of, server_events
from stepladder.serve.served.bases import open_base
from stepladder.testing import check_live_engine

pytest.importorskip("httpx2")
pytestmark = pytest.mark.network

RECORDED = Path(__file__).parent / "wire"
PROMPT = Prompt(tuple(b"What is it?"), 8)
SECONDS = 30


@pytest.fixture
def server() -> Iterator[FakeVLLM]:
    fake = FakeVLLM()
    yield fake
    fake.stop()


@pytest.fixture
def engine(server: FakeVLLM) -> Iterator[VLLMLive]:
    opened = opened_on(server, most_running=4)
    yield opened
    opened.close()


def opened_on(server: FakeVLLM, **options: int) -> VLLMLive:
    return open_vllm(VLLMServer(server.url, server.model, server.key), FakeTokenizer(), **options)


class Call:
    """A sequence and what is heard of it."""

    def __init__(self, engine: VLLMLive, prompt: Prompt) -> None:
        self.news: queue.SimpleQueue[Made] = queue.SimpleQueue()
        self.tokens: tuple[Token, ...] = ()
        self.ticket = engine.start(prompt, self.news.put)

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]

    def next(self) -> Made:
        made = self.news.get(timeout=SECONDS)
        self.tokens += made.tokens
        return made

    def end(self) -> Made:
        while (made := self.next()).finish is None:
            pass
        assert self.news.empty(), "nothing comes after the end"
        return made


@pytest.mark.parametrize("tokens", [8, 64])
def test_it_keeps_the_contract_of_live_engines(server: FakeVLLM, tokens: int) -> None:
    check_live_engine(opened_on(server), replace(PROMPT, max_output_tokens=tokens))


def test_what_is_said_is_what_the_server_says(engine: VLLMLive, server: FakeVLLM) -> None:
    call = Call(engine, replace(PROMPT, max_output_tokens=64, top_logprobs=2))
    made = call.end()
    said = [*server.ids(server.bodies[0])]
    assert (made.finish, [*call.ids, EOS]) == ("stop", said)
    assert call.tokens[0].top == ((said[0], -0.5), ((said[0] + 1) % 300, -1.5))
    assert made.end_logprob == -0.5
    assert made.cached_tokens == 0
    assert 0 <= made.waited_seconds <= made.seconds
    assert made.compute_seconds is not None
    assert made.compute_seconds <= made.seconds


@pytest.mark.parametrize(("tokens", "finish"), [(64, "stop"), (4, "length")])
def test_the_probabilities_of_a_bound_answer_are_the_models_own(
    engine: VLLMLive, server: FakeVLLM, tokens: int, finish: str
) -> None:
    """Beside the answer vLLM tells them among the tokens that the form allows."""
    choices = Prompt(PROMPT.ids, tokens, choices=("refund", "other"), top_logprobs=2)
    call = Call(engine, choices)
    made = call.end()
    assert "logprobs" not in server.bodies[0]
    assert made.finish == finish
    assert bytes(call.ids) == b"refund"[:tokens]
    assert call.tokens[0].logprob == -1.0 - call.ids[0] / 1000
    assert call.tokens[0].top == ((0, -1.0), (1, -1.001))
    assert made.end_logprob == (-1.0 - EOS / 1000 if finish == "stop" else None)


def test_those_who_wait_come_in_turn_and_are_counted(engine: VLLMLive, server: FakeVLLM) -> None:
    server.hold.clear()
    calls = [Call(engine, PROMPT) for _ in range(6)]
    for call in calls[:4]:
        call.next()
    assert engine.load() == Load(4, 2, 4)
    engine.cancel(calls[5].ticket)
    assert calls[5].end().finish == "cancelled"
    assert calls[5].tokens == ()
    server.hold.set()
    assert [call.end().finish for call in calls[:5]] == ["length"] * 5
    assert engine.load() == Load(0, 0, 4)


def test_cancelling_hangs_up_so_that_the_server_stops(engine: VLLMLive, server: FakeVLLM) -> None:
    server.hold.clear()
    call = Call(engine, PROMPT)
    call.next()
    engine.cancel(call.ticket)
    assert call.end().finish == "cancelled"
    assert server.left.acquire(timeout=SECONDS), "the server heard of it"


def test_a_server_that_dies_and_comes_back_costs_what_was_under_way() -> None:
    server = FakeVLLM()
    engine = opened_on(server)
    server.hold.clear()
    call = Call(engine, PROMPT)
    call.next()
    server.stop()
    made = call.end()
    assert (made.finish, made.refused) == ("error", False)
    assert made.error is not None
    assert "vLLM server" in made.error
    while_away = Call(engine, PROMPT).end()
    assert while_away.finish == "error"
    assert "does not answer" in str(while_away.error)
    again = FakeVLLM(port=server.port)
    try:
        assert Call(engine, PROMPT).end().finish == "length"
    finally:
        engine.close()
        again.stop()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (replace(PROMPT, ids=(999,)), "out of vocabulary"),  # told within a stream
        (replace(PROMPT, max_output_tokens=100), "too large"),  # told by the status
        (replace(PROMPT, ids=()), "no tokens"),
        (replace(PROMPT, ids=(-1,)), "no tokens of this model"),
        (replace(PROMPT, ids=tuple(range(128))), "reads 128"),
        (replace(PROMPT, max_output_tokens=0), "at least 1"),
        (replace(PROMPT, sampling=Sampling(top_p=1.5)), "between 0 and 1"),
        (replace(PROMPT, choices=("a",), grammar="b"), "only one"),
    ],
)
def test_what_cannot_be_run_is_the_prompts_fault(
    engine: VLLMLive, prompt: Prompt, message: str
) -> None:
    made = Call(engine, prompt).end()
    assert (made.finish, made.refused) == ("error", True)
    assert message in str(made.error)
    assert Call(engine, PROMPT).end().finish == "length"


def test_a_sink_that_raises_ends_its_own_sequence_only(engine: VLLMLive) -> None:
    def sink(made: Made) -> None:
        raise ZeroDivisionError

    engine.start(PROMPT, sink)
    assert Call(engine, PROMPT).end().finish == "length"


# --- adapters -----------------------------------------------------------------------------------


def adapter(folder: Path, weights: str) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    (folder / "adapter_model.safetensors").write_text(weights, encoding="utf-8")
    return folder


def test_an_adapter_is_brought_once_and_named_by_what_is_in_it(
    engine: VLLMLive, server: FakeVLLM, tmp_path: Path
) -> None:
    one, other = adapter(tmp_path / "one", "1"), adapter(tmp_path / "other", "2")
    twin = adapter(tmp_path / "twin", "1")
    used = [None, one, other, one, twin, None]
    calls = [Call(engine, replace(PROMPT, adapter=folder)) for folder in used]
    assert {call.end().finish for call in calls} == {"length"}
    assert server.loads == len(server.adapters) == 2
    assert set(server.adapters.values()) == {str(one), str(other)}
    said = [call.ids for call in calls]
    assert said[0] == said[5] != said[1] == said[3] == said[4] != said[2]


def test_an_adapter_that_the_server_lost_is_brought_again(
    engine: VLLMLive, server: FakeVLLM, tmp_path: Path
) -> None:
    tuned = replace(PROMPT, adapter=adapter(tmp_path / "one", "1"))
    first = Call(engine, tuned)
    first.end()
    server.adapters.clear()
    again = [Call(engine, tuned) for _ in range(3)]
    assert {call.end().finish for call in again} == {"length"}
    assert all(call.ids == first.ids for call in again)


def test_an_adapter_that_another_server_brought_is_used(
    server: FakeVLLM, engine: VLLMLive, tmp_path: Path
) -> None:
    tuned = replace(PROMPT, adapter=adapter(tmp_path / "one", "1"))
    other = opened_on(server)
    said = [Call(one, tuned) for one in (engine, other)]
    assert {call.end().finish for call in said} == {"length"}
    assert said[0].ids == said[1].ids
    other.close()


def test_an_adapter_that_cannot_be_used_is_no_fault_of_the_prompt(
    engine: VLLMLive, server: FakeVLLM, tmp_path: Path
) -> None:
    large = adapter(tmp_path / "large", "1")
    (large / "adapter_config.json").write_text("rank 1000", encoding="utf-8")
    made = Call(engine, replace(PROMPT, adapter=large)).end()
    assert (made.finish, made.refused) == ("error", False)
    assert "max_lora_rank" in str(made.error)
    assert "cannot be read" in str(Call(engine, replace(PROMPT, adapter=tmp_path)).end().error)
    server.takes_adapters = False
    small = adapter(tmp_path / "small", "2")
    made = Call(engine, replace(PROMPT, adapter=small)).end()
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in str(made.error)


# --- opening ------------------------------------------------------------------------------------


def test_opening_says_what_is_wrong(server: FakeVLLM) -> None:
    class Other(FakeTokenizer):
        def encode(self, text: str) -> list[int]:
            return [1, 2, 3]

    with pytest.raises(ModelError, match="has no model 'nobody'") as wrong:
        open_vllm(VLLMServer(server.url, "nobody"), FakeTokenizer())
    assert "'tiny'" in (wrong.value.hint or "")
    with pytest.raises(ModelError, match="another tokenizer"):
        open_vllm(VLLMServer(server.url, "tiny"), Other())
    server.key = "the-servers-key"
    with pytest.raises(ModelError, match="401: Unauthorized") as unknown:
        open_vllm(VLLMServer(server.url, "tiny", "another-key"), FakeTokenizer())
    assert "VLLM_API_KEY" in (unknown.value.hint or "")
    server.stop()
    with pytest.raises(ModelError, match="does not answer"):
        open_vllm(VLLMServer(server.url, "tiny"), FakeTokenizer())


def test_a_key_goes_along_and_is_not_shown() -> None:
    server = FakeVLLM(key="the-servers-key")
    engine = opened_on(server)
    assert Call(engine, PROMPT).end().finish == "length"
    assert engine.context_tokens == 128
    engine.close()
    server.stop()
    assert "the-servers-key" not in repr(VLLMServer(server.url, "tiny", "the-servers-key"))


def test_where_it_is_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    monkeypatch.delenv("VLLM_BASE_URL", raising=False)
    assert vllm_server("m") == VLLMServer("http://127.0.0.1:8000/v1", "m")
    monkeypatch.setenv("VLLM_BASE_URL", "http://gpu.internal:8000/v1")
    assert vllm_server("m").url == "http://gpu.internal:8000/v1"
    monkeypatch.setenv("VLLM_API_KEY", "the-servers-key")
    with pytest.raises(ModelError, match="not encrypted"):
        vllm_server("m")


def test_a_base_of_the_server_has_the_tokenizer_of_its_folder(
    server: FakeVLLM, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer(llama)
    server.encode = tokenizer.encode
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    monkeypatch.setenv("VLLM_BASE_URL", server.url)
    base = open_base(f"vllm:tiny={llama}", most_running=3)
    assert base.name == f"local:{llama}"
    assert base.tokenizer.context_tokens == min(128, tokenizer.context_tokens)
    assert base.tokenizer.encode("one 2") == tokenizer.encode("one 2")
    assert base.engine.load() == Load(0, 0, 3)
    assert base.fingerprint == LocalProvider(Path()).model(base.name).fingerprint
    base.engine.close()


# --- the wire -----------------------------------------------------------------------------------


def recorded(name: str) -> list[bytes]:
    lines = (RECORDED / f"vllm_{name}.txt").read_bytes().splitlines()
    return [line.removeprefix(b"data: ") for line in lines if line]


def read(name: str, prompt: Prompt) -> tuple[list[Token], End]:
    stream = Stream(prompt)
    tokens = [token for data in recorded(name) for token in stream.take(data)]
    return tokens, stream.end()


def test_recorded_streams_are_read() -> None:
    tokens, end = read("plain", PROMPT)
    assert [token.id for token in tokens] == [504, 3575, 282, 4649, 314, 7042, 30]
    assert end == End("stop", token=Token(2), cached_tokens=0)
    tokens, end = read("logprobs", replace(PROMPT, top_logprobs=2))
    assert tokens[0].logprob == pytest.approx(-1.88206, abs=1e-5)
    assert [id for id, _ in tokens[0].top] == [504, 60]
    assert end == End("length", cached_tokens=0)
    _, end = read("vocabulary", PROMPT)
    assert end == End("error", "Token id 999999 is out of vocabulary", refused=True)


def test_the_tests_server_speaks_as_was_recorded() -> None:
    fake = FakeVLLM()
    fake.stop()
    body = completion_body(replace(PROMPT, top_logprobs=2), "tiny", context_tokens=99, eos_id=EOS)
    made = [*fake.chunks(body)]
    told = [json.loads(data) for data in recorded("logprobs") if data != b"[DONE]"]
    assert [shape(made[0]), shape(made[-1])] == [shape(told[0]), shape(told[-1])]


def shape(value: object) -> object:
    """The names of fields, down to lists and what is null or not."""
    if isinstance(value, dict):
        named = {name: shape(one) for name, one in value.items()}
        return "ids" if all(name.startswith("token_id:") for name in named) else named
    return [shape(value[0])] if isinstance(value, list) and value else type(value)


@pytest.mark.parametrize("cut", [1, 2, 9])
def test_a_stream_that_breaks_off_is_an_error(cut: int) -> None:
    stream = Stream(PROMPT)
    for data in recorded("plain")[:-cut]:
        stream.take(data)
    assert stream.end().finish == "error"


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"choices": [{}]}', b'{"choices": 7}'])
def test_what_is_no_vllm_is_told(data: bytes) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Stream(PROMPT).take(data)


@given(st.data())
def test_events_are_found_however_the_stream_is_cut(data: st.DataObject) -> None:
    whole = (RECORDED / "vllm_plain.txt").read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))

    async def pieces() -> AsyncIterator[bytes]:
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            yield whole[start:end]

    async def events() -> list[bytes]:
        return [event async for event in server_events(pieces())]

    assert asyncio.run(events()) == recorded("plain")


def test_a_request_says_everything_that_a_server_may_have_defaults_for() -> None:
    sampling = Sampling(0.7, 0.0, 5, 0.1, 0.2, -3)
    body = completion_body(
        replace(PROMPT, sampling=sampling, schema={"type": "object"}, max_output_tokens=500),
        "tiny",
        context_tokens=100,
        eos_id=EOS,
    )
    assert body["max_tokens"] == 100 - len(PROMPT.ids)
    assert 0 < body["top_p"] < 1e-5
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (5, 0.0, 1.0)
    assert 0 <= body["seed"] < 1 << 63
    assert body["structured_outputs"] == {"json": {"type": "object"}}
    assert "logprobs" not in body
    plain = completion_body(PROMPT, "tiny", context_tokens=100, eos_id=EOS)
    assert "seed" not in plain
    assert "structured_outputs" not in plain
    assert fault_of(PROMPT, 100) is None
