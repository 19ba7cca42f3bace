"""For every test: no network, the user's folders out of reach, and no deadline for hypothesis.

A test that takes `service` may talk to this machine: it gets the service of `hosted_service`, a
process of its own that speaks the protocols of the providers.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from cli_here import Result, Stepladder
    from hosted_service import Service

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and the programs that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("stepladder", deadline=None)
settings.load_profile("stepladder")


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("network") is not None:
        return
    from pytest_socket import disable_socket, socket_allow_hosts

    if {"running_service", "lasting_service"} & {*request.fixturenames}:
        socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    else:
        disable_socket(allow_unix_socket=True)


@pytest.fixture
def stepladder(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Stepladder:
    """Runs a command in this process: `stepladder("climb", folder)` has its code and output."""
    from cli_here import run_here

    def run(*arguments: object) -> Result:
        return run_here(arguments, capsys, monkeypatch)

    return run


@pytest.fixture(scope="session")
def running_service() -> Iterator[Service]:
    """The process, one for all tests; take `service` instead, which is as new in each test."""
    from hosted_service import start

    service = start()
    yield service
    service.stop()


@pytest.fixture
def service(running_service: Service) -> Service:
    """The providers, on this machine: nothing seen yet, no faults, no jobs."""
    running_service.reset()
    return running_service


@pytest.fixture(autouse=True)
def _no_tables_of_the_user(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices and models are those shipped, whatever the person who runs the tests has of theirs."""
    nowhere = tmp_path_factory.getbasetemp() / "no-configuration"
    monkeypatch.setenv("STEPLADDER_CONFIG", str(nowhere))


@pytest.fixture
def lasting_service(tmp_path: Path) -> Iterator[Service]:
    """One of the test's own whose jobs and objects are still there after `restart`."""
    from hosted_service import start

    service = start(tmp_path / "service")
    yield service
    service.stop()
