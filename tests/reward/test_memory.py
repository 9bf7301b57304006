"""Where memory runs out there is one line with a remedy; what was scored by then is kept."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from dissensus.errors import ConfigError, TrainingError
from dissensus.reward.serving.reward_model import RewardModel, predict_file
from dissensus.reward.serving.score import OutOfMemoryError, memory_reported
from dissensus.reward.training.run import train
from dissensus.reward.training.sweep import sweep
from dissensus.reward.training.trainer import PairTrainer

from .tiny_config import changed, tiny_config

SAID = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


@pytest.mark.parametrize("said", SAID)
def test_whatever_the_device_says_is_one_line(said: Exception):
    expected = r"^memory does not suffice for so much; buy less$"
    with pytest.raises(OutOfMemoryError, match=expected), memory_reported("so much", "buy less"):
        raise said


def test_other_faults_pass():
    with pytest.raises(RuntimeError, match="shapes"), memory_reported("so much"):
        raise RuntimeError("shapes differ")


def _narrow(model: RewardModel, tokens: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a model's memory hold so many tokens; returns the sizes of what it was given."""
    forward, sizes = model.model.forward, []

    def limited(**inputs: Any) -> Any:
        sizes.append(inputs["input_ids"].numel())
        if sizes[-1] > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(**inputs)

    monkeypatch.setattr(model.model, "forward", limited)
    return sizes


def test_fewer_texts_are_scored_at_once_where_memory_runs_out(tiny_bert, pairs, monkeypatch):
    model = RewardModel.load(tiny_bert, max_length=32, device="cpu")
    texts = [(pair.prompt, pair.response_a) for pair in pairs]
    expected = model.rewards(texts)
    sizes = _narrow(model, 40, monkeypatch)
    np.testing.assert_allclose(model.rewards(texts), expected, atol=1e-6)
    assert max(sizes) > 40


def test_one_text_that_does_not_fit_names_the_window(tiny_bert, pairs, tmp_path, monkeypatch):
    model = RewardModel.load(tiny_bert, max_length=32, device="cpu")
    _narrow(model, 20, monkeypatch)
    rows = [*pairs[:4], pairs[4].model_copy(update={"response_a": "why how long " * 20})]
    with pytest.raises(ConfigError, match=r"for scoring 1 text\(s\) of up to 32 tokens; lower --max-length"):
        predict_file(model, rows, tmp_path / "p.jsonl", name="m", identity="x", window=4)
    assert len(list((tmp_path / "p.jsonl.part").iterdir())) == 1


def test_a_step_that_does_not_fit_names_the_options_and_is_no_rate_that_failed(tiny_bert, pairs, tmp_path, monkeypatch):
    inner = PairTrainer.compute_loss

    def fails(self: PairTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return inner(self, *args, **kwargs)

    settings = {"validation": 0.34, "logging_steps": 1, "checkpoint_steps": 1}
    config = tiny_config(tiny_bert, epochs=1, batch_size=4, **settings)
    message = re.escape("memory does not suffice for training step 3; lower --tokens-per-batch")
    with monkeypatch.context() as patch:
        patch.setattr(PairTrainer, "compute_loss", fails)
        with pytest.raises(ConfigError, match=message):
            train(pairs * 2, config, tmp_path / "m", progress=False)
        with pytest.raises(ConfigError, match=message) as error:
            sweep(pairs, config, [1e-3], tmp_path / "s", progress=False)
    assert not isinstance(error.value, TrainingError)
    assert not list(tmp_path.rglob("*.failed.json"))
    smaller = changed(config, tokens_per_batch=64)
    assert train(pairs * 2, smaller, tmp_path / "m", progress=False).resumed_from == 2
