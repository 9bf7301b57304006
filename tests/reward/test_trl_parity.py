"""Loss and gradients against TRL's own trainer, on its own collator's batch."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dissensus.reward.objectives.losses import pair_losses
from dissensus.reward.text.backbone import load_backbone

pytestmark = pytest.mark.filterwarnings("ignore")
trl = pytest.importorskip("trl")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)

    def ids(n: int) -> list[int]:
        return [2, *torch.randint(4, 20, (n,), generator=generator).tolist(), 3]

    return [{"chosen_ids": ids(3 + i), "rejected_ids": ids(9 - i), "margin": i / 5} for i in range(6)]


def _theirs(folder: Path, rows: list[dict[str, Any]], tmp_path: Path) -> tuple[float, list[torch.Tensor]]:
    from trl.trainer.reward_trainer import DataCollatorForPreference

    model, tokenizer = load_backbone(str(folder), new_head=False)
    tokenizer.eos_token = tokenizer.eos_token or "[SEP]"
    arguments = trl.RewardConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False
    )
    from datasets import Dataset

    trainer = trl.RewardTrainer(
        model=model,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"chosen_ids": [2, 4, 3], "rejected_ids": [2, 5, 3]}]),
    )
    batch = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id)(rows)
    # Their loss hands the whole batch to the model; BERT's signature has no use_cache and no margin.
    forward = model.forward
    model.forward = lambda input_ids, attention_mask, **_: forward(input_ids=input_ids, attention_mask=attention_mask)
    model.train()
    loss = trainer.compute_loss(model, dict(batch))
    loss.backward()
    return loss.item(), _gradients(model)


def _ours(folder: Path, rows: list[dict[str, Any]]) -> tuple[float, list[torch.Tensor]]:
    from trl.trainer.reward_trainer import DataCollatorForPreference

    model, tokenizer = load_backbone(str(folder), new_head=False)
    model.train()
    batch = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id)(rows)
    rewards = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.squeeze(-1)
    chosen, rejected = rewards.chunk(2)
    margin = batch["margin"] if "margin" in batch else torch.zeros_like(chosen)
    loss = pair_losses(chosen - rejected, torch.ones_like(chosen), margin).mean()
    loss.backward()
    return loss.item(), _gradients(model)


def _gradients(model: Any) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def _without_margin(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: row[key] for key in ("chosen_ids", "rejected_ids")} for row in rows]


def _permuted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    margins = [row["margin"] for row in rows]
    return [{**row, "margin": margin} for row, margin in zip(rows, margins[1:] + margins[:1], strict=True)]


@pytest.mark.parametrize("change", [list, _without_margin, _permuted])
def test_loss_and_gradients_agree_with_trl(tiny_bert: Path, rows: list[dict[str, Any]], change: Any, tmp_path: Path):
    rows = change(rows)
    their_loss, theirs = _theirs(tiny_bert, rows, tmp_path)
    our_loss, ours = _ours(tiny_bert, rows)
    assert our_loss == pytest.approx(their_loss, abs=1e-6)
    assert len(ours) == len(theirs) > 0
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, atol=1e-6, rtol=0)


def test_permuted_margins_give_another_loss(tiny_bert: Path, rows: list[dict[str, Any]]):
    assert abs(_ours(tiny_bert, rows)[0] - _ours(tiny_bert, _permuted(rows))[0]) > 1e-5
