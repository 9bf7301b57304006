"""The page in a real browser: opened from disk, without a network."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dissensus.evaluation.join import join
from dissensus.evaluation.scorecard import score
from dissensus.records import Margin, Metric, Pair, Prediction, Votes
from dissensus.reports.judge_data import Judged, JudgeSummary, Verdicts
from dissensus.reports.page import render
from dissensus.run_records import RunManifest
from dissensus.stats.resampling.intervals import Estimate

from .opening import NEEDS_CHROMIUM, opened
from .payloads import PAYLOADS

pytestmark = NEEDS_CHROMIUM
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def run(full_run):
    """The hostile run with what else a finished study has."""
    pairs = full_run.joined.pairs
    margin = Margin(pair_id=pairs[0].id, margin=0.25, n_judgments=8, n_invalid=2)
    verdicts = {pairs[0].id: [Verdicts("judge", {"ab": [3, 1, 0, 1], "ba": [2, 2, 1, 0]}, 0.6, "Choice: A", margin)]}
    summary = JudgeSummary("judge", 80, 800, 0.05, Estimate(0.55, 0.5, 0.6), 70, Estimate(0.2, 0.1, 0.3), 0.1)
    return replace(full_run, judged=Judged([summary], verdicts))


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(run), encoding="utf-8")
    return path


def panel(page):
    return page.locator(".pair")


def chosen(page):
    return panel(page).locator("code").inner_text()


@pytest.fixture(scope="module")
def page(browser, file):
    """The page on a desk, opened once; each test leaves all models and data sets chosen."""
    with opened(browser, file) as page:
        yield page


def _downloaded(page, button):
    with page.expect_download() as download:
        page.locator(button).first.click()
    text = Path(download.value.path()).read_bytes().decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline="")))


def test_it_opens_from_disk_alone_and_says_nothing_to_the_console(page, file):
    assert page.locator(".scatter").count() == 2
    page.mouse.wheel(0, 5000)
    page.wait_for_function("scrollY > 0")
    # The file itself and its inline pictures.
    assert [what for what in page.seen.wrong if not what[1].startswith(("data:", file.as_uri()))] == []


def test_a_click_on_a_point_shows_its_pair_in_every_model(page, run):
    before = chosen(page)
    mark = page.locator(".scatter").nth(1).locator(".mark").nth(17)
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    pair = next(p for p in run.joined.pairs if p.id == chosen(page))
    assert pair.id != before
    text = panel(page).inner_text()
    for said in (pair.prompt, f"{pair.votes.a} for a", f"{pair.votes.b} for b", "1.50 · 1.50", "−0.25 · −0.25"):
        assert said in text
    at = [page.locator(".scatter").nth(k).locator('.mark[aria-pressed="true"]').count() for k in (0, 1)]
    assert at == [1, 1]
    assert page.locator(".ring[visibility=visible]").count() == 2


def test_the_keyboard_alone_reaches_points_and_pairs(page):
    label_of_focus = "document.activeElement.getAttribute('aria-label')"
    page.locator(".all-pairs").focus()
    page.keyboard.press("Tab")
    first = page.evaluate(label_of_focus)
    assert re.match(r"people \d?\.\d+, predicted ", first)
    place = "(({ at }) => at)(document.activeElement)"
    page.locator(".mark").nth(30).focus()
    for key, axis, way in (("ArrowRight", 0, 1), ("ArrowRight", 0, 1), ("ArrowUp", 1, -1)):
        start = page.evaluate(place)
        page.keyboard.press(key)
        assert way * (page.evaluate(place)[axis] - start[axis]) >= 0
    label = page.evaluate(label_of_focus)
    assert label != first
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.classList.contains('pair')")
    assert label.split(": ")[1][:9] in panel(page).inner_text()
    page.keyboard.press("Escape")
    assert page.evaluate(label_of_focus) == label
    # One stop of the Tab key for a whole plot.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.scatter') !== document.querySelector('.scatter')")


def test_lists_and_notes_lead_to_what_they_are_of(page):
    button = page.locator("button.open").nth(3)
    button.click()
    assert button.inner_text() in panel(page).inner_text()
    panel(page).get_by_text("Back to where you were").click()
    assert page.evaluate("document.activeElement.className") == "open"
    link = page.locator("a.fn").first
    link.focus()
    page.keyboard.press("Enter")
    assert page.locator(link.get_attribute("href")).is_visible()
    assert page.evaluate("location.hash") == link.get_attribute("href")


def test_judgments_and_replies_are_shown(page, run):
    places = page.evaluate("JSON.parse(document.querySelector('script.data').textContent).pairs.map((p) => p.id)")
    page.locator(".mark").nth(places.index(run.joined.pairs[0].id)).focus()
    page.keyboard.press("Enter")
    text = panel(page).locator(".judges").inner_text()
    assert "a shown first: 3 for a, 1 for b, 1 invalid; b shown first: 2 for a, 2 for b, 1 a tie" in text
    assert "margin .250 (8 valid judgments, 2 invalid)" in text
    assert "Choice: A" in text
    page.locator(".mark").nth(places.index(run.joined.pairs[1].id)).focus()
    page.keyboard.press("Enter")
    assert panel(page).locator(".judges").inner_text() == "Judges: not judged"


def test_the_file_of_pairs_has_what_is_chosen_and_names_its_columns(page, run, hostile):
    header, *everything = _downloaded(page, ".all-pairs")
    assert header[6:9] == ["predicted: base", f"predicted: {hostile}", "judge margin"]
    assert len(set(header)) == len(header)
    assert len(everything) == 80
    assert {row[8] for row in everything} == {"", "0.25"}
    page.locator(".by-set").select_option(label="set 2")
    page.locator(".by-model").select_option("1")
    assert page.locator(".scatter:visible").count() == 1
    header, *chosen_rows = _downloaded(page, ".all-pairs")
    assert header[6:8] == [f"predicted: {hostile}", "prompt"]
    assert {row[1] for row in chosen_rows} == {"set 2"}
    assert len(chosen_rows) == sum(pair.dataset == "set 2" for pair in run.joined.pairs)
    page.locator(".by-set").select_option("")
    page.locator(".by-model").select_option("")


def test_tables_can_be_downloaded(page, run):
    rows = _downloaded(page, 'button.csv[data-name="pearson"]')
    assert rows[0][:5] == ["Pairs", "n", "value: base", "low: base", "high: base"]
    assert {len(row) for row in rows} == {len(rows[0])}
    wanted = ("base", "all", "pearson_within", None)
    value = next(m for m in run.metrics if (m.model, m.group, m.metric, m.baseline) == wanted)
    assert float(rows[1][2]) == pytest.approx(value.value, abs=1e-6)
    for rows in page.evaluate("[...document.querySelectorAll('.tabled table')].map((table) => tableRows(table))"):
        assert {len(row) for row in rows} == {len(rows[0])}


def _long_names(run):
    """The run with models of ordinary, long names."""
    names = {"base": "bradley-terry-reward-model-of-everybody"}
    metrics = [
        row.model_copy(
            update={
                "model": names.get(row.model, row.model),
                "baseline": row.baseline and names[row.baseline],
                # Small differences have the longest tick labels.
                **(
                    {f: v and v / 40 for f in ("value", "low", "high") for v in [getattr(row, f)]}
                    if row.baseline
                    else {}
                ),
            }
        )
        for row in run.metrics
    ]
    predicted = {names.get(model, model): rows for model, rows in run.joined.predicted.items()}
    return replace(run, metrics=metrics, joined=replace(run.joined, predicted=predicted))


def test_words_lie_inside_their_figures_and_not_on_each_other(browser, page, run, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(render(_long_names(run)), encoding="utf-8")
    with opened(browser, path) as long_names:
        for shown in (page, long_names):
            outside, colliding = shown.evaluate(
                """() => {
                    const outside = [], colliding = [];
                    for (const svg of document.querySelectorAll('figure svg:has(text)')) {
                        const frame = svg.getBoundingClientRect();
                        const words = [...svg.querySelectorAll('text')]
                            .map((text) => [text.textContent, text.getBoundingClientRect()]);
                        for (const [text, { left, right, top, bottom }] of words) {
                            const inside = left >= frame.left - 1 && right <= frame.right + 1;
                            if (!inside || top < frame.top - 1 || bottom > frame.bottom + 1) outside.push(text);
                        }
                        words.forEach(([text, p], i) => words.slice(0, i).forEach(([other, q]) => {
                            const across = Math.min(p.right, q.right) - Math.max(p.left, q.left);
                            const down = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
                            if (across > 1 && down > 3) colliding.push([text, other]);
                        }));
                    }
                    return [outside, colliding];
                }"""
            )
            assert outside == []
            assert colliding == []


@pytest.fixture(scope="module")
def two(run, tmp_path_factory):
    """The page of two runs, of which the second has predictions without rewards."""
    brief = replace(run, metrics=[row for row in run.metrics if row.group == "all"], logs={})
    alone = [row.model_copy(update={"reward_a": None, "reward_b": None}) for row in run.predictions]
    path = tmp_path_factory.mktemp("two") / "report.html"
    path.write_text(render(brief, replace(brief, predictions=alone)), encoding="utf-8")
    return path


OPEN_ALL = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_nothing_of_weight(browser, file, two, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with opened(browser, {"dark": file, "light": two}[scheme], color_scheme=scheme, bypass_csp=True) as page:
        page.evaluate(OPEN_ALL)
        serious = [v for v in axe.Axe().run(page).response["violations"] if v["impact"] != "minor"]
        assert [(v["id"], v["nodes"][0]["html"][:300], v["nodes"][0]["failureSummary"]) for v in serious] == []


def test_two_runs_stand_side_by_side_and_predictions_may_lack_rewards(browser, two):
    with opened(browser, two, viewport=PHONE) as page:
        assert page.get_by_text("All runs were tested on the same pairs").is_visible()
        assert page.locator(".pair").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        first, second = (panel(page).nth(k).inner_text() for k in (0, 1))
        assert "1.50 · 1.50" in first
        assert "1.50" not in second
        assert "Without rewards, as its predictions are preferences alone: base" in second
        assert [what for what in page.seen.wrong if what[0] != "request"] == []


def test_a_phone_scrolls_down_only_and_paper_cuts_nothing_off(browser, file):
    with opened(browser, file, viewport=PHONE, color_scheme="dark") as page:
        page.evaluate(OPEN_ALL)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        # A4 on its side, less the margins.
        page.set_viewport_size({"width": 1030, "height": 700})
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("document.querySelector('.choices').checkVisibility()") is False
        assert page.evaluate("document.documentElement.scrollWidth") == 1030
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_without_scripts_the_rest_is_there(browser, file):
    with opened(browser, file, java_script_enabled=False) as page:
        assert page.locator("figure svg").count() > 5
        assert page.get_by_text("The marks need scripts").is_visible()
        assert page.locator("button.csv:visible").count() == 0


# --- data that attacks -------------------------------------------------------------------------------------------


def _attack(run):
    """A run whose every field of data is a payload; names, of which there are few, are many payloads at once."""
    everything = "\n".join([*PAYLOADS, "\ud800"])
    sets = ["".join(PAYLOADS[k::20]) for k in range(20)]
    pairs = [
        Pair(
            id=f"{text}{k}", prompt=text, response_a=text * 2, response_b=f"{text}!", dataset=sets[k % 20], domain="in",
            category=sets[-1 - k % 20], group=f"{text}{k}", votes=Votes(a=k % 5, b=5 - k % 5),
        )
        for k, text in enumerate(PAYLOADS)
    ]  # fmt: skip
    names = ["base", *("".join(PAYLOADS[k::2]) for k in range(2))]
    rng = np.random.default_rng(0)
    predictions = [
        Prediction(pair_id=p.id, model=m, seed=0, reward_a=0, reward_b=0, preference_a=float(rng.random()))
        for m in names
        for p in pairs
    ]
    metrics = score(join(pairs, predictions), baseline="base", n_resamples=0, n_swaps=0)
    metrics = [row for row in metrics if row.metric in ("pearson", "l1")]
    metrics = [row.model_copy(update={"notes": (everything,)}) if row.metric == "l1" else row for row in metrics]
    metrics += [Metric(model=x, group="all", metric="l1", value=0.2, n=9, kind="reference") for x in sets[:9]]
    metrics += [Metric(model=everything, group="all", metric="pearson", value=0.2, n=9, kind="judge")]
    summary = JudgeSummary(everything, 9, 90, 0.1, None, 0, None)
    verdicts = {p.id: [Verdicts(p.prompt, {"ab": [1, 2, 0, 1]}, 0.5, p.prompt * 20)] for p in pairs}
    manifest = {
        "title": everything, "name": everything, "command": everything, "git_commit": everything,
        "created": everything, "environment": {everything: everything},
        "inputs": [{"path": everything, "sha256": everything, "rows": 3}],
        "stages": [{"name": everything, "fingerprint": everything}, {"name": "judge", "counts": {"judge": everything}}]
        + [{"name": text, "outputs": {text: text}} for text in PAYLOADS],
        "config": {"models": {everything: {"model": everything, "objective": everything}}, "seeds": [0]},
    }  # fmt: skip
    return replace(
        run, name=everything, manifest=RunManifest.model_validate(manifest), config=everything, metrics=metrics,
        joined=join(pairs, predictions), predictions=predictions, judged=Judged([summary], verdicts), missing=PAYLOADS,
        logs={name: {everything: run.logs["base"]["0"]} for name in names},
    )  # fmt: skip


def test_a_hundred_payloads_in_every_field_of_two_runs_do_nothing(browser, run, tmp_path, monkeypatch):
    """Without the policy, too; and a spreadsheet gets no formulas."""
    assert len(set(PAYLOADS)) >= 100
    # Names of kilobytes make a page from which pairs would be left out.
    monkeypatch.setattr("dissensus.reports.page.LIMIT", 10**8)
    attack = _attack(run)
    brief = replace(attack, metrics=[row for row in attack.metrics if row.group == "all"], logs={})
    path = tmp_path / "report.html"
    path.write_text(render(attack, brief), encoding="utf-8")
    with opened(browser, path, bypass_csp=True) as page:
        count = "[...document.querySelectorAll('script, iframe, img, object, embed, link, base, form, style')].length"
        before = page.evaluate(count)
        assert before == 1 + 1 + 2 * 2  # our style and script; for each run its data and the form of choices
        page.evaluate(OPEN_ALL)
        page.evaluate("document.querySelectorAll('.scatter:first-of-type .mark').forEach((m) => { m.focus(); })")
        shown = page.evaluate(
            """() => [...document.querySelector('.scatter').querySelectorAll('.mark')].map((mark) => {
                mark.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }));
                return document.querySelector('.pair .text').textContent;
            })"""
        )
        expected = {re.sub("[\x00-\x08\x0b-\x1f]", "\ufffd", text.replace("\r\n", "\n")) for text in PAYLOADS}
        assert set(shown) == expected
        page.wait_for_timeout(300)
        assert page.evaluate("window.__xss") is None
        assert page.evaluate(count) == before
        attributes = "[...document.querySelectorAll('*')].flatMap((e) => [...e.attributes].map((a) => a.name))"
        assert not [name for name in page.evaluate(attributes) if name.startswith("on")]
        assert [what for what in page.seen.wrong if not what[1].startswith(("data:image/png", path.as_uri()))] == []
        rows = _downloaded(page, ".all-pairs")
        assert len(rows) == len(PAYLOADS) + 1
        assert {len(row) for row in rows} == {len(rows[0])}
        assert not [cell for row in rows for cell in row if re.match(r"[=+@-](?![\d.]+$)", cell)]


def test_texts_of_a_megabyte_are_cut_where_one_can_see_it(browser, run, tmp_path):
    long = "long \u05d0\u202e" + "x" * 1_000_000
    pairs = [pair.model_copy(update={"prompt": long}) for pair in run.joined.pairs]
    path = tmp_path / "long.html"
    path.write_text(render(replace(run, joined=replace(run.joined, pairs=tuple(pairs)))), encoding="utf-8")
    assert path.stat().st_size < 1_500_000
    with opened(browser, path, viewport=PHONE) as page:
        assert "… 998,507 more characters" in panel(page).inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_thousands_of_pairs_fit_into_three_megabytes(run):
    text = "A sentence of people, <b>emphasis</b> & \u201cquotes\u201d about nothing much. " * 40
    votes = [Votes(a=k % 6, b=5 - k % 6) for k in range(6)]
    pairs = [
        Pair(
            id=f"p{k}", prompt=f"{k} {text}", response_a=text, response_b=text[9:], dataset=f"set {k % 6}",
            votes=votes[k % 6],
        )
        for k in range(3_000)
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    predictions = [
        Prediction(pair_id=p.id, model=m, seed=0, preference_a=float(x))
        for m in ("one", "two", "three")
        for p, x in zip(pairs, rng.random(len(pairs)), strict=True)
    ]
    html = render(replace(run, joined=join(pairs, predictions), predictions=predictions))
    assert len(html.encode("utf-8")) < 3_000_000
    assert "of 3,000 pairs" in html


def test_a_page_of_several_full_runs_shows_less_of_each(run, monkeypatch):
    """Each with enough pairs, groups and logs to fill a page of its own: as eight of them in three megabytes."""
    monkeypatch.setattr("dissensus.reports.page.LIMIT", 3_000_000 * 2 // 8)
    log = [{"step": k, "epoch": k / 99, "nll": 0.7 - k / 500, "accuracy": 0.5 + k / 500} for k in range(100)]
    text = "A sentence of people about nothing much. " * 40
    pairs = tuple(pair.model_copy(update={"response_a": f"{pair.id} {text}"}) for pair in run.joined.pairs)
    metrics = [*run.metrics]
    for k in range(20):
        group = {"group": f"category=of many {k}"}
        metrics += [row.model_copy(update=group) for row in run.metrics if row.group == "all"]
    logs = {name: {str(seed): log for seed in range(3)} for name in run.joined.models}
    big = replace(run, metrics=metrics, joined=replace(run.joined, pairs=pairs), logs=logs)
    html = render(big, big)
    assert len(html.encode("utf-8")) <= 3_000_000 * 2 // 8
    assert "So that a page of 2 runs stays small, it shows fewer pairs and leaves out " in html
