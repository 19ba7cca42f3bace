"""Runs the service on a loopback port and says on standard output which one."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from asyncio import Transport
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import make_app
from .state import State
from .storage import Storage


class _Breakable(H11Protocol):
    """Hands the connection to the application, which may break it off."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m hosted_service", description=__doc__)
    options.add_argument("--port", type=int, default=0, help="0: any that is free")
    options.add_argument("--storage-port", type=int, default=0, help="that of gs://; 0: any")
    options.add_argument("--folder", type=Path, help="where jobs and objects outlive the process")
    chosen = options.parse_args()
    folder: Path | None = chosen.folder
    storage = Storage(None if folder is None else folder / "gs", chosen.storage_port)
    # with its protocol named, asyncio sends small answers at once instead of waiting for more
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", chosen.port))
        listening.listen(256)
        ports = {"port": listening.getsockname()[1], "storage_port": storage.port}
        sys.stdout.write(json.dumps(ports) + "\n")
        sys.stdout.flush()
        config = uvicorn.Config(
            make_app(State(storage, folder)),
            http=_Breakable,
            ws="none",
            lifespan="off",
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()
