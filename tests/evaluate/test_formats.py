import csv
import io
import json
import re

import pytest

from dissensus.evaluation.scores import ESTIMATES_NOTE, Scores, notes
from dissensus.evaluation.tables.build import group_table, metric_table
from dissensus.evaluation.tables.render import FORMATS, latex_text, markdown_table, render, render_brief, terminal_table
from dissensus.evaluation.tables.table import Table
from dissensus.files.formula_escape import ESCAPED, restore_cells
from dissensus.records import Metric

NASTY = r"a_b & 5% $x$ #1 {y} ~z ^w \end{table} | `c` <script> [d] *"


@pytest.fixture
def rows(make_scorecard):
    extra = [
        Metric(model="one half", group="all", metric="l1", value=0.25, n=9, kind="reference"),
        Metric(model="ceiling", group="all", metric="pearson", value=0.94, n=9, kind="ceiling"),
        Metric(model="margin", group="dataset=prism", metric="brier", value=None, n=9, notes=("a|b is undefined",)),
    ]
    return make_scorecard() + extra


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("against", [None, "paper"])
def test_every_format_writes_every_kind_of_row(rows, form, against):
    text = render(rows, form, against=against)
    assert "margin" in text
    assert "one half" in text
    assert "nan" not in text.lower()
    assert not text.endswith("\n")


@pytest.mark.parametrize("form", FORMATS)
def test_eight_models_with_long_and_nasty_names(make_scorecard, form):
    models = ("base", *(f"{NASTY} number {i} of the eight models" for i in range(8)))
    text = render(make_scorecard(models=models), form, against="paper")
    if form == "terminal":
        assert max(map(len, text.splitlines())) <= 120
    assert text


def test_lines_are_aligned_and_fit_a_terminal(rows):
    text = render(rows, against="paper")
    assert max(map(len, text.splitlines())) <= 120
    header, rule, *body = terminal_table(group_table(Scores(rows), "l1")).splitlines()[1:-1]
    assert len(header) == len(rule)
    assert {line.rstrip("*").rindex("]") for line in body if "]" in line} == {len(rule) - 2}


def test_numbers_stand_below_each_other_with_and_without_a_mark(make_scorecard):
    rows = [r.model_copy(update={"p_holm": 0.5}) if r.group == "domain=in" else r for r in make_scorecard()]
    body = terminal_table(group_table(Scores(rows), "l1")).splitlines()
    marked, unmarked = ([line for line in body if line.endswith(end)] for end in ("]*", "]"))
    assert len(unmarked) == 1
    assert {line.rindex("]") for line in marked + unmarked} == {len(body[2]) - 2}


def test_a_wide_table_is_split_and_each_block_has_the_names(make_scorecard):
    models = tuple(f"model-{i}" for i in range(9))
    text = terminal_table(group_table(Scores(make_scorecard(models=models, baseline="model-0")), "l1"))
    blocks = text.split("\n\n")
    assert len(blocks) > 2
    assert all("  ultrafeedback" in block and "Out-of-domain (OOD)" in block for block in blocks)
    assert all(f"model-{i}" in text for i in range(9))
    for block in blocks[1:]:
        assert block.splitlines()[0].split()[1::2] == ["Δ"] * (len(block.splitlines()[0].split()) // 2)


def test_the_papers_columns_stay_in_one_block(rows):
    blocks = terminal_table(group_table(Scores(rows), "pearson", against="paper")).split("\n\n")
    assert [block.count("paper: ") for block in blocks[:2]] == [0, 4]


def test_control_characters_of_a_name_never_reach_the_terminal(make_scorecard):
    rows = make_scorecard(models=("base", "\x1b[31mred\u202e\nnext"))
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", render(rows))


def test_names_cannot_break_a_markdown_table(make_scorecard, rows):
    assert "| **In-domain (ID)** | |" in markdown_table(group_table(Scores(rows), "pearson"))
    rows = make_scorecard(models=("a|b", "c"), baseline="c")
    for table, bars in ((metric_table(Scores(rows)), 5), (group_table(Scores(rows), "l1"), 6)):
        lines = [line for line in markdown_table(table).splitlines() if line.startswith("|")]
        assert {line.replace("\\|", "").count("|") for line in lines} == {bars}


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b", r"a\_b"),
        ("R&D", r"R\&D"),
        ("5 %", r"5 \%"),
        ("$x$", r"\$x\$"),
        ("#1", r"\#1"),
        ("{y}", r"\{y\}"),
        ("~", r"\textasciitilde{}"),
        ("^", r"\textasciicircum{}"),
        ("\\n", r"\textbackslash{}n"),
        ("−.5", "$-$.5"),
        ("κ ≥", r"$\kappa$ ≥"),
        ("[1]", "{}[1]"),
        ("*", "{}*"),
        ("a\nb", "a b"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("``x''", "`{}`x'{}'"),
        ("?`!`", "?{}`!{}`"),
        (",,x", ",{},x"),
        ("a-b, c", "a-b, c"),
    ],
)
def test_latex_prints_a_text_as_it_stands(text, latex):
    assert latex_text(text) == latex


def tabulars(text):
    return re.findall(r"\\begin\{tabular\}\{@\{\}(l?r*)@\{\}\}\n(.*?)\\end\{tabular\}", text, flags=re.S)


def bare(text):
    """A text without what is escaped."""
    return re.sub(r"\\[&%$#_{}]", "", text)


@pytest.mark.parametrize("models", [("base", "margin"), ("base", NASTY, *(f"m{i}" for i in range(7)))])
def test_the_structure_of_latex_tables(make_scorecard, models):
    text = render(make_scorecard(models=models), "latex", against="paper")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == len(tabulars(text)) > 2
    assert bare(text).count("{") == bare(text).count("}")
    assert bare(text).count("$") % 2 == 0
    for columns, body in tabulars(text):
        assert [body.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
        for line in body.splitlines():
            if line.endswith(r"\\") and not line.startswith(r"\multicolumn"):
                assert bare(line).count("&") == len(columns) - 1
            elif line.startswith(r"\multicolumn"):
                assert line.startswith(rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\textit{{")
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(labels) == len(set(labels))
    assert "]$^{*}$" in text, "marks of significance are raised"
    assert not re.search("[−Δ·—]", text), "signs are mathematics"


def test_csv_has_one_row_per_cell_and_reads_back(rows):
    text = render(rows, "csv")
    read = list(csv.DictReader(io.StringIO(text)))
    assert list(read[0])[:4] == ["table", "section", "row", "column"]
    found = [r for r in read if r["table"] == "pearson" and r["group"] == "dataset=prism" and r["model"] == "margin"]
    assert [r["baseline"] for r in found] == ["", "base"]
    assert (found[0]["section"], found[0]["row"], found[1]["column"]) == ("Out-of-domain (OOD)", "prism", "Δ")
    fields = {name: found[1][name] or None for name in Metric.model_fields if name != "notes"}
    assert Metric.model_validate(fields, strict=False) in rows


def test_json_reads_back(rows):
    read = json.loads(render(rows, "json", against="paper"))
    pearson = read["tables"][0]
    assert (pearson["name"], pearson["rows"][0]["section"], pearson["rows"][0]["row"]) == (
        "pearson", "In-domain (ID)", "webgpt",
    )  # fmt: skip
    cells = {cell["column"]: cell for cell in pearson["rows"][0]["cells"]}
    assert cells["paper: baseline"]["value"] == 0.677
    assert cells["n"]["value"] == 25
    fields = {k: v for k, v in cells["base"].items() if k != "column"}
    assert Metric.model_validate(fields) in rows
    assert read["notes"] == ["prism: a|b is undefined"]


def test_a_table_of_plain_text_needs_no_sections():
    table = Table("T", ("", "x"), (("a", "1"), ("b", None)))
    assert terminal_table(table).splitlines() == ["T", "   x", "────", "a  1", "b  —"]
    with pytest.raises(ValueError, match="under a header of 2"):
        Table("T", ("", "x"), (("a",),))


def test_nothing_to_show():
    assert render([]) == ""
    assert json.loads(render([], "json")) == {"tables": [], "notes": []}


def test_csv_holds_no_formulas_and_gives_every_name_back(make_scorecard):
    """Numbers below zero stay numbers; what was escaped is named in the last column."""
    names = ("=cmd", "+1", "-0.5", "@x", "\trun", "'quoted", 'a,"b"\nc')
    rows = make_scorecard(models=names)
    rows = [r.model_copy(update={"group": "dataset=+1"}) if r.group.startswith("dataset") else r for r in rows]
    written = list(csv.DictReader(io.StringIO(render(rows, "csv"), newline="")))
    cells = [value for row in written for name, value in row.items() if name not in ("value", "low", "high")]
    assert not [value for value in cells if value.startswith(tuple("=+-@\t\r"))]
    assert {restore_cells(row)["model"] for row in written} >= set(names)
    assert {restore_cells(row)["row"] for row in written} >= {"+1"}
    below = [row for row in written if row["value"].startswith("-")]
    assert below
    assert all(float(row["value"]) < 0 and "value" not in row[ESCAPED].split() for row in below)


@pytest.mark.parametrize("against", [None, "paper"])
@pytest.mark.parametrize("form", FORMATS)
def test_what_is_said_of_estimates_does_not_stand_under_the_votes(rows, form, against):
    estimated = [
        r.model_copy(update={"target": "dawid-skene", "notes": (ESTIMATES_NOTE,)})
        for r in rows
        if r.metric == "pearson"
    ]
    assert notes(Scores([*rows, *estimated])) == notes(Scores(rows))
    if form not in ("csv", "json"):
        assert ESTIMATES_NOTE not in render([*rows, *estimated], form, against=against)
    assert ESTIMATES_NOTE not in render_brief([*rows, *estimated])
    assert "Dawid-Skene" in render([*rows, *estimated])


def test_a_note_on_a_rule_that_was_asked_for_is_still_said(rows):
    own = [r.model_copy(update={"target": "quorum", "notes": ("quorum: on 3 of 9 pairs",)}) for r in rows]
    assert "quorum: on 3 of 9 pairs" in render([*rows, *own])


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("~~old~~ & &lt;b&gt; $x$ #1", r"\~\~old\~\~ \& \&lt;b\&gt; \$x\$ \#1"),
        ("- item", r"\- item"),
        ("+ item", r"\+ item"),
        ("1. item", r"1\. item"),
        ("12) item", r"12\) item"),
        ("1.5 to -2 - x", "1.5 to -2 - x"),
    ],
)
def test_no_mark_of_markdown_is_left_a_mark(text, written):
    note = Metric(model="m", group="all", metric="l1", value=0.1, n=3, notes=("x",))
    page = render([note.model_copy(update={"group": f"dataset={text}"})], "markdown")
    assert f"| {written} | 3 |" in page
    assert f"* {written}: x" in page
