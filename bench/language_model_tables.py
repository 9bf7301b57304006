"""The tables of language_model_judge.py: what a store has of language models, held against people and each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dissensus.judges.calibrate import Stack, StackFit
from dissensus.judges.combined import log_length_ratios, observe
from dissensus.judges.committee import fit_bradley_terry
from dissensus.judges.language.choice_distribution import verdict_probabilities
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Pair
from dissensus.stats.metrics import accuracy, brier, mean_absolute_error, nll, pearson_symmetric
from dissensus.stats.resampling.clusters import number_labels
from dissensus.stats.resampling.statistics import estimate_all

Floats = NDArray[np.float64]
Row = dict[str, object]
ORDERS = ("ab", "ba")
PAPER = 0.9
"""Top-p of the paper."""
LEAST = 1e-4
"""Shares are kept this far from 0 and 1 where they become log-odds."""


@dataclass(frozen=True)
class Said:
    """What one judge said of n pairs; every pair was asked about in both orders."""

    name: str
    mode: str
    template: str
    pairs: list[Pair]
    votes: Mapping[float, Floats]
    """By top-p: of each order shown, how probable a, b and no winner are; shape (n, 2, 3). Sampled replies have their
    counts, or the sums of the shares that they say, at the top-p they were sampled with."""
    certified: float | None
    """The share of choice distributions whose prefix would surely be written."""

    @property
    def title(self) -> str:
        return f"{self.name} {self.mode}" + ("" if self.template == "paper" else f" {self.template}")

    def share(self, top_p: float) -> Floats:
        """For a among the valid votes, by order shown: shape (n, 2); 1/2 where there is none."""
        valid = self.votes[top_p][..., :2].sum(-1)
        return np.where(valid > 0, self.votes[top_p][..., 0] / np.where(valid > 0, valid, 1), 0.5)

    def log_odds(self, top_p: float) -> Floats:
        """The mean over both orders of the log-odds for a, shape (n,): what an order adds to both cancels."""
        share = np.clip(self.share(top_p), LEAST, 1 - LEAST)
        return (np.log(share) - np.log1p(-share)).mean(1)


def said_in(store: JudgmentStore, pairs: Sequence[Pair]) -> list[Said]:
    """What each judge of a store said of those of the pairs that it has answered whole."""
    judges = [_said(store, name, pairs) for name in store.judges()]
    return sorted((judge for judge in judges if judge.pairs), key=lambda said: (said.template, said.mode, said.name))


def _said(store: JudgmentStore, judge: str, pairs: Sequence[Pair]) -> Said:
    settings = store.settings(judge)
    name = "transformers" if "dtype" in settings["identity"] else "llama.cpp"
    found: dict[float, dict[tuple[str, str], Floats]] = {PAPER: {}, 1.0: {}}
    forced = []
    for one in store.distributions(judge=judge, pairs=pairs):
        for top_p, views in found.items():
            p = verdict_probabilities(one.distribution, temperature=1.0, top_p=top_p)
            views[one.pair_id, one.order] = np.array([p.a, p.b, p.none] if one.order == "ab" else [p.b, p.a, p.none])
        forced.append(one.distribution.is_forced(temperature=1.0, top_p=PAPER))
    if settings["mode"] == "sample":
        found = {PAPER: {}}
        for one in store.judgments(judge=judge, pairs=pairs):
            counts = found[PAPER].setdefault((one.pair_id, one.order), np.zeros(3))
            if one.probability_a is None:
                counts["ab".find(one.choice or "?")] += 1  # -1, the last, where there is no winner
            else:  # a share that was asked for: so much of a vote for each
                counts[:2] += one.probability_a, 1 - one.probability_a
    whole = [pair for pair in pairs if all((pair.id, order) in found[PAPER] for order in ORDERS)]
    votes = {
        top_p: np.array([[views[pair.id, order] for order in ORDERS] for pair in whole])
        for top_p, views in found.items()
    }
    certified = float(np.mean(forced)) if forced else None
    return Said(name, settings["mode"], settings["template"]["name"], whole, votes, certified)


def tables_of(path: Path, pairs: list[Pair], *, resamples: int) -> dict[str, list[Row]]:
    with JudgmentStore(path, create=False) as store:
        judges = said_in(store, pairs)
    made = {
        "how much of it is there, and the order shown": [_position(said, len(pairs)) for said in judges],
        "against people": [row for said in judges for row in _against_people(said, resamples)],
        "the longer response": [_length(said) for said in judges],
        "calibrated on labels of other prompts": [
            r for s in judges if 1.0 in s.votes for r in _calibrated(s, resamples)
        ],
        "sampled against exact": _sampled_against_exact(judges),
        "quantised arithmetic against float32": _against_float32(judges),
    }
    return {title: rows for title, rows in made.items() if rows}


def _position(said: Said, wanted: int) -> Row:
    votes = said.votes[PAPER]
    share = said.share(PAPER)
    first = (share[:, 0] + 1 - share[:, 1]) / 2
    both = (share != 0.5).all(1)
    return {
        "judge": said.title,
        "pairs": len(said.pairs),
        "of": wanted,
        "prompts": len({pair.group for pair in said.pairs}),
        "certified": said.certified,
        "no winner": float(votes[..., 2].sum() / votes.sum()),
        "first shown": float(first.mean()),
        "compared": int(both.sum()),
        "flips": float(((share[:, 0] > 0.5) != (share[:, 1] > 0.5))[both].mean()) if both.any() else None,
    }


def _against_people(said: Said, resamples: int) -> list[Row]:
    readings = {f"top-p {top_p:g}, mean of orders": said.share(top_p).mean(1) for top_p in said.votes}
    if 1.0 in said.votes:
        readings["top-p 1, mean log-odds"] = expit(said.log_odds(1.0))
    return [
        {"judge": said.title, "read as": name, "pairs": len(said.pairs), **_scores(q, said.pairs, resamples)}
        for name, q in readings.items()
    ]


def _scores(q: Floats, pairs: Sequence[Pair], resamples: int) -> Row:
    people = np.array([pair.votes.preference for pair in pairs])
    prompts = number_labels([pair.group for pair in pairs])[1]

    def of(metric: Callable[..., Floats]) -> Callable[[Floats | None], Floats]:
        return lambda weights: metric(q, people, weights)

    metrics = {"agreement": accuracy, "r": pearson_symmetric, "L1": mean_absolute_error, "Brier": brier, "NLL": nll}
    found = estimate_all(
        {name: of(metric) for name, metric in metrics.items()},
        prompts,
        np.zeros(len(pairs)),
        resamples,
        np.random.default_rng(0),
    )
    shown = {name: {"value": e.value, "low": e.low, "high": e.high} for name, e in found.items()}
    return {name: None if np.isnan(cell["value"]) else cell for name, cell in shown.items()}


def _length(said: Said) -> Row:
    """Whether the longer response is preferred, and the slope of the log-odds in the log ratio of lengths."""
    ratio, top_p = log_length_ratios(said.pairs), max(said.votes)
    people = np.array([pair.votes.preference for pair in said.pairs])
    unequal = ratio != 0
    row: Row = {"judge": said.title, "pairs": int(unequal.sum())}
    for who, share in (("judge", expit(said.log_odds(top_p))), ("people", people)):
        toward = np.where(ratio > 0, share, 1 - share)[unequal]
        row[f"{who}: longer"] = float(((toward > 0.5) + 0.5 * (toward == 0.5)).mean())
        row[f"{who}: slope"] = float(fit_bradley_terry(ratio[:, None], share, np.ones(len(share)), l2=1e-6)[0])
    return row


def _calibrated(said: Said, resamples: int) -> list[Row]:
    """Before and after: coefficients from one vote a pair, of other prompts, scored against all votes."""
    odds, ratio = said.log_odds(1.0), log_length_ratios(said.pairs)
    columns = {
        "one half": None,
        "as it is": None,
        "temperature": odds[:, None],
        "length alone": ratio[:, None],
        "temperature and length": np.stack([odds, ratio], 1),
    }
    rows = []
    for name, features in columns.items():
        q = np.full(len(odds), 0.5) if name == "one half" else expit(odds)
        weights = ""
        if features is not None:
            stack = StackFit(features, observe(said.pairs, "labels")).stack()
            q, weights = stack.preferences, _intervals(stack)
        rows.append({"judge": said.title, "calibrated": name, "weights": weights, **_scores(q, said.pairs, resamples)})
    return rows


def _intervals(stack: Stack) -> str:
    of_each = zip(stack.coefficients, stack.low, stack.high, strict=True)
    return ", ".join(f"{weight:.2f} [{low:.2f}, {high:.2f}]" for weight, low, high in of_each)


def _sampled_against_exact(judges: Sequence[Said]) -> list[Row]:
    """Pearson's X² of the replies to each prompt against its exact probabilities; p from 20,000 multinomial draws."""
    rows = []
    for sampled in (said for said in judges if said.mode == "sample"):
        exact = next(
            (s for s in judges if (s.name, s.template, s.mode) == (sampled.name, sampled.template, "exact")), None
        )
        if exact is None:
            continue
        place = {pair.id: i for i, pair in enumerate(exact.pairs)}
        both = [(i, place[pair.id]) for i, pair in enumerate(sampled.pairs) if pair.id in place]
        if not both:
            continue
        counts = sampled.votes[PAPER][[i for i, _ in both]].reshape(-1, 3)
        p = exact.votes[PAPER][[i for _, i in both]].reshape(-1, 3)
        rows.append({"judge": sampled.title, "pairs": len(both), "replies": int(counts.sum()), **chi_square(counts, p)})
    return rows


def chi_square(counts: Floats, p: Floats, draws: int = 20_000) -> Row:
    """Test counts of each row against its probabilities, both of shape (rows, kinds)."""
    impossible = int(counts[p <= 0].sum())
    expected = counts.sum(1, keepdims=True) * p
    possible = p > 0

    def statistic(found: Floats) -> Floats:
        return np.where(possible, (found - expected) ** 2 / np.where(possible, expected, 1), 0).sum((-2, -1))

    generator = np.random.default_rng(0)
    total, found = np.zeros(draws), float(statistic(counts))
    for n, row in zip(counts.sum(1).astype(int), p, strict=True):
        kept = row > 0
        drawn = generator.multinomial(n, row[kept] / row[kept].sum(), size=draws)
        total += ((drawn - n * row[kept]) ** 2 / (n * row[kept])).sum(1)
    return {
        "impossible": impossible,
        "X²": found,
        "df": int((possible.sum(1) - 1).sum()),
        "p": float(((total >= found - 1e-9).sum() + 1) / (draws + 1)),
        "undecided prompts": int((possible.sum(1) > 1).sum()),
    }


def _against_float32(judges: Sequence[Said]) -> list[Row]:
    exact = {said.name: said for said in judges if said.mode == "exact" and said.template == "paper"}
    if len(exact) < 2:
        return []
    ours, theirs = exact["transformers"], exact["llama.cpp"]
    ids = [sorted(Counter(p.id for p in said.pairs)) for said in (ours, theirs)]
    shared = sorted(set(ids[0]) & set(ids[1]))
    if not shared:
        return []
    sides = []
    for said in (ours, theirs):
        place = {pair.id: i for i, pair in enumerate(said.pairs)}
        sides.append(said.share(1.0)[[place[pair_id] for pair_id in shared]].ravel())
    difference = np.abs(sides[0] - sides[1])
    odds = [np.log(s) - np.log1p(-s) for s in (np.clip(side, LEAST, 1 - LEAST) for side in sides)]
    return [
        {
            "pairs": len(shared),
            "prompts asked": len(difference),
            "mean |Δp|": float(difference.mean()),
            "largest": float(difference.max()),
            "r of log-odds": float(np.corrcoef(odds[0], odds[1])[0, 1]),
            "mean Δ log-odds": float((odds[1] - odds[0]).mean()),
            "same verdict": float(((sides[0] > 0.5) == (sides[1] > 0.5)).mean()),
        }
    ]
