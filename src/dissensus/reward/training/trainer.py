"""Training on ``transformers.Trainer``: its loop, checkpoints and callbacks; our batches and loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback

from dissensus.errors import OutputError, TrainingError
from dissensus.reward.objectives import Objective
from dissensus.reward.objectives.losses import pair_losses
from dissensus.reward.serving.score import memory_reported
from dissensus.reward.text.batches import PairBatches
from dissensus.reward.training.layer_rates import LayerRates
from dissensus.reward.training.sharding import holds_shards, read_shards

WRITE_FAILURES = (OSError, RuntimeError, SafetensorError)
"""What saving weights raises on a full disk: the system's error, torch's, or that of safetensors."""


class PairTrainer(Trainer):  # type: ignore[misc]  # transformers ships no types
    """Trains rewards on pairs; nothing waits for the device except at a log entry.

    A batch is an optimiser step: the micro-batches of this process (``Collator``), whose losses add up to the mean
    over the pairs of all processes. It logs the loss as a mean over pairs, ``nll`` and ``accuracy`` against the labels,
    and stops, naming the pairs, at a loss or gradient that is not a number.
    """

    def __init__(
        self,
        *,
        batches: PairBatches,
        objective: Objective,
        pair_ids: Sequence[str],
        validate: Callable[[Any], dict[str, float]] | None = None,
        rates: LayerRates | None = None,
        **kwargs: Any,
    ) -> None:
        # A loss function of our own tells the parent that the loss is already scaled for accumulation.
        super().__init__(compute_loss_func=pair_losses, **kwargs)
        self.remove_callback(PrinterCallback)
        self.add_callback(_SetEpoch(batches))
        self._batches, self._objective, self._pair_ids, self._validate = batches, objective, pair_ids, validate
        self._rates = rates
        self.right, self.counted = 0.0, 0.0
        """Of the pairs with a winner that were logged while it trained: those put right, and all."""
        self._seen: list[Tensor] = []
        self._steps: list[tuple[Tensor, np.ndarray[Any, Any]]] = []
        self._norms: list[Tensor] = []
        self._record_norms()
        if self.args.world_size == 1 and not self.is_fsdp_enabled and not self.is_deepspeed_enabled:
            RowGradients(self.model)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Serve whole optimiser steps; every process draws the same ones and its collator takes its share."""
        return DataLoader(self.train_dataset, batch_sampler=self._batches, collate_fn=self.data_collator)

    def create_optimizer(self, *models: Any, **options: Any) -> Any:
        """Make the optimizer, weights in groups by their learning rates; biases and norms have no weight decay."""
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(*models, **options)
        if fresh and self._rates is not None:
            # Where weights are spread over processes the library names the model whose weights they are now.
            given = [*models, *options.values()]
            self._rates.spread(optimizer, given[0] if given else self.model)
        return optimizer

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """Take the next optimiser step, and the count of its pairs."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return samples, sum(sample["pairs"] for sample in samples)

    def training_step(self, model: Any, inputs: Mapping[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Go forward and backward through each micro-batch; processes exchange gradients at the last one alone.

        Raises ConfigError where memory runs out.
        """
        what = f"training step {self.state.global_step + 1}"
        remedy = "lower --tokens-per-batch or pass --gradient-checkpointing, which go on from the last checkpoint"
        model.train()
        total = torch.zeros((), device=self.args.device)
        with memory_reported(what, f"{remedy}, or lower --max-length"), casts_kept():
            inputs = self._prepare_inputs(inputs)
            micro_batches = inputs["micro_batches"]
            for i, micro_batch in enumerate(micro_batches):
                alone = i < len(micro_batches) - 1
                # DeepSpeed would take a step after each backward pass.
                self.accelerator.gradient_state.sync_gradients = not alone
                with self.accelerator.no_sync(model) if alone else nullcontext():
                    with self.compute_loss_context_manager():
                        loss = self.compute_loss(model, micro_batch, num_items_in_batch=inputs["pairs"])
                    self.accelerator.backward(loss)
                total += loss.detach()
        self._steps.append((total, inputs["indices"]))
        return total

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return a micro-batch's part of the mean over the pairs of the optimiser step."""
        outputs = model(**inputs["inputs"])
        logits = outputs.logits.float()
        a, b, weight = logits[inputs["a"]], logits[inputs["b"]], inputs["weight"]
        added = inputs.get("added")
        losses = self._objective.losses(a, b, inputs["target"], inputs["margin"], added) * weight
        with torch.no_grad():
            gap = self._objective.logit(a, b)
            gap = gap if added is None else gap + added
            # A pair of weight zero only fills in: as a tie it counts for nothing.
            self._seen.append(fit_to_labels(gap, torch.where(weight > 0, inputs["label"], 0.5)))
        # Gradients are averaged over the processes, so each part is scaled up by their number.
        loss = losses.sum() * self.args.world_size / (num_items_in_batch or len(losses))
        return (loss, outputs) if return_outputs else loss

    def floating_point_ops(self, inputs: Any) -> int:
        """Count none: the parent's estimate expects padded texts."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what was seen since the last entry; stop at a loss or gradient that is not a number."""
        if "loss" in logs:
            # A gradient that overflows may spoil a weight that no later loss shows, so each step's norm counts.
            if not (np.isfinite(logs["loss"]) and all(torch.isfinite(torch.stack(self._norms)).tolist())):
                raise TrainingError(self._overflow(logs["loss"]))
            counts = self.accelerator.reduce(torch.stack(self._seen).sum(dim=0), reduction="sum")
            nll, correct, n = counts.tolist()
            logs = {**logs, "loss": self._mean_loss()}
            self._seen.clear()
            self._steps.clear()
            self._norms.clear()
            self.right, self.counted = self.right + correct, self.counted + n
            if n:
                logs = {**logs, "nll": nll / n, "accuracy": correct / n}
        super().log(logs, start_time)

    def _mean_loss(self) -> float:
        """Return the mean over the pairs since the last entry; that over steps gives a smaller one too much weight."""
        totals = self.accelerator.reduce(torch.stack([total for total, _ in self._steps]), reduction="sum").double()
        sizes = torch.tensor([len(indices) for _, indices in self._steps], device=totals.device)
        mean: float = ((totals * sizes).sum() / sizes.sum()).item() / self.args.world_size
        return mean

    def _record_norms(self) -> None:
        """Keep the gradient norm of each step on the device, where the parent has it computed."""
        clip = self.accelerator.clip_grad_norm_

        def recording(*args: Any, **kwargs: Any) -> Any:
            norm = clip(*args, **kwargs)
            # Sharded gradients have a norm that is spread as well.
            whole = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
            self._norms.append(torch.as_tensor(whole).detach())
            return norm

        self.accelerator.clip_grad_norm_ = recording

    def _overflow(self, loss: float) -> str:
        """Find the first step whose loss or gradient was not finite and name its pairs."""
        finite = torch.stack([torch.isfinite(total).float() for total, _ in self._steps])
        finite = self.accelerator.reduce(finite, reduction="sum") / self.args.world_size
        bad_losses = [i for i, value in enumerate(finite.tolist()) if value < 1]
        bad_norms = [i for i, norm in enumerate(self._norms) if not torch.isfinite(norm)]
        at = min(bad_losses + bad_norms, default=len(self._steps) - 1)
        what = f"the loss is {loss}" if at in bad_losses else "the gradient is not finite"
        indices = self._steps[at][1]
        named = ", ".join(self._pair_ids[i] for i in indices[:3])
        more = f" and {len(indices) - 3} more" if len(indices) > 3 else ""
        step = self.state.global_step - len(self._steps) + at + 1
        return (
            f"{what} at step {step} (pairs {named}{more}); lower the learning rate or use precision fp32; "
            "the last checkpoint is from before and is kept"
        )

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        # A checkpoint is read back by the names that weights have in memory, so it must be written by them. Given the
        # choice the library writes those of the file that it read (LayerNorm.gamma in older BERTs; transformers 5.0
        # for every BERT) and, resuming, leaves out what it cannot find: the layer norms would be untrained again.
        if isinstance(self.model, PreTrainedModel):
            self.model.save_pretrained = partial(self.model.save_pretrained, save_original_format=False)
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.model.__dict__.pop("save_pretrained", None)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if holds_shards(resume_from_checkpoint) and not self.is_fsdp_enabled:
            read_shards(resume_from_checkpoint, self.accelerator, model or self.model)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.is_fsdp_enabled or not holds_shards(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        read_shards(checkpoint, self.accelerator, self.model, self.optimizer)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))

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
        found = self._validate(self.model) if self._validate else {}
        metrics = {f"eval_{name}": value for name, value in found.items()}
        self.log(dict(metrics))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class RowGradients:
    """Adds the gradient of a token table straight to the rows that were read.

    A table of 128,000 tokens is 400 MB, which each backward pass would fill with zeros and add up. On a CPU, in one
    process: what processes exchange goes through autograd, and so does a table that an output layer reads as well.
    """

    def __init__(self, model: Any) -> None:
        table = model.get_input_embeddings()
        if type(table) is not nn.Embedding or "forward" in vars(table) or table.weight.device.type != "cpu":
            return
        users = [m for m in model.modules() if any(p is table.weight for p in m.parameters(recurse=False))]
        plain = table.max_norm is None and not table.scale_grad_by_freq and not table.sparse
        if plain and len(users) == 1 and table.weight.requires_grad:
            self._zeros: Tensor | None = None
            table.forward = MethodType(self._read, table)  # type: ignore[method-assign]

    def _read(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return F.embedding(ids, table.weight)
        rows: Tensor = _Rows.apply(ids, table.weight, table.padding_idx, self)  # type: ignore[no-untyped-call]
        return rows

    def add(self, weight: Tensor, ids: Tensor, gradient: Tensor, padding: int | None) -> None:
        """Add the gradient of these rows to that of their table."""
        if weight.grad is None:
            # Kept from step to step: new memory costs more than zeros.
            if self._zeros is None:
                self._zeros = torch.zeros_like(weight)
            weight.grad = self._zeros.zero_()
        weight.grad.index_add_(0, ids.reshape(-1), gradient.reshape(-1, weight.shape[1]).to(weight.dtype))
        if padding is not None:
            weight.grad[padding] = 0


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor, padding: int | None, gradients: RowGradients) -> Tensor:
        ctx.save_for_backward(ids, weight)
        ctx.rest = padding, gradients
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None, None]:
        ids, weight = ctx.saved_tensors
        padding, gradients = ctx.rest
        gradients.add(weight, ids, gradient, padding)
        return None, None, None, None


@contextmanager
def casts_kept() -> Iterator[None]:
    """Let autocast keep its half-precision weights from one micro-batch to the next; they change with the step."""
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()


def fit_to_labels(gap: Tensor, label: Tensor) -> Tensor:
    """Sum plain Bradley-Terry NLL and correct signs over the pairs with a winner, and count them; shape (3,)."""
    decided = (label != 0.5).float()
    nll = (pair_losses(gap, label, torch.zeros_like(gap)) * decided).sum()
    correct = (0.5 * (1 + torch.sign(gap) * torch.sign(label - 0.5)) * decided).sum()
    return torch.stack([nll, correct, decided.sum()])


class _SetEpoch(TrainerCallback):  # type: ignore[misc]
    """Tells the batches which epoch begins; a resumed run begins within one."""

    def __init__(self, batches: PairBatches) -> None:
        self.batches = batches

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count epochs by whole passes, not by the rounded fraction that the state carries."""
        self.batches.set_epoch(state.global_step // len(self.batches))


class ExtraSteps(TrainerCallback):  # type: ignore[misc]
    """Logs at the last step, so that a run of fewer than ``logging_steps`` leaves a curve as well; validates at the
    last step of each epoch, of so many ``steps``, and so before the checkpoint of that step is written.

    The library does that after the epoch: a run that was killed while it validated would go on with the next epoch.
    """

    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a log entry, or a validation; where one is due anyway it stays one."""
        if state.global_step >= state.max_steps:
            control.should_log = True
        if self.steps is not None and state.global_step % self.steps == 0:
            control.should_evaluate = True


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

    def close(self) -> None:
        """Leave the bar as it is, and its line; a second time does nothing."""
        if self._bar is not None:
            self._bar.close()
