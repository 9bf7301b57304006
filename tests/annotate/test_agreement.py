"""Agreement, progress and answer patterns, against figures worked out another way."""

import itertools
import statistics

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as oracle_kappa

from dissensus.annotate.analysis.annotator_agreement import agreement
from dissensus.annotate.analysis.answer_patterns import answer_patterns, count_words
from dissensus.annotate.analysis.answer_rows import Row, read_rows
from dissensus.annotate.analysis.progress import item_progress, person_progress, totals
from dissensus.annotate.project.sides import Said
from dissensus.stats.agreement.position_bias import exact_interval

from .people import fill, said


def _row(item, person, **said):
    rest = {"practice": False, "name": f"P{person}", "shown": "ab", "state": "answered", "reason": ""}
    return Row(item_id=item, person_id=person, said=Said(seconds=10.0, **said), said_at=0, **rest)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    made = []
    for item in range(40):
        true = rng.random() < 0.6
        for person in range(3):
            correct = "multiple" if (rng.random() < 0.85) == true else "single"
            made.append(_row(item, person, correct=correct, distinct="yes", estimate=int(rng.integers(0, 11))))
    return made


def _found(rows, question, name):
    return next(a for a in agreement(rows, own_choice=False) if (a.question, a.name) == (question, name))


def _matrix(rows, value):
    items = sorted({row.item_id for row in rows})
    return np.array([[value(row) for row in rows if row.item_id == item] for item in items])


def test_coefficients_are_what_others_compute(rows):
    codes = _matrix(rows, lambda row: int(row.said.correct == "multiple"))
    table, _ = aggregate_raters(codes)
    raw = np.mean([np.mean([a == b for a, b in itertools.combinations(line, 2)]) for line in codes])
    chance = 2 * codes.mean() * (1 - codes.mean())
    expected = {"kappa": oracle_kappa(table), "raw": raw, "ac1": (raw - chance) / (1 - chance)}
    assert {name: _found(rows, "correct", name).value for name in expected} == pytest.approx(expected)
    estimates = _matrix(rows, lambda row: row.said.estimate)
    spread = statistics.fmean(statistics.stdev(map(float, line)) for line in estimates)
    assert _found(rows, "estimate", "spread").value == pytest.approx(spread)


def test_intervals_narrow_with_pairs_and_where_nothing_can_be_said_nothing_is(rows):
    few, many = (_found(some, "correct", "raw") for some in (rows[:45], rows))
    assert few.low < few.value < few.high
    assert many.high - many.low < few.high - few.low
    assert _found([], "correct", "alpha").value is None
    assert _found(rows[:3], "correct", "raw").low is None  # one pair
    same = _found(rows, "distinct", "alpha")
    assert same.value is None or same.value == 1  # one value throughout: undefined


def test_names_order_and_answers_that_do_not_count_do_not_matter(rows):
    plain = agreement(rows, own_choice=False)
    extra = [row._replace(person_id=9, state="surplus", said=Said(correct="single")) for row in rows[::3]]
    practice = [row._replace(practice=True, item_id=999) for row in rows]
    assert agreement([*rows, *extra, *practice], own_choice=False) == plain
    renamed = agreement([row._replace(person_id=7 - row.person_id) for row in reversed(rows)], own_choice=False)
    assert [one.value for one in renamed] == [each.value and pytest.approx(each.value) for each in plain]


def test_progress_is_what_was_done(open_project):
    project = open_project(pairs=25, annotators=2, practice=True)
    fill(project, share=0.8)
    rows = project.read(read_rows)
    people = project.read(lambda c: person_progress(c, rows, project.now))
    pairs = project.read(lambda c: item_progress(c, rows))
    whole = totals(pairs, rows, 2)

    real = "SELECT a.id FROM assignments a JOIN items i ON i.id = a.item_id WHERE NOT i.practice AND a.state = "
    for state in ("answered", "skipped"):
        n = len(project.sql(f"{real}'{state}'"))
        assert getattr(whole, state) == n == sum(getattr(person, state) for person in people)
    assert [pair.number for pair in pairs] == list(range(1, 26))
    assert whole.complete == sum(pair.answered == 2 for pair in pairs)
    assert whole.wanted == 50
    assert all(person.practice_done == 1 for person in people)
    assert all(person.practice_right in (0, 1 / 3, 2 / 3, 1) for person in people)
    times = [row.seconds for row in rows if row.name == "Ada" and row.said is not None and not row.practice]
    assert people[0].seconds[1] == pytest.approx(statistics.median(times))


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (7, 10), (1, 100), (50, 100)])
def test_the_interval_of_a_share_is_clopper_and_pearsons(successes, n):
    expected = binomtest(successes, n).proportion_ci(method="exact")
    assert exact_interval(successes, n) == pytest.approx((expected.low, expected.high))


def test_patterns_are_noted_and_chance_is_not(open_project):
    project = open_project(pairs=40, annotators=3, people=("Lefty", "Same", "Fair"))
    for task in project.lease("Lefty", want=25).tasks:
        project.submit("Lefty", task.key, said(8 if task.shown == "ab" else 2, seconds=30.0))
    for n, task in enumerate(project.lease("Same", want=20).tasks):
        project.submit("Same", task.key, said(5, seconds=0.3 + n / 1000))
    for n, task in enumerate(project.lease("Fair", want=20).tasks):
        left = (3, 8, 4, 6)[n % 4]
        project.submit("Fair", task.key, said(left if task.shown == "ab" else 10 - left, seconds=30.0))
    rows = project.read(read_rows)
    words = project.read(count_words)
    assert project.read(lambda c: count_words(c, words)) == words
    lefty, same, fair = answer_patterns(rows, words)
    assert lefty.left == lefty.leans > 10
    assert lefty.left_share == 1
    assert fair.left_share == pytest.approx(0.5, abs=0.2)
    assert any("left" in note for note in lefty.notes)
    assert any("one and the same" in note for note in same.notes)
    assert any("faster than people read" in note for note in same.notes)
    assert fair.notes == []
