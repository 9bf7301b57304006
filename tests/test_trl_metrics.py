"""What ``dissensus.integrations.trl`` logs is exact over rows: in any batches, with ties, over any processes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dissensus.reward.text.backbone import load_backbone
from dissensus.reward.training.lora import add_adapters

from .trl_tiny import exact, make_trainer, token_rows

pytestmark = pytest.mark.filterwarnings("ignore")
trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")

NAMES = ("accuracy", "margin", "mean_reward", "min_reward", "max_reward")


def _trainer(folder: Path, rows: list[dict[str, Any]], out: Path, **options: Any) -> Any:
    model, tokenizer = load_backbone(str(folder), new_head=False)
    return make_trainer(model, tokenizer, rows, out, **options)


@pytest.mark.parametrize("n", [3, 5, 9, 12])
def test_an_evaluation_is_exact_over_rows(tiny_bert: Path, tmp_path: Path, n: int):
    """The mean over batches of four would weigh the fifth row as much as the four before it."""
    rows = token_rows(12)
    trainer = _trainer(tiny_bert, rows, tmp_path)
    expected, data = exact(trainer.model, rows[:n]), datasets.Dataset.from_list(rows[:n])
    found = trainer.evaluate(data)
    for name in (*NAMES, "loss"):
        assert found[f"eval_{name}"] == pytest.approx(expected[name], abs=1e-5), name
    assert trainer.state.log_history[-1]["eval_accuracy"] == found["eval_accuracy"]
    # Predictions, in rows; and what they counted does not get into the next evaluation.
    other = trainer.predict(datasets.Dataset.from_list(rows[6:]))
    assert other.predictions.shape == (6, 2, 1)
    assert other.metrics["test_accuracy"] == pytest.approx(exact(trainer.model, rows[6:])["accuracy"])
    assert trainer.evaluate(data)["eval_accuracy"] == pytest.approx(expected["accuracy"])


def test_a_tie_counts_one_half(tiny_bert: Path, tmp_path: Path):
    rows = token_rows(5)
    trainer = _trainer(tiny_bert, rows, tmp_path)
    torch.nn.init.zeros_(trainer.model.classifier.weight)
    assert trainer.evaluate(datasets.Dataset.from_list(rows))["eval_accuracy"] == 0.5
    same = [{"chosen_ids": row["chosen_ids"], "rejected_ids": row["chosen_ids"]} for row in rows[:2]]
    trainer = _trainer(tiny_bert, rows, tmp_path)
    expected = (exact(trainer.model, rows)["accuracy"] * 5 + 1) / 7
    found = trainer.evaluate(datasets.Dataset.from_list(rows + same))["eval_accuracy"]
    assert found == pytest.approx(expected)


def test_evaluation_sets_are_told_apart(tiny_bert: Path, tmp_path: Path):
    rows = token_rows(12)
    sets = {"one": datasets.Dataset.from_list(rows[:5]), "two": datasets.Dataset.from_list(rows[5:])}
    trainer = _trainer(tiny_bert, rows, tmp_path, eval_dataset=sets)
    expected = [exact(trainer.model, part)["accuracy"] for part in (rows[:5], rows[5:])]
    found = trainer.evaluate()
    assert [found["eval_one_accuracy"], found["eval_two_accuracy"]] == pytest.approx(expected)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_log_entry_is_exact_over_its_rows(tiny_bert: Path, tmp_path: Path, accumulation: int):
    """Nothing is learnt, so the entry of an epoch is that of all rows, the smaller last batch included."""
    rows = token_rows(11)
    settings = {"learning_rate": 0.0, "logging_strategy": "epoch", "num_train_epochs": 2}
    settings |= {"gradient_accumulation_steps": accumulation}
    trainer = _trainer(tiny_bert, rows, tmp_path, settings=settings)
    expected = exact(trainer.model, rows)
    trainer.train()
    entries = [row for row in trainer.state.log_history if "accuracy" in row and "loss" in row]
    assert len(entries) == 2
    for entry in entries:
        assert [entry[name] for name in NAMES] == pytest.approx([expected[name] for name in NAMES], abs=1e-5)


@pytest.mark.parametrize("backbone", ["tiny_bert", "tiny_llama", "tiny_deberta"])
def test_the_head_of_a_half_precision_model_is_float32(backbone: str, request: pytest.FixtureRequest, tmp_path: Path):
    folder = request.getfixturevalue(backbone)
    model, tokenizer = load_backbone(str(folder), new_head=False)
    trainer = make_trainer(model.to(torch.bfloat16), tokenizer, token_rows(4), tmp_path)
    head = getattr(trainer.model, "score", None) or trainer.model.classifier
    assert head.weight.dtype == torch.float32
    assert trainer.model(input_ids=torch.tensor([[2, 5, 3]])).logits.dtype == torch.float32
    before = head.weight.clone()
    trainer.train()
    assert not torch.equal(head.weight, before)


@pytest.mark.parametrize("backbone", ["tiny_bert", "tiny_llama", "tiny_deberta"])
def test_adapters_train_a_float32_head_beside_a_half_precision_model(backbone: str, request: pytest.FixtureRequest):
    pytest.importorskip("peft", reason="peft is not installed (extra lora)")
    model, _ = load_backbone(str(request.getfixturevalue(backbone)), new_head=False)
    inputs = {"input_ids": torch.tensor([[2, 5, 3]])}
    whole = model(**inputs).logits.item()
    adapted = add_adapters(model.to(torch.bfloat16), 2)
    trained = {weight.dtype for weight in adapted.parameters() if weight.requires_grad}
    assert trained == {torch.float32}
    rewards = adapted(**inputs).logits
    assert rewards.dtype == torch.float32
    assert rewards.item() == pytest.approx(whole, rel=0.1, abs=0.1)
    rewards.sum().backward()
