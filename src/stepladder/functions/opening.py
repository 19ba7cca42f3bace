"""Sources of functions from plain records, so that a solver, which is data, can name them.

A file is named by its path and the hash of its content: what was measured is what runs. Code is
never part of a bundle; a served solver finds the same file at the same path, or says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..core import Json
from ..errors import TaskError
from .description import Source
from .mcp_server import open_mcp_command, open_mcp_url
from .openapi import open_openapi
from .python_file import open_python

__all__ = ["open_source", "open_sources", "source_record"]

_FILES = ("python", "openapi")


def source_record(told: Mapping[str, Json], folder: Path) -> dict[str, Json]:
    """The record with paths made whole, from `folder` on, and the hashes of files.

    Raises:
        TaskError: the kind is unknown, an option is, or a file is not there.
    """
    record = dict(told)
    kind = record.get("kind")
    if kind not in _OPTIONS:
        raise TaskError(
            f"no source of functions is of kind {kind!r}", hint=f"known: {', '.join(_OPTIONS)}"
        )
    if unknown := sorted(record.keys() - _OPTIONS[kind]):
        raise TaskError(
            f"a source of kind {kind!r} has no option {unknown[0]!r}",
            hint=f"it has: {', '.join(sorted(_OPTIONS[kind]))}",
        )
    if kind in _FILES:
        path = (folder / str(record.get("path", ""))).resolve()
        record |= {"path": str(path), "sha256": _hash(path)}
    elif "command" in record:
        record["folder"] = str((folder / str(record.get("folder", "."))).resolve())
    return record


def open_source(record: Mapping[str, Json]) -> Source:
    """The source that `source_record` wrote down.

    Raises:
        TaskError: it cannot be opened, or its file is another than the one written down.
    """
    kind = record["kind"]
    if kind in _FILES:
        path = Path(record["path"])
        if _hash(path) != record.get("sha256"):
            raise TaskError(
                f"the functions of {path.name!r} are others than those that were measured",
                hint="put the file back as it was, or measure again",
            )
    return _OPENED[kind](record)


@contextmanager
def open_sources(records: Sequence[Mapping[str, Json]]) -> Iterator[tuple[Source, ...]]:
    """All of these sources, closed at the end."""
    with ExitStack() as stack:
        sources = []
        for record in records:
            source = open_source(record)
            stack.callback(source.close)
            sources.append(source)
        yield tuple(sources)


def _openapi(record: Mapping[str, Json]) -> Source:
    return open_openapi(
        Path(record["path"]),
        allowed=tuple(record.get("allowed", ())),
        base=record.get("base"),
        secrets=record.get("secrets"),
    )


def _mcp(record: Mapping[str, Json]) -> Source:
    hints = record.get("trust_hints", False) is True
    if "url" in record:
        return open_mcp_url(record["url"], headers=record.get("headers"), trust_hints=hints)
    if "command" not in record:
        raise TaskError(
            "an MCP server needs a 'command' or a 'url'",
            hint='write {kind = "mcp", command = "..."}',
        )
    return open_mcp_command(
        record["command"],
        tuple(record.get("arguments", ())),
        folder=Path(record["folder"]) if "folder" in record else None,
        environment=tuple(record.get("environment", ())),
        trust_hints=hints,
    )


_OPENED: dict[Json, Callable[[Mapping[str, Json]], Source]] = {
    "python": lambda record: open_python(Path(record["path"])),
    "openapi": _openapi,
    "mcp": _mcp,
}
_OPTIONS: dict[Json, frozenset[str]] = {
    "python": frozenset({"kind", "path", "sha256"}),
    "openapi": frozenset({"kind", "path", "sha256", "allowed", "base", "secrets"}),
    "mcp": frozenset({"kind", "command", "arguments", "folder", "environment", "url", "headers",
                      "trust_hints"}),
}  # fmt: skip


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise TaskError(
            f"{path.name!r} cannot be read: {error}", hint=f"put it at {str(path)!r}"
        ) from error
