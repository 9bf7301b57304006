"""Studies without the two stages that take long, for tests of everything else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


class _Guess:
    """A reward model that prefers by a hash of the pair's id."""

    def predict(self, pairs: Any, *, name: str, seed: int | None = None, **_: Any) -> list[Any]:
        from dissensus.hashing import number_of
        from dissensus.records import Prediction

        shares = {pair.id: number_of(pair.id) % 97 / 97 for pair in pairs}
        return [
            Prediction(pair_id=id, model=name, seed=seed, reward_a=share, reward_b=0.5, preference_a=share)
            for id, share in shares.items()
        ]


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train no model and draw no page: a study leaves files of the same names."""

    def train(settings: Any, *, pairs: Any, **_: Any) -> Any:
        settings.out.mkdir(parents=True, exist_ok=True)
        (settings.out / "model.safetensors").write_bytes(b"")
        (settings.out / "dissensus.json").write_text("{}")
        return SimpleNamespace(counts=lambda: {"pairs": len(pairs)})

    def page(folder: Path, out: Path, **_: Any) -> None:
        out.write_text("<html></html>")

    monkeypatch.setattr("dissensus.steps.train.run", train)
    monkeypatch.setattr("dissensus.reward.serving.reward_model.RewardModel.load", lambda _: _Guess())
    monkeypatch.setattr("dissensus.reports.page.write_report", page)
