"""Power by simulation: how often a study of a given size would find a difference between two models.

Per pair, the true preference and the predictions of two models are drawn with the correlations that the design names
(a Gaussian copula: normal scores, each turned into the same symmetric beta distribution), and people's votes or
estimates around the true preference: do the two models' r with the people differ? With several training seeds, each
seed of a method has an r of its own, and errors of which it shares most with the method's other seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr

from dissensus.errors import InputError
from dissensus.stats.design.simulated_swaps import enough_swaps, swap_test
from dissensus.stats.metrics import FloatArray

IntArray = NDArray[np.int64]

FEWEST_PAIRS = 4
"""Per data set: with three pairs Fisher's z has no variance."""

_CELLS = 500_000
"""Simulated pairs held at once."""

_STUDIES_AT_ONCE = 50
"""At most so many share a test's random numbers, which would otherwise shift the power of all of them alike."""

_FEW_VOTES = 24
"""Up to so many, votes are drawn one by one: faster than binomial numbers of as many probabilities."""

_FURTHEST_SEED = 3
"""In SDs: seeds may be so far from their mean without an r of 1."""

_SCORES = np.linspace(-6, 6, 4001)


@dataclass(frozen=True)
class Design:
    """A test set and two models to be compared on it."""

    pairs: int = 150
    """In all data sets together."""
    annotators: int = 3
    """Per pair, each pair by people of its own."""
    r_baseline: float = 0.7
    """Pearson's r of the baseline with the true preferences: what everybody's votes would show."""
    r_model: float = 0.75
    between: float = 0.8
    """Pearson's r between the predictions of the two models."""
    preference_sd: float = 0.29
    """Of the true preferences about one half: .29 is spread evenly, .5 is unanimity on every pair."""
    ratings: Literal["votes", "estimates"] = "votes"
    """Binary votes, or estimates of how many of ten people prefer a."""
    rater_sd: float = 0.18
    """Of an estimate about the true preference, before it is kept within 0 and 1 and rounded to tenths."""
    data_sets: int = 1
    """Of equal size; what is tested is the mean over them of Fisher's z."""
    per_prompt: int = 1
    """Pairs that share a prompt; whole prompts are swapped."""
    prompt_correlation: float = 0.3
    """Of pairs that share a prompt, in true preferences and predictions alike."""
    seeds: int = 1
    """Training seeds of each model. With several, ``r_baseline`` and ``r_model`` are the methods', over all seeds."""
    seed_sd: float = 0.0
    """SD over a method's seeds of r with the true preferences, the same in all data sets."""
    between_seeds: float | None = None
    """Pearson's r between the predictions of two seeds of one method (`seeds_alike` unless it is given)."""

    def __post_init__(self) -> None:
        _check_ranges(self)
        _check_seeds(self)
        if np.linalg.eigvalsh(self._latent)[0] < 1e-9:
            low, high = self.possible_between
            raise InputError(
                f"two models with r = {self.r_baseline:.3f} and {self.r_model:.3f} to the true preferences cannot "
                f"correlate {self.between:.3f} with each other, only between {low:.3f} and {high:.3f}"
            )
        if self.seeds > 1 and not self.least_between_seeds <= self.seeds_alike < 1:
            raise InputError(
                f"seeds of one method cannot correlate {self.seeds_alike:.3f} with each other where the two methods "
                f"correlate {self.between:.3f}, and have r = {self.r_baseline:.3f} and {self.r_model:.3f} to the true "
                f"preferences: only from {self.least_between_seeds:.3f} to below 1"
            )

    @classmethod
    def from_observed(cls, r: float, delta: float, **fields: Any) -> Design:
        """Make a design in which the models are seen to have r and r + delta against these annotators.

        Their r with the true preferences is larger (`attenuation`), and so are its difference and ``seed_sd``. Raises
        an InputError where so few annotators would not let that much be seen, or the design is impossible.
        """
        ceiling = cls(**{**fields, "r_baseline": 0.0, "r_model": 0.0, "between": 0.0, "seed_sd": 0.0}).attenuation()
        if max(abs(r), abs(r + delta)) >= ceiling:
            raise InputError(
                f"r = {max(r, r + delta, key=abs):.3f} cannot be observed: with these annotators a perfect model would "
                f"have {ceiling:.3f}; give r as observed with them, more annotators, or r with the true preferences"
            )
        fields["seed_sd"] = fields.get("seed_sd", 0.0) / ceiling
        return cls(r_baseline=r / ceiling, r_model=(r + delta) / ceiling, **fields)

    @property
    def possible_between(self) -> tuple[float, float]:
        """The limits of ``between``, given the r of both models."""
        a, b = self._latent[0, 1:]
        middle, reach = a * b, np.sqrt((1 - a * a) * (1 - b * b))
        low, high = np.interp([middle - reach, middle + reach], *self._marginal.correlation)
        return float(low), float(high)

    @cached_property
    def _marginal(self) -> _Marginal:
        return _Marginal.of(self.preference_sd)

    @property
    def _latent(self) -> FloatArray:
        """Correlations of the normal scores of the true preference, the baseline and the model, shape (3, 3)."""
        scores, r = self._marginal.correlation
        a, b, c = np.interp([self.r_baseline, self.r_model, self.between], r, scores)
        return np.array([[1, a, b], [a, 1, c], [b, c, 1]])

    @property
    def least_between_seeds(self) -> float:
        """The lower limit of ``between_seeds``: a method is at least as much like itself as it is like the other."""
        (_, a, b), (_, _, c) = self._latent[:2]
        middle, reach = (a * a + b * b) / 2, np.hypot((a * a - b * b) / 2, c - a * b)
        scores, r = self._marginal.correlation
        # Rounded up, so that the limit itself is possible.
        return float(np.ceil(np.interp(middle + reach, scores, r) * 1e4) / 1e4)

    @property
    def seeds_alike(self) -> float:
        """Pearson's r between seeds: as given, else .9, or halfway to 1 from the least possible where that is more."""
        return self.between_seeds if self.between_seeds is not None else max(0.9, (1 + self.least_between_seeds) / 2)

    def draw(self, studies: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Draw studies: predictions of the baseline and the model, and people's mean, each (studies, pairs).

        Of several seeds the predictions have the shape (seeds, studies, pairs).
        """
        truth, *own = self._normal((3, studies), rng)
        models = self._of_seeds(truth, own, rng)
        one = self.seeds == 1
        baseline, model = (self._marginal.of_scores(scores[0] if one else scores) for scores in models)
        return baseline, model, self._rate(self._marginal.of_scores(truth), rng)

    def _of_seeds(
        self, truth: NDArray[np.float32], own: list[NDArray[np.float32]], rng: np.random.Generator
    ) -> list[NDArray[np.float32]]:
        """The normal scores of both models' predictions, each (seeds, studies, pairs).

        What a model adds to the truth is its own (the two models' own parts correlate so as to make ``between``), and
        of that a share is each seed's.
        """
        latent, size = self._latent, (self.seeds, truth.shape[0], 1)
        left = 1 - latent[0, 1:] ** 2
        scores, known = self._marginal.correlation
        kept = np.ones(2)
        if self.seeds > 1:
            kept = (np.interp(self.seeds_alike, known, scores) - latent[0, 1:] ** 2) / left
        alike = (latent[1, 2] - latent[0, 1] * latent[0, 2]) / np.sqrt(left.prod() * kept.prod())
        own = [own[0], _mix(alike, own[0], own[1])]
        found = []
        for r, mine, share in zip((self.r_baseline, self.r_model), own, kept, strict=True):
            seeds = np.full(size, r) if not self.seed_sd else r + self.seed_sd * rng.standard_normal(size)
            a = np.interp(np.clip(seeds, -0.9999, 0.9999), known, scores)
            errors = mine[None]
            if self.seeds > 1:
                errors = _mix(np.sqrt(share), mine[None], self._normal((self.seeds, truth.shape[0]), rng))
            found.append(_mix(a, truth, errors))
        return found

    def _normal(self, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
        """Normal scores of shape (*shape, pairs), in which pairs of a prompt resemble each other."""
        scores = rng.standard_normal((*shape, self.pairs), dtype=np.float32)
        if self.per_prompt == 1:
            return scores
        prompts = self.labels[0]
        common = rng.standard_normal((*shape, int(prompts[-1]) + 1), dtype=np.float32)
        return _mix(np.sqrt(self.prompt_correlation), common[..., prompts], scores)

    @cached_property
    def labels(self) -> tuple[IntArray, IntArray]:
        """The prompt and the data set of each pair, each numbers of shape (pairs,) in ascending order."""
        index = np.arange(self.pairs)
        data_set = index * self.data_sets // self.pairs
        within = index - np.searchsorted(data_set, data_set)
        new = (within % self.per_prompt == 0).astype(np.int64)
        return np.cumsum(new) - 1, data_set

    def attenuation(self) -> float:
        """r of a perfect model with the mean of these annotators: what every r is multiplied by."""
        rng = np.random.default_rng(0)
        truth = self._marginal.of_scores(rng.standard_normal(200_000))
        return float(np.corrcoef(truth, self._rate(truth, rng))[0, 1])

    def _rate(self, truth: FloatArray, rng: np.random.Generator) -> FloatArray:
        """The mean of the annotators' votes or estimates, of the shape of the true preferences."""
        total = np.zeros(truth.shape)
        if self.ratings == "votes" and self.annotators > _FEW_VOTES:
            return np.asarray(rng.binomial(self.annotators, truth) / self.annotators)
        for _ in range(self.annotators):
            if self.ratings == "votes":
                total += rng.random(truth.shape, dtype=np.float32) < truth
            else:
                noisy = truth + self.rater_sd * rng.standard_normal(truth.shape)
                total += np.round(np.clip(noisy, 0, 1), 1)
        return total / self.annotators


@dataclass(frozen=True)
class _Marginal:
    """A symmetric beta distribution as a function of normal scores."""

    values: FloatArray
    """At `_SCORES`."""
    correlation: tuple[FloatArray, FloatArray]
    """Correlations of scores, ascending, and those of the values that they lead to."""

    @classmethod
    def of(cls, sd: float) -> _Marginal:
        shape = (1 / (4 * sd**2) - 1) / 2
        values = betaincinv(shape, shape, ndtr(_SCORES))
        return cls(values, _correlations(values))

    def of_scores(self, scores: NDArray[np.floating]) -> FloatArray:
        # The nearest point of the table: five times as fast as interpolation, and off by less than a thousandth.
        index = np.clip((scores + 6) * ((_SCORES.size - 1) / 12) + 0.5, 0, _SCORES.size - 1)
        values: FloatArray = self.values[index.astype(np.int32)]
        return values


def _mix(r: float | FloatArray, first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normal scores that correlate r with the first, for the rest made of the second."""
    a, b = (np.asarray(x, dtype=np.float32) for x in (r, np.sqrt(1 - np.square(r))))
    mixed: NDArray[np.float32] = a * first + b * second
    return mixed


def _correlations(values: FloatArray, terms: int = 60) -> tuple[FloatArray, FloatArray]:
    """What correlation of normal scores makes what correlation of values, by Hermite's expansion (Mehler 1866).

    With g = sum of c_k He_k / sqrt(k!), that of rho is sum c_k^2 rho^k / sum c_k^2.
    """
    density = np.exp(-(_SCORES**2) / 2)
    density /= density.sum()
    before, polynomial = np.zeros_like(_SCORES), np.ones_like(_SCORES)
    squares = []
    for k in range(1, terms):
        before, polynomial = polynomial, (_SCORES * polynomial - np.sqrt(k - 1) * before) / np.sqrt(k)
        squares.append(float(density @ (values * polynomial)) ** 2)
    mean = float(density @ values)
    # What the expansion was cut off at is nearly all of the highest powers: 1 at rho = 1, and nothing elsewhere.
    rest = max(0.0, float(density @ (values - mean) ** 2) - sum(squares))
    rho = np.linspace(-1, 1, 2001)
    powers = rho ** np.arange(1, terms + 1)[:, None]
    r = np.array([*squares, rest]) @ powers / (sum(squares) + rest)
    return rho, r


def estimate_power(design: Design, *, alpha: float = 0.05, studies: int = 2000, seed: int = 0) -> float:
    """Find the share of studies of this design in which the swap test of r rejects at level alpha.

    ``alpha`` is that of this one test: where several share a level, its part. Of two equally good models the share is
    the size of the test. The standard error of a share s is sqrt(s (1 - s) / studies).
    """
    rng, n_swaps = np.random.default_rng(seed), enough_swaps(alpha)
    rejected, chunk = 0, max(1, min(_STUDIES_AT_ONCE, _CELLS // (design.pairs * design.seeds)))
    for start in range(0, studies, chunk):
        drawn = design.draw(min(chunk, studies - start), rng)
        p_values = swap_test(*drawn, *design.labels, rng, n_swaps=n_swaps)
        rejected += int((p_values <= alpha * (1 + 1e-9)).sum())
    return rejected / studies


def _check_ranges(design: Design) -> None:
    if min(design.data_sets, design.per_prompt, design.annotators) < 1:
        raise InputError("a design needs at least one data set, one pair per prompt and one annotator")
    if design.pairs < FEWEST_PAIRS * design.data_sets:
        where = "" if design.data_sets == 1 else f" in {design.data_sets} data sets"
        raise InputError(
            f"{design.pairs} pairs{where} are too few for a correlation: give at least "
            f"{FEWEST_PAIRS * design.data_sets}, {FEWEST_PAIRS} per data set"
        )
    if not 0 < design.preference_sd < 0.5:
        raise InputError(f"the SD of preferences from 0 to 1 lies between 0 and .5, not at {design.preference_sd}")
    if design.ratings == "estimates" and not design.rater_sd >= 0:
        raise InputError(f"the SD of a rater cannot be {design.rater_sd}")
    if not 0 <= design.prompt_correlation < 1:
        raise InputError(f"the correlation within a prompt lies from 0 to below 1, not at {design.prompt_correlation}")
    for name, r in (("baseline", design.r_baseline), ("model", design.r_model), ("between", design.between)):
        if not -1 < r < 1:
            what = "the correlation between the models" if name == "between" else f"r of the {name}"
            raise InputError(f"{what} would be {r:.3f}, which no correlation with noise-free preferences can be")


def _check_seeds(design: Design) -> None:
    if design.seeds < 1:
        raise InputError(f"a model has at least one training seed, not {design.seeds}")
    if not 0 <= design.seed_sd < np.inf:
        raise InputError(f"the SD of r between seeds cannot be {design.seed_sd}")
    furthest = max(abs(design.r_baseline), abs(design.r_model)) + _FURTHEST_SEED * design.seed_sd
    if design.seed_sd and furthest >= 1:
        raise InputError(
            f"seeds that vary by an SD of {design.seed_sd:.3f} about r = "
            f"{max(design.r_baseline, design.r_model, key=abs):.3f} with the true preferences would reach r = 1; "
            "give a smaller SD"
        )
    if design.between_seeds is not None and not -1 < design.between_seeds < 1:
        raise InputError(f"the correlation between seeds of one method cannot be {design.between_seeds:.3f}")
