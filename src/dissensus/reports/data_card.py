"""The card of the data sets: what was compared, how many voted, how far they agree, and what that allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dissensus.evaluation.metrics import HEADLINE
from dissensus.evaluation.scores import Scores
from dissensus.records import Metric, Pair
from dissensus.reports.folder.run_reader import RunData

COEFFICIENTS = {
    "agreement_raw": "raw agreement",
    "fleiss_kappa": "Fleiss' κ",
    "krippendorff_nominal": "Krippendorff's α, nominal",
    "krippendorff_ordinal": "Krippendorff's α, ordinal",
    "krippendorff_interval": "Krippendorff's α, interval",
    "gwet_ac1": "Gwet's AC1",
    "gwet_ac2": "Gwet's AC2",
    "icc_2k": "ICC(2,k)",
    "ceiling_pearson_within": "ceiling of r, within data sets",
    "ceiling_pearson": "ceiling of r",
    "ceiling_l1": "L1 of the true preferences",
}
"""How far people agree, and what a model that knows the true preferences would get with their votes."""


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
    agreement: Sequence[Metric | None]
    """In the order of the card's coefficients."""


@dataclass(frozen=True)
class Card:
    """The data sets of a run, with the coefficients that are known of any."""

    coefficients: Sequence[str]
    rows: Sequence[CardRow]

    @property
    def agreement(self) -> list[tuple[str, list[Metric | None]]]:
        """A coefficient's name with its value on each data set: few of the one and many of the other fit on paper."""
        return [(name, [row.agreement[k] for row in self.rows]) for k, name in enumerate(self.coefficients)]


def make_card(run: RunData, scores: Scores) -> Card | None:
    """Make the card of the test pairs; None where there are none yet."""
    if run.joined is None:
        return None
    known = {row.metric for row in run.metrics if row.kind == "people"}
    known |= {f"ceiling_{row.metric}" for row in run.metrics if row.kind == "ceiling"}
    coefficients = [name for name in COEFFICIENTS if name in known]
    return Card(coefficients, list(_rows(run, scores, coefficients)))


def _rows(run: RunData, scores: Scores, coefficients: Sequence[str]) -> Iterator[CardRow]:
    assert run.joined is not None
    pairs = run.joined.pairs
    names = sorted({pair.dataset for pair in pairs if pair.dataset is not None})
    parts: list[tuple[str, Sequence[Pair], Sequence[Pair]]] = [("all", pairs, run.training)]
    for name in names if len(names) > 1 else []:
        mine = [pair for pair in pairs if pair.dataset == name]
        parts.append((f"dataset={name}", mine, [pair for pair in run.training if pair.dataset == name]))
    for group, own, training in parts:
        people = {name: scores.people(name, group) for name in coefficients}
        people |= {f"ceiling_{metric}": scores.ceiling(metric, group) for metric in HEADLINE}
        yield CardRow(
            name=group.removeprefix("dataset=") if group != "all" else names[0] if len(names) == 1 else "All",
            training=len(training),
            pairs=len(own),
            prompts=len({(pair.dataset, pair.group) for pair in own}),
            votes=_votes_per_pair(own),
            split=_shares(_count_votes(own)),
            labels=_shares(Counter(pair.label or "none" for pair in own)),
            categories=_listed(_categories(own)),
            agreement=[people.get(name) for name in coefficients],
        )


def _votes_per_pair(pairs: Sequence[Pair]) -> str:
    counts = [pair.votes.n for pair in pairs if pair.votes is not None]
    if min(counts) == max(counts):
        return str(counts[0])
    return f"{sum(counts) / len(counts):.1f} ({min(counts)}–{max(counts)})"


def _count_votes(pairs: Sequence[Pair]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for pair in pairs:
        if pair.votes is not None:
            counted.update({"a": pair.votes.a, "b": pair.votes.b, "tie": pair.votes.tie})
    return counted


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
