"""Two processes with gloo on the CPU train what one process trains."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dissensus.files import write_records
from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training.run import train

SCRIPT = Path(__file__).with_name("distributed_training.py")
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _launch(folder: Path, configs: dict[str, TrainConfig], pairs: list[Pair], settings: dict[str, str]) -> None:
    """Train each configuration into ``folder/NAME-two``, in processes that are started once: most of it is imports."""
    write_records(folder / "pairs.jsonl", pairs)
    runs: list[str] = []
    for name, config in configs.items():
        (folder / f"{name}.json").write_text(config.model_dump_json())
        runs += [str(folder / f"{name}.json"), str(folder / f"{name}-two")]
    # What 'accelerate launch' starts on GPUs; on a CPU it would start one process alone.
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={_free_port()}"]
    command = [*launch, str(SCRIPT), str(folder / "pairs.jsonl"), *runs]
    environment = {
        **os.environ,
        "DISSENSUS_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    done = subprocess.run(command, env=environment | settings, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-30000:]
    assert sorted(done.stdout.split()) == ["0/2", "1/2"]


def _log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


def _config(backbone: Path, rank: int | None) -> TrainConfig:
    # 23 pairs: the last step has seven, which two processes cannot share evenly; small batches need several passes.
    return TrainConfig(
        model=str(backbone),
        objective="bradley-terry",
        lora_rank=rank,
        epochs=2,
        batch_size=8,
        tokens_per_batch=64,
        learning_rate=3e-3,
        max_length=32,
        logging_steps=1,
        checkpoint_steps=2,
        precision="fp32",
        validation=0.2,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "settings"),
    [
        ({"bert": ("tiny_bert", None), "llama": ("tiny_llama", None), "bert-lora": ("tiny_bert", 2)}, {}),
        ({"llama": ("tiny_llama", None), "llama-lora": ("tiny_llama", 2)}, FSDP),
    ],
    ids=["ddp", "fsdp"],
)
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_two_processes_train_what_one_does(
    runs: dict[str, tuple[str, int | None]],
    settings: dict[str, str],
    request: pytest.FixtureRequest,
    pairs: list[Pair],
    tmp_path: Path,
):
    pytest.importorskip("peft", reason="peft is not installed (extra lora)")
    configs = {name: _config(request.getfixturevalue(backbone), rank) for name, (backbone, rank) in runs.items()}
    _launch(tmp_path, configs, pairs[:23], settings)
    for name, config in configs.items():
        train(pairs[:23], config, tmp_path / f"{name}-one", progress=False)
        one, two = _log(tmp_path / f"{name}-one"), _log(tmp_path / f"{name}-two")
        assert len(one) == len(two) > 4
        for mine, theirs in zip(one, two, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-5), name
        texts = [(pair.prompt, pair.response_a) for pair in pairs]
        rewards = [RewardModel.load(tmp_path / f"{name}-{count}").rewards(texts) for count in ("one", "two")]
        # Rewards have a free constant, which no loss holds.
        np.testing.assert_allclose(*(values - values.mean() for values in rewards), atol=1e-4, err_msg=name)
