"""Training seeds: what their choice adds to the uncertainty of a mean over seeds.

The resamples of prompts hold the seeds of a study fixed: intervals made from them alone are about these very runs, and
of two equal methods one with luckier seeds is found better. With k seeds, their variance on the sample over k has what
is wanted, and noise that the resamples have already: seeds also differ by how each happens to do on these prompts (an
interaction). How much of it that is, the resamples tell: in a resample that noise is there twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from dissensus.stats.weighted import FloatArray


@dataclass(frozen=True)
class SeedNoise:
    """Variance of a value, or of a difference, for the choice of seeds."""

    observed: float
    """Of the mean over the seeds, as they vary on the sample."""
    excess: float
    """What of that the resamples of prompts do not have: from 0 to ``observed``."""
    degrees: float
    """Degrees of freedom of ``observed``."""

    def add(self, variance: float, degrees: float) -> tuple[float, float]:
        """Add to a variance for the choice of prompts and its degrees of freedom (Satterthwaite, 1946).

        A sum has no fewer degrees of freedom than the part with the fewest.
        """
        total = variance + self.excess
        spread = variance**2 / degrees + self.observed**2 / self.degrees
        if self.observed <= 0 or spread <= 0:
            return total, degrees
        return total, max(total**2 / spread, min(degrees, self.degrees))

    def scaled(self, factor: float) -> SeedNoise:
        """The same of a value that is multiplied by a factor."""
        return SeedNoise(self.observed * factor**2, self.excess * factor**2, self.degrees)


NO_NOISE = SeedNoise(0.0, 0.0, 1.0)
"""Of one seed: nothing is known, and nothing added."""


def find_seed_noise(sides: Sequence[tuple[FloatArray, float]]) -> SeedNoise:
    """Find the variance for the choice of seeds of a mean over seeds, or of a difference of two.

    Args:
        sides: of a value one, of a difference two: the values by seed on the sample, shape (seeds,), and the mean over
            the resamples of their variance there. A side of one seed adds nothing.
    """
    observed = excess = spread = 0.0
    for values, resampled in sides:
        k = values.size
        variance = float(values.var(ddof=1)) if k > 1 else 0.0
        if not np.isfinite(variance) or variance <= 0:
            continue
        shared = max(resampled - variance, 0.0) if np.isfinite(resampled) else 0.0
        observed += variance / k
        excess += max(variance - shared, 0.0) / k
        spread += (variance / k) ** 2 / (k - 1)
    return SeedNoise(observed, excess, observed**2 / spread) if spread > 0 else NO_NOISE


def reach_with_seeds(level: float, variance: float, degrees: float, noise: SeedNoise) -> float:
    """How far an interval of this level reaches out, each side, from a value with this variance for the prompts."""
    total, freedom = noise.add(variance, degrees)
    return float(stdtrit(freedom, (1 + level) / 2) * np.sqrt(total))


def two_sided_p(difference: float, variance: float, noise: SeedNoise) -> float:
    """The p-value of t for a difference with this (known) variance for the prompts and the noise of seeds."""
    total, freedom = noise.add(variance, np.inf)
    if total <= 0:
        return 1.0
    return float(2 * stdtr(min(freedom, 1e9), -abs(difference) / np.sqrt(total)))
