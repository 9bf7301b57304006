"""Training on ``transformers.Trainer``: its loop, checkpoints and callbacks; our batches and loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback

from dissensus.errors import OutputError, TrainingError
from dissensus.reward.batches import PairBatches
from dissensus.reward.loss import pair_losses

WRITE_FAILURES = (OSError, RuntimeError, SafetensorError)
"""What saving weights raises on a full disk: the system's error, torch's, or that of safetensors."""

_TEXT_KEYS = ("input_ids", "attention_mask", "token_type_ids")


class PairTrainer(Trainer):  # type: ignore[misc]  # transformers ships no types
    """Trains rewards on pairs.

    Differs from its parent in the batches (``PairBatches``), the loss (``pair_losses``, the mean over the
    pairs of the whole optimiser step), what it logs (``nll`` and ``accuracy`` against the labels, comparable
    between objectives) and how it evaluates.
    """

    def __init__(
        self, *, batches: PairBatches, validate: Callable[[Any], dict[str, float]] | None = None, **kwargs: Any
    ) -> None:
        # A loss function of our own tells the parent that the loss is already scaled for accumulation.
        super().__init__(compute_loss_func=pair_losses, **kwargs)
        self.remove_callback(PrinterCallback)
        self._batches = batches
        self._validate = validate
        self._seen: list[Tensor] = []

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Serve our batches; a resumed run skips those it has trained on."""
        loader: DataLoader[Any] = DataLoader(
            self.train_dataset, batch_sampler=self._batches, collate_fn=self.data_collator
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Tensor]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Any]:
        """Count the pairs of an optimiser step, over which its loss is the mean."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return samples, sum(len(sample["target"]) for sample in samples)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the sum of the pairs' losses over the pairs of the optimiser step."""
        outputs = model(**{key: inputs[key] for key in _TEXT_KEYS if key in inputs})
        rewards = outputs.logits.squeeze(-1).float()
        gap = rewards[inputs["a"]] - rewards[inputs["b"]]
        losses = pair_losses(gap, inputs["target"], inputs["margin"])
        if model.training:
            self._seen.append(fit_to_labels(gap.detach(), inputs["label"]))
        loss = losses.sum() / (num_items_in_batch or len(losses))
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what was seen since the last entry; stop at a loss that is not a number."""
        if "loss" in logs:
            if not np.isfinite(logs["loss"]):
                raise TrainingError(
                    f"the loss is {logs['loss']} at step {self.state.global_step}; lower the learning rate "
                    "or use precision fp32; the last checkpoint is kept"
                )
            nll, correct, n = torch.stack(self._seen).sum(dim=0).tolist()
            self._seen.clear()
            if n:
                logs = {**logs, "nll": nll / n, "accuracy": correct / n}
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except WRITE_FAILURES as error:
            raise OutputError(
                f"{self.args.output_dir}: no checkpoint can be written at step {self.state.global_step} ({error}); "
                "free space and run again to go on from the last whole one"
            ) from error

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the held-out prompts: plain Bradley-Terry NLL and accuracy, whatever the objective."""
        metrics = (
            {f"eval_{name}": value for name, value in self._validate(self.model).items()} if self._validate else {}
        )
        self.log(dict(metrics))
        return metrics


def fit_to_labels(gap: Tensor, label: Tensor) -> Tensor:
    """Sum plain Bradley-Terry NLL and correct signs over the pairs with a winner, and count them; shape (3,)."""
    decided = label != 0.5
    gap, label = gap[decided], label[decided]
    nll = pair_losses(gap, label, torch.zeros_like(gap)).sum()
    correct = (0.5 * (1 + torch.sign(gap) * torch.sign(label - 0.5))).sum()
    return torch.stack([nll, correct, decided.sum().float()])


class LogLastStep(TrainerCallback):  # type: ignore[misc]
    """Logs at the last step, so that a run of fewer than ``logging_steps`` leaves a curve as well."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a log entry at the last step; where one is due anyway it stays one."""
        if state.global_step >= state.max_steps:
            control.should_log = True


class ProgressBar(TrainerCallback):  # type: ignore[misc]
    """One line on stderr: steps, rate, time left and the plain Bradley-Terry NLL so far."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar, at the step where a resumed run goes on."""
        self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.title, unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance by one step."""
        if self._bar is not None:
            self._bar.update(1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Show the latest NLL."""
        if self._bar is not None and logs and "nll" in logs:
            self._bar.set_postfix(nll=f"{logs['nll']:.3f}", refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
