"""Families behind gates, against the graphical procedure that they are."""

from fractions import Fraction

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from dissensus.stats.resampling.multiplicity import gated_holm
from dissensus.stats.resampling.paired_differences import holm

LEAK = Fraction(1, 10**12)
"""Bretz et al. (2009) let an infinitesimal part of a level pass a family's own hypotheses."""


def graph(sizes):
    """Initial levels (parts of alpha) and edges: gates, their families, and from a family that is done to the gates."""
    starts = np.cumsum([0, *sizes])
    owner = np.repeat(range(len(sizes)), sizes)
    n, m = int(starts[-1]), len(sizes)
    level = [Fraction(int(i in starts), m) for i in range(n)]
    edges = [[Fraction(0)] * n for _ in range(n)]
    for i in range(n):
        gate = i == starts[owner[i]]
        family = [j for j in range(n) if owner[j] == owner[i] and j != i and j not in starts]
        others = [int(starts[k]) for k in range(m) if k != owner[i]]
        out = Fraction(0) if gate and family else LEAK if family else Fraction(1)
        for j in family:
            edges[i][j] = (1 - (out if others else 0)) / len(family)
        for j in others:
            edges[i][j] = out / len(others)
    return level, edges


def by_graph(p, level, edges):
    """Adjusted p-values by algorithm 2 of Bretz et al. (2009), word by word, in exact arithmetic."""
    left, highest, adjusted = set(range(len(p))), 0.0, [0.0] * len(p)
    while left:
        j = min(left, key=lambda i: p[i] / float(level[i]) if level[i] else np.inf)
        highest = max(highest, p[j] / float(level[j]) if level[j] else np.inf)
        adjusted[j] = min(1.0, highest)
        left.remove(j)
        level = [level[i] + level[j] * edges[j][i] if i in left else Fraction(0) for i in range(len(p))]
        edges = [
            [
                (edges[i][k] + edges[i][j] * edges[j][k]) / (1 - edges[i][j] * edges[j][i])
                if i != k and i in left and k in left and edges[i][j] * edges[j][i] < 1
                else Fraction(0)
                for k in range(len(p))
            ]
            for i in range(len(p))
        ]
    return adjusted


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3,), (4, 2), (1, 3), (2, 3, 1), (3, 3, 2)])
def test_it_is_the_graphical_procedure(sizes):
    rng = np.random.default_rng(sum(sizes))
    for _ in range(10):
        p = rng.random(sum(sizes)) ** 3
        families = np.split(p, np.cumsum(sizes)[:-1])
        found = np.concatenate(gated_holm([family.tolist() for family in families]))
        np.testing.assert_allclose(found, by_graph(p, *graph(sizes)), atol=1e-9)


def test_gates_alone_are_holms_method():
    p = np.random.default_rng(0).random(7) ** 2
    assert [q for (q,) in gated_holm([[x] for x in p])] == pytest.approx(multipletests(p, method="holm")[1])


def test_a_gate_and_its_family_are_tested_in_sequence():
    assert gated_holm([[0.04, 0.001]]) == [[0.04, 0.04]]
    assert gated_holm([[0.3, 0.001, 0.2]]) == [[0.3, 0.3, 0.3]]
    assert gated_holm([]) == []


def draws(n=400, seed=3):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        yield [(rng.random(rng.integers(1, 6)) ** rng.integers(1, 5)).tolist() for _ in range(rng.integers(1, 5))]


def test_adjusted_values_are_in_order_from_their_own_and_their_gates_to_those_of_a_bonferroni_split():
    for families in draws():
        for raw, adjusted in zip(families, gated_holm(families), strict=True):
            split = [len(families) * p for p in (raw[0], *(max(raw[0], q) for q in holm(raw[1:])))]
            for p, q, most in zip(raw, adjusted, split, strict=True):
                assert max(p, adjusted[0]) <= q <= min(1, most + 1e-12)
            others = sorted(zip(raw[1:], adjusted[1:], strict=True))
            assert [q for _, q in others] == sorted(q for _, q in others)
