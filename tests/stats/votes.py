"""Simulated votes, and votes written out as ratings."""

import numpy as np

SPREADS = {
    "flat": lambda rng, n: rng.random(n),
    "hill": lambda rng, n: rng.beta(2, 2, n),
    "agreed": lambda rng, n: rng.beta(0.5, 0.5, n),
    "one-sided": lambda rng, n: rng.beta(1, 8, n),
    "two camps": lambda rng, n: np.where(rng.random(n) < 0.5, rng.beta(3, 12, n), rng.beta(12, 3, n)),
}


def binary_votes(p, k, rng):
    return (rng.random((p.size, k)) < p[:, None]).astype(float)


def stopped(p, first, then, rng):
    """Ask ``first`` people, and ``then`` more where these differ."""
    votes = binary_votes(p, first + then, rng)
    agreed = np.isin(votes[:, :first].mean(axis=1), (0, 1))
    votes[agreed, first:] = np.nan
    return votes


def ratings_from_votes(counts):
    """Spread counts of votes for a, for b and for a tie, shape (n, 3), into ratings, shape (n, most votes)."""
    ends = counts.cumsum(axis=1)
    at = np.arange(ends[:, 2].max(initial=0))
    return np.select([at < ends[:, [k]] for k in range(3)], [1.0, 0.0, 0.5], default=np.nan)
