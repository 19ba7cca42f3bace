"""How a server is set up: one frozen record, from `serve.toml` and the command line's flags.

`serve_file.py` reads the file. Nothing here opens a model, a database or a port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from ..core import Hardware

__all__ = ["ServeSettings", "is_loopback"]


@dataclass(frozen=True)
class ServeSettings:
    """What is served, where, to whom, and within which limits.

    `bundles` are task folders or folders of bundles, `base_models` names such as `local:...`,
    `aliases` other names for served models. `database` is a URL; None is a SQLite file of the
    user's. `gs_folder` is the folder that stands for Cloud Storage: `gs://bucket/name` is
    `gs_folder/bucket/name`. `most_running` calls run at once, `queue` more wait, the next is told
    to come back.
    """

    bundles: tuple[Path, ...] = ()
    base_models: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8080
    database: str | None = None
    keep_content: bool = True
    retention_days: float | None = 30.0
    most_running: int = 32
    queue: int = 256
    request_bytes: int = 20 * 2**20
    file_bytes: int = 512 * 2**20  # of an uploaded file, which is read piece by piece
    adapter_cache_bytes: int = 10 * 2**30  # of the adapters that this machine keeps from there
    request_seconds: float = 600.0
    shutdown_seconds: float = 30.0
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    fetch_hosts: tuple[str, ...] = ()
    fetch_http: bool = False
    gs_folder: Path | None = None
    tuning: bool = True
    otlp_endpoint: str | None = None
    log_format: Literal["text", "json"] | None = None  # None: text on a terminal, else JSON
    hardware: Hardware = field(default_factory=Hardware)  # what an hour of this machine costs

    @property
    def url(self) -> str:
        """Where it answers, as written in a client."""
        scheme = "https" if self.tls_certificate else "http"
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
