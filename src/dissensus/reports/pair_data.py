"""The pairs that the page lets one look at: the disputed, the most wrong and a sample, within a budget of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dissensus.records import Margin, Pair, Prediction, Text, Votes, plain_text
from dissensus.reports.embed import clean, cut, script_json
from dissensus.reports.folder.run_reader import RunData
from dissensus.reports.judge_data import Verdicts
from dissensus.stats.metrics import FloatArray

LISTED = 10
_TEXT = 1500
_NAME = 200
_REPLY = 400
_MOST = 400
BUDGET = 1_100_000
"""Bytes that the pairs of a page may take."""


@dataclass(frozen=True)
class Row:
    """A pair in one of the lists."""

    place: int
    """Its number among the pairs of the page."""
    prompt: str
    dataset: str
    votes: Votes
    human: float
    predicted: Sequence[float]
    """By each model, in their order; the mean over seeds."""
    measure: float
    """What the list is in order of."""


@dataclass(frozen=True)
class PairView:
    """The pairs that go into the page, with the lists that point to them."""

    models: Sequence[str]
    data: Mapping[str, Any]
    """For the page's script."""
    shown: int
    total: int
    disputed: Sequence[Row]
    wrong: Mapping[str, Sequence[Row]]

    @property
    def json(self) -> str:
        """The data, written for a script element."""
        return script_json(self.data)


def view_pairs(run: RunData, models: Sequence[str], *, budget: int = BUDGET, seed: int = 0) -> PairView | None:
    """Choose the pairs of a page; None where the run has no votes and predictions yet."""
    joined = run.joined
    if joined is None:
        return None
    shown = [model for model in models if model in joined.predicted]
    means = np.array([joined.predicted[model].mean(axis=0) for model in shown])
    dispute = _disputes(joined.pairs)
    disputed = _order(joined.pairs, dispute)
    wrong = {model: _order(joined.pairs, abs(mean - joined.human)) for model, mean in zip(shown, means, strict=True)}
    chosen = list(dict.fromkeys([*disputed, *(i for order in wrong.values() for i in order)]))
    rest = np.setdiff1d(np.arange(len(joined.pairs)), chosen)
    chosen += np.random.default_rng(seed).permutation(rest).tolist()
    writer = _Writer(run, shown, {joined.pairs[i].id for i in chosen[:_MOST]})
    items = list(_within(budget, (writer.write(joined.pairs[i], means[:, i]) for i in chosen[:_MOST])))
    places = {index: place for place, index in enumerate(chosen[: len(items)])}

    def rows(order: Sequence[int], measure: FloatArray) -> list[Row]:
        return [
            _row(places[i], joined.pairs[i], joined.human[i], means[:, i], measure[i]) for i in order if i in places
        ]

    return PairView(
        models=shown,
        data={"models": [_short(m) for m in shown], "pairs": items},
        shown=len(items),
        total=len(joined.pairs),
        disputed=rows(disputed, dispute),
        wrong={model: rows(wrong[model], mean - joined.human) for model, mean in zip(shown, means, strict=True)},
    )


def disagreement(votes: Votes, *, ties: bool = True, draws: int = 4000) -> float:
    """Say how likely two people disagree at the least: the lower end of a one-sided 95 % interval.

    How people at large are split is not known; before anybody votes it has a Dirichlet distribution with Jeffreys'
    half a vote for each choice. So few votes say less than many: of three votes 1 : 1 : 1 every couple disagrees.

    Args:
        votes: on one pair.
        ties: whether voters could say that neither response is better.
        draws: from the distribution, always the same ones.

    >>> disagreement(Votes(a=10, b=10)) > disagreement(Votes(a=1, b=1, tie=1)) > disagreement(Votes(a=3, b=0))
    True
    """
    counts = [votes.a, votes.b, *([votes.tie] if ties or votes.tie else [])]
    shares = np.random.default_rng(0).dirichlet(np.array(counts) + 0.5, size=draws)
    return float(np.quantile(1 - (shares**2).sum(axis=1), 0.05))


def _disputes(pairs: Sequence[Pair]) -> FloatArray:
    """Each pair's disagreement, shape (n,); ties are possible where anybody has said one."""
    # Which side is a makes no difference.
    votes = [(max(v.a, v.b), min(v.a, v.b), v.tie) for pair in pairs if (v := pair.votes) is not None]
    ties = any(tie for _, _, tie in votes)
    known = {key: disagreement(Votes(a=key[0], b=key[1], tie=key[2]), ties=ties) for key in dict.fromkeys(votes)}
    return np.array([known[key] for key in votes])


def _order(pairs: Sequence[Pair], measure: FloatArray) -> list[int]:
    """The first pairs by a measure, the greatest first; then by votes, the many first, and by id."""
    known = [(-round(float(m), 9), -(p.votes.n if p.votes else 0), p.id) for p, m in zip(pairs, measure, strict=True)]
    # One prompt with ten contested pairs would fill the list by itself.
    picked: dict[str, int] = {}
    for i in sorted(range(len(pairs)), key=known.__getitem__):
        picked.setdefault(f"{pairs[i].dataset}\n{pairs[i].group}", i)
        if len(picked) == LISTED:
            break
    return list(picked.values())


def _row(place: int, pair: Pair, human: float, predicted: FloatArray, measure: float) -> Row:
    assert pair.votes is not None
    prompt = " ".join(clean(cut(plain_text(pair.prompt), 600)[0]).split())
    return Row(
        place=place,
        prompt=prompt[:140] + ("…" if len(prompt) > 140 else ""),
        dataset=_short(pair.dataset or ""),
        votes=pair.votes,
        human=float(human),
        predicted=predicted.tolist(),
        measure=float(measure),
    )


def _within(budget: int, items: Iterable[dict[str, object]]) -> Iterable[dict[str, object]]:
    """Keep the first items that fit."""
    for item in items:
        budget -= len(script_json(item).encode("utf-8", "replace")) + 1
        if budget < 0:
            return
        yield item


class _Writer:
    """Writes pairs for the script, with what is known of each."""

    def __init__(self, run: RunData, models: Sequence[str], wanted: set[str]) -> None:
        self.models, self.run = models, run
        self.margins = {m.pair_id: m for m in run.margins if m.pair_id in wanted}
        self.rewards: dict[tuple[str, str], list[Prediction]] = {}
        for row in run.predictions:
            if row.pair_id in wanted:
                self.rewards.setdefault((row.pair_id, row.model), []).append(row)

    def write(self, pair: Pair, means: FloatArray) -> dict[str, object]:
        votes = pair.votes
        assert votes is not None
        tags = (pair.dataset, pair.domain and f"{pair.domain}-of-domain".replace("in-of", "in"), pair.category)
        distinct = {"yes": "distinguishable", "no": "indistinguishable", None: None}[pair.distinct]
        return {
            "id": _short(pair.id),
            "dataset": _short(pair.dataset or ""),
            "tags": [_short(tag) for tag in (*tags, distinct) if tag],
            "texts": [_text(text) for text in (pair.prompt, pair.response_a, pair.response_b)],
            "votes": [votes.a, votes.b, votes.tie],
            "label": pair.label,
            "human": round(votes.preference, 4),
            "predicted": [round(float(mean), 4) for mean in means],
            "rewards": [self._rewards(pair, model) for model in self.models],
            "margin": _margin(self.margins.get(pair.id)),
            "judges": [_judge(verdicts) for verdicts in self.run.judged.verdicts.get(pair.id, [])],
        }

    def _rewards(self, pair: Pair, model: str) -> list[list[float | None]]:
        """Seed, rewards and preference of each prediction; rewards are empty where a source gives preferences alone."""
        rows = self.rewards.get((pair.id, model), [])
        joined = self.run.joined
        calibrated = joined is not None and model in joined.calibrated
        said = (row.calibrated_a if calibrated and row.calibrated_a is not None else row.preference_a for row in rows)
        values = ((row.reward_a, row.reward_b, one) for row, one in zip(rows, said, strict=True))
        rounded = ([None if x is None else round(x, 3) for x in own] for own in values)
        return [[row.seed, *own] for row, own in zip(rows, rounded, strict=True)]


def _short(text: str) -> str:
    kept, left = cut(text, _NAME)
    return clean(kept) + ("…" if left else "")


def _text(text: Text) -> list[str | int]:
    """A text as the page shows it, and how many characters are left out."""
    plain, left = cut(plain_text(text), _TEXT)
    return [clean(plain), left]


def _margin(margin: Margin | None) -> list[float] | None:
    """A margin with the judgments that it rests on: the votes, ties among them, and the others."""
    return None if margin is None else [round(margin.margin, 4), margin.n_judgments, margin.n_invalid]


def _judge(verdicts: Verdicts) -> dict[str, object]:
    return {
        "name": _short(verdicts.judge),
        "orders": verdicts.orders,
        "probability": None if verdicts.probability_a is None else round(verdicts.probability_a, 3),
        "margin": _margin(verdicts.margin),
        "reply": clean(cut(verdicts.reply, _REPLY)[0]),
        "left": cut(verdicts.reply, _REPLY)[1],
    }
