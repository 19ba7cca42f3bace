"""The documents say what the code does: nothing is left out, examples run, links lead somewhere."""

from __future__ import annotations

import inspect
import json
import re
import runpy
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from stepladder import errors, task_file
from stepladder.catalogue import ModelFacts, TuningLimits, load_catalogue
from stepladder.cost import TokenPrice, TrainingPrice, load_prices
from stepladder.data.formats import FORMATS
from stepladder.diagnose import KINDS
from stepladder.models.hosted.options import HostedOptions
from stepladder.models.hosted.pool import Limits
from stepladder.registry import BUILT_IN, look_up
from stepladder.report.record import decision_schema
from stepladder.serve.serve_file import ServeFile, load_serve_file
from stepladder.task import load_task

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("examples/**/README.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# ([\w.]+\.py)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
LOCAL = {"127.0.0.1:8080"}
HOSTS = {"keepachangelog.com", "semver.org", "www.apache.org", "creativecommons.org", *LOCAL}


def title(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return [b[2] for b in BLOCK.findall(page.read_text("utf-8")) if b[1] == language]


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text("utf-8"))


def section(page: Path, heading: str) -> str:
    """What stands under a heading, up to the next one of the same depth or less."""
    depth = heading.count("#")
    rest = page.read_text("utf-8").split(f"\n{heading}\n", 1)
    assert len(rest) == 2, f"{title(page)} has no section {heading!r}"
    return re.split(rf"^#{{1,{depth}}} ", rest[1], maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """The names in the first column of the tables of a text."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [name for line in lines for name in re.findall(r"`([^`]+)`", line.split("|")[1])]


# --- reference pages against the code -----------------------------------------------------------


TABLES: dict[str, type[BaseModel]] = {
    "## Top level": task_file.TaskFile,
    "## [target]": task_file.TargetTable,
    "## [metric]": task_file.MetricTable,
    "## [data]": task_file.DataTable,
    "## [economics]": task_file.EconomicsTable,
    "## [hardware]": task_file.HardwareTable,
}


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_of_task_toml_is_documented_and_no_other(heading: str) -> None:
    names = [info.alias or name for name, info in TABLES[heading].model_fields.items()]
    page = DOCS / "reference" / "task-toml.md"
    assert sorted(first_cells(section(page, heading))) == sorted(names)


@pytest.mark.parametrize("heading", TABLES)
def test_the_defaults_of_task_toml_are_the_ones_documented(heading: str) -> None:
    text = section(DOCS / "reference" / "task-toml.md", heading)
    rows = {first_cells(line)[0]: line for line in text.splitlines() if line.startswith("| `")}
    for name, info in TABLES[heading].model_fields.items():
        row = rows[info.alias or name]
        default = info.get_default()
        if info.is_required():
            assert "| required |" in row, row
        elif isinstance(default, bool | int | float | str):
            assert re.search(
                rf"\b{re.escape(f'{default:g}' if isinstance(default, float) else str(default))}\b",
                row,
            ), row


def test_every_option_of_serve_toml_is_documented_with_its_default_and_no_other() -> None:
    page = (DOCS / "reference" / "serve-toml.md").read_text("utf-8")
    assert first_cells(page) == [*ServeFile.model_fields]
    rows = {first_cells(line)[0]: line for line in page.splitlines() if line.startswith("| `")}
    for name, info in ServeFile.model_fields.items():
        default = info.get_default()
        if isinstance(default, bool | int | float | str):
            said = f"{default:g}" if isinstance(default, float) else json.dumps(default)
            assert f"| `{said}` |" in rows[name], rows[name]


def test_every_option_of_a_hosted_provider_is_documented_and_no_other() -> None:
    text = section(DOCS / "reference" / "task-toml.md", "## [providers.NAME]")
    shared = {f.name: f.default for f in (*fields(Limits), *fields(HostedOptions))}
    shared.pop("limits")
    assert sorted(first_cells(text)) == sorted([*shared, "project", "location", "bucket"])
    for name, default in shared.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        said = json.dumps(default) if isinstance(default, bool | str) else f"{default:g}"
        assert f"| {said} |" in row.replace("`", ""), row


def constructor_options(kind: Any) -> list[str]:
    return [field.name for field in fields(kind) if field.init]


@pytest.mark.parametrize("name", BUILT_IN["step"])
def test_every_option_of_a_step_is_documented_and_no_other(name: str) -> None:
    kind = look_up("step", name)
    text = section(DOCS / "reference" / "steps.md", f"## {name}")
    assert first_cells(text) == constructor_options(kind)
    for field in fields(kind):
        if (
            field.init
            and isinstance(field.default, int | float)
            and not isinstance(field.default, bool)
        ):
            row = next(line for line in text.splitlines() if line.startswith(f"| `{field.name}`"))
            assert f"| {field.default} |" in row, row


@pytest.mark.parametrize("name", BUILT_IN["metric"])
def test_every_option_of_a_metric_is_documented_and_no_other(name: str) -> None:
    kind = look_up("metric", name)
    page = DOCS / "reference" / "metrics.md"
    text = section(page, f"## {name}")
    assert first_cells(text) == list(inspect.signature(kind).parameters)
    assert f"| `{name}` | {kind.scale} |" in page.read_text("utf-8")


def test_every_error_is_documented_and_no_other() -> None:
    page = DOCS / "reference" / "errors.md"
    assert sorted(first_cells(page.read_text("utf-8"))) == sorted(errors.__all__)


def test_every_kind_of_failure_is_documented_and_no_other() -> None:
    assert first_cells((DOCS / "reference" / "failures.md").read_text("utf-8")) == list(KINDS)


def test_every_format_of_examples_is_documented_and_no_other() -> None:
    page = DOCS / "reference" / "data-formats.md"
    assert first_cells(page.read_text("utf-8")) == list(FORMATS)


def test_every_field_of_a_decision_is_documented_and_no_other() -> None:
    page = DOCS / "reference" / "decision-json.md"
    schema = decision_schema()
    text = page.read_text("utf-8").split("\n## ")[0]
    assert sorted(first_cells(text)) == sorted(schema["properties"])
    for name in ("confirmation", "trial", "ownership", "upgrade"):
        article = "An" if name in ("ownership", "upgrade") else "A"
        documented = first_cells(section(page, f"## {article} {name}"))
        assert sorted(documented) == sorted(schema["$defs"][name]["properties"])
    for verdict in schema["properties"]["verdict"]["enum"]:
        assert f'`"{verdict}"`' in text


DATED = {
    "## prices.toml: tokens": TokenPrice,
    "## prices.toml: training": TrainingPrice,
    "## models.toml: model": ModelFacts,
    "## models.toml: tuning": TuningLimits,
}


@pytest.mark.parametrize("heading", DATED)
def test_every_key_of_a_dated_table_is_documented_and_no_other(heading: str) -> None:
    page = DOCS / "reference" / "prices-and-models.md"
    everywhere = ["model", "read_on", "source"]
    names = [field.name for field in fields(DATED[heading])]
    assert sorted([*first_cells(section(page, heading)), *everywhere]) == sorted(names)


def test_the_page_of_the_command_line_is_up_to_date() -> None:
    page = runpy.run_path(str(DOCS / "generate_cli.py"))["cli_page"]()
    written = (DOCS / "reference" / "cli.md").read_text("utf-8")
    assert written == page, "run: python docs/generate_cli.py"


# --- what can be typed --------------------------------------------------------------------------


def typed_commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in block.splitlines():
                found = re.match(r" *(?:\$ )?(?:\w+=\S+ )?(stepladder .*)", line)
                if found:
                    yield title(page), found[1]


@pytest.mark.parametrize(("page", "command"), sorted(set(typed_commands())))
def test_every_command_in_the_documents_is_one(page: str, command: str) -> None:
    from typer.main import get_command

    from stepladder.cli import app

    known: Any = get_command(app)
    words = command.partition("#")[0].split()[1:]
    while words and words[0] in getattr(known, "commands", {}):
        known = known.commands[words.pop(0)]
    assert not hasattr(known, "commands") or not words or words[0].startswith("-"), command
    options = {name for parameter in known.params for name in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, command


def test_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        # backquoted, or alone on a line of a console block
        said = re.findall(r"(?:^|`)make ([a-z][\w-]*)", page.read_text("utf-8"), re.MULTILINE)
        assert set(said) <= targets, title(page)


# --- examples run -------------------------------------------------------------------------------


def own_files(page: Path, folder: Path) -> None:
    """Write the Python blocks that begin with the name of a file."""
    for block in blocks(page, "python"):
        if name := FILE_NAME.match(block):
            (folder / name[1]).write_text(block, encoding="utf-8")


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=title)
def test_the_python_in_a_document_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    own_files(page, tmp_path)
    register(page, tmp_path, monkeypatch)
    before = set(sys.modules)
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        for number, block in enumerate(blocks(page, "python"), start=1):
            if not FILE_NAME.match(block):
                exec(
                    compile(block, f"{title(page)}, block {number}", "exec"), names
                )  # our own text
    finally:
        for module in set(sys.modules) - before:
            if (
                getattr(sys.modules[module], "__file__", None)
                and tmp_path in Path(str(sys.modules[module].__file__)).parents
            ):
                del sys.modules[module]


TOML = [(page, text) for page in PAGES for text in blocks(page, "toml")]


@pytest.mark.parametrize(("page", "text"), TOML, ids=[title(page) for page, _ in TOML])
def test_the_toml_in_a_document_loads(
    page: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tomllib.loads(text)
    own_files(page, tmp_path)
    (tmp_path / "file.toml").write_text(text, encoding="utf-8")
    if text.startswith("# task.toml"):
        register(page, tmp_path, monkeypatch)
        for name, content in mentioned_files(table):
            (tmp_path / name).write_text(content, encoding="utf-8")
        (tmp_path / "task.toml").write_text(text, encoding="utf-8")
        assert load_task(tmp_path).target.score == table["target"]["score"]
    elif text.startswith("# serve.toml"):
        assert load_serve_file(tmp_path / "file.toml").bundles
    elif {"model", "tuning"} & table.keys():
        catalogue = load_catalogue(tmp_path / "file.toml", today=date.max)
        assert {one["model"] for one in table["model"]} <= {each.model for each in catalogue.models}
    elif {"machine", "tokens"} & table.keys():
        prices = load_prices(tmp_path / "file.toml", today=date.max)
        assert {one["name"] for one in table.get("machine", ())} <= prices.machines.keys()
        known = {price.model for price in prices.tokens}
        assert {one["model"] for one in table.get("tokens", ())} <= known
    else:
        assert "entry-points" in table["project"], "what is this block?"


def mentioned_files(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("examples", "train", "dev", "test"):
        if key in table["data"]:
            yield table["data"][key], "input,expected\n"
    if "labels_file" in table:
        yield table["labels_file"], "yes\nno\n"
    if "schema_file" in table:
        yield table["schema_file"], "{}"


def register(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the entry points that the page declares, as a package in this folder."""
    points = [
        points
        for text in blocks(page, "toml")
        for points in tomllib.loads(text).get("project", {}).get("entry-points", {}).items()
    ]
    if points:
        package = folder / "documented-1.0.dist-info"
        package.mkdir()
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: documented\nVersion: 1.0\n")
        lines = [
            f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in names.items())
            for group, names in points
        ]
        (package / "entry_points.txt").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(folder))


def test_the_step_of_the_how_to_is_found_by_its_entry_point_and_built_with_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepladder.session import make_steps

    page = DOCS / "how-to" / "own-step.md"
    own_files(page, tmp_path)
    register(page, tmp_path, monkeypatch)
    (tmp_path / "examples.csv").write_text("input,expected\n")
    (text,) = [text for text in blocks(page, "toml") if text.startswith("# task.toml")]
    (tmp_path / "task.toml").write_text(text, encoding="utf-8")
    try:
        *_, step = make_steps(load_task(tmp_path), ("house_rules", "baseline"))
    finally:
        sys.modules.pop("house_rules", None)
    assert step.name == "house_rules"
    assert vars(step)["rules"] == ("Chargebacks are refunds.",)


# --- links, trees, tables -----------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://", "#")):
            continue
        target = (page.parent / link.partition("#")[0]).resolve()
        assert target.is_relative_to(ROOT), link
        assert target.exists(), f"{title(page)}: {link}"


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in LINK.findall(prose(page))
    }
    start = {ROOT / "README.md"}
    folders = {page for page in PAGES if page.name == "README.md" and page.parent in linked}
    assert not [title(page) for page in {*PAGES} - linked - start - folders]


def tree_of_readme() -> list[str]:
    """The paths in the README's file tree, which nests by two spaces."""
    found: list[str] = []
    parents: list[str] = []
    tree = next(text for text in blocks(ROOT / "README.md", "text") if "core.py" in text)
    for line in tree.splitlines():
        name, depth = line.split()[0], (len(line) - len(line.lstrip())) // 2
        assert name.endswith("/") or len(line.split()) > 1, f"{name} has no purpose"
        parents = [*parents[:depth], name]
        found.append("".join(parents))
    return found


def test_the_readme_shows_the_output_of_the_demo() -> None:
    script = runpy.run_path(str(DOCS / "include_demo_output.py"))
    page = (ROOT / "README.md").read_text("utf-8")
    assert script["SPOT"].search(page)
    if script["OUTPUT"].exists():
        output = script["OUTPUT"].read_text("utf-8")
        assert page == script["with_output"](page, output), "run docs/include_demo_output.py"


def test_the_readme_lists_every_folder_and_what_lies_at_the_top() -> None:
    package = ROOT / "src" / "stepladder"
    top = {path.relative_to(ROOT).as_posix() for path in package.glob("*.py")}
    folders = {f"{path.parent.relative_to(ROOT).as_posix()}/" for path in package.rglob("*.py")}
    listed = {path for path in tree_of_readme() if path.startswith("src/")}
    modules = {path for path in listed if path.endswith(".py")}
    assert modules == top - {"src/stepladder/__init__.py"}
    assert {path for path in listed if path.endswith("/")} == folders | {"src/stepladder/"}


def test_the_map_of_the_code_is_the_code() -> None:
    script = runpy.run_path(str(DOCS / "generate_code_map.py"))
    page = script["code_map"]()
    assert script["PAGE"].read_text("utf-8") == page, "run: python docs/generate_code_map.py"
    assert "` |  |" not in page, "a module does not say what it is"


def test_the_readme_lists_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = section(ROOT / "README.md", "## Extras")
    assert sorted(first_cells(text)) == sorted(project["optional-dependencies"])


def test_every_decision_is_listed_and_has_its_parts() -> None:
    pages = sorted(DOCS.glob("decisions/[0-9]*.md"))
    index = (DOCS / "decisions" / "README.md").read_text("utf-8")
    for number, page in enumerate(pages, start=1):
        text = page.read_text("utf-8")
        assert page.name.startswith(f"{number:04}-")
        assert f"]({page.name})" in index
        assert text.startswith(f"# {number:04}: ")
        parts = ["**Context.**", "**Decision.**", "**Consequences.**", "**Status.**"]
        assert [part for part in parts if part in text] == parts


def test_the_changelog_tells_of_what_is_not_released() -> None:
    unreleased = section(ROOT / "CHANGELOG.md", "## Unreleased")
    assert "### Added" in unreleased
    added = re.findall(r"^- .+", unreleased, re.MULTILINE)
    commands = set(re.findall(r"`stepladder ([a-z]+)", unreleased))
    assert len(added) >= 5
    assert {"init", "check", "climb", "report", "compare"} <= commands


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_no_page_names_a_host_or_a_path_of_a_machine(page: Path) -> None:
    text = page.read_text("utf-8")
    named = set(re.findall(r"https?://([^/\s)>\"]+)", text))
    bare = {
        host
        for host in re.findall(r"\b(?:[\w-]+\.)+(?:org|com|io|co|net|dev|ai)\b", text)
        if not host.endswith((".toml", ".md"))
    }
    assert named | bare <= HOSTS
    assert not re.findall(r"(?<![\w./~$}\])*:-])/(?!\*)[a-z]\w*/\S*", text)


@pytest.mark.parametrize("folder", sorted((ROOT / "examples").glob("*/")), ids=title)
def test_every_example_says_its_source_licence_and_target(folder: Path) -> None:
    page = folder / "README.md"
    text = page.read_text("utf-8")
    task = load_task(folder)
    assert (folder / "LICENSE-data.txt").stat().st_size > 500
    for said in ("**Source.**", "**Licence and attribution.**", f"{task.target.score:.2f}"):
        assert said in text
    for name in (task.data.train, task.data.dev, task.data.test):
        rows = len((folder / str(name)).read_bytes().splitlines())
        assert re.search(rf"`{name}` \({rows:,}\)", text), (name, rows)


def test_the_outputs_in_the_tutorial_are_of_this_program() -> None:
    """Words that the tutorial shows are words that the program still says."""
    said = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    for words in ("ready to climb", "of the sealed test", "Target met", "At most this"):
        assert words in said
        assert words in (DOCS / "tutorial.md").read_text("utf-8")


def test_the_schema_of_decisions_is_json() -> None:
    assert json.loads(json.dumps(decision_schema())) == decision_schema()
