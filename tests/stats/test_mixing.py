"""The mean error of the votes of many people, where outcomes are too many to be gone through."""

import numpy as np
import pytest

from dissensus.stats import mixing


@pytest.mark.parametrize(("size", "ties"), [(200, True), (2000, False)])
def test_the_normal_approximation_joins_the_exact_error(size: int, ties: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    points = mixing._grid(ties=ties)
    exact = mixing._error_of(size, points)
    monkeypatch.setattr(mixing, "_MOST_TWO_WAY", size - 1)
    monkeypatch.setattr(mixing, "_MOST_THREE_WAY", size - 1)
    assert mixing._error_of(size, points) == pytest.approx(exact, rel=0.02, abs=1e-12)


def test_the_error_of_a_hundred_million_votes_is_found_at_once() -> None:
    counts = np.array([[60_000_000, 30_000_000, 10_000_000], [3, 1, 1]])
    assert 0 < mixing.expected_vote_error(counts, np.ones((1, 2)))[0] < 0.2
