"""Learning rates by layer, of the families of backbones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from dissensus.errors import TrainingError
from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.training.layer_rates import LayerRates
from dissensus.reward.training.run import train
from dissensus.reward.training.trainer import PairTrainer

from .tiny_config import tiny_config, train_until_killed

SMALL = {"vocab_size": 32, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 8}


def _model(kind: str, **settings: Any) -> Any:
    config = AutoConfig.for_model(kind, **{**SMALL, **settings}, num_labels=1, pad_token_id=0)
    return AutoModelForSequenceClassification.from_config(config)


CAUSAL = {"num_key_value_heads": 1, "head_dim": 4}


@pytest.mark.parametrize(
    ("kind", "settings", "layer", "lowest", "full", "head"),
    [
        ("bert", {}, "bert.encoder.layer", ["bert.embeddings"], [], ["bert.pooler", "classifier"]),
        ("mpnet", {}, "mpnet.encoder.layer", ["mpnet.embeddings", "mpnet.encoder.relative"], [], ["classifier"]),
        ("qwen2", CAUSAL, "model.layers", ["model.embed_tokens"], ["model.norm"], ["score"]),
        (
            "deberta-v2",
            {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm"},
            "deberta.encoder.layer",
            ["deberta.embeddings", "deberta.encoder.rel_embeddings"],
            ["deberta.encoder.LayerNorm"],
            ["pooler", "classifier"],
        ),
    ],
)
def test_each_layer_has_its_rate_in_every_family(kind, settings, layer, lowest, full, head):
    model = _model(kind, **settings)
    rates = LayerRates(model, TrainConfig(learning_rate=1.0, layer_decay=0.5, head_learning_rate=3.0))
    expected = {f"{layer}.2.": 1.0, f"{layer}.1.": 0.5, f"{layer}.0.": 0.25}
    expected |= dict.fromkeys(lowest, 0.125) | dict.fromkeys(full, 1.0) | dict.fromkeys(head, 3.0)
    for name, _ in model.named_parameters():
        [rate] = [rate for start, rate in expected.items() if name.startswith(start)]
        # As PEFT and sharding name them.
        assert (rates[name], rates[f"base_model.model.{name}"], rates[f"_fsdp_wrapped_module.{name}"]) == (rate,) * 3


def test_stacks_that_cannot_be_told_apart_are_refused_in_one_line():
    model = _model("bert")
    model.config.is_encoder_decoder = True
    with pytest.raises(TrainingError, match="has two stacks of layers, of an encoder and a decoder; train it with one"):
        LayerRates(model, TrainConfig(layer_decay=0.9))
    model.config.is_encoder_decoder, model.bert.encoder.layer = False, torch.nn.Sequential(*model.bert.encoder.layer)
    with pytest.raises(TrainingError, match="BertForSequenceClassification has no single list of layers; train it"):
        LayerRates(model, TrainConfig(layer_decay=0.9))


def test_a_run_has_these_rates_decays_no_bias_or_norm_and_resumes(
    tiny_bert: Path, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[dict[str, tuple[float, float]]] = []
    create = PairTrainer.create_optimizer

    def keeping(self: PairTrainer, *arguments: Any, **options: Any) -> Any:
        optimizer = create(self, *arguments, **options)
        names = {weight: name for name, weight in self.model.named_parameters()}
        each = {
            names[w]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for w in group["params"]
        }
        made.append(each)
        return optimizer

    monkeypatch.setattr(PairTrainer, "create_optimizer", keeping)
    settings = {"layer_decay": 0.5, "head_learning_rate": 6e-3, "logging_steps": 1, "checkpoint_steps": 2}
    config = tiny_config(tiny_bert, **settings)
    train(pairs, config, tmp_path / "whole", progress=False)
    rates = {"bert.encoder.layer.1.": 3e-3, "bert.encoder.layer.0.": 1.5e-3, "bert.embeddings": 7.5e-4}
    for name, (rate, decay) in made[0].items():
        assert rate == next((rate for start, rate in rates.items() if name.startswith(start)), 6e-3), name
        assert decay == (0.0 if "bias" in name or "LayerNorm" in name else config.weight_decay), name
    flat = torch.nn.ParameterDict({"_flat_param": torch.nn.Parameter(torch.zeros(1))})
    with pytest.raises(TrainingError, match="FSDP 1 flattens them"):
        LayerRates(_model("bert"), config).spread(torch.optim.SGD(flat.parameters(), lr=1.0), flat)
    assert made[0].keys() == load_file(tiny_bert / "model.safetensors").keys()
    train_until_killed(pairs, config, tmp_path / "broken", step=3)
    train(pairs, config, tmp_path / "broken", progress=False)
    logs = [(tmp_path / name / "training.jsonl").read_text() for name in ("whole", "broken")]
    assert logs[0] == logs[1]
    assert '"learning_rate": 0.003' in logs[0]
    whole, broken = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert all(weight.equal(broken[name]) for name, weight in whole.items())
