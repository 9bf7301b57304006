"""TRL's ``RewardTrainer`` with our objectives and batches of like length (experimental).

Everything else is TRL's own: its arguments, tokenising, checkpoints, metrics and telemetry (which
``HF_HUB_DISABLE_TELEMETRY=1`` switches off). ``dissensus train`` is several times faster; this is for people who have
a script already::

    from dissensus.integrations.trl import RewardTrainer

    trainer = RewardTrainer("Qwen/Qwen3-0.6B", RewardConfig("out"), train_dataset=dataset, objective="soft")
    trainer.train()
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler
from transformers.modeling_outputs import SequenceClassifierOutput

from dissensus.errors import ConfigError, MissingDependencyError, TrainingError
from dissensus.reward.config import TrainConfig
from dissensus.reward.model_record import leave_record
from dissensus.reward.notices import report
from dissensus.reward.objectives import Objective, ObjectiveName, objective_of
from dissensus.reward.text.backbone import keep_head_in_float32
from dissensus.reward.text.batches import PairBatches
from dissensus.reward.text.encode import Style
from dissensus.text.pretrained import position_limit

try:
    from trl import RewardTrainer as _RewardTrainer
    from trl.data_utils import is_conversational
    from trl.trainer.reward_trainer import DataCollatorForPreference
except ImportError as error:
    raise MissingDependencyError("trl", extra="trl", need="dissensus.integrations.trl") from error

_COLUMNS = ("margin", "preference")


class RewardTrainer(_RewardTrainer):  # type: ignore[misc]  # TRL ships no types
    """TRL's trainer of reward models, with another ``objective``.

    ``objective`` is a name, or a ``TrainConfig`` of which the settings of the objective and ``center`` count and no
    others. A row has what it has in TRL and, where the objective asks for it,

    - ``margin``: the term m of ``margin``, taken with its sign;
    - ``preference``: the fraction of judgments or votes for the chosen response, for ``soft``, ``blend``, ``brier``
      and distributions with ``soft_targets``.

    ``bradley-terry`` reads neither: unlike TRL's own loss it leaves a column ``margin`` alone. The head is and runs in
    float32, whatever the model's own dtype. With ``by_length``, pairs of like length stand in one batch, in an order
    drawn from the epoch and ``args.data_seed`` (or ``args.seed``).

    What is logged is exact over rows, in any batches and over any processes: ``accuracy`` (a tie counts one half),
    ``margin`` (the mean reward gap), the least, mean and greatest reward, and the loss of an evaluation. ``predict``
    returns outputs of shape (pairs, 2, outputs), the chosen response first. How prompt and response were read is kept
    in the model's config, with the objective: `RewardModel.load` reads texts as this trainer did.

    Raises ConfigError for settings or a model that do not fit the objective, TrainingError for rows that do not.
    """

    data_collator: Any
    _signature_columns: list[str] | None

    def __init__(
        self,
        model: Any,
        args: Any = None,
        *arguments: Any,
        objective: ObjectiveName | TrainConfig = "bradley-terry",
        by_length: bool = True,
        **options: Any,
    ) -> None:
        config = TrainConfig.load({"objective": objective}) if isinstance(objective, str) else objective
        theirs = getattr(args, "center_rewards_coefficient", None)
        if theirs is not None and config.center not in (0.0, theirs):
            raise ConfigError(f"center is {config.center} and center_rewards_coefficient {theirs}; give one of them")
        self._config = config.model_copy(update={"center": config.center if theirs is None else float(theirs)})
        self._objective = objective_of(self._config)
        self._by_length = by_length
        self._seen: dict[str, list[NDArray[np.float64]]] = {"train": [], "eval": []}
        self._style: Style | None = None
        with _looking_scalar(model, self._objective):
            super().__init__(model, args, *arguments, **options)
        if type(self.data_collator) is DataCollatorForPreference:
            self.data_collator = PreferenceCollator(**vars(self.data_collator))
        inner = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        head = keep_head_in_float32(inner)
        if inner is not self.model and not any(weight.requires_grad for weight in head.parameters()):
            report("the head is not trained: name it in peft_config, as in modules_to_save=['score']")
        # Decoders keep keys and values for generation unless told not to; encoders do not know the word.
        caches = "use_cache" in inspect.signature(type(inner).forward).parameters
        self._inputs = {"use_cache": False} if caches else {}
        _check_rows(self.train_dataset, self._objective)
        leave_record(inner.config, self._style, self._config, max_length=self._window(inner))

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean loss over the batch's pairs, whose rows are [chosen..., rejected...]."""
        read = {name: value for name, value in inputs.items() if name not in _COLUMNS}
        outputs = model(**read, **self._inputs)
        chosen, rejected = outputs.logits.chunk(2)
        target, margin = _targets(inputs, len(chosen), self._objective)
        losses = self._objective.losses(chosen, rejected, target.to(chosen.device), margin.to(chosen.device))
        with torch.no_grad():
            # What TRL logs of a batch it records in its own loss: let it, on rewards that are there already.
            rewards = self._objective.reward(outputs.logits)
            super().compute_loss(lambda **_: SequenceClassifierOutput(logits=rewards[:, None]), dict(inputs))
            one, other = inputs["input_ids"].chunk(2)
            # Kernels round the same text in two rows of a batch differently.
            logit = self._objective.logit(chosen, rejected).masked_fill((one == other).all(dim=1), 0)
            self._record(logit, rewards, losses)
        return (losses.mean(), outputs) if return_outputs else losses.mean()

    def _record(self, logit: Tensor, rewards: Tensor, losses: Tensor) -> None:
        """Keep what is known of the batch's rows, of all processes."""
        chosen, rejected = rewards.chunk(2)
        mode = "train" if self.model.training else "eval"
        # An evaluation's last batch is filled up with rows that were there before; a training step takes these too.
        gather = self.accelerator.gather if mode == "train" else self.accelerator.gather_for_metrics
        right = (1 + torch.sign(logit)) / 2
        rows = torch.stack([values.detach().float() for values in (right, chosen, rejected, losses)], dim=1)
        self._seen[mode].append(gather(rows).cpu().double().numpy())

    def _count(self, mode: str) -> None:
        """Put the means over rows in place of TRL's means of batches."""
        if self._seen[mode]:
            self._metrics[mode].update({name: [value] for name, value in _metrics_of(self._seen[mode]).items()})

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does; what comes next is counted anew."""
        if self.model.training:
            self._count("train")
        super().log(logs, start_time)
        self._seen["train" if self.model.training else "eval"] = []

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """Evaluate, or predict, over all batches; the metrics are of these rows and no others."""
        self._seen["eval"] = []
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        self._count("eval")
        found = {name: values[0] for name, values in self._metrics["eval"].items()}
        if self._seen["eval"]:
            found["loss"] = float(np.concatenate(self._seen["eval"])[:, 3].mean())
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in found.items()})
        # TRL would add them to the next log entry, under the name of whichever set that is.
        self._metrics["eval"].clear()
        return output

    def prediction_step(
        self, model: Any, inputs: Mapping[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Any, Any, Any]:
        """Return loss, outputs of shape (pairs, 2, outputs) and no labels: rows, which can be gathered and counted."""
        loss, outputs, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        return loss, torch.stack(outputs.chunk(2), dim=1) if isinstance(outputs, Tensor) else outputs, labels

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        style = _style_of(dataset)
        if dataset_name == "train":
            self._style = style
        if style == "chat" and not processing_class.chat_template:
            raise ConfigError(
                "the rows are chats and the tokenizer has no chat template; set RewardConfig's chat_template_path, or "
                "give rows of text"
            )
        tokenizer = processing_class
        if style == "joined" and processing_class.eos_token is None:
            tokenizer = _Endless(processing_class)
        return super()._prepare_dataset(dataset, tokenizer, args, dataset_name)

    def _window(self, model: Any) -> int | None:
        """How many tokens a text may have: as many as TRL lets through, and the model has positions for."""
        window = self.args.max_length
        if window is None and hasattr(self.train_dataset, "__len__"):
            window = int(_lengths(self.train_dataset).max(initial=TrainConfig().max_length))
        limits = [limit for limit in (window, position_limit(model)) if limit is not None]
        return min(limits, default=None)

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            self._signature_columns = ["chosen_ids", "rejected_ids", *_COLUMNS]

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        data = self.train_dataset if train_dataset is None else train_dataset
        if not self._by_length or not hasattr(data, "__len__"):
            return super()._get_train_sampler(train_dataset)
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return LengthOrder(_lengths(data), batch_size=step, seed=seed)


def _metrics_of(batches: list[NDArray[np.float64]]) -> dict[str, float]:
    """Name the means over all rows of batches (right, rewards of the chosen and the rejected, loss) as TRL does."""
    rows = np.concatenate(batches)
    right, chosen, rejected = rows[:, :3].mean(axis=0).tolist()
    return {
        "accuracy": right,
        "margin": chosen - rejected,
        "mean_reward": (chosen + rejected) / 2,
        "min_reward": float(rows[:, 1:3].min()),
        "max_reward": float(rows[:, 1:3].max()),
    }


class _Endless:
    """A tokenizer whose end-of-text token is the empty text, which TRL finds at the end of every text."""

    eos_token = ""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> Any:
        return self._tokenizer(text=text)


class PreferenceCollator(DataCollatorForPreference):  # type: ignore[misc]  # TRL ships no types
    """TRL's collator, which also keeps the rows' ``preference``, shape (pairs,)."""

    def torch_call(self, examples: list[Mapping[str, Any]]) -> dict[str, Any]:
        """Pad the texts of these rows to one length, chosen ones first."""
        batch: dict[str, Any] = super().torch_call(examples)
        if "preference" in examples[0]:
            batch["preference"] = torch.tensor([row["preference"] for row in examples], dtype=torch.float32)
        return batch


class LengthOrder(Sampler[int]):
    """An order of pairs whose consecutive ``batch_size`` are of like length; batches come in random order.

    ``lengths`` are the tokens of the chosen and the rejected text, shape (pairs, 2). The order is fixed by (seed,
    epoch). The pairs left over for a smaller batch come last, so that no other batch is cut in two.

    >>> order = LengthOrder(np.array([[9, 2], [3, 3], [8, 9], [2, 1], [5, 5]]), batch_size=2, seed=0)
    >>> sorted(order)
    [0, 1, 2, 3, 4]
    """

    def __init__(self, lengths: NDArray[np.int64], *, batch_size: int, seed: int) -> None:
        texts = np.arange(2 * len(lengths)).reshape(-1, 2)
        groups = np.arange(len(lengths))
        self._batches = PairBatches(texts, lengths.reshape(-1), groups, batch_size=batch_size, seed=seed)
        self._size, self._pairs = batch_size, len(lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; called before each epoch."""
        self._batches.set_epoch(epoch)

    def __len__(self) -> int:
        return self._pairs

    def __iter__(self) -> Iterator[int]:
        batches = sorted(self._batches, key=lambda batch: len(batch) < self._size)
        return chain.from_iterable(batches)


@contextmanager
def _looking_scalar(model: Any, objective: Objective) -> Iterator[None]:
    """Let TRL, which refuses more outputs than one, take a model whose rewards are distributions."""
    outputs = objective.outputs
    found, name = (1, "the model") if isinstance(model, str) else (model.config.num_labels, type(model).__name__)
    if found != outputs:
        raise ConfigError(
            f"objective '{objective.name}' has {outputs} output(s), {name} has {found}; load it with "
            f"AutoModelForSequenceClassification.from_pretrained(..., num_labels={outputs}) and pass it as model"
        )
    if outputs == 1:
        yield
        return
    settings = model.config
    names, numbers = settings.id2label, settings.label2id
    settings.num_labels = 1
    try:
        yield
    finally:
        settings.id2label, settings.label2id = names, numbers


def _style_of(dataset: Any) -> Style:
    """Say how TRL will put prompt and response together; by the first row, as TRL does."""
    first: Mapping[str, Any] = next(iter(dataset), {})
    if {"chosen_ids", "chosen_input_ids"} & set(first):
        return "tokens"
    return "chat" if is_conversational(first) else "joined"


def _targets(inputs: Mapping[str, Any], pairs: int, objective: Objective) -> tuple[Tensor, Tensor]:
    """Return target and margin of a batch, each of shape (pairs,); the first response of a pair is the chosen one."""
    column = objective.reads
    if column is not None and column not in inputs:
        raise TrainingError(f"objective '{objective.name}' needs '{column}' in every batch; the collator left it out")
    target, margin = torch.ones(pairs), torch.zeros(pairs)
    if column == "margin":
        margin = objective.config.margin_scale * inputs["margin"]
    elif column == "preference":
        target = objective.label_weight + (1 - objective.label_weight) * inputs["preference"]
    return target, margin


def _check_rows(dataset: Any, objective: Objective) -> None:
    """Refuse rows that the objective cannot use, before the first step; rows that are streamed are not looked at."""
    column = objective.reads
    for other in set(_COLUMNS) - {column}:
        if other in (dataset.column_names or ()):
            report(f"the column '{other}' is left alone: objective '{objective.name}' does not read it")
    if column is None or not hasattr(dataset, "__len__"):
        return
    if column not in dataset.column_names:
        raise TrainingError(
            f"objective '{objective.name}' needs a column '{column}', found {', '.join(dataset.column_names)}"
        )
    values = np.array(dataset[column][:], dtype=np.float64)
    # Below 0, a label weight takes the target of a preference that goes against the label below 0 as well.
    lowest = max(0.0, objective.label_weight / (objective.label_weight - 1)) if column == "preference" else 0.0
    low, high = (lowest, 1.0) if column == "preference" else (-np.inf, np.inf)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= low) & (values <= high)))
    if wrong.size:
        expected = f"a number from {low:.3g} to 1" if high == 1 else "a number"
        raise TrainingError(
            f"row {wrong[0]}: {column} is {values[wrong[0]]}, expected {expected} ({wrong.size} such rows); "
            "fix or remove them"
        )


def _lengths(dataset: Any) -> NDArray[np.int64]:
    """Count the tokens of the chosen and the rejected text of each row, shape (pairs, 2)."""
    counts = [np.empty((0, 2), dtype=np.int64)]
    for batch in dataset.with_format("arrow").iter(batch_size=10_000):
        both = [pc.list_value_length(batch[name]) for name in ("chosen_ids", "rejected_ids")]
        counts.append(np.stack(both, axis=1).astype(np.int64))
    return np.concatenate(counts)
