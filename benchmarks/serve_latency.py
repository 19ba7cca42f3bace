"""What the server adds to its engine: time per call and memory, with an engine that costs nothing.

A server process on a port, a load generator in another: 200 calls/s of chat completions from 1, 8
and 32 clients, and as streams from 32. Added latency is the client's time of a call less the
engine's own for that very call. The same calls go through LiteLLM's proxy, which hands them to an
upstream that answers at once; what it adds is over the same calls made to that upstream itself.
Memory is that of the server's process, after each thousand of 10,000 calls.

The database is on, with content, as in normal use.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from environment import finish, parser, where

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

RATE, CLIENTS, CALLS, WARM_UP = 200.0, (1, 8, 32), 2000, 300
MEMORY_CALLS, MEMORY_EVERY = 10_000, 1000
TOKENS = 16
LITELLM = "litellm[proxy]==1.109.1"
LOOSENED = ("certifi", "litellm-proxy-extras", "litellm-enterprise")
# what it needs for its proxy, with any version of those named
LOOSEN = """
import sys
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement
for one in map(Requirement, requires("litellm")):
    if one.marker is None or one.marker.evaluate({"extra": "proxy"}):
        extras = "[" + ",".join(sorted(one.extras)) + "]" if one.extras else ""
        print(one.name + extras + ("" if one.name in sys.argv[1:] else str(one.specifier)))
"""
FOR_LITELLM = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # nothing is fetched
    # neither server asks for a key here
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
LIMITS = {"median_ms": 5.0, "p99_ms": 20.0}
Found = dict[str, Any]


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--role", choices=["serve", "upstream", "load"], help="of a process")
    options.add_argument("--of", type=json.loads, default={}, help="what the process is told")
    options.add_argument("--litellm", type=Path, help="a virtual environment that has it")
    options.add_argument("--calls", type=int, default=CALLS, help="measured for each row")
    chosen = options.parse_args()
    if chosen.role is not None:
        {"serve": serve, "upstream": upstream, "load": load}[chosen.role](**chosen.of)
        return
    place = where()
    with tempfile.TemporaryDirectory() as folder:
        ours = measure_ours(Path(folder), chosen.calls)
        theirs = measure_litellm(Path(folder), chosen.litellm, chosen.calls)
    result = {
        **place, "rate_per_second": RATE, "answer_tokens": TOKENS, "calls": chosen.calls,
        "ours": ours["rows"], "memory_mib": ours["memory_mib"], "litellm": theirs,
        "litellm_over_ours": ratios(ours["rows"], theirs), "limits": LIMITS,
    }  # fmt: skip
    finish("serve_latency", result, write=chosen.write)


# --- ours ---------------------------------------------------------------------------------------


def measure_ours(folder: Path, calls: int) -> Found:
    """Rows by number of clients, and the server's memory."""
    seconds = folder / "engine.json"
    times: list[tuple[str, list[tuple[int, float]], float]] = []
    told = {"port": free_port(), "database": f"sqlite:///{folder / 'serve.db'}",
            "seconds": str(seconds)}  # fmt: skip
    with process("serve", told, told["port"]) as pid:
        run_load(folder, told["port"], 32, WARM_UP, first=0)
        first = WARM_UP
        for clients, stream in (*((count, False) for count in CLIENTS), (CLIENTS[-1], True)):
            name = f"{clients} streaming" if stream else str(clients)
            found = run_load(folder, told["port"], clients, calls, first=first, stream=stream)
            times.append((name, found["times"], found["rate"]))
            first += calls
        memory = [resident_mib(pid)]
        for _ in range(MEMORY_CALLS // MEMORY_EVERY):
            run_load(folder, told["port"], 32, MEMORY_EVERY, first=first, rate=1000.0)
            first += MEMORY_EVERY
            memory.append(resident_mib(pid))
    engine = {int(number): each for number, each in json.loads(seconds.read_text()).items()}
    rows = {
        name: {**summary([one - engine[number] for number, one in found]), "rate": rate,
               "engine_ms": 1000 * float(np.median([engine[number] for number, _ in found]))}
        for name, found, rate in times
    }  # fmt: skip
    return {"rows": rows, "memory_mib": memory}


def serve(port: int, database: str, seconds: str) -> None:
    """The server, over an engine whose own time is noted for each call."""
    from serving import FixedModels, fake_card

    from stepladder.database import open_database
    from stepladder.fake_live import FakeEngine, FakeTokenizer
    from stepladder.models.live import Made, Prompt, Sink, Ticket
    from stepladder.serve.app import create_app
    from stepladder.serve.log import set_up_log
    from stepladder.serve.running import Running, listen
    from stepladder.serve.served.local import LocalServed
    from stepladder.serve.server import assemble
    from stepladder.serve.settings import ServeSettings

    taken: dict[str, float] = {}
    tokenizer = FakeTokenizer()

    class Timed(FakeEngine):
        def start(self, prompt: Prompt, sink: Sink) -> Ticket:
            started = time.perf_counter()
            number = tokenizer.last_text(prompt.ids).partition(" ")[0]

            def timed(made: Made) -> None:
                if made.finish is not None:
                    taken[number] = time.perf_counter() - started
                sink(made)

            return super().start(prompt, timed)

    engine = Timed(lambda prompt: b"x" * TOKENS, keep_seen=0)
    settings = ServeSettings(port=port, database=database, most_running=64)
    kept = open_database(database)
    models = FixedModels({"fake": LocalServed(fake_card(), engine, tokenizer)})
    server = assemble(settings, models, kept)
    set_up_log("json")
    Running(create_app(server), server).answer_on(listen(settings))
    kept.close()
    engine.close()
    Path(seconds).write_text(json.dumps(taken), encoding="utf-8")


# --- LiteLLM ------------------------------------------------------------------------------------


def measure_litellm(folder: Path, environment: Path | None, calls: int) -> Found:
    """What its proxy adds to an upstream, or why that is not known."""
    try:
        program, loosened = (environment, []) if environment else install_litellm(folder)
    except subprocess.CalledProcessError as error:
        return {"skipped": f"{LITELLM} could not be installed (exit status {error.returncode})"}
    port, behind = free_port(), free_port()
    config = folder / "litellm.json"
    parameters = {"model": "openai/fake", "api_base": f"http://127.0.0.1:{behind}/v1",
                  "api_key": "none"}  # fmt: skip
    config.write_text(json.dumps({
        "model_list": [{"model_name": "fake", "litellm_params": parameters}],
        "litellm_settings": {"telemetry": False},
    }))  # fmt: skip
    command = [str(program / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1",
               "--port", str(port), "--num_workers", "1"]  # fmt: skip
    rows: Found = {}
    with process("upstream", {"port": behind}, behind), program_on(command, port):
        run_load(folder, port, 8, WARM_UP, first=0)
        for clients in CLIENTS:
            alone = run_load(folder, behind, clients, calls, first=0)
            found = run_load(folder, port, clients, calls, first=0)
            base = float(np.median([one for _, one in alone["times"]]))
            rows[str(clients)] = {
                **summary([one - base for _, one in found["times"]]), "rate": found["rate"],
            }  # fmt: skip
    return {"version": LITELLM, "loosened": loosened, "rows": rows}


def install_litellm(folder: Path) -> tuple[Path, list[str]]:
    """A virtual environment of its own, since it pins much that others need otherwise.

    Where the index does not have a version that it pins, the nearest one is taken, and named.
    """
    place = folder / "litellm"
    venv.create(place, with_pip=True)
    python = str(place / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet"]
    if subprocess.run([*pip, LITELLM], check=False).returncode == 0:
        return place, []
    subprocess.run([*pip, "--no-deps", LITELLM.replace("[proxy]", "")], check=True)
    needs = subprocess.run(
        [python, "-c", LOOSEN, *LOOSENED], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    subprocess.run([*pip, *needs], check=True)
    return place, [*LOOSENED]


def upstream(port: int) -> None:
    """Answers every request at once, over connections that stay open."""
    message = {"role": "assistant", "content": "x" * TOKENS}
    body = json.dumps({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "fake",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": TOKENS, "total_tokens": 9 + TOKENS},
    }).encode()  # fmt: skip
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    answer = head.encode() + body

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (length := await read_head(reader)) is not None:
            await reader.readexactly(length[1])
            writer.write(answer)
        writer.close()

    async def run() -> None:
        listening = await asyncio.start_server(one, "127.0.0.1", port)
        await listening.serve_forever()

    asyncio.run(run())


# --- the load -----------------------------------------------------------------------------------


def run_load(  # noqa: PLR0913 (the rows of the table)
    folder: Path, port: int, clients: int, calls: int, *, first: int, stream: bool = False,
    rate: float = RATE,
) -> Found:  # fmt: skip
    """Let a process of its own make the calls; (number, seconds) of each, and the rate reached."""
    out = folder / "load.json"
    told = {"port": port, "clients": clients, "calls": calls, "first": first, "stream": stream,
            "rate": rate, "out": str(out)}  # fmt: skip
    subprocess.run(role("load", told), check=True)
    found: Found = json.loads(out.read_text())
    return found


def load(port: int, clients: int, calls: int, **told: Any) -> None:
    """The calls of one row: each client makes the next one that is due."""
    times: list[tuple[int, float]] = []
    started = 0.0
    left = iter(range(calls))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for place in left:
            due = started + place / told["rate"]
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            number = told["first"] + place
            begun = time.perf_counter()
            writer.write(request(number, told["stream"]))
            await read_answer(reader)
            times.append((number, time.perf_counter() - begun))
        writer.close()

    async def run() -> None:
        nonlocal started
        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))

    asyncio.run(run())
    rate = calls / (time.perf_counter() - started)
    Path(told["out"]).write_text(json.dumps({"times": times, "rate": rate}), encoding="utf-8")


def request(number: int, stream: bool) -> bytes:
    """A call whose text begins with its number."""
    text = f"{number} Where is my parcel? It was to arrive last Tuesday, and nobody answers."
    body = json.dumps({"model": "fake", "messages": [{"role": "user", "content": text}],
                       "max_tokens": TOKENS, "stream": stream}).encode()  # fmt: skip
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer none\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader) -> None:
    head = await read_head(reader)
    if head is None or not head[0].startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"a call was answered {head[0] if head else 'with nothing'!r}")
    if head[1] >= 0:
        await reader.readexactly(head[1])
        return
    while (size := int(await reader.readline(), 16)) > 0:
        await reader.readexactly(size + 2)
    await reader.readline()


async def read_head(reader: asyncio.StreamReader) -> tuple[bytes, int] | None:
    """The first line, and the length of the body: -1 where it comes in chunks."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.lower().split(b"\r\n")
    for line in lines:
        if line.startswith(b"content-length:"):
            return first.upper(), int(line.partition(b":")[2])
    return first.upper(), -1


# --- processes ----------------------------------------------------------------------------------


def role(name: str, told: Mapping[str, Any]) -> list[str]:
    return [sys.executable, __file__, "--role", name, "--of", json.dumps(told)]


@contextmanager
def process(name: str, told: Mapping[str, Any], port: int) -> Iterator[int]:
    """A process of this file that answers on `port`, until it is left."""
    with program_on(role(name, told), port) as pid:
        yield pid


@contextmanager
def program_on(command: Sequence[str], port: int) -> Iterator[int]:
    """A program, once it answers on `port`."""
    quiet = subprocess.DEVNULL
    environment = {**os.environ, **FOR_LITELLM}
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment) as running:
        try:
            wait_for(port, running)
            yield running.pid
        finally:
            running.send_signal(signal.SIGTERM)
            killer = threading.Timer(30, running.kill)
            killer.start()
            running.wait()
            killer.cancel()


def wait_for(port: int, running: subprocess.Popen[bytes], seconds: float = 120) -> None:
    import socket

    until = time.monotonic() + seconds
    while time.monotonic() < until and running.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing answers on port {port}")


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


# --- figures ------------------------------------------------------------------------------------


def summary(seconds: Sequence[float]) -> Found:
    median, tail = np.percentile(np.array(seconds) * 1000, [50, 99])
    return {"median_ms": float(median), "p99_ms": float(tail)}


def ratios(ours: Found, theirs: Found) -> Found:
    """Theirs over ours, by number of clients."""
    return {
        clients: {key: row[key] / ours[clients][key] for key in ("median_ms", "p99_ms")}
        for clients, row in theirs.get("rows", {}).items()
    }


if __name__ == "__main__":
    main()
