"""Predictions and votes, brought together by pair id; a double is an error, never a guess, and so is a hole.

Predictions may be for more pairs than are evaluated: those of other pairs are passed over and counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dissensus.errors import EvaluationError
from dissensus.records import Pair, Prediction
from dissensus.stats.metrics import FloatArray


@dataclass(frozen=True)
class Joined:
    """The n pairs that people voted on, with what they and the models say."""

    pairs: tuple[Pair, ...]
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

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(self.predicted)


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
    by_id = {pair.id: pair for pair in listed}
    if not listed:
        raise EvaluationError("there are no pairs to evaluate on")
    if doubled := [pair_id for pair_id, count in Counter(pair.id for pair in listed).items() if count > 1]:
        raise EvaluationError(f"{_count(doubled, 'pair id')} more than once in the pairs: {_some(doubled)}")
    voted = [pair for pair in by_id.values() if pair.votes is not None]
    if not voted:
        raise EvaluationError(
            f"none of the {len(by_id)} pairs carries votes, so there is nothing to compare with; "
            "give pairs with votes_a and votes_b (or a votes list)"
        )
    said = {run: _Said.of(own, calibrated) for run, own in _by_run(predictions).items()}
    by_run = {run: one.preference for run, one in said.items()}
    if not by_run:
        raise EvaluationError("there are no predictions; run 'dissensus predict' first")
    for run, preference in by_run.items():
        _check_ids(_name(*run), preference, by_id, voted, allow_missing=allow_missing)
    common = [pair for pair in voted if all(pair.id in preference for preference in by_run.values())]
    if not common:
        raise EvaluationError(
            "no pair with votes has a prediction of every model and seed; predict again on the same pairs, or evaluate "
            f"one at a time: {_some(_name(*run) for run in by_run)}"
        )
    predicted: dict[str, list[list[float]]] = {}
    # Models in the order in which they come, each one's seeds by number: seed i is compared with seed i.
    models = list(dict.fromkeys(model for model, _ in by_run))
    in_order = sorted(by_run, key=lambda run: (models.index(run[0]), -1 if run[1] is None else run[1]))
    for model, seed in in_order:
        predicted.setdefault(model, []).append([by_run[model, seed][pair.id] for pair in common])
    return Joined(
        pairs=tuple(common),
        human=np.array([pair.votes.preference for pair in common if pair.votes is not None]),
        predicted={model: np.array(rows) for model, rows in predicted.items()},
        calibrated={
            model: words
            for model in models
            if (words := _calibration_in_words([said[run] for run in in_order if run[0] == model]))
        },
        without_votes=len(by_id) - len(voted),
        without_predictions=len(voted) - len(common),
        predicted_elsewhere=len(set().union(*by_run.values()) - by_id.keys()),
    )


def _name(model: str, seed: int | None) -> str:
    return f"model {model!r}" + (f" (seed {seed})" if seed is not None else "")


_Run = tuple[str, int | None]
"""A model and its seed."""


def _by_run(predictions: Iterable[Prediction]) -> dict[_Run, dict[str, Prediction]]:
    by_run: dict[_Run, dict[str, Prediction]] = {}
    doubled: dict[tuple[str, int | None, str], None] = {}
    for prediction in predictions:
        own = by_run.setdefault((prediction.model, prediction.seed), {})
        if prediction.pair_id in own:
            doubled[prediction.model, prediction.seed, prediction.pair_id] = None
        own[prediction.pair_id] = prediction
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

    preference: Mapping[str, float]
    """For response a, by the pair's id."""
    is_calibrated: bool
    temperatures: tuple[float, ...] = ()
    """By which it is calibrated, where that is known, lowest first: one, or in a cross-validation one of each fold."""

    @classmethod
    def of(cls, rows: Mapping[str, Prediction], calibrated: bool | None) -> _Said:
        if calibrated is None:
            calibrated = all(row.calibrated_a is not None for row in rows.values())
        said = {pair_id: _preference(row, calibrated=calibrated) for pair_id, row in rows.items()}
        return cls(said, calibrated, tuple(sorted({row.temperature for row in rows.values() if row.temperature})))

    def in_words(self) -> str:
        """Write the temperature, or the lowest and the highest."""
        if not self.is_calibrated:
            return "none"
        ends = dict.fromkeys(f"{one:.3g}" for one in (*self.temperatures[:1], *self.temperatures[-1:]))
        return " to ".join(ends) or "?"


def _calibration_in_words(seeds: Sequence[_Said]) -> str:
    """Say by what a model's seeds are calibrated; nothing where none is."""
    if not any(said.is_calibrated for said in seeds):
        return ""
    numbers = [said.in_words() for said in seeds]
    if set(numbers) == {"?"}:
        return "by their source"
    return f"temperature{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"


def _preference(prediction: Prediction, *, calibrated: bool) -> float:
    # Files cannot hold what is no number, but records that were made without validation can.
    numbers = (prediction.preference_a, prediction.reward_a or 0.0, prediction.reward_b or 0.0)
    if not all(map(math.isfinite, numbers)):
        raise EvaluationError(
            f"model {prediction.model!r}: the rewards of pair {prediction.pair_id} are {prediction.reward_a} and "
            f"{prediction.reward_b}, its preference {prediction.preference_a}; all must be numbers, so look at the "
            "model (did its training diverge?)"
        )
    if not calibrated:
        return prediction.preference_a
    if prediction.calibrated_a is None:
        raise EvaluationError(
            f"model {prediction.model!r}: the prediction for {prediction.pair_id} has no calibrated preference; "
            "make one with 'dissensus predict --calibrated', or evaluate the raw ones"
        )
    return prediction.calibrated_a


def _check_ids(
    name: str, preference: Mapping[str, float], by_id: Mapping[str, Pair], voted: list[Pair], *, allow_missing: bool
) -> None:
    if by_id.keys().isdisjoint(preference):
        raise EvaluationError(
            f"{name}: none of its {len(preference)} predictions is for one of the {len(by_id)} pairs: "
            f"{_some(preference)}; give the pairs that the model predicted on"
        )
    missing = [pair.id for pair in voted if pair.id not in preference]
    if missing and not allow_missing:
        raise EvaluationError(
            f"{name}: no prediction for {len(missing)} of {len(voted)} pairs with votes: {_some(missing)}; "
            "every model must be compared on the same pairs, so predict again on all of them, or leave out the pairs "
            "that not every model has a prediction for (allow_missing=True)"
        )


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun} is" if len(things) == 1 else f"{len(things)} {noun}s are"


def _some(ids: Iterable[str], most: int = 3) -> str:
    listed = list(ids)
    return ", ".join(listed[:most]) + (", …" if len(listed) > most else "")
