"""The adapter for users of TRL, against TRL's own trainer and against our losses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dissensus.errors import ConfigError, TrainingError
from dissensus.reward.config import TrainConfig
from dissensus.reward.objectives import objective_of
from dissensus.reward.text.backbone import load_backbone

from .trl_tiny import make_trainer, token_rows

pytestmark = pytest.mark.filterwarnings("ignore")
trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")


MARGIN = [0.0, 0.2, 1.0, 0.4, -0.6, 0.8]
PREFERENCE = [0.5, 1.0, 0.7, 0.9, 0.2, 0.6]


def _trainer(
    kind: Any, folder: Path, rows: list[dict[str, Any]], out: Path, *, outputs: int = 1, **options: Any
) -> Any:
    torch.manual_seed(5)
    model, tokenizer = load_backbone(str(folder), new_head=True, outputs=outputs)
    tokenizer.eos_token = tokenizer.eos_token or "[SEP]"
    return make_trainer(model, tokenizer, rows, out, kind, **options)


def _ours(*arguments: Any, **options: Any) -> Any:
    from dissensus.integrations.trl import RewardTrainer

    return _trainer(RewardTrainer, *arguments, **options)


def _loss(trainer: Any, rows: list[dict[str, Any]]) -> tuple[float, list[Tensor], dict[str, Any]]:
    model = trainer.model.train()
    loss = trainer.compute_loss(model, dict(trainer.data_collator(rows)))
    loss.backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return loss.item(), gradients, dict(trainer._metrics["train"])


@pytest.mark.parametrize("backbone", ["tiny_bert", "tiny_llama"])
@pytest.mark.parametrize(("objective", "center"), [("bradley-terry", None), ("margin", None), ("margin", 0.1)])
def test_loss_gradients_and_metrics_are_trls(backbone, objective, center, request, tmp_path):
    folder = request.getfixturevalue(backbone)
    rows = token_rows(**({"margin": MARGIN} if objective == "margin" else {}))
    settings = {"center_rewards_coefficient": center}
    ours = _ours(folder, rows, tmp_path, objective=objective, settings=settings)
    theirs = _trainer(trl.RewardTrainer, folder, rows, tmp_path, settings=settings)
    # Their loss hands all columns to the model; BERT's signature has no use_cache and no margin.
    forward = theirs.model.forward
    theirs.model.forward = lambda input_ids, attention_mask, **_: forward(
        input_ids=input_ids, attention_mask=attention_mask
    )
    our_loss, our_gradients, our_metrics = _loss(ours, rows)
    their_loss, their_gradients, their_metrics = _loss(theirs, rows)
    assert our_loss == pytest.approx(their_loss, abs=1e-6)
    assert len(our_gradients) == len(their_gradients) > 0
    for one, two in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=0)
    assert our_metrics.keys() == their_metrics.keys() >= {"accuracy", "margin", "num_tokens"}
    for name, values in their_metrics.items():
        assert our_metrics[name] == pytest.approx(values, abs=1e-6)


def test_bradley_terry_leaves_a_margin_alone(tiny_bert: Path, tmp_path: Path):
    with_margin, without = token_rows(margin=MARGIN), token_rows()
    losses = [_loss(_ours(tiny_bert, rows, tmp_path), rows)[0] for rows in (with_margin, without)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-7)


def _rewards(trainer: Any, rows: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """Each text alone, so that neither padding nor the order of rows plays a part."""
    trainer.model.eval()
    with torch.no_grad():
        chosen, rejected = (
            torch.cat([trainer.model(input_ids=torch.tensor([row[name]])).logits for row in rows])
            for name in ("chosen_ids", "rejected_ids")
        )
    return chosen, rejected


@pytest.mark.parametrize(
    ("config", "columns", "target", "weight"),
    [
        (TrainConfig(objective="soft"), {"preference": PREFERENCE}, PREFERENCE, None),
        (
            TrainConfig(objective="blend", label_weight=0.3),
            {"preference": PREFERENCE},
            [0.3 + 0.7 * share for share in PREFERENCE],
            None,
        ),
        (
            TrainConfig(objective="brier", label_weight=-0.01),
            {"preference": PREFERENCE},
            [-0.01 + 1.01 * share for share in PREFERENCE],
            None,
        ),
        (
            TrainConfig(objective="margin", margin_scale=2),
            {"margin": MARGIN},
            [1.0] * 6,
            [2 * margin for margin in MARGIN],
        ),
        # TRL refuses more outputs than one; the model keeps its own and its config says so.
        (TrainConfig(objective="mean-variance"), {}, [1.0] * 6, None),
    ],
    ids=lambda value: value.objective if isinstance(value, TrainConfig) else "",
)
def test_losses_are_ours_on_the_same_rewards(tiny_bert, tmp_path, config, columns, target, weight):
    rows, function = token_rows(**columns), objective_of(config)
    trainer = _ours(tiny_bert, rows, tmp_path, objective=config, outputs=function.outputs)
    assert trainer.model.config.num_labels == function.outputs
    trainer.model.eval()
    with torch.no_grad():
        # Each text alone, so that neither padding nor the order of rows plays a part.
        chosen, rejected = (
            torch.cat([trainer.model(input_ids=torch.tensor([row[name]])).logits for row in rows])
            for name in ("chosen_ids", "rejected_ids")
        )
    margin = torch.zeros(6) if weight is None else torch.tensor(weight)
    expected = function.losses(chosen, rejected, torch.tensor(target), margin).mean().item()
    assert _loss(trainer, rows)[0] == pytest.approx(expected, abs=1e-6)


def _texts(n: int) -> list[dict[str, Any]]:
    words = ["yes", "no", "maybe", "very"]
    return [
        {
            "prompt": f"question why {words[i % 4]} ",
            "chosen": "a good answer " * (1 + i % 3),
            "rejected": f"a bad answer {words[i % 4]}",
            "preference": 0.5 + (i % 5) / 10,
            "margin": (i % 5) / 5,
        }
        for i in range(n)
    ]


@pytest.mark.parametrize("objective", ["soft", "margin"])
def test_a_run_from_texts_learns_and_goes_on_from_a_checkpoint(tiny_bert: Path, tmp_path: Path, objective: str):
    """TRL's own columns of texts; killed after the first epoch, the losses are those of an unbroken run."""

    def run(out: Path, *, checkpoint: Path | None = None) -> tuple[Any, list[float]]:
        settings = {"num_train_epochs": 3, "save_strategy": "epoch", "max_length": 32}
        trainer = _ours(tiny_bert, _texts(18), out, objective=objective, settings=settings)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        return trainer, [row["loss"] for row in trainer.state.log_history if "loss" in row]

    trainer, losses = run(tmp_path / "whole")
    assert len(losses) == 15
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    accuracy = [row["accuracy"] for row in trainer.state.log_history if "accuracy" in row]
    assert np.mean(accuracy[-5:]) > max(0.85, np.mean(accuracy[:5]))
    assert run(tmp_path / "rest", checkpoint=tmp_path / "whole" / "checkpoint-5")[1] == losses


def test_batches_are_of_like_length_seeded_and_new_in_every_epoch():
    from dissensus.integrations.trl import LengthOrder

    lengths = np.random.default_rng(0).integers(3, 200, (203, 2))

    def order(seed: int = 0, epoch: int = 0) -> list[int]:
        order = LengthOrder(lengths, batch_size=8, seed=seed)
        order.set_epoch(epoch)
        return list(order)

    def padding(order: list[int]) -> float:
        """Padded tokens for each real one."""
        parts = [lengths[order[i : i + 8]] for i in range(0, len(order), 8)]
        return float(sum(part.max() * part.size for part in parts) / lengths.sum())

    assert sorted(order()) == list(range(203))
    assert order() == order()
    assert order() != order(seed=1) != order(seed=1, epoch=1)
    # What is left is padding within pairs, whose two texts are drawn apart here.
    assert padding(order()) < 1.03 * float(2 * lengths.max(axis=1).sum() / lengths.sum())
    assert padding(np.random.default_rng(1).permutation(203).tolist()) > 1.2


def test_the_trainers_batches_are_those_of_the_order(tiny_bert: Path, tmp_path: Path):
    rows = token_rows(50)
    trainer = _ours(tiny_bert, rows, tmp_path, settings={"train_sampling_strategy": "group_by_length"})
    shapes = [batch["input_ids"].shape for batch in trainer.get_train_dataloader()]
    # Twelve full batches of four pairs, and what is left last.
    assert [shape[0] for shape in shapes] == [8] * 12 + [4]
    plain = _ours(tiny_bert, rows, tmp_path, by_length=False)
    assert sum(a * b for a, b in shapes) < sum(batch["input_ids"].numel() for batch in plain.get_train_dataloader())


@pytest.mark.parametrize(
    ("objective", "columns", "error", "message"),
    [
        ("soft", {}, TrainingError, "needs a column 'preference', found chosen_ids"),
        ("margin", {"preference": PREFERENCE}, TrainingError, "needs a column 'margin'"),
        ("soft", {"preference": [*PREFERENCE[:5], 1.5]}, TrainingError, "row 5: preference is 1.5.*from 0 to 1"),
        ("margin", {"margin": [*MARGIN[:5], float("nan")]}, TrainingError, "row 5: margin is nan"),
        (
            "scaled",
            {"margin": MARGIN},
            ConfigError,
            "objective: 'scaled' is no longer trained: .*; take margin instead",
        ),
        ("fair", {}, ConfigError, "objective: Input should be 'bradley-terry', 'margin'"),
        ("mean-variance", {}, ConfigError, "2 output.*num_labels=2"),
        (TrainConfig(center=0.2), {}, ConfigError, "give one of them"),
    ],
)
def test_what_cannot_be_trained_is_refused(tiny_bert, tmp_path, objective, columns, error, message):
    settings = {"center_rewards_coefficient": 0.1}
    with pytest.raises(error, match=message):
        _ours(tiny_bert, token_rows(**columns), tmp_path, objective=objective, settings=settings)


def test_adapters_of_trl_keep_the_head(tiny_bert: Path, tmp_path: Path):
    """TRL wraps the model by PEFT itself; head and loss are ours as before."""
    peft = pytest.importorskip("peft", reason="peft is not installed (extra lora)")
    rows = token_rows(preference=PREFERENCE)
    adapters = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], modules_to_save=["classifier"])
    plain, adapted = (_ours(tiny_bert, rows, tmp_path, objective="soft", peft_config=c) for c in (None, adapters))
    # Fresh adapters add nothing.
    assert _loss(adapted, rows)[0] == pytest.approx(_loss(plain, rows)[0], abs=1e-6)
    head = adapted.model.get_base_model().classifier.modules_to_save["default"]
    assert head.weight.grad is not None
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert adapted.model(input_ids=torch.tensor([[2, 5, 3]])).logits.dtype == torch.float32
