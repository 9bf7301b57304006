"""Committees of small reward models, Bradley-Terry heads on frozen features: a judge without a language model."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import JudgeError
from dissensus.hashing import digest_of
from dissensus.judges.kinds import CommitteeSettings
from dissensus.judges.runner import Question
from dissensus.judges.text_features import Differences, FeatureSource, Floats, Ints, PairTexts
from dissensus.records import Judgment, Pair
from dissensus.stats.resampling.clusters import deal_folds

_BLOCK = 4096
"""Pairs that are learned from at once: with 385 features 13 MB."""
_MOST_STEPS = 50
_ROUNDING = 1e-13


class Committee:
    """Out-of-fold Bradley-Terry heads over ``pairs``.

    Groups are dealt into folds, so that no member votes on a pair of a group it learned from. A member draws as many
    *groups* as the other folds have, with replacement: pairs of one prompt share texts and readers, so drawing single
    pairs would make members agree more than the data warrant. It sees the length of the responses and a random part of
    their features (the random subspace method), which makes vote shares truer than the bootstrap does alone. Pairs
    labelled ``tie`` or not at all are voted on and not learned from. The order of the rows decides nothing, and
    swapping the responses of a pair (with its label) turns its votes over.

    A vote is the sign of the member's reward gap, and ``probability_a`` its sigmoid; no gap at all is a tie.

    Pairs are gone through once; their texts and features are on disk while the committee is there.

    Raises:
        JudgeError: no pair has a label, all pairs are of one group, or the labels are in one fold.
    """

    def __init__(
        self, pairs: Iterable[Pair], config: CommitteeSettings, encoder: FeatureSource, *, progress: bool = True
    ) -> None:
        self._pairs = PairTexts(pairs)
        self._config = config
        self._encoder = encoder
        self._progress = progress
        self._labels, self._groups = self._pairs.labels, self._pairs.groups
        self._folds = self._deal()
        self._check_labels()
        self._members: dict[tuple[int, int], _Member] = {}
        self.name = f"committee-{self._digest()}"

    def questions(self, pair: Pair) -> Sequence[Question]:
        """List one question for each member."""
        return [Question(pair, member) for member in range(self._config.n)]

    def answer(self, questions: Sequence[Question]) -> Iterator[Judgment]:
        """Let the members vote, one member's pairs after the other's."""
        asked: dict[tuple[int, int], list[int]] = {}
        for question in questions:
            row = self._pairs.row(question.pair.id)
            asked.setdefault((int(self._folds[row]), question.sample), []).append(row)
        if not asked.keys() <= self._members.keys():
            self._train({member for _, member in asked})
        every = np.unique([row for rows in asked.values() for row in rows])
        differences = self._differences.rows(every)
        for key, rows in sorted(asked.items()):
            member = self._members[key]
            gaps = differences[np.searchsorted(every, rows)][:, member.columns] @ member.head
            for row, gap in zip(rows, gaps.tolist(), strict=True):
                yield Judgment(
                    pair_id=self._pairs.ids[row],
                    judge=self.name,
                    sample=key[1],
                    choice="tie" if gap == 0 else "a" if gap > 0 else "b",
                    probability_a=float(sigmoid(np.array(gap))),
                )

    def _train(self, members: Collection[int]) -> None:
        """Fit members for every fold, all in the same passes over the pairs."""
        folds = range(int(self._folds.max()) + 1)
        new = [key for fold in folds for member in sorted(members) if (key := (fold, member)) not in self._members]
        found = {key: self._draw(*key) for key in new}
        running = dict(found)
        while running:
            for rows in self._blocks():
                differences = self._differences.rows(rows)
                for (fold, _), member in running.items():
                    mine = (self._folds[rows] != fold) & (member.times[self._groups[rows]] > 0)
                    times = member.times[self._groups[rows[mine]]].astype(np.float64)
                    member.fit.add(differences[mine][:, member.columns], self._labels[rows[mine]], times)
            running = {key: member for key, member in running.items() if member.fit.step()}
        self._members |= found

    def _blocks(self) -> Iterator[Ints]:
        """The labelled pairs, some at a time."""
        labelled = np.flatnonzero(~np.isnan(self._labels))
        return (labelled[start : start + _BLOCK] for start in range(0, labelled.size, _BLOCK))

    def _draw(self, fold: int, member: int) -> _Member:
        """Draw what a member that votes on ``fold`` learns from: groups of the others, and columns."""
        generator = np.random.default_rng([self._config.seed, fold, member])
        groups = np.unique(self._groups[(self._folds != fold) & ~np.isnan(self._labels)])
        drawn = generator.choice(groups, size=len(groups))
        times = np.bincount(drawn, minlength=int(self._groups.max()) + 1)
        dim = self._differences.dim
        seen = max(1, round(dim * self._config.feature_share))
        columns = np.append(np.sort(generator.choice(dim, size=seen, replace=False)), dim)
        return _Member(columns, times.astype(np.uint16), BradleyTerryFit(columns.size, self._config.l2))

    @functools.cached_property
    def _differences(self) -> Differences:
        return Differences(self._pairs, self._encoder, progress=self._progress)

    def _deal(self) -> Ints:
        """Deal the groups into folds of about the same size; returns the fold of each pair, shape (pairs,)."""
        if len(np.unique(self._groups)) < 2:
            raise JudgeError(
                f"all {len(self._pairs)} pairs are of one group, and a committee votes on groups it did not learn "
                "from; give pairs of at least two prompts, or set the column group"
            )
        fold_of = deal_folds(np.bincount(self._groups), self._config.folds, seed=self._config.seed)
        return fold_of[self._groups]

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
        begin = json.dumps([settings, self._encoder.digest, []]).encode()[:-2]

        def parts() -> Iterator[bytes]:  # of one JSON list, which is never held
            yield begin
            for number, written in enumerate(self._pairs.written()):
                yield b", " + written if number else written
            yield b"]]"

        return digest_of(parts(), size=4)


@dataclass(frozen=True)
class _Member:
    """What a member learns from, and how far it has."""

    columns: Ints
    """Those it sees."""
    times: NDArray[np.uint16]
    """How often it drew each group."""
    fit: BradleyTerryFit

    @property
    def head(self) -> Floats:
        """Its head, shape (columns,)."""
        return self.fit.head


class BradleyTerryFit:
    """`fit_bradley_terry` on pairs that come in blocks: a pass over all of them for each step."""

    def __init__(self, dim: int, l2: float) -> None:
        """Begin with a head of zeros."""
        self.head: Floats = np.zeros(dim)
        self._step: Floats = np.zeros(dim)
        self._l2, self._size, self._steps, self._blocks, self._loss = l2, 1.0, 0, 0, np.inf
        self._clear()

    def _clear(self) -> None:
        dim = self.head.size
        self._sums: tuple[float, Floats, Floats] = (0.0, np.zeros(dim), np.zeros((dim, dim)))

    def add(self, differences: Floats, labels: Floats, weights: Floats, offsets: Floats | float = 0.0) -> None:
        """Add a block: its loss, gradient and curvature where the head would go."""
        trial = self.head - self._size * self._step
        gaps = offsets + differences @ trial
        probability = sigmoid(gaps)
        loss, gradient, curvature = self._sums
        loss += float(weights @ (np.logaddexp(0, gaps) - labels * gaps))
        gradient += differences.T @ (weights * (probability - labels))
        curvature += (differences * (weights * probability * (1 - probability))[:, None]).T @ differences
        self._sums = loss, gradient, curvature
        self._blocks += 1

    def step(self) -> bool:
        """End a pass: go there, or half as far where the loss rises. Returns whether another pass is needed."""
        trial = self.head - self._size * self._step
        loss, gradient, curvature = self._sums
        loss += self._l2 / 2 * float(trial @ trial)
        self._clear()
        # The rounding of sums over blocks is no rise: each halving would be a pass over all pairs.
        rounding = _ROUNDING * self._loss if self._blocks > 1 and self._steps else 0.0
        self._blocks = 0
        if loss > self._loss + rounding and self._size > 1e-6:
            self._size /= 2
            return True
        self.head, before, self._loss = trial, self._loss, loss
        settled = self._steps > 0 and before - loss <= 1e-10 * max(before, 1.0)
        if settled or self._steps == _MOST_STEPS:
            return False
        curvature[np.diag_indices_from(curvature)] += self._l2
        self._step = np.asarray(np.linalg.solve(curvature, gradient + self._l2 * trial), dtype=np.float64)
        self._size, self._steps = 1.0, self._steps + 1
        return True


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
    fit = BradleyTerryFit(differences.shape[1], l2)
    while True:
        fit.add(differences, labels, weights, offsets)
        if not fit.step():
            return fit.head


def sigmoid(gaps: Floats) -> Floats:
    """The logistic function, without overflow."""
    return np.exp(-np.logaddexp(0, -gaps))
