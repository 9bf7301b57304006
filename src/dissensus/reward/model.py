"""A reward model: a sequence classifier with one output, read in float32."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from dissensus.encoder import best_device, quiet_transformers, resolve_model
from dissensus.errors import InputError, TrainingError
from dissensus.records import Pair, Prediction, Text
from dissensus.reward.batches import pad_texts
from dissensus.reward.calibration import (
    Calibration,
    CalibrationMethod,
    fit_calibration,
    load_calibration,
    observed_preferences,
)
from dissensus.reward.config import TrainConfig
from dissensus.reward.encoding import EncodedText, Encoding
from dissensus.reward.objectives import ScalarReward, objective_of
from dissensus.reward.prediction import predictions_of, preference_logits

CONFIG_FILE = "dissensus.json"
_DROPOUT = re.compile(r"drop(out)?(_prob|_rate)?$|pdrop$|dropout")


class RewardModel:
    """Scores responses; ``load`` needs a folder and nothing else."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int,
        config: TrainConfig | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.encoding = Encoding(tokenizer, max_length)
        self.objective = objective_of(config) if config else ScalarReward(outputs=1)
        """What the model's outputs mean."""
        self.calibration = calibration
        """How sure it may be, where that was fitted."""

    @classmethod
    def load(cls, folder: str | Path, *, max_length: int | None = None, device: str | None = None) -> Self:
        """Load a folder that ``train`` wrote, or any one-output sequence classifier (a folder or Hub id).

        ``max_length`` defaults to that of training, or 512. Raises InputError when there is no such model,
        or it has more than one output.
        """
        config = _saved_config(Path(folder))
        model, tokenizer = load_backbone(str(folder), new_head=False)
        outputs = objective_of(config).outputs if config else 1
        if model.config.num_labels != outputs:
            expected = f"'{config.objective}' has {outputs}" if config else "a reward model has one"
            raise InputError(f"{folder}: {expected} output(s), this model has {model.config.num_labels}")
        model.eval().to(device or best_device())
        limit = position_limit(model)
        length = max_length or (config.max_length if config else min(512, limit or 512))
        if limit is not None and length > limit:
            raise InputError(f"max_length {length} is more than the {limit} positions of {folder}; lower it")
        return cls(model, tokenizer, max_length=length, config=config, calibration=load_calibration(folder))

    def rewards(
        self, texts: Sequence[tuple[Text, Text]], *, tokens_per_batch: int = 8192, progress: bool = False
    ) -> NDArray[np.float32]:
        """Return the reward of each (prompt, response), shape (texts,): the mean where it is a distribution."""
        outputs = self.outputs(texts, tokens_per_batch=tokens_per_batch, progress=progress)
        rewards: NDArray[np.float32] = self.objective.reward(torch.from_numpy(outputs)).numpy()
        return rewards

    def outputs(
        self, texts: Sequence[tuple[Text, Text]], *, tokens_per_batch: int = 8192, progress: bool = False
    ) -> NDArray[np.float32]:
        """Return the model's outputs for each (prompt, response), shape (texts, outputs); each distinct one once."""
        distinct = list(dict.fromkeys(texts))
        scored = score_texts(
            self.model,
            self.encoding.encode(distinct),
            pad_id=self.tokenizer.pad_token_id,
            tokens_per_batch=tokens_per_batch,
            progress=progress,
        )
        position = {text: i for i, text in enumerate(distinct)}
        return scored.reshape(len(distinct), self.objective.outputs)[[position[text] for text in texts]]

    def predict(
        self,
        pairs: Sequence[Pair],
        *,
        name: str,
        seed: int | None = None,
        calibrated: bool = False,
        progress: bool = False,
    ) -> list[Prediction]:
        """Predict each pair: its two rewards, and the preference for a that they mean.

        With ``calibrated``, the calibrated preference as well, beside the raw one. Raises InputError where the model
        has no calibration, TrainingError where its rewards are not numbers.
        """
        if calibrated and self.calibration is None:
            raise InputError(
                f"model '{name}' has no calibration; fit one with 'dissensus calibrate' on pairs with votes, "
                "or predict without it"
            )
        return predictions_of(
            pairs,
            self._outputs_of_pairs(pairs, progress=progress),
            self.objective,
            name=name,
            seed=seed,
            calibration=self.calibration if calibrated else None,
        )

    def calibrate(
        self, pairs: Sequence[Pair], *, method: CalibrationMethod = "temperature", progress: bool = False
    ) -> Calibration:
        """Fit a calibration on the votes of pairs (their labels where they have none), and predict with it from now on.

        ``save_calibration`` keeps it. The pairs should not have been trained on. Raises TrainingError where no pair
        has votes or a label.
        """
        judged, preference, weight = observed_preferences(pairs)
        if not judged:
            raise TrainingError(
                f"none of the {len(pairs)} pairs has votes or a label to calibrate on; give some that do"
            )
        logits = preference_logits(self.objective, self._outputs_of_pairs(judged, progress=progress))
        self.calibration = fit_calibration(logits, preference, weight, method)
        return self.calibration

    def _outputs_of_pairs(self, pairs: Sequence[Pair], *, progress: bool) -> NDArray[np.float32]:
        texts = [(p.prompt, response) for p in pairs for response in (p.response_a, p.response_b)]
        return self.outputs(texts, progress=progress).reshape(len(pairs), 2, self.objective.outputs)


def load_backbone(name: str, *, new_head: bool, dropout: float = 0.0) -> tuple[Any, Any]:
    """Load a one-output sequence classifier and its tokenizer, in float32, with padding on the right.

    Raises InputError when the folder or id cannot be loaded.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    source = resolve_model(name)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source, padding_side="right")
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
            config = AutoConfig.from_pretrained(source, **({"num_labels": 1} if new_head else {}))
            _adapt(config, dropout=dropout, new_head=new_head, pad_id=tokenizer.pad_token_id)
            # The checkpoint's own dtype may be half precision, in which a fresh head overflows.
            model = AutoModelForSequenceClassification.from_pretrained(source, config=config, dtype=torch.float32)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"cannot load model '{name}': {reason}; give a folder, a Hub id or 'minilm'") from error
    keep_head_in_float32(model)
    return model, tokenizer


def position_limit(model: nn.Module) -> int | None:
    """Return how many tokens a model with a table of positions can read; None for relative or rotary positions."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rsplit(".", 1)[-1] in ("position_embeddings", "wpe"):
            # RoBERTa's table begins behind the padding token's row.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def _adapt(config: Any, *, dropout: float, new_head: bool, pad_id: int) -> None:
    for key, value in config.to_dict().items():
        if _DROPOUT.search(key) and (value is None or isinstance(value, float)):
            setattr(config, key, dropout)
    if new_head:
        config.problem_type = "regression"
    config.pad_token_id = pad_id


def keep_head_in_float32(model: nn.Module) -> None:
    """Run the head outside autocast: under bfloat16 its outputs would be 0.03 apart at a reward of 4."""
    named = dict(model.named_children())
    head = named.get("score") or named.get("classifier") or list(named.values())[-1]
    inner = head.forward

    def forward(features: Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(features.device.type, enabled=False):
            return inner(features.float(), *args, **kwargs)

    head.forward = forward


def score_texts(
    model: Any,
    encoded: Sequence[EncodedText],
    *,
    pad_id: int,
    tokens_per_batch: int = 8192,
    progress: bool = False,
) -> NDArray[np.float32]:
    """Score encoded texts in eval mode, longest first; rewards of shape (texts,), or (texts, outputs) of several."""
    order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i].input_ids))
    outputs = model.config.num_labels
    rewards = np.empty(len(encoded) if outputs == 1 else (len(encoded), outputs), dtype=np.float32)
    was_training = model.training
    model.eval()
    with torch.inference_mode(), tqdm(total=len(order), desc="score", unit="text", disable=not progress) as bar:
        for rows in _token_batches(order, encoded, tokens_per_batch):
            batch = pad_texts([encoded[i] for i in rows], pad_id=pad_id)
            batch = {key: value.to(model.device) for key, value in batch.items()}
            rewards[rows] = model(**batch).logits.squeeze(-1).float().cpu().numpy()
            bar.update(len(rows))
    model.train(was_training)
    return rewards


def _token_batches(order: list[int], encoded: Sequence[EncodedText], budget: int) -> list[list[int]]:
    """Cut an order, longest first, into batches of at most ``budget`` padded tokens."""
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * len(encoded[batches[-1][0]].input_ids) <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _saved_config(folder: Path) -> TrainConfig | None:
    path = folder / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        return TrainConfig.model_validate(json.loads(path.read_text())["config"])
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: not written by this version of dissensus; train again") from error
