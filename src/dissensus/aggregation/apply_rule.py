"""A rule applied to ballots: a preference for each pair, as a margin that objectives can train on; and what changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.aggregation.ballots import Ballots
from dissensus.aggregation.preferences import (
    FloatArray,
    IntArray,
    group_means,
    has_quorum,
    maximin_preference,
    stratified_preference,
    weighted_preference,
)
from dissensus.aggregation.rules import UNKNOWN, PostStratified, Quorum, Rule, Weighted, WorstOff
from dissensus.errors import EvaluationError
from dissensus.records import Margin

_NAMED = 12
_Mask = NDArray[np.bool_]
"""Which votes count; shape (votes,)."""


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

    Raises:
        EvaluationError: nobody has the attribute that the rule goes by, a voter or a group has no weight or share, or a
            weight or share is of nobody here.
    """
    n = len(ballots.pair_ids)
    left_out: Counter[str] = Counter()
    groups: dict[str, int] = {}
    if isinstance(rule, Weighted) and rule.by is None:
        preference, counted = _by_voter_weight(ballots, rule, left_out)
        kept = ballots
    elif isinstance(rule, Weighted | PostStratified | WorstOff):
        kept, group, names = _grouped(ballots, rule, left_out)
        preference, counted = _by_group(kept, group, names, rule, left_out, n)
        counts = np.bincount(group[counted], minlength=len(names))
        groups = {name: int(count) for name, count in zip(names, counts, strict=True)}
    else:
        kept = ballots
        preference = weighted_preference(ballots.rating, ballots.pair, 1.0, n_pairs=n)
        counted = np.ones(len(ballots.rating), dtype=np.bool_)
    undecided = np.zeros(n, dtype=np.bool_)
    if isinstance(rule, Quorum):
        cells = group_means(ballots.rating, ballots.pair, np.zeros_like(ballots.pair), ballots.voter)
        undecided = ~has_quorum(preference, cells.voters, quorum=rule.quorum, min_votes=rule.min_votes)
        preference = np.where(undecided, 0.5, preference)
    votes = np.bincount(kept.pair[counted], minlength=n)
    heard = np.isfinite(preference)
    left_out["pairs without a vote that counts"] += int((~heard).sum())
    return Aggregated(
        rule=rule,
        preference={name: float(p) for name, p, ok in zip(ballots.pair_ids, preference, heard, strict=True) if ok},
        votes={name: int(v) for name, v in zip(ballots.pair_ids, votes, strict=True)},
        groups=groups,
        left_out=dict(+left_out),
        undecided=frozenset(name for name, open_ in zip(ballots.pair_ids, undecided, strict=True) if open_),
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


def _by_voter_weight(ballots: Ballots, rule: Weighted, left_out: Counter[str]) -> tuple[FloatArray, _Mask]:
    here = {name for name in ballots.voters if name is not None}
    _refuse_strangers(rule.weights, here, "weights", "annotator")
    unnamed = [name for name in ballots.voters if name is None or name not in rule.weights]
    if unnamed and rule.default is None:
        example = next((repr(name) for name in unnamed if name), "somebody who is not named")
        raise EvaluationError(
            f"weights: {len(unnamed)} of {len(ballots.voters)} voters have no weight (such as {example}); "
            "give them one, or a default for all others"
        )
    weight = np.array([rule.weights.get(name or "", rule.default or 0.0) for name in ballots.voters])
    return _weighted(ballots, weight[ballots.voter], left_out)


def _weighted(ballots: Ballots, weight: FloatArray, left_out: Counter[str]) -> tuple[FloatArray, _Mask]:
    """Weigh votes; returns the preferences, and which votes count."""
    counted = weight > 0
    left_out["votes with a weight of 0"] += int((~counted).sum())
    return weighted_preference(ballots.rating, ballots.pair, weight, n_pairs=len(ballots.pair_ids)), counted


def _grouped(
    ballots: Ballots, rule: Weighted | PostStratified | WorstOff, left_out: Counter[str]
) -> tuple[Ballots, IntArray, list[str]]:
    """Number the groups of the voters; votes of those without one are left out, or a group of their own."""
    attribute = rule.by or ""
    known = [ballots.annotators.get(name) if name is not None else None for name in ballots.voters]
    values = [None if one is None else one.attributes.get(attribute) for one in known]
    if not any(values):
        there = sorted({key for one in known if one is not None for key in one.attributes})
        have = f"they have {', '.join(there)}" if there else "nothing is known of them; give --annotators"
        raise EvaluationError(f"by {attribute}: none of the {len(values)} voters has that attribute; {have}")
    if rule.missing == "unknown":
        values = [value or UNKNOWN for value in values]
    names = sorted({value for value in values if value})
    number = {name: index for index, name in enumerate(names)}
    group = np.array([number.get(value or "", -1) for value in values], dtype=np.int64)[ballots.voter]
    inside = group >= 0
    left_out[f"votes of people whose {attribute} is not known"] += int((~inside).sum())
    kept = replace(ballots, rating=ballots.rating[inside], pair=ballots.pair[inside], voter=ballots.voter[inside])
    return kept, group[inside], names


def _by_group(
    ballots: Ballots,
    group: IntArray,
    names: list[str],
    rule: Weighted | PostStratified | WorstOff,
    left_out: Counter[str],
    n: int,
) -> tuple[FloatArray, _Mask]:
    """Apply a rule of groups; returns the preferences, and which votes count."""
    if isinstance(rule, Weighted):
        return _weighted(ballots, _of_groups(rule.weights, names, "weights", default=rule.default)[group], left_out)
    cells = group_means(ballots.rating, ballots.pair, group, ballots.voter)
    heard = cells.of_at_least(rule.min_votes)
    left_out[f"groups on a pair with fewer than {rule.min_votes} voters"] += len(cells.pair) - len(heard.pair)
    counted = np.isin(ballots.pair * len(names) + group, heard.pair * len(names) + heard.group)
    if isinstance(rule, WorstOff):
        return maximin_preference(heard, n_pairs=n), counted
    shares = _of_groups(rule.shares, names, "shares")
    population = sum(rule.shares.values())
    preference, coverage = stratified_preference(heard, shares, n_pairs=n, population=population)
    thin = np.isfinite(preference) & (coverage < rule.min_coverage)
    left_out[f"pairs on which groups of less than {rule.min_coverage:.0%} of the population voted"] += int(thin.sum())
    return np.where(thin, np.nan, preference), counted


def _of_groups(given: Mapping[str, float], names: list[str], what: str, *, default: float | None = None) -> FloatArray:
    # A group of the population that nobody here belongs to may have a share: it is what is missing.
    lacking = [name for name in names if name not in given]
    if lacking and default is None:
        raise EvaluationError(f"{what}: none for {lacking[0]!r}; the groups here are {_list(names)}")
    if not set(names) & set(given):
        raise EvaluationError(f"{what}: no group here is named; the groups here are {_list(names)}")
    return np.array([given.get(name, default or 0.0) for name in names])


def _refuse_strangers(given: Mapping[str, Any], here: set[str], what: str, kind: str) -> None:
    strangers = sorted(set(given) - here)
    if strangers:
        raise EvaluationError(f"{what}: {strangers[0]!r} is no {kind} here; there are {_list(sorted(here)) or 'none'}")


def _list(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
