"""The live engine in a process of its own: its contract, many callers, and what a death costs."""

from __future__ import annotations

import os
import queue
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_adapters import make_adapter
from tiny_families import greedy, make_family

from stepladder.errors import ModelError
from stepladder.models.live import Made, Prompt, Sampling
from stepladder.models.local.live_openvino import OpenVINOLive, open_live
from stepladder.models.local.tokenizer import load_tokenizer
from stepladder.testing import check_live_engine

pytest.importorskip("openvino_genai")
pytest.importorskip("torch")

IDS = tuple(range(10, 60))
PROMPT = Prompt(IDS, 12)
# so many that on a busy machine, too, it is cancelled before it comes to its end
ENDLESS = Prompt(IDS, 6000, Sampling(temperature=1.0), grammar='root ::= "a" root | "b" root')
LENGTHS = (1, 7, 20, 31, 33, 45)
SECONDS = 60


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As that of other tests, with room for what is ENDLESS."""
    return make_family(tmp_path_factory.mktemp("llama") / "model", longest=8192)


@pytest.fixture(scope="module")
def engine(llama: Path, model_cache: Path) -> Iterator[OpenVINOLive]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPLADDER_CACHE", str(model_cache))
        opened = open_live(llama, load_tokenizer(llama), exact=True, most_running=8)
    yield opened
    opened.close()


class Call:
    """A sequence and what is heard of it."""

    def __init__(self, engine: OpenVINOLive, prompt: Prompt) -> None:
        self.news: queue.SimpleQueue[Made] = queue.SimpleQueue()
        self.ids: tuple[int, ...] = ()
        self.ticket = engine.start(prompt, self.news.put)

    def next(self) -> Made:
        made = self.news.get(timeout=SECONDS)
        self.ids += tuple(token.id for token in made.tokens)
        return made

    def end(self) -> Made:
        while (made := self.next()).finish is None:
            pass
        assert self.news.empty(), "nothing comes after the end"
        return made


@pytest.mark.slow
def test_it_keeps_the_contract_of_live_engines(llama: Path) -> None:
    check_live_engine(open_live(llama, load_tokenizer(llama), exact=True), PROMPT)


def test_callers_in_many_threads_get_their_own_answers(engine: OpenVINOLive, llama: Path) -> None:
    """Each thread starts, cancels at random and checks what it was told, all at once."""
    failures: list[str] = []

    expected = {IDS[:n]: greedy(llama, IDS[:n], 12) for n in LENGTHS}

    def caller(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(12):
            start, tokens = IDS[: chance.choice(LENGTHS)], chance.randrange(1, 12)
            call = Call(engine, Prompt(start, tokens))
            if chance.random() < 0.3:
                engine.cancel(call.ticket)
            finish = call.end().finish
            right = expected[start][:tokens]
            whole = finish == "cancelled" or len(call.ids) == len(right)
            if not whole or call.ids != right[: len(call.ids)]:
                failures.append(f"{start}: {finish} with {call.ids} is not {right}")

    threads = [threading.Thread(target=caller, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert not failures
    last = Call(engine, PROMPT)
    assert last.end().finish is not None
    load = engine.load()
    assert (load.running, load.waiting, load.most_running) == (0, 0, 8)


def test_load_tells_who_runs_and_who_waits(engine: OpenVINOLive) -> None:
    calls = [Call(engine, ENDLESS) for _ in range(11)]
    for call in calls[:8]:
        call.next()
    load = engine.load()
    assert (load.running, load.waiting) == (8, 3)
    for call in calls:
        engine.cancel(call.ticket)
    assert {call.end().finish for call in calls} == {"cancelled"}


def test_a_sink_that_raises_harms_nobody(
    engine: OpenVINOLive, llama: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(made: Made) -> None:
        raise ValueError("a caller's mistake")

    engine.start(PROMPT, broken)
    call = Call(engine, PROMPT)
    call.end()
    assert call.ids == greedy(llama, IDS, 12)
    assert "a caller's mistake" in caplog.text


@pytest.mark.slow
def test_a_death_ends_what_was_under_way_and_nothing_else(
    engine: OpenVINOLive, llama: Path, tmp_path: Path
) -> None:
    tuned = make_adapter(llama, tmp_path, 1)
    under_way = [Call(engine, ENDLESS) for _ in range(8)]
    for call in under_way:
        call.next()
    waiting = [Call(engine, PROMPT), Call(engine, Prompt(IDS, 12, adapter=tuned.adapter))]
    dropped = Call(engine, PROMPT)
    _kill(engine)
    engine.cancel(dropped.ticket)
    for call in under_way:
        made = call.end()
        assert (made.finish, made.refused) == ("error", False)
        assert "signal 9" in (made.error or "")
    assert dropped.end().finish in ("cancelled", "length")
    assert [call.end().finish for call in waiting] == ["length", "length"]
    assert [call.ids for call in waiting] == [
        greedy(folder, IDS, 12) for folder in (llama, tuned.merged)
    ]


@pytest.mark.slow
def test_after_several_deaths_it_is_tried_again_when_somebody_asks(
    engine: OpenVINOLive, llama: Path
) -> None:
    for _ in range(4):
        call = Call(engine, ENDLESS)
        call.next()
        _kill(engine)
        assert call.end().finish == "error"
    call = Call(engine, PROMPT)
    call.end()
    assert call.ids == greedy(llama, IDS, 12)


@pytest.mark.slow
def test_closing_cancels_whoever_is_left(llama: Path) -> None:
    engine = open_live(llama, load_tokenizer(llama), most_running=2)
    process = _process(engine)
    calls = [Call(engine, ENDLESS) for _ in range(4)]
    calls[0].next()
    engine.close()
    engine.close()
    assert [call.end().finish for call in calls] == ["cancelled"] * 4
    with pytest.raises(RuntimeError, match="closed"):
        engine.start(PROMPT, lambda made: None)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_model_that_cannot_be_loaded_is_told(
    engine: OpenVINOLive, llama: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    with pytest.raises(ModelError, match="cannot load"):
        OpenVINOLive(replace(engine.settings, engine=tmp_path))


def test_ctrl_c_is_not_for_the_engines_process(engine: OpenVINOLive, llama: Path) -> None:
    os.kill(_process(engine), signal.SIGINT)
    call = Call(engine, PROMPT)
    call.end()
    assert call.ids == greedy(llama, IDS, 12)


def _process(engine: OpenVINOLive) -> int:
    assert engine.process is not None
    return engine.process


def _kill(engine: OpenVINOLive) -> None:
    os.kill(_process(engine), signal.SIGKILL)
