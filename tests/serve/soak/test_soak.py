"""10,000 requests and a server that is killed again and again: what it accepted is all there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from load import Clients, Ledger
from postgres_server import PostgresServer
from processes import ServerProcess, until

from stepladder.database import open_database
from stepladder.database.database import Database
from stepladder.database.records import OVER, Batch, BatchItem

pytestmark = [pytest.mark.slow, pytest.mark.network]

EVERYTHING = 1_000_000
PACE = 300.0  # tokens a second: an answer takes a tenth of one, so that kills meet some
LEASE_SECONDS = 3.0  # so long is a batch of a killed server left alone


@dataclass(frozen=True)
class Plan:
    """How many requests, after how many of them the server ends, and which end is a gentle one."""

    requests: int
    ends: tuple[int, ...]
    gentle: int
    seed: int


def plan(requests: int, ends: int, seed: int) -> Plan:
    moments = random.Random(seed).sample(range(requests // 30, requests - requests // 30), ends)
    return Plan(requests, tuple(sorted(moments)), ends // 2, seed)


def test_what_was_accepted_survives_kills_on_sqlite(tmp_path: Path) -> None:
    soak(tmp_path, f"sqlite:///{tmp_path / 'serve.db'}", plan(10_000, 11, seed=4))


def test_what_was_accepted_survives_kills_on_postgresql(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    soak(tmp_path, postgres.make("soak"), plan(2_000, 4, seed=5))


def soak(folder: Path, database: str, planned: Plan) -> None:
    server = ServerProcess(folder, database, pace=PACE, lease_seconds=LEASE_SECONDS)
    memory: list[float] = []
    with closing(server):
        server.start()
        ledger = asyncio.run(_load(server, planned, memory))
        memory.append(server.resident_mib())
        with closing(open_database(database)) as kept:
            until(lambda: all(one.state in OVER for one in kept.batches(limit=EVERYTHING)), 120)
        assert server.stop() == 0
    sys.stderr.write(f"\n{summary(ledger)}; MiB: {[round(one) for one in memory]}\n")
    assert ledger.faults == []
    assert ledger.count >= planned.requests
    assert len(ledger.killed) == len(planned.ends) - 1
    assert ledger.cut.keys() <= ledger.killed, "an end that was asked for cuts off no stream"
    with closing(open_database(database)) as kept:
        check_feedback(kept, ledger)
        check_files(kept, ledger)
        check_jobs(kept, ledger)
        check_batches(kept, ledger)
    assert b"Traceback" not in server.log.read_bytes()


def summary(ledger: Ledger) -> str:
    """What came of the calls, for those who run this by hand (`pytest -s`)."""
    statuses = [f"{name}: {count}" for name, count in sorted(ledger.statuses.items())]
    lost = f"records of answers that went with a kill: {len(ledger.unknown)}"
    return ", ".join([*statuses, lost])


async def _load(server: ServerProcess, planned: Plan, memory: list[float]) -> Ledger:
    clients = Clients(server.url, planned.seed, planned.requests, planned.ends)
    ledger = clients.ledger

    async def interrupt(number: int) -> None:
        memory.append(server.resident_mib())
        if number == planned.gentle:
            assert await asyncio.to_thread(server.stop) == 0
        else:
            server.kill()
            ledger.killed.add(ledger.life)
        await asyncio.to_thread(server.start)

    await clients.run(interrupt)
    return ledger


def check_feedback(kept: Database, ledger: Ledger) -> None:
    accepted = 0
    for comment, made in ledger.feedback.items():
        found = [one for one in kept.feedback(made.of) if one.comment == comment]
        assert len(found) <= 1, "what was sent once is there once"
        assert all(one.verdict == "right" for one in found), "whole, or not there"
        if made.id is not None:
            assert [one.id for one in found] == [made.id], "what was accepted is there"
            assert kept.served(made.of) is not None, "with the call that it is of"
            accepted += 1
    assert accepted > ledger.count / 20
    answered = [id for id, life in ledger.answered.items() if life not in ledger.killed]
    assert all(kept.served(id) for id in answered), "servers that were not killed recorded all"


def check_files(kept: Database, ledger: Ledger) -> None:
    stored = [file for file in kept.files(limit=EVERYTHING) if file.purpose in SENT]
    there = {file.id: file for file in stored}
    assert len({file.name for file in stored}) == len(stored), "each once"
    accepted = 0
    for made in ledger.files.values():
        if made.id is not None and made.gone is False:
            assert (there[made.id].size_bytes, there[made.id].sha256) == made.of
            accepted += 1
        if made.gone is True:
            assert made.id not in there, "what was deleted does not come back"
    assert accepted > ledger.count / 30
    for file in stored:
        digest, size = hashlib.sha256(), 0
        for piece in kept.read_file(file.id):
            digest.update(piece)
            size += len(piece)
        assert (size, digest.hexdigest()) == ledger.files[file.name].of, "whole, or not there"


SENT = ("user_data", "batch", "fine-tune", "media")


def check_jobs(kept: Database, ledger: Ledger) -> None:
    stored = kept.jobs(limit=EVERYTHING)
    there = {job.id: job for job in stored}
    assert len({job.name for job in stored}) == len(stored), "each once"
    for name, made in ledger.jobs.items():
        assert made.id is None or there[made.id].name == name
    for job in stored:
        assert job.training_file == ledger.jobs[job.name].of
        assert job.state == "queued"
    assert sum(made.id is not None for made in ledger.jobs.values()) > ledger.count / 200


def check_batches(kept: Database, ledger: Ledger) -> None:
    stored = kept.batches(limit=EVERYTHING)
    there = {name_of(batch): batch for batch in stored}
    assert len(there) == len(stored), "each once"
    outputs = Counter(file.name for file in kept.files(purpose="batch_output", limit=EVERYTHING))
    assert {*outputs.values()} == {1}, "no output is written twice"
    for name, made in ledger.batches.items():
        if made.id is not None:
            assert there[name].id == made.id
    for name, batch in there.items():
        texts = ledger.batches[name].of
        assert (batch.state, batch.total) == ("succeeded", len(texts))
        assert (batch.succeeded, batch.failed) == (len(texts), 0)
        assert [*answers_of(kept, batch)] == texts, "each item answered, once, in order"
    assert sum(made.id is not None for made in ledger.batches.values()) > ledger.count / 200


def name_of(batch: Batch) -> str:
    return batch.name or str(batch.request["metadata"]["name"])


def answers_of(kept: Database, batch: Batch) -> Iterator[str]:
    """What the batch tells, item by item."""
    if batch.output_file is None:
        yield from (said_in(item) for item in kept.items(batch.id))
        return
    output = b"".join(kept.read_file(batch.output_file)).decode()
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["custom_id"] for line in lines] == [f"row {n}" for n in range(len(lines))]
    for line in lines:
        yield line["response"]["body"]["choices"][0]["message"]["content"]


def said_in(item: BatchItem) -> str:
    assert item.done
    assert item.error is None
    return "".join(part["text"] for part in item.answer["candidates"][0]["content"]["parts"])
