"""How often a study of a given size would find a difference between two models: power by simulation.

Per pair, the true preference and the predictions of two models are drawn with the correlations that the design names
(a Gaussian copula: normal scores, each turned into the same symmetric beta distribution). People's votes or estimates
are drawn around the true preference, and the package's question is put: do the two models' r with the people differ?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri

from dissensus.errors import InputError
from dissensus.stats.metrics import FloatArray
from dissensus.stats.swap import swap_test

IntArray = NDArray[np.int64]

PairedTest = Callable[[FloatArray, FloatArray, FloatArray, IntArray, IntArray, np.random.Generator], FloatArray]
"""``(baseline, model, human, prompts, data sets, rng)`` to p-values: the first three of shape (studies, pairs), prompts
and data sets numbers of shape (pairs,), the p-values of shape (studies,)."""

FEWEST_PAIRS = 4
"""Per data set: with three pairs Fisher's z has no variance."""

MOST_PAIRS = 100_000
"""Where the search for enough pairs ends."""

_CELLS = 500_000
"""Simulated pairs held at once."""

_STUDIES_AT_ONCE = 50
"""At most so many share a test's random numbers, which would otherwise shift the power of all of them alike."""

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

    def __post_init__(self) -> None:
        _check_ranges(self)
        if np.linalg.eigvalsh(self._latent)[0] < 1e-9:
            low, high = self.possible_between
            raise InputError(
                f"two models with r = {self.r_baseline:.3f} and {self.r_model:.3f} to the true preferences cannot "
                f"correlate {self.between:.3f} with each other, only between {low:.3f} and {high:.3f}"
            )

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

    def draw(self, studies: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Draw studies: predictions of the baseline and the model, and people's mean, each (studies, pairs)."""
        prompts, _ = self.labels
        root, shared = np.linalg.cholesky(self._latent).astype(np.float32), np.float32(self.prompt_correlation)
        scores = rng.standard_normal((3, studies, self.pairs), dtype=np.float32)
        if self.per_prompt > 1:
            common = rng.standard_normal((3, studies, int(prompts[-1]) + 1), dtype=np.float32)
            scores = np.sqrt(shared) * common[..., prompts] + np.sqrt(1 - shared) * scores
        truth, baseline, model = self._marginal.of_scores(np.tensordot(root, scores, axes=1))
        return baseline, model, self._rate(truth, rng)

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
        if self.ratings == "votes":
            votes: FloatArray = rng.binomial(self.annotators, truth) / self.annotators
            return votes
        total = np.zeros(truth.shape)
        for _ in range(self.annotators):
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
        return self.values[index.astype(np.int32)]


def _correlations(values: FloatArray, terms: int = 60) -> tuple[FloatArray, FloatArray]:
    """What correlation of normal scores makes what correlation of values, by Hermite's expansion (Mehler 1866).

    With g = sum of c_k He_k / sqrt(k!), scores that correlate rho make values that correlate
    sum c_k^2 rho^k / sum c_k^2.
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


def estimate_power(
    design: Design, *, alpha: float = 0.05, studies: int = 2000, seed: int = 0, test: PairedTest = swap_test
) -> float:
    """Find the share of studies of this design in which the test rejects at level alpha.

    Of two equally good models (``r_model`` = ``r_baseline``) this is the size of the test, alpha if all is well. The
    standard error of the share s is sqrt(s (1 - s) / studies).
    """
    rng = np.random.default_rng(seed)
    rejected, chunk = 0, max(1, min(_STUDIES_AT_ONCE, _CELLS // design.pairs))
    for start in range(0, studies, chunk):
        drawn = design.draw(min(chunk, studies - start), rng)
        rejected += int((test(*drawn, *design.labels, rng) <= alpha).sum())
    return rejected / studies


def find_pairs(
    design: Design,
    power: float = 0.8,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    test: PairedTest = swap_test,
    progress: Callable[[], object] = lambda: None,
) -> int | None:
    """Find the fewest pairs at which a study of this design (but for its size) reaches a power.

    Power is simulated at some sizes around a first guess from the normal approximation; a line through its probits
    over sqrt(n), monotone as power is, gives the size. Known to some 3 percent, and rounded up to whole prompts in
    each data set.

    Args:
        progress: called after each of `SEARCH_STEPS` simulations.

    Returns:
        None where more than `MOST_PAIRS` are needed.

    Raises:
        InputError: the two models do not differ.
    """
    if design.r_model == design.r_baseline:
        raise InputError(
            "the two models are equally good: no number of pairs finds a difference; give one that is not 0"
        )
    unit = design.data_sets * design.per_prompt
    guess = _first_guess(design, power, alpha, seed)
    if guess > 1.5 * MOST_PAIRS:
        return None
    sizes, powers, weights = [], [], []
    for step, factor in enumerate(SEARCH_STEPS):
        size = _whole(guess * factor, unit, design.data_sets)
        studies = int(np.clip(1_500_000 / size, 100, 800))
        found = estimate_power(replace(design, pairs=size), alpha=alpha, studies=studies, seed=seed + step, test=test)
        sizes.append(size)
        powers.append((found * studies + 0.5) / (studies + 1))
        weights.append(studies)
        progress()
    needed = _cross(np.array(sizes), np.array(powers), np.array(weights), power)
    size = _whole(needed, unit, design.data_sets)
    return size if size <= MOST_PAIRS else None


SEARCH_STEPS = (0.5, 0.7, 0.9, 1.1, 1.4, 1.8)
"""Sizes at which `find_pairs` simulates, in terms of its first guess."""


def _first_guess(design: Design, power: float, alpha: float, seed: int) -> float:
    """n from the normal approximation, with the standard error of a simulated difference of Fisher's z."""
    size = _whole(200, design.data_sets * design.per_prompt, design.data_sets)
    pilot = replace(design, pairs=size)
    baseline, model, human = pilot.draw(400, np.random.default_rng([seed, 1]))
    spread = (_fisher(model, human, pilot) - _fisher(baseline, human, pilot)).std() * np.sqrt(size)
    shrink = design.attenuation()
    distance = abs(np.arctanh(design.r_model * shrink) - np.arctanh(design.r_baseline * shrink))
    return float(((ndtri(1 - alpha / 2) + ndtri(power)) * spread / distance) ** 2)


def _fisher(predicted: FloatArray, human: FloatArray, design: Design) -> FloatArray:
    """Mean over the data sets of Fisher's z, shape (studies,)."""
    starts = np.flatnonzero(np.diff(design.labels[1], prepend=-1))
    parts = zip(np.split(predicted, starts[1:], axis=1), np.split(human, starts[1:], axis=1), strict=True)
    result: FloatArray = np.mean([np.arctanh(_r(p, h)) for p, h in parts], axis=0)
    return result


def _r(x: FloatArray, y: FloatArray) -> FloatArray:
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    bottom = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    result: FloatArray = np.clip((x * y).sum(axis=1) / np.maximum(bottom, 1e-12), -0.999, 0.999)
    return result


def _cross(sizes: FloatArray, powers: FloatArray, studies: FloatArray, power: float) -> float:
    """Where a weighted line through probits over sqrt(n) reaches a power; it rises, whatever chance did to the shares."""
    probits, root = ndtri(powers), np.sqrt(sizes)
    weight = studies * np.exp(-(probits**2)) / (powers * (1 - powers))
    mean_root, mean_probit = np.average(root, weights=weight), np.average(probits, weights=weight)
    above = root - mean_root
    bottom = weight @ above**2
    slope = weight @ (above * (probits - mean_probit)) / bottom if bottom > 0 else 0.0
    if slope <= 0:
        return float(np.min(sizes) if mean_probit >= ndtri(power) else np.max(sizes))
    return float(max(mean_root + (ndtri(power) - mean_probit) / slope, 0) ** 2)


def _whole(size: float, unit: int, data_sets: int) -> int:
    """Round up to whole prompts in each data set, of which each needs `FEWEST_PAIRS`."""
    least = max(size, FEWEST_PAIRS * data_sets)
    return int(np.ceil(least / unit)) * unit


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
