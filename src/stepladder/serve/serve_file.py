"""serve.toml: every option with its type, range and default, and where in the file a wrong one is.

Flags of the command line go over it. Paths in it are relative to the file.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..core import Hardware
from ..data.toml_lines import line_of, lines_of
from ..errors import StepladderError
from .settings import ServeSettings

__all__ = ["ServeFile", "load_serve_file"]

DEFAULT = ServeSettings()
EXAMPLES = {
    "base_models": 'base_models = ["local:smollm2-135m-instruct"]',
    "bundles": 'bundles = ["tasks/customer-intents"]  # task folders, or folders of bundles',
    "aliases": '[aliases] with "gemini-3.5-flash" = "smollm2-135m-instruct"',
    "database": 'database = "postgresql://user@host/name"  # or "sqlite:///serve.db"',
    "port": "port = 8080",
    "queue": "queue = 256  # calls that may wait",
    "fetch_hosts": 'fetch_hosts = ["storage.example.com", "*.example.org"]',
    "retention_days": "retention_days = 30  # 0 keeps everything",
    "log_format": 'log_format = "json"  # or "text"',
    "hardware": "[hardware] with dollars_per_hour = 0.20",
}


def _local(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]*:\S+", name):
        raise ValueError(f"{name!r} does not say who provides it: write 'local:{name}'")
    return name


def _host(entry: str) -> str:
    if not re.fullmatch(r"(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?", entry):
        raise ValueError(f"{entry!r} is not a host: write 'name', '*.name' or 'name:port'")
    return entry


Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Bytes = Annotated[int, Field(ge=1024)]


class HardwareTable(BaseModel):
    """What an hour of this machine costs, for the dollars of local models."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Text | None = None
    dollars_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class ServeFile(BaseModel):
    """The options of serve.toml."""

    model_config = ConfigDict(extra="forbid", strict=True)
    bundles: list[Text] = []
    base_models: list[Annotated[Text, AfterValidator(_local)]] = []
    aliases: dict[str, Text] = {}
    host: Text = DEFAULT.host
    port: Annotated[int, Field(ge=0, le=65_535)] = DEFAULT.port
    database: Text | None = None
    keep_content: bool = DEFAULT.keep_content
    retention_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    most_running: Count = DEFAULT.most_running
    queue: Annotated[int, Field(ge=0, le=1_000_000)] = DEFAULT.queue
    request_bytes: Bytes = DEFAULT.request_bytes
    file_bytes: Bytes = DEFAULT.file_bytes
    adapter_cache_bytes: Bytes = DEFAULT.adapter_cache_bytes
    request_seconds: Seconds = DEFAULT.request_seconds
    shutdown_seconds: Seconds = DEFAULT.shutdown_seconds
    tls_certificate: Text | None = None
    tls_key: Text | None = None
    fetch_hosts: list[Annotated[str, AfterValidator(_host)]] = []
    fetch_http: bool = DEFAULT.fetch_http
    gs_folder: Text | None = None
    tuning: bool = DEFAULT.tuning
    otlp_endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None
    log_format: Literal["text", "json"] | None = None
    hardware: HardwareTable = HardwareTable()

    @model_validator(mode="after")
    def _both_of_tls(self) -> ServeFile:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: give both or none")
        return self


def load_serve_file(path: Path) -> ServeSettings:
    """The settings in a file; raises StepladderError with file, line and cure."""
    try:
        text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise StepladderError(
            f"{str(path)!r} cannot be read: {error}", hint="give the file to serve with"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise StepladderError(
            f"{path.name}: not TOML: {error}", hint="text goes into quotes: host = '127.0.0.1'"
        ) from error
    try:
        file = ServeFile.model_validate(table)
    except ValidationError as error:
        raise _translated(error, path.name, lines_of(text)) from error
    return _settings(file, path.parent)


def _settings(file: ServeFile, folder: Path) -> ServeSettings:
    values: dict[str, Any] = {name: getattr(file, name) for name in ServeFile.model_fields}
    for name in ("tls_certificate", "tls_key", "gs_folder"):
        if values[name] is not None:
            values[name] = folder / values[name]
    values["bundles"] = tuple(folder / one for one in file.bundles)
    for name in ("base_models", "fetch_hosts"):
        values[name] = tuple(values[name])
    values["retention_days"] = file.retention_days or None
    values["hardware"] = Hardware(file.hardware.name, file.hardware.dollars_per_hour)
    return ServeSettings(**values)


def _translated(
    error: ValidationError, name: str, lines: dict[tuple[str, ...], int]
) -> StepladderError:
    """Pydantic's findings in our words, one a line."""
    told: dict[str, str] = {}
    for finding in error.errors(include_url=False):
        key = [str(part) for part in finding["loc"] if not str(part).startswith("function-")]
        line = line_of(lines, key)
        place = name if line is None else f"{name}:{line}"
        message, hint = _told(key, finding)
        told[f"{place}: {message}"] = hint
    return StepladderError("\n".join(told), hint="\n  ".join(dict.fromkeys(told.values())))


def _told(key: Sequence[str], finding: Any) -> tuple[str, str]:
    dotted = ".".join(key)
    if finding["type"] == "extra_forbidden":
        known = [*(HardwareTable if key[0] == "hardware" else ServeFile).model_fields]
        close = difflib.get_close_matches(key[-1], known, 1, 0.6)
        meant = f"did you mean {close[0]!r}? " if close else ""
        return f"{dotted!r} is not an option", f"{meant}known here: {', '.join(known)}"
    said = str(finding["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    example = EXAMPLES.get(key[0]) if key else None
    return f"{dotted}: {said}".removeprefix(": "), (
        f"for example: {example}" if example else f"correct {dotted!r}"
    )
