"""Categories from a model's answers, joined to pairs by id, and how far they agree with people's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from dissensus.annotate import questions
from dissensus.judges.language.prompt import load_template
from dissensus.records import Classification, Judgment, Pair
from dissensus.stats.agreement.coefficients import cohen_kappa
from dissensus.taxonomy import (
    agreement_with_people,
    classifications_from_judgments,
    classify_pairs,
    known_classifications,
    one_pair_per_prompt,
)


def pair(name, prompt="p", **fields):
    return Pair(id=name, prompt=prompt, response_a="a", response_b="b", **fields)


def said(name, *choices, order="ab"):
    return [Judgment(pair_id=name, judge="j", sample=i, order=order, choice=c) for i, c in enumerate(choices)]


@pytest.mark.parametrize(
    ("template", "task"), [("paper-correct", questions.SUBJECTIVITY), ("paper-distinct", questions.DISTINGUISHABILITY)]
)
def test_a_model_is_asked_in_the_words_that_people_are(template, task):
    text = load_template(template).text
    for words in (task.question, *(option.words for option in task.options)):
        assert words in text
    assert text.index(f"A) {task.options[0].words}") < text.index(f"B) {task.options[1].words}")
    shown = load_template(template).render(pair("1", "Why?"), "ab")
    assert "Consider the following" in shown
    assert "prompt: Why?" in shown


def test_option_a_is_single_and_the_same_option_b_multiple_and_distinct():
    judgments = [*said("1", "a", "a", "b"), *said("2", "b", None, None), *said("3", "a", "b"), *said("4", None)]
    correct = classifications_from_judgments(judgments, "correct", origin="judge:x")
    assert [(c.value, c.probability, c.n, c.n_invalid) for c in correct] == [
        ("single", pytest.approx(1 / 3), 3, 0),
        ("multiple", 1.0, 1, 2),
        (None, 0.5, 2, 0),
        (None, None, 0, 1),
    ]
    distinct = classifications_from_judgments(judgments, "distinct", origin="judge:x")
    assert [c.value for c in distinct] == ["no", "yes", None, None]
    with pytest.raises(ValueError, match="ask in order ab"):
        classifications_from_judgments(said("1", "a", order="ba"), "correct", origin="x")


def test_the_likelier_option_is_the_category_and_not_what_was_drawn():
    drawn = [
        Judgment(pair_id=str(i), judge="j", sample=0, order="ab", choice=choice, probability_a=p)
        for i, (choice, p) in enumerate([("a", 0.12), ("b", 0.9), (None, 0.7), ("a", 0.5)])
    ]
    found = classifications_from_judgments(drawn, "correct", origin="judge:x")
    assert [(c.value, c.probability, c.n, c.n_invalid) for c in found] == [
        ("multiple", pytest.approx(0.88), 1, 0),
        ("single", pytest.approx(0.1), 1, 0),
        (None, None, 0, 1),
        (None, 0.5, 1, 0),
    ]


def test_people_come_first_and_names_of_other_taxonomies_give_way():
    pairs = [pair("1", category="single"), pair("2", category="coding"), pair("3", distinct="no"), pair("4")]
    found = [Classification(pair_id=p.id, question="correct", value="multiple", origin="x") for p in pairs[:3]]
    found += [Classification(pair_id="3", question="distinct", value="yes", origin="x")]
    classified, changes = classify_pairs(pairs, reversed(found))
    assert [(p.category, p.distinct) for p in classified] == [
        ("single", None),
        ("multiple", None),
        ("multiple", "no"),
        (None, None),
    ]
    assert (changes.set, changes.kept) == ({"correct": 2, "distinct": 0}, {"correct": 1, "distinct": 1})
    assert changes.undecided == {"correct": 1, "distinct": 3}
    replaced, _ = classify_pairs(pairs, found, replace=True)
    assert [(p.category, p.distinct) for p in replaced][:3] == [
        ("multiple", None),
        ("multiple", None),
        ("multiple", "yes"),
    ]
    assert [(c.pair_id, c.value) for c in known_classifications(pairs)] == [("1", "single"), ("3", "no")]


def test_a_prompt_is_asked_about_once():
    pairs = [pair("1", "x"), pair("2", "y"), pair("3", "x")]
    assert one_pair_per_prompt(pairs) == {"1": ["1", "3"], "2": ["2"]}


labels = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40)


@given(labels)
def test_kappa_is_scikit_learns(rated):
    first, second = np.array(rated).T
    ours = float(cohen_kappa(first, second))
    if np.isnan(ours):
        assert len({*first, *second}) == 1
    else:
        assert ours == pytest.approx(float(cohen_kappa_score(first, second)))
        assert ours == pytest.approx(float(cohen_kappa(second, first)))


@given(labels, st.data())
def test_a_weight_of_k_is_an_item_that_is_there_k_times(rated, data):
    first, second = np.array(rated).T
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(rated), max_size=len(rated))))
    repeated = cohen_kappa(first.repeat(weights), second.repeat(weights))
    assert float(cohen_kappa(first, second, weights)) == pytest.approx(float(repeated), nan_ok=True)


def test_agreement_by_hand():
    """20 of 50 yes by both, 15 no by both, 5 and 10 apart: Cohen's own arithmetic gives .4."""
    cells = [
        ("single", "single", 20),
        ("single", "multiple", 5),
        ("multiple", "single", 10),
        ("multiple", "multiple", 15),
    ]
    people, found = [], []
    for a, b, n in cells:
        for _ in range(n):
            people.append(pair(str(len(people)), f"prompt {len(people)}", category=a))
            found.append(Classification(pair_id=people[-1].id, question="correct", value=b, origin="x"))
    found.append(Classification(pair_id="elsewhere", question="correct", value="single", origin="x"))
    [one] = agreement_with_people(people, found, n_resamples=400)
    assert (one.n, one.raw, one.origin) == (50, 0.7, "x")
    assert one.kappa.value == pytest.approx(0.4)
    assert one.kappa.low < 0.4 < one.kappa.high
    assert one.counts == {(a, b): n for a, b, n in cells}


def test_kappa_that_nothing_can_be_told_of_says_why():
    people = [pair(str(i), f"p{i}", distinct="yes") for i in range(5)]
    found = [Classification(pair_id=str(i), question="distinct", value="yes", origin="x") for i in range(4)]
    found.append(Classification(pair_id="4", question="distinct", value=None, origin="x"))
    [one] = agreement_with_people(people, found)
    assert (one.raw, one.n, one.undecided) == (1.0, 4, 1)
    assert np.isnan(one.kappa.value)
    assert one.note == "kappa is undefined: all are in one category"
