"""How long `check` takes over 100,000 rows, and how much memory: measured from reading on.

The rows are made from a grammar of customer messages, the same every time, with a known number of
faults planted in them (duplicates and near-duplicates across sets, contradictions, wrong labels,
malformed lines); the measurement counts only if all of them are found. Measured with the sets
given in files, and with one file that is split here (where no duplicate may cross the sets).

    python benchmarks/check_100k.py [--rows 100000] [--write benchmarks/results/check_100k.json]
"""

# ruff: noqa: SIM905  (word lists are easier to read as text)

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

OPENERS = ["Hello,", "Hi there,", "Good morning,", "Dear team,", "Quick question:", "Hey,", ""]
SUBJECTS = {
    "card": "card payment top-up cash withdrawal terminal chip PIN contactless limit".split(),
    "transfer": "transfer standing order payee IBAN reference branch deposit recall".split(),
    "account": "account password statement address nationality closure device login".split(),
    "exchange": "rate currency fee dollar euro conversion margin receipt".split(),
    "refund": "refund merchant purchase dispute subscription double charge order".split(),
}
VERBS = "arrived failed vanished bounced changed doubled stopped expired reversed stalled".split()
PLACES = "Lisbon Oslo Kraków Nairobi Lima Osaka Turin Quebec Izmir Cork Hanoi Perth".split()
TIMES = "yesterday,on Monday,last week,two hours ago,this morning,in March,again today".split(",")
ASKS = [
    "Could you tell me what happened?", "What should I do now?", "Please have a look.",
    "How long will this take?", "I would like my money back.", "Is there anything wrong with it?",
]  # fmt: skip
WORDS = (
    "because while although after the app showed nothing and support said wait for it before my "
    "trip abroad with family two friends paid rent late still pending balance looks lower than "
    "expected since new phone was set up shop clerk tried three times without success then gave "
    "receipt number printed small letters under total amount due next month salary comes in"
).split()
FAULTS = 50  # of each sort
SETS = {"train": 0.6, "dev": 0.2, "test": 0.2}


def message(draw: random.Random, label: str, number: int) -> str:
    """About 50 words a customer might write, each message with words of its own."""
    subject, verb = draw.choice(SUBJECTS[label]), draw.choice(VERBS)
    tale = " ".join(draw.choices(WORDS, k=draw.randint(20, 50)))
    opener, ask = draw.choice(OPENERS), draw.choice(ASKS)
    when, where = draw.choice(TIMES), draw.choice(PLACES)
    return (
        f"{opener} my {subject} {verb} {when} in {where} {tale}. {ask} Case {number:07d}.".strip()
    )


def make_rows(rows: int, seed: int = 0) -> dict[str, list[str]]:
    """The lines of each set's file, faults included."""
    draw = random.Random(seed)
    labels = list(SUBJECTS)
    files: dict[str, list[dict[str, object]]] = {name: [] for name in SETS}
    for number in range(rows):
        label = labels[number % len(labels)]
        name = draw.choices(list(SETS), list(SETS.values()))[0]
        text = message(draw, label, number)
        files[name].append({"id": f"row-{number}", "input": text, "output": label})
    train, test = files["train"], files["test"]
    for k in range(FAULTS):
        source = train[k * 7]
        test[k] = {**test[k], "input": str(source["input"]).upper(), "output": source["output"]}
        near = train[k * 7 + 1]
        text = str(near["input"]).replace("my ", "the ", 1)
        test[FAULTS + k] = {**test[FAULTS + k], "input": text, "output": near["output"]}
        clash = train[k * 7 + 2]
        other = labels[(labels.index(str(clash["output"])) + 1) % len(labels)]
        train[k * 7 + 3] = {**train[k * 7 + 3], "input": clash["input"], "output": other}
        test[2 * FAULTS + k]["output"] = "weather"
    lines = {
        name: [json.dumps(row, ensure_ascii=False) for row in of] for name, of in files.items()
    }
    for k in range(FAULTS):
        lines["dev"][k] = lines["dev"][k][:-5]
    return lines


SPLIT_HERE = {
    "malformed row": FAULTS,
    "same input across sets": 0,
    "near-duplicate across sets": 0,
    "contradiction": FAULTS,
    "label outside the set": FAULTS,
}
SETS_GIVEN = SPLIT_HERE | {"same input across sets": FAULTS, "near-duplicate across sets": FAULTS}
DATA = {
    "sets given": 'train = "train.jsonl"\ndev = "dev.jsonl"\ntest = "test.jsonl"',
    "split here": 'examples = "all.jsonl"',
}
EXPECTED = {"sets given": SETS_GIVEN, "split here": SPLIT_HERE}


def write_task(folder: Path, rows: int, how: str) -> int:
    """A task folder with the rows; returns their size in bytes."""
    files = make_rows(rows)
    if how == "split here":
        files = {"all": [line for lines in files.values() for line in lines]}
    for name, lines in files.items():
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "task.toml").write_text(
        f"""name = "customer-messages"
kind = "classification"
instructions = "Say what the message is about."
metric = "accuracy"
labels = {json.dumps(list(SUBJECTS))}
[target]
score = 0.9
[data]
{DATA[how]}
expected = "output"
id = "id"
""",
        "utf-8",
    )
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))


def measure(folder: Path, how: str) -> dict[str, object]:
    """Seconds and peak memory of `check_task` in this process, and what it found."""
    started, busy = time.perf_counter(), time.process_time()
    from stepladder.data.checks import check_task
    from stepladder.task import load_task

    report = check_task(load_task(folder))
    seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    found = {kind: report.counts.get(kind, 0) for kind in EXPECTED[how]}
    if found != EXPECTED[how]:
        raise SystemExit(f"planted {EXPECTED[how]}, found {found}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_bytes": peak,
        "found": found,
    }  # fmt: skip


def main() -> None:
    """Measure in fresh processes, print, and write the record when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        folder, how = options.child
        print(json.dumps(measure(Path(folder), how)))
        return
    load = os.getloadavg()[0]
    runs = {}
    for how in DATA:
        with tempfile.TemporaryDirectory() as folder:
            size = write_task(Path(folder), options.rows, how)
            command = [sys.executable, __file__, "--child", folder, how]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            runs[how] = {"data_bytes": size, **json.loads(out)}
    record = {
        "benchmark": "check_100k",
        "rows": options.rows,
        "runs": runs,
        "limits": {"seconds": 60, "peak_bytes": 2 * 2**30},
        "machine": machine(),
        "load_before": round(load, 1),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
    }
    print(json.dumps(record, indent=2))
    if options.write is not None:
        options.write.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def machine() -> str:
    """The processor, cores and Python of this machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = named[0] if named else platform.processor() or platform.machine()
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}"


def commit() -> str:
    """The commit measured."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
