"""Calibration of preferences by a cross-fitted logistic stack: arrays in, numbers out.

The calibrated preference of a pair is sigma(sum of beta_j x_j), where every column x_j changes its sign when the two
responses change places (log-odds, log ratios, differences of rewards). There is no intercept, so the stack as a whole
is antisymmetric: a judge's preference for the side of response a cannot be learnt. Coefficients are those of a ridge,
and those that a pair's preference is made with never saw a label of its group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from dissensus.judge_calibration import Fit
from dissensus.judges.committee import fit_bradley_terry
from dissensus.stats.calibration import ece
from dissensus.stats.metrics import brier, nll
from dissensus.stats.resampling.clusters import deal_folds

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

FOLDS = 5
RIDGES: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
"""Strengths that the likelihood chooses among."""
_PLAIN_RIDGE = 1.0
"""Where two folds leave nothing to choose by without the pair's own: a standard deviation of 1, hardly a restraint."""
CLIP = 1e-4
"""Probabilities are kept this far from 0 and 1: log-odds of 9.2 at most, so that one sure and wrong statement of a
judge does not settle its coefficient."""
_LEVEL = 0.95


def log_odds_of_share(share: Floats, n: Ints) -> Floats:
    """Compute log-odds of shares of n votes, shape (pairs,), smoothed to (k + 1/2) / (n + 1) (Jeffreys' prior).

    Shares of 0 and 1 have no log-odds, and ten votes of ten say more than one of one.
    """
    smoothed: Floats = logit((share * n + 0.5) / (n + 1))
    return smoothed


def log_odds_of_probability(probability: Floats) -> Floats:
    """Compute log-odds of probabilities, shape (pairs,), kept `CLIP` from 0 and 1: they know how sure they are."""
    found: Floats = logit(np.clip(probability, CLIP, 1 - CLIP))
    return found


@dataclass(frozen=True)
class Observed:
    """What people said of n pairs."""

    targets: Floats
    """The label, or the share of votes for response a, a tie counting one half; NaN where nothing is known."""
    weights: Floats
    """How many labels or votes each target is of."""
    groups: Ints
    """The number of each pair's group."""

    @property
    def known(self) -> Bools:
        """Where there is a target."""
        return ~np.isnan(self.targets)


@dataclass(frozen=True)
class Stack:
    """A stack of d columns, fitted to n pairs."""

    preferences: Floats
    """Shape (n,): each made with coefficients that its group had no part in."""
    coefficients: Floats
    """Shape (d,): fitted to all that is known."""
    low: Floats
    high: Floats
    ridge: float
    folds: int


class StackFit:
    """The ridge logistic regressions behind a stack, over one dealing of groups into folds.

    Args:
        columns: shape (n, d); none of them all zero.
        observed: of the n pairs; of two groups at least something is known.
        seed: of the dealing.
    """

    def __init__(self, columns: Floats, observed: Observed, *, seed: int = 0) -> None:
        known = observed.known
        self._scale = np.sqrt((columns**2).mean(axis=0))  # about 0, whichever response is called a
        self._columns = columns / self._scale
        self._x, self._y, self._w = self._columns[known], observed.targets[known], observed.weights[known]
        numbers, self._groups = np.unique(observed.groups[known], return_inverse=True)
        fold_of_group = deal_folds(np.bincount(self._groups), FOLDS, seed=seed)
        self._fold = fold_of_group[self._groups]
        self.folds = int(fold_of_group.max()) + 1
        # Groups of which nothing is known are in no fold: the fit to all has not seen them either.
        every = np.full(int(observed.groups.max()) + 1, -1)
        every[numbers] = fold_of_group
        self._fold_of_pair = every[observed.groups]

    def stack(self) -> Stack:
        """Fit, with the ridge that the likelihood of left-out groups chooses."""
        ridge, own = self._choose()
        full = self._fit(np.ones(len(self._y), bool), ridge)
        low, high = self._interval(full, ridge)
        return Stack(
            preferences=self._preferences(full, self._heads(own)),
            coefficients=full / self._scale,
            low=low / self._scale,
            high=high / self._scale,
            ridge=ridge,
            folds=self.folds,
        )

    def _heads(self, ridges: list[float]) -> list[Floats]:
        return [self._fit(self._fold != fold, ridge) for fold, ridge in enumerate(ridges)]

    def _preferences(self, full: Floats, heads: list[Floats]) -> Floats:
        chosen = np.stack([*heads, full])[self._fold_of_pair]  # -1 is the last
        made: Floats = expit((self._columns * chosen).sum(axis=1))
        return made

    def _choose(self) -> tuple[float, list[float]]:
        """Choose the ridge of the fit to all, and that of each fold's preferences.

        The second is chosen within the other folds, so that no label of a fold decides anything in it.
        """
        losses = np.array([self._losses(ridge) for ridge in RIDGES])
        whole = RIDGES[int(np.einsum("rkk->r", losses).argmin())]
        if self.folds < 3:
            return _PLAIN_RIDGE, [_PLAIN_RIDGE] * self.folds
        own = losses.sum(axis=2) - np.einsum("rkk->rk", losses)
        return whole, [RIDGES[best] for best in own.argmin(axis=0)]

    def _losses(self, ridge: float) -> Floats:
        """Sum the loss of fold l under the fit without folds k and l, at [k, l]; shape (folds, folds)."""
        losses = np.zeros((self.folds, self.folds))
        for k, other in self._left_out():
            head = self._fit((self._fold != k) & (self._fold != other), ridge)
            losses[k, other], losses[other, k] = self._loss(head, other), self._loss(head, k)
        return losses

    def _left_out(self) -> Iterator[tuple[int, int]]:
        yield from ((k, k) for k in range(self.folds))
        if self.folds > 2:  # of two, nothing would be left
            yield from combinations(range(self.folds), 2)

    def _loss(self, head: Floats, fold: int) -> float:
        inside = self._fold == fold
        gaps = self._x[inside] @ head
        return float(self._w[inside] @ (np.logaddexp(0, gaps) - self._y[inside] * gaps))

    def _fit(self, rows: Bools, ridge: float) -> Floats:
        return fit_bradley_terry(self._x[rows], self._y[rows], self._w[rows], l2=ridge)

    def _interval(self, head: Floats, ridge: float) -> tuple[Floats, Floats]:
        """Bound the coefficients by a sandwich estimate of their variance, clustered by group.

        Pairs of one prompt err together, and the likelihood's own curvature would not know it. (Liang & Zeger, 1986.)
        """
        p = expit(self._x @ head)
        curvature = (self._x * (self._w * p * (1 - p))[:, None]).T @ self._x + ridge * np.eye(len(head))
        count = int(self._groups.max()) + 1
        scores = np.zeros((count, len(head)))
        np.add.at(scores, self._groups, self._x * (self._w * (self._y - p))[:, None])
        bread = np.linalg.inv(curvature)
        variance = bread @ (scores.T @ scores) @ bread * count / (count - 1)
        half = stdtrit(count - 1, (1 + _LEVEL) / 2) * np.sqrt(np.diag(variance))
        return head - half, head + half


def fit_of(preferences: Floats, observed: Observed) -> Fit:
    """Compute NLL, Brier score and ECE of preferences, shape (n,), against what is known; NaN preferences are left out.

    Every pair is entered both ways for the ECE, whose bins would depend on which response is called a.
    """
    inside = observed.known & ~np.isnan(preferences)
    p, h, w = preferences[inside], observed.targets[inside], observed.weights[inside]
    both = (np.concatenate(two) for two in ((p, 1 - p), (h, 1 - h), (w, w)))
    return Fit(nll=float(nll(p, h, w)), brier=float(brier(p, h, w)), ece=float(ece(*both)))
