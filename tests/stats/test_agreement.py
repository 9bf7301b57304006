from itertools import pairwise

import numpy as np
import pytest

from dissensus.stats.agreement.judge_agreement import (
    LEVELS,
    agreement_with_others,
    as_all_orders,
    change_share,
    compared,
    first_preference,
    flip_share,
    nest,
    person_agreement,
)


def design(sizes):
    """Labels of verdicts from {(pair, judge, order): repetitions}."""
    cells = [cell for cell, n in sizes.items() for _ in range(n)]
    return [np.array(column) for column in zip(*cells, strict=True)]


UNEVEN = {
    (p, j, o): 1 + (3 * p + 2 * j + (o == "ba")) % 3
    for p in range(8)
    for j in range(1 + p % 3)
    for o in ("ab", "ba")
    if (p + j) % 4 or o == "ab"
}


def test_a_balanced_table_worked_by_hand():
    cells = {(p, j, o): 2 for p in "pq" for j in (1, 2) for o in ("ab", "ba")}
    y = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0], dtype=float)
    found = nest(y, *design(cells))
    # Mean squares: repetition 1.5/8, order 1.75/4, judge 0.625/2, pair 0.0625/1.
    expected = [(0.0625 - 0.3125) / 8, (0.3125 - 0.4375) / 4, (0.4375 - 0.1875) / 2, 0.1875]
    assert found.components() == pytest.approx(expected)
    assert found.units == (2, 4, 8, 16)
    assert found.merged == {}


def test_unbalanced_components_solve_the_expected_mean_squares():
    labels = design(UNEVEN)
    y = np.random.default_rng(0).random(labels[0].size)
    n = y.size
    names = [np.array(["|".join(map(str, row)) for row in zip(*labels[: k + 1], strict=True)]) for k in range(3)]
    same = [np.ones((n, n)), *(group[:, None] == group[None] for group in names), np.eye(n)]
    projections = [block / block.sum(axis=1, keepdims=True) for block in same]
    forms = [inner - outer for outer, inner in pairwise(projections)]
    expected = np.array([[np.trace(form @ block) for block in same[1:]] for form in forms])
    solved = np.linalg.solve(expected, [y @ form @ y for form in forms])
    assert nest(y, *labels).components() == pytest.approx(solved)
    assert nest(1 - y, *labels).components() == pytest.approx(solved)  # whichever response is called a


def test_a_constant_pull_to_one_side_is_position_and_not_negative_disagreement():
    rng = np.random.default_rng(2)
    labels = design({(p, j, o): 3 for p in range(300) for j in range(4) for o in ("ab", "ba")})
    pair = rng.normal(0, 0.4, 300)[labels[0]]
    judge = rng.normal(0, 0.3, (300, 4))[labels[0], labels[1]]
    pull = np.where(labels[2] == "ab", 0.5, -0.5)
    y = pair + judge + pull + rng.normal(0, 0.2, pair.size)
    found = nest(y, *labels)
    restated = as_all_orders(found.components(), found.merged)
    assert restated == pytest.approx([0.16, 0.09, 0.25, 0.04], abs=0.03)
    assert found.components()[1] < -0.1
    assert restated.sum() == pytest.approx(found.components().sum())


def test_a_pair_that_counts_twice_is_two_pairs():
    labels = design(UNEVEN)
    y = np.random.default_rng(4).random(labels[0].size)
    twice = [np.concatenate([labels[0], labels[0] + 100]), *(np.tile(column, 2) for column in labels[1:])]
    found = nest(y, *labels)
    weights = np.full((5, len(found.pairs)), 2)
    assert found.components(weights) == pytest.approx(np.tile(nest(np.tile(y, 2), *twice).components(), (5, 1)))


def test_a_level_without_replication_goes_into_the_one_outside():
    rng = np.random.default_rng(5)
    once = nest(rng.random(12), *design({(p, 0, o): 1 for p in range(6) for o in ("ab", "ba")}))
    assert once.merged == {"judge": "pair", "repetition": "order"}
    assert np.isnan(once.components()).tolist() == [False, True, False, True]
    one_order = nest(rng.random(12), *design({(p, j, "ab"): 1 for p in range(6) for j in range(2)}))
    assert one_order.merged == {"order": "judge", "repetition": "judge"}
    assert as_all_orders(one_order.components(), one_order.merged) == pytest.approx(one_order.components(), nan_ok=True)
    lone = nest(np.array([1.0]), *design({(0, 0, "ab"): 1}))
    assert set(lone.merged.values()) == {"mean"}
    assert np.isnan(lone.components()).all()


def test_a_resample_that_loses_a_level_has_no_component_there():
    found = nest(np.array([1.0, 0.0, 1.0, 1.0]), *design({(0, 0, "ab"): 2, (1, 0, "ab"): 1, (2, 0, "ab"): 1}))
    components = found.components(np.array([[1, 1, 1], [0, 2, 1]]))
    repetition = LEVELS.index("repetition")
    assert found.merged["judge"] == "pair"
    assert components[0, repetition] == pytest.approx(0.5)
    assert np.isnan(components[1]).all()


@pytest.mark.parametrize(("verdicts", "message"), [([1.0, np.nan], "finite"), ([1.0], "one shape")])
def test_verdicts_that_are_no_numbers_are_refused(verdicts, message):
    with pytest.raises(ValueError, match=message):
        nest(np.array(verdicts), *design({(0, 0, "ab"): 2}))


AB = np.array([1.0, 1.0, 0.0, 0.5, 1.0, np.nan])
BA = np.array([1.0, 0.0, 0.0, 0.0, np.nan, 0.0])


def test_flips_are_among_pairs_with_a_winner_in_both_orders():
    assert compared(AB, BA).tolist() == [True, True, True, False, False, False]
    assert flip_share(AB, BA) == pytest.approx(1 / 3)
    assert change_share(AB, BA) == pytest.approx(2 / 4)
    assert first_preference(AB, BA) == pytest.approx((0.5 + 1 + 0.5 + 0.75) / 4)


@pytest.mark.parametrize("statistic", [flip_share, change_share, first_preference])
def test_position_figures_know_no_a_and_nothing_without_both_orders(statistic):
    # Exchanging a and b turns preferences over and renames the orders.
    assert statistic(1 - BA, 1 - AB) == pytest.approx(statistic(AB, BA))
    assert np.isnan(statistic(np.array([1.0, 0.0]), np.full(2, np.nan)))


def test_a_person_is_held_against_the_others():
    # 2 to 1: leaving one of the two out splits the rest; the third faces two who say otherwise.
    assert person_agreement(np.array([[2, 1, 0]])) == 0
    assert np.isnan(person_agreement(np.array([[1, 0, 0]])))  # nobody else voted
    # The tie voter faces a majority of 2 and earns a half; each of the others faces 1 a and 1 tie and agrees.
    assert person_agreement(np.array([[2, 0, 1]])) == pytest.approx((1 + 1 + 0.5) / 3)


def test_a_judge_is_held_against_the_same_majorities_as_the_person():
    votes = np.array([[2, 1, 0], [3, 0, 0]])
    assert agreement_with_others(np.array([1.0, 1.0]), votes) == 1
    assert agreement_with_others(np.array([0.5, 0.5]), votes) == 0.5
    # The majority of others is defined for one of three voters of the first pair and for all of the second.
    assert agreement_with_others(np.array([0.0, 1.0]), votes) == pytest.approx(1 / (1 / 3 + 1))
