import numpy as np
import pytest

from dissensus.stats.agreement.coefficients import COEFFICIENTS
from dissensus.stats.agreement.ratings import tabulate


def test_tenths_are_one_category_however_they_were_computed():
    table = tabulate(np.array([[0.3, 0.1 * 3], [1 - 0.9, 0.1]]))
    assert table.values.tolist() == [0.1, 0.3]
    assert table.matches.tolist() == [1, 1]


def test_a_table_is_as_good_as_its_ratings():
    ratings = np.random.default_rng(1).integers(0, 5, (30, 4)).astype(float)
    assert tabulate(table := tabulate(ratings)) is table
    for coefficient in COEFFICIENTS.values():
        assert coefficient(table) == coefficient(ratings)


def test_the_scale_may_have_values_that_nobody_used():
    assert tabulate(np.array([[0.0, 1.0]]), np.array([1.0, 0.0, 0.5])).values.tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("ratings", "categories", "message"),
    [
        ([[0.0, 1.0]], [0.0, 0.5], "rating 1 is none of the categories"),
        ([[0.0, 1.0]], [0.0, 1.0, np.nan], "finite"),
        ([1.0, 2.0], None, "shape"),
        ([[1.0, np.inf]], None, "finite"),
    ],
)
def test_ratings_and_scales_that_are_a_mistake(ratings, categories, message):
    with pytest.raises(ValueError, match=message):
        tabulate(np.array(ratings), None if categories is None else np.array(categories))
