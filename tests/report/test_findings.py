import pytest

from dissensus.evaluation.scores import Scores
from dissensus.records import Metric
from dissensus.reports.findings import Finding, find_findings, headline, statement
from dissensus.reports.group_tables import IntervalBar
from dissensus.reports.summary import summarise


def rows(clusters=None, **differences):
    """Scores of models against ``base``: name to (low, high) of the difference in Pearson r."""
    made = [Metric(model=m, group="all", metric="pearson", value=0.7, n=9) for m in ("base", *differences)]
    made += [
        Metric(
            model=m,
            group="all",
            metric="pearson",
            value=(a + b) / 2,
            low=a,
            high=b,
            n=9,
            clusters=clusters,
            baseline="base",
        )
        for m, (a, b) in differences.items()
    ]
    return Scores(made)


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ({"blend": (0.01, 0.03)}, "blend follows people more closely than base."),
        ({"blend": (-0.03, -0.01)}, "blend follows people less closely than base."),
        ({"blend": (-0.01, 0.03)}, "blend is not shown to follow people more or less closely than base."),
        ({"a": (-1, 1), "b": (-1, 1)}, "No model is shown to follow people more or less closely than base."),
        (
            {"a": (0.01, 0.02), "b": (0.01, 0.02), "c": (-1, 1), "d": (-0.2, -0.1)},
            "a and b follow people more closely than base; d less closely; for c no difference is shown.",
        ),
        (
            dict.fromkeys("abcd", (0.01, 0.02)) | {"e": (-1, 1)},
            "4 models follow people more closely than base; for e no difference is shown.",
        ),
    ],
)
def test_the_headline_is_one_sentence_that_says_no_more_than_the_intervals(differences, said):
    scores = rows(**differences)
    assert headline(find_findings(scores), scores) == said


@pytest.mark.parametrize(
    ("r", "l1", "said"),
    [
        ((0.01, 0.03), (-0.03, -0.01), "blend follows people more closely than base."),
        ((0.01, 0.03), (-0.03, 0.01), "blend follows people more closely than base."),
        ((-0.01, 0.03), (-0.12, -0.08), "blend follows people more closely than base in L1 alone."),
        ((-0.01, 0.03), (0.08, 0.12), "blend follows people less closely than base in L1 alone."),
        ((0.01, 0.03), (0.01, 0.03), "blend follows people more closely than base in r and less closely in L1."),
        ((-0.03, -0.01), (-0.03, -0.01), "blend follows people less closely than base in r and more closely in L1."),
    ],
)
def test_neither_measure_is_passed_over(r, l1, said):
    scores = Scores([*_difference("pearson", *r), *_difference("l1", *l1)])
    assert headline(find_findings(scores), scores) == said


def test_a_long_name_does_not_fill_the_headline():
    scores = rows(**{"x" * 200: (0.01, 0.02)})
    assert len(headline(find_findings(scores), scores)) < 100


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ({"blend": (0.01, 0.03)}, "blend follows people more closely than base: r rises by .020 [.010, .030]."),
        ({"blend": (-0.03, -0.01)}, "blend follows people less closely than base: r falls by .020 [.010, .030]."),
        (
            {"blend": (-0.01, 0.03)},
            "No difference in r from base is shown for blend: r changes by +.010 [−.010, .030].",
        ),
        (
            {"a": (0.01, 0.02), "b": (0.01, 0.02), "c": (-1, 1)},
            "a and b follow people more closely than base: r rises by .015 [.010, .020] with a; "
            "by .015 [.010, .020] with b. "
            "No difference in r from base is shown for c: r changes by .000 [−1.000, 1.000].",
        ),
    ],
)
def test_the_statement_has_the_numbers(differences, said):
    scores = rows(**differences)
    assert statement(find_findings(scores), scores) == said


def test_few_prompts_make_a_hint_and_not_a_headline():
    scores = rows(clusters=6, blend=(0.01, 0.03))
    assert headline(find_findings(scores), scores) == (
        "blend follows people more closely than base: on only 6 prompts, a hint."
    )
    assert statement(find_findings(scores), scores) == (
        "blend follows people more closely than base: r rises by .020 [.010, .030]. "
        "With only 6 prompts, take that as a hint."
    )
    open_ones = rows(clusters=6, blend=(-0.01, 0.03))
    assert "hint" not in headline(find_findings(open_ones), open_ones)


def _difference(metric, low, high, group="all"):
    own = {"model": "blend", "group": group, "metric": metric, "n": 9}
    return [
        Metric(value=0.5, **{**own, "model": "base"}),
        Metric(value=0.5, **own),
        Metric(value=(low + high) / 2, low=low, high=high, baseline="base", **own),
    ]


def test_the_summary_tells_contested_pairs_apart():
    rows = [*_difference("pearson", 0.01, 0.03), *_difference("pearson", 0.01, 0.05, "contested=yes")]
    rows += [*_difference("l1", -0.01, 0.01), *_difference("l1", -0.01, 0.01, "contested=yes")]
    summary = summarise(Scores(rows))
    everything, contested = summary.sections.values()
    assert [(row.name, row.words) for row in everything.rows] == [("base", "baseline"), ("blend", "closer to people")]
    assert contested.rows[1].differences[0].high == 0.05
    assert summary.limits == [0.05, 0.01]


def test_an_adjusted_p_value_that_says_otherwise_is_told():
    rows = [row.model_copy(update={"p_holm": 0.12 if row.baseline else None}) for row in _difference("l1", 0.01, 0.03)]
    said = "No difference in L1 from base is shown for blend: L1 changes by +.020 [.010, .030] (adjusted p .120)."
    assert said in statement(find_findings(Scores(rows)), Scores(rows))
    assert IntervalBar(rows[-1], 1).verdict == "open"


def test_both_measures_together_make_the_outcome():
    def outcome(r, l1):
        return find_findings(Scores([*_difference("pearson", *r), *_difference("l1", *l1)]))[0].outcome

    up, down, unclear = (0.01, 0.03), (-0.03, -0.01), (-0.03, 0.01)
    assert outcome(up, down) == outcome(unclear, down) == outcome(up, unclear) == "better"
    assert outcome(down, unclear) == outcome(unclear, up) == "worse"
    alone = Scores([*_difference("pearson", *unclear), *_difference("l1", *up)])
    assert summarise(alone).sections["All pairs"].rows[1].words == "further from people, in L1 alone"
    assert (outcome(up, up), outcome(unclear, unclear)) == ("mixed", "open")


def test_where_nothing_can_be_subtracted_the_headline_says_so():
    scores = Scores([*_difference("accuracy", 0.01, 0.03)])
    assert headline(find_findings(scores), scores) == "No difference from base is defined."
    assert statement(find_findings(scores), scores) == "The difference from base is undefined for blend."


def _primary(metric, low, high, p=0.001, role="primary", group="all"):
    *own, difference = _difference(metric, low, high, group)
    return [*own, difference.model_copy(update={"role": role, "p_holm": p if role == "primary" else None})]


def test_what_is_exploratory_is_never_shown_to_differ():
    """Pooled r and Brier are far from zero; the primary metrics are not, and they are what is spoken of."""
    rows = [*_primary("pearson_within", -0.02, 0.04, p=1), *_primary("l1", -0.01, 0.02, p=1)]
    rows += [*_primary("pearson", 0.1, 0.2, role="exploratory"), *_primary("brier", -0.2, -0.1, role="exploratory")]
    scores = Scores(rows)
    assert headline(find_findings(scores), scores) == (
        "blend is not shown to follow people more or less closely than base."
    )
    assert "Brier" not in statement(find_findings(scores), scores)
    assert IntervalBar(rows[-1], 1).verdict == "open"
    assert summarise(Scores(rows)).measures == ["pearson_within", "l1"]


@pytest.mark.parametrize(
    ("accuracy", "brier", "said"),
    [
        ((0.01, 0.03), (-0.03, -0.01), "blend follows people more closely than base."),
        ((-0.01, 0.03), (-0.03, -0.01), "blend follows people more closely than base in Brier score alone."),
        ((0.01, 0.03), (0.01, 0.03), "blend follows people more closely than base in accuracy and less closely in "),
    ],
)
def test_the_headline_follows_the_metrics_that_were_declared(accuracy, brier, said):
    rows = [*_primary("accuracy", *accuracy, p=0.2 if accuracy[0] < 0 else 0.01), *_primary("brier", *brier)]
    rows += [*_primary("pearson", 0.1, 0.2, role="exploratory"), *_primary("l1", -0.2, -0.1, role="exploratory")]
    scores = Scores(rows)
    assert headline(find_findings(scores), scores).startswith(said)
    summary = summarise(Scores(rows))
    assert (summary.measures, summary.exploratory) == (["accuracy", "brier", "pearson", "l1"], ["pearson", "l1"])


def test_contested_pairs_are_exploratory_in_words_too():
    rows = [*_primary("pearson_within", 0.1, 0.2), *_primary("l1", -0.2, -0.1)]
    rows += _primary("pearson", 0.1, 0.2, role="exploratory", group="contested=yes")
    rows += _primary("l1", -0.2, -0.1, role="exploratory", group="contested=yes")
    everything, contested = summarise(Scores(rows)).sections.values()
    assert everything.rows[1].words == "closer to people"
    assert (contested.rows[1].outcome, contested.rows[1].words) == ("open", "exploratory")
    assert contested.note == "Pearson r, not r within data sets"


def test_where_no_primary_difference_is_defined_the_headline_says_so():
    rows = [row.model_copy(update={"value": None}) if row.baseline else row for row in _primary("l1", 0.1, 0.2)]
    rows += _primary("pearson", 0.1, 0.2, role="exploratory")
    scores = Scores(rows)
    assert headline(find_findings(scores), scores) == "No primary difference from base is defined."
    assert statement(find_findings(scores), scores) == "The primary difference from base is undefined for blend."


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            ("pearson", 0.1, 0.2), ("pearson_within", -0.02, 0.04),
            "No difference in r within data sets from base is shown for blend: "
            "r within data sets changes by +.010 [−.020, .040].",
        ),
        (
            ("pearson", -0.01, 0.03), ("l1", -0.12, -0.08),
            "No difference in r from base is shown for blend: "
            "r changes by +.010 [−.010, .030] but L1 falls by .100 [.080, .120].",
        ),
        (
            ("pearson", 0.01, 0.03), ("l1", 0.01, 0.03),
            "blend follows people more closely than base: "
            "r rises by .020 [.010, .030] but L1 rises by .020 [.010, .030].",
        ),
        (
            ("pearson", 0.01, 0.03), ("l1", -0.03, -0.01),
            "blend follows people more closely than base: "
            "r rises by .020 [.010, .030] and L1 falls by .020 [.010, .030].",
        ),
    ],
)  # fmt: skip
def test_two_measures_are_both_said(first, second, said):
    scores = Scores([*_difference(*first), *_difference(*second)])
    assert statement(find_findings(scores), scores) == said


def test_a_verdict_needs_an_interval_and_a_lower_error_is_better():
    row = Metric(model="m", group="all", metric="l1", value=-0.02, low=-0.03, high=-0.01, n=9, baseline="b")
    assert Finding.verdict_on(row) == "better"
    assert Finding.verdict_on(row.model_copy(update={"metric": "pearson"})) == "worse"
    assert Finding.verdict_on(row.model_copy(update={"low": None, "high": None})) == "open"
    assert headline([], Scores([])) == "This run has no scores yet."
