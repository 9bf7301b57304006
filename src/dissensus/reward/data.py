"""From targets to what training reads: encoded texts, the pairs' indices into them, and what is held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import TrainingError
from dissensus.records import Text
from dissensus.reward.config import TrainConfig
from dissensus.reward.encoding import Encoding
from dissensus.reward.targets import Targets
from dissensus.reward.tokens import EncodedTexts
from dissensus.stats.intervals import number_labels


@dataclass(frozen=True)
class TrainingData:
    """Encoded texts and what each pair needs of them."""

    targets: Targets
    encoded: EncodedTexts
    """Each distinct (prompt, response) once."""
    texts: NDArray[np.int64]
    """Shape (pairs, 2): the texts of response a and b."""
    groups: NDArray[np.int64]
    """Shape (pairs,): each pair's prompt."""


def split_targets(targets: Targets, config: TrainConfig) -> tuple[Targets, Targets | None]:
    """Hold out whole prompts for validation, chosen by the seed."""
    if not config.validation:
        return targets, None
    names = sorted({pair.group for pair in targets.pairs})
    held = max(round(config.validation * len(names)), 1)
    if held >= len(names):
        raise TrainingError(f"validation needs at least two prompts (groups), the data has {len(names)}")
    order = np.random.default_rng(config.seed).permutation(len(names))
    chosen = {names[index] for index in order[:held]}
    inside = np.array([pair.group in chosen for pair in targets.pairs])
    return _pick(targets, ~inside), _pick(targets, inside)


def _pick(targets: Targets, rows: NDArray[np.bool_]) -> Targets:
    return Targets(
        pairs=[pair for pair, keep in zip(targets.pairs, rows, strict=True) if keep],
        target=targets.target[rows],
        margin=targets.margin[rows],
        label=targets.label[rows],
        ties_dropped=targets.ties_dropped,
        unlabelled_dropped=targets.unlabelled_dropped,
        unjudged_dropped=targets.unjudged_dropped,
    )


def encode_targets(targets: Targets, encoding: Encoding, *, cache: Path | None = None) -> TrainingData:
    """Encode each distinct text once, through the cache of tokens if one is given."""
    position: dict[tuple[Text, Text], int] = {}
    rows = [
        [position.setdefault((pair.prompt, response), len(position)) for response in (pair.response_a, pair.response_b)]
        for pair in targets.pairs
    ]
    _, groups = number_labels([pair.group for pair in targets.pairs])
    encoded = encoding.encode(list(position), cache=cache)
    return TrainingData(targets, encoded, np.array(rows), groups.astype(np.int64))
