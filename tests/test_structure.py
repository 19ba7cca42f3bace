"""The shape of the package: what it exports, what it imports, and that it works without extras."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stepladder
from stepladder.errors import MissingExtra
from stepladder.models import ProviderSettings
from stepladder.registry import BUILT_IN, known, look_up

SOURCE = Path(stepladder.__file__).parent
ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for path in SOURCE.rglob("*.py"))
HEAVY = (
    "torch", "transformers", "openvino", "openvino_genai", "sklearn", "scipy", "peft", "gguf",
    "google.genai", "google.cloud.storage", "google.auth", "openai", "keyring", "together",
    "fireworks", "ray", "pandas",
)  # fmt: skip


def of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_no_two_files_of_tests_have_one_name() -> None:
    """Tests are no package: of two modules of one name, whichever comes first hides the other."""
    folders = {path.parent for path in (ROOT / "tests").rglob("__init__.py")}
    names = [
        path.name
        for path in (ROOT / "tests").rglob("*.py")
        if path.name != "conftest.py" and path.parent not in folders
    ]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", MODULES, ids=of)
def test_every_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "a module opens with its place in the flow"


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def defined(tree: ast.Module) -> Iterator[str]:
    """Public functions and classes of the module's own."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


WITH_NAMES = [path for path in MODULES if any(defined(ast.parse(path.read_text(encoding="utf-8"))))]


def in_order(name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes, then functions: the order that ruff keeps."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("path", WITH_NAMES, ids=of)
def test_what_is_exported_is_listed_sorted_and_there(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = exported(tree)
    assert names is not None, "every module with public names has __all__"
    assert names == sorted(names, key=in_order)
    assert len(set(names)) == len(names)
    module_names = {
        name
        for node in tree.body
        for name in (
            [node.name]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            else [ast.unparse(t) for t in node.targets]
            if isinstance(node, ast.Assign)
            else [ast.unparse(node.target)]
            if isinstance(node, ast.AnnAssign)
            else [alias.asname or alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert set(names) <= module_names


@pytest.mark.parametrize("seam", sorted(BUILT_IN))
def test_every_registered_name_can_be_imported(seam: str) -> None:
    for name in known(seam):
        assert callable(look_up(seam, name))


@pytest.mark.parametrize(
    "statement",
    [
        "import stepladder",
        "import stepladder.cli",
        "import stepladder.core, stepladder.climb, stepladder.session, stepladder.task",
        "import stepladder.testing",
        "import sys; sys.argv = ['stepladder', '--help']; from stepladder.cli import app; "
        "app(standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(statement: str) -> None:
    program = f"{statement}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


EXTRAS = {
    "gemini": ("gemini:gemini-3.5-flash", "google.genai"),
    "vertex": ("vertex:gemini-3.5-flash", "google.genai"),
    "openai": ("openai:gpt-4o-mini", "openai"),
    "together": ("together:some/model", "openai"),
    "ollama": ("ollama:some-model", "openai"),
}


@pytest.mark.parametrize("provider", EXTRAS)
def test_a_provider_whose_package_is_missing_says_what_to_install(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, package = EXTRAS[provider]
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    for variable in ("OPENAI_API_KEY", "TOGETHER_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(variable, "made-up-key")
    with pytest.raises(MissingExtra) as told:
        look_up("provider", provider)(ProviderSettings(provider)).model(name)
    extra = provider if provider in ("gemini", "vertex") else "openai"
    assert told.value.hint == f"pip install 'stepladder[{extra}]'"
    assert repr(package) in told.value.message
    assert len(str(told.value).splitlines()) == 2


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_without_extras_it_checks_and_climbs_what_needs_none(tmp_path: Path) -> None:
    """In a fresh environment: no torch, no engine; steps that need them are skipped, and say so."""
    from task_folders import make_task_folder

    environment = tmp_path / "environment"
    assert run(sys.executable, "-m", "venv", environment).returncode == 0
    constraints = ROOT / "constraints.txt"
    bounds = ["-c", constraints] if constraints.is_file() else []
    installed = run(environment / "bin" / "pip", "install", "--quiet", *bounds, ROOT)
    assert installed.returncode == 0, installed.stderr
    program = environment / "bin" / "stepladder"
    keys = {"GEMINI_API_KEY": "made-up-key", "OPENAI_API_KEY": "made-up-key"}
    empty = {"STEPLADDER_CACHE": str(tmp_path / "cache"), "PYTHONPATH": ""}
    task = make_task_folder(tmp_path / "task", "local:smollm2-135m-instruct", more="")

    checked = run(program, "check", task, **empty)
    assert checked.returncode == 0, checked.stderr
    assert "pip install" in checked.stderr + checked.stdout or "characters" in checked.stderr

    climbed = run(program, "climb", task, "--json", **empty)
    assert climbed.returncode == 1, climbed.stderr
    assert "Traceback" not in climbed.stderr
    record = json.loads(climbed.stdout)
    assert {trial["step"] for trial in record["trials"]} == {"baseline"}
    reasons = {skipped["step"]: skipped["reason"] for skipped in record["skipped"]}
    assert "one model" in reasons.pop("dearer_model")
    assert reasons.keys() == {"heads", "prompt", "few_shot", "encoder", "fine_tune"}
    assert all("pip install 'stepladder[" in reason for reason in reasons.values())
    assert not (tmp_path / "cache").exists()  # 93 MB are not fetched for nothing

    for model, extra in (("gemini:gemini-3.5-flash", "gemini"), ("openai:gpt-4o-mini", "openai")):
        hosted = make_task_folder(tmp_path / extra, model, more="")
        refused = run(program, "climb", hosted, **empty, **keys)
        assert refused.returncode == 2, refused.stderr
        assert f"pip install 'stepladder[{extra}]'" in refused.stderr
        assert "Traceback" not in refused.stderr
