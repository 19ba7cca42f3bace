"""A bundle that was verified: the solver, and a workshop in which it answers.

It needs no run folder and no task folder. It keeps no answer and no vector of what it is asked.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..catalogue import Catalogue
from ..core import Json, Model, Solver, Task, Tell, Usage, Workshop
from ..cost import Prices, load_prices, price_all
from ..errors import ModelError, StepladderError, StoreError
from ..models import ProviderSettings
from ..registry import look_up
from ..solvers import content_hash, solver_from_record
from .contents import ENCODER_NAME, EVALUATION, MODELS, SERVED, SOLVER, TASK, BundledModel
from .manifest import CURE, BundleFile, load_record, load_records, verify

__all__ = ["Bundle", "BundledModel", "load_bundle"]

_EVALUATED: Mapping[str, type | tuple[type, ...]] = {
    "decision": str,
    "step": str,
    "solver": str,
    "solver_sha256": str,
    "verdict": str,
    "confirmed": (dict, type(None)),
    "trial": dict,
    "data": dict,
    "run": dict,
}


def _quiet(event: str, fields: Mapping[str, Json]) -> None:
    """Nobody is watching."""


def _by_provider(model: BundledModel) -> Model | None:
    """Every model comes from its own provider."""
    return None


@dataclass(frozen=True)
class Bundle:
    """What is served, and why it may be.

    `id` is the SHA-256 that pins every byte of it. `task` has no data, steps or economics.
    `evaluation` is the confirmation (None where there was none), the trial on dev and their origin.
    """

    id: str
    folder: Path
    solver: Solver
    task: Task
    models: tuple[BundledModel, ...]
    evaluation: Mapping[str, Json]
    files: tuple[BundleFile, ...]

    @property
    def confirmed(self) -> bool:
        """Whether the sealed test confirmed it."""
        return self.evaluation["confirmed"] is not None

    @contextmanager
    def open(
        self,
        *,
        prices: Prices | None = None,
        catalogue: Catalogue | None = None,
        tell: Tell = _quiet,
        replace: Callable[[BundledModel], Model | None] = _by_provider,
    ) -> Iterator[Workshop]:
        """The workshop to answer in, `bundle.solver.answer(inputs, workshop)`, until it is left.

        A local model is loaded when it is first asked, and is then checked to be the one that was
        measured. Raises there what its provider raises: ModelError, MissingExtra, TaskError. What
        `replace` gives for a model is asked instead of that of its provider, after the same check.
        """
        _check_encoder(self.models)
        known = prices or load_prices(today=datetime.now(UTC).date())

        def price(usage: Iterable[Usage]) -> float | None:
            return price_all(usage, known, self.task.hardware).dollars

        with tempfile.TemporaryDirectory(prefix="stepladder-") as scratch:
            artifacts = _view(self.folder, Path(scratch))
            models = _Models(self, artifacts, (catalogue or Catalogue(), known), tell, replace)
            try:
                yield Workshop(models.model, artifacts, tell, price, models.settings)
            finally:
                models.close()


def load_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, after every byte of it was checked against its name.

    Raises:
        StoreError: it is missing, incomplete, changed, unsafe or of another version.
        StepladderError: its solver is of a kind that is not known here.
    """
    files = verify(folder)
    listed = {file.path for file in files}
    for name in (SOLVER, TASK, MODELS, EVALUATION):
        if name not in listed:
            raise StoreError(f"the bundle {str(folder)!r} has no {name!r}", hint=CURE)
    solver = solver_from_record(load_record(folder, SOLVER))
    return Bundle(
        id=folder.resolve().name,
        folder=folder,
        solver=solver,
        task=_task(folder),
        models=_bundled_models(folder, listed),
        evaluation=_evaluation(folder, solver),
        files=files,
    )


def _evaluation(folder: Path, solver: Solver) -> Mapping[str, Json]:
    record = load_record(folder, EVALUATION)
    for name, kinds in _EVALUATED.items():
        if not isinstance(record.get(name), kinds):
            raise StoreError(f"{str(folder / EVALUATION)!r} has no {name!r}", hint=CURE)
    if content_hash(solver) != record["solver_sha256"]:
        raise StoreError(
            f"the solver of {str(folder)!r} is not the one that was evaluated",
            hint="use the version of stepladder that wrote it, or climb and deploy again",
        )
    return record


def _task(folder: Path) -> Task:
    record = load_record(folder, TASK)
    if unknown := sorted(record.keys() - set(SERVED)):
        raise StoreError(
            f"{str(folder / TASK)!r} has fields that are not known here: {', '.join(unknown)}",
            hint="use the version of stepladder that wrote it, or deploy again",
        )
    task: Task = _valid(TypeAdapter(Task), {**record, "data": {}, "folder": folder}, folder / TASK)
    return task


def _bundled_models(folder: Path, listed: Set[str]) -> tuple[BundledModel, ...]:
    records = load_records(folder, MODELS)
    adapter = TypeAdapter(tuple[BundledModel, ...])
    models: tuple[BundledModel, ...] = _valid(adapter, records, folder / MODELS)
    for model in models:
        for inside in (model.inside, model.adapter):
            if inside is not None and not any(path.startswith(f"{inside}/") for path in listed):
                raise StoreError(f"{str(folder)!r} has no files in {inside!r}", hint=CURE)
    return models


def _valid(adapter: TypeAdapter[Any], record: Json, file: Path) -> Any:
    try:
        return adapter.validate_python(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise StoreError(
            f"{str(file)!r} cannot be used at {place!r}: {first['msg']}", hint=CURE
        ) from error


# --- answering ----------------------------------------------------------------------------------


def _view(folder: Path, scratch: Path) -> Path:
    """A folder that shows the bundle's artefacts: what is kept beside them in use goes elsewhere.

    An index of embeddings keeps the vectors of its queries beside it; in the bundle they would be
    strangers, and the inputs of callers are not to stay on disk.
    """
    view = scratch / "artifacts"
    view.mkdir()
    inside = folder.resolve() / "artifacts"
    for artifact in sorted(inside.iterdir()) if inside.is_dir() else ():
        (view / artifact.name).symlink_to(artifact, target_is_directory=True)
    return view


def _check_encoder(models: Iterable[BundledModel]) -> None:
    """Raise ModelError where an index holds the vectors of another encoder than this version's."""
    for model in models:
        if model.name.startswith(ENCODER_NAME):
            from ..embeddings import ENCODER

            if model.sha256 != ENCODER.sha256:
                raise ModelError(
                    f"the bundle's index was made with the encoder {model.name!r} of SHA-256 "
                    f"{model.sha256}; this version has {ENCODER.sha256}",
                    hint="use the version of stepladder that made it, or climb and deploy again",
                )


class _Models:
    """The bundle's models by name; providers are opened when they are first asked for."""

    def __init__(
        self,
        bundle: Bundle,
        artifacts: Path,
        known: tuple[Catalogue, Prices],
        tell: Tell,
        replace: Callable[[BundledModel], Model | None],
    ) -> None:
        self._bundled = {model.name: model for model in bundle.models}
        self._options = bundle.task.providers
        self._artifacts = artifacts
        self._known = known
        self._tell = tell
        self._replace = replace
        self._opening = threading.Lock()  # a server answers in many threads
        self._providers: dict[str, Any] = {}
        self._models: dict[str, Model] = {}

    def model(self, name: str) -> Model:
        with self._opening:
            if name not in self._models:
                if name not in self._bundled:
                    raise StepladderError(
                        f"the bundle does not name the model {name!r}",
                        hint=f"it names: {', '.join(map(repr, self._bundled)) or 'none'}",
                    )
                self._models[name] = self._open(name)
            return self._models[name]

    def settings(self, kind: str) -> ProviderSettings:
        catalogue, prices = self._known
        # whoever waits for an answer cannot wait for a batch job
        options = {key: one for key, one in self._options.get(kind, {}).items() if key != "batch"}
        return ProviderSettings(
            kind,
            artifacts=self._artifacts,
            jobs=self._artifacts.parent / "jobs",
            options=options,
            catalogue=catalogue,
            prices=prices,
            tell=self._tell,
        )

    def close(self) -> None:
        for provider in self._providers.values():
            provider.close()

    def _open(self, name: str) -> Model:
        model = self._replace(self._bundled[name]) or self._provided(name)
        wanted, found = self._bundled[name].fingerprint, getattr(model, "fingerprint", None)
        if wanted is not None and wanted != found:
            raise ModelError(
                f"the model {name!r} here is not the one that was measured: its fingerprint is "
                f"{found}, not {wanted}",
                hint=self._bundled[name].fetch,
            )
        return model

    def _provided(self, name: str) -> Model:
        kind = name.partition(":")[0]
        if kind not in self._providers:
            self._providers[kind] = look_up("provider", kind)(self.settings(kind))
        model: Model = self._providers[kind].model(name)
        return model
