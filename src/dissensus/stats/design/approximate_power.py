"""Power by an approximation that needs a single simulation: the first guess of a plan."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtri, ndtr, stdtrit

from dissensus.stats.design.simulated_power import Design
from dissensus.stats.metrics import FloatArray

_PILOTS = 400
"""Studies that are simulated for a standard error."""

_GRID = 24
"""Quantiles of each method's variance between seeds, over which power is averaged."""

_STEPS = 25
"""Of bisection."""

_SIZES = 40
"""At which the highest power is looked for."""


@dataclass(frozen=True)
class Outlook:
    """A difference between two methods, and what its variance is made of.

    The difference of mean r is taken for normal, and the test for that of t which an evaluation's becomes with many
    pairs: the variance for the prompts is known, that between seeds is estimated from few (`training_seeds`).
    """

    difference: float
    """Of r as it is seen, without its sign."""
    alpha: float
    seeds: int
    prompts: float
    """Variance of the difference for the choice of prompts, times the number of pairs."""
    seed_sd: float
    """Of r as it is seen, over a method's seeds."""
    interaction: tuple[float, float]
    """What seeds of the baseline and of the model vary besides, by how each does on these prompts; times pairs."""

    @classmethod
    def of(cls, pilot: Design, alpha: float, rng: np.random.Generator) -> Outlook:
        """Simulate some studies of a design, of a few hundred pairs, for the variances."""
        alike = replace(pilot, seed_sd=0.0)
        drawn = [alike.draw(_PILOTS // 8, rng) for _ in range(8)]
        baseline, model = (
            np.concatenate([_r(study[side], study[2], pilot) for study in drawn], axis=1) for side in (0, 1)
        )
        shrink = pilot.attenuation()
        within = [float(side.var(axis=0, ddof=1).mean()) if pilot.seeds > 1 else 0.0 for side in (baseline, model)]
        return cls(
            difference=abs(pilot.r_model - pilot.r_baseline) * shrink,
            alpha=alpha,
            seeds=pilot.seeds,
            prompts=float((model.mean(axis=0) - baseline.mean(axis=0)).var()) * pilot.pairs,
            seed_sd=pilot.seed_sd * shrink,
            interaction=(within[0] * pilot.pairs, within[1] * pilot.pairs),
        )

    def power(self, pairs: float) -> float:
        """The share of studies with so many pairs that find the difference."""
        prompts, between = self.prompts / pairs, self.seed_sd**2
        total, freedom = np.full(1, prompts), np.full(1, 1e9)
        if self.seeds > 1:
            total, freedom = self._estimated(prompts, [found / pairs for found in self.interaction])
        sd = np.sqrt(prompts + 2 * between / self.seeds)
        if sd <= 0:
            return 1.0
        needed = stdtrit(freedom, 1 - self.alpha / 2) * np.sqrt(total)
        return float(np.mean(ndtr((self.difference - needed) / sd) + ndtr((-self.difference - needed) / sd)))

    def pairs_for(self, power: float, most: float) -> float | None:
        """The fewest pairs, not rounded, that have this power; None where more than most, or none."""
        sizes = np.geomspace(1, most, _SIZES)
        reached = next((step for step, size in enumerate(sizes) if self.power(size) >= power), None)
        if reached is None:
            return None
        low, high = np.log(sizes[max(reached - 1, 0)]), np.log(sizes[reached])
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(np.exp(middle)) >= power else (middle, high)
        return float(np.exp(high))

    def best(self, most: float) -> float:
        """The highest power of any number of pairs up to most: not always that of the most, as with two or three seeds
        degrees of freedom fall (to 2, or 4) as pairs leave nothing to chance but the seeds.
        """
        return max(self.power(size) for size in np.geomspace(1, most, _SIZES))

    def with_seeds(self, seeds: int) -> Outlook:
        """The same methods, trained with so many seeds each; known from several seeds alone."""
        own = sum(self.interaction)
        return replace(self, seeds=seeds, prompts=self.prompts - own / self.seeds + own / seeds)

    def _estimated(self, prompts: float, interaction: list[float]) -> tuple[FloatArray, FloatArray]:
        """The variance that a study finds for the difference, and its degrees of freedom, each of shape (grid,)."""
        k = self.seeds
        chance = chdtri(k - 1, (np.arange(_GRID) + 0.5) / _GRID) / (k - 1)
        sides = zip(interaction, np.meshgrid(chance, chance), strict=True)
        of_seeds = np.array([(self.seed_sd**2 + more) * side for more, side in sides])
        shared = np.array(interaction)[:, None, None]
        total = prompts + np.maximum(of_seeds - shared, 0).sum(axis=0) / k
        spread = (of_seeds**2).sum(axis=0) / (k**2 * (k - 1))
        # Where the seeds seem to add nothing, an evaluation adds nothing, and needs no degrees of freedom.
        freedom = np.where(total > prompts, total**2 / np.maximum(spread, 1e-300), 1e9)
        return total.ravel(), np.minimum(freedom, 1e9).ravel()


def _r(predicted: FloatArray, human: FloatArray, design: Design) -> FloatArray:
    """The mean over data sets of r by Fisher's z, shape (seeds, studies)."""
    starts = np.flatnonzero(np.diff(design.labels[1], prepend=-1))[1:]
    x = predicted.reshape(-1, *human.shape)
    parts = zip(np.split(x, starts, axis=-1), np.split(human, starts, axis=-1), strict=True)
    z = []
    for p, h in parts:
        p, h = p - p.mean(axis=-1, keepdims=True), h - h.mean(axis=-1, keepdims=True)
        bottom = np.sqrt((p * p).sum(axis=-1) * (h * h).sum(axis=-1))
        z.append(np.arctanh(np.clip((p * h).sum(axis=-1) / np.maximum(bottom, 1e-12), -0.999, 0.999)))
    mean: FloatArray = np.tanh(np.mean(z, axis=0))
    return mean
