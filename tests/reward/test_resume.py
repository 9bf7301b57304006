"""A run that was killed goes on as if nothing had been."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from dissensus.files import write_records
from dissensus.records import Pair
from dissensus.reward.training.run import train

from .tiny_config import tiny_config, train_until_killed


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


def _assert_same(folder: Path) -> None:
    logs = [(folder / name / "training.jsonl").read_text() for name in ("whole", "broken")]
    assert logs[0] == logs[1]
    whole, broken = (load_file(folder / name / "model.safetensors") for name in ("whole", "broken"))
    assert [name for name, weight in whole.items() if not weight.equal(broken[name])] == []


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
@pytest.mark.parametrize(
    ("backbone", "changes"),
    [
        ("tiny_bert", {"objective": "margin", "dropout": 0.1}),
        ("old_bert", {}),
        ("tiny_bert", {"lora_rank": 4, "dropout": 0.2, "validation": 0.2}),
    ],
)
def test_a_killed_run_has_the_losses_and_weights_of_an_unbroken_one(
    backbone, changes, request, pairs, margins, tmp_path
):
    if "lora_rank" in changes:
        pytest.importorskip("peft", reason="peft is not installed (extra lora)")
    config = tiny_config(request.getfixturevalue(backbone), logging_steps=1, checkpoint_steps=2, **changes)
    train(pairs, config, tmp_path / "whole", margins=margins, progress=False)
    train_until_killed(pairs, config, tmp_path / "broken", step=5, margins=margins)
    part = tmp_path / "broken.part"
    if config.lora_rank:
        # Adapters and head alone: a checkpoint of a large backbone stays small.
        kept = load_file(part / "checkpoint-4" / "adapter_model.safetensors")
        assert all("lora_" in name or "classifier" in name or "pooler" in name or "score" in name for name in kept)
        assert not (part / "checkpoint-4" / "model.safetensors").exists()
    # A checkpoint that was cut off while saving has no mark and must be passed over.
    (part / "checkpoint-5").mkdir()
    assert train(pairs, config, tmp_path / "broken", margins=margins, progress=False).resumed_from == 4
    _assert_same(tmp_path)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_killed_while_it_validates_does_so_again(tiny_bert: Path, pairs: list[Pair], tmp_path: Path, epochs: int):
    """The checkpoint of an epoch's last step must not stand before its validation."""
    config = tiny_config(tiny_bert, epochs=epochs, logging_steps=1, checkpoint_steps=1, validation=0.3)
    train(pairs, config, tmp_path / "whole", progress=False)
    train_until_killed(pairs, config, tmp_path / "broken", within="evaluate")
    assert train(pairs, config, tmp_path / "broken", progress=False).resumed_from == 1
    _assert_same(tmp_path)
    assert (tmp_path / "whole" / "training.jsonl").read_text().count("validation_nll") == epochs


def test_a_killed_process_and_a_full_disk_leave_nothing_under_the_name(tiny_bert, pairs, tmp_path):
    """A child may write no more than 8 kB to a file, so weights do not fit, at a checkpoint or at the end; then -9."""
    write_records(tmp_path / "pairs.jsonl", pairs)
    config = tiny_config(tiny_bert, dropout=0.1, logging_steps=1, checkpoint_steps=2)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    code = """
import os, resource, signal, sys
from pathlib import Path
from dissensus.errors import OutputError
from dissensus.files import read_pairs
from dissensus.reward.config import TrainConfig
from dissensus.reward.training.run import train
from dissensus.reward.training.trainer import PairTrainer
folder = Path(sys.argv[1])
pairs, config = list(read_pairs(folder / "pairs.jsonl")), (folder / "config.json").read_text()
config = TrainConfig.model_validate_json(config)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
for steps in (1, 1000):
    full = TrainConfig(**{**config.model_dump(), "checkpoint_steps": steps})
    try:
        train(pairs, full, folder / "full", progress=False)
    except OutputError as error:
        print(error, flush=True)
    assert not (folder / "full").exists()
resource.setrlimit(resource.RLIMIT_FSIZE, before)
inner = PairTrainer.training_step
def dies(self, *args, **kwargs):
    if self.state.global_step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(self, *args, **kwargs)
PairTrainer.training_step = dies
train(pairs, config, folder / "broken", progress=False)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert done.stdout.count("free space and run again") == 2
    assert train(pairs, config, tmp_path / "full", progress=False).resumed_from == 0
    assert train(pairs, config, tmp_path / "broken", progress=False).resumed_from == 2
    train(pairs, config, tmp_path / "whole", progress=False)
    _assert_same(tmp_path)
