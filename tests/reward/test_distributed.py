"""Two processes with gloo on the CPU train what one process trains, and evaluate what one evaluates."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dissensus.files import write_records
from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.model_record import find_record
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training.run import train

from .tiny_config import log_of, tiny_config

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}
ZERO = {
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3",
    "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "true",
    "DS_ACCELERATOR": "cpu",
}
SETTINGS = {"ddp": {}, "fsdp": FSDP, "zero": ZERO, "four-ddp": {}, "four-fsdp": FSDP, "four-zero": ZERO}
"""By kind; of four processes, and of two."""
RUNS = {
    "ddp": {"bert": ("tiny_bert", None), "llama": ("tiny_llama", None), "bert-lora": ("tiny_bert", 2)},
    "fsdp": {"llama": ("tiny_llama", None), "llama-lora": ("tiny_llama", 2)},
    "zero": {"llama-lora": ("tiny_llama", 2)},
    "four-ddp": {"llama": ("tiny_llama", None)},
    "four-fsdp": {"llama": ("tiny_llama", None)},
    "four-zero": {"llama": ("tiny_llama", None)},
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("distributed"),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]


@pytest.fixture(scope="module")
def configs(request: pytest.FixtureRequest) -> dict[str, TrainConfig]:
    """By kind and name. Small batches need several passes."""
    settings = {"tokens_per_batch": 64, "logging_steps": 1, "checkpoint_steps": 2, "validation": 0.2}
    return {
        f"{kind}-{name}": tiny_config(request.getfixturevalue(backbone), lora_rank=rank, **settings)
        for kind, runs in RUNS.items()
        for name, (backbone, rank) in runs.items()
    }


@pytest.fixture(scope="module")
def some(pairs: list[Pair]) -> list[Pair]:
    """23 pairs: the last step has seven, which two processes cannot share evenly."""
    return pairs[:23]


@pytest.fixture(scope="module")
def folder(configs, some, tiny_bert, tmp_path_factory) -> Path:
    """Everything that two processes make, in processes whose imports, most of the time, are shared."""
    pytest.importorskip("peft", reason="peft is not installed (extra lora)")
    pytest.importorskip("trl", reason="trl is not installed")
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    folder = tmp_path_factory.mktemp("two")
    write_records(folder / "pairs.jsonl", some)
    jobs = [
        {
            "settings": SETTINGS[kind],
            "processes": 4 if kind.startswith("four") else 2,
            "pairs": str(folder / "pairs.jsonl"),
            "runs": [
                [config.model_dump(mode="json"), str(folder / name)]
                for name, config in configs.items()
                if name.startswith(kind)
            ],
        }
        for kind in RUNS
    ]
    shards = {
        "settings": {**FSDP, "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"},
        "pairs": str(folder / "pairs.jsonl"),
        "runs": [[configs["fsdp-llama"].model_dump(mode="json"), str(folder / "shards")]],
    }
    cut = {"ranks": [1], "step": 4, "within": "_save_rng_state"}
    jobs.append({**shards, "killed": cut})
    jobs.append({**shards, "processes": 4, "killed": {"ranks": [0, 1, 2, 3], "step": 4, "within": "training_step"}})
    jobs.append({"settings": {"CI": "1"}, "model": str(tiny_bert), "out": str(folder / "trl")})
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, str(Path(__file__).with_name("distributed.py")), str(folder / "jobs.json")]
    environment = {**os.environ, "DISSENSUS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-30000:]
    return folder


@pytest.mark.parametrize("name", [f"{kind}-{name}" for kind, runs in RUNS.items() for name in runs])
def test_several_processes_train_what_one_does(name, folder, configs, some, pairs, tmp_path):
    train(some, configs[name], tmp_path / "one", progress=False)
    one, two = log_of(tmp_path / "one"), log_of(folder / name)
    assert len(one) == len(two) > 4
    for mine, theirs in zip(one, two, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    texts = [(pair.prompt, pair.response_a) for pair in pairs]
    rewards = [RewardModel.load(out).rewards(texts) for out in (tmp_path / "one", folder / name)]
    # Rewards have a free constant, which no loss holds.
    np.testing.assert_allclose(*(values - values.mean() for values in rewards), atol=1e-4)


def test_shards_of_two_processes_one_of_which_dies_go_on_in_four_and_then_in_one(
    folder, configs, some, pairs, tmp_path
):
    config = configs["fsdp-llama"]
    whole = [path.parent.name for path in (folder / "shards.part").glob("checkpoint-*/dissensus.json")]
    assert whole == ["checkpoint-4"]
    assert {len([*found.glob("*.distcp")]) for found in (folder / "shards.part/checkpoint-4").glob("*_0")} == {4}
    summary = train(some, config, folder / "shards", progress=False)
    assert (summary.resumed_from, summary.processes) == (4, "one process")
    train(some, config, tmp_path / "one", progress=False)
    for mine, theirs in zip(log_of(tmp_path / "one"), log_of(folder / "shards"), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    texts = [(pair.prompt, pair.response_a) for pair in pairs]
    rewards = [RewardModel.load(out).rewards(texts) for out in (tmp_path / "one", folder / "shards")]
    np.testing.assert_allclose(*(values - values.mean() for values in rewards), atol=1e-4)


def test_the_summary_says_how_the_model_was_spread(folder: Path):
    found = {name: find_record(folder / name).summary for name in ("ddp-bert", "fsdp-llama", "zero-llama-lora")}
    assert {name: summary.processes for name, summary in found.items()} == {
        "ddp-bert": "DDP on 2 processes",
        "fsdp-llama": "FSDP2 on 2 processes",
        "zero-llama-lora": "ZeRO-3 on 2 processes",
    }
    assert found["fsdp-llama"].layout == "packed"


def test_trls_trainer_in_two_processes_counts_each_row_once(folder: Path):
    content = json.loads((folder / "trl.json").read_text())
    assert (content["processes"], content["shape"]) == (2, [11, 2, 1])
    for n, expected in content["expected"].items():
        for name, value in expected.items():
            assert content["found"][n][f"eval_{name}"] == pytest.approx(value, abs=1e-5), (n, name)
