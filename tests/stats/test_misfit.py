"""Free votes pass for free; votes that decided how many they are, or which side is called a, do not."""

import gzip
import json

import numpy as np
import pytest

from dissensus.stats.ceilings.vote_process import fit_exactly, misfit, number_was_decided, order_was_decided


def counts_of(for_a, size):
    return np.stack([for_a, size - for_a, 0 * for_a], axis=1)


def stopped(p, rng, first, then=1, agree=None):
    """Ask ``first`` people, and then more where they differ: ``then`` of them, or until ``agree`` say the same."""
    votes = rng.random((p.size, first + then)) < p[:, None]
    a, b = votes[:, :first].sum(axis=1), (~votes[:, :first]).sum(axis=1)
    for column in range(first, first + then):
        more = (np.maximum(a, b) < agree) if agree else (votes[:, :first].min(axis=1) < votes[:, :first].max(axis=1))
        a, b = a + (more & votes[:, column]), b + (more & ~votes[:, column])
    return counts_of(a, a + b)


def by_majority(counts):
    return np.where((counts[:, 0] < counts[:, 1])[:, None], counts[:, [1, 0, 2]], counts)


@pytest.mark.parametrize("shape", [1, 3, 0.5])
@pytest.mark.parametrize(
    "rule",
    [{"first": 3, "then": 2}, {"first": 2, "then": 1}, {"first": 3, "then": 2, "agree": 3}],
    ids=["three, two more where they differ", "two, a third to decide", "until three agree"],
)
def test_two_hundred_pairs_show_that_their_votes_decided_how_many_they_are(rule, shape):
    rng = np.random.default_rng(0)
    found = [number_was_decided(stopped(rng.beta(shape, shape, 200), rng, **rule)) for _ in range(20)]
    assert np.mean(found) >= 0.9


FREE = {
    "numbers by the prompt": lambda rng, p: rng.choice([3, 5], p.size),
    "more for hard pairs": lambda rng, p: np.where(rng.random(p.size) < 0.1 + 3.4 * p * (1 - p), 5, 3),
    "from one to eleven": lambda rng, p: rng.integers(1, 12, p.size),
}


@pytest.mark.parametrize("n", [200, 3000])
@pytest.mark.parametrize("numbers", FREE)
def test_free_votes_are_not_suspected(numbers, n):
    rng = np.random.default_rng(1)
    p_values = []
    for _ in range(15):
        # Half of all pairs on the edge of what mixtures can be: nobody prefers either.
        p = np.where(rng.random(n) < 0.5, 0.5, np.repeat(rng.random(n // 5), 5))
        size = FREE[numbers](rng, p)
        votes = counts_of(rng.binomial(size, p), size)
        assert not number_was_decided(votes)
        assert not order_was_decided(votes)
        p_values += [misfit(votes), misfit(votes, turned=False)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.05


def test_on_the_edge_of_all_mixtures_the_test_holds_its_level():
    """All preferences at 1/2 or at two points: as far out as mixtures go, where G^2 is largest."""
    rng = np.random.default_rng(2)
    for preferences in ([0.5, 0.5], [0.2, 0.8], [0.5, 1.0]):
        p_values = []
        for _ in range(150):
            p = rng.choice(preferences, 300)
            size = rng.choice([3, 5], 300)
            p_values.append(misfit(counts_of(rng.binomial(size, p), size)))
        assert np.mean(np.array(p_values) < 0.1) < 0.16


def test_ties_and_raters_who_lean_are_no_rule():
    rng = np.random.default_rng(3)
    with_ties = rng.multinomial(rng.choice([2, 3, 5], 2000), rng.dirichlet([1, 1, 0.5], 2000))
    assert not number_was_decided(with_ties)
    # Six raters, some of whom lean to a, a quarter of whose votes are missing: less spread than binomial votes have.
    for seed in range(5):
        rng = np.random.default_rng(seed)
        chance = np.clip(rng.uniform(0.2, 0.8, 3000)[:, None] + rng.normal(0, 0.3, 6), 0, 1)
        there = rng.random((3000, 6)) > 0.25
        for_a = ((rng.random((3000, 6)) < chance) & there).sum(axis=1)
        votes = counts_of(for_a, there.sum(axis=1))[there.any(axis=1)]
        assert not number_was_decided(votes)


def test_the_majority_as_a_is_seen_and_a_better_response_is_not():
    rng = np.random.default_rng(4)
    for k in (2, 3, 5):
        free = counts_of(rng.binomial(k, rng.random(200)), k)
        assert not order_was_decided(free)
        assert order_was_decided(by_majority(free))
        assert order_was_decided(by_majority(free)[:, [1, 0, 2]])
    better = counts_of(rng.binomial(5, rng.beta(6, 2, 1000)), 5)
    assert not order_was_decided(better)
    assert not order_was_decided(np.tile([[5, 0, 0]], (100, 1)))  # unanimous: nothing to choose by


def test_the_exact_fit_reaches_what_can_be_fitted_and_the_edge_of_what_cannot():
    """Of two votes the share that differ can be 1/2 at most: at .6 of 100 pairs, G^2 is that of .6 against .5."""
    p = np.linspace(0.5, 1, 51)
    likelihood = np.stack([2 * p * (1 - p), p**2 + (1 - p) ** 2])
    shares, lack = fit_exactly(likelihood, np.array([30.0, 70.0]))
    assert likelihood @ shares == pytest.approx([0.3, 0.7], abs=1e-4)
    assert lack == pytest.approx(0, abs=1e-3)
    shares, lack = fit_exactly(likelihood, np.array([60.0, 40.0]))
    assert shares[0] == pytest.approx(1, abs=1e-4)
    assert lack == pytest.approx(2 * (60 * np.log(0.6 / 0.5) + 40 * np.log(0.4 / 0.5)), abs=1e-3)


@pytest.mark.parametrize(
    "votes", [np.zeros((0, 3), dtype=int), np.array([[1, 0, 0]]), np.array([[0, 0, 5], [0, 0, 3]])]
)
def test_where_there_is_nothing_to_see_nothing_is_said(votes):
    assert misfit(votes) == 1
    assert not number_was_decided(votes)
    assert not order_was_decided(votes)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["arguments", "vicuna80", "pandalm"])
def test_real_votes_are_free_and_their_majority_as_a_is_not(name, real_data_dir):
    with gzip.open(real_data_dir / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row.get("votes_a") is not None]
    counts = np.array([[row[f"votes_{side}"] for side in ("a", "b", "tie")] for row in rows])
    assert misfit(counts) > 0.1
    assert misfit(counts, turned=False) > 0.1
    assert not number_was_decided(counts)
    assert not order_was_decided(counts)
    rng = np.random.default_rng(0)
    some = by_majority(counts[rng.permutation(len(counts))[:200]])
    assert order_was_decided(some)
    # Two of each pair's votes, and a third where these differ.
    spread = [np.repeat([0, 1, 2], row)[rng.permutation(row.sum())[:3]] for row in counts if row.sum() >= 3]
    asked = [votes[:2] if votes[0] == votes[1] else votes for votes in spread]
    assert number_was_decided(np.array([np.bincount(votes, minlength=3) for votes in asked]))
