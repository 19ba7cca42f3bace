"""The server's memory over 10,000 requests of every kind: answers, files, batches, jobs, feedback.

One server process on SQLite that lives through all of them, over an engine that needs no model; 24
clients as in the soak, whose faults end the measurement. What the first thousand leave behind (code
that is loaded, pools, caches) is the base that growth is told over.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
from environment import finish, parser, where

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "serve" / "soak")]

from load import Clients, Ledger  # noqa: E402  (the soak's)
from processes import ServerProcess  # noqa: E402

REQUESTS, EVERY, SEED = 10_000, 1000, 7
LIMITS = {"growth_mib_per_thousand": 2.0}


def main() -> None:
    chosen = parser(__doc__ or "").parse_args()
    place = where()
    with tempfile.TemporaryDirectory() as folder:
        memory, ledger = measure(Path(folder))
    if ledger.faults:
        raise SystemExit("\n".join(ledger.faults))
    slope = float(np.polyfit(np.arange(1, len(memory)), memory[1:], 1)[0])
    result = {
        **place, "requests": REQUESTS, "every": EVERY, "memory_mib": memory,
        "growth_mib_per_thousand": slope, "statuses": dict(ledger.statuses), "limits": LIMITS,
    }  # fmt: skip
    finish("serve_memory", result, write=chosen.write)


def measure(folder: Path) -> tuple[list[float], Ledger]:
    """MiB before and after each thousand requests; and what came of them."""
    server = ServerProcess(folder, f"sqlite:///{folder / 'serve.db'}")
    with closing(server):
        server.start()
        memory = [server.resident_mib()]

        async def look(number: int) -> None:
            memory.append(server.resident_mib())

        moments = range(EVERY, REQUESTS, EVERY)
        clients = Clients(server.url, SEED, REQUESTS, moments)
        asyncio.run(clients.run(look))
        memory.append(server.resident_mib())
        server.stop()
    return memory, clients.ledger


if __name__ == "__main__":
    main()
