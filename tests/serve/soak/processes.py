"""A server process of a test: started, killed, asked to end, started again on the same port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["ServerProcess", "free_port", "until"]

START_SECONDS = 60.0


def until(true: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Across processes there is nothing to wait on but the clock."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class ServerProcess:
    """One server; what it logs is in `folder`, for all of its lives."""

    def __init__(
        self, folder: Path, database: str, *, pace: float = 0.0, lease_seconds: float = 60.0
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"server-{self.port}.log"
        self._command = [
            sys.executable, str(Path(__file__).with_name("fake_server.py")), "serve",
            "--model", "local:fake", "--alias", "gemini-3.5-flash=fake",
            "--alias", "gpt-5-mini=fake", "--port", str(self.port), "--database", database,
            "--log-format", "json",
        ]  # fmt: skip
        arranged = json.dumps({"pace": pace, "lease_seconds": lease_seconds})
        cache = str(folder / "cache")
        self._environment = {**os.environ, "SOAK": arranged, "STEPLADDER_CACHE": cache}
        self._environment.pop("STEPLADDER_API_KEY", None)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log
            )
        until(self._answers)

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self, seconds: float = START_SECONDS) -> int:
        """Ask it to end, and wait until it has; its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(seconds)
        self._process = None
        return status

    def close(self) -> None:
        """Whatever is left of it."""
        if self._process is not None:
            self.kill()

    def resident_mib(self) -> float:
        """What it has in memory now; 0 where the system does not tell."""
        status = Path(f"/proc/{self._process.pid}/status") if self._process else None
        if status is None or not status.exists():
            return 0.0
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text(encoding="utf-8")[-4000:]
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True
