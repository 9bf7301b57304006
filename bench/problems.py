"""Sets of pairs as arrays for `objectives.py`: read, simulated or pooled, thinned, and their labels drawn."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from heads import Floats, Ints, Problem
from scipy.special import expit

from dissensus.files import read_pairs
from dissensus.judges.published import read_published
from dissensus.records import Pair, plain_text
from dissensus.text.encoder import load_encoder

FOLDS = 4
"""Parts that the units of a set are left out in."""


def read_problem(path: Path, backbone: str | None) -> Problem:
    """Read pairs and encode their texts, each once; without a backbone there are no features."""
    pairs = [pair for pair in read_pairs(path) if pair.votes is not None or pair.label is not None]
    sides = [[(plain_text(p.prompt), plain_text(r)) for r in (p.response_a, p.response_b)] for p in pairs]
    texts = list(dict.fromkeys(text for both in sides for text in both))
    row = {text: i for i, text in enumerate(texts)}
    index = np.array([[row[text] for text in both] for both in sides])
    many = len({pair.category for pair in pairs} - {None}) >= FOLDS
    judged: dict[str, Floats] = {}
    published = read_published(path, pairs, notice=lambda _: None) if path.name.startswith(("vicuna", "panda")) else {}
    for name, judge in published.items():
        said: dict[str, list[float]] = {}
        for verdict in judge.answer([q for pair in pairs for q in judge.questions(pair)]):
            if (value := verdict.probability_a if verdict.probability_a is not None else verdict.value) is not None:
                said.setdefault(verdict.pair_id, []).append(value)
        judged[name] = np.array([float(np.mean(said[p.id])) if p.id in said else np.nan for p in pairs])
    return Problem(
        name=path.name.partition(".")[0],
        features=np.zeros((len(texts), 0), np.float32)
        if backbone is None
        else load_encoder(backbone, max_length=512).features(texts),
        log_length=np.log([len(response) + 1 for _, response in texts]),
        a=index[:, 0],
        b=index[:, 1],
        votes=np.array([_counts(pair) for pair in pairs], dtype=float),
        group=np.array([pair.group for pair in pairs]),
        unit=np.array([(pair.category if many else pair.group) or pair.group for pair in pairs]),
        judged=judged,
        ids=[pair.id for pair in pairs],
    )


def _counts(pair: Pair) -> list[int]:
    """Count votes for a, for b and ties; a label where there are no votes."""
    if pair.votes is not None:
        return [pair.votes.a, pair.votes.b, pair.votes.tie]
    return [int(pair.label == label) for label in ("a", "b", "tie")]


def simulate_problem(seed: int = 0, prompts: int = 48, texts: int = 16, dim: int = 64) -> Problem:
    """Draw texts whose utility is linear in features and log length, beside what features do not show; five votes."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(prompts * texts, dim)).astype(np.float32)
    log_length = rng.normal(6, 0.6, prompts * texts)
    weights = rng.normal(size=dim) / np.sqrt(dim)
    utility = 0.8 * features @ weights + 1.0 * log_length + 0.6 * rng.normal(size=prompts * texts)
    first, second = np.triu_indices(texts, 1)
    start = np.repeat(np.arange(prompts) * texts, len(first))
    a, b = start + np.tile(first, prompts), start + np.tile(second, prompts)
    turned = rng.random(len(a)) < 0.5
    a, b = np.where(turned, b, a), np.where(turned, a, b)
    votes_a = rng.binomial(5, expit(utility[a] - utility[b])).astype(float)
    group = np.repeat([f"prompt {i}" for i in range(prompts)], len(first))
    votes = np.column_stack([votes_a, 5 - votes_a, np.zeros(len(a))])
    names = [f"{i}" for i in range(len(a))]
    return Problem("simulated", features, log_length, a, b, votes, group, group, {}, names)


def deal(units: Sequence[str], parts: int, rng: np.random.Generator) -> Ints:
    """Deal units into parts, in a random order; shape (pairs,)."""
    names = sorted(set(units))
    part = {names[unit]: i % parts for i, unit in enumerate(rng.permutation(len(names)))}
    return np.array([part[unit] for unit in units])


def thin(problem: Problem, rows: Ints, most: int | None, rng: np.random.Generator) -> Ints:
    """Keep pairs, in a random order, as long as each of their texts is in at most so many."""
    return rows if most is None else thin_sides(list(zip(problem.a, problem.b, strict=True)), rows, most, rng)


def thin_sides(sides: Sequence[tuple[Hashable, Hashable]], rows: Ints, most: int, rng: np.random.Generator) -> Ints:
    """The same for pairs of anything that can be told apart."""
    times: dict[Hashable, int] = {}
    kept = []
    for row in rng.permutation(rows):
        if all(times.get(text, 0) < most for text in sides[row]):
            kept.append(row)
            times.update({text: times.get(text, 0) + 1 for text in sides[row]})
    return np.sort(np.array(kept))


def draw_labels(problem: Problem, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Draw one vote for a or b of each pair; returns it, the share of the other votes for a, and their number.

    A pair on which all saw a tie has the label one half, and is not trained on.
    """
    decided = problem.votes[:, :2].sum(axis=1)
    label = np.where(rng.random(len(decided)) * decided < problem.votes[:, 0], 1.0, 0.0)
    label[decided == 0] = 0.5
    left = problem.votes.copy()
    left[np.arange(len(left)), np.select([label == 1, label == 0], [0, 1], 2)] -= 1
    n = left.sum(axis=1)
    return label, np.where(n > 0, (left[:, 0] + left[:, 2] / 2) / np.maximum(n, 1), 0.5), n


@dataclass(frozen=True)
class Draw:
    """Labels drawn from votes, and what is left out and trained on: the same for whoever asks with the same seed."""

    label: Floats
    """1 or 0 where a vote for a or for b was drawn, one half for ties; shape (pairs,)."""
    others: Floats
    """The share of the other votes for a."""
    part: Ints
    """The fold in which each pair is left out."""
    rows: Sequence[Ints]
    """For each fold the pairs that are trained on."""
    inner: Sequence[Ints]
    """Which of the members leaves out each of these; they leave out whole prompts."""


def draw(problem: Problem, most: int | None, seed: int, members: int) -> Draw:
    """Draw labels, deal units into folds, and thin what each trains on to so many pairs a text."""
    rng = np.random.default_rng([seed, most or 0])
    part = deal(problem.unit, FOLDS, rng)
    label, others, _ = draw_labels(problem, rng)
    rows, inner = [], []
    for fold in range(FOLDS):
        rows.append(thin(problem, np.flatnonzero((part != fold) & (label != 0.5)), most, rng))
        inner.append(deal(problem.group[rows[-1]], members, rng))
    return Draw(label, others, part, rows, inner)


def pool(problems: Sequence[Problem]) -> Problem:
    """Put sets together; the unit of each pair is its set."""
    starts = np.cumsum([0, *(len(one.log_length) for one in problems)])
    return Problem(
        name="+".join(one.name for one in problems),
        features=np.concatenate([one.features for one in problems]),
        log_length=np.concatenate([one.log_length for one in problems]),
        a=np.concatenate([one.a + start for one, start in zip(problems, starts, strict=False)]),
        b=np.concatenate([one.b + start for one, start in zip(problems, starts, strict=False)]),
        votes=np.concatenate([one.votes for one in problems]),
        group=np.concatenate([np.char.add(f"{one.name}: ", one.group) for one in problems]),
        unit=np.concatenate([np.full(len(one.a), one.name) for one in problems]),
        judged={},
        ids=[f"{one.name}: {name}" for one in problems for name in one.ids],
    )
