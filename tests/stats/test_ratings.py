import numpy as np
import pytest

from dissensus.stats.agreement.coefficients import COEFFICIENTS
from dissensus.stats.agreement.ratings import ratings_from_votes, tabulate

NAN = np.nan


def test_votes_become_as_many_ratings_of_each_kind():
    votes = np.random.default_rng(0).integers(0, 4, (50, 3))
    ratings = ratings_from_votes(votes)
    assert ratings.shape == (50, votes.sum(axis=1).max())
    for column, value in enumerate((1.0, 0.0, 0.5)):
        assert ((ratings == value).sum(axis=1) == votes[:, column]).all()


@pytest.mark.parametrize(
    "votes", [np.array([[1, -1, 0]]), np.array([[1, 1]]), np.array([[0.5, 0.5, 0]]), np.array([1, 2, 3])]
)
def test_votes_that_are_no_counts_are_a_mistake(votes):
    with pytest.raises(ValueError, match="counts"):
        ratings_from_votes(votes)


def test_no_votes_are_no_ratings():
    assert ratings_from_votes(np.zeros((0, 3), dtype=np.int64)).shape == (0, 0)
    assert ratings_from_votes(np.zeros((2, 3), dtype=np.int64)).shape == (2, 0)


def test_tenths_are_one_category_however_they_were_computed():
    table = tabulate(np.array([[0.3, 0.1 * 3], [1 - 0.9, 0.1]]))
    assert table.values.tolist() == [0.1, 0.3]
    assert table.matches.tolist() == [1, 1]


def test_a_table_is_as_good_as_its_ratings():
    ratings = np.random.default_rng(1).integers(0, 5, (30, 4)).astype(float)
    assert tabulate(table := tabulate(ratings)) is table
    for coefficient in COEFFICIENTS.values():
        assert coefficient(table) == coefficient(ratings)


def test_the_scale_may_have_values_that_nobody_used_but_not_the_other_way_round():
    ratings = np.array([[0.0, 1.0], [1.0, 1.0]])
    assert tabulate(ratings, np.array([1.0, 0.0, 0.5])).values.tolist() == [0, 0.5, 1]
    with pytest.raises(ValueError, match="rating 1 is none of the categories"):
        tabulate(ratings, np.array([0.0, 0.5]))
    with pytest.raises(ValueError, match="finite"):
        tabulate(ratings, np.array([0.0, 1.0, NAN]))


def test_ratings_of_the_wrong_shape_or_size_are_a_mistake():
    with pytest.raises(ValueError, match="shape"):
        tabulate(np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="finite"):
        tabulate(np.array([[1.0, np.inf]]))
