"""One model of a study with one seed: at its own learning rate, at the best of a sweep, or at an earlier best."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dissensus.records import Margin, Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.model_record import RECORD_FILE
from dissensus.study.parts import Sweep

_SHOWN = ("pairs", "ties_dropped", "texts", "texts_truncated", "steps", "resumed_from", "nll")


def usable_pairs(pairs: Sequence[Pair], margins: Mapping[str, Sequence[Margin]]) -> list[Pair]:
    """Keep the pairs that every judge has a margin for: every model sees the same, or their data would be compared."""
    usable = set.intersection(*({margin.pair_id for margin in found} for found in margins.values()))
    return [pair for pair in pairs if pair.id in usable]


def train_model(
    pairs: Sequence[Pair],
    config: TrainConfig,
    out: Path,
    *,
    margins: Sequence[Margin],
    sweep: Sweep | None,
    first: Path,
    progress: bool,
) -> dict[str, Any]:
    """Train one model into ``out``, resuming what was cut off; returns counts.

    With a sweep, the first seed's model, in ``first``, chooses the learning rate, and those of other seeds take it.
    """
    from dissensus.reward.training.run import train
    from dissensus.reward.training.sweep import SWEEP_FILE
    from dissensus.reward.training.sweep import sweep as try_rates

    options: dict[str, Any] = {"margins": margins, "overwrite": True, "progress": progress}
    if sweep is None:
        return _counts(train(pairs, config, out, **options).model_dump())
    if out == first:
        chosen = try_rates(pairs, config, sweep.values(), out, metric=sweep.metric, patience=sweep.patience, **options)
        summary = json.loads((out / RECORD_FILE).read_text())["summary"]
        return {**_counts(summary), "rates": len(chosen.rates), "learning_rate": chosen.best}
    best = json.loads((first / SWEEP_FILE).read_text())["best"]
    return _counts(train(pairs, config.model_copy(update={"learning_rate": best}), out, **options).model_dump())


def _counts(summary: dict[str, Any]) -> dict[str, Any]:
    rounded = {**summary, "nll": None if summary["nll"] is None else round(summary["nll"], 4)}
    return {key: value for key, value in rounded.items() if key in _SHOWN}
