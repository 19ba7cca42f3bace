"""Keys are nowhere: climbs that go well and badly, then a search through every byte they wrote.

The keys are made up and unlike anything else, so that a piece of one is found too. The home of the
user is a folder of the test, so that what goes into caches and settings is searched as well.
"""

from __future__ import annotations

import base64
import signal
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cli_process import Command, answers_in, wait_for
from hosted_service import Service
from hosted_tasks import BUCKET, make_hosted_task

pytest.importorskip("google.genai")
pytest.importorskip("google.cloud.storage")
pytest.importorskip("openai")

SECRET = "qV7kWx2Jz9RtYb4LmPc8"
SHORT = """[steps.prompt]
sample = 8
keep = 1
"""
FEW = "attempts = 2\ndeadline_seconds = 3"


class Place:
    """A home, a task, and commands whose output is kept in it; the keys are outside of it."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self._kept_apart = folder / "apart"
        self._kept_apart.mkdir()
        key_file = self._kept_apart / "service-account.json"
        self.environment = {
            **service.environment(key_file, secret=SECRET),
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "TMPDIR": str(self.home),
            "STEPLADDER_CACHE": str(self.home / "weights"),
            "OMP_NUM_THREADS": "1",
        }
        private = key_file.read_text(encoding="utf-8").split("\\n")
        self.secrets = (SECRET, "ya29.minted-", private[1][:40], private[-4][:40])
        self._commands: list[Command] = []

    def task(self, *models: str) -> Path:
        return make_hosted_task(self.home / "task", labels=4, models=models, calls=FEW, more=SHORT)

    def run(self, *arguments: str) -> Command:
        place = self.home / f"command-{len(self._commands)}"
        self._commands.append(Command(place, *arguments, environment=self.environment))
        return self._commands[-1]

    def end(self) -> None:
        for command in self._commands:
            command.process.kill()
            command.process.join()

    def leaks(self) -> list[str]:
        """Every file, by name or content, and every line said that has a piece of a key."""
        found = []
        written = [path for path in sorted(self.home.rglob("*")) if path.is_file()]
        assert written
        for path in written:
            held = path.read_bytes() + str(path).encode()
            found += [f"{path}: {s}" for s in self.secrets if _holds(held, s)]
        return found


def _holds(data: bytes, secret: str) -> bool:
    """Whether the data has the secret, as it is or in one of the forms that programs give texts."""
    shifted = (base64.b64encode(b" " * n + secret.encode()) for n in range(3))
    forms = chain(
        [secret.encode(), quote(secret, safe="").encode(), secret.encode().hex().encode()],
        (text[4:-4] for text in shifted),
        [secret.encode("utf-16-le")],
    )
    return any(form in data for form in forms)


@pytest.fixture
def place(service: Service, tmp_path: Path) -> Iterator[Place]:
    service.make_bucket(BUCKET)
    place = Place(service, tmp_path)
    yield place
    place.end()


def came_with_the_key(service: Service) -> bool:
    return any(SECRET in call.key or "ya29." in call.key for call in service.requests())


def test_the_search_finds_what_it_is_for(place: Place) -> None:
    for number, text in enumerate(
        (SECRET, base64.b64encode(f"x{SECRET}y".encode()).decode(), SECRET.encode().hex())
    ):
        path = place.home / f"planted-{number}"
        path.write_text(f"before {text} after", encoding="utf-8")
        assert len(place.leaks()) == 1
        path.unlink()
        (place.home / "clean").touch()
    assert not place.leaks()


def test_a_good_climb_writes_no_key(service: Service, place: Place) -> None:
    task = place.task("gemini:gemini-3.1-flash-lite", "vertex:gemini-3.1-flash-lite")
    command = place.run("climb", str(task), "--steps", "prompt,fine_tune", "--whole-ladder")
    assert command.wait() in (0, 1), command.errors
    assert (task / "runs" / "answers.sqlite").is_file()
    assert any(task.rglob("report.html"))
    assert service.requests("/tuningJobs/")
    assert {call.path for call in service.requests() if call.path == "/token"}
    assert came_with_the_key(service)
    assert place.leaks() == []


WRONG: Mapping[str, Mapping[str, Any]] = {
    "an expired key": {"kinds": ["expired"], "after": 3},
    "a key that may not": {"kinds": ["denied"], "after": 3},
    "nothing but errors": {"kinds": ["500", "503", "429"], "share": 0.9},
    "the quota of the day": {"kinds": ["quota"], "after": 3},
    "a key alone": {"kinds": ["500"], "said": "key "},
}
MODELS = ("gemini:gemini-3.1-flash-lite", "vertex:gemini-3.1-flash-lite", "openai:gpt-4o-mini")


@pytest.mark.parametrize(
    ("wrong", "model"),
    [
        pytest.param(wrong, model, marks=() if quick else pytest.mark.slow)
        for place, wrong in enumerate(WRONG)
        for other, model in enumerate(MODELS)
        # one of each, but for what is tried again until patience ends
        for quick in [place % 3 == other % 3 and wrong != "nothing but errors"]
    ],
)
def test_a_climb_that_fails_writes_no_key_though_the_service_repeats_it(
    wrong: str, model: str, service: Service, place: Place
) -> None:
    service.faults({**WRONG[wrong], "echo_key": True})
    command = place.run("climb", str(place.task(model)), "--steps", "prompt")
    assert command.wait() in (0, 1, 2, 130), command.errors
    assert any(call.fault for call in service.requests())
    assert came_with_the_key(service)
    assert place.leaks() == []


def test_a_job_that_cannot_be_made_writes_no_key(service: Service, place: Place) -> None:
    service.faults({"kinds": ["denied"], "path": "/tuningJobs", "echo_key": True})
    task = place.task("vertex:gemini-3.1-flash-lite")
    command = place.run("climb", str(task), "--steps", "fine_tune")
    assert command.wait() in (1, 2), command.errors
    assert service.requests("/tuningJobs")
    assert place.leaks() == []


def test_a_climb_that_was_killed_leaves_no_key(service: Service, place: Place) -> None:
    service.settings(latency=0.05)
    service.faults({"kinds": ["500"], "share": 0.2, "echo_key": True})
    task = place.task("gemini:gemini-3.1-flash-lite")
    command = place.run("climb", str(task), "--steps", "prompt")
    wait_for(lambda: len(answers_in(task / "runs")) >= 3, command)
    command.process.kill()
    assert command.wait() == -signal.SIGKILL
    assert list((task / "runs").glob("answers.sqlite-wal"))
    assert place.leaks() == []


def test_a_key_of_the_keyring_is_used_and_written_nowhere(service: Service, place: Place) -> None:
    pytest.importorskip("keyring")
    from keyring_of_tests import KEY

    del place.environment["GEMINI_API_KEY"]
    place.environment["PYTHON_KEYRING_BACKEND"] = "keyring_of_tests.Keyring"
    task = place.task("gemini:gemini-3.1-flash-lite")
    command = place.run("climb", str(task), "--steps", "prompt")
    assert command.wait() in (0, 1), command.errors
    assert {call.key for call in service.requests(":generateContent")} == {KEY}
    place.secrets = (*place.secrets, KEY)
    assert place.leaks() == []


@pytest.mark.parametrize("arguments", [("check",), ("climb", "--dry-run")])
def test_looking_ahead_writes_no_key(arguments: tuple[str, ...], place: Place) -> None:
    task = place.task(*MODELS)
    command = place.run(arguments[0], str(task), *arguments[1:])
    assert command.wait() in (0, 1), command.errors
    assert place.leaks() == []
