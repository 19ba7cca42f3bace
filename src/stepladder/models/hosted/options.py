"""What a task file may say of a provider over a network: `[providers.NAME]`, checked at the door.

Keys and addresses are not among it: see `keys.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...core import Json
from ...errors import TaskError
from .. import ProviderSettings
from .pool import Limits

__all__ = ["HostedOptions", "read_options"]


@dataclass(frozen=True)
class HostedOptions:
    """How calls are made. `batch`: wait for half the price; `cache`: keep shared prefixes."""

    limits: Limits = field(default_factory=Limits)
    batch: bool = False
    cache: Literal["auto", "off"] = "auto"


def read_options(settings: ProviderSettings, also: tuple[str, ...] = ()) -> HostedOptions:
    """The options of a provider; `also` names those that it reads itself.

    Raises:
        TaskError: an option is unknown or has a value that cannot be used.
    """
    place = f"task.toml: [providers.{settings.name}]"
    if unknown := sorted(settings.options.keys() - _CHECKS.keys() - {*also}):
        raise TaskError(
            f"{place} has no option {unknown[0]!r}",
            hint=f"known: {', '.join(sorted({*_CHECKS, *also}))}; "
            "keys and addresses are read from the environment only",
        )
    given = {name: settings.options[name] for name in _CHECKS if name in settings.options}
    for name, value in given.items():
        wanted, fits = _CHECKS[name]
        if not fits(value):
            raise TaskError(f"{place} {name} = {value!r} cannot be used", hint=f"give {wanted}")
    return _options(given)


def _options(given: Mapping[str, Json]) -> HostedOptions:
    limits = {name: value for name, value in given.items() if name in _OF_LIMITS}
    rest = {name: value for name, value in given.items() if name not in _OF_LIMITS}
    return HostedOptions(Limits(**limits), **rest)


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000


def _is_seconds(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e7


def _is_flag(value: Json) -> bool:
    return isinstance(value, bool)


_OF_LIMITS = ("concurrency", "deadline_seconds", "attempts", "retry_unsure")
_CHECKS = {
    "attempts": ("a whole number from 1 to 1000", _is_count),
    "batch": ("true or false", _is_flag),
    "cache": ("'auto' or 'off'", lambda value: value in ("auto", "off")),
    "concurrency": ("a whole number from 1 to 1000", _is_count),
    "deadline_seconds": ("seconds above zero", _is_seconds),
    "retry_unsure": ("true or false", _is_flag),
}
