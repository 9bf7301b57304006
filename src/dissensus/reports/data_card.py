"""The card of the data sets: what was compared, how many voted, how far they agree, and what that allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dissensus.evaluation.groups import ALL, count_prompts
from dissensus.evaluation.metrics import keys_of, title_of
from dissensus.evaluation.scores import Scores
from dissensus.records import Metric, Pair
from dissensus.reports.folder.run_reader import RunData

_CEILINGS = {
    "pearson_within": "ceiling of r, within data sets",
    "pearson": "ceiling of r",
    "l1": "L1 of the true preferences",
}
"""What a model that knows the true preferences would get with people's votes."""


@dataclass(frozen=True)
class CardRow:
    """One data set, or all of them."""

    name: str
    training: int
    pairs: int
    prompts: int
    votes: str
    """Votes per pair."""
    split: str
    """How the votes are split over a, b and tie."""
    labels: str
    categories: str


@dataclass(frozen=True)
class Card:
    """The data sets of a run, with the coefficients that are known of any."""

    coefficients: Sequence[tuple[str, Sequence[Metric | None]]]
    """The names of those that are known, each with its value on each row."""
    rows: Sequence[CardRow]


def make_card(run: RunData, scores: Scores) -> Card | None:
    """Make the card of the test pairs; None where there are none yet."""
    if run.joined is None:
        return None
    pairs, training = run.joined.pairs, run.training
    names = sorted({pair.dataset for pair in pairs if pair.dataset is not None})
    groups = {ALL: names[0] if len(names) == 1 else "All"}
    groups |= {f"dataset={name}": name for name in names if len(names) > 1}
    rows = []
    for group, name in groups.items():
        own, trained_on = ([p for p in of if group in (ALL, f"dataset={p.dataset}")] for of in (pairs, training))
        rows.append(_row(name, own, trained_on))
    known = {(row.kind, row.metric) for row in run.metrics}
    coefficients = [
        (title_of(metric), [scores.people(metric, group) for group in groups])
        for metric in keys_of("agreement")
        if ("people", metric) in known
    ]
    coefficients += [
        (title, [scores.ceiling(metric, group) for group in groups])
        for metric, title in _CEILINGS.items()
        if ("ceiling", metric) in known
    ]
    return Card(coefficients, rows)


def _row(name: str, pairs: Sequence[Pair], training: Sequence[Pair]) -> CardRow:
    votes = [pair.votes for pair in pairs if pair.votes is not None]
    counts = [own.n for own in votes]
    fewest, most = min(counts), max(counts)
    return CardRow(
        name=name,
        training=len(training),
        pairs=len(pairs),
        prompts=count_prompts(pairs),
        votes=str(most) if fewest == most else f"{sum(counts) / len(counts):.1f} ({fewest}–{most})",
        split=_shares(Counter({side: sum(getattr(own, side) for own in votes) for side in ("a", "b", "tie")})),
        labels=_shares(Counter(pair.label or "none" for pair in pairs)),
        categories=_listed(_categories(pairs)),
    )


def _categories(pairs: Sequence[Pair]) -> Counter[str]:
    found = [pair.category for pair in pairs if pair.category is not None]
    found += [{"yes": "distinguishable", "no": "indistinguishable"}[p.distinct] for p in pairs if p.distinct]
    return Counter(found)


def _listed(counts: Counter[str], most: int = 6) -> str:
    """Name the largest, and say how many are not named.

    >>> _listed(Counter(coding=3, math=2, writing=1), most=2)
    'coding 3, math 2 and 1 more'
    """
    named = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(most))
    return named + (f" and {len(counts) - most} more" if len(counts) > most else "")


def _shares(counts: Counter[str]) -> str:
    """Write shares: a 51 %, b 49 %; what never occurs is left out."""
    total = sum(counts.values())
    shown = [name for name in ("a", "b", "tie", "none") if counts[name]]
    return ", ".join(f"{name} {100 * counts[name] / total:.0f} %" for name in shown)
