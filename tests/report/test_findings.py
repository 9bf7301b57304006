import pytest

from dissensus.evaluate.tables import Scores
from dissensus.records import Metric
from dissensus.report.findings import Finding, find_findings, headline


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
        ({"blend": (-0.01, 0.03)}, "No difference from base is shown for blend."),
        (
            {"a": (0.01, 0.02), "b": (0.01, 0.02), "c": (-1, 1)},
            "a and b follow people more closely than base. No difference from base is shown for c.",
        ),
    ],
)
def test_the_headline_says_no_more_than_the_intervals(differences, said):
    scores = rows(**differences)
    assert headline(find_findings(scores), scores) == said


def test_few_prompts_make_a_hint_and_not_a_headline():
    scores = rows(clusters=6, blend=(0.01, 0.03))
    said = "blend follows people more closely than base. With only 6 prompts, take that as a hint."
    assert headline(find_findings(scores), scores) == said
    open_ones = rows(clusters=6, blend=(-0.01, 0.03))
    assert "hint" not in headline(find_findings(open_ones), open_ones)


def test_a_lower_error_is_better():
    row = Metric(model="m", group="all", metric="l1", value=-0.02, low=-0.03, high=-0.01, n=9, baseline="b")
    assert Finding.verdict_on(row) == "better"
    assert Finding.verdict_on(row.model_copy(update={"metric": "pearson"})) == "worse"


def test_without_an_interval_no_difference_is_claimed():
    row = Metric(model="m", group="all", metric="pearson", value=0.2, n=9, baseline="b")
    assert Finding.verdict_on(row) == "open"


def test_without_scores():
    assert headline([], Scores([])) == "This run has no scores yet."
