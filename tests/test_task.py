"""task.toml at the door: what passes, and how each mistake is named with file, line and cure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stepladder.core import DataSource, Economics, Hardware, MetricSpec, Target
from stepladder.errors import TaskError
from stepladder.task import inside, load_task

GOOD = '''name = "mail"
kind = "classification"
instructions = """
Sort the mail.
[not a table] key = 3
"""
metric = "accuracy"
labels = [
    "yes",  # a bracket ] in a comment
    "no",
]

[target]
score = 0.8

[data]
examples = "examples.jsonl"
'''


def folder_with(tmp_path: Path, text: str, **files: str) -> Path:
    (tmp_path / "task.toml").write_text(text, "utf-8")
    (tmp_path / "examples.jsonl").write_text("", "utf-8")
    for name, content in files.items():
        (tmp_path / name.replace("__", ".")).write_text(content, "utf-8")
    return tmp_path


def complaint(folder: Path) -> TaskError:
    with pytest.raises(TaskError) as caught:
        load_task(folder)
    return caught.value


def test_a_small_task_has_the_documented_defaults(tmp_path: Path) -> None:
    task = load_task(folder_with(tmp_path, GOOD))
    assert (task.name, task.kind, task.labels) == ("mail", "classification", ("yes", "no"))
    assert task.instructions == "Sort the mail.\n[not a table] key = 3"
    assert task.target == Target(0.8)
    assert task.metric == MetricSpec("accuracy")
    assert task.data == DataSource(examples="examples.jsonl")
    assert (task.economics, task.hardware) == (Economics(), Hardware())
    assert task.folder == tmp_path
    assert load_task(tmp_path / "task.toml") == task


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = """kind = "extraction"
instructions = "Find the drugs."
models = ["local:small", "openai:large", "local:small"]
prompt_model = "openai:large"
schema_file = "schema.json"
slices = ["language"]
max_output_tokens = 64
seed = 7
[metric]
name = "micro_f1"
partial = true
[target]
score = 0.7
alpha = 0.1
p95_seconds = 2
dollars_per_1000 = 0.5
[target.floors]
"language=ilocano" = 0.5
[economics]
requests_per_month = 50_000
months = 24
[hardware]
dollars_per_hour = 1.25
[data]
train = "examples.jsonl"
dev = "examples.jsonl"
test = "examples.jsonl"
input = ["title", "body"]
expected = "meta.gold"
group = "meta.pmid"
limit = 10
[data.sha256]
"examples.jsonl" = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
[steps.few_shot]
k = [4, 8]
"""
    task = load_task(folder_with(tmp_path, text, schema__json='{"type": "object"}'))
    assert task.name == tmp_path.name
    assert task.models == ("local:small", "openai:large")
    assert task.metric == MetricSpec("micro_f1", {"partial": True})
    assert task.schema == {"type": "object"}
    assert task.target == Target(0.7, 0.1, 2, 0.5, {"language=ilocano": 0.5})
    assert task.economics == Economics(requests_per_month=50_000, months=24)
    assert task.hardware == Hardware(dollars_per_hour=1.25)
    assert (task.data.input, task.data.group) == (("title", "body"), "meta.pmid")
    assert task.steps == {"few_shot": {"k": [4, 8]}}
    assert (task.slices, task.max_output_tokens, task.seed) == (("language",), 64, 7)


@pytest.mark.parametrize(
    ("old", "new", "place", "said", "cure"),
    [
        ("score = 0.8", "# score = 0.8", "task.toml:13", "score is not set", "score = 0.85"),
        ("score = 0.8", "score = 80", "task.toml:14", "less than or equal to 1", "at most 1"),
        ("score = 0.8", "score = 0", "task.toml:14", "greater than 0", "above 0"),
        ("score = 0.8", 'score = "high"', "task.toml:14", "number", "score = 0.85"),
        ("score = 0.8", "score = 0.8\nalpha = 0.5", "task.toml:15", "less than 0.5", "alpha"),
        ("score = 0.8", "score = 0.8\nalpha = nan", "task.toml:15", "alpha", "alpha"),
        ("score = 0.8", "score = 0.8\nscor = 1", "task.toml:15", "'target.scor'", "'score'"),
        ("score = 0.8", "score = 0.8\nfloors = {a = 0.3}", "task.toml:15", "'a' is neither", ""),
        ("[target]", 'also_measured = "rouje"\n[target]', "task.toml:13", "'rouje'", "'rouge'"),
        ('kind = "class', 'kind = "klass', "task.toml:2", "'classification'", "kind ="),
        ('metric = "acc', 'metric = "ac', "task.toml:7", "'acuracy'", "'accuracy'"),
        ('metric = "accuracy"', "metric = 3", "task.toml:7", "table", "accuracy"),
        ('"no",', "3,", "task.toml:8", "labels.1", "labels = "),
        ('"no",', '"yes",', "task.toml:8", "'yes' is given twice", "remove"),
        ('"no",', "", "task.toml:8", "two labels", "labels_file"),
        ("examples =", "exampels =", "task.toml:17", "'data.exampels'", "'examples'"),
        ('"examples.jsonl"', '"more.jsonl"', "task.toml:17", "no file 'more.jsonl'", "name"),
        ("[data]", "[data]\nfractions = [0.6, 0.2, 0.1]", "task.toml:17", "0.9", "0.2]"),
        ("[data]", "[data]\nfractions = [0.8, 0.2, 0.0]", "task.toml:17", "above 0", "0.2]"),
        ("[data]", '[data]\ntrain = "a.csv"', "task.toml:16", "exclude", "examples"),
        ("[data]", f"[data]\nsha256 = {{b = '{'0' * 64}'}}", "task.toml:16", "'b'", "examples"),
        ("[data]", "[data]\nsha256 = {b = 'x'}", "task.toml:17", "sha256.b", ""),
        ("[data]", "[data]\nlimit = 0", "task.toml:17", "greater than 0", "limit = "),
        ("[data]", "[data]\ninput = []", "task.toml:17", "at least 1", "input = "),
        ("[target]", '[steps.fewshot]\n[target]', "task.toml:13", "'fewshot'", "'few_shot'"),
        ("[target]", '[schema]\ntype = "thing"\n[target]', "task.toml:13", "'thing'", "type"),
        ("[target]", 'schema_file = "s.json"\n[target]', "task.toml:13", "no file", ""),
        ("[target]", "max_output_tokens = 0\n[target]", "task.toml:13", "greater", "256"),
        ("[target]", "seed = -1\n[target]", "task.toml:13", "greater", "seed = 0"),
        ("[target]", 'model = "gpt"\n[target]', "task.toml:13", "for instance 'gemini:", "model"),
        ("[target]", 'models = ["gpt"]\n[target]', "task.toml:13", "who provides it", "models"),
        ("[target]", 'prompt_model = "A:b"\n[target]', "task.toml:13", "provider:name", "_model"),
        ("[target]", 'model="a:b"\nmodels=["a:b"]\n[target]', "task.toml:14", "exclude", "one"),
        ("[target]", 'labels_file = "l.txt"\n[target]', "task.toml:13", "given twice", "one"),
        ("[target]", '[label_descriptions]\nmaybe = "?"\n[target]', "task.toml:14", "maybe", "no"),
        ('name = "mail"', "name = mail", "task.toml:1:8", "not TOML", "quotes"),
        ("[data]", "[data", "task.toml:16", "not TOML", "quotes"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_cure(
    tmp_path: Path, old: str, new: str, place: str, said: str, cure: str
) -> None:
    assert old in GOOD
    error = complaint(folder_with(tmp_path, GOOD.replace(old, new, 1)))
    assert f"{place}:" in error.message
    assert said in error.message
    assert cure in error.hint


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("score = 0.8", "score = 2\nalpha = 2").replace("kind = ", "knd = ")
    message = complaint(folder_with(tmp_path, text)).message
    assert [line.split(": ")[0] for line in message.splitlines()] == [
        "task.toml", "task.toml:14", "task.toml:15", "task.toml:2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["../other.jsonl", "/etc/hosts", "https://example.org/a.csv", "a\\\\b.csv", ".", "a/../.."],
)
def test_paths_stay_inside_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path.parent / "other.jsonl").write_text("", "utf-8")
    error = complaint(folder_with(tmp_path, GOOD.replace("examples.jsonl", name)))
    assert "task.toml:17: data.examples" in error.message
    assert "inside" in error.hint


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    secret = tmp_path / "secret.jsonl"
    secret.write_text("{}", "utf-8")
    folder = folder_with(tmp_path / "task", GOOD.replace("examples.jsonl", "link.jsonl"))
    os.symlink(secret, folder / "link.jsonl")
    assert "leads out" in complaint(folder).message
    os.symlink(folder / "examples.jsonl", folder / "kept.jsonl")
    assert inside(folder, "kept.jsonl") == (folder / "examples.jsonl").resolve()


def test_labels_come_from_files_too(tmp_path: Path) -> None:
    text = GOOD.replace('labels = [\n    "yes",  # a bracket ] in a comment\n    "no",\n]', "{}")
    lines = load_task(
        folder_with(tmp_path, text.replace("{}", 'labels_file = "l.txt"'), l__txt="a b\n\nc \n")
    )
    assert lines.labels == ("a b", "c")
    described = folder_with(
        tmp_path, text.replace("{}", 'labels_file = "l.json"'), l__json='{"a": "first", "b": "z"}'
    )
    task = load_task(described)
    assert (task.labels, task.label_descriptions) == (("a", "b"), {"a": "first", "b": "z"})
    (described / "l.json").write_text('{"a": 1}', "utf-8")
    assert "l.json" in complaint(described).message
    (described / "l.json").write_text("3", "utf-8")
    assert "l.json" in complaint(described).message
    (described / "l.json").write_bytes(b"\xff\xfe")
    assert "l.json" in complaint(described).message


def test_a_table_of_labels_describes_them(tmp_path: Path) -> None:
    text = GOOD.replace("labels = [", "[labels]\nyes = 'agreed'\nno = ''\n# [").replace(
        '    "yes",  # a bracket ] in a comment\n    "no",\n]\n', ""
    )
    task = load_task(folder_with(tmp_path, text))
    assert (task.labels, task.label_descriptions) == (("yes", "no"), {"yes": "agreed"})


def test_a_broken_schema_file_is_named(tmp_path: Path) -> None:
    text = GOOD.replace("[target]", 'schema_file = "s.json"\n[target]')
    folder = folder_with(tmp_path, text, s__json="{")
    assert "s.json is not JSON" in complaint(folder).message
    (folder / "s.json").write_text(json.dumps({"properties": 3}), "utf-8")
    assert "s.json: not a JSON schema: properties" in complaint(folder).message
    (folder / "task.toml").write_text(text.replace("[target]", "[schema]\n[target]"), "utf-8")
    assert "given twice" in complaint(folder).message


def test_a_metric_of_the_users_own_is_let_through(tmp_path: Path) -> None:
    text = GOOD.replace('"accuracy"', '"house_rules"')
    folder = folder_with(tmp_path, text)
    assert "metrics.py" in complaint(folder).hint
    (folder / "metrics.py").write_text("def house_rule(): ...", "utf-8")
    assert "did you mean 'house_rule'?" in complaint(folder).hint
    (folder / "metrics.py").write_text("def house_rules(): raise Exception", "utf-8")
    assert load_task(folder).metric.name == "house_rules"


def test_a_folder_without_a_task_says_how_to_begin(tmp_path: Path) -> None:
    error = complaint(tmp_path / "nowhere")
    assert "nowhere" in error.message
    assert "stepladder init" in error.hint


def test_bytes_that_are_no_text_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_bytes(b"\xef\xbb\xbfname = 'x'\nkind = '\xff'\n")
    assert complaint(tmp_path).message == "task.toml:2: not UTF-8"
    (tmp_path / "task.toml").write_bytes(b" " * (5 * 2**20))
    assert "more than" in complaint(tmp_path).message


def test_loading_a_task_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from stepladder.task import load_task;"
        f"load_task(Path({str(folder_with(tmp_path, GOOD))!r}));"
        "heavy = {'torch', 'transformers', 'scipy', 'sklearn', 'pyarrow'} & sys.modules.keys();"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_floors_may_name_what_is_measured_beside_the_metric(tmp_path: Path) -> None:
    beside = 'also_measured = ["groundedness", {name = "abstention", of = "recall"}]\n[target]'
    floors = 'score = 0.8\nfloors = {groundedness = 0.9, abstention_recall = 0.5, "a=b" = 0.1}'
    text = GOOD.replace("[target]", beside).replace("score = 0.8", floors)
    task = load_task(folder_with(tmp_path, text))
    assert task.also_measured == (
        MetricSpec("groundedness"),
        MetricSpec("abstention", {"of": "recall"}),
    )
    assert task.target.floors == {"groundedness": 0.9, "abstention_recall": 0.5, "a=b": 0.1}
