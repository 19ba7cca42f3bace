"""The page: complete, safe with hostile data, small, and honest where something is missing."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_up_climb import HOSTILE, fake_decision, fake_run, fake_task

from stepladder.core import Decision, Tried
from stepladder.errors import StoreError
from stepladder.report import decision_html, write_report
from stepladder.report.html import HERE, SCRIPTS, escaped_json, render_report
from stepladder.report.record import decision_record

STATIC = HERE / "static"

SECTIONS = (
    "ladder", "gains", "frontier", "changes", "failures", "learning", "costs", "data", "method",
)  # fmt: skip


class Outline(HTMLParser):
    """What a browser would build: tags with attributes, and the text outside of scripts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self._in == "script" else self.text).append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    return parser


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(fake_decision(), fake_task(), fake_run())


def test_all_sections_are_there_in_order(page: str) -> None:
    ids = [attributes.get("id") for attributes in outline(page).named("h2")]
    assert ids == list(SECTIONS)


def test_the_verdict_comes_first_with_its_numbers(page: str) -> None:
    text = " ".join(" ".join(outline(page).text).split())
    verdict = text.index("is the cheapest way shown to reach 80.0% accuracy")
    assert verdict < text.index("The ladder")
    for figure in ("83.1%", "85.7%", "98.75% confidence", "$0.0081", "$135 a month"):
        assert figure in text


def test_metrics_beside_the_tasks_own_are_in_the_table_of_the_ladder(page: str) -> None:
    assert page.count("groundedness 92.1% (90.0\u201394.0%)") > 0


def test_hostile_data_stays_text(page: str) -> None:
    parsed = outline(page)
    scripts = parsed.named("script")
    assert len(scripts) == 1 + len(SCRIPTS)
    assert parsed.named("img") == []
    assert not any(name.startswith("on") for _, each in parsed.tags for name in each)
    shown = "".join(parsed.text)
    assert HOSTILE in shown  # in a label, an input and a prompt: seen, not run
    assert "49" not in re.findall(r"onerror=alert\(2\)>\u2028(\d\d)", shown)


def test_data_for_the_charts_cannot_end_its_script_element(page: str) -> None:
    parsed = outline(page)
    data = parsed.scripts[0]
    assert not set("<>&\u2028\u2029") & set(data)
    charts = json.loads(data)
    assert set(charts) == {"forest", "gains", "frontier", "learning", "cost_curve", "sensitivity"}
    names = [row["name"] for row in charts["forest"]["data"]["values"]]
    assert any("</script>" in name for name in names)


def test_the_policy_names_each_script_and_forbids_the_network(page: str) -> None:
    policy = outline(page).named("meta")[1]["content"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == len(SCRIPTS)
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_nothing_is_fetched(page: str) -> None:
    for tag, attributes in outline(page).tags:
        for name in ("src", "href", "action", "data-src", "srcset"):
            link = attributes.get(name)
            assert link is None or link.startswith(("#", "data:")), f"{tag} {name}={link}"
    assert "sourceMappingURL" not in page
    assert "url(" not in page[: page.index("</style>")]


def test_charts_have_words_and_tables_carry_what_they_show(page: str) -> None:
    charts = [each for each in outline(page).named("div") if each.get("class") == "chart"]
    assert len(charts) == 6
    assert all(each["role"] == "img" and each["aria-label"] for each in charts)
    assert len(outline(page).named("table")) >= 8


def test_inputs_that_never_end_are_cut_and_the_count_is_said() -> None:
    page = render_report(fake_decision(), fake_task(), fake_run())
    parsed = outline(page)
    assert len([each for each in parsed.named("article") if each.get("class") == "case"]) == 120
    assert re.search(r"120 of the\s+\d+ examples", "".join(parsed.text))
    assert "characters in all)" in page


def test_a_run_of_nothing_still_makes_a_page() -> None:
    page = render_report(Decision("blocked", "no step applies", None, ()), fake_task(), {})
    text = "".join(outline(page).text)
    for said in ("no step applies", "Nothing was measured", "not recorded", "Nothing was trained"):
        assert said in text


@pytest.mark.parametrize("verdict", ["not_met", "undecided"])
def test_other_verdicts_say_what_is_known(verdict: Any) -> None:
    decision = fake_decision(verdict=verdict, chosen=None, examples_needed=340)
    text = "".join(outline(render_report(decision, fake_task(), fake_run())).text)
    assert ("340 fresh test examples" in text) == (verdict == "undecided")
    assert "fine_tune / lora r=16" in text


def test_unknown_dollars_are_called_unknown_and_the_frontier_takes_seconds() -> None:
    decision = fake_decision()
    trials = tuple(
        replace(trial, evaluation=replace(trial.evaluation, dollars_per_1000=None))
        for trial in decision.trials
    )
    decision = replace(decision, trials=trials, chosen=trials[-2], ownership=())
    text = " ".join("".join(outline(render_report(decision, fake_task(), fake_run())).text).split())
    assert "Dollars are unknown" in text
    assert "seconds per request (median)" in text
    assert "Its cost per request is unknown." in text
    assert "$0 per 1,000" not in text


@pytest.mark.parametrize(("able", "said"), [(True, False), (False, True), (None, False)])
def test_a_machine_that_is_slow_for_want_of_bfloat16_is_said(able: bool | None, said: bool) -> None:
    machine = {"cpu": "a laptop's", "cores": 2, "bfloat16": able}
    page = render_report(fake_decision(), fake_task(), fake_run(machine=machine))
    text = " ".join("".join(outline(page).text).split())
    assert ("a laptop's, no units for bfloat16, 2 cores" if said else "a laptop's, 2 cores") in text


def test_rows_that_cannot_be_read_are_said_not_raised() -> None:
    def broken(step: str, name: str, which: str) -> Any:
        raise StoreError("rows.jsonl is damaged")

    text = "".join(outline(render_report(fake_decision(), fake_task(), fake_run(rows=broken))).text)
    assert "rows.jsonl is damaged" in text


def test_the_file_is_written_whole_into_a_folder_or_under_a_name(tmp_path: Path) -> None:
    file = write_report(tmp_path, fake_decision(), fake_task(), fake_run())
    assert file == tmp_path / "report.html"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
    assert file.read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(tmp_path / "missing" / "x.html", fake_decision(), fake_task(), {})


@pytest.mark.parametrize("value", ["</script>", "<!--", "\u2028", {"&": ["\u2029<"]}])
def test_escaped_json_reads_back(value: Any) -> None:
    text = escaped_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_a_notebook_fragment_is_small_and_safe() -> None:
    fragment = decision_html(fake_decision(), fake_task())
    parsed = outline(fragment)
    assert parsed.named("script") == []
    assert parsed.named("img") == []
    assert "Target met" in "".join(parsed.text)
    assert len(fragment) < 10_000


def test_a_report_that_cannot_take_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    (tmp_path / "report.html" / "report.html").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(tmp_path / "report.html", fake_decision(), fake_task(), {})
    assert [each.name for each in (tmp_path / "report.html").iterdir()] == ["report.html"]


def test_hundreds_of_labels_and_unusual_runs_are_laid_out() -> None:
    run = fake_run(
        data={"counts": {"train": 5, "dev": 6}, "labels": {f"label {i}": 1 for i in range(300)},
              "note": [1, 2], "mean length": 18.25},
        budget={"dollars": None, "minutes": None}, started=1_790_000_000, finished="soon",
    )  # fmt: skip
    text = "".join(outline(render_report(fake_decision(), fake_task(), run)).text)
    for said in ("and 260 more labels", "none set", "2026", "soon", "18.25", "1, 2"):
        assert said in text


def test_the_vendored_library_is_what_its_note_says() -> None:
    note = (STATIC / "VENDORED.md").read_text(encoding="utf-8")
    for name in SCRIPTS[:-1]:
        digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
        assert f"`{name}`" in note
        assert digest in note, f"{name} changed: write its version and hash into VENDORED.md"


def test_what_a_step_compared_on_train_is_a_table_in_the_page_and_in_the_record() -> None:
    decision = fake_decision()
    trial = next(one for one in decision.trials if one.candidate.name == "nearest k=20")
    tried = (
        Tried(f"words {HOSTILE}", {"recall@5": (0.7, 0.6, 0.8, 300)}, "2,162 passages"),
        Tried("meaning", {"recall@5": (0.5, 0.4, 0.6, 300)}),
        Tried("asked", {"token_f1": (0.25, 0.1, 0.4, 24)}),
    )
    told = replace(trial, candidate=replace(trial.candidate, tried=tried))
    changed = replace(
        decision, trials=tuple(told if one is trial else one for one in decision.trials)
    )
    page = outline(render_report(changed, fake_task(), fake_run()))
    text = " ".join(" ".join(page.text).split())
    assert "compared on train recall@5 words" in text
    assert "compared on train token_f1 asked 25.0%" in text
    record = decision_record(changed, fake_task(), {})
    (kept,) = [one["tried"] for one in record["trials"] if one["tried"]]
    assert kept[1]["scores"]["recall@5"] == {"score": 0.5, "low": 0.4, "high": 0.6, "n": 300}
