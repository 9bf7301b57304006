from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.training.run import train
from dissensus.reward.training.trainer import PairTrainer


@pytest.fixture
def old_bert(tiny_bert: Path, tmp_path: Path) -> Path:
    """A backbone whose file names the weights of layer norms as the first BERTs did."""
    folder = tmp_path / "old-bert"
    folder.mkdir()
    for file in tiny_bert.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
        for name, weight in load_file(tiny_bert / "model.safetensors").items()
    }
    assert "bert.embeddings.LayerNorm.gamma" in renamed
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_resumed_run_keeps_weights_that_the_backbone_calls_otherwise(
    old_bert: Path, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = TrainConfig(
        model=str(old_bert),
        batch_size=8,
        learning_rate=3e-3,
        max_length=32,
        logging_steps=1,
        checkpoint_steps=2,
        precision="fp32",
    )
    train(pairs, config, tmp_path / "whole", progress=False)
    inner = PairTrainer.training_step

    def dies(self: PairTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return inner(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(PairTrainer, "training_step", dies)
        with pytest.raises(KeyboardInterrupt):
            train(pairs, config, tmp_path / "broken", progress=False)
    assert train(pairs, config, tmp_path / "broken", progress=False).resumed_from == 2
    logs = [(tmp_path / name / "training.jsonl").read_text() for name in ("whole", "broken")]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_killed_while_it_validates_does_so_again(
    tiny_bert: Path, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
):
    """The checkpoint of an epoch's last step must not stand before its validation."""
    config = TrainConfig(
        model=str(tiny_bert),
        epochs=epochs,
        batch_size=8,
        learning_rate=3e-3,
        max_length=32,
        logging_steps=1,
        checkpoint_steps=1,
        precision="fp32",
        validation=0.3,
    )
    train(pairs, config, tmp_path / "whole", progress=False)

    def dies(self: PairTrainer, *args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PairTrainer, "evaluate", dies)
        with pytest.raises(KeyboardInterrupt):
            train(pairs, config, tmp_path / "broken", progress=False)
    assert train(pairs, config, tmp_path / "broken", progress=False).resumed_from == 1
    logs = [(tmp_path / name / "training.jsonl").read_text() for name in ("whole", "broken")]
    assert logs[0] == logs[1]
    assert logs[0].count("validation_nll") == epochs
