"""Logits behind the prefix as choice distributions, and replies drawn by numbers that are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor

from dissensus.errors import JudgeError
from dissensus.judges.language.choice_distribution import ChoiceDistribution

_MASS = 1 - 1e-4
"""The most probable tokens are kept until they weigh this much,"""
_LEAST, _MOST = 20, 1024
"""within these numbers of them."""
_NO_NUMBERS = "the model's probabilities are not numbers; try --dtype float32, or check its weights"


def distributions_of(logits: Tensor, prefix: Sequence[int], verdicts: NDArray[np.uint8]) -> list[ChoiceDistribution]:
    """Turn logits into choice distributions.

    Args:
        logits: shape (rows, len(prefix) + 1, vocabulary), where each token of the prefix is predicted, and behind it.
        prefix: the tokens of the prefix.
        verdicts: the code of what each token names behind the prefix, shape (vocabulary,).

    Raises:
        JudgeError: the logits are not numbers.
    """
    logprobs = logits.float().log_softmax(-1)
    if torch.isnan(logprobs).any():
        raise JudgeError(_NO_NUMBERS)
    forced = _forced(logprobs[:, :-1], prefix)
    last = logprobs[:, -1]
    values, tokens = last.topk(min(_MOST, last.shape[-1]))
    labels = np.flatnonzero(verdicts != ord("-"))
    named = last[:, torch.from_numpy(labels).to(last.device)]
    parts = (part.cpu().numpy() for part in (values.double(), tokens, named.double(), forced))
    return [
        _distribution(values, tokens, named, forced, labels, verdicts)
        for values, tokens, named, forced in zip(*parts, strict=True)
    ]


def _forced(logprobs: Tensor, prefix: Sequence[int]) -> Tensor:
    """The lowest probability of a token of the prefix, 0 where one is not the most probable; shape (rows,)."""
    wanted = torch.tensor(prefix, device=logprobs.device)
    found = logprobs.gather(-1, wanted.expand(len(logprobs), -1)[..., None])[..., 0]
    greedy = (logprobs.argmax(-1) == wanted).all(-1)
    return torch.where(greedy, found.min(-1).values.double().exp(), 0.0)


def _distribution(
    values: NDArray[np.float64],
    tokens: NDArray[np.int64],
    named: NDArray[np.float64],
    forced: np.float64,
    labels: NDArray[np.int64],
    verdicts: NDArray[np.uint8],
) -> ChoiceDistribution:
    enough = int(np.searchsorted(np.exp(values).cumsum(), _MASS)) + 1
    top = min(max(enough, _LEAST), len(values))
    others = ~np.isin(labels, tokens[:top])
    ids = np.concatenate([tokens[:top], labels[others]])
    return ChoiceDistribution(
        logprobs=np.concatenate([values[:top], named[others]]),
        verdicts=verdicts[ids].tobytes().decode("ascii"),
        top=top,
        vocabulary=len(verdicts),
        labels_complete=True,
        forced=float(forced),
        tokens=ids,
    )


class GivenDraws(LogitsProcessor):  # type: ignore[misc]
    """Draw the next token of each row by a uniform number that is given, and leave no other.

    With it a greedy ``generate`` samples; what a row gets depends on its own numbers only.

    Args:
        numbers: in [0, 1), shape (rows, steps).
    """

    def __init__(self, numbers: NDArray[np.float64]) -> None:
        self._numbers = numbers
        self._step = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Keep the drawn token alone; ``scores`` of shape (rows, vocabulary)."""
        exact = torch.float32 if scores.device.type == "mps" else torch.float64
        cumulative = scores.to(exact).softmax(-1).cumsum(-1)
        if torch.isnan(cumulative[:, -1]).any():
            # Any token would be drawn, and a vote counted.
            raise JudgeError(_NO_NUMBERS)
        step = min(self._step, self._numbers.shape[1] - 1)
        self._step += 1
        numbers = torch.from_numpy(self._numbers[:, step]).to(cumulative)
        drawn = torch.searchsorted(cumulative, (numbers * cumulative[:, -1])[:, None], right=True)
        drawn = drawn.clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn, 0.0)
