import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from dissensus.evaluation.evaluate_predictions import evaluate_predictions
from dissensus.evaluation.join import join
from dissensus.evaluation.scores import Scores
from dissensus.records import Prediction, Vote, Votes
from dissensus.reports.folder.run_reader import RunData
from dissensus.reports.group_tables import IntervalBar
from dissensus.reports.methods import methods_paragraph
from dissensus.reports.page import render

from .manifests import noted

LOADING = ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Every tag of a page with its attributes, and the text outside of them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text, self.script = [], [], "", ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open[-1:] == ["script"]:
            self.script = data


@pytest.fixture(scope="module")
def html(run_data):
    return render(run_data)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_nothing_is_loaded_from_anywhere(html, page):
    for _, attributes in page.tags:
        for name in LOADING:
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:image/png;base64,"))
        assert not {name for name in attributes if name == "style" or name.startswith("on")}
    assert page.open == [], "every tag is closed"
    assert not re.search(r"@import|url\((?!#)", html)
    assert "xmlns" not in html


def test_a_policy_forbids_what_escaping_should_already_prevent(page):
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "Content-Security-Policy" in a.values())
    assert re.fullmatch(
        r"default-src 'none'; script-src 'sha256-[\w+/=]{44}'; style-src 'sha256-[\w+/=]{44}'; img-src data:; "
        r"base-uri 'none'; form-action 'none'",
        policy,
    )


def test_names_from_data_are_text_and_never_markup(page, hostile):
    assert not {"img", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [
        {"type": "application/json", "class": "data"},
        {},
    ]
    assert page.text.count("<script>alert") >= 5
    assert hostile in page.text


def test_figures_follow_the_colours_of_the_page(html):
    figures = re.findall(r'<figure class="tabled">.*?</figure>', html, flags=re.DOTALL)
    assert len(figures) == 9
    for figure in figures:
        assert "var(--" in figure
        assert "<summary>Table</summary>" in figure
        assert not re.search(r"#[0-9a-f]{6}\b", figure.split("base64,")[0])


def test_no_nan_and_no_none_in_the_page(page):
    text = page.text.replace(page.script, "")
    assert not re.search(r"\b(nan|None|undefined)\b", text)


def test_one_run_gives_one_small_page(run_data, html):
    assert render(run_data) == html
    assert len(html) < 700_000


def test_an_unfinished_run_says_what_is_missing_and_shows_the_rest(run_data):
    new = Page(render(RunData(name="new", missing=("the manifest (manifest.json)",))))
    assert "Not in this run (yet), or left aside:" in new.text
    assert "Predicted against human preference" in render(replace(run_data, metrics=()))
    html = render(replace(run_data, metrics=(), joined=None, missing=("the scores (scores.json)",)))
    assert "This run has no scores yet." in html
    assert "the scores (scores.json)" in html
    assert "Bradley-Terry NLL" in html
    assert "Predicted against human preference" not in html


ESTIMATES = Votes(a=2, b=0, annotations=(Vote(vote="a", estimate=0.7), Vote(vote="a", estimate=0.9)))


@pytest.mark.parametrize("votes", [Votes(a=1, b=0), Votes(a=0, b=0, tie=2), ESTIMATES])
def test_votes_of_which_nothing_can_be_told_make_a_page_too(run_data, votes):
    """All alike, one each, ties or estimates alone: neither agreement nor a ceiling nor a correlation is defined."""
    pairs = [pair.model_copy(update={"votes": votes}) for pair in run_data.joined.pairs]
    predictions = [
        Prediction(pair_id=pair.id, model=model, reward_a=0, reward_b=0, preference_a=(k * step % 10) / 10)
        for model, step in (("base", 3), ("other", 7))
        for k, pair in enumerate(pairs)
    ]
    metrics = evaluate_predictions(pairs, predictions, baseline="base", n_resamples=20, n_swaps=19)
    html = render(replace(run_data, metrics=metrics, joined=join(pairs, predictions), predictions=predictions))
    assert "undefined: " in html
    page = Page(html)
    assert not re.search(r"\b(nan|None)\b", page.text.replace(page.script, ""))


def test_without_a_baseline_there_is_no_difference(run_data):
    run = replace(run_data, metrics=[m for m in run_data.metrics if m.baseline is None])
    html = render(run)
    assert "Differences by group" not in html
    assert "How closely base and" in html
    assert "How closely" not in methods_paragraph(run, Scores(run.metrics))


def test_bars_keep_their_place_on_one_scale(run_data):
    row = next(m for m in run_data.metrics if m.baseline)
    bar = IntervalBar(row, limit=0.2)
    assert bar.at(0.0) == 50
    assert bar.at(0.1) + bar.at(-0.1) == pytest.approx(100)
    assert bar.at(0.2) > bar.at(0.1)


COUNTS = {"margins": 50, "judgments": 1610, "invalid": 160, "left_out": 11}


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        # 50 margins of nine judgments and an invalid one each.
        (None, "50 of 500 judgments named neither a winner nor a tie, and are no vote. "),
        (COUNTS, "160 of 1,610 judgments named neither a winner nor a tie, and are no vote. 11 pairs have no judgment"),
        (COUNTS | {"left_out": 1}, "1 pair has no judgment that is a vote and is left out of training."),
    ],
)
def test_judgments_that_are_no_votes_are_counted(run_data, counts, said):
    run = run_data if counts is None else noted(run_data, stages=[{"name": "margin", "counts": counts}])
    text = " ".join(Page(render(run)).text.split())
    assert said in text
    assert ("left out of training" in text) == (counts is not None)
