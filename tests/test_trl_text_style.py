"""A model that ``dissensus.integrations.trl`` trained is read by `RewardModel` as its trainer read it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dissensus.errors import ConfigError, InputError
from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.text.encode import Encoding
from dissensus.reward.training.run import train
from dissensus.sources import read_pairs

from .trl_tiny import make_trainer

pytestmark = pytest.mark.filterwarnings("ignore")
pytest.importorskip("trl")
pytest.importorskip("datasets")

WORDS = ["yes", "no", "maybe", "very", "long", "short"]
TEXTS = [
    {"prompt": f"question why {word}", "chosen": f" a good answer {word}", "rejected": f" a bad answer is not {word}"}
    for word in WORDS
]
IMPLICIT = [{name: row["prompt"] + row[name] for name in ("chosen", "rejected")} for row in TEXTS]
CHATS = [
    {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        **{name: [{"role": "assistant", "content": row[name].strip()}] for name in ("chosen", "rejected")},
    }
    for row in TEXTS
]
CHAT = "{% for m in messages %}[CLS] {{ m['content'] }} [SEP]{% endfor %}"


def _trained(folder: Path, rows: list[dict[str, Any]], out: Path, *, outputs: int = 1, **options: Any) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for name, value in options.pop("tokenizer", {}).items():
        setattr(tokenizer, name, value)
    torch.manual_seed(1)
    settings = {"num_train_epochs": 3, "learning_rate": 1e-2} | options.pop("settings", {})
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=outputs, ignore_mismatched_sizes=True)
    trainer = make_trainer(model, tokenizer, rows, out, settings=settings, **options)
    trainer.train()
    return trainer


def _compare(trainer: Any, rows: list[dict[str, Any]], folder: Path, tmp_path: Path) -> RewardModel:
    """The rewards of pairs read from a file of these rows, and those of the tokens that the trainer saw."""
    model = trainer.model.eval()
    names = ("chosen_ids", "rejected_ids")
    with torch.no_grad():
        said = [
            [trainer._objective.reward(model(input_ids=torch.tensor([row[name]])).logits).item() for name in names]
            for row in trainer.train_dataset
        ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scorer = RewardModel.load(folder)
    for prediction, pair, theirs in zip(
        scorer.predict(list(read_pairs(tmp_path / "rows.jsonl")), name="m"),
        read_pairs(tmp_path / "rows.jsonl"),
        said,
        strict=True,
    ):
        ours = [prediction.reward_a, prediction.reward_b]
        assert ours[:: 1 if pair.label == "a" else -1] == pytest.approx(theirs, abs=1e-5)
    return scorer


@pytest.mark.parametrize(
    ("backbone", "rows", "tokenizer", "style"),
    [
        ("tiny_llama", TEXTS, {}, "joined"),
        ("tiny_llama", IMPLICIT, {}, "joined"),
        ("tiny_llama", TEXTS, {"pad_token": "</s>"}, "joined"),
        ("tiny_llama", TEXTS, {"chat_template": None}, "joined"),
        ("tiny_llama", CHATS, {}, "chat"),
        ("tiny_bert", TEXTS, {}, "joined"),
        ("tiny_bert", TEXTS, {"eos_token": "[SEP]"}, "joined"),
        ("tiny_bert", CHATS, {"chat_template": CHAT}, "chat"),
    ],
)
def test_texts_are_read_as_they_were_trained(backbone, rows, tokenizer, style, request, tmp_path):
    trainer = _trained(request.getfixturevalue(backbone), rows, tmp_path / "m", tokenizer=tokenizer)
    trainer.save_model(str(tmp_path / "m"))
    assert _compare(trainer, rows, tmp_path / "m", tmp_path).encoding.style == style


def test_checkpoints_and_plain_saves_say_so_as_well(tiny_llama: Path, tmp_path: Path):
    trainer = _trained(tiny_llama, TEXTS, tmp_path / "m", settings={"save_strategy": "epoch"})
    _compare(trainer, TEXTS, tmp_path / "m" / "checkpoint-6", tmp_path)
    trainer.model.save_pretrained(tmp_path / "plain")
    trainer.processing_class.save_pretrained(tmp_path / "plain")
    _compare(trainer, TEXTS, tmp_path / "plain", tmp_path)


def test_a_distribution_of_rewards_is_known_by_its_folder(tiny_bert: Path, tmp_path: Path):
    config = TrainConfig(objective="mean-variance")
    trainer = _trained(tiny_bert, TEXTS, tmp_path / "m", outputs=2, objective=config)
    trainer.save_model(str(tmp_path / "m"))
    scorer = _compare(trainer, TEXTS, tmp_path / "m", tmp_path)
    assert (scorer.objective.config.loss(), scorer.encoding.max_length) == (config.loss(), 64)


def test_a_joined_text_that_is_too_long_loses_its_beginning(tiny_llama: Path, tmp_path: Path):
    trainer = _trained(tiny_llama, TEXTS, tmp_path / "m", settings={"max_length": 12})
    trainer.save_model(str(tmp_path / "m"))
    encoding = RewardModel.load(tmp_path / "m").encoding
    [short, cut] = encoding.encode([("why", " good"), ("why " * 20, " good answer")])
    assert (short.truncated, cut.truncated, len(cut.input_ids)) == (False, True, 12)
    words = encoding.tokenizer.convert_ids_to_tokens(cut.input_ids)
    assert words[-3:] == ["good", "answer", "</s>"]


def test_a_model_is_trained_further_as_it_was_read(tiny_llama: Path, pairs: list[Pair], tmp_path: Path):
    trainer = _trained(tiny_llama, TEXTS, tmp_path / "m")
    trainer.save_model(str(tmp_path / "m"))
    config = TrainConfig(model=str(tmp_path / "m"), epochs=1, max_length=32, precision="fp32")
    train(pairs, config, tmp_path / "n", progress=False)
    assert RewardModel.load(tmp_path / "n").encoding.style == "joined"


def test_a_folder_of_ours_keeps_its_reading_under_another_template(tiny_llama: Path, pairs: list[Pair], tmp_path: Path):
    train(pairs, TrainConfig(model=str(tiny_llama), epochs=1, max_length=32), tmp_path / "m", progress=False)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    tokenizer.chat_template = None
    assert Encoding(tokenizer, 32).style == "text"
    assert RewardModel.load(tmp_path / "m").encoding.style == "chat"
    tokenizer.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(InputError, match="was trained on chats, and its tokenizer has no chat template"):
        train(pairs, TrainConfig(model=str(tmp_path / "m"), max_length=32), tmp_path / "n", progress=False)


def test_rows_that_were_tokenised_elsewhere_are_reported(tiny_llama, tmp_path, capsys):
    rows = [{"chosen_ids": [2, 5, 3], "rejected_ids": [2, 6, 3]}] * 4
    _trained(tiny_llama, rows, tmp_path / "m").save_model(str(tmp_path / "m"))
    RewardModel.load(tmp_path / "m")
    assert "trained on rows that were tokenised already: read as chat" in capsys.readouterr().err


def test_chats_without_a_template_are_refused(tiny_bert: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="the rows are chats and the tokenizer has no chat template; set"):
        _trained(tiny_bert, CHATS, tmp_path / "m")


def test_what_alters_nothing_is_reported(tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A margin that TRL's own loss would read, and a fresh head that adapters leave as it is."""
    peft = pytest.importorskip("peft", reason="peft is not installed (extra lora)")
    rows = [{"chosen_ids": [2, 5, 3], "rejected_ids": [2, 6, 3], "margin": 0.5}] * 4
    _trained(tiny_bert, rows, tmp_path, peft_config=peft.LoraConfig(r=2, target_modules=["query"]))
    said = capsys.readouterr().err
    assert "the column 'margin' is left alone: objective 'bradley-terry' does not read it" in said
    assert "the head is not trained: name it in peft_config" in said
