"""Rewards that depend on the texts beside them: put right, or refused before anything is scored."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import processors
from transformers import AutoModelForSequenceClassification, AutoTokenizer, FNetConfig, FNetForSequenceClassification

from dissensus.errors import ConfigError, InputError
from dissensus.records import Message, Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.text.backbone import checkpoint_activations, load_backbone
from dissensus.reward.text.encode import UnreadableTextError
from dissensus.reward.training.run import train


def test_a_tokenizer_that_ends_with_its_padding(tiny_llama: Path, pairs: list[Pair], tmp_path: Path):
    """Packed or not, the reward is read where transformers reads it: at the last token that is no padding."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [PAD]", pair="$A [PAD] $B [PAD]", special_tokens=[("[PAD]", 0)]
    )
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_llama).eval()
    plain.save_pretrained(tmp_path / "b")
    tokenizer.save_pretrained(tmp_path / "b")
    model = RewardModel.load(tmp_path / "b", device="cpu")
    assert model.layout.kind == "packed"
    texts = [(pair.prompt, pair.response_a) for pair in pairs]
    with torch.no_grad():
        theirs = [plain(**tokenizer(*text, return_tensors="pt")).logits.item() for text in texts]
    np.testing.assert_allclose(model.rewards(texts), theirs, atol=1e-5)
    # What is trained reads chats, and remembers it.
    config = TrainConfig(model=str(tmp_path / "b"), epochs=1, max_length=32, precision="fp32")
    train(pairs, config, tmp_path / "m", progress=False)
    assert RewardModel.load(tmp_path / "m", device="cpu").encoding.style == "chat"


def test_an_architecture_that_reads_padding_is_refused(tiny_bert: Path, tmp_path: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    torch.manual_seed(0)
    config = FNetConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, intermediate_size=16, num_labels=1,
        pad_token_id=0, initializer_range=0.5, max_position_embeddings=64,
    )  # fmt: skip
    FNetForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"another reward beside a longer one, .*: it reads the padding"):
        RewardModel.load(tmp_path, device="cpu")


def test_weights_that_are_no_numbers_are_called_that(tiny_llama: Path):
    model, tokenizer = load_backbone(str(tiny_llama), new_head=False)
    torch.nn.init.constant_(model.score.weight, torch.nan)
    with pytest.raises(InputError, match="gives rewards that are not numbers"):
        RewardModel(model, tokenizer, max_length=32)


def test_templates_that_want_a_system_message_or_are_broken(tiny_llama: Path, pairs: list[Pair], tmp_path: Path):
    """What is refused before any text was given is no fault of the texts."""
    model, tokenizer = load_backbone(str(tiny_llama), new_head=False)
    turns = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    tokenizer.chat_template = "{% if messages[0]['role'] != 'system' %}{{ raise_exception('who?') }}{% endif %}" + turns
    reward_model = RewardModel(model, tokenizer, max_length=32)
    prompt = (Message(role="system", content="good"), Message(role="user", content="why"))
    assert np.isfinite(reward_model.rewards([(prompt, "long answer")])).all()
    with pytest.raises(UnreadableTextError, match=r"refuses it \(who\?\); change its messages"):
        reward_model.rewards([("why", "long answer")])
    tokenizer.chat_template = "{% for m in messages %}{{ m.no.such }}"
    message = r"^the tokenizer's chat template fails on a user's turn .*; fix tokenizer\.chat_template"
    with pytest.raises(InputError, match=message):
        RewardModel(model, tokenizer, max_length=32)
    model.save_pretrained(tmp_path / "b")
    tokenizer.save_pretrained(tmp_path / "b")
    with pytest.raises(InputError, match=message):
        train(pairs, TrainConfig(model=str(tmp_path / "b"), max_length=32), tmp_path / "m", progress=False)


def test_the_same_tokens_have_the_same_reward(tiny_llama: Path):
    """In any batch: a pair that cannot be told apart is a tie, and no matter of rounding."""
    model = RewardModel.load(tiny_llama, max_length=24, device="cpu")
    longest = " ".join(["why", "how", "good", "bad"] * 9)
    ends = ["long", "short", "a question", "the answer", "bad why how good"]
    texts = [("why", f"{longest} {end}") for end in ends] + [("how", word) for word in ends]
    rewards = model.rewards(texts, tokens_per_batch=60)
    assert len(set(rewards[:5].tolist())) == 1
    assert len(set(rewards.tolist())) == 6


def test_a_model_that_cannot_read_a_batch_is_one_line(tiny_llama: Path):
    model, tokenizer = load_backbone(str(tiny_llama), new_head=False)
    broken = copy.deepcopy(model)
    broken.config.pad_token_id = None
    broken.forward = lambda **_: (_ for _ in ()).throw(ValueError("Cannot handle batch sizes > 1\nat all"))
    with pytest.raises(
        InputError, match=r"cannot read two texts in one batch \(Cannot handle batch sizes > 1\); check"
    ):
        RewardModel(broken, tokenizer, max_length=32)


def test_gradient_checkpointing_that_is_not_there(tiny_bert: Path):
    model, _ = load_backbone(str(tiny_bert), new_head=True)
    checkpoint_activations(model)
    model.supports_gradient_checkpointing = False
    with pytest.raises(ConfigError, match="BertForSequenceClassification has no gradient checkpointing; leave out"):
        checkpoint_activations(model)


def _folder(model: Path, folder: Path, settings: Any) -> Path:
    shutil.copytree(model, folder)
    (folder / "dissensus.json").write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    "settings",
    ["[]", '"x"', "null", "{", "3", '{"config": []}', '{"config": null}', "{}"]
    + [json.dumps({"config": {}, "text_style": style}) for style in ("loud", 5)],
)
def test_settings_that_are_none_are_one_line(tiny_llama: Path, tmp_path: Path, settings: str):
    folder = _folder(tiny_llama, tmp_path / "m", settings)
    with pytest.raises(InputError, match=r"dissensus\.json: not written by this version of dissensus; train again"):
        RewardModel.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ("pair", "trained on pairs of texts, and its tokenizer puts nothing between two"),
        ("chat", "trained on chats, and its tokenizer has no chat template"),
    ],
)
def test_a_style_that_the_tokenizer_does_not_have_is_refused(tiny_llama, tmp_path, style, message):
    settings = {"config": TrainConfig(max_length=32).model_dump(mode="json"), "text_style": style}
    folder = _folder(tiny_llama, tmp_path / "m", settings)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(InputError, match=message):
        RewardModel.load(folder, device="cpu")


def test_a_window_of_nothing_is_not_the_default(tiny_llama: Path):
    with pytest.raises(InputError, match="max_length 0 leaves no room"):
        RewardModel.load(tiny_llama, max_length=0, device="cpu")
