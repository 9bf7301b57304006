"""Compiled training is the same training, and a new number of tokens compiles nothing anew."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch._dynamo
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.fast.compiling import compile_between_attentions
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training.run import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the compiler itself warns
    pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU"),
]


@pytest.fixture(autouse=True)
def _a_compiler_that_may_not_give_up():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()


def _one_layer(backbone: Path, folder: Path) -> Path:
    """The backbone with its first layer alone: each layer is compiled by itself, and takes seconds."""
    AutoModelForSequenceClassification.from_pretrained(backbone, num_hidden_layers=1).save_pretrained(folder)
    AutoTokenizer.from_pretrained(backbone).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("backbone", "precision", "rounding"),
    [
        ("tiny_bert", "fp32", 1e-4),
        ("tiny_bert", "bf16", 0.05),
        ("tiny_deberta", "fp32", 1e-4),
        ("tiny_llama", "fp32", 1e-4),
    ],
)
def test_a_compiled_run_is_the_plain_one(
    backbone: str, precision: str, rounding: float, request: pytest.FixtureRequest, pairs: list[Pair], tmp_path: Path
):
    """Losses and saved rewards agree, and the compiler does not give up on ever new shapes.

    Under bfloat16 the saved rewards show that what was compiled with autocast is compared and saved without it.
    """
    folder = _one_layer(request.getfixturevalue(backbone), tmp_path / "backbone")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert compile_between_attentions(model) == 3
    losses, rewards = [], []
    for compiled in (True, False):
        config = TrainConfig(
            model=str(folder),
            batch_size=7,
            epochs=2,
            max_length=64,
            precision=precision,
            logging_steps=1,
            compile=compiled,
        )
        train(pairs, config, tmp_path / str(compiled), progress=False)
        log = (tmp_path / str(compiled) / "training.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in log])
        rewards.append([row.reward_a for row in RewardModel.load(tmp_path / str(compiled)).predict(pairs, name="m")])
    assert losses[0] == pytest.approx(losses[1], abs=rounding / 10)
    assert rewards[0] == pytest.approx(rewards[1], abs=rounding)
