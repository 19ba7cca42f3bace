"""Trains local weights with several workers of a Ray cluster, through Ray Train.

Each worker is a process on a core, a machine or a GPU of its own, and does what `local.py` does in
one; how they share the work is in `workers.py`. A worker that dies ends its group, which is started
anew and goes on from the last checkpoint. The folder of the job has to be on a disk that all
machines see. Tried with processes of one machine's CPUs; GPUs (nccl) are written for and were not.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core import Json, Tell
from ..errors import StepladderError
from ..executors.ray_start import connect, disconnect, machines, quiet_ray, sees_everywhere
from ..registry import need
from . import TrainedModel, TrainingJob, job_hash
from .jobs import alone
from .local import finished_model, train_into

__all__ = ["RayTrainer"]

RESTARTS = 3  # of the workers, after one of them died
POLL = 0.5  # seconds between two looks at what the workers tell
PATIENCE = 30.0  # seconds for a training that is broken off to end by itself


@dataclass(frozen=True)
class RayTrainer:
    """`workers` at `address`, or on this machine; they take a GPU each where there are as many."""

    workers: int = 2
    address: str | None = None
    name: str = "ray"

    def train(self, job: TrainingJob, artifacts: Path, tell: Tell) -> TrainedModel:
        """The trained model, from `artifacts` if this job was finished before.

        It is the one that a single process would train, as far as sums of floats allow.

        Raises:
            MissingExtra: without Ray, torch or peft.
            ModelError: unusable weights or data, or a diverged training.
            StepladderError: the cluster cannot do it; StoreError where the folder is not writable.
        """
        for module, extra in (("ray", "ray"), ("torch", "train"), ("peft", "train")):
            need(module, extra=extra, what="training on a cluster")
        name = job_hash(job)
        done = finished_model(artifacts, name)
        if done is not None:
            return done
        with alone(artifacts, name, tell):
            if finished_model(artifacts, name) is None:
                self._train(job, (artifacts / name).resolve(), tell)
            done = finished_model(artifacts, name)
        if done is None:
            raise StepladderError(
                f"the workers ended without a model in {str(artifacts / name)!r}",
                hint="run the same command again: training goes on from its last checkpoint",
            )
        return done

    def _train(self, job: TrainingJob, folder: Path, tell: Tell) -> None:
        mine = connect(self.address)
        try:
            if len(machines()) > 1 and not sees_everywhere(folder):
                raise StepladderError(
                    f"not all machines of the cluster see {str(folder)!r}",
                    hint="keep the run on a disk that they share: --runs FOLDER",
                )
            tell("training", {"waiting": f"{self.workers} workers of a Ray cluster start"})
            _watch(job, folder, _each(job, self.workers), tell)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # of Ray's notes
        finally:
            if mine:
                disconnect()


@dataclass(frozen=True)
class _Each:
    """What every worker has."""

    workers: int
    cores: int
    gpu: bool


def _each(job: TrainingJob, workers: int) -> _Each:
    """A fair part of the cluster; StepladderError where that is less than a core."""
    has = [node["Resources"] for node in machines()]
    cores = sum(int(one.get("CPU", 0)) for one in has)
    gpus = sum(int(one.get("GPU", 0)) for one in has)
    if workers < 1 or workers > cores:
        raise StepladderError(
            f"{workers} workers cannot train on a cluster of {cores} cores",
            hint=f"set workers in [steps.fine_tune] to 1 to {cores}",
        )
    # cores of a worker are on one machine: the smallest machine's must hold a whole number of them
    least = min(int(one.get("CPU", 0)) for one in has if one.get("CPU", 0) >= 1)
    return _Each(workers, max(1, min(cores // workers, least)), gpus >= workers)


def _watch(job: TrainingJob, folder: Path, each: _Each, tell: Tell) -> None:
    """Run the training on the cluster and pass on what it tells; whatever is raised ends it."""
    import ray

    told: Any = ray.remote(num_cpus=0)(_Told).remote()
    run = ray.remote(num_cpus=0, max_retries=0)(_fit).remote(job, folder, each, told)
    ended = False
    try:
        while not ended:
            ended = bool(ray.wait([run], timeout=POLL)[0])
            said, error = ray.get(told.take.remote())
            for event, fields in said:
                tell(event, fields)
            if error is not None:
                raise error
        ray.get(run)
    except ray.exceptions.RayError as error:
        raise StepladderError(
            f"training on the cluster broke off: {str(error).strip().splitlines()[-1]}",
            hint="run the same command again: training goes on from its last checkpoint",
        ) from error
    finally:
        if not ended:
            _end(run)


def _end(run: Any) -> None:
    """Break the training off, so that what it held of the cluster is free for the next one.

    A killed one would hold its place until this process ends: Ray sees to that by asking a
    dashboard, which is not started here.
    """
    import ray

    ray.cancel(run)
    if not ray.wait([run], timeout=PATIENCE)[0]:
        ray.cancel(run, force=True)


def _fit(job: TrainingJob, folder: Path, each: _Each, told: Any) -> None:
    """In a process of the cluster: start the workers, and start them again when one dies."""
    with quiet_ray():
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        gpu = each.gpu and job.device != "cpu"
        resources: dict[str, float] = {"CPU": each.cores, **({"GPU": 1} if gpu else {})}
        TorchTrainer(
            _work,
            train_loop_config={
                "job": replace(job, threads=job.threads or each.cores),
                "folder": folder,
                "told": told,
            },
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=each.workers, use_gpu=gpu, resources_per_worker=resources
            ),
            run_config=RunConfig(
                name="ray",
                storage_path=str(folder / "checkpoints"),
                failure_config=FailureConfig(max_failures=RESTARTS),
            ),
        ).fit()


def _work(config: dict[str, Any]) -> None:
    """In each worker: train in company. What is expected to go wrong is told, not tried anew."""
    import ray

    from .workers import company_for

    job, folder, told = config["job"], config["folder"], config["told"]
    if finished_model(folder.parent, folder.name) is not None:
        return  # it ended between the last file and the last word
    try:
        company = company_for(job)

        def tell(event: str, fields: Mapping[str, Json]) -> None:
            if company.leads:
                told.say.remote(event, dict(fields))

        train_into(folder, job, tell, company)
    except StepladderError as error:
        ray.get(told.end.remote(error))


class _Told:
    """What the workers tell, until it is taken."""

    def __init__(self) -> None:
        self._said: list[tuple[str, dict[str, Json]]] = []
        self._end: StepladderError | None = None

    def say(self, event: str, fields: dict[str, Json]) -> None:
        self._said.append((event, fields))

    def end(self, error: StepladderError) -> None:
        self._end = self._end or error

    def take(self) -> tuple[list[tuple[str, dict[str, Json]]], StepladderError | None]:
        said, self._said = self._said, []
        return said, self._end
