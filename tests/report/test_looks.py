"""How the page is read, copied and walked through, on a desk and on a phone."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dissensus.files.formula_escape import ESCAPED, restore_cells
from dissensus.records import Metric
from dissensus.reports.page import render
from dissensus.run_records import NOTHING_NOTED

from .opening import NEEDS_CHROMIUM, opened

pytestmark = NEEDS_CHROMIUM
PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1280, "height": 800}
NAMES = ("bradley-terry", "margin", "blend", "soft")


def _renamed(row, model):
    return row.model_copy(update={"model": model, "baseline": row.baseline and NAMES[0]})


@pytest.fixture(scope="module")
def four(full_run, hostile):
    """The full run with ordinary names and four models; every value has two notes."""
    rows = []
    for row in full_run.metrics:
        rows += [_renamed(row, model) for model in {"base": NAMES[:1], hostile: NAMES[1:]}.get(row.model, [row.model])]
    rows = [row.model_copy(update={"notes": ("few prompts", "seeds differ")}) if row.value else row for row in rows]
    return replace(
        full_run, metrics=rows, manifest=NOTHING_NOTED, name="Four objectives", logs={}, joined=None, predictions=[]
    )


@pytest.fixture(scope="module")
def file(four, tmp_path_factory):
    path = tmp_path_factory.mktemp("looks") / "report.html"
    path.write_text(render(four), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def desk(browser, file):
    with opened(browser, file, viewport=LAPTOP) as page:
        yield page


@pytest.fixture(scope="module")
def phone(browser, file):
    with opened(browser, file, viewport=PHONE) as page:
        yield page


def _select(page, selector):
    return page.evaluate(
        """(selector) => {
            getSelection().selectAllChildren(document.querySelector(selector));
            return getSelection().toString();
        }""",
        selector,
    )


def test_marks_of_notes_are_seen_and_not_copied(desk, four):
    cell = "#s0-l1 tr.all td.v"
    assert desk.locator(f"{cell} a.fn").count() >= 2
    value = next(r.value for r in four.metrics if (r.model, r.metric, r.group) == (NAMES[0], "l1", "all"))
    first = desk.locator(cell).first
    for copied in (_select(desk, cell), first.inner_text(), first.text_content()):
        assert copied.split("[")[0].strip() == f"{value:.3f}"[1:]
    seen = "getComputedStyle(document.querySelector('a.fn'), '::after').content"
    assert desk.evaluate(seen) in ('"1"', "attr(data-n)")
    assert desk.locator("a.fn").first.get_attribute("aria-label") == "note 1"


def test_a_row_is_copied_as_numbers_and_brackets_alone(desk):
    copied = _select(desk, "#s0-pearson tr.all")
    assert len(copied.split()) > 10
    words = copied.replace("All pairs, within data sets", "").replace("p < ", "").replace("p ", "").split()
    assert [word for word in words if not re.fullmatch(r"\[?[+−]?\d*\.?\d+[],]?", word)] == []


def test_at_1280_no_column_is_lost(desk):
    for table, title in (("pearson", "Ceiling"), ("l1", "True preferences")):
        last = desk.locator(f"#s0-{table} > .scroll thead th").last
        assert last.inner_text() == title
        assert last.evaluate("(cell) => cell.getBoundingClientRect().right") <= 1280
        assert desk.locator(f"#s0-{table} > .scroll.wide").count() == 0


def test_on_a_phone_the_headline_is_short_and_the_summary_fits(phone):
    lines = "(h) => h.getBoundingClientRect().height / parseFloat(getComputedStyle(h).lineHeight)"
    assert phone.locator("h1").evaluate(lines) < 5.5
    assert phone.locator("#s0-summary .scroll").evaluate("(box) => box.scrollWidth <= box.clientWidth")


def test_what_scrolls_sideways_says_so_and_can_be_reached(phone):
    box = phone.locator("#s0-l1 > .scroll")
    assert box.evaluate("(box) => box.scrollWidth > box.clientWidth")
    assert "Scroll sideways" in box.evaluate("(box) => getComputedStyle(box, '::before').content")
    assert "gradient" in box.evaluate("(box) => getComputedStyle(box).backgroundImage")
    assert (box.get_attribute("tabindex"), box.get_attribute("aria-label")) == ("0", "L1")
    box.focus()
    phone.keyboard.press("ArrowRight")
    phone.wait_for_function("() => document.querySelector('#s0-l1 > .scroll').scrollLeft > 0")


def test_the_contents_lead_to_every_section_and_stay_in_sight(desk):
    targets = [link.get_attribute("href") for link in desk.locator("nav.contents a").all()]
    assert targets == [f"#{one.get_attribute('id')}" for one in desk.locator("main section").all()]
    desk.locator('nav.contents a[href="#s0-metrics"]').click()
    desk.wait_for_function("() => document.querySelector('a[aria-current]')?.hash === '#s0-metrics'")
    bar = desk.locator("nav.contents").bounding_box()
    assert bar["y"] == 0
    assert desk.locator("#s0-metrics h2").bounding_box()["y"] >= bar["height"]


def test_a_run_without_anything_has_no_contents():
    from dissensus.reports.folder.run_reader import RunData

    assert "nav class=" not in render(RunData(name="new"))


def test_downloaded_names_that_a_spreadsheet_would_run_can_be_read_back(browser, four, tmp_path):
    names = {"bradley-terry": "=cmd", "margin": "@x", "blend": "-1", "soft": "+1"}
    rows = [
        row.model_copy(update={"model": names.get(row.model, row.model), "baseline": row.baseline and "=cmd"})
        for row in four.metrics
        if row.group in ("all", "dataset=set 0")
    ]
    rows = [row.model_copy(update={"group": "dataset=+1"}) if row.group != "all" else row for row in rows]
    rows.append(Metric(model="\tjudge", group="all", metric="l1", value=0.3, n=9, kind="judge"))
    path = tmp_path / "page.html"
    path.write_text(render(replace(four, metrics=rows)), encoding="utf-8")
    with opened(browser, path, accept_downloads=True) as page:

        def table(name):
            with page.expect_download() as download:
                page.locator(f'button.csv[data-name="{name}"]').click()
            text = Path(download.value.path()).read_bytes().decode("utf-8-sig")
            return list(csv.DictReader(io.StringIO(text, newline="")))

        seeds = table("summary")
        assert [restore_cells(row)["Model"] for row in seeds][:4] == ["=cmd", "@x", "-1", "+1"]
        assert [row["Model"] for row in seeds][:2] == ["'=cmd", "'@x"]
        groups = table("l1")
        assert [(row["Pairs"], row[ESCAPED]) for row in groups] == [("All pairs", ""), ("'+1", "Pairs")]
        assert float(groups[0]["difference: @x"]) < 1
        assert any(value.startswith("-0.") for row in groups for value in row.values())
        assert "value: =cmd" in groups[0]
