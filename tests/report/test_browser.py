"""The report in a real browser: charts drawn, nothing logged, nothing fetched, filters at work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, open_page
from made_up_climb import fake_decision, fake_run, fake_task

from stepladder.report import write_report

pytestmark = pytest.mark.slow

DRAWN = "document.querySelectorAll('.chart[data-drawn] svg').length"
CHARTS = "document.querySelectorAll('.chart').length"
SEEN = "document.querySelectorAll('article.case:not([hidden])').length"
PAINT = "document.querySelector('[data-chart=forest] svg text').getAttribute('fill')"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return write_report(folder, fake_decision(), fake_task(), fake_run())


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with open_page() as page:
        yield page


@pytest.fixture
def page(browser: Page, report: Path) -> Page:
    browser.scripts(True)
    browser.scheme("light")
    browser.size(1280)
    browser.logged.clear()
    browser.requested.clear()
    browser.open(report)
    return browser


def test_every_chart_is_drawn_with_its_marks(page: Page) -> None:
    assert page.run(CHARTS) == 6
    assert page.run(DRAWN) == 6
    marks = "document.querySelectorAll('[data-chart=forest] svg .mark-symbol path').length"
    assert page.run(marks) >= len(fake_decision().trials)


def test_nothing_is_logged_and_nothing_leaves_the_file(page: Page, report: Path) -> None:
    assert page.run(DRAWN) == 6
    assert page.logged == []
    outside = [url for url in page.requested if not url.startswith(("file:", "data:"))]
    assert outside == []
    assert [url for url in page.requested if url.startswith("file:")] == [report.as_uri()]


def test_hostile_data_ran_nothing(page: Page) -> None:
    assert page.run("document.images.length") == 0
    assert page.run("document.scripts.length") == 5
    assert page.run("document.querySelectorAll('b, [onerror]').length") == 0


@pytest.mark.parametrize("width", [360, 500, 1280])
def test_no_screen_scrolls_sideways(page: Page, width: int, report: Path) -> None:
    page.size(width)
    page.open(report)
    assert page.run(DRAWN) == 6
    assert page.run("document.documentElement.scrollWidth") <= width
    too_wide = (
        "[...document.querySelectorAll('.chart')].filter(c => "
        "c.querySelector('svg').getBoundingClientRect().width > c.clientWidth + 1).length"
    )
    assert page.run(too_wide) == 0


def test_charts_follow_the_colour_scheme(page: Page, report: Path) -> None:
    light = page.run(PAINT)
    page.scheme("dark")
    page.open(report)
    assert page.run(DRAWN) == 6
    assert page.run(PAINT) != light


def test_failures_are_filtered_by_solver_kind_and_text(page: Page) -> None:
    assert page.run(SEEN) == 10
    page.run("document.querySelector('button.more').click()")
    assert page.run(SEEN) == 20
    choose = "(() => { const f = document.querySelector('form.filter'); %s;" \
             "f.dispatchEvent(new Event('input', {bubbles: true})); })()"  # fmt: skip
    page.run(choose % "f.which.value = 'first'; f.kind.value = 'did not parse'")
    kinds = page.run(
        "[...document.querySelectorAll('article.case:not([hidden])')].map(c => "
        "[...c.querySelectorAll('[data-solver]:not([hidden])')].map(a => a.dataset.kind))"
    )
    assert kinds
    assert all("did not parse" in pair and "" in pair and len(pair) == 2 for pair in kinds)
    page.run(choose % "f.sought.value = 'nothing like this'")
    assert page.run(SEEN) == 0
    assert "No example" in page.run("document.getElementById('cases-shown').textContent")


def test_without_scripts_the_tables_and_all_answers_are_there(page: Page, report: Path) -> None:
    page.scripts(False)
    page.open(report)
    page.scripts(True)  # to look at it; what the page would have run has not run
    assert page.run(DRAWN) == 0
    assert page.run(SEEN) == 120
    assert page.run("document.querySelectorAll('table').length") >= 8
    assert page.run("document.querySelector('form.filter').hidden") is True


def test_text_has_enough_contrast_in_both_schemes(page: Page, report: Path) -> None:
    """WCAG 2.1, contrast (minimum): 4.5 to 1 for text, on the grounds that it stands on."""
    script = """(() => {
      const style = getComputedStyle(document.documentElement);
      const light = (name) => {
        const hex = style.getPropertyValue(name).trim();
        const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
          .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const pairs = [["ink", "paper"], ["ink", "panel"], ["soft", "paper"], ["soft", "panel"],
        ["soft", "good-wash"], ["accent", "paper"], ["good", "good-wash"], ["bad", "bad-wash"],
        ["warn", "warn-wash"], ["bad", "paper"], ["good", "paper"], ["ink", "warn-wash"]];
      return pairs.map(([a, b]) => {
        const [x, y] = [light("--" + a), light("--" + b)];
        return [a, b, (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05)];
      });
    })()"""
    for scheme in ("light", "dark"):
        page.scheme(scheme)
        page.open(report)
        poor = [pair for pair in page.run(script) if pair[2] < 4.5]
        assert poor == [], scheme
