"""From a judge's answers to margins: sampled, drawn, expected or in the limit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from dissensus.judge.store.query import Recall
from dissensus.margins import margins_from_judgments, margins_from_probabilities
from dissensus.records import ChoiceProbabilities, Margin

VoteKind = Literal["drawn", "expected", "limit"]


def make_margins(
    recall: Recall, pair_ids: Iterable[str], *, votes: VoteKind = "drawn", allow_missing: bool = False
) -> list[Margin]:
    """Make a margin for each of ``pair_ids`` from what a store recalls of one judge.

    Args:
        recall: the judge's answers.
        pair_ids: the pairs that get a margin, in this order.
        votes: ``drawn``: from the n sampled judgments, or from n draws of the probabilities (the paper's margin);
            ``expected``: the mean over such draws; ``limit``: what many draws tend to. The last two need a judge in
            mode ``exact``. Drawn margins of such a judge carry the limit beside them.
        allow_missing: leave pairs without a valid judgment out.

    Raises:
        JudgeError: a pair has no valid judgment, or the judge has no probabilities.
    """
    ids = list(pair_ids)
    if votes != "drawn":
        n = recall.n if votes == "expected" else None
        return margins_from_probabilities(recall.probabilities(), ids, n=n, allow_missing=allow_missing)
    margins = margins_from_judgments(recall.judgments(), ids, allow_missing=allow_missing)
    return _with_limits(margins, recall) if recall.is_exact else margins


def _with_limits(margins: list[Margin], recall: Recall) -> list[Margin]:
    """Put the limit beside drawn margins; not where replies were sampled instead, which have none that is known."""
    rows: list[ChoiceProbabilities] = list(recall.again().probabilities())
    unsure = {row.pair_id for row in rows if not row.certified}
    known = [margin.pair_id for margin in margins if margin.pair_id not in unsure]
    limits = {m.pair_id: m.margin_limit for m in margins_from_probabilities(rows, known, allow_missing=True)}
    return [margin.model_copy(update={"margin_limit": limits.get(margin.pair_id)}) for margin in margins]
