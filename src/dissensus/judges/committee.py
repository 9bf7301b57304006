"""Committees of small reward models, Bradley-Terry heads on frozen features: a judge without a language model."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import JudgeError
from dissensus.hashing import short_digest
from dissensus.judges.kinds import CommitteeSettings
from dissensus.judges.runner import Question
from dissensus.records import Judgment, Pair, plain_text
from dissensus.stats.resampling.clusters import deal_folds, number_labels

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class FeatureSource(Protocol):
    """What a committee needs of an encoder."""

    @property
    def digest(self) -> str:
        """Hex digits over what decides the features."""

    def features(self, texts: Sequence[tuple[str, str]], *, progress: bool = True) -> NDArray[np.float32]:
        """Encode (prompt, response) texts; shape (len(texts), dim)."""


class Committee:
    """Out-of-fold Bradley-Terry heads over ``pairs``.

    Groups are dealt into folds, so that no member votes on a pair of a group it learned from. A member draws as many
    *groups* as the other folds have, with replacement: pairs of one prompt share texts and readers, so drawing single
    pairs would make members agree more than the data warrant. It sees the length of the responses and a random part of
    their features (the random subspace method), which makes vote shares truer than the bootstrap does alone. Pairs
    labelled ``tie`` or not at all are voted on and not learned from. The order of the rows decides nothing, and
    swapping the responses of a pair (with its label) turns its votes over.

    A vote is the sign of the member's reward gap, and ``probability_a`` its sigmoid; no gap at all is a tie.

    Raises:
        JudgeError: no pair has a label, all pairs are of one group, or the labels are in one fold.
    """

    def __init__(
        self, pairs: Iterable[Pair], config: CommitteeSettings, encoder: FeatureSource, *, progress: bool = True
    ) -> None:
        self._pairs = sorted(pairs, key=lambda pair: pair.id)
        self._config = config
        self._encoder = encoder
        self._progress = progress
        self._row = {pair.id: row for row, pair in enumerate(self._pairs)}
        self._labels = np.array([{"a": 1.0, "b": 0.0}.get(pair.label or "", np.nan) for pair in self._pairs])
        self._groups, self._folds = self._deal()
        self._check_labels()
        self.name = f"committee-{self._digest()}"

    def questions(self, pair: Pair) -> Sequence[Question]:
        """List one question for each member."""
        return [Question(pair, member) for member in range(self._config.n)]

    def answer(self, questions: Sequence[Question]) -> Iterator[Judgment]:
        """Let the members vote, one member's pairs after the other's."""
        asked: dict[tuple[int, int], list[int]] = {}
        for question in questions:
            row = self._row[question.pair.id]
            asked.setdefault((int(self._folds[row]), question.sample), []).append(row)
        for (fold, member), rows in sorted(asked.items()):
            columns, head = self._train(fold, member)
            gaps = self._differences[rows][:, columns] @ head
            for row, gap in zip(rows, gaps.tolist(), strict=True):
                yield Judgment(
                    pair_id=self._pairs[row].id,
                    judge=self.name,
                    sample=member,
                    choice="tie" if gap == 0 else "a" if gap > 0 else "b",
                    probability_a=float(sigmoid(np.array(gap))),
                )

    def _train(self, fold: int, member: int) -> tuple[Ints, Floats]:
        """Fit a member that votes on ``fold``; returns the columns it sees and its head, both of shape (columns,)."""
        generator = np.random.default_rng([self._config.seed, fold, member])
        rows = np.flatnonzero((self._folds != fold) & ~np.isnan(self._labels))
        groups = np.unique(self._groups[rows])
        drawn = generator.choice(groups, size=len(groups))
        times = np.bincount(drawn, minlength=int(self._groups.max()) + 1)[self._groups[rows]]
        rows = rows[times > 0]
        weights: Floats = times[times > 0].astype(np.float64)
        dim = self._differences.shape[1] - 1
        seen = max(1, round(dim * self._config.feature_share))
        columns = np.append(np.sort(generator.choice(dim, size=seen, replace=False)), dim)
        differences = self._differences[rows][:, columns]
        return columns, fit_bradley_terry(differences, self._labels[rows], weights, l2=self._config.l2)

    @functools.cached_property
    def _differences(self) -> Floats:
        """Features of response a less those of response b, in units of their spread; shape (pairs, dim + 1).

        The last column is the logarithm of the response's length, which mean-pooled features have lost.
        """
        sides = [(plain_text(p.prompt), plain_text(r)) for p in self._pairs for r in (p.response_a, p.response_b)]
        texts = list(dict.fromkeys(sides))
        lengths = np.log([[max(1, len(response))] for _, response in texts])
        features = np.hstack([self._encoder.features(texts, progress=self._progress), lengths], dtype=np.float64)
        spread = features.std(axis=0)
        features /= np.where(spread > 1e-12, spread, 1.0)
        row = {text: index for index, text in enumerate(texts)}
        index = np.array([row[text] for text in sides]).reshape(-1, 2)
        differences: Floats = features[index[:, 0]] - features[index[:, 1]]
        return differences

    def _deal(self) -> tuple[Ints, Ints]:
        """Number the groups, and deal them into folds of about the same size; two arrays of shape (pairs,)."""
        names, groups = number_labels([pair.group for pair in self._pairs])
        if len(names) < 2:
            raise JudgeError(
                f"all {len(self._pairs)} pairs are of one group, and a committee votes on groups it did not learn "
                "from; give pairs of at least two prompts, or set the column group"
            )
        fold_of = deal_folds(np.bincount(groups), self._config.folds, seed=self._config.seed)
        return groups, fold_of[groups]

    def _check_labels(self) -> None:
        labelled = ~np.isnan(self._labels)
        if not labelled.any():
            raise JudgeError(
                "no pair has a label 'a' or 'b' for the committee to learn from; give labelled pairs, draw labels from "
                "votes (dissensus pairs --label one-vote), or use the judge votes"
            )
        if len(np.unique(self._folds[labelled])) < 2:
            raise JudgeError(
                f"the {int(labelled.sum())} labelled pairs are all in one fold, which leaves its members nothing to "
                "learn from; label pairs of more groups"
            )

    def _digest(self) -> str:
        """Hash all that decides the votes: settings (but n), encoder, and every pair with its group and label."""
        settings = self._config.model_dump(exclude={"name", "n", "encoder"})
        pairs = [
            (p.id, p.group, p.label, *map(plain_text, (p.prompt, p.response_a, p.response_b))) for p in self._pairs
        ]
        return short_digest(json.dumps([settings, self._encoder.digest, pairs]))


def fit_bradley_terry(
    differences: Floats, labels: Floats, weights: Floats, *, l2: float, offsets: Floats | float = 0.0
) -> Floats:
    """Fit w of P(a preferred) = sigmoid(offsets + w . differences) by Newton's method; returns shape (dim,).

    Minimises sum of weights * logistic loss + l2/2 |w|^2, without an intercept. A step that raises the loss is halved.

    Args:
        differences: features of response a minus those of response b, shape (pairs, dim).
        labels: 1 where response a is preferred, 0 where b is, 1/2 for a tie, shape (pairs,).
        weights: how often each pair counts, shape (pairs,).
        l2: strength of the penalty, positive.
        offsets: the reward gap where w is 0, shape (pairs,).
    """
    head = np.zeros(differences.shape[1])
    loss = _loss(head, differences, labels, weights, l2, offsets)
    for _ in range(50):
        probability = sigmoid(offsets + differences @ head)
        gradient = differences.T @ (weights * (probability - labels)) + l2 * head
        curvature = (differences * (weights * probability * (1 - probability))[:, None]).T @ differences
        curvature[np.diag_indices_from(curvature)] += l2
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while (shorter := _loss(head - size * step, differences, labels, weights, l2, offsets)) > loss and size > 1e-6:
            size /= 2
        head = head - size * step
        if loss - shorter <= 1e-10 * max(loss, 1.0):
            break
        loss = shorter
    return head


def _loss(
    head: Floats, differences: Floats, labels: Floats, weights: Floats, l2: float, offsets: Floats | float
) -> float:
    gaps = offsets + differences @ head
    return float(weights @ (np.logaddexp(0, gaps) - labels * gaps) + l2 / 2 * head @ head)


def sigmoid(gaps: Floats) -> Floats:
    """The logistic function, without overflow."""
    return np.exp(-np.logaddexp(0, -gaps))
