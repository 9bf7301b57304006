"""Predictions and votes, brought together by pair id; a double is an error, never a guess, and so is a hole.

Predictions may be for more pairs than are evaluated: those of other pairs are passed over and counted.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import EvaluationError
from dissensus.evaluation.pair_columns import PairColumns
from dissensus.records import Pair, Prediction
from dissensus.stats.metrics import FloatArray


@dataclass(frozen=True)
class Joined:
    """The n pairs that people voted on, with what they and the models say."""

    pairs: tuple[Pair, ...]
    """The pairs themselves; none where they were given in columns."""
    human: FloatArray
    """Shape (n,): the fraction of people that prefers response a."""
    predicted: Mapping[str, FloatArray]
    """For each model, in the order of the predictions, preferences of shape (seeds, n)."""
    calibrated: Mapping[str, str] = field(default_factory=dict)
    """Of models whose preferences are calibrated, by what, in words: ``temperature 1.42``, or one for each seed."""
    without_votes: int = 0
    """Pairs that were left out because nobody voted on them."""
    without_predictions: int = 0
    """Pairs with votes that were left out because a model or a seed has no prediction for them."""
    predicted_elsewhere: int = 0
    """Pairs that predictions are for and that are not among those given."""
    given: PairColumns | None = None
    """The pairs in columns, where they were given so."""

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(self.predicted)

    @cached_property
    def columns(self) -> PairColumns:
        """The pairs in columns."""
        return PairColumns.read(self.pairs) if self.given is None else self.given


def join(
    pairs: Iterable[Pair],
    predictions: Iterable[Prediction],
    *,
    calibrated: bool | None = None,
    allow_missing: bool = False,
) -> Joined:
    """Join predictions with votes by pair id, for every model and seed.

    What a model says is its calibrated preference where all predictions of that model and seed have one, and otherwise
    the raw one; ``calibrated`` False takes raw ones everywhere, True insists on calibrated ones.

    Pairs without votes are left out and counted, as are predictions for other pairs. With ``allow_missing``, so are
    pairs that a model or seed has no prediction for: every model is compared on the pairs that all have in common.

    Raises:
        EvaluationError: no pair carries votes; there are no predictions; a pair or a prediction occurs twice; a model
            or seed has predictions for other pairs only; without ``allow_missing``, it lacks a prediction for a pair
            with votes, and with it, no pair is left; calibrated preferences are insisted on and a prediction has none;
            a reward is not a number.
    """
    listed = list(pairs)
    joined = join_columns(PairColumns.read(listed), predictions, calibrated=calibrated, allow_missing=allow_missing)
    known = set(joined.columns.ids)
    return replace(joined, pairs=tuple(pair for pair in listed if pair.id in known), given=None)


def join_columns(
    pairs: PairColumns,
    predictions: Iterable[Prediction],
    *,
    calibrated: bool | None = None,
    allow_missing: bool = False,
) -> Joined:
    """Join predictions with pairs in columns, as `join`; predictions are gone through once, and none is kept."""
    if not len(pairs):
        raise EvaluationError("there are no pairs to evaluate on")
    row = {pair_id: number for number, pair_id in enumerate(pairs.ids)}
    if len(row) < len(pairs):
        doubled = [pair_id for pair_id, count in Counter(pairs.ids).items() if count > 1]
        raise EvaluationError(f"{_count(doubled, 'pair id')} more than once in the pairs: {_some(doubled)}")
    voted = pairs.voted
    if not voted.any():
        raise EvaluationError(
            f"none of the {len(pairs)} pairs carries votes, so there is nothing to compare with; "
            "give pairs with votes_a and votes_b (or a votes list)"
        )
    by_run = _by_run(predictions, row)
    said = {run: own.said(calibrated) for run, own in by_run.items()}
    if not by_run:
        raise EvaluationError("there are no predictions; run 'dissensus predict' first")
    for run, own in by_run.items():
        _check_ids(_name(*run), own, pairs, allow_missing=allow_missing)
    common = voted & np.logical_and.reduce([own.there for own in by_run.values()])
    if not common.any():
        raise EvaluationError(
            "no pair with votes has a prediction of every model and seed; predict again on the same pairs, or evaluate "
            f"one at a time: {_some(_name(*run) for run in by_run)}"
        )
    # Models in the order in which they come, each one's seeds by number: seed i is compared with seed i.
    models = list(dict.fromkeys(model for model, _ in by_run))
    in_order = sorted(by_run, key=lambda run: (models.index(run[0]), -1 if run[1] is None else run[1]))
    runs = {model: [said[run] for run in in_order if run[0] == model] for model in models}
    kept = pairs if common.all() else pairs.take(common)
    return Joined(
        pairs=(),
        human=kept.preference,
        predicted={model: np.array([own.preference[common] for own in seeds]) for model, seeds in runs.items()},
        calibrated={model: words for model, seeds in runs.items() if (words := _calibration_in_words(seeds))},
        without_votes=int(len(pairs) - voted.sum()),
        without_predictions=int(voted.sum() - common.sum()),
        predicted_elsewhere=len(set().union(*(own.elsewhere for own in by_run.values()))),
        given=kept,
    )


def _name(model: str, seed: int | None) -> str:
    return f"model {model!r}" + (f" (seed {seed})" if seed is not None else "")


_Run = tuple[str, int | None]
"""A model and its seed."""


def _by_run(predictions: Iterable[Prediction], row: Mapping[str, int]) -> dict[_Run, _Predictions]:
    by_run: dict[_Run, _Predictions] = {}
    doubled: dict[tuple[str, int | None, str], None] = {}
    for prediction in predictions:
        run = prediction.model, prediction.seed
        own = by_run.get(run)
        if own is None:
            own = by_run[run] = _Predictions(len(row))
        if not own.add(prediction, row.get(prediction.pair_id)):
            doubled[*run, prediction.pair_id] = None
    if doubled:
        models = ", ".join(sorted({repr(model) for model, _, _ in doubled}))
        raise EvaluationError(
            f"{_count(list(doubled), 'prediction')} given more than once by {models}: "
            f"{_some(i for _, _, i in doubled)}; was a file given twice, or does another model have the same name?"
        )
    return by_run


@dataclass(frozen=True)
class _Said:
    """What a model of one seed says."""

    preference: FloatArray
    """For response a, of each pair that was given; NaN where nothing was said."""
    is_calibrated: bool
    temperatures: tuple[float, ...] = ()
    """By which it is calibrated, where that is known, lowest first: one, or in a cross-validation one of each fold."""

    def in_words(self) -> str:
        """Write the temperature, or the lowest and the highest."""
        if not self.is_calibrated:
            return "none"
        ends = dict.fromkeys(f"{one:.3g}" for one in (*self.temperatures[:1], *self.temperatures[-1:]))
        return " to ".join(ends) or "?"


class _Predictions:
    """The predictions of one model and seed, for n pairs and others."""

    def __init__(self, n: int) -> None:
        self._raw, self._calibrated = (array("d", [math.nan]) * n for _ in range(2))
        self._there = bytearray(n)
        self._temperatures: set[float] = set()
        # The first prediction that holds no numbers, and the first without a calibrated preference, by their places.
        self._broken: tuple[int, Prediction] | None = None
        self._uncalibrated: tuple[int, Prediction] | None = None
        self.elsewhere: dict[str, None] = {}
        """The other pairs that predictions are for."""
        self.count = 0

    @property
    def there(self) -> NDArray[np.bool_]:
        """Whether there is a prediction, shape (n,)."""
        return np.array(self._there, dtype=np.bool_)

    def add(self, prediction: Prediction, row: int | None) -> bool:
        """Keep what it says of the pair of this row, or of another pair; False where one was there."""
        is_new = prediction.pair_id not in self.elsewhere if row is None else not self._there[row]
        self.count += is_new
        if self._broken is None and not _holds_numbers(prediction):
            self._broken = self.count, prediction
        if self._uncalibrated is None and prediction.calibrated_a is None:
            self._uncalibrated = self.count, prediction
        if prediction.temperature:
            self._temperatures.add(prediction.temperature)
        if row is None:
            self.elsewhere[prediction.pair_id] = None
            return is_new
        self._there[row] = True
        self._raw[row] = prediction.preference_a
        self._calibrated[row] = math.nan if prediction.calibrated_a is None else prediction.calibrated_a
        return is_new

    def said(self, calibrated: bool | None) -> _Said:
        """Take the calibrated preferences or the raw ones. Raises EvaluationError for the first that is missing."""
        takes_calibrated = self._uncalibrated is None if calibrated is None else calibrated
        lacking = self._uncalibrated if takes_calibrated else None
        if self._broken is not None and (lacking is None or self._broken[0] <= lacking[0]):
            raise _no_numbers(self._broken[1])
        if lacking is not None:
            raise EvaluationError(
                f"model {lacking[1].model!r}: the prediction for {lacking[1].pair_id} has no calibrated preference; "
                "make one with 'dissensus predict --calibrated', or evaluate the raw ones"
            )
        preference = np.array(self._calibrated if takes_calibrated else self._raw, dtype=np.float64)
        return _Said(preference, takes_calibrated, tuple(sorted(self._temperatures)))


def _calibration_in_words(seeds: Sequence[_Said]) -> str:
    """Say by what a model's seeds are calibrated; nothing where none is."""
    if not any(said.is_calibrated for said in seeds):
        return ""
    numbers = [said.in_words() for said in seeds]
    if set(numbers) == {"?"}:
        return "by their source"
    return f"temperature{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"


def _holds_numbers(prediction: Prediction) -> bool:
    # Files cannot hold what is no number, but records that were made without validation can.
    return all(map(math.isfinite, (prediction.preference_a, prediction.reward_a or 0.0, prediction.reward_b or 0.0)))


def _no_numbers(prediction: Prediction) -> EvaluationError:
    return EvaluationError(
        f"model {prediction.model!r}: the rewards of pair {prediction.pair_id} are {prediction.reward_a} and "
        f"{prediction.reward_b}, its preference {prediction.preference_a}; all must be numbers, so look at the "
        "model (did its training diverge?)"
    )


def _check_ids(name: str, predictions: _Predictions, pairs: PairColumns, *, allow_missing: bool) -> None:
    there = predictions.there
    if not there.any():
        raise EvaluationError(
            f"{name}: none of its {predictions.count} predictions is for one of the {len(pairs)} pairs: "
            f"{_some(predictions.elsewhere)}; give the pairs that the model predicted on"
        )
    missing = [pairs.ids[row] for row in np.flatnonzero(pairs.voted & ~there).tolist()]
    if missing and not allow_missing:
        raise EvaluationError(
            f"{name}: no prediction for {len(missing)} of {int(pairs.voted.sum())} pairs with votes: {_some(missing)}; "
            "every model must be compared on the same pairs, so predict again on all of them, or leave out the pairs "
            "that not every model has a prediction for (allow_missing=True)"
        )


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun} is" if len(things) == 1 else f"{len(things)} {noun}s are"


def _some(ids: Iterable[str], most: int = 3) -> str:
    listed = list(ids)
    return ", ".join(listed[:most]) + (", …" if len(listed) > most else "")
