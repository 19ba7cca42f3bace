"""From settings to served models: what is loaded when a server starts, and freed when it ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ...catalogue import load_catalogue
from ...cost import load_prices
from ...models import ProviderSettings
from ...models.local.weights import cache_folder
from ...registry import look_up
from .. import ModelCard
from ..settings import ServeSettings
from .adapters import AdapterCache
from .bases import LOCAL, Base, Bases, on_vllm, open_base
from .bundle import open_bundle
from .directory import ServedModels
from .encoder import ENCODER_NEEDS, EncoderServed
from .following import Following
from .hosted import HostedServed
from .local import LocalServed
from .tuned import Shelf, TunedModels

__all__ = ["open_models"]


def open_models(
    settings: ServeSettings,
    shelf: Shelf,
    *,
    load: Callable[[str, Path], Base] | None = None,
) -> ServedModels:
    """All that the settings name, loaded; close it to free the memory.

    `shelf` has the tuned models: it is the database. `load` loads a base instead of `open_base`.

    Raises:
        StepladderError: a name is taken twice, an alias leads nowhere, nothing is current in a
            folder of bundles, or what loading a model raises.
    """
    live = {name: on_vllm(name) for name in settings.base_models}
    bases = Bases(
        load or partial(open_base, most_running=settings.most_running),
        elsewhere={there[1]: name for name, there in live.items() if there is not None},
    )
    with ExitStack() as stack:
        threads = _threads(stack, settings.most_running, "solver")
        local = [
            _local(name, bases, stack)
            for name in settings.base_models
            if name.startswith(LOCAL) or live[name] is not None
        ]
        hosted = _hosted(settings, threads, stack)
        following = Following(settings.bundles, partial(open_bundle, bases=bases, threads=threads))
        stack.callback(following.close)
        cache = AdapterCache(cache_folder() / "adapters", settings.adapter_cache_bytes)
        tuned = TunedModels(shelf, {model.full_name: model for model in local}.get, cache)
        encoders = []
        if all(find_spec(package) for package in ENCODER_NEEDS):
            encoders.append(EncoderServed(_threads(stack, 1, "encoder")))
        return ServedModels(
            [*local, *hosted, *encoders],
            aliases=settings.aliases,
            sources=(tuned,),
            following=following,
            close=stack.pop_all().close,
        )


def _threads(stack: ExitStack, most: int, name: str) -> Executor:
    threads = ThreadPoolExecutor(most, thread_name_prefix=name)
    stack.callback(threads.shutdown, cancel_futures=True)
    return threads


def _local(name: str, bases: Bases, stack: ExitStack) -> LocalServed:
    base = stack.enter_context(bases.hold(name))
    context = base.tokenizer.context_tokens
    there = on_vllm(name)
    card = ModelCard(
        Path(there[0] if there else name.removeprefix(LOCAL)).name,
        "base",
        base.loaded_at,
        version=f"{base.fingerprint}-vllm" if there else base.fingerprint,
        context_tokens=context,
        most_output_tokens=context,
    )
    return LocalServed(card, base.engine, base.tokenizer, full_name=there[1] if there else name)


def _hosted(settings: ServeSettings, threads: Executor, stack: ExitStack) -> list[HostedServed]:
    """The models of services; a provider is opened once for all of its own."""
    today = datetime.now(UTC).date()
    names = [
        name
        for name in settings.base_models
        if not name.startswith(LOCAL) and on_vllm(name) is None
    ]
    catalogue = load_catalogue(today=today) if names else None
    prices = load_prices(today=today)
    found = []
    providers = {}
    for name in names:
        assert catalogue is not None
        kind = name.partition(":")[0]
        if kind not in providers:
            opened = ProviderSettings(kind, catalogue=catalogue, prices=prices)
            providers[kind] = look_up("provider", kind)(opened)
            stack.callback(providers[kind].close)
        found.append(HostedServed(providers[kind].model(name), catalogue, threads))
    return found
