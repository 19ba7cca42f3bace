"""Starts the service as a process, asks it what it saw, tells it what to do wrong, stops it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

from .credentials import write_service_account

__all__ = ["PROJECT", "Seen", "Service", "start"]

PROJECT = "project-of-tests"

_TESTS = Path(__file__).resolve().parents[1]
_POLL = 0.02


@dataclass(frozen=True)
class Seen:
    """One call as the service saw it.

    `content` is the same for the same call made again. `made`: the work was done, a provider would
    bill it. `answered`: the whole of a good answer went out.
    """

    number: int
    method: str
    path: str
    query: str
    key: str
    content: str
    at: float
    until: float | None
    under_way: int
    status: int | None
    fault: str
    made: bool
    answered: bool
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)


class Service:
    """A running service.

    `url` is its address, `openai_url` the base URL for OpenAI clients, `storage_url` where its
    `gs://` is.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._ports = {"port": 0, "storage_port": 0}
        self._start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports['port']}"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def storage_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['storage_port']}"

    def requests(self, path: str = "", *, since: int = 0, bodies: bool = True) -> list[Seen]:
        """All calls so far in the order they came, of those whose path contains `path`."""
        records = self._ask(f"requests?since={since}&bodies={int(bodies)}")
        known = {item.name for item in fields(Seen)}
        assert all(record.keys() == known for record in records)
        return [Seen(**record) for record in records if path in record["path"]]

    def answered(self, path: str = "") -> Counter[str]:
        """How often each call (by content) got a whole good answer."""
        seen = self.requests(path, bodies=False)
        return Counter(call.content for call in seen if call.answered)

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """What goes wrong from now on, in place of what was set before: `faults.Rule` by field.

        For instance `faults({"kinds": ["429", "500", "cut"], "share": 0.2, "seed": 7})`.
        """
        self._ask("faults", [dict(rule) for rule in rules])

    def settings(self, **changes: Any) -> None:
        """How it behaves from now on: `gate.Settings` by field, for instance `latency=0.02`."""
        self._ask("settings", changes)

    def reset(self) -> None:
        """As it was started: no log, no faults, no jobs, no files."""
        self._ask("reset", {})

    def environment(self, key_file: Path, *, secret: str = "of-tests") -> dict[str, str]:
        """What to set so that a program takes this service for the providers.

        `key_file` is written: a service account of Google's. `secret` is a part of every key.
        """
        write_service_account(key_file, f"{self.url}/token", project=PROJECT)
        return {
            "GEMINI_API_KEY": f"AIzaSy-{secret}-gemini",
            "GOOGLE_GEMINI_BASE_URL": self.url,
            "GOOGLE_VERTEX_BASE_URL": self.url,
            "GOOGLE_APPLICATION_CREDENTIALS": str(key_file),
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "STORAGE_EMULATOR_HOST": self.storage_url,
            "OPENAI_API_KEY": f"sk-{secret}-openai",
            "OPENAI_BASE_URL": self.openai_url,
            "NO_PROXY": "127.0.0.1",
        }

    def make_bucket(self, name: str) -> None:
        """An empty bucket in the `gs://` of the service."""
        self._store(f"/storage/v1/b?project={PROJECT}", json.dumps({"name": name}).encode())

    def put(self, bucket: str, name: str, data: bytes) -> None:
        """An object in the `gs://` of the service; the bucket need not be there."""
        with suppress(urllib.error.HTTPError):
            self.make_bucket(bucket)
        query = urlencode({"uploadType": "media", "name": name})
        self._store(f"/upload/storage/v1/b/{bucket}/o?{query}", data)

    def _store(self, path: str, data: bytes) -> None:
        kind = "application/octet-stream" if "/upload/" in path else "application/json"
        request = urllib.request.Request(self.storage_url + path, data, {"content-type": kind})
        with _opener.open(request, timeout=30):
            pass

    def restart(self) -> None:
        """End it and start it again at the same addresses: only what is in its folder is left."""
        self.stop()
        self._start()

    def stop(self) -> None:
        """End the process; fails when it had an error of its own."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert "Traceback" not in (said := self._said()), said

    def _start(self, seconds: float = 30) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        ports = (("--port", "port"), ("--storage-port", "storage_port"))
        arguments = [word for name, key in ports for word in (name, str(self._ports[key]))]
        if self._folder is not None:
            arguments += ["--folder", str(self._folder)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hosted_service", *arguments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": str(_TESTS), "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        with self._process.stdout as out:
            line = out.readline()
        if not line:
            self._process.wait()
            raise RuntimeError(f"the service did not start: {self._said()}")
        self._ports = json.loads(line)
        try:
            self._wait_until_ready(time.monotonic() + seconds)
        except BaseException:
            self._process.kill()
            self._process.wait()
            self._errors.close()
            raise

    def _wait_until_ready(self, deadline: float) -> None:
        while True:
            try:
                self._ask("health")
                return
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL)

    def _said(self) -> str:
        self._errors.seek(0)
        said = self._errors.read().decode()
        self._errors.close()
        return said

    def _ask(self, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_service/{what}", data)
        with _opener.open(request, timeout=30) as response:
            return json.load(response)


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def start(folder: Path | None = None) -> Service:
    """A new process, ready to answer; with a `folder` its jobs and objects survive a restart."""
    return Service(folder)
