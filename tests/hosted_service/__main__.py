"""Runs the service on a loopback port and says on standard output which one."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from asyncio import Transport

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import make_app


class _Breakable(H11Protocol):
    """Hands the connection to the application, which may break it off."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m hosted_service", description=__doc__)
    options.add_argument("--port", type=int, default=0, help="0: any that is free")
    chosen = options.parse_args()
    # with its protocol named, asyncio sends small answers at once instead of waiting for more
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", chosen.port))
        listening.listen(256)
        sys.stdout.write(json.dumps({"port": listening.getsockname()[1]}) + "\n")
        sys.stdout.flush()
        config = uvicorn.Config(
            make_app(),
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
