"""Tests of whether votes are what they are taken for: independent draws, as many as were asked for beforehand.

Of k votes for one of two responses, k given beforehand, a pair has k:0, (k - 1):1, … with binomial probabilities at its
own preference; over pairs these are mixed. Many distributions of votes are no such mixture: where three were asked, and
two more where these differed, there is no 5:0; where the one with more votes is called a, there is no 2:3.

The mixture of the largest likelihood is found by the constrained Newton method (Wang 2007, JRSS B 69), and what it
leaves by G^2: on the boundary of all mixtures, given the face that the fit lies on, a chi-square with as many degrees
of freedom as there are patterns less points in the fit (Susko 2013, Biometrika 100). Ties are left out: given how many
votes are none, these are binomial, too. That pairs of a prompt are alike does not touch it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import chdtrc, gammaln, xlogy

from dissensus.stats.metrics import FloatArray

CERTAIN = 0.001
"""Votes that are as unlikely as this are said to be no free votes."""
_LIKELY = 0.05
"""So unlikely is enough where they look exactly as a rule would make them."""

_MOST, _FEWEST = 12, 10
"""Votes on a pair up to which, and pairs with as many from which, patterns are looked at."""
_ONE_SIDED, _ALWAYS = 0.5, 20
"""Three majorities of four are on one side; and so many, if all are, to be called chosen."""
_GRID = 101
_STEPS = 60
_SUM = 1e3
"""Weight of the equation that shares add up to 1."""
_APART = 3.0
"""Standard errors by which pairs with few votes must agree more than those with more."""


def number_was_decided(counts: NDArray[np.integer]) -> bool:
    """Tell whether the votes themselves seem to have decided how many there are: fewer where they agree.

    Pairs with many votes then lack those on which the first few agreed. It is also said, on less evidence, where all
    pairs with the fewest votes agree and none of the others does. ``counts`` are votes (a, b, tie), shape (n, 3).
    """
    size = counts.sum(axis=1)
    counts, size = counts[size >= 2], size[size >= 2]
    if not size.size or size.min() == size.max():
        return False
    few = size == size.min()
    if not _agree_more(counts, few):
        return False
    unanimous = counts.max(axis=1) == size
    apart = bool(unanimous[few].all() and not unanimous[~few].any())
    return misfit(counts) < CERTAIN or (apart and misfit(counts[counts[:, 2] == 0]) < _LIKELY)


def order_was_decided(counts: NDArray[np.integer]) -> bool:
    """Tell whether the votes themselves seem to have decided which response is called a: that with more of them.

    Most pairs then have their majority on the same side, and those that nearly split the votes lack the mirror image of
    theirs. It is also said where twenty pairs or more have a majority, all on the same side. ``counts`` are votes
    (a, b, tie), shape (n, 3).
    """
    lead = np.sign(counts[:, 0] - counts[:, 1])[counts.sum(axis=1) >= 2]
    split = (counts[:, 0] > 0) & (counts[:, 1] > 0)
    majorities = int(np.abs(lead).sum())
    if majorities < _FEWEST or not split.any() or abs(int(lead.sum())) < _ONE_SIDED * majorities:
        return False
    always = abs(int(lead.sum())) == majorities >= _ALWAYS
    return always or misfit(counts, turned=False) < CERTAIN


def misfit(counts: NDArray[np.integer], *, turned: bool = True) -> float:
    """Test whether votes are a mixture of binomials among the pairs of as many votes that are no ties; returns p.

    1 where there is nothing to test. ``counts`` are votes (a, b, tie), shape (n, 3); ``turned`` takes a and b for
    interchangeable.
    """
    number = counts[:, 0] + counts[:, 1]
    total = freedom = 0.0
    for k in range(2, _MOST + 1):
        of_a = np.bincount(counts[number == k, 0], minlength=k + 1).astype(np.float64)
        if of_a.sum() >= _FEWEST:
            likelihood = _binomial(k)
            if turned:
                likelihood, of_a = _fold(likelihood)[:, _GRID // 2 :], _fold(of_a[:, None])[:, 0]
            shares, lack = fit_exactly(likelihood, of_a)
            if lack > 1e-2:
                total += lack
                freedom += max(1, of_a.size - int((shares > 1e-6).sum()))
    return float(chdtrc(freedom, total)) if freedom else 1.0


def fit_exactly(likelihood: FloatArray, counts: FloatArray) -> tuple[FloatArray, float]:
    """Find the mixture of the largest likelihood: the share of each point, and G^2 of the counts against it.

    ``likelihood`` is the probability of each pattern at each point, shape (patterns, points); ``counts`` are the pairs
    of each pattern.
    """
    likelihood, counts = likelihood[counts > 0], counts[counts > 0]
    observed = counts / counts.sum()
    shares = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(_STEPS):
        fitted = likelihood @ shares
        gain = (observed / fitted) @ likelihood
        if gain.max() < 1 + 1e-6:
            break
        system = np.vstack([likelihood * (np.sqrt(observed) / fitted)[:, None], np.full(shares.size, _SUM)])
        target = nnls(system, np.append(2 * np.sqrt(observed), _SUM), maxiter=1000)[0]
        shares = _search(likelihood, observed, shares, target / target.sum(), gain)
    lack = 2 * counts.sum() * float(observed @ np.log(observed / (likelihood @ shares)))
    return shares, max(0.0, lack)


def _search(
    likelihood: FloatArray, observed: FloatArray, shares: FloatArray, target: FloatArray, gain: FloatArray
) -> FloatArray:
    """Go as far towards the target as the likelihood grows with it (Armijo's rule)."""
    before, slope, step = observed @ np.log(likelihood @ shares), gain @ (target - shares), 1.0
    while step > 1e-9:
        moved = shares + step * (target - shares)
        fitted = likelihood @ moved
        if (fitted > 0).all() and observed @ np.log(fitted) >= before + step * slope / 1000:
            return moved
        step /= 2
    return shares


def _agree_more(counts: NDArray[np.integer], few: NDArray[np.bool_]) -> bool:
    """Whether two votes of a pair differ less often among the few than among the others, beyond chance."""
    size = counts.sum(axis=1)
    differ = (size**2 - (counts**2).sum(axis=1)) / (size * (size - 1))
    means = [float(differ[part].mean()) for part in (few, ~few)]
    error = sum(float(differ[part].var()) / part.sum() for part in (few, ~few))
    return bool(means[1] - means[0] > _APART * np.sqrt(error))


def _binomial(k: int) -> FloatArray:
    """Probability of 0, …, k of k votes for a at each preference of the grid, shape (k + 1, points)."""
    of_a, p = np.arange(k + 1)[:, None], np.linspace(0, 1, _GRID)
    ways = gammaln(k + 1) - gammaln(of_a + 1) - gammaln(k - of_a + 1)
    found: FloatArray = np.exp(ways + xlogy(of_a, p) + xlogy(k - of_a, 1 - p))
    return found


def _fold(of_a: FloatArray) -> FloatArray:
    """Add each number of votes for a to its mirror image: (k + 1, …) to (k // 2 + 1, …)."""
    k = of_a.shape[0] - 1
    both = of_a + of_a[::-1]
    if k % 2 == 0:
        both[k // 2] /= 2
    return both[(k + 1) // 2 :]
