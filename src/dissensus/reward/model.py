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
from dissensus.reward.config import TrainConfig
from dissensus.reward.encoding import EncodedText, Encoding

CONFIG_FILE = "dissensus.json"
_DROPOUT = re.compile(r"drop(out)?(_prob|_rate)?$|pdrop$|dropout")


class RewardModel:
    """Scores responses; ``load`` needs a folder and nothing else."""

    def __init__(self, model: Any, tokenizer: Any, *, max_length: int, config: TrainConfig | None = None) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.encoding = Encoding(tokenizer, max_length)

    @classmethod
    def load(cls, folder: str | Path, *, max_length: int | None = None, device: str | None = None) -> Self:
        """Load a folder that ``train`` wrote, or any one-output sequence classifier (a folder or Hub id).

        ``max_length`` defaults to that of training, or 512. Raises InputError when there is no such model,
        or it has more than one output.
        """
        config = _saved_config(Path(folder))
        model, tokenizer = load_backbone(str(folder), new_head=False)
        if model.config.num_labels != 1:
            raise InputError(f"{folder}: a reward model has one output, this model has {model.config.num_labels}")
        model.eval().to(device or best_device())
        limit = position_limit(model)
        length = max_length or (config.max_length if config else min(512, limit or 512))
        if limit is not None and length > limit:
            raise InputError(f"max_length {length} is more than the {limit} positions of {folder}; lower it")
        return cls(model, tokenizer, max_length=length, config=config)

    def rewards(
        self, texts: Sequence[tuple[Text, Text]], *, tokens_per_batch: int = 8192, progress: bool = False
    ) -> NDArray[np.float32]:
        """Return the reward of each (prompt, response), shape (texts,); each distinct one is scored once."""
        distinct = list(dict.fromkeys(texts))
        scored = score_texts(
            self.model,
            self.encoding.encode(distinct),
            pad_id=self.tokenizer.pad_token_id,
            tokens_per_batch=tokens_per_batch,
            progress=progress,
        )
        position = {text: i for i, text in enumerate(distinct)}
        return scored[[position[text] for text in texts]]

    def predict(
        self, pairs: Sequence[Pair], *, name: str, seed: int | None = None, progress: bool = False
    ) -> list[Prediction]:
        """Predict each pair: its two rewards, and sigma(reward_a - reward_b) as the preference for a."""
        texts = [(p.prompt, response) for p in pairs for response in (p.response_a, p.response_b)]
        rewards = self.rewards(texts, progress=progress).astype(float).reshape(-1, 2)
        broken = int((~np.isfinite(rewards)).any(axis=1).sum())
        if broken:
            raise TrainingError(f"the model gives rewards that are not numbers for {broken} of {len(pairs)} pairs")
        return [
            Prediction(
                pair_id=pair.id, model=name, seed=seed, reward_a=a, reward_b=b, preference_a=float(_sigmoid(a - b))
            )
            for pair, (a, b) in zip(pairs, rewards.tolist(), strict=True)
        ]


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
    """Score encoded texts in eval mode, longest first; rewards of shape (texts,)."""
    order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i].input_ids))
    rewards = np.empty(len(encoded), dtype=np.float32)
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


def _sigmoid(gap: float) -> float:
    return float(0.5 * (1 + np.tanh(gap / 2)))
