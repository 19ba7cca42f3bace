"""A Ray cluster to work on: started on this machine, or joined. Quiet, and telling nobody of it.

Ray's usage statistics and dashboard are off. Used by evaluation (`ray_data.py`) and by training
(`trainers/ray_train.py`); what is done on the cluster is not decided here.
"""

from __future__ import annotations

import logging
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from .. import __version__
from ..errors import StepladderError
from ..registry import need

__all__ = ["connect", "disconnect", "machines", "quiet_ray", "sees_everywhere"]

SETTINGS = {
    "RAY_task_oom_retries": "3",  # what Ray kills for its memory would be tried again for ever
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
LOUD = {
    "ray": logging.ERROR,
    # what it would log is raised, or answered again and told by us; and whoever keeps the record
    # of an error keeps the worker that is in it, and its core, from all that comes next
    "ray.data": logging.CRITICAL,
    "ray.train": logging.ERROR,
    "ray.tune": logging.ERROR,
}


def connect(address: str | None) -> bool:
    """Connect to the cluster at `address` or RAY_ADDRESS, or start one on this machine.

    The cores of a cluster that is started are those that this process may use. Says whether it was
    connected here: a process that is connected already stays so, and nothing is started.

    Raises:
        MissingExtra: Ray is not installed.
        StepladderError: there is no cluster at the address.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    ray = need("ray", extra="ray", what="a cluster")
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS")
    where: dict[str, Any] = {"address": address}
    if address is None:
        cores = len(os.sched_getaffinity(0))
        where = {"address": "local", "num_cpus": cores, "include_dashboard": False}
    try:
        with quiet_ray():
            _keep_standard_output(ray)
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise StepladderError(
            f"there is no Ray cluster to work on at {address or 'this machine'!r}: "
            f"{str(error).splitlines()[0]}",
            hint="start one with `ray start --head`, or leave the address out for workers on this "
            "machine alone",
        ) from error
    return True


def disconnect() -> None:
    """Leave the cluster; one that was started here ends."""
    import ray

    ray.shutdown()


@contextmanager
def quiet_ray() -> Iterator[None]:
    """Ray's own notes and the warnings of its libraries are not for whoever climbs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    for name, level in LOUD.items():
        logging.getLogger(name).setLevel(level)


def _keep_standard_output(ray: Any) -> None:
    """Ray prints notes of its cluster, of a worker that died for one, where our results go."""
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *given, **named: None


def machines() -> list[dict[str, Any]]:
    """The machines that are up: `NodeID`, and their `Resources`."""
    import ray

    nodes: Any = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def sees_everywhere(folder: Path) -> bool:
    """Whether every machine of the cluster has this very folder, after a look from each.

    Raises:
        StepladderError: a machine has another stepladder or Python, or none.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f".seen-{uuid4().hex}"
    mark.write_text("", encoding="utf-8")
    look = ray.remote(num_cpus=0)(_look)
    try:
        asked = [
            look.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(str(mark.resolve()))
            for node in machines()
        ]
        found = ray.get(asked)
    except ray.exceptions.RayError as error:
        raise StepladderError(
            f"a machine of the cluster cannot run stepladder: {str(error).splitlines()[-1]}",
            hint=f"install stepladder {__version__} on all machines, for Python "
            f"{platform.python_version()}",
        ) from error
    finally:
        mark.unlink(missing_ok=True)
    mine = _look(str(mark))
    for one in found:
        if one["versions"] != mine["versions"]:
            raise StepladderError(
                f"{one['machine']!r} of the cluster runs {one['versions']}, and this process "
                f"{mine['versions']}",
                hint="install the same versions on all machines",
            )
    return all(one["sees"] for one in found)


def _look(mark: str) -> dict[str, Any]:
    python = ".".join(platform.python_version_tuple()[:2])
    return {
        "machine": platform.node(),
        "versions": f"stepladder {__version__} on Python {python}",
        "sees": Path(mark).is_file(),
    }
