"""One model of a study with one seed: at its own learning rate, at the best of a sweep, or at an earlier best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dissensus.records import Margin, Pair
from dissensus.reward.config import Sweep, TrainConfig
from dissensus.steps import train


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
    settings = train.TrainSettings(pairs="", out=out, training=config, sweep=sweep or Sweep(), overwrite=True)
    if sweep is not None and out != first:
        settings = train.with_rate_of(settings, first)
    return train.run(settings, pairs=pairs, margins=margins, progress=progress).counts()
