"""Trivial baselines and judges, to compare models with: one half, the longer response, one person, a judge."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.special import expit

from dissensus.errors import EvaluationError
from dissensus.evaluation.judges import judge_preferences
from dissensus.evaluation.pair_columns import PairColumns, as_columns
from dissensus.evaluation.scorecard import Reference
from dissensus.files.rows.columns import Notice
from dissensus.files.source import print_notice
from dissensus.records import Judgment, Pair
from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.clusters import IntArray
from dissensus.stats.slope import fit_slope

ONE_HALF, LONGER_RESPONSE, ONE_PERSON = "one half", "longer response", "one person"


def one_half(pairs: Sequence[Pair] | PairColumns) -> Reference:
    """Say one half of every pair: the L1 of a model that knows nothing (its Pearson r is undefined)."""
    return Reference(ONE_HALF, "reference", np.full((1, len(pairs)), 0.5))


def longer_response(pairs: Sequence[Pair] | PairColumns, *, folds: int = 5, seed: int = 0) -> Reference | None:
    """Say that the longer response wins, as surely as the votes on other prompts warrant.

    The preference is sigma(beta log((l_a + 1) / (l_b + 1))) with the lengths l in characters, so it turns with the
    pair. beta is fitted by maximum likelihood to the votes of the prompts (``Pair.group``) in the other folds: no pair
    is predicted by a vote on its own prompt. Which prompt is in which fold depends on the seed and its text alone.

    Returns:
        None where all pairs share one prompt, so that there is nothing to fit on.

    Raises:
        EvaluationError: a pair carries no votes.
    """
    columns = as_columns(pairs)
    of_group = _folds(columns.group.names, folds, seed)
    if of_group is None:
        return None
    fold = of_group[columns.group.number]
    _check_votes(columns)
    human, n, ratio = columns.preference, columns.counts.sum(axis=1).astype(np.float64), columns.length_ratio
    predicted = np.zeros(len(columns))
    for held_out in np.unique(fold):
        inside = fold == held_out
        predicted[inside] = expit(fit_slope(ratio[~inside], human[~inside], n[~inside]) * ratio[inside])
    return Reference(LONGER_RESPONSE, "reference", predicted[None])


def one_person(pairs: Sequence[Pair] | PairColumns, *, draws: int = 20, seed: int = 0) -> Reference:
    """Predict the others' mean vote by the vote of one voter, drawn at random for each pair and draw.

    A pair with fewer than two votes is NaN on both sides. Whom a pair draws depends on the seed and its id alone.
    The target is the mean of one vote less than a model's, which makes it noisier: r is a little lower and L1 higher
    than against all votes of as many other people.

    Raises:
        EvaluationError: a pair carries no votes.
    """
    columns = as_columns(pairs)
    _check_votes(columns)
    size = columns.counts.sum(axis=1)
    predicted = np.full((draws, len(columns)), np.nan)
    human = np.full((draws, len(columns)), np.nan)
    several = np.flatnonzero(size >= 2)
    voter = np.zeros((draws, several.size), dtype=np.int64)
    for place, row in enumerate(several.tolist()):
        generator = np.random.default_rng(_number(seed, columns.ids[row]))
        voter[:, place] = generator.integers(size[row], size=draws)
    total, said = _ratings_in_order(columns)
    for draw in range(draws):
        drawn = said(several, voter[draw])
        predicted[draw, several] = drawn
        human[draw, several] = (total[several] - drawn) / (size[several] - 1)
    return Reference(ONE_PERSON, "reference", predicted, human)


def _ratings_in_order(pairs: PairColumns) -> tuple[FloatArray, Callable[[IntArray, IntArray], FloatArray]]:
    """Sum the ratings of each pair, shape (n,); and find the k-th of some pairs, from 0.

    They are in order of what was said, highest first: who stands first in a file decides nothing.
    """
    counts, votes = pairs.counts, pairs.votes
    total = counts[:, 0] + counts[:, 2] / 2
    order = np.lexsort((-votes.rating, votes.pair))
    ratings, starts = votes.rating[order], np.searchsorted(votes.pair, np.arange(len(pairs)))
    total[pairs.are_listed] = np.bincount(votes.pair, votes.rating, len(pairs))[pairs.are_listed]

    def said(rows: IntArray, place: IntArray) -> FloatArray:
        a, tie = counts[rows, 0], counts[rows, 2]
        found = np.where(place < a, 1.0, np.where(place < a + tie, 0.5, 0.0))
        listed = pairs.are_listed[rows]
        found[listed] = ratings[starts[rows[listed]] + place[listed]]
        return found

    return total, said


def judge_references(
    pairs: Sequence[Pair] | PairColumns, judgments: Iterable[Judgment], *, notice: Notice = print_notice
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


def _check_votes(pairs: PairColumns) -> None:
    if without := int((~pairs.voted).sum()):
        raise EvaluationError(f"{without} of {len(pairs)} pairs carry no votes; leave them out first")


def _folds(groups: Sequence[str], folds: int, seed: int) -> IntArray | None:
    """Deal distinct groups into folds, one each in turn; None where there is but one group."""
    if len(groups) < 2:
        return None
    found = np.zeros(len(groups), dtype=np.int64)
    for place, (_, row) in enumerate(sorted((_number(seed, group), row) for row, group in enumerate(groups))):
        found[row] = place % folds
    return found


def _number(seed: int, text: str) -> int:
    """A number that looks random and depends on the seed and a text alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogatepass")).digest()[:8], "big")
