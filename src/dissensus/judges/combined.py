"""Judges combined: what several say of pairs, corrected by people's labels or votes into one preference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dissensus.errors import InputError, JudgeError
from dissensus.hashing import digest_of
from dissensus.judge_calibration import Covariates, JudgeCalibration, Predictor, RawJudge, Target
from dissensus.judges.calibrate import (
    Bools,
    Floats,
    Observed,
    StackFit,
    fit_of,
    log_odds_of_probability,
    log_odds_of_share,
)
from dissensus.judges.runner import Question
from dissensus.judges.store.query import Recall
from dissensus.judgment_margins import (
    margins_from_judgments,
    margins_from_probabilities,
    margins_from_stated_probabilities,
)
from dissensus.messages import log_length
from dissensus.places.addresses import path_of
from dissensus.records import LABEL_VALUE, Judgment, Margin, Pair, Prediction
from dissensus.stats.resampling.clusters import number_labels

_VERDICTS = (0.0, 0.5, 1.0)
LENGTH, REWARD = "length", "reward"


@dataclass(frozen=True)
class Opinion:
    """What one judge says of pairs, both presentation orders weighed alike."""

    judge: str
    margins: Mapping[str, Margin]
    """By the pair's id, of those with a valid judgment."""
    are_probabilities: bool

    @classmethod
    def of(cls, judge: str, judgments: Iterable[Judgment], pair_ids: Sequence[str]) -> Opinion:
        """Take the probabilities that come with the judgments, where they are more than verdicts; else the votes."""
        rows = list(judgments)
        stated = [row.probability_a for row in rows if row.choice is not None]
        are_probabilities = None not in stated and any(one not in _VERDICTS for one in stated)
        make = margins_from_stated_probabilities if are_probabilities else margins_from_judgments
        made = make(rows, pair_ids, allow_missing=True)
        return cls(judge, {margin.pair_id: margin for margin in made}, are_probabilities)

    @classmethod
    def recalled(cls, recall: Recall, pair_ids: Sequence[str]) -> Opinion:
        """Take what a store has of a judge; of one in mode ``exact`` the probabilities."""
        if not recall.is_exact:
            return cls.of(recall.judge, recall.judgments(), pair_ids)
        made = margins_from_probabilities(recall.probabilities(), pair_ids, allow_missing=True)
        return cls(recall.judge, {margin.pair_id: margin for margin in made}, are_probabilities=True)

    def preferences(self, pairs: Sequence[Pair]) -> Floats:
        """Return its preference for response a of each of n pairs, NaN where it has none; shape (n,)."""
        found = (self.margins.get(pair.id) for pair in pairs)
        return np.array([math.nan if m is None or m.preference_a is None else m.preference_a for m in found])

    def log_odds(self, pairs: Sequence[Pair]) -> Floats:
        """Return the log-odds of its preferences, shape (n,): 0 where it says nothing, which is no evidence."""
        preferences = self.preferences(pairs)
        if self.are_probabilities:
            return np.nan_to_num(log_odds_of_probability(preferences))
        counts = np.array([self.margins[pair.id].n_judgments if pair.id in self.margins else 0 for pair in pairs])
        return np.nan_to_num(log_odds_of_share(preferences, counts))


class CombinedJudges:
    """A logistic stack of judges over ``pairs``, each of which gets its preference with coefficients of other groups.

    Its columns are the judges' log-odds, the log ratio of the responses' lengths, and the reward gap of a model that
    did not learn from these pairs. Failed judgments count nowhere. Pairs that no judge has a valid judgment of have no
    preference. The order of the rows decides nothing, and swapping the responses of a pair (with its label) turns its
    preference over.

    Args:
        pairs: with labels or votes, at least some of them.
        opinions: of each judge.
        calibrate: what the stack is fitted to. ``labels``: each pair's own. ``votes``: the share for response a, which
            counts as often as people voted; a pair without votes counts with its label.
        covariates: whether the length of the responses is a column.
        gaps: reward gaps by the pair's id; None for no such column.

    Raises:
        JudgeError: the judges cannot be combined, or there is nothing to calibrate them on.
    """

    def __init__(
        self,
        pairs: Iterable[Pair],
        opinions: Sequence[Opinion],
        *,
        calibrate: Target = "labels",
        covariates: Covariates = "length",
        gaps: Mapping[str, float] | None = None,
    ) -> None:
        every = sorted(pairs, key=lambda pair: pair.id)
        _check_opinions(opinions, every)
        if calibrate == "votes" and (own := [one.judge for one in opinions if one.judge.startswith("votes-")]):
            raise JudgeError(f"{own[0]}: is people's votes, to which the others are to be calibrated; leave it out")
        self._opinions = opinions
        self._pairs = [pair for pair in every if any(pair.id in one.margins for one in opinions)]
        self._observed = observe(self._pairs, calibrate)
        self.notes: list[str] = []
        """What was left out of the stack."""
        columns = self._columns(covariates, gaps)
        fit = StackFit(np.column_stack([column for column, _ in columns.values()]), self._observed)
        stack = fit.stack()
        self.preferences = dict(zip((pair.id for pair in self._pairs), stack.preferences.tolist(), strict=True))
        """The calibrated preference for response a by the pair's id."""
        quality = fit_of(stack.preferences, self._observed)
        self.calibration = JudgeCalibration(
            target=calibrate,
            pairs=len(self._pairs),
            missing=len(every) - len(self._pairs),
            fitted=int(self._observed.known.sum()),
            observations=round(self._observed.weights[self._observed.known].sum()),
            prompts=len(np.unique(self._observed.groups[self._observed.known])),
            folds=stack.folds,
            ridge=stack.ridge,
            predictors=tuple(
                Predictor(
                    name=name,
                    coefficient=float(stack.coefficients[i]),
                    low=float(stack.low[i]),
                    high=float(stack.high[i]),
                    adds=self._nll_without(name, columns) - quality.nll,
                    missing=int((~there).sum()),
                )
                for i, (name, (_, there)) in enumerate(columns.items())
            ),
            judges=tuple(self._raw(opinion) for opinion in opinions),
            mean=fit_of(self._mean(), self._observed),
            calibrated=quality,
            notes=tuple(self.notes),
        )
        self.name = f"combined-{self._digest(columns)}"

    def questions(self, pair: Pair) -> Sequence[Question]:
        """List one question for each pair that a judge has judged."""
        return [Question(pair, 0)] if pair.id in self.preferences else []

    def answer(self, questions: Sequence[Question]) -> Iterator[Judgment]:
        """Give the calibrated preferences, each as one judgment that says how probable it is."""
        for question in questions:
            p = self.preferences[question.pair.id]
            yield Judgment(
                pair_id=question.pair.id,
                judge=self.name,
                sample=question.sample,
                choice="tie" if p == 0.5 else "a" if p > 0.5 else "b",
                probability_a=p,
            )

    def margins(self, pair_ids: Iterable[str], *, allow_missing: bool = False) -> list[Margin]:
        """Make margins |2q - 1| of the calibrated preferences q, in the order of ``pair_ids``.

        Raises:
            JudgeError: a pair has no valid judgment of any judge (with ``allow_missing`` it is left out instead).
        """
        ids = list(dict.fromkeys(pair_ids))
        missing = [pair_id for pair_id in ids if pair_id not in self.preferences]
        if missing and not allow_missing:
            raise JudgeError(
                f"{len(missing)} of {len(ids)} pairs have no valid judgment of any judge (first: {missing[0]!r}); "
                "judge them first, or leave them out with --allow-missing"
            )
        return [self._margin(pair_id) for pair_id in ids if pair_id in self.preferences]

    def _margin(self, pair_id: str) -> Margin:
        q = self.preferences[pair_id]
        said = [one.margins[pair_id] for one in self._opinions if pair_id in one.margins]
        return Margin(
            pair_id=pair_id,
            margin=abs(2 * q - 1),
            preference_a=q,
            n_judgments=sum(one.n_judgments for one in said),
            n_invalid=sum(one.n_invalid for one in said),
        )

    def _columns(self, covariates: Covariates, gaps: Mapping[str, float] | None) -> dict[str, tuple[Floats, Bools]]:
        """Name the columns of the stack, each of shape (pairs,), with where it says anything."""
        everywhere = np.ones(len(self._pairs), bool)
        found = {
            one.judge: (one.log_odds(self._pairs), np.array([pair.id in one.margins for pair in self._pairs]))
            for one in self._opinions
        }
        if covariates == "length":
            found[LENGTH] = (log_length_ratios(self._pairs), everywhere)
        if gaps is not None:
            there = np.array([pair.id in gaps for pair in self._pairs])
            found[REWARD] = (np.array([gaps.get(pair.id, 0.0) for pair in self._pairs]), there)
        constant = [name for name, (column, there) in found.items() if np.ptp(column[there]) < 1e-9]
        judges = [one.judge for one in self._opinions]
        if set(judges) <= set(constant):
            raise JudgeError(
                f"no judge tells responses apart ({', '.join(judges)}: the same on every pair), so there is nothing to "
                "calibrate; give a judge that does"
            )
        self.notes += [f"{name} is the same on every pair, and is left out" for name in constant]
        return {name: column for name, column in found.items() if name not in constant}

    def _nll_without(self, name: str, columns: Mapping[str, tuple[Floats, Bools]]) -> float:
        rest = [column for other, (column, _) in columns.items() if other != name]
        if not rest:
            return fit_of(np.full(len(self._pairs), 0.5), self._observed).nll
        return fit_of(StackFit(np.column_stack(rest), self._observed).stack().preferences, self._observed).nll

    def _raw(self, opinion: Opinion) -> RawJudge:
        preferences = opinion.preferences(self._pairs)
        is_scored = (self._observed.known & ~np.isnan(preferences)).any()
        return RawJudge(
            judge=opinion.judge,
            reads="probabilities" if opinion.are_probabilities else "votes",
            pairs=len(opinion.margins),
            judgments=sum(margin.n_judgments for margin in opinion.margins.values()),
            invalid=sum(margin.n_invalid for margin in opinion.margins.values()),
            fit=fit_of(preferences, self._observed) if is_scored else None,
        )

    def _mean(self) -> Floats:
        every = np.array([opinion.preferences(self._pairs) for opinion in self._opinions])
        mean: Floats = np.nanmean(every, axis=0)  # each pair has a judge
        return mean

    def _digest(self, columns: Mapping[str, tuple[Floats, Bools]]) -> str:
        """Hash all that decides the preferences: what is known of every pair, and the columns."""
        seen = self._observed
        texts = [text.encode() for pair in self._pairs for text in (pair.id, pair.group)]
        arrays = [seen.targets, seen.weights, *(column for column, _ in columns.values())]
        names = [name.encode() for name in columns]
        return digest_of([*texts, *names, *(np.ascontiguousarray(array).tobytes() for array in arrays)], size=4)


def combine(
    judgments: Iterable[Judgment],
    pairs: Sequence[Pair],
    *,
    calibrate: Target,
    covariates: Covariates = "length",
    rewards: str | Path | None = None,
) -> CombinedJudges:
    """Combine the judges whose judgments these are; ``rewards`` is a file of predictions. As `CombinedJudges`."""
    by_judge: dict[str, list[Judgment]] = {}
    for judgment in judgments:
        by_judge.setdefault(judgment.judge, []).append(judgment)
    ids = [pair.id for pair in pairs]
    return CombinedJudges(
        pairs,
        [Opinion.of(judge, rows, ids) for judge, rows in by_judge.items()],
        calibrate=calibrate,
        covariates=covariates,
        gaps=None if rewards is None else read_reward_gaps(path_of(rewards), ids),
    )


def observe(pairs: Sequence[Pair], target: Target) -> Observed:
    """Take what people said of pairs: labels, or shares of votes.

    Raises:
        JudgeError: nothing is known, or of one group alone.
    """
    targets, weights = np.full(len(pairs), np.nan), np.zeros(len(pairs))
    for i, pair in enumerate(pairs):
        if target == "votes" and pair.votes is not None:
            targets[i], weights[i] = pair.votes.preference, pair.votes.n
        elif pair.label is not None:
            targets[i], weights[i] = LABEL_VALUE[pair.label], 1.0
    observed = Observed(targets, weights, number_labels([pair.group for pair in pairs])[1])
    count = int(observed.known.sum())
    if not count:
        remedy = (
            "give pairs with labels or votes" if target == "votes" else "give labelled pairs, draw labels from votes"
        )
        other = "" if target == "votes" else " (dissensus pairs --label one-vote), or calibrate on votes"
        raise JudgeError(f"no pair that was judged has {_noun(target)} to calibrate on; {remedy}{other}")
    if len(np.unique(observed.groups[observed.known])) < 2:
        raise JudgeError(
            f"all {count} judged pairs with {_noun(target)} are of one prompt, and a pair is calibrated on other "
            "prompts than its own; give pairs of at least two prompts, or set the column group"
        )
    return observed


def _noun(target: Target) -> str:
    return "a label" if target == "labels" else "votes or a label"


def log_length_ratios(pairs: Sequence[Pair]) -> Floats:
    """Compute the difference of the responses' log lengths (`messages.log_length`), shape (pairs,)."""
    return np.array([log_length(pair.response_a) - log_length(pair.response_b) for pair in pairs], dtype=np.float64)


def read_reward_gaps(path: Path, pair_ids: Iterable[str]) -> dict[str, float]:
    """Read the reward gaps of one model from a file of predictions, averaged over its seeds.

    Raises:
        InputError: the file has no predictions of these pairs, or those of several models.
    """
    from dissensus.files import read_records

    wanted = set(pair_ids)
    rows = [row for row in read_records(path, Prediction) if row.pair_id in wanted]
    if not rows:
        raise InputError(f"{path}: has a prediction of none of the {len(wanted)} pairs; predict these pairs")
    if len(models := sorted({row.model for row in rows})) > 1:
        raise InputError(f"{path}: holds predictions of {len(models)} models ({', '.join(models)}); give one model's")
    gaps: dict[str, list[float]] = {}
    for row in rows:
        if row.reward_a is None or row.reward_b is None:
            gap = float(log_odds_of_probability(np.array(row.preference_a)))
        else:
            gap = row.reward_a - row.reward_b
        gaps.setdefault(row.pair_id, []).append(gap)
    return {pair_id: sum(found) / len(found) for pair_id, found in gaps.items()}


def _check_opinions(opinions: Sequence[Opinion], pairs: Sequence[Pair]) -> None:
    """Refuse judges that cannot be held against each other. Raises JudgeError."""
    ids = {pair.id for pair in pairs}
    judged = [ids & opinion.margins.keys() for opinion in opinions]
    names = [opinion.judge for opinion in opinions]
    if twice := [name for name in names if names.count(name) > 1]:
        raise JudgeError(f"judge {twice[0]} is given twice; name each judge once")
    for opinion, own in zip(opinions, judged, strict=True):
        if not own:
            raise JudgeError(
                f"{opinion.judge} has no valid judgment of any of the {len(ids)} pairs; give pairs it judged"
            )
    for i, own in enumerate(judged):
        if len(judged) > 1 and not any(own & other for j, other in enumerate(judged) if j != i):
            raise JudgeError(
                f"{names[i]} judged {len(own)} pairs, and none of the other judges judged one of them; have the judges "
                "judge the same pairs"
            )
