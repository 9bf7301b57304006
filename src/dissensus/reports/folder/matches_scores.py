"""Whether pairs and predictions are those that a scorecard was made from: they give its L1 again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dissensus.errors import EvaluationError
from dissensus.evaluation.groups import ALL
from dissensus.evaluation.join import join
from dissensus.records import Metric, Pair, Prediction

_ROUNDING = 1e-6


def is_calibrated(pairs: Sequence[Pair], predictions: Sequence[Prediction], metrics: Sequence[Metric]) -> bool | None:
    """Tell whether calibrated or raw preferences give the L1 of a scorecard on all pairs; None where neither do.

    What cannot be compared, as there are no votes or no L1, is taken for raw.
    """
    known = {row.model: row.value for row in metrics if _is_l1(row) and row.value is not None}
    ids = {pair.id for pair in pairs}
    own = [row for row in predictions if row.pair_id in ids]
    raw = _l1(pairs, own, calibrated=False)
    if not raw.keys() & known.keys():
        return False
    found = {False: raw, True: _l1(pairs, own, calibrated=True)}
    return next((calibrated for calibrated, l1 in found.items() if _is_same(l1, known)), None)


def _is_l1(row: Metric) -> bool:
    about = (row.kind, row.group, row.metric, row.target, row.baseline)
    return about == ("model", ALL, "l1", "votes", None)


def _l1(pairs: Sequence[Pair], predictions: Sequence[Prediction], *, calibrated: bool) -> dict[str, float]:
    """Compute each model's L1, the mean over its seeds; empty where pairs and predictions do not fit together."""
    try:
        joined = join(pairs, predictions, calibrated=calibrated, allow_missing=True)
    except EvaluationError:
        return {}
    return {model: float(np.abs(rows - joined.human).mean()) for model, rows in joined.predicted.items()}


def _is_same(found: dict[str, float], known: dict[str, float]) -> bool:
    both = found.keys() & known.keys()
    return bool(both) and all(math.isclose(found[model], known[model], abs_tol=_ROUNDING) for model in both)
