"""Reward heads on frozen features, trained many at a time: what `objectives.py` compares objectives with.

A head is tanh(features W) w, the difference of two of them the reward gap. Members of an ensemble leave out a part of
the prompts each, so that every training pair has a gap of a member that did not see its prompt; the labels of all
training pairs then say how much of the gap, and of the log ratio of lengths, a preference is made of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from dissensus.reward.config import TrainConfig
from dissensus.reward.objectives import Objective, objective_of

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

HIDDEN, BATCH, WEIGHT_DECAY, WARMUP = 64, 32, 0.01, 0.1


@dataclass(frozen=True)
class Problem:
    """A set of pairs with votes, as arrays."""

    name: str
    features: NDArray[np.float32]
    """Shape (texts, dim)."""
    log_length: Floats
    """Shape (texts,)."""
    a: Ints
    b: Ints
    """Rows of the two texts of each pair, shape (pairs,)."""
    votes: Floats
    """For a, for b and ties, shape (pairs, 3)."""
    group: NDArray[np.str_]
    """The prompt of each pair."""
    unit: NDArray[np.str_]
    """What is held out whole: the category where there are several, else the prompt."""
    judged: dict[str, Floats]
    """Published judges' order-balanced share for a, NaN where there is none; shape (pairs,) each."""
    ids: Sequence[str] = ()

    @property
    def share(self) -> Floats:
        """The share of votes for a, shape (pairs,)."""
        share: Floats = (self.votes[:, 0] + self.votes[:, 2] / 2) / self.votes.sum(axis=1)
        return share

    @property
    def longer(self) -> Floats:
        """The log ratio of lengths, shape (pairs,)."""
        return np.asarray(self.log_length[self.a] - self.log_length[self.b])


@dataclass(frozen=True)
class Recipe:
    """How a head is trained."""

    learning_rate: float
    epochs: int


@dataclass(frozen=True)
class Targets:
    """What heads are trained towards; arrays of shape (pairs,)."""

    target: Floats
    margin: Floats
    objective: Objective

    @classmethod
    def of(cls, config: TrainConfig, label: Floats, share: Floats) -> Targets:
        """Build what an objective trains towards, from labels and a judge's shares for a."""
        objective = objective_of(config)
        weight = objective.label_weight
        reads_margin = objective.reads == "margin"
        return cls(weight * label + (1 - weight) * share, np.abs(2 * share - 1) * reads_margin, objective)


def train_head(
    features: NDArray[np.float32], a: Ints, b: Ints, targets: Targets, offset: Floats | None, recipe: Recipe, seed: int
) -> torch.Tensor:
    """Train one head on pairs, with a fixed part of each reward gap beside it; returns outputs, (texts, outputs)."""
    generator = torch.Generator().manual_seed(seed)
    dim, objective = features.shape[1], targets.objective
    first = torch.randn(dim, HIDDEN, generator=generator) / math.sqrt(dim)
    last = torch.randn(HIDDEN, objective.outputs, generator=generator) / math.sqrt(HIDDEN)
    weights = [tensor.requires_grad_() for tensor in (first, torch.zeros(HIDDEN), last)]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=WEIGHT_DECAY)
    x, (side_a, side_b) = torch.from_numpy(features), (torch.from_numpy(side) for side in (a, b))
    target, margin = (torch.from_numpy(column).float() for column in (targets.target, targets.margin))
    added = None if offset is None else torch.from_numpy(offset).float()
    # Times 4, so that the Brier score is as steep at a gap of 0 as the cross-entropy.
    times = 4 if objective.name == "brier" else 1
    batches = -(-len(a) // BATCH)
    steps = batches * recipe.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / (WARMUP * steps + 1)) * max(0.0, 1 - step / steps)
    )

    def outputs(rows: torch.Tensor | slice) -> torch.Tensor:
        return torch.tanh(x[rows] @ weights[0] + weights[1]) @ weights[2]

    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(a), generator=generator).split(BATCH):
            own = None if added is None else added[rows]
            both = (outputs(side[rows]) for side in (side_a, side_b))
            losses = times * objective.losses(*both, target[rows], margin[rows], own)
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return outputs(slice(None))


@dataclass(frozen=True)
class Fitted:
    """Members that left out a part each, calibrated on what they left out."""

    nll: float
    """Of the labels of all training pairs, each under the member that did not see its prompt."""
    slope: float
    """Of a preference's log-odds on the reward gap; 1 / temperature."""
    length: float
    """Of a preference's log-odds on the log ratio of lengths."""
    predicted: Floats
    """Mean preference of the members for the test pairs, shape (test pairs,)."""


def fit_members(
    problem: Problem,
    rows: Ints,
    test: Ints,
    label: Floats,
    config: TrainConfig,
    shares: Floats,
    fold: Ints,
    recipe: Recipe,
    *,
    covariate: bool,
    seed: int,
) -> Fitted:
    """Train a member without each fold and calibrate on the labels of the folds left out; arrays of (training pairs,).

    ``shares`` are a judge's, of shape (members, training pairs), since one that learns from labels may see those of
    the member alone: with the others' in its targets, what is left out would say that the judge is better than it is.

    With ``covariate``, length is fitted first, to the targets, and stands in the gap that heads are trained with;
    without, it is one feature of many.
    """
    texts = np.unique(np.concatenate([problem.a[rows], problem.b[rows]]))
    columns = problem.features if covariate else np.column_stack([problem.features, problem.log_length])
    spread = columns[texts].std(axis=0) + 1e-6
    features = ((columns - columns[texts].mean(axis=0)) / spread).astype(np.float32)
    longer = problem.longer
    left_out, tested = np.zeros(len(rows)), []
    for member in np.unique(fold):
        inside = fold != member
        mine, own = rows[inside], Targets.of(config, label[inside], shares[member, inside])
        beta = fit_weights(longer[mine][:, None], own.target)[0][0] if covariate else 0.0
        offset = beta * longer[mine] if covariate else None
        number = 1000 * seed + int(member)
        said = train_head(features, problem.a[mine], problem.b[mine], own, offset, recipe, number)
        gap = own.objective.logit(said[problem.a], said[problem.b]).double().numpy()
        left_out[~inside] = gap[rows[~inside]]
        tested.append(gap[test])
    scale = left_out.std() + 1e-9
    design = [left_out / scale, longer[rows]] if covariate else [left_out / scale]
    weights, nll = fit_weights(np.column_stack(design), label, lowest=0.0)
    slope, length = weights[0] / scale, weights[1] if covariate else 0.0
    predicted = expit(slope * np.stack(tested) + length * longer[test]).mean(axis=0)
    return Fitted(nll, slope, length, predicted)


def fit_weights(design: Floats, label: Floats, *, lowest: float | None = None) -> tuple[Floats, float]:
    """Fit a logistic regression without intercept, whose first weight is not below ``lowest``; and its mean NLL."""

    def loss(weights: Floats) -> tuple[float, Floats]:
        z = design @ weights
        return float(np.mean(np.logaddexp(0, z) - label * z)), design.T @ (expit(z) - label) / len(label)

    bounds = [(lowest, None), *[(None, None)] * (design.shape[1] - 1)]
    found = minimize(loss, np.full(design.shape[1], 0.3), jac=True, bounds=bounds)
    return found.x, float(found.fun)
