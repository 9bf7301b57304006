"""What training begins from: a backbone that gets a head, or a reward model that is trained further.

The reward of a model of ours is more than what its classifier says: length adds to it. Whoever trains it further
expects to begin from that reward, and from texts that are read as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dissensus.reward.config import TrainConfig
from dissensus.reward.fast.select import Layout
from dissensus.reward.length_covariate import LengthSlope
from dissensus.reward.model_record import RECORD_FILE, ModelRecord, left_record, read_record
from dissensus.reward.notices import report
from dissensus.reward.objectives import objective_of
from dissensus.reward.serving.reward_model import preference_logits
from dissensus.reward.serving.score import OutOfMemoryError, memory_reported, score_texts
from dissensus.reward.text.backbone import model_file
from dissensus.reward.text.encode import Style
from dissensus.reward.text.train_data import TrainingData
from dissensus.text.encoder import best_device, resolve_model

_SCORED = 8192
"""Pairs that a model is asked about before it is trained further: enough to fix one slope."""


@dataclass(frozen=True)
class Start:
    """What is known of the model that training begins from."""

    name: str
    has_reward: bool
    """Whether it has a head that is kept."""
    style: Style | None
    """How it reads prompt and response; None where nobody says."""
    length_slope: float | None
    """Of what length adds to its reward; None where that is nothing."""

    @classmethod
    def of(cls, name: str, model: Any, *, has_reward: bool) -> Start:
        """Find out; a model on the Hub is asked for its record where it has a reward."""
        asked = has_reward or Path(resolve_model(name)).is_dir()
        file = model_file(name, RECORD_FILE) if asked else None
        record: ModelRecord | None = left_record(model.config) if file is None else read_record(file)
        summary = record.summary if record else None
        slope = summary.length_slope if summary and has_reward else None
        return cls(name, has_reward, record.text_style if record else None, slope)

    def report_loss_of_length(self, config: TrainConfig) -> None:
        """Say where length is in the reward that training begins from, and not in the one that is trained."""
        if self.length_slope is not None and not config.adds_length:
            report(
                f"{self.name}: {self.length_slope:+.3f} * log(characters of the response) is in its reward, and left "
                "out here: training begins from its classifier alone; --length-covariate keeps length"
            )

    def fit_length(
        self, model: Any, layout: Layout, data: TrainingData, config: TrainConfig, *, sharded: bool
    ) -> LengthSlope | None:
        """Fit the slope of the length covariate, beside what the loaded model says of the pairs.

        Where weights will be ``sharded`` and no device holds them whole, the slope stays what it was.
        """
        if not config.adds_length:
            return None
        if not self.has_reward:
            return LengthSlope.fit(data.targets)
        own = self.length_slope or 0.0
        pairs = len(data.texts)
        rows = np.unique(np.linspace(0, pairs - 1, min(_SCORED, pairs)).astype(np.int64))
        texts, places = np.unique(data.texts[rows], return_inverse=True)
        try:
            with memory_reported("a whole model on one device"):
                outputs = score_texts(model.to(best_device()), layout, data.encoded, rows=texts)
        except OutOfMemoryError:
            if not sharded:
                raise
            report(
                f"{self.name}: no device holds it whole, so length begins with {own:+.3f} * log(characters of the "
                "response), as in its reward; held-out labels alone correct it"
            )
            return LengthSlope(own, 0.0)
        finally:
            if sharded:
                model.to("cpu")
        gap = preference_logits(objective_of(config), outputs[places.reshape(-1, 2)])
        chosen = np.zeros(pairs, dtype=bool)
        chosen[rows] = True
        return LengthSlope.fit_beside(gap, own, data.targets.rows(chosen))
