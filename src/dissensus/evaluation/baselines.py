"""Trivial baselines and judges, to compare models with: one half, the longer response, one person, a judge."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dissensus.errors import EvaluationError
from dissensus.evaluation.judges import judge_preferences
from dissensus.evaluation.scorecard import Reference
from dissensus.files.rows.columns import Notice
from dissensus.files.source import print_notice
from dissensus.messages import log_length
from dissensus.records import Judgment, Pair, Votes
from dissensus.stats.slope import fit_slope

ONE_HALF, LONGER_RESPONSE, ONE_PERSON = "one half", "longer response", "one person"


def one_half(pairs: Sequence[Pair]) -> Reference:
    """Say one half of every pair: the L1 of a model that knows nothing (its Pearson r is undefined)."""
    return Reference(ONE_HALF, "reference", np.full((1, len(pairs)), 0.5))


def longer_response(pairs: Sequence[Pair], *, folds: int = 5, seed: int = 0) -> Reference | None:
    """Say that the longer response wins, as surely as the votes on other prompts warrant.

    The preference is sigma(beta log((l_a + 1) / (l_b + 1))) with the lengths l in characters, so it turns with the
    pair. beta is fitted by maximum likelihood to the votes of the prompts (``Pair.group``) in the other folds: no pair
    is predicted by a vote on its own prompt. Which prompt is in which fold depends on the seed and its text alone.

    Returns:
        None where all pairs share one prompt, so that there is nothing to fit on.

    Raises:
        EvaluationError: a pair carries no votes.
    """
    fold = _folds([pair.group for pair in pairs], folds, seed)
    if fold is None:
        return None
    votes = _votes(pairs)
    human, n = np.array([v.preference for v in votes]), np.array([v.n for v in votes], dtype=np.float64)
    ratio = np.array([log_length(pair.response_a) - log_length(pair.response_b) for pair in pairs])
    predicted = np.zeros(len(pairs))
    for held_out in np.unique(fold):
        inside = fold == held_out
        predicted[inside] = expit(fit_slope(ratio[~inside], human[~inside], n[~inside]) * ratio[inside])
    return Reference(LONGER_RESPONSE, "reference", predicted[None])


def one_person(pairs: Sequence[Pair], *, draws: int = 20, seed: int = 0) -> Reference:
    """Predict the others' mean vote by the vote of one voter, drawn at random for each pair and draw.

    A pair with fewer than two votes is NaN on both sides. Whom a pair draws depends on the seed and its id alone.
    The target is the mean of one vote less than a model's, which makes it noisier: r is a little lower and L1 higher
    than against all votes of as many other people.

    Raises:
        EvaluationError: a pair carries no votes.
    """
    predicted = np.full((draws, len(pairs)), np.nan)
    human = np.full((draws, len(pairs)), np.nan)
    for i, (pair, votes) in enumerate(zip(pairs, _votes(pairs), strict=True)):
        if votes.n >= 2:
            # In order of the ratings: who stands first in the file decides nothing.
            ratings, counts = (
                np.array(part) for part in zip(*sorted(votes.rating_counts.items(), reverse=True), strict=True)
            )
            voter = np.random.default_rng(_number(seed, pair.id)).integers(votes.n, size=draws)
            drawn = ratings[np.searchsorted(counts.cumsum(), voter, side="right")]
            predicted[:, i], human[:, i] = drawn, (ratings @ counts - drawn) / (votes.n - 1)
    return Reference(ONE_PERSON, "reference", predicted, human)


def judge_references(
    pairs: Sequence[Pair], judgments: Iterable[Judgment], *, notice: Notice = print_notice
) -> list[Reference]:
    """Predict the votes by the verdicts of judges, ties counting half; NaN for pairs that a judge has not judged.

    A judge that has judged none of the pairs, or has named a winner or a tie on none, is left out, which ``notice`` is
    told: it says nothing against the others.

    Raises:
        EvaluationError: no judge has judged any of the pairs; a judgment is there twice.
    """
    judgments = list(judgments)
    if not judgments:
        return []
    found = judge_preferences(pairs, judgments)
    judges = list(dict.fromkeys(judgment.judge for judgment in judgments))
    if not found:
        who = f"judge {judges[0]!r} has" if len(judges) == 1 else f"judges {', '.join(map(repr, judges))} have"
        raise EvaluationError(
            f"{who} judged none of the {len(pairs)} pairs with votes; "
            "judge the pairs that are evaluated, or leave the judgments out"
        )
    for judge in judges:
        if judge not in found or not np.isfinite(found[judge]).any():
            what = "named a winner or a tie on" if judge in found else "judged"
            notice(f"judge {judge!r} has {what} none of the {len(pairs)} pairs with votes, and is left out")
    return [
        Reference(judge, "judge", preference[None])
        for judge, preference in found.items()
        if np.isfinite(preference).any()
    ]


def _votes(pairs: Sequence[Pair]) -> list[Votes]:
    votes = [pair.votes for pair in pairs if pair.votes is not None]
    if len(votes) < len(pairs):
        raise EvaluationError(f"{len(pairs) - len(votes)} of {len(pairs)} pairs carry no votes; leave them out first")
    return votes


def _folds(groups: Sequence[str], folds: int, seed: int) -> NDArray[np.intp] | None:
    """Deal groups into folds, one each in turn; None where there is but one group."""
    ordered = sorted(set(groups), key=lambda group: (_number(seed, group), group))
    if len(ordered) < 2:
        return None
    number = {group: i % folds for i, group in enumerate(ordered)}
    return np.array([number[group] for group in groups])


def _number(seed: int, text: str) -> int:
    """A number that looks random and depends on the seed and a text alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogatepass")).digest()[:8], "big")
