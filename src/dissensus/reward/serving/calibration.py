"""Calibration of predicted probabilities, fitted after training on votes that the model was not trained on.

A calibrated preference is sigma(slope * gap + intercept), the gap being the difference of two rewards, or the
log-odds of the preference where rewards are distributions; of several members, the mean of theirs under one slope,
fitted for that mean. The model itself stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeFloat, PositiveFloat, PositiveInt
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_expit, logsumexp, softmax

from dissensus.errors import InputError, TrainingError
from dissensus.files import write_json
from dissensus.records import LABEL_VALUE, Pair
from dissensus.reward.config import CalibrationMethod
from dissensus.versions import stamped, unreadable, without_stamp

CALIBRATION_FILE = "calibration.json"

FEW_PAIRS = 20
"""A calibration on fewer pairs is noted as a rough one, and none is fitted on fewer unless somebody asks for it."""
HELD_OUT_LOG_SD = 1.0
"""Of the prior on log T where a temperature is fitted after training, on however few labels were held out: by it T is
within a factor of 2.7 of 1 in two of three cases. A hundred labels of a model that is sure of itself drown it."""
_PRIOR_DEVIATION = 10.0
"""Of the prior on what calibration adds to a typical log-odds. One vote in favour weighs more, except where the data
leave the slope free."""
_LEAST_LOG_ODDS = 1e-3
"""That a gap of typical size is calibrated to, where the votes contradict the model."""
_GRID = np.geomspace(1 / 64, 64, 61)
"""Multiples of the raw slope that the fit of an average begins from."""

FloatArray = NDArray[np.float64]


class Calibration(BaseModel):
    """A fitted calibration; ``calibration.json`` in a model's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: CalibrationMethod
    slope: PositiveFloat
    """Factor on the gap: 1 / temperature."""
    intercept: FiniteFloat = 0.0
    """Log-odds for response a at equal rewards; 0 for ``temperature``."""
    nll_before: NonNegativeFloat
    """Mean negative log-likelihood of a vote under sigma(gap)."""
    nll_after: NonNegativeFloat
    """The same under the calibrated preference, on the same votes: never more."""
    pairs: PositiveInt
    votes: PositiveFloat
    """Sum of the weights: votes, and labels where a pair has none."""
    note: str | None = None
    """What to beware of."""

    @property
    def temperature(self) -> float:
        """What the gap is divided by: above 1 where the model was too sure."""
        return 1 / self.slope

    def __str__(self) -> str:
        """Say what it is: ``temperature 1.42``, with the intercept where it has one."""
        intercept = f", intercept {self.intercept:+.3f}" if self.method == "platt" else ""
        return f"temperature {self.temperature:.4g}{intercept}"

    def preference(self, gap: FloatArray) -> FloatArray:
        """Return the calibrated probability that response a is preferred, shape (pairs,).

        Gaps are of one model, shape (pairs,), or of several members, shape (members, pairs).
        """
        calibrated: FloatArray = expit(self.slope * gap + self.intercept)
        return calibrated if calibrated.ndim == 1 else calibrated.mean(axis=0)


def fit_calibration(
    gap: FloatArray,
    preference: FloatArray,
    weight: FloatArray,
    method: CalibrationMethod = "temperature",
    *,
    log_sd: float | None = None,
) -> Calibration:
    """Fit a calibration by maximum likelihood of votes; arrays of shape (pairs,).

    ``preference`` is the fraction of a pair's votes for response a, ``weight`` the number of its votes. ``gap`` may be
    of several members, shape (members, pairs), whose calibrated preferences are averaged.

    ``temperature`` (Guo et al., 2017, arXiv:1706.04599) has one positive factor, which keeps the order of the gaps and
    the antisymmetry of preferences. ``platt`` (Platt, 1999) adds an intercept, a preference for the side on which a
    response stands: use it where the sides mean something (a is the current answer, say).

    Where the gaps separate the votes without an error the likelihood has no maximum, so a weak normal prior, centred on
    no change, holds what calibration adds to a log-odds of typical size to a standard deviation of 10; the fit is never
    less likely than the raw model. The slope stays positive: where the votes contradict the model it stops where a
    typical gap means log-odds of 0.001. Both cases are reported in ``note``.

    With ``log_sd`` the logarithm of the temperature has a normal prior of this standard deviation about 0: of few
    votes, by which a model may be contradicted by chance, the temperature is drawn to 1.

    Raises TrainingError where there are no pairs, or all gaps are 0, or a gap is not a number; ValueError where shapes
    differ, a preference is outside [0, 1] or a weight is not positive.
    """
    _check(gap, preference, weight)
    gap = gap[0] if gap.shape[0] == 1 and gap.ndim == 2 else gap
    squares = gap**2 if gap.ndim == 1 else (gap**2).mean(axis=0)
    scale = float(np.sqrt(np.average(squares, weights=weight)))
    if scale == 0:
        raise TrainingError("the model gives both responses of every pair the same reward: nothing to calibrate")
    total = float(weight.sum())
    # In units of the typical gap, so that the fit is the same whatever unit rewards have.
    design = np.stack([gap / scale, np.ones_like(gap)], axis=-1)
    raw, precision = np.array([scale, 0.0]), 1 / (_PRIOR_DEVIATION**2 * total)
    log_precision = 0.0 if log_sd is None else 1 / (log_sd**2 * total)

    def loss(parameters: FloatArray) -> float:
        change, log_slope = parameters - raw, np.log(parameters[0] / scale)
        prior = float(change @ change) * precision + float(log_slope**2) * log_precision
        return mean_nll(design @ parameters, preference, weight) + prior / 2

    def gradient(parameters: FloatArray) -> FloatArray:
        by_gap = _slope_of_nll(design @ parameters, preference, weight)
        change: FloatArray = (parameters - raw) * precision
        change[0] += np.log(parameters[0] / scale) / parameters[0] * log_precision
        return np.asarray(np.tensordot(by_gap, design, axes=by_gap.ndim) + change)

    least = _LEAST_LOG_ODDS * min(scale, 1.0)
    is_convex = gap.ndim == 1 and log_sd is None
    if is_convex:
        fitted = np.array([_root(lambda slope: float(gradient(np.array([slope, 0.0]))[0]), least, scale), 0.0])
    else:
        # There may be several maxima: from the best of a grid to the one beside it.
        fitted = min((np.array([max(slope, least), 0.0]) for slope in scale * _GRID), key=loss)
    if method == "platt" or not is_convex:
        free = (None, None) if method == "platt" else (0.0, 0.0)
        options = {"ftol": 0, "gtol": 1e-12}
        fitted = minimize(loss, fitted, jac=gradient, bounds=[(least, None), free], options=options).x
    before, after = (mean_nll(design @ parameters, preference, weight) for parameters in (raw, fitted))
    if after > before:  # by rounding, where the raw model is the best one
        fitted, after = raw, before
    notes = []
    if len(preference) < FEW_PAIRS:
        notes.append(f"rests on only {len(preference)} pairs")
    if _separates(gap, preference, method):
        notes.append("the model errs on none of these votes, so its calibrated probabilities rest on the prior")
    if float(fitted[0]) <= 1.01 * least:
        notes.append("the votes contradict the model, so its calibrated probabilities are all near one half")
    return Calibration(
        method=method,
        slope=float(fitted[0]) / scale,
        intercept=float(fitted[1]),
        nll_before=before,
        nll_after=after,
        pairs=len(preference),
        votes=total,
        note="; ".join(notes) or None,
    )


def calibrated_nll(gap: FloatArray, label: FloatArray) -> float:
    """Return the mean NLL of labels after a temperature that is fitted to them: what scale a model has is not judged.

    Never above log 2, which is that of equal rewards: a model that contradicts the labels is worth no more.

    Args:
        gap: log-odds for response a, shape (pairs,), or (members, pairs) of models whose preferences are averaged.
        label: 1 for a, 0 for b, shape (pairs,); other pairs, ties among them, are left out.
    """
    decided = (label == 0) | (label == 1)
    if not np.isfinite(gap).all():
        return float("inf")
    if not gap[..., decided].any():
        return float(np.log(2))
    return fit_calibration(gap[..., decided], label[decided], np.ones(int(decided.sum()))).nll_after


def observed_preferences(pairs: Sequence[Pair]) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
    """Return which pairs people judged, with preference and weight to fit on; each of shape (judged pairs,).

    A pair's votes count as many as they are; where it has none, its label counts as one vote, a tie as half a vote
    for each side. Other pairs are left out.
    """
    found: list[tuple[int, float, int]] = []
    for row, pair in enumerate(pairs):
        if pair.votes is not None:
            found.append((row, pair.votes.preference, pair.votes.n))
        elif pair.label is not None:
            found.append((row, LABEL_VALUE[pair.label], 1))
    rows, preference, weight = zip(*found, strict=True) if found else ((), (), ())
    return np.array(rows, dtype=np.intp), np.array(preference, dtype=float), np.array(weight, dtype=float)


def check_observed(pairs: Sequence[Pair]) -> None:
    """Raise TrainingError where people judged none of these pairs."""
    if not observed_preferences(pairs)[0].size:
        raise TrainingError(f"none of the {len(pairs)} pairs has votes or a label to calibrate on; give some that do")


def check_enough(pairs: int) -> None:
    """Raise TrainingError where so few held-out pairs have votes or a label that a calibration would be chance."""
    if pairs < FEW_PAIRS:
        raise TrainingError(
            f"{pairs} of the held-out pairs have votes or a label, and fewer than {FEW_PAIRS} say little; raise "
            "--validation, or run 'dissensus calibrate' on other pairs"
        )


def save_calibration(folder: str | Path, calibration: Calibration) -> Path:
    """Write ``calibration.json`` into a model's folder, at once or not at all, and return its path.

    Raises InputError where there is no such folder, OutputError where it cannot be written.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder; a calibration is kept in the folder of its model, so give that")
    path = Path(folder) / CALIBRATION_FILE
    write_json(path, stamped(calibration.model_dump(mode="json")))
    return path


def load_calibration(folder: str | Path) -> Calibration | None:
    """Read the calibration of a model's folder; None where it has none. Raises InputError for a damaged file."""
    path = Path(folder) / CALIBRATION_FILE
    return read_calibration(path) if path.is_file() else None


def not_calibrated(name: str) -> str:
    """Say what to do with a model of this name that has no calibration, and should have one."""
    remedy = "fit one with 'dissensus calibrate' on pairs with votes, or predict without --calibrated"
    return f"model '{name}' has no calibration; {remedy}"


def read_calibration(path: Path) -> Calibration:
    """Read a calibration that ``save_calibration`` wrote. Raises InputError for a damaged or a newer file."""
    content = None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Calibration.model_validate(without_stamp(content))
    except ValueError as error:
        otherwise = "not a calibration; run 'dissensus calibrate' again, or remove it"
        raise unreadable(path, content, otherwise) from error


def _root(slope: Callable[[float], float], low: float, high: float) -> float:
    """Find where an increasing function is 0; ``low`` where that lies below."""
    if slope(low) >= 0:
        return low
    while slope(high) < 0:
        high *= 2
    return float(brentq(slope, low, high, rtol=1e-12))


def mean_nll(z: FloatArray, preference: FloatArray, weight: FloatArray) -> float:
    """Mean of -log of the probability of a vote under sigma(z), or its mean over members; stable for every z."""
    if z.ndim == 1:
        return float(np.average(np.logaddexp(0, z) - preference * z, weights=weight))
    for_a, for_b = (logsumexp(log_expit(sign * z), axis=0) - np.log(len(z)) for sign in (1, -1))
    return float(np.average(-preference * for_a - (1 - preference) * for_b, weights=weight))


def _slope_of_nll(z: FloatArray, preference: FloatArray, weight: FloatArray) -> FloatArray:
    """Derivative of ``mean_nll`` by each z, of the same shape."""
    share = weight / weight.sum()
    if z.ndim == 1:
        return np.asarray(share * (expit(z) - preference))
    for_a, for_b = (softmax(log_expit(sign * z), axis=0) * expit(-sign * z) for sign in (1, -1))
    return np.asarray(share * ((1 - preference) * for_b - preference * for_a))


def _separates(gap: FloatArray, preference: FloatArray, method: CalibrationMethod) -> bool:
    for_a, for_b = gap[..., preference > 0], gap[..., preference < 1]
    if method == "platt":
        return bool(for_a.size == 0 or for_b.size == 0 or for_a.min() >= for_b.max())
    return bool((for_a >= 0).all() and (for_b <= 0).all())


def _check(gap: FloatArray, preference: FloatArray, weight: FloatArray) -> None:
    if gap.ndim not in (1, 2) or gap.shape[-1:] != preference.shape or preference.shape != weight.shape:
        raise ValueError(f"expected one shape (pairs,), found {gap.shape}, {preference.shape} and {weight.shape}")
    if gap.size == 0:
        raise TrainingError("there are no pairs to calibrate on; give pairs with votes or labels")
    if not ((preference >= 0) & (preference <= 1)).all():
        raise ValueError("a preference is a fraction from 0 to 1")
    if not ((weight > 0) & (weight < np.inf)).all():
        raise ValueError("a weight is a number of votes above 0")
    broken = int((~np.isfinite(np.atleast_2d(gap))).any(axis=0).sum())
    if broken:
        raise TrainingError(f"the model gives rewards that are not numbers for {broken} of {preference.size} pairs")
