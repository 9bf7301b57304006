import functools
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dissensus.errors import ConfigError, InputError, OutputError, TrainingError
from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.objectives.targets import build_targets
from dissensus.reward.serving.reward_model import RewardModel, predict_file
from dissensus.reward.text.backbone import load_backbone
from dissensus.reward.text.encode import Encoding
from dissensus.reward.text.train_data import encode_targets, split_targets
from dissensus.reward.training.lora import head_modules
from dissensus.reward.training.run import TrainSummary, precision_is_bf16, train
from dissensus.reward.training.sweep import sweep
from dissensus.text.encoder import gains_by_bfloat16
from dissensus.text.pretrained import position_limit

from .tiny_config import log_of, tiny_config

_config = functools.partial(tiny_config, logging_steps=1, checkpoint_steps=2)
BACKBONES = ["tiny_bert", "tiny_deberta", "tiny_llama"]


def _train(pairs: list[Pair], config: TrainConfig, out: Path, **options: Any) -> TrainSummary:
    return train(pairs, config, out, progress=False, **options)


def _texts(pairs: list[Pair]) -> list[tuple[Any, Any]]:
    return [(pair.prompt, pair.response_a) for pair in pairs]


@pytest.mark.parametrize("objective", ["margin", "soft", "blend"])
def test_every_objective_learns_what_the_labels_say(tiny_bert, pairs, margins, tmp_path, objective):
    config = _config(tiny_bert, objective=objective, epochs=16, learning_rate=6e-3)
    summary = _train(pairs, config, tmp_path / "m", margins=margins)
    predictions = RewardModel.load(tmp_path / "m").predict(pairs, name="m")
    right = [(row.preference_a > 0.5) == (pair.label == "a") for row, pair in zip(predictions, pairs, strict=True)]
    assert sum(right) >= 22
    assert (summary.pairs, summary.steps) == (24, 48)
    assert not (tmp_path / "m.part").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_folder_is_a_plain_sequence_classifier(backbone, precision, request, pairs, tmp_path):
    _train(pairs, _config(request.getfixturevalue(backbone), epochs=1, precision=precision), tmp_path / "m")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    reward_model = RewardModel.load(tmp_path / "m")
    text = _texts(pairs)[0]
    [encoded] = reward_model.encoding.encode([text])
    inputs = {"input_ids": torch.tensor([encoded.input_ids])}
    if encoded.token_type_ids is not None:
        inputs["token_type_ids"] = torch.tensor([encoded.token_type_ids])
    assert reward_model.rewards([text])[0] == pytest.approx(model(**inputs).logits.item(), abs=5e-6)
    assert AutoTokenizer.from_pretrained(tmp_path / "m").pad_token_id == reward_model.tokenizer.pad_token_id


@pytest.mark.parametrize(
    ("native", "seconds", "gains"), [(True, [1, 2], True), (True, [2, 2], False), (False, [1, 2], False)]
)
def test_bfloat16_is_taken_where_it_is_faster(monkeypatch, native, seconds, gains):
    took = iter([0.0, *(float(at) for at in np.cumsum(np.repeat(seconds, 6)).repeat(2))])
    monkeypatch.setattr("dissensus.text.encoder.has_bfloat16", lambda device: native)
    monkeypatch.setattr("dissensus.text.encoder.time", SimpleNamespace(perf_counter=lambda: next(took)))
    gains_by_bfloat16.cache_clear()
    assert precision_is_bf16(TrainConfig()) is bool(gains)
    assert precision_is_bf16(TrainConfig(precision="bf16"))
    assert not precision_is_bf16(TrainConfig(precision="fp32"))
    gains_by_bfloat16.cache_clear()


def test_the_last_step_is_logged_once_and_one_entry_is_the_mean_of_one_for_each(tiny_bert, pairs, tmp_path):
    logs = {}
    for every, logged in {100: [6], 4: [4, 6], 3: [3, 6], 1: list(range(1, 7))}.items():
        summary = _train(pairs, _config(tiny_bert, logging_steps=every), tmp_path / str(every))
        logs[every] = log_of(tmp_path / str(every))
        assert [row["step"] for row in logs[every]] == logged
        assert summary.nll == logs[every][-1]["nll"]
    [whole], single = logs[100], logs[1]
    for key in ("loss", "nll", "accuracy"):
        # 24 pairs in batches of 8: every step has as many pairs.
        assert whole[key] == pytest.approx(sum(row[key] for row in single) / 6, abs=1e-5)


@pytest.mark.parametrize("batching", ["length", "prompt"])
def test_micro_batches_give_the_mean_over_the_pairs_of_the_step(
    tiny_bert: Path, pairs: list[Pair], tmp_path: Path, batching: str
):
    # 22 pairs: the last step of an epoch has fewer than the others.
    logs = []
    for tokens in (64, 150, 100_000):
        config = _config(tiny_bert, tokens_per_batch=tokens, batching=batching, epochs=1)
        _train(pairs[:22], config, tmp_path / str(tokens))
        logs.append([(row["loss"], row["nll"]) for row in log_of(tmp_path / str(tokens))])
    for other in logs[1:]:
        for one, two in zip(logs[0], other, strict=True):
            assert one == pytest.approx(two, abs=1e-6)


def test_a_finished_run_is_kept_and_another_config_refused(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    first = _train(pairs, _config(tiny_bert), tmp_path / "m")
    stamp = (tmp_path / "m" / "model.safetensors").stat().st_mtime_ns
    assert _train(pairs, _config(tiny_bert), tmp_path / "m") == first
    assert (tmp_path / "m" / "model.safetensors").stat().st_mtime_ns == stamp
    # The same model as a checkpoint.
    shutil.copytree(tmp_path / "m", tmp_path / "n.part" / "checkpoint-2")
    with pytest.raises(ConfigError, match="checkpoint-2 is a checkpoint of another config"):
        _train(pairs, _config(tiny_bert, learning_rate=1e-4), tmp_path / "n")
    with pytest.raises(ConfigError, match="another config, backbone or data; choose another --out"):
        _train(pairs, _config(tiny_bert, epochs=1), tmp_path / "m")
    assert _train(pairs, _config(tiny_bert, epochs=1), tmp_path / "m", overwrite=True).steps == 3


def test_a_backbone_with_other_weights_under_the_same_name_is_another_run(tiny_bert, pairs, tmp_path):
    backbone = Path(shutil.copytree(tiny_bert, tmp_path / "backbone"))
    _train(pairs, _config(backbone, epochs=1), tmp_path / "m")
    weights = backbone / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 0x80]))
    with pytest.raises(ConfigError, match="another config, backbone or data"):
        _train(pairs, _config(backbone, epochs=1), tmp_path / "m")
    weights.write_bytes(content)
    _train(pairs, _config(backbone, epochs=1), tmp_path / "m")


def test_validation_holds_out_whole_prompts(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    summary = _train(pairs, _config(tiny_bert, validation=0.34), tmp_path / "m")
    assert (summary.pairs, summary.validation_pairs) == (16, 8)
    rows = [row for row in log_of(tmp_path / "m") if "validation_nll" in row]
    assert [row["epoch"] for row in rows] == [1, 2]


def test_a_prompt_that_fills_a_megabyte_is_no_trouble(tiny_bert, pairs, peak_memory):
    config = _config(tiny_bert, validation=0.3)
    groups = {pair.id: "x" * 1_000_000 if i == 0 else f"g{i}" for i, pair in enumerate(pairs)}
    targets = build_targets([p.model_copy(update={"group": groups[p.id]}) for p in pairs], None, config)
    encoding = Encoding(load_backbone(str(tiny_bert), new_head=False)[1], 32)
    assert (
        peak_memory(lambda: [encode_targets(part, encoding) for part in split_targets(targets, config) if part])
        < 4_000_000
    )


def test_each_distinct_text_is_scored_once_and_alike_in_any_batch(tiny_bert, pairs, monkeypatch):
    model, texts = RewardModel.load(tiny_bert), _texts(pairs)
    alone = [model.rewards([text])[0] for text in texts]
    assert model.rewards(texts) == pytest.approx(alone, rel=2e-6, abs=1e-6)
    assert model.rewards(texts, tokens_per_batch=1) == pytest.approx(alone, rel=2e-6, abs=1e-6)
    inner, seen = model.model.forward, []

    def counting(**inputs: Any) -> Any:
        seen.append(len(inputs["input_ids"]))
        return inner(**inputs)

    monkeypatch.setattr(model.model, "forward", counting)
    rewards = model.rewards([("why", "good"), ("why", "bad"), ("why", "good")])
    assert sum(seen) == 2
    assert rewards[0] == rewards[2] != rewards[1]


def test_a_window_longer_than_the_table_of_positions_is_refused(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    with pytest.raises(ConfigError, match="max_length 65 is more than the 64 positions"):
        _train(pairs, _config(tiny_bert, max_length=65), tmp_path / "m")
    with pytest.raises(InputError, match="max_length 65 is more than the 64 positions"):
        RewardModel.load(tiny_bert, max_length=65)
    assert RewardModel.load(tiny_bert).encoding.max_length == 64


def test_a_window_wider_than_rotary_positions_is_reported(tiny_llama, pairs, tmp_path, capsys):
    said = "max_length 65 is more than the 64 positions that its configuration names"
    RewardModel.load(tiny_llama, max_length=64)
    assert "positions" not in capsys.readouterr().err
    RewardModel.load(tiny_llama, max_length=65)
    assert said in capsys.readouterr().err
    _train(pairs, _config(tiny_llama, max_length=65, epochs=1), tmp_path / "m")
    assert f"{tiny_llama}: {said}" in capsys.readouterr().err
    # As it was trained; training has said so.
    RewardModel.load(tmp_path / "m")
    assert "positions" not in capsys.readouterr().err


def test_two_processes_do_not_write_one_result(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    """Called from Python as well."""
    code = "import sys; from dissensus.files.locks import sole_writer\n"
    code += "with sole_writer(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "m")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        model = RewardModel.load(tiny_bert)
        for write in (
            lambda: _train(pairs, _config(tiny_bert), tmp_path / "m"),
            lambda: sweep(pairs, _config(tiny_bert, validation=0.34), [1e-3], tmp_path / "m", progress=False),
            lambda: predict_file(model, pairs, tmp_path / "m", name="m", identity="x"),
        ):
            with pytest.raises(OutputError, match=f"process {other.pid} on .* is writing it"):
                write()
        other.communicate("")
    assert not (tmp_path / "m.part").exists()


SMALL = {"vocab_size": 20, "num_labels": 1, "pad_token_id": 1}
LAYERS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TABLE = {"max_position_embeddings": 34, **LAYERS}
RELATIVE = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]}
NARROW = {"n_positions": 32, "n_layer": 1, "n_head": 2, "n_embd": 16}


@pytest.mark.parametrize(
    ("kind", "settings", "limit", "head"),
    [
        ("Roberta", TABLE, 32, "classifier"),
        ("DebertaV2", {**TABLE, **RELATIVE}, None, "classifier"),
        ("Llama", {**TABLE, "num_key_value_heads": 2}, None, "score"),
        # Tables that are no weights: a longer text was an IndexError in the middle of a run.
        ("GPTJ", {**NARROW, "rotary_dim": 4}, 32, "score"),
        ("CTRL", {**NARROW, "dff": 16}, 32, "classifier"),
        ("Mpt", {"d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 32}, 32, "score"),
    ],
)
def test_positions_and_heads_of_other_families(kind: str, settings: dict[str, Any], limit: int | None, head: str):
    config = getattr(transformers, f"{kind}Config")(**SMALL, **settings)
    model = AutoModelForSequenceClassification.from_config(config)
    assert position_limit(model) == limit
    assert head_modules(model)[-1] == head


def test_a_run_that_cannot_go_on(tiny_bert: Path, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dissensus.reward.objectives.losses.pair_losses", lambda gap, *_: gap * float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan at step 1"):
        _train(pairs, _config(tiny_bert), tmp_path / "m")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"cannot load model '.*nowhere'"):
        _train(pairs, _config(tmp_path / "nowhere"), tmp_path / "m")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_rewards_in_bfloat16_are_near_those_in_float32_and_the_weights_stay(backbone, request, pairs):
    folder = request.getfixturevalue(backbone)
    model = RewardModel.load(folder, precision="bf16")
    whole, half = RewardModel.load(folder).rewards(_texts(pairs)), model.rewards(_texts(pairs))
    # Random weights as large as these make much of every rounding; MiniLM's differ by two hundredths.
    assert 0 < abs(whole - half).max() < 0.3 * whole.std()
    assert model.model.dtype == torch.float32
    assert half.dtype == whole.dtype
