"""A rule applied to ballots: a preference for each pair, as a margin that objectives can train on; and what changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from dissensus.aggregation.ballots import Ballots
from dissensus.aggregation.rules import Rule
from dissensus.records import Margin


@dataclass(frozen=True)
class Aggregated:
    """What a rule makes of votes."""

    rule: Rule
    preference: dict[str, float]
    """Pair id → the preference for response a; pairs on which no vote counts are not in it."""
    votes: dict[str, int]
    """Pair id → votes that count."""
    groups: dict[str, int]
    """Group → its votes that count; empty where the rule knows no groups."""
    left_out: dict[str, int]
    """Why votes or pairs do not count → how many."""
    undecided: frozenset[str]
    """Pairs without a quorum."""

    def margins(self) -> list[Margin]:
        """Make margins, |2p - 1|, with their preferences."""
        return [
            Margin(pair_id=name, margin=abs(2 * p - 1), preference_a=p, n_judgments=self.votes[name])
            for name, p in self.preference.items()
        ]


@dataclass(frozen=True)
class Change:
    """A pair that another rule puts on the other side, or makes even."""

    pair_id: str
    before: float
    after: float


@dataclass(frozen=True)
class Comparison:
    """What a rule changes against another, over the pairs that both have a preference for."""

    n: int
    changed: list[Change]
    """Pairs whose preferred response is another."""
    now_even: list[Change]
    no_longer_even: list[Change]
    mean_change: float
    """Mean absolute difference of the preferences; NaN without pairs."""


def aggregate(ballots: Ballots, rule: Rule) -> Aggregated:
    """Apply a rule.

    Raises an EvaluationError where nobody has the attribute that it goes by, a voter or a group has no weight or share,
    or a weight or share is of nobody here.
    """
    left_out: Counter[str] = Counter()
    found = rule.decide(ballots, left_out)
    votes = np.bincount(ballots.pair[found.counted], minlength=len(ballots.pair_ids))
    heard = np.isfinite(found.preference)
    left_out["pairs without a vote that counts"] += int((~heard).sum())
    undecided = np.zeros_like(heard) if found.undecided is None else found.undecided
    ids = np.array(ballots.pair_ids, dtype=object)
    return Aggregated(
        rule=rule,
        preference=dict(zip(ids[heard].tolist(), found.preference[heard].tolist(), strict=True)),
        votes=dict(zip(ballots.pair_ids, votes.tolist(), strict=True)),
        groups=dict(found.groups),
        left_out=dict(+left_out),
        undecided=frozenset(ids[undecided].tolist()),
    )


def compare(one: Aggregated, other: Aggregated) -> Comparison:
    """Find the pairs that ``one`` decides otherwise than ``other``; equal preferences to twelve digits are even."""
    both = [name for name in one.preference if name in other.preference]
    found: dict[str, list[Change]] = {"changed": [], "now_even": [], "no_longer_even": []}
    for name in both:
        before, after = other.preference[name], one.preference[name]
        sides = (_side(before), _side(after))
        if sides[0] == sides[1]:
            continue
        kind = "now_even" if sides[1] == 0 else "no_longer_even" if sides[0] == 0 else "changed"
        found[kind].append(Change(name, before, after))
    moved = [abs(one.preference[name] - other.preference[name]) for name in both]
    return Comparison(n=len(both), mean_change=float(np.mean(moved)) if moved else float("nan"), **found)


def _side(preference: float) -> int:
    return 0 if abs(preference - 0.5) < 1e-12 else 1 if preference > 0.5 else -1
