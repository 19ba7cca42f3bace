"""For every test: no network, the user's folders out of reach, and no deadline for hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("stepladder", deadline=None)
settings.load_profile("stepladder")


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("network") is None:
        from pytest_socket import disable_socket

        disable_socket(allow_unix_socket=True)
